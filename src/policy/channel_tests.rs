//! Interface against carrier: agreement, both settings of `on_conflict`, lines, and `carrier_required`.

use chrono::TimeDelta;

use crate::by_channel::ByChannel;
use crate::channels::compare;
use crate::facts::Channel;
use crate::reasons::{Group, Outcome, Verdict};
use crate::result::ChannelFigures;
use crate::test_case::{World, at, checks, outcome, voucher, yuan};

fn usage_world(days: u32) -> World {
    let mut world = World::new();
    world.add(voucher("V-1", "P-6"));
    world.use_product(days, &["u1", "u2"], &["甲", "乙", "丙"]);
    world
}

/// Row 23, two devices needed.
fn device_world(connected: usize) -> World {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-23");
    voucher.contract_amount = yuan("2000");
    world.add(voucher);
    world.connect("V-1", connected, 10);
    world
}

#[test]
fn the_difference_is_compared_exactly_and_only_shown_rounded() {
    let of = |days: u64, devices: Option<u64>| ChannelFigures { days, devices };
    let compared = |a, b, tolerance: &str| {
        let compared = compare(a, Some(b), tolerance.parse().unwrap());
        (compared.difference.unwrap(), compared.agree.unwrap())
    };
    assert_eq!(compared(of(29, None), of(28, None), "0.07"), ("0.0345".to_string(), true));
    assert_eq!(compared(of(100, None), of(93, None), "0.07"), ("0.0700".to_string(), true));
    assert_eq!(compared(of(93, None), of(100, None), "0.07"), ("0.0700".to_string(), true));
    assert_eq!(compared(of(100, None), of(92, None), "0.07"), ("0.0800".to_string(), false));
    // 1/30 is above 0.0333 although it is shown so.
    assert_eq!(compared(of(30, None), of(29, None), "0.0333"), ("0.0333".to_string(), false));
    assert_eq!(compared(of(0, None), of(0, None), "0"), ("0.0000".to_string(), true));
    assert_eq!(compared(of(0, None), of(3, None), "0.07"), ("1.0000".to_string(), false));
    // 1/32 = 0.03125 is rounded half up.
    assert_eq!(compared(of(32, None), of(31, None), "0.5").0, "0.0313");
    // The larger of the two comparisons.
    assert_eq!(compared(of(30, Some(10)), of(30, Some(9)), "0.07"), ("0.1000".to_string(), false));
    assert_eq!(compared(of(30, Some(10)), of(15, Some(10)), "0.07"), ("0.5000".to_string(), false));
    assert_eq!(compared(of(30, Some(10)), of(30, None), "0.07"), ("0.0000".to_string(), true));
}

#[test]
fn without_carrier_records_the_interface_decides_and_that_is_said() {
    let world = usage_world(10);
    let judgement = world.judge("V-1");
    let channels = &judgement.result.channels;
    assert_eq!((channels.interface.days, channels.interface.devices, &channels.carrier), (10, None, &None));
    assert_eq!((&channels.difference, channels.agree, judgement.result.verdict), (&None, None, Verdict::Met));
    assert!(checks(&judgement, Group::Note, "R35")[0].text.contains("没有运营商记录"));
}

#[test]
fn beyond_the_tolerance_the_carriers_days_decide_on_usage_rows() {
    let mut world = usage_world(12);
    world.register_line("L-1");
    world.carry("L-1", 9, None);
    let judgement = world.judge("V-1");
    assert_eq!((judgement.result.verdict, judgement.result.channels.agree), (Verdict::NotMet, Some(false)));
    let days = checks(&judgement, Group::Deciding, "R35")[0];
    assert_eq!((days.outcome, days.observed.as_str(), days.required.as_str()), (Outcome::Fail, "9", "10"));
    assert_eq!(judgement.result.usage.unwrap().active_days, 12);
    assert!(checks(&judgement, Group::Note, "R35")[0].text.contains(judgement.result.channels.difference.as_ref().unwrap()));
    // The other way round: few days of use, many of connection.
    let mut world = usage_world(9);
    world.carry("L-1", 20, None);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Met);
    // Within the tolerance nothing changes.
    let mut world = usage_world(15);
    world.carry("L-1", 14, None);
    world.set("usage_active_days_min", "15");
    assert_eq!((world.judge("V-1").result.verdict, world.judge("V-1").result.channels.agree), (Verdict::Met, Some(true)));
}

#[test]
fn on_conflict_review_makes_met_and_not_met_conflicting_but_not_insufficient() {
    for days in [12, 9] {
        let mut world = usage_world(days);
        world.carry("L-1", 20, None);
        world.set("on_conflict", "\"review\"");
        assert_eq!(world.judge("V-1").result.verdict, Verdict::Conflicting, "{days}");
    }
    let mut silent = usage_world(0);
    silent.carry("L-1", 20, None);
    assert_eq!(silent.judge("V-1").result.verdict, Verdict::Insufficient);
    silent.set("on_conflict", "\"review\"");
    assert_eq!(silent.judge("V-1").result.verdict, Verdict::Insufficient);
}

