//! What a pilot's consortium owes within an issuance period (R44), and suppliers that take part in several pilots (R45).

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::{Instant, minute_end};
use crate::reasons::PilotTitle;
use crate::register::{IssuancePeriod, Pilot, Register};
use crate::rulebook::Parameters;

/// How far a consortium has come in one period.
#[derive(Clone, Debug, PartialEq)]
pub struct PilotStanding<'r> {
    pub pilot: &'r Pilot,
    /// Enterprises of the pilot with a voucher of the period for a product of a member.
    pub enterprises_served: BTreeSet<&'r str>,
    /// Those of them that every member serves.
    pub enterprises_served_jointly: BTreeSet<&'r str>,
    pub benchmark_named: bool,
    pub title: PilotTitle,
}

/// Vouchers that were applied for within the period and not given up count. Until claiming ends the figures can still rise; what is
/// missing then costs the title.
pub fn stand<'r>(
    register: &'r Register,
    parameters: &Parameters,
    pilot: &'r Pilot,
    period: &IssuancePeriod,
    as_of: Instant,
) -> PilotStanding<'r> {
    let claiming_ends = minute_end(period.claim_to);
    let members: BTreeSet<&str> = pilot.members.iter().map(String::as_str).collect();
    let mut suppliers_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let claimed = register.vouchers.values().filter(|voucher| {
        voucher.pilot.as_ref() == Some(&pilot.id) && voucher.period.as_ref() == Some(&period.id) && voucher.status.takes_from_cap()
    });
    for voucher in claimed.filter(|voucher| voucher.applied_at <= claiming_ends.min(as_of)) {
        let supplier = register.products.get(&voucher.product).map(|product| product.supplier.as_str());
        if let Some(supplier) = supplier.filter(|supplier| members.contains(supplier))
            && pilot.enterprises.contains(&voucher.enterprise)
        {
            suppliers_of.entry(&voucher.enterprise).or_default().insert(supplier);
        }
    }
    let jointly = suppliers_of.iter().filter(|(_, suppliers)| **suppliers == members).map(|(enterprise, _)| *enterprise).collect();
    let mut standing = PilotStanding {
        pilot,
        enterprises_served: suppliers_of.keys().copied().collect(),
        enterprises_served_jointly: jointly,
        benchmark_named: !pilot.benchmark.trim().is_empty(),
        title: PilotTitle::Open,
    };
    let enough = standing.enterprises_served.len() >= parameters.pilot_enterprises_min as usize
        && standing.enterprises_served_jointly.len() >= parameters.pilot_joint_enterprises_min as usize
        && standing.benchmark_named;
    standing.title = match (enough, as_of > claiming_ends) {
        (true, _) => PilotTitle::Kept,
        (false, false) => PilotTitle::Open,
        (false, true) => PilotTitle::Lost,
    };
    standing
}

/// By supplier in more than one pilot: the pilots. Discouraged, not forbidden (R45).
pub fn in_several_pilots(register: &Register) -> BTreeMap<&str, Vec<&str>> {
    let mut pilots_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pilot in register.pilots.values() {
        for member in pilot.members.iter().collect::<BTreeSet<_>>() {
            pilots_of.entry(member).or_default().push(&pilot.id);
        }
    }
    pilots_of.retain(|_, pilots| pilots.len() > 1);
    pilots_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Product, ProductClass, VoucherStatus};
    use crate::rulebook::Rulebook;
    use crate::test_case::{at, enterprise, period, pilot, product, voucher};

    /// `count` enterprises of the pilot `T-1`, each with a voucher for the first member's product, the first three for both.
    fn world(count: usize) -> Register {
        let mut register = Register::default();
        register.periods.insert("2019".into(), period("2019"));
        for (id, supplier) in [("P-A", "S-A"), ("P-B", "S-B"), ("P-5", "S-1")] {
            let product = Product { supplier: supplier.into(), ..product(id, ProductClass::A, 1) };
            register.products.insert(id.into(), product);
        }
        let enterprises: Vec<String> = (0..count).map(|number| format!("E-{number:02}")).collect();
        for (number, id) in enterprises.iter().enumerate() {
            register.enterprises.insert(id.clone(), enterprise(id));
            for product in ["P-A", "P-B"].into_iter().take(if number < 3 { 2 } else { 1 }) {
                let mut voucher = voucher(&format!("V-{id}-{product}"), product);
                voucher.enterprise = id.clone();
                (voucher.period, voucher.pilot) = (Some("2019".into()), Some("T-1".into()));
                register.vouchers.insert(voucher.id.clone(), voucher);
            }
        }
        register.pilots.insert("T-1".into(), pilot("T-1", &["S-A", "S-B"], &enterprises));
        register
    }

    fn title(register: &Register, as_of: &str) -> (usize, usize, PilotTitle) {
        let parameters = &Rulebook::default_2019().parameters;
        let standing = stand(register, parameters, &register.pilots["T-1"], &register.periods["2019"], at(as_of));
        (standing.enterprises_served.len(), standing.enterprises_served_jointly.len(), standing.title)
    }

    const BEFORE: &str = "2019-12-31T18:00:59+08:00";
    const AFTER: &str = "2019-12-31T18:01:00+08:00";

    #[test]
    fn ten_enterprises_three_of_all_members_and_a_benchmark_keep_the_title() {
        assert_eq!(title(&world(10), AFTER), (10, 3, PilotTitle::Kept));
        assert_eq!(title(&world(9), AFTER), (9, 3, PilotTitle::Lost));
        assert_eq!(title(&world(9), BEFORE), (9, 3, PilotTitle::Open), "more can still come");
        let mut two_jointly = world(10);
        two_jointly.vouchers.remove("V-E-00-P-B");
        assert_eq!(title(&two_jointly, AFTER), (10, 2, PilotTitle::Lost));
        let mut no_benchmark = world(10);
        no_benchmark.pilots.get_mut("T-1").unwrap().benchmark = " ".into();
        assert_eq!(title(&no_benchmark, AFTER).2, PilotTitle::Lost);
    }

    #[test]
    fn vouchers_given_up_of_other_suppliers_or_of_enterprises_outside_the_pilot_serve_nobody() {
        let mut register = world(10);
        register.vouchers.get_mut("V-E-05-P-A").unwrap().status = VoucherStatus::Withdrawn;
        register.vouchers.get_mut("V-E-06-P-A").unwrap().product = "P-5".into();
        register.vouchers.get_mut("V-E-07-P-A").unwrap().enterprise = "E-1".into();
        register.vouchers.get_mut("V-E-08-P-A").unwrap().pilot = None;
        register.vouchers.get_mut("V-E-09-P-A").unwrap().period = None;
        assert_eq!(title(&register, AFTER), (5, 3, PilotTitle::Lost));
    }

    #[test]
    fn a_supplier_in_two_pilots_is_named_with_both() {
        let mut register = world(1);
        register.pilots.insert("T-2".into(), pilot("T-2", &["S-B", "S-C", "S-B"], &[]));
        assert_eq!(in_several_pilots(&register), BTreeMap::from([("S-B", vec!["T-1", "T-2"])]));
    }
}
