//! Contract amounts beside earlier contracts of the row (R20), duplicates (R3), and vouchers that ended unredeemed (R11).

use chrono::TimeDelta;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::outliers::spread;
use crate::reasons::{FindingCode, Group, Outcome};
use crate::register::{IssuancePeriod, Voucher, VoucherStatus};
use crate::result::Finding;
use crate::test_case::{World, at, checks, outcome, voucher, yuan};

/// Ten contracts of row 6 by other enterprises, one a day: 100,000 and 1,000 more each; then V-1 over this amount.
fn market(amount: &str) -> World {
    let mut world = World::new();
    for n in 0..10u32 {
        let mut peer = voucher(&format!("W-{n}"), "P-6");
        peer.enterprise = format!("E-1{n}");
        peer.contract_amount = yuan(&(100_000 + 1_000 * n).to_string());
        peer.applied_at = at("2019-06-02T09:00:00+08:00") + TimeDelta::days(i64::from(n));
        world.add(peer);
    }
    let mut own = voucher("V-1", "P-6");
    own.contract_amount = yuan(amount);
    world.add(own);
    world
}

fn found(world: &World, code: FindingCode) -> Option<Finding> {
    world.judge("V-1").result.findings.into_iter().find(|finding| finding.code == code)
}

#[test]
fn an_amount_far_above_the_median_of_its_row_is_a_finding_and_never_decides() {
    // Median 104,500; the deviation of 2,500 is below 5 % of the median, 5,225: a score of 5 begins at 104,500 + 5 × 5,225 ÷ 0.6745.
    assert_eq!(found(&market("143232.39"), FindingCode::ContractAmountOutlier), None);
    let world = market("143232.40");
    let finding = found(&world, FindingCode::ContractAmountOutlier).unwrap();
    assert_eq!(finding.rule, "R20");
    let by_amount = &finding.evidence[0];
    assert_eq!((&by_amount["figure"], &by_amount["median"], &by_amount["score"]), (&"amount".into(), &"104500.00".into(), &"5.00".into()));
    let judgement = world.judge("V-1");
    assert_eq!(outcome(&judgement, Group::Note, "R20"), Outcome::Unknown, "for a person");
    assert_eq!(judgement.result.verdict, market("104500").judge("V-1").result.verdict);
    assert_eq!(outcome(&market("1").judge("V-1"), Group::Note, "R20"), Outcome::Pass, "far below is no outlier");
}

#[test]
fn fewer_contracts_than_the_parameter_are_not_compared_and_parameters_move_the_bound() {
    let mut world = market("10000000");
    world.register.vouchers.remove("W-3");
    assert_eq!(outcome(&world.judge("V-1"), Group::Note, "R20"), Outcome::NotApplicable);
    assert_eq!(found(&world, FindingCode::ContractAmountOutlier), None);
    world.set("outlier_contracts_min", "9");
    assert!(found(&world, FindingCode::ContractAmountOutlier).is_some());
    let mut world = market("143232.40");
    world.set("outlier_score_min", "6");
    assert_eq!(found(&world, FindingCode::ContractAmountOutlier), None);
}

#[test]
fn later_applications_change_nothing_and_only_the_last_two_hundred_count() {
    let mut world = market("143232.40");
    let before = world.judge("V-1");
    let mut later = voucher("V-2", "P-6");
    later.enterprise = "E-2".to_string();
    later.contract_amount = yuan("900000000");
    world.add(later);
    assert_eq!(world.judge("V-1"), before, "the same instant, a later id");
    let mut early = voucher("V-0", "P-6");
    early.enterprise = "E-2".to_string();
    early.applied_at = at("2019-01-01T00:00:00+08:00");
    world.add(early.clone());
    assert_eq!(world.slice("V-1").derived.unwrap().peers.amount.unwrap().count, 11);
    for n in 0..200 {
        let mut peer = early.clone();
        peer.id = format!("X-{n}");
        peer.applied_at = at("2019-02-01T00:00:00+08:00");
        world.add(peer);
    }
    let peers = world.slice("V-1").derived.unwrap().peers;
    assert_eq!(peers.amount.unwrap().count, 200);
    world.register.vouchers.get_mut("V-0").unwrap().contract_amount = yuan("1");
    assert_eq!(world.slice("V-1").derived.unwrap().peers, peers, "the first is not among them");
}

#[test]
fn amounts_per_device_and_per_module_are_compared_where_contracts_have_any() {
    let mut world = market("104500");
    assert_eq!(world.slice("V-1").derived.unwrap().peers.amount_per_device, None);
    for n in 0..10 {
        (0..10).for_each(|device| world.declare(&format!("W-{n}"), &format!("D-{n}-{device}"), Some("44")));
    }
    world.declare("V-1", "D", Some("44"));
    let finding = found(&world, FindingCode::ContractAmountOutlier).unwrap();
    assert_eq!(finding.evidence.len(), 1);
    assert_eq!(finding.evidence[0]["figure"], "amount_per_device");
    world.register.vouchers.get_mut("V-1").unwrap().contract_modules.truncate(1);
    assert_eq!(found(&world, FindingCode::ContractAmountOutlier).unwrap().evidence[1]["figure"], "amount_per_module");
}

