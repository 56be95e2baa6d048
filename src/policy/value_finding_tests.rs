//! Findings about values: told of whole hours, and never of machines that stand still, are allowed to, or merely began late.

use chrono::TimeDelta;
use serde_json::json;

use crate::facts::Channel;
use crate::reasons::{FindingCode, Verdict};
use crate::result::Finding;
use crate::test_case::{World, at, voucher, yuan};
use crate::values_seen::ValuesSeen;

/// Met, with the devices SN-0 to SN-2 on seven days from 2019-10-10 on.
fn met() -> World {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-23");
    voucher.contract_amount = yuan("2000");
    world.add(voucher);
    world.connect("V-1", 3, 7);
    world
}

/// Three or more readings in each of four hours of so many days, as `values` gives them by number of the hour and of the reading.
fn say(world: &mut World, device: &str, days: i64, channel: Channel, values: impl Fn(i64, i64) -> Option<f64>) {
    for hour in 0..days * 4 {
        let occurred_at = at("2019-10-10T08:30:00+08:00") + TimeDelta::days(hour / 4) + TimeDelta::hours(hour % 4);
        world.reading_by(device, occurred_at, 1, channel, true);
        let of_day = world.facts.devices.get_mut(device).unwrap().get_mut(&crate::calendar::day_of(occurred_at)).unwrap();
        let of_hour = of_day.hours.get_mut(&(crate::calendar::hour_of(occurred_at), channel)).unwrap();
        (0..3).filter_map(|reading| ValuesSeen::of(values(hour, reading))).for_each(|seen| of_hour.values.merge(seen));
    }
}

/// Another series for each seed, moving within every hour.
fn moving(seed: i64) -> impl Fn(i64, i64) -> Option<f64> {
    move |hour, reading| Some((hour * 31 + reading * 7 + seed * 1_009) as f64)
}

fn findings(world: &World) -> Vec<Finding> {
    let result = world.judge("V-1").result;
    assert_eq!(result.verdict, Verdict::Met, "a finding never decides");
    result.findings
}

fn only(world: &World, code: FindingCode) -> Finding {
    let found = findings(world);
    assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [code]);
    assert_eq!(found[0].rule, "R42");
    found[0].clone()
}

#[test]
fn more_frozen_hours_than_the_share_allows_are_found_and_exactly_as_many_are_not() {
    let with_frozen = |hours_frozen: i64| {
        let mut world = met();
        say(&mut world, "SN-0", 6, Channel::Gateway, |hour, reading| {
            Some((if hour < hours_frozen { 4 } else { hour * 9 + reading }) as f64)
        });
        world
    };
    assert_eq!(findings(&with_frozen(12)), []);
    let world = with_frozen(13);
    let finding = only(&world, FindingCode::FrozenValues);
    assert_eq!(finding.evidence, [json!({"device": "SN-0", "hours_frozen": 13, "hours_compared": 24})]);
    assert!(finding.text.contains("1 台") && finding.text.contains("0.5"), "{}", finding.text);
    // 13 hours of four a day, each with a reading that came at once.
    let days = &world.judge("V-1").finding_days;
    assert_eq!((days.len(), days[0].code, days[0].days.len()), (1, FindingCode::FrozenValues, 4));
}

#[test]
fn too_few_hours_constant_templates_and_undeclared_devices_are_not_frozen() {
    let frozen = |_, _| Some(4.0);
    let mut world = met();
    say(&mut world, "SN-0", 6, Channel::Gateway, frozen);
    world.set("frozen_hours_min", "25");
    assert_eq!(findings(&world), []);
    world.set("frozen_hours_min", "24");
    only(&world, FindingCode::FrozenValues);
    let key = ("V-1".to_string(), "SN-0".to_string());
    world.register.devices.get_mut(&key).unwrap().template = Some("门磁".into());
    only(&world, FindingCode::FrozenValues);
    world.set("constant_templates", "[\"门磁\"]");
    assert_eq!(findings(&world), []);
    let mut world = met();
    say(&mut world, "SN-9", 6, Channel::Gateway, frozen);
    assert_eq!(findings(&world), [], "nobody declares it");
}

#[test]
fn a_channel_that_tells_of_movement_is_believed() {
    let mut world = met();
    say(&mut world, "SN-0", 6, Channel::Gateway, |_, _| Some(4.0));
    say(&mut world, "SN-0", 6, Channel::Supplier, moving(1));
    assert_eq!(findings(&world), []);
}

#[test]
fn hours_that_had_not_ended_at_the_cut_off_tell_nothing() {
    let mut world = met();
    say(&mut world, "SN-0", 27, Channel::Gateway, |hour, reading| Some((if hour < 52 { 4 } else { hour * 9 + reading }) as f64));
    // 108 hours from 10 October on, the last four on 5 November.
    world.set("frozen_share_max", "0.49");
    assert_eq!(findings(&world), [], "52 of 108");
    world.as_of = at("2019-11-05T10:59:59+08:00");
    assert_eq!(only(&world, FindingCode::FrozenValues).evidence[0]["hours_compared"], 106);
    world.as_of = at("2019-11-05T11:00:00+08:00");
    assert_eq!(findings(&world), [], "52 of 107");
}

