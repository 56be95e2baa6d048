//! Connected devices: thresholds, reasons, cut-off and lateness (R36, R37).

use proptest::prelude::*;

use crate::calendar::{Instant, day_start};
use crate::facts::Channel;
use crate::reasons::{ExclusionReason, Group, Outcome, Verdict};
use crate::result::DeviceFigures;
use crate::test_case::{World, at, checks, day, outcome, voucher, yuan};

/// A voucher of row 23 over 1,600.00 yuan: two devices needed.
fn two_needed() -> World {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-23");
    voucher.contract_amount = yuan("2000");
    world.add(voucher);
    world
}

fn figures(world: &World) -> DeviceFigures {
    world.judge("V-1").result.devices.unwrap()
}

fn reason(world: &World, device: &str) -> Option<ExclusionReason> {
    figures(world).excluded.iter().find(|excluded| excluded.device == device).map(|excluded| excluded.reason)
}

#[test]
fn exactly_enough_devices_meet_and_one_short_does_not() {
    for (count, verdict, needed) in [(54, Verdict::Met, Outcome::Pass), (53, Verdict::NotMet, Outcome::Fail)] {
        let mut world = World::new();
        let mut voucher = voucher("V-1", "P-5");
        voucher.contract_amount = yuan("100000.01");
        world.add(voucher);
        world.connect("V-1", count, 7);
        let judgement = world.judge("V-1");
        assert_eq!(judgement.result.verdict, verdict);
        let check = checks(&judgement, Group::Deciding, "R36")[0];
        assert_eq!((check.outcome, check.required.as_str(), check.parameter), (needed, "54", false));
        assert_eq!(check.observed, count.to_string());
        assert_eq!(check.text.contains("少 1 台"), count == 53);
        let figures = judgement.result.devices.unwrap();
        assert_eq!(
            (figures.required, figures.connected, figures.decided, figures.declared),
            (54, count as u64, count as u64, count as u64)
        );
    }
}

#[test]
fn the_approved_amount_decides_before_the_computed_one() {
    let mut world = two_needed();
    world.connect("V-1", 1, 7);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::NotMet);
    world.register.vouchers.get_mut("V-1").unwrap().amount = Some(yuan("800"));
    let result = world.judge("V-1").result;
    assert_eq!((result.verdict, result.devices.unwrap().required), (Verdict::Met, 1));
    assert_eq!(
        (result.amount.computed, result.amount.approved, result.amount.per_device),
        (yuan("1600"), Some(yuan("800")), Some(yuan("800")))
    );
}

#[test]
fn a_device_needs_seven_effective_days_of_four_different_hours() {
    let mut world = two_needed();
    world.connect("V-1", 2, 7);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Met);
    let mut six = two_needed();
    six.connect("V-1", 2, 6);
    assert_eq!((six.judge("V-1").result.verdict, reason(&six, "SN-0")), (Verdict::NotMet, Some(ExclusionReason::EffectiveDays)));
    // A seventh day of three hours, many readings and two channels, is still not effective.
    for (hour, channel) in
        [(8, Channel::Gateway), (8, Channel::Supplier), (9, Channel::Gateway), (9, Channel::Supplier), (10, Channel::Gateway)]
    {
        for device in ["SN-0", "SN-1"] {
            six.reading_by(device, at(&format!("2019-10-20T{hour:02}:15:00+08:00")), 0, channel, true);
            six.reading_by(device, at(&format!("2019-10-20T{hour:02}:45:00+08:00")), 0, channel, true);
        }
    }
    assert_eq!(reason(&six, "SN-0"), Some(ExclusionReason::EffectiveDays));
    // The fourth hour, through the other door, makes it so.
    for device in ["SN-0", "SN-1"] {
        six.reading_by(device, at("2019-10-20T23:59:59.999999+08:00"), 0, Channel::Supplier, true);
    }
    assert_eq!(six.judge("V-1").result.verdict, Verdict::Met);
}

