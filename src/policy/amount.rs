//! The voucher amount (R22–R27): rate × contract amount, cut to fen, to the row's cap, and to what the enterprise's cap leaves.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, CatalogueRow};
use crate::money::Yuan;
use crate::register::{Product, Register, Voucher};
use crate::rulebook::Rulebook;

/// How the amount came about, in yuan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AmountWorking {
    /// `0.8` or `0.4`, as text.
    pub rate: String,
    /// Rate × contract amount, cut down to fen (V0, R22).
    pub share: Yuan,
    pub row_cap: Yuan,
    /// The share, at most the row's cap (V1, R23).
    pub after_row_cap: Yuan,
    /// L: the enterprise's cap in this period, or its pilot cap (R24, R25).
    pub enterprise_cap: Yuan,
    /// Whether the pilot cap is used: the enterprise has one.
    pub pilot_cap_used: bool,
    /// What earlier vouchers of the period take, in order of application.
    pub earlier: Vec<EarlierVoucher>,
    pub taken_before: Yuan,
    pub computed: Yuan,
    pub approved: Option<Yuan>,
    pub per_device: Option<Yuan>,
    pub bonus: Option<Bonus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierVoucher {
    pub voucher: String,
    pub takes: Yuan,
}

/// The conformance award (R27) under both readings of "奖补总额上限".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bonus {
    /// Not counted inside the cap.
    pub outside_cap: Yuan,
    /// Counted inside the cap: what the cap leaves after all vouchers of the period, at most the award.
    pub inside_cap: Yuan,
    /// The reading that the rulebook has chosen.
    pub due: Yuan,
}

impl AmountWorking {
    /// V: the approved amount, else the computed one.
    pub fn decided(&self) -> Yuan {
        self.approved.unwrap_or(self.computed)
    }
}

/// The terms of a voucher: its product and catalogue row, where the register and the catalogue have them.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub product: &'a Product,
    pub row: &'a CatalogueRow,
}

pub fn terms<'a>(register: &'a Register, catalogue: &'a Catalogue, voucher: &Voucher) -> Option<Terms<'a>> {
    let product = register.products.get(&voucher.product)?;
    Some(Terms { product, row: catalogue.row(product.row)? })
}

/// V0 (R22): never over-pays by a fraction of a fen.
fn share(rulebook: &Rulebook, terms: Terms<'_>, voucher: &Voucher) -> Yuan {
    let exact: Decimal = rulebook.parameters.rate(terms.product.class) * voucher.contract_amount.decimal();
    Yuan::floor_fen(exact)
}

/// L and whether it is a pilot's: what is approved for a pilot enterprise is the cap of that enterprise, whichever of its vouchers is
/// looked at (R25).
fn enterprise_cap(register: &Register, rulebook: &Rulebook, voucher: &Voucher) -> (Yuan, bool) {
    let pilot_cap = register.enterprises.get(&voucher.enterprise).and_then(|enterprise| enterprise.pilot_cap);
    match pilot_cap {
        Some(cap) => (cap.min(rulebook.parameters.pilot_cap_max), true),
        None => (rulebook.parameters.enterprise_cap, false),
    }
}

/// What these vouchers of one enterprise and period take, in order of application: the approved amount, else what rate, row and cap
/// leave (R24) under the rulebook and catalogue of each (R26).
pub fn take_in_order<'a>(
    register: &Register,
    mut vouchers: Vec<&'a Voucher>,
    terms_of: impl Fn(&'a Voucher) -> (&'a Rulebook, &'a Catalogue),
) -> Vec<EarlierVoucher> {
    vouchers.sort_by(|a, b| (a.applied_at, &a.id).cmp(&(b.applied_at, &b.id)));
    let mut taken = Yuan::ZERO;
    let takes = |voucher: &'a Voucher| {
        let (rulebook, catalogue) = terms_of(voucher);
        let takes = voucher.amount.unwrap_or_else(|| match terms(register, catalogue, voucher) {
            Some(terms) => {
                let left = enterprise_cap(register, rulebook, voucher).0.saturating_sub(taken);
                share(rulebook, terms, voucher).min(terms.row.cap).min(left)
            }
            None => Yuan::ZERO,
        });
        taken = taken + takes;
        EarlierVoucher { voucher: voucher.id.clone(), takes }
    };
    vouchers.into_iter().map(takes).collect()
}

