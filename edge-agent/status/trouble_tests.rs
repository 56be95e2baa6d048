use super::*;
use crate::status::{LastError, MissingPoint, SpoolStatus, well};

fn codes(change: impl FnOnce(&mut Status)) -> Vec<String> {
    let mut status = well();
    change(&mut status);
    troubles(&status).into_iter().map(|trouble| trouble.code).collect()
}

fn spool(change: impl FnOnce(&mut SpoolStatus)) -> Vec<String> {
    codes(|status| change(status.spool.as_mut().unwrap()))
}

#[test]
fn nothing_is_wrong_where_all_is_well() {
    assert_eq!(codes(|_| {}), [""; 0]);
    assert_eq!(codes(|status| status.broker.state = BrokerState::Backlog), [""; 0]);
    assert_eq!(codes(|status| status.clock_synchronised = None), [""; 0]);
    assert_eq!(spool(|spool| spool.hours_left = None), [""; 0]);
    let silent = |waiting: u64, oldest_min: i64| {
        codes(|status| {
            let long_ago = status.at - Duration::minutes(UNACKNOWLEDGED_MIN);
            (status.broker.connected_since, status.broker.last_acknowledged_at) = (Some(long_ago), Some(long_ago));
            let spool = status.spool.as_mut().unwrap();
            (spool.waiting, spool.oldest_at) = (waiting, Some(status.at - Duration::minutes(oldest_min)));
        })
    };
    assert_eq!(silent(0, UNACKNOWLEDGED_MIN), [""; 0], "nothing waits");
    assert_eq!(silent(1, UNACKNOWLEDGED_MIN - 1), [""; 0], "the one that waits is new: the last came an hour ago");
    assert_eq!(silent(1, UNACKNOWLEDGED_MIN), ["reports_unacknowledged"]);
}

#[test]
fn each_trouble_is_named() {
    let error = || Some(LastError { zh: "没有应答".into(), en: "no answer".into(), at: None });
    assert_eq!(codes(|status| status.broker.state = BrokerState::Offline), ["broker_offline"]);
    assert_eq!(codes(|status| status.broker.refused_total = 1), ["reports_refused"]);
    assert_eq!(codes(|status| status.spool = None), ["spool_unreadable"]);
    assert_eq!(spool(|spool| spool.hours_left = Some(11.9)), ["spool_nearly_full"]);
    assert_eq!(spool(|spool| spool.dropped = 1), ["reports_dropped"]);
    assert_eq!(spool(|spool| spool.unreadable = 1), ["reports_unreadable"]);
    assert_eq!(codes(|status| status.writing.error = Some("no space left".into())), ["spool_unwritable"]);
    assert_eq!(codes(|status| status.writing.entries_dropped_total = 1), ["entries_dropped"]);
    assert_eq!(codes(|status| status.clock_synchronised = Some(false)), ["clock_unsynchronised"]);
    assert_eq!(codes(|status| (status.devices[0].failing, status.devices[0].last_error) = (true, error())), ["device_failing"]);
    assert_eq!(codes(|status| status.devices[0].last_error = error()), [""; 0], "that is over");
    assert_eq!(codes(|status| status.devices[0].behind = true), ["device_behind"]);
    assert_eq!(codes(|status| (status.devices[0].behind, status.devices[0].failing) = (true, true)), ["device_failing"]);
}

#[test]
fn points_that_are_missing_are_named_with_their_addresses_and_causes() {
    let mut status = well();
    let (zh, en) = ("设备答复异常码 2".to_string(), "exception 2".to_string());
    let refused = MissingPoint { name: "功率_kw".into(), table: "holding".into(), address: 101, refused: true, zh, en };
    let without = MissingPoint { refused: false, zh: "寄存器内容不是 f32 数值".into(), en: "no f32".into(), ..refused.clone() };
    status.devices[0].missing_points = vec![
        refused.clone(),
        MissingPoint { name: "b".into(), address: 7, ..refused.clone() },
        MissingPoint { name: "c".into(), ..without },
    ];
    let found = troubles(&status);
    assert_eq!(found.iter().map(|trouble| trouble.code.as_str()).collect::<Vec<_>>(), ["points_refused", "points_without_value"]);
    assert!(found[0].zh.contains("功率_kw (holding 101)、b (holding 7)：设备答复异常码 2"), "{found:?}");
    assert!(found[0].en.contains("功率_kw (holding 101), b (holding 7): exception 2"), "{found:?}");
    assert!(found[1].en.contains("c (holding 101): no f32"), "{found:?}");
    status.devices[0].failing = true;
    assert_eq!(troubles(&status)[0].code, "device_failing", "a device without any reading has one trouble");
    assert_eq!(troubles(&status).len(), 1);
}

#[test]
fn troubles_with_usage_are_named() {
    let usage = |change: fn(&mut crate::status::UsageStatus)| codes(|status| change(&mut status.usage));
    assert_eq!(usage(|usage| usage.logs_waiting = 1), ["usage_log_waits"]);
    assert_eq!(usage(|usage| usage.lines_total.extend([("future".into(), 1)])), ["usage_lines_future"]);
    assert_eq!(usage(|usage| usage.files_lost_total = 1), ["usage_files_lost"]);
    assert_eq!(usage(|usage| usage.places_unreadable = Some("EOF".into())), [""; 0], "no log is configured");
    let unreadable = usage(|usage| (usage.places_unreadable, usage.logs) = (Some("EOF".into()), vec!["/l".into()]));
    assert_eq!(unreadable, ["usage_places_unreadable"]);
}

#[test]
fn connecting_is_no_trouble_until_it_takes_long_or_fails() {
    let offline = |status: &mut Status| {
        status.broker.state = BrokerState::Offline;
        status.started_at = status.at - Duration::seconds(CONNECT_S - 1);
    };
    assert_eq!(codes(offline), [""; 0]);
    let failed = |status: &mut Status| {
        offline(status);
        status.broker.last_error = Some(LastError { zh: String::new(), en: String::new(), at: None });
    };
    assert_eq!(codes(failed), ["broker_offline"]);
}