#[test]
fn each_reason_for_exclusion() {
    let mut world = World::new();
    let mut other = voucher("V-2", "P-9");
    other.applied_at = at("2019-08-01T00:00:00+08:00");
    world.add(voucher("V-1", "P-5"));
    world.add(other);
    let noon = at("2019-10-20T12:00:00+08:00");
    for device in ["claimed", "counted", "few", "late", "nowhere", "outside", "quality", "silent"] {
        world.declare("V-1", device, Some("44"));
    }
    world.declare("V-1", "outside", Some("43"));
    world.declare("V-1", "nowhere", None);
    world.declare("V-2", "claimed", Some("44"));
    ["claimed", "counted", "nowhere", "outside"].iter().for_each(|device| world.run(device, 7));
    world.run("few", 1);
    world.reading("late", noon, 8);
    world.reading_by("quality", noon, 0, Channel::Gateway, false);
    world.run("stranger", 1);
    world.reading_by("stranger-2", noon, 30, Channel::Gateway, false);
    let judgement = world.judge("V-1");
    let figures = judgement.result.devices.clone().unwrap();
    let excluded: Vec<(&str, ExclusionReason)> =
        figures.excluded.iter().map(|excluded| (excluded.device.as_str(), excluded.reason)).collect();
    assert_eq!(
        excluded,
        [
            ("claimed", ExclusionReason::ClaimedElsewhere),
            ("few", ExclusionReason::EffectiveDays),
            ("late", ExclusionReason::Late),
            ("nowhere", ExclusionReason::Location),
            ("outside", ExclusionReason::Location),
            ("quality", ExclusionReason::Quality),
            ("silent", ExclusionReason::NotSeen),
        ]
    );
    assert_eq!((figures.declared, figures.connected, figures.undeclared), (8, 1, 2));
    assert!(figures.excluded.iter().all(|excluded| !excluded.detail.is_empty()));
    assert_eq!(outcome(&judgement, Group::Formal, "R5"), Outcome::Fail);
    // The claim of a voucher that is no longer live does not matter.
    world.register.vouchers.get_mut("V-2").unwrap().status = crate::register::VoucherStatus::Void;
    assert_eq!(world.judge("V-1").result.devices.unwrap().connected, 2);
    // Rows 22 and 23 may be outside the province.
    world.register.vouchers.get_mut("V-1").unwrap().product = "P-22".to_string();
    let judgement = world.judge("V-1");
    assert_eq!(judgement.result.devices.as_ref().unwrap().connected, 4);
    assert_eq!(outcome(&judgement, Group::Formal, "R5"), Outcome::NotApplicable);
}

#[test]
fn silence_is_insufficient_and_readings_that_do_not_count_are_not_met() {
    let mut world = two_needed();
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Insufficient, "nothing declared");
    world.declare("V-1", "SN-0", Some("44"));
    world.run("stranger", 20);
    let silent = world.judge("V-1");
    assert_eq!((silent.result.verdict, outcome(&silent, Group::Deciding, "R36")), (Verdict::Insufficient, Outcome::Unknown));
    assert_eq!((silent.result.verdict_text.as_str(), silent.result.devices.unwrap().undeclared), ("证据不足", 1));
    // One reading of a fault, or one far too late, breaks the silence.
    for (normal, days_late) in [(false, 0), (true, 8)] {
        let mut world = two_needed();
        world.declare("V-1", "SN-0", Some("44"));
        world.reading_by("SN-0", at("2019-10-20T12:00:00+08:00"), days_late, Channel::Gateway, normal);
        let heard = world.judge("V-1");
        assert_eq!((heard.result.verdict, outcome(&heard, Group::Deciding, "R36")), (Verdict::NotMet, Outcome::Fail));
    }
    // A reading before the window or after the cut-off does not.
    for text in ["2019-10-06T23:59:59.999999+08:00", "2019-11-05T18:00:00.000001+08:00"] {
        let mut world = two_needed();
        world.declare("V-1", "SN-0", Some("44"));
        world.reading("SN-0", at(text), 0);
        assert_eq!(world.judge("V-1").result.verdict, Verdict::Insufficient, "{text}");
    }
}

/// Six effective days and one on the last day of the window, whose fourth hour has its only reading at `last`.
fn seventh_day_ends(last: Instant, days_late: u32) -> World {
    let mut world = two_needed();
    world.connect("V-1", 2, 6);
    for device in ["SN-0", "SN-1"] {
        for hour in 14..17 {
            world.reading(device, at(&format!("2019-11-05T{hour}:00:00+08:00")), 0);
        }
        world.reading(device, last, days_late);
    }
    world
}

#[test]
fn the_reading_at_the_cut_off_counts_and_the_next_microsecond_does_not() {
    assert_eq!(seventh_day_ends(at("2019-11-05T18:00:00+08:00"), 0).judge("V-1").result.verdict, Verdict::Met);
    assert_eq!(seventh_day_ends(at("2019-11-05T18:00:00.000001+08:00"), 0).judge("V-1").result.verdict, Verdict::NotMet);
    // With a redemption, nothing after it counts, however late the judging.
    let mut redeemed = seventh_day_ends(at("2019-11-05T18:00:00+08:00"), 0);
    redeemed.register.vouchers.get_mut("V-1").unwrap().redeem_at = Some(at("2019-11-05T17:59:59+08:00"));
    redeemed.as_of = at("2019-12-31T00:00:00+08:00");
    assert_eq!(redeemed.judge("V-1").result.verdict, Verdict::NotMet);
    redeemed.register.vouchers.get_mut("V-1").unwrap().redeem_at = Some(at("2019-11-05T18:00:00+08:00"));
    assert_eq!(redeemed.judge("V-1").result.verdict, Verdict::Met);
}

