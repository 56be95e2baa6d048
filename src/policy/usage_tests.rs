//! Products without a per-device amount: days, users, function modules (R35).

use crate::reasons::{FindingCode, Group, Outcome, Verdict};
use crate::result::UsageFigures;
use crate::test_case::{World, at, checks, voucher};
use crate::usage::{covers, modules_required};

fn world() -> World {
    let mut world = World::new();
    world.add(voucher("V-1", "P-6"));
    world
}

fn outcomes(world: &World) -> Vec<Outcome> {
    checks(&world.judge("V-1"), Group::Deciding, "R35").iter().map(|check| check.outcome).collect()
}

#[test]
fn exactly_at_every_threshold_is_met_and_one_short_of_any_is_not() {
    let used = |days: u32, users: &[&str], modules: &[&str]| {
        let mut world = world();
        world.use_product(days, users, modules);
        (world.judge("V-1").result.verdict, outcomes(&world))
    };
    use Outcome::{Fail, Pass};
    assert_eq!(used(10, &["u1", "u2"], &["甲", "乙", "丙"]), (Verdict::Met, vec![Pass, Pass, Pass]));
    assert_eq!(used(9, &["u1", "u2"], &["甲", "乙", "丙"]), (Verdict::NotMet, vec![Fail, Pass, Pass]));
    assert_eq!(used(10, &["u1"], &["甲", "乙", "丙"]), (Verdict::NotMet, vec![Pass, Fail, Pass]));
    assert_eq!(used(10, &["u1", "u2"], &["甲", "乙"]), (Verdict::NotMet, vec![Pass, Pass, Fail]));
    // 己 is listed but not in the contract: it counts for days and users, not for coverage.
    assert_eq!(used(10, &["u1", "u2"], &["甲", "乙", "己"]), (Verdict::NotMet, vec![Pass, Pass, Fail]));
}

#[test]
fn the_figures_and_the_shape_of_the_result() {
    let mut world = world();
    world.use_product(12, &["u1", "u2", "u3"], &["甲", "己"]);
    let judgement = world.judge("V-1");
    let figures = UsageFigures { active_days: 12, users: 3, function_modules_used: 1, function_modules_contracted: 5 };
    assert_eq!((judgement.result.usage, judgement.result.devices.is_none()), (Some(figures), true));
    let check = checks(&judgement, Group::Deciding, "R35")[2];
    assert_eq!((check.required.as_str(), check.observed.as_str(), check.parameter), ("0.6", "1/5", true));
    assert!(check.text.contains("5 项") && check.text.contains("3 项"), "{}", check.text);
    let modules = &judgement.explanation.function_modules;
    assert_eq!((modules.len(), modules.iter().filter(|module| module.contracted).count()), (6, 5));
}

#[test]
fn no_usage_is_insufficient_and_late_usage_is_not_met() {
    let mut world = world();
    let silent = world.judge("V-1");
    assert_eq!((silent.result.verdict, outcomes(&world)), (Verdict::Insufficient, vec![Outcome::Unknown; 3]));
    world.action("u1", "甲", at("2019-11-05T18:00:00.000001+08:00"), 0);
    world.action("u1", "甲", at("2019-10-06T23:59:59+08:00"), 0);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Insufficient);
    world.action("u1", "甲", at("2019-10-07T00:00:00+08:00"), 8);
    let late = world.judge("V-1");
    assert_eq!((late.result.verdict, late.result.usage.unwrap().active_days), (Verdict::NotMet, 0));
    world.action("u1", "甲", at("2019-10-07T00:00:00+08:00"), 7);
    assert_eq!(world.judge("V-1").result.usage.unwrap().active_days, 1);
}

#[test]
fn coverage_is_compared_exactly() {
    let share = |text: &str| text.parse().unwrap();
    assert!(covers(3, 5, share("0.6")) && !covers(2, 5, share("0.6")));
    assert!(!covers(1, 3, share("0.333333333334")) && covers(1, 3, share("0.333333333333")));
    assert!(covers(7, 10, share("0.7")) && covers(0, 5, share("0")));
    assert_eq!((modules_required(5, share("0.6")).to_string(), modules_required(7, share("0.6")).to_string()), ("3".into(), "5".into()));
}

#[test]
fn a_contract_without_function_modules_cannot_be_judged() {
    let mut world = world();
    world.register.vouchers.get_mut("V-1").unwrap().contract_modules.clear();
    world.use_product(20, &["u1", "u2"], &["甲"]);
    assert_eq!((world.judge("V-1").result.verdict, outcomes(&world)[2]), (Verdict::Insufficient, Outcome::Unknown));
}

#[test]
fn usage_shared_by_two_live_vouchers_is_found_and_met_becomes_conflicting() {
    let mut world = world();
    world.add(voucher("V-2", "P-6"));
    world.use_product(10, &["u1", "u2"], &["甲", "乙", "丙"]);
    for id in ["V-1", "V-2"] {
        let result = world.judge(id).result;
        assert_eq!((result.verdict, result.findings[0].code), (Verdict::Conflicting, FindingCode::SharedUsage));
    }
    world.register.vouchers.get_mut("V-2").unwrap().status = crate::register::VoucherStatus::Paid;
    let alone = world.judge("V-1").result;
    let shared = alone.findings.iter().any(|finding| finding.code == FindingCode::SharedUsage);
    assert_eq!((alone.verdict, shared), (Verdict::Met, false));
    // What is not met stays so.
    let mut short = self::world();
    short.add(voucher("V-2", "P-6"));
    short.use_product(9, &["u1", "u2"], &["甲", "乙", "丙"]);
    assert_eq!(short.judge("V-1").result.verdict, Verdict::NotMet);
}