proptest! {
    #[test]
    fn median_and_deviation_are_those_of_counting(figures in prop::collection::vec(-1_000i64..1_000, 1..20)) {
        // Twice the median is the sum of the two in the middle, found by counting how many are not greater.
        let twice_median = |figures: &[i64]| {
            let nth = |n: usize| *figures.iter().filter(|f| figures.iter().filter(|g| g <= f).count() > n).min().unwrap();
            nth((figures.len() - 1) / 2) + nth(figures.len() / 2)
        };
        let median = twice_median(&figures);
        let apart: Vec<i64> = figures.iter().map(|figure| (2 * figure - median).abs()).collect();
        let spread = spread(figures.iter().map(|figure| Decimal::from(*figure)).collect()).unwrap();
        prop_assert_eq!(spread.median * Decimal::from(2), Decimal::from(median));
        prop_assert_eq!(spread.deviation * Decimal::from(4), Decimal::from(twice_median(&apart)));
    }
}

#[test]
fn content_of_another_voucher_is_found_by_modules_contract_or_device() {
    let duplicate = |change: fn(&mut World, &mut Voucher)| {
        let mut world = World::new();
        world.add(voucher("V-1", "P-6"));
        world.declare("V-1", "D", Some("44"));
        let mut other = voucher("V-2", "P-9");
        other.status = VoucherStatus::Paid;
        other.period = Some("2018".to_string());
        change(&mut world, &mut other);
        world.add(other);
        let evidence = found(&world, FindingCode::DuplicateContent).map(|finding| finding.evidence[0].to_string());
        (evidence, outcome(&world.judge("V-1"), Group::Note, "R3"))
    };
    assert_eq!(duplicate(|_, _| ()), (None, Outcome::Unknown));
    let modules =
        duplicate(|_, other| (other.product, other.contract_modules) = ("P-6".to_string(), vec!["甲".to_string(), "己".to_string()]));
    let expected = r#"{"contract":false,"devices":[],"function_modules":["甲"],"voucher":"V-2"}"#;
    assert_eq!(modules, (Some(expected.to_string()), Outcome::Unknown));
    let contract = duplicate(|_, other| other.contract_no = "ht-v-1".to_string());
    assert!(contract.0.unwrap().contains("\"contract\":true"));
    let device = duplicate(|world, _| world.declare("V-2", "D", None));
    assert!(device.0.unwrap().contains("\"devices\":[\"D\"]"), "though the other is paid");
    let both = duplicate(|_, other| (other.product, other.contract_no) = ("P-6".to_string(), "HT V1".to_string()));
    assert_eq!(both.1, Outcome::Fail);
    let given_up = duplicate(|_, other| (other.product, other.status) = ("P-6".to_string(), VoucherStatus::Withdrawn));
    assert_eq!(given_up.0, None);
}

/// How many vouchers count as unredeemed for V-1, applied for on 2019-07-01, where two others are like this one.
fn unredeemed(set: &[(&str, &str)], change: fn(&mut Voucher)) -> (String, Outcome) {
    let mut world = World::new();
    set.iter().for_each(|(name, value)| world.set(name, value));
    let period = IssuancePeriod {
        id: "2018".to_string(),
        claim_from: at("2018-06-01T00:00:00+08:00"),
        claim_to: at("2018-12-31T23:59:00+08:00"),
        redeem_from: at("2019-01-01T00:00:00+08:00"),
        redeem_to: at("2019-07-01T08:58:00+08:00"),
        announced_at: None,
    };
    world.register.periods.insert(period.id.clone(), period);
    world.add(voucher("V-1", "P-6"));
    for id in ["V-01", "V-02"] {
        let mut other = voucher(id, "P-9");
        other.applied_at = at("2018-07-01T00:00:00+08:00");
        other.status_at = Some(at("2019-07-01T08:59:59.999999+08:00"));
        other.period = Some("2018".to_string());
        change(&mut other);
        world.add(other);
    }
    let judgement = world.judge("V-1");
    let check = checks(&judgement, Group::Note, "R11")[0];
    (check.observed.clone(), check.outcome)
}

#[test]
fn two_vouchers_that_ended_unredeemed_before_the_application_cost_the_right_to_apply() {
    let two = |set: &[(&str, &str)], change: fn(&mut Voucher)| unredeemed(set, change) == ("2".to_string(), Outcome::Fail);
    assert!(two(&[], |other| other.status = VoucherStatus::Void));
    assert!(
        !two(&[], |other| (other.status, other.status_at) = (VoucherStatus::Void, Some(at("2019-07-01T09:00:00+08:00")))),
        "not before"
    );
    assert!(!two(&[], |other| (other.status, other.void_cause) = (VoucherStatus::Void, Some("budget".to_string()))), "lack of funds");
    assert!(!two(&[], |other| other.status = VoucherStatus::Withdrawn));
    let refused = |other: &mut Voucher| (other.status, other.redeem_at) = (VoucherStatus::Refused, Some(at("2019-02-01T00:00:00+08:00")));
    assert!(two(&[], refused));
    assert!(!two(&[("unredeemed_refused", "false")], refused));
    assert!(!two(&[], |other| other.status = VoucherStatus::Refused), "refused before there was a voucher");
    assert!(!two(&[("unredeemed_all_periods", "false")], |other| other.status = VoucherStatus::Void), "of another period");
    // The deadline of 08:58 includes its minute, and 09:00 is after it.
    assert!(two(&[], |other| other.status = VoucherStatus::Issued), "left to expire");
    assert!(!two(&[], |other| (other.status, other.redeem_at) = (VoucherStatus::Redeeming, Some(at("2019-02-01T00:00:00+08:00")))));
    assert_eq!(
        unredeemed(&[], |other| if other.id == "V-01" { other.status = VoucherStatus::Void } else { other.status = VoucherStatus::Paid }),
        ("1".to_string(), Outcome::Pass)
    );
}
