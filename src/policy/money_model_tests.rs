//! Amounts, caps, quotas and the award against a slow model in whole fen that shares nothing with the real computation but the input.

use chrono::TimeDelta;
use proptest::prelude::*;

use crate::derived::Derived;
use crate::judge::Judgement;
use crate::money::Yuan;
use crate::reasons::{Group, Outcome};
use crate::register::*;
use crate::test_case::{World, at, checks, enterprise, voucher};

/// A voucher as the model sees it: plain numbers.
#[derive(Clone, Debug)]
struct Plain {
    number: usize,
    enterprise: u8,
    class_a: bool,
    row: u8,
    supplier: u8,
    contract_fen: u64,
    applied_minute: i64,
    period: Option<u8>,
    status: VoucherStatus,
    approved_fen: Option<u64>,
    pilot: bool,
    redeemed_minute: Option<i64>,
}

/// Enterprises 0 and 1 are of city 0, the third of city 1.
#[derive(Clone, Debug)]
struct PlainWorld {
    vouchers: Vec<Plain>,
    pilot_caps_fen: [Option<u64>; 3],
    conformance: [bool; 3],
    quotas_fen: [Option<u64>; 5],
    /// Whether claiming of both periods has ended.
    claiming_ended: bool,
}

const CAPS: [u64; 25] = [8, 18, 5, 15, 10, 20, 25, 15, 5, 25, 5, 10, 25, 15, 20, 25, 3, 5, 3, 5, 5, 25, 10, 30, 30];
/// Parties of the quotas: two cities, two suppliers, the pilot.
const PARTIES: [&str; 5] = ["440100", "440600", "S-0", "S-1", "T"];

fn gone(status: VoucherStatus) -> bool {
    [VoucherStatus::Void, VoucherStatus::Refused, VoucherStatus::Withdrawn].contains(&status)
}

impl PlainWorld {
    fn first(&self, one: &Plain, other: &Plain) -> bool {
        one.applied_minute < other.applied_minute || one.applied_minute == other.applied_minute && one.number < other.number
    }

    fn cap(&self, voucher: &Plain) -> u64 {
        match self.pilot_caps_fen[usize::from(voucher.enterprise)] {
            Some(cap) => cap.min(100_000_000),
            None => 30_000_000,
        }
    }

    fn taken_before(&self, voucher: &Plain) -> u64 {
        let mut taken = 0;
        for other in &self.vouchers {
            if other.enterprise == voucher.enterprise && other.period == voucher.period && !gone(other.status) && self.first(other, voucher)
            {
                taken += self.takes(other);
            }
        }
        taken
    }

    fn computed(&self, voucher: &Plain) -> u64 {
        let share = if voucher.class_a { voucher.contract_fen * 4 / 5 } else { voucher.contract_fen * 2 / 5 };
        let row_cap = CAPS[usize::from(voucher.row) - 1] * 1_000_000;
        share.min(row_cap).min(self.cap(voucher).saturating_sub(self.taken_before(voucher)))
    }

    fn takes(&self, voucher: &Plain) -> u64 {
        voucher.approved_fen.unwrap_or_else(|| self.computed(voucher))
    }

    fn draws_on(&self, voucher: &Plain) -> [usize; 2] {
        let place = if voucher.pilot { 4 } else { usize::from(voucher.enterprise / 2) };
        [place, 2 + usize::from(voucher.supplier)]
    }

    /// What later ones of the period take.
    fn taken_after(&self, voucher: &Plain) -> u64 {
        let others = self.vouchers.iter().filter(|other| other.number != voucher.number && other.enterprise == voucher.enterprise);
        let later = others.filter(|other| other.period == voucher.period && !gone(other.status) && self.first(voucher, other));
        later.map(|other| self.takes(other)).sum()
    }

    /// The pilot owes two enterprises of its only member in the period, until claiming ends.
    fn title_lost(&self, period: Option<u8>) -> bool {
        let served =
            self.vouchers.iter().filter(|other| other.pilot && other.period == period && other.supplier == 0 && !gone(other.status));
        self.claiming_ended && served.map(|other| other.enterprise).collect::<std::collections::BTreeSet<_>>().len() < 2
    }