/// What earlier vouchers take, and the later ones together: from a whole register, with one rulebook and catalogue for all.
fn others(register: &Register, rulebook: &Rulebook, catalogue: &Catalogue, voucher: &Voucher) -> (Vec<EarlierVoucher>, Yuan) {
    let of_enterprise = register.vouchers_of(&voucher.enterprise);
    let of_period: Vec<&Voucher> = of_enterprise.filter(|other| other.period == voucher.period && other.status.takes_from_cap()).collect();
    let place = (voucher.applied_at, &voucher.id);
    let earlier = of_period.iter().filter(|other| (other.applied_at, &other.id) < place).count();
    let mut taken = take_in_order(register, of_period, |_| (rulebook, catalogue));
    let later = taken.split_off(earlier).into_iter().filter(|other| other.voucher != voucher.id).map(|other| other.takes).sum();
    (taken, later)
}

/// `None` where the product or its catalogue row is unknown.
pub fn work_out(register: &Register, rulebook: &Rulebook, catalogue: &Catalogue, voucher: &Voucher) -> Option<AmountWorking> {
    let terms = terms(register, catalogue, voucher)?;
    let (earlier, later) = match register.derived_for(voucher) {
        Some(derived) => (derived.earlier.clone(), derived.later),
        None => others(register, rulebook, catalogue, voucher),
    };
    let taken_before: Yuan = earlier.iter().map(|earlier| earlier.takes).sum();
    let (enterprise_cap, pilot_cap_used) = enterprise_cap(register, rulebook, voucher);
    let share = share(rulebook, terms, voucher);
    let after_row_cap = share.min(terms.row.cap);
    let computed = after_row_cap.min(enterprise_cap.saturating_sub(taken_before));
    let decided = voucher.amount.unwrap_or(computed);
    Some(AmountWorking {
        rate: rulebook.parameters.rate(terms.product.class).to_string(),
        share,
        row_cap: terms.row.cap,
        after_row_cap,
        enterprise_cap,
        pilot_cap_used,
        earlier,
        taken_before,
        computed,
        approved: voucher.amount,
        per_device: terms.row.per_device_amount,
        bonus: bonus(register, rulebook, voucher, enterprise_cap.saturating_sub(taken_before + decided + later)),
    })
}

/// R27: due once to an enterprise that passed conformance and got no provincial money for it.
fn bonus(register: &Register, rulebook: &Rulebook, voucher: &Voucher, left: Yuan) -> Option<Bonus> {
    let enterprise = register.enterprises.get(&voucher.enterprise)?;
    if (enterprise.conformance, enterprise.conformance_funded) != (Some(true), Some(false)) {
        return None;
    }
    let outside_cap = rulebook.parameters.conformance_bonus;
    let inside_cap = outside_cap.min(left);
    Some(Bonus { outside_cap, inside_cap, due: if rulebook.parameters.bonus_in_limit { inside_cap } else { outside_cap } })
}

/// ⌈V ÷ P⌉ in whole fen: the smallest D with D × P ≥ V (R36). P is above zero.
pub fn devices_required(amount: Yuan, per_device: Yuan) -> u64 {
    amount.fen().div_ceil(per_device.fen().max(1))
}

/// D × P ≥ V, without a division (R36).
pub fn devices_suffice(devices: u64, per_device: Yuan, amount: Yuan) -> bool {
    supported(devices, per_device).is_none_or(|supported| supported >= amount.decimal())
}

/// D × P, the amount that the devices would support (R38). `None` only beyond every amount of the programme.
pub fn supported(devices: u64, per_device: Yuan) -> Option<Decimal> {
    Decimal::from(devices).checked_mul(per_device.decimal())
}