#[test]
fn late_by_exactly_the_bound_counts_and_by_one_more_does_not() {
    let last = at("2019-11-05T17:30:00+08:00");
    assert_eq!(seventh_day_ends(last, 7).judge("V-1").result.verdict, Verdict::Met);
    assert_eq!(seventh_day_ends(last, 8).judge("V-1").result.verdict, Verdict::NotMet);
    let mut stricter = seventh_day_ends(last, 7);
    stricter.set("late_days_max", "6");
    assert_eq!(stricter.judge("V-1").result.verdict, Verdict::NotMet);
}

#[test]
fn the_first_and_last_day_of_the_window_count() {
    let mut world = two_needed();
    world.set("device_effective_days_min", "2");
    for device in ["SN-0", "SN-1"] {
        world.declare("V-1", device, None);
        for hour in 0..4 {
            world.reading(device, day_start(day("2019-10-07")) + chrono::TimeDelta::hours(hour), 0);
            world.reading(device, day_start(day("2019-11-05")) + chrono::TimeDelta::hours(hour), 0);
        }
    }
    let judgement = world.judge("V-1");
    assert_eq!(judgement.result.verdict, Verdict::Met);
    let standing = &judgement.explanation.devices[0];
    assert_eq!((standing.counting_day_first, standing.counting_day_last), (Some(day("2019-10-07")), Some(day("2019-11-05"))));
    assert_eq!((standing.days_seen, standing.days_counting, standing.effective_days), (2, 2, 2));
    let days = &judgement.explanation.days;
    assert_eq!((days.len(), days[0].devices_effective, days[1].devices_counting, days[29].devices_counting), (30, 2, 0, 2));
    world.set("window_days", "29");
    assert_eq!(world.judge("V-1").result.verdict, Verdict::NotMet);
}

#[derive(Clone, Debug)]
struct Said {
    device: u8,
    hours_after: i64,
    days_late: u32,
    normal: bool,
}

fn said() -> impl Strategy<Value = Said> {
    (0u8..6, 0i64..800, 0u32..10, prop::bool::weighted(0.8)).prop_map(|(device, hours_after, days_late, normal)| Said {
        device,
        hours_after,
        days_late,
        normal,
    })
}

proptest! {
    #[test]
    fn declared_is_connected_and_excluded_whatever_the_order(list in prop::collection::vec(said(), 0..400), claimed in 0u8..7, outside in 0u8..7) {
        let build = |list: &mut dyn Iterator<Item = &Said>| {
            let mut world = World::new();
            world.set("device_effective_days_min", "1");
            world.set("effective_day_hours_min", "2");
            world.add(voucher("V-1", "P-5"));
            world.add(voucher("V-2", "P-5"));
            for n in 0..5u8 {
                world.declare("V-1", &format!("D{n}"), Some(if n == outside { "43" } else { "44" }));
            }
            world.declare("V-2", &format!("D{claimed}"), Some("44"));
            for said in list {
                let occurred_at = at("2019-10-05T00:10:00+08:00") + chrono::TimeDelta::hours(said.hours_after);
                world.reading_by(&format!("D{}", said.device), occurred_at, said.days_late, Channel::Gateway, said.normal);
            }
            world.judge("V-1")
        };
        let forward = build(&mut list.iter());
        let backward = build(&mut list.iter().rev());
        prop_assert_eq!(&forward.result.judgement_hash, &backward.result.judgement_hash);
        prop_assert_eq!(&forward, &backward);
        let figures = forward.result.devices.unwrap();
        prop_assert_eq!(figures.declared, 5);
        prop_assert_eq!(figures.declared, figures.connected + figures.excluded.len() as u64);
        // Against a plain count over the list itself.
        for n in 0..5u8 {
            let mut hours = std::collections::BTreeMap::<i64, std::collections::BTreeSet<i64>>::new();
            for said in list.iter().filter(|said| said.device == n && said.normal && said.days_late <= 7) {
                // The window runs from hour 48 (2019-10-07 00:10) to hour 761 (2019-11-05 17:10).
                if (48..=761).contains(&said.hours_after) {
                    hours.entry(said.hours_after / 24).or_default().insert(said.hours_after % 24);
                }
            }
            let connected = n != claimed && n != outside && hours.values().any(|hours| hours.len() >= 2);
            let standing = forward.explanation.devices.iter().find(|standing| standing.device == format!("D{n}")).unwrap();
            prop_assert_eq!(standing.counted, connected, "D{}", n);
        }
    }
}
