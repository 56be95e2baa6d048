//! The list that a city publishes before it pays (R40), and how far the programme has come (R46).

use std::collections::BTreeSet;

use crate::money::Yuan;
use crate::regions::same_city;
use crate::register::{Register, Voucher, VoucherStatus};

/// One line of the public list.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicLine<'r> {
    pub voucher: &'r Voucher,
    pub amount: Yuan,
    /// An objection inside the period of notice stops this voucher alone (六(三)).
    pub frozen: bool,
}

/// Every voucher of the period that has passed its review and is not yet paid, in order of its redemption request. `computed` gives the
/// amount of those that have no approved one.
pub fn list<'r>(register: &'r Register, period: &str, city: Option<&str>, computed: impl Fn(&Voucher) -> Yuan) -> Vec<PublicLine<'r>> {
    let in_city = |voucher: &Voucher| {
        let own = register.enterprises.get(&voucher.enterprise);
        city.is_none_or(|city| own.is_some_and(|own| same_city(&own.city, city)))
    };
    let reviewed = register.vouchers.values().filter(|voucher| voucher.status == VoucherStatus::Approved);
    let mut lines: Vec<PublicLine<'r>> = reviewed
        .filter(|voucher| voucher.period.as_deref() == Some(period) && in_city(voucher))
        .map(|voucher| PublicLine { voucher, amount: voucher.amount.unwrap_or_else(|| computed(voucher)), frozen: voucher.objected() })
        .collect();
    lines.sort_by(|a, b| (a.voucher.redeem_at, &a.voucher.id).cmp(&(b.voucher.redeem_at, &b.voucher.id)));
    lines
}

/// What the plan counts until 2020 (R46).
pub const ENTERPRISES_WANTED: u64 = 10_000;
pub const SUPPLIERS_WANTED: u64 = 200;
pub const PLATFORMS_WANTED: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub enterprises_with_voucher: u64,
    pub enterprises_paid: u64,
    pub suppliers_registered: u64,
    pub suppliers_with_voucher: u64,
}

/// Vouchers that were given up count for nobody.
pub fn counters(register: &Register) -> Counters {
    let kept = || register.vouchers.values().filter(|voucher| voucher.status.takes_from_cap());
    let paid = kept().filter(|voucher| voucher.status == VoucherStatus::Paid);
    let suppliers = kept().filter_map(|voucher| register.products.get(&voucher.product)).map(|product| product.supplier.as_str());
    Counters {
        enterprises_with_voucher: distinct(kept().map(|voucher| voucher.enterprise.as_str())),
        enterprises_paid: distinct(paid.map(|voucher| voucher.enterprise.as_str())),
        suppliers_registered: register.suppliers.len() as u64,
        suppliers_with_voucher: distinct(suppliers),
    }
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> u64 {
    ids.collect::<BTreeSet<_>>().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::ProductClass;
    use crate::test_case::{at, enterprise, product, voucher, yuan};

    fn world() -> Register {
        let mut register = Register::default();
        register.products.insert("P-5".into(), product("P-5", ProductClass::A, 5));
        for (number, status) in
            [VoucherStatus::Approved, VoucherStatus::Approved, VoucherStatus::Paid, VoucherStatus::Void].into_iter().enumerate()
        {
            let mut voucher = voucher(&format!("V-{number}"), "P-5");
            voucher.enterprise = format!("E-{number}");
            (voucher.status, voucher.period) = (status, Some("2019".into()));
            voucher.redeem_at = Some(at("2019-11-05T09:00:00+08:00") - chrono::TimeDelta::hours(number as i64));
            register.enterprises.insert(voucher.enterprise.clone(), enterprise(&voucher.enterprise));
            register.vouchers.insert(voucher.id.clone(), voucher);
        }
        register
    }

    #[test]
    fn the_public_list_names_what_passed_its_review_and_an_objection_freezes_one_voucher_alone() {
        let mut register = world();
        register.vouchers.get_mut("V-0").unwrap().objection = Some("供应商并未交付".into());
        register.vouchers.get_mut("V-1").unwrap().amount = Some(yuan("70000.00"));
        let lines = list(&register, "2019", None, |_| yuan("80000.00"));
        let told: Vec<_> = lines.iter().map(|line| (line.voucher.id.as_str(), line.amount, line.frozen)).collect();
        assert_eq!(told, [("V-1", yuan("70000.00"), false), ("V-0", yuan("80000.00"), true)]);
        register.vouchers.get_mut("V-0").unwrap().objection = Some(false.into());
        assert!(list(&register, "2019", None, |_| Yuan::ZERO).iter().all(|line| !line.frozen));
        assert!(list(&register, "2020", None, |_| Yuan::ZERO).is_empty());
        register.enterprises.get_mut("E-1").unwrap().city = "445302".into();
        let of_city = list(&register, "2019", Some("445300"), |_| Yuan::ZERO);
        assert_eq!(of_city.iter().map(|line| line.voucher.id.as_str()).collect::<Vec<_>>(), ["V-1"]);
    }

    #[test]
    fn given_up_vouchers_count_for_nobody() {
        let counters = counters(&world());
        let expected = Counters { enterprises_with_voucher: 3, enterprises_paid: 1, suppliers_registered: 0, suppliers_with_voucher: 1 };
        assert_eq!(counters, expected);
    }
}