    /// Issued ones in order of application; then those that wait, pilots first that have kept their title.
    fn turn_before(&self, other: &Plain, voucher: &Plain) -> bool {
        let prior = |plain: &Plain| plain.pilot && !self.title_lost(plain.period);
        let class = |plain: &Plain| match (plain.status == VoucherStatus::Applied, prior(plain)) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        };
        class(other) < class(voucher) || class(other) == class(voucher) && self.first(other, voucher)
    }

    fn quota_left(&self, party: usize, voucher: &Plain) -> Option<u64> {
        let mut left = self.quotas_fen[party]?;
        for other in &self.vouchers {
            if !gone(other.status)
                && other.period == voucher.period
                && other.number != voucher.number
                && self.draws_on(other).contains(&party)
                && self.turn_before(other, voucher)
            {
                left = left.saturating_sub(self.takes(other));
            }
        }
        Some(left)
    }

    fn fits(&self, parties: &[usize], voucher: &Plain) -> Outcome {
        if voucher.period.is_none() {
            return Outcome::Unknown;
        }
        let left: Vec<Option<u64>> = parties.iter().map(|party| self.quota_left(*party, voucher)).collect();
        if left.iter().flatten().any(|left| self.takes(voucher) > *left) {
            Outcome::Fail
        } else if left.contains(&None) {
            Outcome::Unknown
        } else {
            Outcome::Pass
        }
    }

    /// The voucher with which the enterprise's award is paid.
    fn award_with(&self, enterprise: u8) -> Option<usize> {
        let mut best: Option<(i64, usize)> = None;
        for other in self.vouchers.iter().filter(|other| other.enterprise == enterprise && !gone(other.status)) {
            if let Some(minute) = other.redeemed_minute
                && best.is_none_or(|best| (minute, other.number) < best)
            {
                best = Some((minute, other.number));
            }
        }
        best.map(|(_, number)| number)
    }
}