#[test]
fn a_copied_series_is_found_also_where_hours_are_missing_and_another_machine_is_not_taken_for_it() {
    let mut world = met();
    say(&mut world, "SN-0", 6, Channel::Gateway, moving(1));
    say(&mut world, "SN-1", 6, Channel::Supplier, moving(2));
    assert_eq!(findings(&world), []);
    let copied = |hours_copied: i64| move |hour: i64, reading: i64| moving(if hour % 4 < hours_copied { 1 } else { 3 })(hour, reading);
    let mut half = world.again();
    say(&mut half, "SN-2", 6, Channel::Gateway, copied(2));
    let finding = only(&half, FindingCode::IdenticalSeries);
    assert_eq!(finding.evidence, [json!({"devices": ["SN-0", "SN-2"], "hours_identical": 12, "hours_compared": 24})]);
    half.set("identical_hours_min", "13");
    assert_eq!(findings(&half), []);
    let mut less = world.again();
    say(&mut less, "SN-2", 6, Channel::Gateway, copied(1));
    assert_eq!(findings(&less), [], "6 of 24 hours");
    // An undeclared machine, or that of another voucher, may be the original.
    say(&mut world, "SN-9", 6, Channel::Gateway, moving(1));
    let mut second = voucher("V-2", "P-5");
    second.status = crate::register::VoucherStatus::Issued;
    world.add(second);
    world.declare("V-2", "SN-9", Some("44"));
    let found = findings(&world);
    assert_eq!(found[0].evidence[0]["devices"], json!(["SN-0", "SN-9"]));
    assert_eq!(found[0].evidence[0]["vouchers"], json!(["V-2"]));
}

#[test]
fn standing_still_together_makes_no_copies() {
    let mut world = met();
    world.set("frozen_share_max", "1");
    for device in ["SN-0", "SN-1"] {
        say(&mut world, device, 6, Channel::Gateway, |_, _| Some(0.0));
    }
    assert_eq!(findings(&world), []);
}

#[test]
fn many_copies_are_paired_with_the_first_and_no_more_are_named_than_a_person_reads() {
    let mut world = met();
    for n in 0..40 {
        say(&mut world, &format!("SN-{n}"), 6, Channel::Gateway, moving(1));
        world.declare("V-1", &format!("SN-{n}"), Some("44"));
    }
    let finding = only(&world, FindingCode::IdenticalSeries);
    assert_eq!((finding.evidence.len(), &finding.evidence[20]), (21, &json!({"more": 19})));
    assert!(finding.text.contains("39 对"), "{}", finding.text);
}

#[test]
fn data_that_lies_only_in_the_last_days_before_the_request_is_found() {
    let last_days = |first_ago: i64| {
        let mut world = World::new();
        let mut voucher = voucher("V-1", "P-23");
        (voucher.contract_amount, voucher.redeem_at) = (yuan("2000"), Some(at("2019-11-05T17:00:00+08:00")));
        world.add(voucher);
        world.connect("V-1", 3, 0);
        for ago in (0..8).chain([first_ago]) {
            for (device, hour) in (0..3).flat_map(|n| (8..12).map(move |hour| (format!("SN-{n}"), hour))) {
                world.reading(&device, at("2019-11-05T00:30:00+08:00") - TimeDelta::days(ago) + TimeDelta::hours(hour), 0);
            }
        }
        world
    };
    let mut world = last_days(9);
    let finding = only(&world, FindingCode::BurstBeforeCutOff);
    let told =
        json!({"applied_day": "2019-07-01", "first_day": "2019-10-27", "last_day": "2019-11-05", "days": 9, "redeem_day": "2019-11-05"});
    assert_eq!(finding.evidence, [told]);
    assert!(finding.text.contains("2019-07-01 申领") && finding.text.contains("9 天"), "{}", finding.text);
    assert_eq!(findings(&last_days(10)), [], "one day before them is enough");
    world.register.vouchers.get_mut("V-1").unwrap().redeem_at = None;
    assert_eq!(findings(&world), [], "who has just begun has begun");
    let voucher = world.register.vouchers.get_mut("V-1").unwrap();
    (voucher.redeem_at, voucher.applied_at) = (Some(world.as_of), at("2019-10-07T00:00:00+08:00"));
    assert_eq!(findings(&world), [], "there was no time before");
}

#[test]
fn a_contract_of_which_most_modules_are_unused_is_told_with_them_and_silence_is_not() {
    let mut world = World::new();
    world.add(voucher("V-1", "B-19"));
    let gap = |world: &World| {
        let found = world.judge("V-1").result.findings;
        found.into_iter().find(|finding| finding.code == FindingCode::FunctionModuleGap)
    };
    assert_eq!(gap(&world), None);
    world.use_product(12, &["u1", "u2"], &["甲", "乙"]);
    let finding = gap(&world).unwrap();
    let unused: Vec<&str> = finding.evidence.iter().map(|told| told["function_module"].as_str().unwrap()).collect();
    assert_eq!(unused.len(), 3);
    assert!(finding.text.contains("合同 5 个功能模块，窗口内用过 2 个"), "{}", finding.text);
    world.use_product(1, &["u1"], &["丙"]);
    assert_eq!(gap(&world), None, "exactly the share asked for");
}