#[test]
fn beyond_the_tolerance_the_smaller_device_count_decides() {
    let mut world = device_world(3);
    world.carry("L-1", 10, Some(1));
    world.carry("L-2", 4, Some(1));
    let judgement = world.judge("V-1");
    // Per day the sum over the lines, then the largest day.
    assert_eq!(judgement.result.channels.carrier, Some(ChannelFigures { days: 10, devices: Some(2) }));
    let devices = judgement.result.devices.clone().unwrap();
    assert_eq!((devices.connected, devices.decided, judgement.result.verdict), (3, 2, Verdict::Met));
    world.carry("L-2", 4, None);
    let judgement = world.judge("V-1");
    let devices = judgement.result.devices.clone().unwrap();
    assert_eq!((devices.connected, devices.decided, judgement.result.verdict), (3, 1, Verdict::NotMet));
    assert_eq!(checks(&judgement, Group::Deciding, "R36")[0].observed, "1");
    world.set("on_conflict", "\"review\"");
    let result = world.judge("V-1").result;
    assert_eq!((result.verdict, result.devices.unwrap().decided), (Verdict::Conflicting, 3));
    // A carrier that sees more adds nothing.
    let mut world = device_world(1);
    world.carry("L-1", 10, Some(50));
    let result = world.judge("V-1").result;
    assert_eq!((result.verdict, result.devices.unwrap().decided), (Verdict::NotMet, 1));
    // A carrier without device counts leaves the connected ones, and the difference is said.
    let mut world = device_world(2);
    world.carry("L-1", 5, None);
    let result = world.judge("V-1").result;
    assert_eq!((result.verdict, result.channels.agree, result.devices.unwrap().decided), (Verdict::Met, Some(false), 2));
}

#[test]
fn only_registered_lines_count_once_there_is_one() {
    let mut world = usage_world(10);
    world.carry("L-9", 10, None);
    let judgement = world.judge("V-1");
    assert_eq!(judgement.result.channels.carrier, Some(ChannelFigures { days: 10, devices: None }));
    assert!(checks(&judgement, Group::Note, "R35")[0].text.contains("没有登记线路"));
    world.register_line("L-1");
    let judgement = world.judge("V-1");
    assert_eq!(judgement.result.channels.carrier, None);
    assert!(checks(&judgement, Group::Note, "R35")[0].text.contains("L-9"));
    // A record without a session is a record, but no connection day.
    world.carry("L-1", 2, None);
    world.facts.carrier.values_mut().for_each(|record| record.sessions = 0);
    assert_eq!(world.judge("V-1").result.channels.carrier, Some(ChannelFigures { days: 0, devices: None }));
}

#[test]
fn a_required_carrier_that_is_missing_makes_the_evidence_insufficient() {
    let mut world = usage_world(10);
    world.set("carrier_required", "true");
    let judgement = world.judge("V-1");
    assert_eq!((judgement.result.verdict, outcome(&judgement, Group::Deciding, "R33")), (Verdict::Insufficient, Outcome::Unknown));
    world.carry("L-1", 10, None);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Met);
    // A failing check is told before the missing record.
    let mut world = usage_world(9);
    world.set("carrier_required", "true");
    assert_eq!(world.judge("V-1").result.verdict, Verdict::NotMet);
}

#[test]
fn connection_days_are_those_of_devices_or_of_usage() {
    let mut world = device_world(2);
    world.use_product(12, &["u1"], &["甲"]);
    // Days 1 to 10 by both, 11 and 12 by usage alone.
    assert_eq!(world.judge("V-1").result.channels.interface, ChannelFigures { days: 12, devices: Some(2) });
}

#[test]
fn each_door_of_the_interface_is_told_by_itself() {
    let mut world = device_world(0);
    // SN-0 comes through both in turn, SN-1 through the gateway alone, SN-2 through the supplier with one day too few.
    for device in ["SN-0", "SN-1", "SN-2"] {
        world.declare("V-1", device, Some("44"));
    }
    for (day, hour) in (0..7i64).flat_map(|day| (8..16i64).map(move |hour| (day, hour))) {
        let occurred_at = at("2019-10-10T00:30:00+08:00") + TimeDelta::days(day) + TimeDelta::hours(hour);
        let turn = if hour % 2 == 0 { Channel::Gateway } else { Channel::Supplier };
        world.reading_by("SN-0", occurred_at, 0, turn, true);
        world.reading_by("SN-1", occurred_at, 0, Channel::Gateway, true);
        if day < 6 {
            world.reading_by("SN-2", occurred_at, 0, Channel::Supplier, true);
        }
    }
    let judgement = world.judge("V-1");
    let by = judgement.result.by_channel.unwrap();
    assert_eq!(judgement.result.channels.interface, ChannelFigures { days: 7, devices: Some(2) });
    assert_eq!(by.gateway, ChannelFigures { days: 7, devices: Some(2) });
    assert_eq!(by.supplier, ChannelFigures { days: 7, devices: Some(1) }, "SN-2 is not connected at all");
    let by: Vec<_> = judgement.explanation.devices.iter().map(|device| device.effective_days_by).collect();
    let figures = |gateway, supplier| ByChannel { gateway, supplier };
    assert_eq!(by, [figures(7, 7), figures(7, 0), figures(0, 6)]);
    // Four hours through each are enough together, and through neither alone.
    world.set("effective_day_hours_min", "8");
    let device = &world.judge("V-1").explanation.devices[0];
    assert_eq!((device.effective_days_by, device.days_counting_by, device.counted), (figures(0, 0), figures(7, 7), true));
    let by = usage_world(12).judge("V-1").result.by_channel.unwrap();
    assert_eq!(by.supplier, ChannelFigures { days: 12, devices: None });
    assert_eq!(by.gateway, ChannelFigures { days: 0, devices: None });
}
