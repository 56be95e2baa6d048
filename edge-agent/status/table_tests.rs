use chrono::{DateTime, Utc};

use super::*;
use crate::status::{BrokerState, BrokerStatus, LastError, MissingPoint, SpoolStatus, Standing, UsageStatus, WritingStatus};
use crate::uplink_state::Obstacles;

/// A gateway of which nothing can be complained.
pub(crate) fn well() -> Status {
    let at: DateTime<Utc> = "2019-11-05T00:10:00Z".parse().unwrap();
    let device = |name: &str| DeviceStatus {
        name: name.into(),
        address: "tcp://10.0.0.5:502".into(),
        unit_id: 1,
        last_read_at: Some(at - chrono::Duration::seconds(3)),
        quality: Some("N".into()),
        state: Some("running".into()),
        failing: false,
        last_error: None,
        read_total: 60,
        error_total: 0,
        skipped_total: 0,
        behind: false,
        poll_ms: 10_000,
        latency_ms: Some(12),
        refused_points: Vec::new(),
        missing_points: Vec::new(),
    };
    Status {
        v: 1,
        gateway: "gw-1".into(),
        version: "0.1.0".into(),
        boot: "b7".into(),
        at,
        started_at: at - chrono::Duration::minutes(10),
        clock_synchronised: Some(true),
        broker: BrokerStatus {
            state: BrokerState::Live,
            address: Some("mqtt://10.0.0.1:1883".into()),
            connected_since: Some(at - chrono::Duration::minutes(9)),
            last_error: None,
            last_acknowledged_at: Some(at),
            acknowledged_total: 10,
            refused_total: 0,
            resent_total: 0,
            receipts_ignored_total: 0,
            connections_total: 1,
            obstacles: Obstacles::default(),
        },
        spool: Some(SpoolStatus {
            waiting: 0,
            bytes: 1_572_864,
            bytes_max: 268_435_456,
            oldest_at: None,
            hours_left: Some(96.4),
            acknowledged_today: 10,
            kept: 10,
            dropped: 0,
            unreadable: 0,
        }),
        writing: WritingStatus::default(),
        standing: vec![Standing { voucher: "V-1".into(), required: 67, connected: 41, as_of: Some(at - chrono::Duration::minutes(10)) }],
        devices: vec![device("SN-0001"), device("注塑机-2")],
        usage: UsageStatus::default(),
        troubles: Vec::new(),
    }
}

#[test]
fn columns_stand_straight_under_chinese_and_latin_names() {
    let mut status = well();
    status.devices[1].failing = true;
    status.devices[1].quality = Some("B".into());
    status.devices[1].last_read_at = None;
    status.devices[1].last_error = Some(LastError { zh: "没有应答".into(), en: "no answer".into(), at: None });
    let table = table(&status);
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("设备 device")).take(3).collect();
    let column = |row: &str, text: &str| row.split_once(text).unwrap_or_else(|| panic!("{text} in {table}")).0.width();
    assert_eq!(column(rows[0], "质量"), column(rows[1], "N 正常"));
    assert_eq!(column(rows[0], "质量"), column(rows[2], "B 通信故障"));
    assert_eq!(column(rows[0], "错误"), column(rows[2], "没有应答 / no answer"));
    assert_eq!(column(rows[0], "最近"), column(rows[2], "—"));
}

#[test]
fn the_figures_that_a_technician_asks_for_are_there() {
    let table = table(&well());
    for expected in [
        "gw-1",
        "0.1.0",
        "已同步 synchronised",
        "在线 live  mqtt://10.0.0.1:1883  自 since 2019-11-05 08:01:00",
        "0  1.5 MiB / 256.0 MiB",
        "96 h",
        "41/67 台  V-1  截至 as of 2019-11-05 08:00:00",
        "2019-11-05 08:09:57 (3 s ago)",
        "一切正常",
    ] {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
    let labels: Vec<usize> = table.lines().take(9).map(|line| line.width() - line.trim_start().width()).collect();
    assert!(labels.iter().all(|indent| *indent == 0));
}

/// Of the first device, one point is missing.
pub(crate) fn point_missing() -> Status {
    let mut status = well();
    let (zh, en) = ("设备答复异常码 2：地址不存在".into(), "exception 2: illegal data address".into());
    status.devices[0].quality = Some("D".into());
    status.devices[0].missing_points =
        vec![MissingPoint { name: "功率_kw".into(), table: "holding".into(), address: 101, refused: true, zh, en }];
    status
}

#[test]
fn a_missing_point_is_named_and_is_no_fault_of_the_machine() {
    let table = table(&point_missing());
    let row = table.lines().find(|line| line.starts_with("SN-0001")).unwrap();
    assert!(row.contains("D 缺采集点 points missing"), "{row}");
    assert!(row.contains("功率_kw (holding 101)：设备答复异常码 2：地址不存在 / 功率_kw (holding 101): exception 2"), "{row}");
    let mut status = well();
    status.devices[0].quality = Some("D".into());
    assert!(super::table(&status).contains("D 故障 fault"), "the machine's own alarm");
}