fn text(fen: u64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

fn id(number: usize) -> String {
    format!("V-{number:02}")
}

fn built(plain: &PlainWorld) -> World {
    let mut world = World::new();
    for n in 0..3 {
        let mut row = enterprise(&format!("E-{n}"));
        row.city = PARTIES[n / 2].to_string();
        row.pilot_cap = plain.pilot_caps_fen[n].map(|fen| text(fen).parse().unwrap());
        (row.conformance, row.conformance_funded) = (Some(plain.conformance[n]), Some(false));
        world.register.enterprises.insert(row.id.clone(), row);
    }
    let pilot = Pilot {
        id: "T".to_string(),
        members: vec!["S-0".to_string()],
        enterprises: (0..3).map(|n| format!("E-{n}")).collect(),
        benchmark: "E-0".to_string(),
    };
    world.register.pilots.insert(pilot.id.clone(), pilot);
    for (party, fen) in PARTIES.into_iter().zip(plain.quotas_fen) {
        for period in ["0", "1"] {
            let key = (party.to_string(), period.to_string());
            let row = |fen: u64| Quota { party: key.0.clone(), period: key.1.clone(), amount: text(fen).parse().unwrap() };
            world.register.quotas.extend(fen.map(|fen| (key.clone(), row(fen))));
        }
    }
    for id in ["0", "1"] {
        let mut row = crate::test_case::period(id);
        row.claim_to = at(if plain.claiming_ended { "2019-11-05T17:59:00+08:00" } else { "2019-11-05T18:00:00+08:00" });
        world.register.periods.insert(id.to_string(), row);
    }
    world.set("pilot_enterprises_min", "2");
    world.set("pilot_joint_enterprises_min", "1");
    let start = at("2019-07-01T00:00:00+08:00");
    for one in &plain.vouchers {
        let class = if one.class_a { ProductClass::A } else { ProductClass::B };
        let product = format!("{}-{}-{}", if one.class_a { "A" } else { "B" }, one.row, one.supplier);
        let mut row = crate::test_case::product(&product, class, one.row);
        row.supplier = format!("S-{}", one.supplier);
        world.register.products.insert(product.clone(), row);
        let mut row = voucher(&id(one.number), &product);
        row.enterprise = format!("E-{}", one.enterprise);
        row.contract_amount = text(one.contract_fen).parse().unwrap();
        row.applied_at = start + TimeDelta::minutes(one.applied_minute);
        row.period = one.period.map(|period| period.to_string());
        row.status = one.status;
        row.amount = one.approved_fen.map(|fen| text(fen).parse().unwrap());
        row.pilot = one.pilot.then(|| "T".to_string());
        row.redeem_at = one.redeemed_minute.map(|minute| start + TimeDelta::minutes(minute));
        world.add(row);
    }
    world
}

fn status() -> impl Strategy<Value = VoucherStatus> {
    use VoucherStatus::*;
    prop::sample::select(vec![Applied, Applied, Issued, Issued, Redeeming, Approved, Paid, Returned, Refused, Void, Withdrawn])
}

prop_compose! {
    fn plain_voucher()(
        enterprise in 0u8..3, class_a in any::<bool>(), row in 1u8..=25, supplier in 0u8..2,
        contract_fen in prop_oneof![0u64..200, 1u64..60_000_000, Just(99_999_999_999_999u64)],
        applied_minute in 0i64..6, period in prop::sample::select(vec![None, Some(0u8), Some(0), Some(1)]), status in status(),
        approved_fen in prop::option::weighted(0.3, 0u64..30_000_000), pilot in prop::bool::weighted(0.3),
        redeemed_minute in prop::option::of(0i64..4),
    ) -> Plain {
        Plain { number: 0, enterprise, class_a, row, supplier, contract_fen, applied_minute, period, status, approved_fen, pilot, redeemed_minute }
    }
}

prop_compose! {
    fn plain_world()(
        vouchers in prop::collection::vec(plain_voucher(), 1..14),
        pilot_caps_fen in prop::array::uniform3(prop::option::of(1u64..150_000_000)),
        conformance in any::<[bool; 3]>(),
        quotas_fen in prop::array::uniform5(prop::option::weighted(0.8, prop_oneof![0u64..100_000_000, Just(500_000_000u64)])),
        claiming_ended in any::<bool>(),
    ) -> PlainWorld {
        let vouchers = vouchers.into_iter().enumerate().map(|(number, voucher)| Plain { number, ..voucher }).collect();
        PlainWorld { vouchers, pilot_caps_fen, conformance, quotas_fen, claiming_ended }
    }
}

fn formal(judgement: &Judgement, rule: &str) -> (Outcome, String) {
    let check = checks(judgement, Group::Formal, rule)[0];
    (check.outcome, check.observed.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn amounts_caps_quotas_and_award_are_those_of_the_model(plain in plain_world()) {
        let world = built(&plain);
        let index = world.indexed();
        for one in &plain.vouchers {
            let row = &world.register.vouchers[&id(one.number)];
            let slice = index.slice(row);
            let judgement = crate::judge::judge(&crate::judge::Case {
                register: &slice, rulebook: &world.rulebook, catalogue: &world.catalogue, voucher: row, as_of: world.as_of,
                facts: &world.facts,
            });
            let working = judgement.explanation.amount.clone().unwrap();
            prop_assert_eq!(working.computed.to_string(), text(plain.computed(one)), "computed, {:?}", one);
            prop_assert_eq!(working.taken_before.to_string(), text(plain.taken_before(one)), "taken before, {:?}", one);
            let decided = plain.takes(one);
            let left = plain.cap(one).saturating_sub(plain.taken_before(one));
            let capped = if decided > 0 && decided <= left { Outcome::Pass } else { Outcome::Fail };
            prop_assert_eq!(formal(&judgement, "R24").0, capped, "R24, {:?}", one);
            let [place, supplier] = plain.draws_on(one);
            let ordinary = [place, supplier];
            let r28 = if one.pilot { plain.fits(&[supplier], one) } else { plain.fits(&ordinary, one) };
            prop_assert_eq!(formal(&judgement, "R28").0, r28, "R28, {:?}", one);
            let r29 = if one.pilot { plain.fits(&[place], one) } else { Outcome::NotApplicable };
            prop_assert_eq!(formal(&judgement, "R29").0, r29, "R29, {:?}", one);
            if plain.conformance[usize::from(one.enterprise)] {
                let paid = plain.award_with(one.enterprise) == Some(one.number);
                prop_assert_eq!(formal(&judgement, "R27").1, if paid { "100000.00" } else { "0.00" }, "R27, {:?}", one);
                let inside = left.saturating_sub(decided + plain.taken_after(one)).min(10_000_000);
                prop_assert_eq!(working.bonus.unwrap().inside_cap.to_string(), text(inside), "inside the cap, {:?}", one);
            }
            // D × P ≥ V, in fen.
            if let Some(per_device) = [(5, 150_000u64), (22, 150_000), (23, 80_000)].into_iter().find(|(row, _)| *row == one.row) {
                let mut required = 0;
                while required * per_device.1 < decided {
                    required += 1;
                }
                prop_assert_eq!(judgement.result.devices.unwrap().required, required, "required, {:?}", one);
            }
        }
    }

    #[test]
    fn a_later_application_changes_nothing_for_what_is_issued_before(plain in plain_world(), later in plain_voucher()) {
        let before = built(&plain);
        let mut with = plain.clone();
        let minute = plain.vouchers.iter().map(|voucher| voucher.applied_minute).max().unwrap() + 1;
        with.vouchers.push(Plain { number: 99, applied_minute: minute, redeemed_minute: None, ..later });
        let after = built(&with);
        for one in plain.vouchers.iter().filter(|one| one.status != VoucherStatus::Applied) {
            // What the award inside the cap leaves room for alone looks at later ones.
            let derived = |world: &World| Derived { later: Yuan::ZERO, ..*world.slice(&id(one.number)).derived.unwrap() };
            prop_assert_eq!(derived(&before), derived(&after));
        }
    }

    #[test]
    fn extreme_figures_never_panic(
        contract in 0u64..=100_000_000_000_000, approved in prop::option::of(0u64..=100_000_000_000_000),
        paid in prop::option::of(0u64..=100_000_000_000_000), row in 1u8..=25, quota in 0u64..=100_000_000_000_000,
        devices in prop::option::of(any::<u64>()), others in 0usize..40,
    ) {
        let mut world = World::new();
        for n in 0..=others {
            let mut voucher = voucher(&id(n), &format!("P-{row}"));
            (voucher.contract_amount, voucher.contract_total) = (text(contract).parse().unwrap(), text(contract).parse().unwrap());
            voucher.amount = approved.map(|fen| text(fen).parse().unwrap());
            voucher.paid = paid.map(|fen| text(fen).parse().unwrap());
            voucher.cost_lines = Some(vec![CostLine { kind: "软件".to_string(), amount: voucher.contract_amount }; 3]);
            voucher.period = Some("2019".to_string());
            voucher.enterprise = if n % 2 == 0 { "E-1".to_string() } else { format!("E-{n}") };
            voucher.applied_at += TimeDelta::seconds(n as i64);
            world.add(voucher);
        }
        let row = Quota { party: "S-1".to_string(), period: "2019".to_string(), amount: text(quota).parse().unwrap() };
        world.register.quotas.insert((row.party.clone(), row.period.clone()), row);
        world.connect(&id(others), 2, 8);
        world.carry("L-1", 20, devices);
        world.carry("L-2", 20, devices);
        for on_conflict in ["\"carrier\"", "\"review\""] {
            world.set("on_conflict", on_conflict);
            let judgement = world.judge(&id(others));
            prop_assert!(!judgement.result.checks.is_empty());
        }
    }
}
