use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Text, json};

use super::super::golden::{self, at, bytes};
use super::super::payload::{Metric, PropertyNumber, PropertySet, PropertyValue, Value};
use super::*;
use crate::limits::{ENTRIES_MAX, REPORT_BYTES_MAX};
use crate::report::{Quality, Report, State};
use crate::{Admission, Door, ReadContext, read_report};

const ENTERPRISE: &str = "91440101231245152Y";
const SKEW_S: u32 = 120;
const FLOAT: u32 = 9;
const TEXT: u32 = 12;

struct Nothing;

impl Admission for Nothing {
    fn enterprise(&self, _: &str) -> Result<(), (FaultCode, String)> {
        panic!("a translated report names no enterprise")
    }
    fn product(&self, _: Option<&str>, _: &str) -> Result<(), (FaultCode, String)> {
        panic!("a translated report has no usage")
    }
    fn function_module(&self, _: &str, _: &str) -> Result<(), (FaultCode, String)> {
        panic!("a translated report has no usage")
    }
}

fn read(report: &[u8], received_at: Instant) -> Result<Report, Vec<Fault>> {
    read_report(report, &ReadContext { door: Door::Gateway, received_at, future_skew_s_max: SKEW_S, admission: &Nothing }).report
}

/// An edge node whose messages count by themselves; its clock stands at the golden time.
struct Node {
    session: Session,
    seq: u64,
    now: Instant,
}

fn node() -> Node {
    Node { session: Session::new(ENTERPRISE, "gw-1", SKEW_S, None), seq: 0, now: at(0) }
}

fn born() -> Node {
    let mut node = node();
    node.birth(0, vec![]);
    node
}

fn born_with(device: &str, metrics: Vec<Metric>) -> Node {
    let mut node = born();
    let applied = node.send(&format!("DBIRTH/gw-1/{device}"), 0, metrics);
    assert_eq!(applied.change, Some(Change::DeviceBorn(device.into())));
    node
}

fn metric(name: &str, alias: u64, datatype: u32, value: Value) -> Metric {
    Metric { name: Some(name.into()), alias: Some(alias), datatype: Some(datatype), value: Some(value), ..Metric::default() }
}

fn by_alias(alias: u64, value: Value) -> Metric {
    Metric { alias: Some(alias), value: Some(value), ..Metric::default() }
}

fn of_quality(quality: u32, metric: Metric) -> Metric {
    let value = PropertyValue { value: Some(PropertyNumber::Int(quality)) };
    Metric { properties: Some(PropertySet { keys: vec!["Quality".into()], values: vec![value] }), ..metric }
}

fn bd_seq(number: u64) -> Metric {
    Metric { name: Some("bdSeq".into()), datatype: Some(4), value: Some(Value::Long(number)), ..Metric::default() }
}

fn milliseconds(after: i64) -> Option<u64> {
    u64::try_from(at(after).timestamp_millis()).ok()
}

impl Node {
    fn apply(&mut self, below: &str, payload: &[u8]) -> Applied {
        let (kind, rest) = below.split_once('/').unwrap();
        let topic = format!("spBv1.0/{ENTERPRISE}/{kind}/{rest}");
        let applied = self.session.apply(&topic, payload, self.now);
        if let Some(report) = &applied.report {
            read(report, self.now).unwrap();
            let text: Text = serde_json::from_slice(report).unwrap();
            assert_eq!(text["sparkplug"]["topic"], topic);
            assert_eq!(STANDARD.decode(text["sparkplug"]["payload"].as_str().unwrap()).unwrap(), payload);
        }
        applied
    }

    /// The next message, sent so many milliseconds after the golden time.
    fn send(&mut self, below: &str, after: i64, metrics: Vec<Metric>) -> Applied {
        let payload = Payload { timestamp: milliseconds(after), metrics, seq: Some(self.seq) };
        self.seq = (self.seq + 1) % 256;
        self.apply(below, &payload.encode_to_vec())
    }

    fn birth(&mut self, after: i64, mut metrics: Vec<Metric>) -> Applied {
        self.seq = 0;
        metrics.push(bd_seq(7));
        self.send("NBIRTH/gw-1", after, metrics)
    }

    fn death(&mut self, number: u64) -> Applied {
        let payload = Payload { metrics: vec![bd_seq(number)], ..Payload::default() };
        self.apply("NDEATH/gw-1", &payload.encode_to_vec())
    }
}

impl Applied {
    fn codes(&self) -> Vec<FaultCode> {
        self.faults.iter().map(|fault| fault.code).collect()
    }

    fn text(&self) -> Text {
        let mut text: Text = serde_json::from_slice(self.report.as_deref().unwrap()).unwrap();
        text.as_object_mut().unwrap().remove("sparkplug");
        text
    }

    fn number(&self) -> (String, u64) {
        let text = self.text();
        (text["boot"].as_str().unwrap().to_string(), text["seq"].as_u64().unwrap())
    }

    fn devices(&self) -> Text {
        self.text()["devices"].clone()
    }
}

#[test]
fn a_session_of_another_implementation_becomes_one_report_a_message() {
    let mut node = Node { session: Session::new(ENTERPRISE, "gw-1", SKEW_S, Some(&bytes(golden::NDEATH))), seq: 0, now: at(4000) };

    let birth = node.apply("NBIRTH/gw-1", &bytes(golden::NBIRTH));
    assert_eq!((birth.codes(), &birth.change, birth.rebirth), (vec![], &Some(Change::NodeBorn), false));
    assert_eq!(
        birth.text(),
        json!({"v": 1, "boot": "spb-1572912000000", "seq": 1,
            "events": [{"at": "2019-11-05T00:00:00Z", "event": "start", "detail": "NBIRTH, bdSeq 7"}],
            "devices": [{"device": "gw-1", "at": "2019-11-05T00:00:00Z", "quality": "N", "readings": {"柜温": 31.5}}]})
    );

    let device_birth = node.apply("DBIRTH/gw-1/机床-1", &bytes(golden::DBIRTH));
    assert_eq!((device_birth.codes(), &device_birth.change), (vec![], &Some(Change::DeviceBorn("机床-1".into()))));
    assert_eq!(device_birth.ignored, Ignored { other_type: 4, ..Ignored::default() });
    assert_eq!(
        device_birth.text(),
        json!({"v": 1, "boot": "spb-1572912000000", "seq": 2, "devices": [{"device": "机床-1", "at": "2019-11-05T00:00:01Z", "quality": "N",
            "readings": {"i8": -5, "i16": -300, "i32": -70000, "i64": -5_000_000_000_i64, "u8": 250, "u16": 65000, "u32": 4_000_000_000_u64,
                "u64": 18_000_000_000_000_000_000_u64, "f32": 4.2, "f64": -0.1, "运行": true}}]})
    );

    let data = node.apply("DDATA/gw-1/机床-1", &bytes(golden::DDATA));
    assert_eq!((data.codes(), &data.change), (vec![], &None));
    assert_eq!(data.ignored, Ignored { null: 1, ..Ignored::default() });
    assert_eq!(
        data.devices(),
        json!([{"device": "机床-1", "at": "2019-11-04T23:00:00Z", "quality": "N", "readings": {"i16": -301}},
            {"device": "机床-1", "at": "2019-11-05T00:00:02Z", "quality": "N", "readings": {"f32": 4.25, "i8": -6, "运行": false}}])
    );

    let device_death = node.apply("DDEATH/gw-1/机床-1", &bytes(golden::DDEATH));
    assert_eq!((device_death.codes(), &device_death.change), (vec![], &Some(Change::DeviceDied("机床-1".into()))));
    assert_eq!(device_death.devices(), json!([{"device": "机床-1", "at": "2019-11-05T00:00:03Z", "quality": "B", "state": "offline"}]));

    let death = node.apply("NDEATH/gw-1", &bytes(golden::NDEATH));
    assert_eq!((death.codes(), &death.change), (vec![], &Some(Change::NodeDied)));
    assert_eq!(
        death.text(),
        json!({"v": 1, "boot": "spb-1572912000000", "seq": 5,
            "events": [{"at": "2019-11-05T00:00:04Z", "event": "stop", "detail": "NDEATH, bdSeq 7"}],
            "devices": [{"device": "gw-1", "at": "2019-11-05T00:00:04Z", "quality": "B", "state": "offline"}]})
    );
}

#[test]
fn data_sets_templates_files_and_properties_of_a_third_implementation_are_passed_over() {
    let mut node = node();
    assert_eq!(node.apply("NBIRTH/gw-1", &bytes(golden::NBIRTH_JS)).number(), ("spb-1572912000000".into(), 1));
    let birth = node.apply("DBIRTH/gw-1/d", &bytes(golden::DBIRTH_JS));
    assert_eq!((birth.codes(), birth.ignored), (vec![], Ignored { other_type: 3, ..Ignored::default() }));
    assert_eq!(
        birth.devices(),
        json!([{"device": "d", "at": "2019-11-05T00:00:00Z", "quality": "N", "readings": {"a": 1.5, "d": -4, "i8": -5, "nested": true}},
            {"device": "d", "at": "2019-11-05T00:00:00Z", "quality": "B", "readings": {"b": -2, "c": 3}}])
    );
}

#[test]
fn data_before_the_birth_is_refused_and_a_rebirth_asked_for() {
    for below in ["NDATA/gw-1", "DDATA/gw-1/d", "DBIRTH/gw-1/d", "DDEATH/gw-1/d"] {
        let applied = node().send(below, 0, vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
        assert_eq!((applied.codes(), applied.rebirth, applied.change), (vec![FaultCode::BirthMissing], true, None), "{below}");
        assert!(applied.report.is_none(), "{below}");
    }
}

#[test]
fn a_death_without_a_birth_changes_nothing() {
    let applied = node().death(7);
    assert!(applied.report.is_none() && applied.change.is_none() && !applied.rebirth && applied.faults.is_empty());
}

#[test]
fn after_a_gap_nothing_is_believed_until_the_next_birth_which_says_how_much_was_refused() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    node.seq += 1;
    let lost = node.send("DDATA/gw-1/d", 0, vec![by_alias(1, Value::Float(2.0))]);
    assert_eq!((lost.codes(), lost.rebirth, lost.report.is_some()), (vec![FaultCode::SparkplugSeq], true, false));
    assert_eq!(lost.faults[0].detail, "expected 2, found 3");
    let after = node.send("DDATA/gw-1/d", 0, vec![by_alias(1, Value::Float(2.0))]);
    assert_eq!((after.codes(), after.report.is_some()), (vec![FaultCode::BirthMissing], false));
    let device_birth = node.send("DBIRTH/gw-1/d", 0, vec![]);
    assert_eq!((device_birth.codes(), device_birth.change), (vec![FaultCode::BirthMissing], None));
    let birth = node.birth(500, vec![]);
    assert_eq!(birth.number(), ("spb-1572912000500".into(), 1));
    assert_eq!(birth.text()["events"][1]["event"], "dropped");
    assert_eq!(birth.text()["events"][1]["detail"], "3 messages refused before this birth");
    assert_eq!(node.send("DDATA/gw-1/d", 0, vec![]).codes(), [FaultCode::BirthMissing], "the birth has forgotten the devices");
    node.birth(600, vec![]);
    assert_eq!(node.birth(700, vec![]).text()["events"].as_array().map(Vec::len), Some(1), "it was told");
}

#[test]
fn a_death_is_believed_after_a_gap_and_takes_every_born_device_offline() {
    let mut node = born_with("b", vec![]);
    node.send("DBIRTH/gw-1/a", 0, vec![]);
    node.send("DBIRTH/gw-1/c", 0, vec![]);
    node.send("DDEATH/gw-1/c", 0, vec![]);
    node.seq += 1;
    assert_eq!(node.send("DDATA/gw-1/a", 0, vec![]).codes(), [FaultCode::SparkplugSeq]);
    node.now = at(60_000);
    let death = node.death(7);
    let report = read(death.report.as_deref().unwrap(), node.now).unwrap();
    let offline: Vec<_> = report.devices.iter().map(|entry| (entry.device.as_str(), entry.at, entry.quality, entry.state)).collect();
    let expected = |device| (device, at(60_000), Quality::Communication, Some(State::Offline));
    assert_eq!(offline, [expected("a"), expected("b")]);
    assert_eq!(node.send("NDATA/gw-1", 0, vec![]).codes(), [FaultCode::BirthMissing], "the dead are not believed");
}

#[test]
fn seq_goes_round_after_255() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    for count in 0..600 {
        let applied = node.send("DDATA/gw-1/d", count, vec![by_alias(1, Value::Float(2.0))]);
        assert_eq!(applied.number(), ("spb-1572912000000".into(), count.unsigned_abs() + 3));
    }
}

#[test]
fn a_birth_may_begin_with_any_seq_from_0_to_255_but_not_without_one() {
    let birth = |seq| {
        let mut node = node();
        let payload = Payload { timestamp: milliseconds(0), metrics: vec![bd_seq(7)], seq };
        let applied = node.apply("NBIRTH/gw-1", &payload.encode_to_vec());
        node.seq = 0;
        (applied.codes(), node.send("NDATA/gw-1", 0, vec![]).codes())
    };
    assert_eq!(birth(Some(255)), (vec![], vec![]));
    assert_eq!(birth(Some(256)), (vec![FaultCode::SparkplugSeq], vec![FaultCode::BirthMissing]));
    assert_eq!(birth(None), (vec![FaultCode::SparkplugSeq], vec![FaultCode::BirthMissing]));
}

#[test]
fn a_message_that_comes_twice_shows_as_a_gap() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    node.seq -= 1;
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, vec![]).codes(), [FaultCode::SparkplugSeq]);
}

#[test]
fn data_without_a_seq_show_as_a_gap() {
    let mut node = born();
    let applied = node.apply("NDATA/gw-1", &Payload { timestamp: milliseconds(0), ..Payload::default() }.encode_to_vec());
    assert_eq!((applied.codes(), applied.faults[0].detail.as_str()), (vec![FaultCode::SparkplugSeq], "expected 1, found none"));
}

#[test]
fn a_rebirth_asked_for_in_vain_is_asked_for_ever_more_rarely() {
    let mut node = node();
    let asked: Vec<_> = (0..4000)
        .filter(|second| {
            node.now = at(second * 1000);
            node.send("NDATA/gw-1", 0, vec![]).rebirth
        })
        .collect();
    assert_eq!(asked, [0, 5, 15, 35, 75, 155, 315, 635, 1275, 1915, 2555, 3195, 3835]);
    node.now = at(3_835_000 + 1_280_001);
    assert!(node.send("NDATA/gw-1", 0, vec![]).rebirth);
    node.now += TimeDelta::seconds(REBIRTH_WAIT_S_MIN);
    assert!(node.send("NDATA/gw-1", 0, vec![]).rebirth, "after a long time without need it is as at first");
}

#[test]
fn a_birth_of_the_same_millisecond_goes_on_counting_and_a_later_one_begins_anew() {
    let mut node = born();
    assert_eq!(node.birth(0, vec![]).number(), ("spb-1572912000000".into(), 2));
    assert_eq!(node.birth(1, vec![]).number(), ("spb-1572912000001".into(), 1));
}

#[test]
fn a_device_must_be_born_before_it_says_anything_and_again_after_its_death() {
    let reading = || vec![metric("a", 1, FLOAT, Value::Float(1.0))];
    let mut node = born();
    let early = node.send("DDATA/gw-1/d", 0, reading());
    assert_eq!((early.codes(), early.rebirth), (vec![FaultCode::BirthMissing], true));
    assert_eq!(node.send("DDEATH/gw-1/d", 0, vec![]).codes(), [FaultCode::BirthMissing]);
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, reading()).codes(), [], "the order was kept: the device may still be born");
    assert_eq!(node.send("DDATA/gw-1/d", 0, reading()).codes(), []);
    assert_eq!(node.send("DDEATH/gw-1/d", 0, vec![]).change, Some(Change::DeviceDied("d".into())));
    assert_eq!(node.send("DDATA/gw-1/d", 0, reading()).codes(), [FaultCode::BirthMissing]);
}

#[test]
fn a_death_of_another_connection_is_ignored() {
    let mut node = born();
    let death = node.death(6);
    assert_eq!((death.codes(), death.change, death.report.is_some()), (vec![FaultCode::SparkplugBdSeq], None, false));
    assert_eq!(node.send("NDATA/gw-1", 0, vec![]).codes(), []);
    assert_eq!(node.death(7).change, Some(Change::NodeDied));
}

#[test]
fn a_birth_with_another_bdseq_than_the_will_counts_and_is_told_so() {
    let will = Payload { metrics: vec![bd_seq(6)], ..Payload::default() }.encode_to_vec();
    for (will, expected) in
        [(Some(&will[..]), vec![FaultCode::SparkplugBdSeq]), (Some(b"\xff"), vec![FaultCode::SparkplugBdSeq]), (None, vec![])]
    {
        let mut node = Node { session: Session::new(ENTERPRISE, "gw-1", SKEW_S, will), ..node() };
        let birth = node.birth(0, vec![]);
        assert_eq!((birth.codes(), birth.report.is_some()), (expected, true));
    }
}

#[test]
fn a_birth_without_a_time_or_that_cannot_be_read_ends_the_session() {
    let without = |payload: &[u8]| {
        let mut node = born();
        let applied = node.apply("NBIRTH/gw-1", payload);
        assert_eq!((applied.report.is_some(), node.send("NDATA/gw-1", 0, vec![]).codes()), (false, vec![FaultCode::BirthMissing]));
        applied.codes()
    };
    let timeless = Payload { metrics: vec![bd_seq(7)], seq: Some(0), ..Payload::default() };
    assert_eq!(without(&timeless.encode_to_vec()), [FaultCode::Sparkplug]);
    assert_eq!(without(&Payload { timestamp: Some(u64::MAX), ..timeless }.encode_to_vec()), [FaultCode::Instant]);
    assert_eq!(without(b"\x0a"), [FaultCode::Sparkplug]);
}

#[test]
fn what_cannot_be_read_is_refused_and_the_next_message_shows_the_gap() {
    let mut node = born();
    let unreadable = node.apply("NDATA/gw-1", b"{}");
    assert_eq!((unreadable.codes(), unreadable.rebirth), (vec![FaultCode::Sparkplug], false));
    node.seq += 1;
    let next = node.send("NDATA/gw-1", 0, vec![]);
    assert_eq!((next.codes(), next.rebirth), (vec![FaultCode::SparkplugSeq], true));
}

#[test]
fn a_metric_that_was_not_born_is_left_out_and_a_rebirth_asked_for() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    let data = node.send("DDATA/gw-1/d", 0, vec![by_alias(9, Value::Float(5.0)), by_alias(1, Value::Float(2.0))]);
    assert_eq!((data.codes(), data.faults[0].path.as_str()), (vec![FaultCode::SparkplugMetric], "/metrics/0"));
    assert_eq!((data.rebirth, data.ignored.unknown), (true, 1));
    assert_eq!(data.devices()[0]["readings"], json!({"a": 2.0}));
    assert_eq!(node.send("DDATA/gw-1/d", 0, vec![by_alias(1, Value::Float(3.0))]).codes(), [], "the session goes on");
    node.now = at(6000);
    let of_node = node.send("NDATA/gw-1", 0, vec![by_alias(1, Value::Float(1.0))]);
    assert_eq!((of_node.codes(), of_node.rebirth, of_node.report.is_some()), (vec![FaultCode::SparkplugMetric], true, false));
}

#[test]
fn the_same_alias_means_each_devices_own_metric() {
    let mut node = born_with("d1", vec![metric("功率", 1, FLOAT, Value::Float(1.0))]);
    node.send("DBIRTH/gw-1/d2", 0, vec![metric("on", 1, 11, Value::Boolean(true))]);
    assert_eq!(node.send("DDATA/gw-1/d1", 0, vec![by_alias(1, Value::Float(2.5))]).devices()[0]["readings"], json!({"功率": 2.5}));
    assert_eq!(node.send("DDATA/gw-1/d2", 0, vec![by_alias(1, Value::Boolean(false))]).devices()[0]["readings"], json!({"on": false}));
}

#[test]
fn metrics_of_an_edge_node_without_devices_are_those_of_a_device_with_its_id() {
    let mut node = node();
    let birth =
        node.birth(0, vec![metric("功率", 1, FLOAT, Value::Float(1.0)), metric("Node Control/Rebirth", 2, 11, Value::Boolean(false))]);
    assert_eq!(birth.devices(), json!([{"device": "gw-1", "at": "2019-11-05T00:00:00Z", "quality": "N", "readings": {"功率": 1.0}}]));
    assert_eq!(node.send("NDATA/gw-1", 5, vec![by_alias(1, Value::Float(2.5))]).devices()[0]["at"], "2019-11-05T00:00:00.005Z");
    assert_eq!(node.send("NDATA/gw-1", 5, vec![by_alias(2, Value::Boolean(false))]).report, None, "a control is no reading");
    assert_eq!(node.death(7).devices()[0]["device"], "gw-1");
    let mut silent = born();
    assert_eq!(silent.death(7).text().get("devices"), None, "an edge node without readings is no device");
}

#[test]
fn bad_and_stale_values_are_of_quality_b_and_stand_apart() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0)), metric("b", 2, FLOAT, Value::Float(1.0))]);
    let data = node.send(
        "DDATA/gw-1/d",
        0,
        vec![of_quality(192, by_alias(1, Value::Float(1.5))), of_quality(500, by_alias(2, Value::Float(2.5)))],
    );
    let entry = |quality, readings| json!({"device": "d", "at": "2019-11-05T00:00:00Z", "quality": quality, "readings": readings});
    assert_eq!(data.devices(), json!([entry("N", json!({"a": 1.5})), entry("B", json!({"b": 2.5}))]));
}

#[test]
fn a_null_is_no_reading_and_one_of_bad_quality_says_that_the_machine_is_out_of_reach() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    let null = || Metric { alias: Some(1), is_null: Some(true), value: Some(Value::Float(0.0)), ..Metric::default() };
    let nothing = node.send("DDATA/gw-1/d", 0, vec![null(), Metric { alias: Some(1), ..Metric::default() }]);
    assert_eq!((nothing.report, nothing.ignored.null, nothing.faults), (None, 2, vec![]));
    let bad = node.send("DDATA/gw-1/d", 0, vec![of_quality(0, null()), of_quality(0, null())]);
    assert_eq!(bad.devices(), json!([{"device": "d", "at": "2019-11-05T00:00:00Z", "quality": "B"}]));
}

#[test]
fn what_is_no_reading_is_counted_by_reason() {
    let long = "长".repeat(65);
    let mut node = born_with("d", vec![metric("text", 1, TEXT, Value::Int(1)), metric("a", 2, FLOAT, Value::Float(1.0))]);
    let birth = node.send("DBIRTH/gw-1/e", 0, vec![metric(&long, 3, FLOAT, Value::Float(1.0)), metric("a\n", 4, FLOAT, Value::Float(1.0))]);
    assert_eq!((birth.codes(), birth.ignored.unusable_name), (vec![FaultCode::Text; 2], 2));
    let timeless = Metric { timestamp: Some(u64::MAX), ..by_alias(2, Value::Float(1.0)) };
    let metrics = vec![by_alias(1, Value::Int(1)), by_alias(2, Value::Float(f32::NAN)), by_alias(2, Value::Int(1)), timeless];
    let data = node.send("DDATA/gw-1/d", 0, metrics);
    assert_eq!(data.ignored, Ignored { other_type: 2, not_finite: 1, untimed: 1, ..Ignored::default() });
    assert_eq!((data.codes(), data.report), (vec![FaultCode::Instant], None));
    let data = node.send("DDATA/gw-1/e", 0, vec![by_alias(3, Value::Float(1.0))]);
    assert_eq!((data.codes(), data.ignored.unusable_name), (vec![], 1));
    assert_eq!(data.ignored.by_reason().iter().map(|(_, count)| count).sum::<usize>(), 1);
}

#[test]
fn metrics_times_come_before_the_payloads() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    let own = Metric { timestamp: milliseconds(-60_000), ..by_alias(1, Value::Float(1.0)) };
    let data = node.send("DDATA/gw-1/d", 0, vec![own, by_alias(1, Value::Float(2.0))]);
    let times: Vec<_> = data.devices().as_array().unwrap().iter().map(|entry| entry["at"].clone()).collect();
    assert_eq!(times, ["2019-11-04T23:59:00Z", "2019-11-05T00:00:00Z"]);
}

#[test]
fn a_device_of_more_than_64_points_and_a_point_that_comes_twice_take_several_entries() {
    let mut node = born();
    let metrics: Vec<_> = (0..130).map(|count| metric(&format!("p{count}"), count, FLOAT, Value::Float(1.0))).collect();
    let birth = node.send("DBIRTH/gw-1/d", 0, metrics);
    let counts: Vec<_> = birth.devices().as_array().unwrap().iter().map(|entry| entry["readings"].as_object().unwrap().len()).collect();
    assert_eq!(counts, [64, 64, 2]);
    let twice = node.send("DDATA/gw-1/d", 0, vec![by_alias(5, Value::Float(1.0)), by_alias(5, Value::Float(2.0))]);
    let readings: Vec<_> = twice.devices().as_array().unwrap().iter().map(|entry| entry["readings"]["p5"].clone()).collect();
    assert_eq!(readings, [1.0, 2.0]);
}

#[test]
fn a_thousand_entries_fit_and_one_more_refuses_the_message_but_not_the_session() {
    let mut node = born_with("d", vec![metric("a", 1, FLOAT, Value::Float(1.0))]);
    let history = |count: usize| {
        let back = |index: usize| Metric { timestamp: milliseconds(-(index as i64)), ..by_alias(1, Value::Float(1.0)) };
        (0..count).map(back).collect::<Vec<_>>()
    };
    assert_eq!(node.send("DDATA/gw-1/d", 0, history(ENTRIES_MAX)).number().1, 3);
    let beyond = node.send("DDATA/gw-1/d", 0, history(ENTRIES_MAX + 1));
    assert_eq!((beyond.codes(), beyond.report), (vec![FaultCode::Bound], None));
    assert_eq!(node.send("DDATA/gw-1/d", 0, history(1)).number().1, 5, "the refused message has a number too");
}

#[test]
fn a_time_in_the_future_refuses_the_message_but_not_the_session() {
    let mut node = node();
    let birth = node.birth(120_001, vec![]);
    assert_eq!(
        (birth.codes(), birth.faults[0].path.as_str(), birth.change),
        (vec![FaultCode::Future], "/timestamp", Some(Change::NodeBorn))
    );
    assert!(birth.report.is_none());
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, vec![metric("a", 1, FLOAT, Value::Float(1.0))]).number(), ("spb-1572912120001".into(), 2));
    let ahead = node.send("DDATA/gw-1/d", 120_001, vec![by_alias(1, Value::Float(1.0))]);
    assert_eq!((ahead.codes(), ahead.faults[0].path.as_str()), (vec![FaultCode::Future], "/metrics/0/timestamp"));
    assert_eq!(node.send("DDATA/gw-1/d", 120_000, vec![by_alias(1, Value::Float(1.0))]).codes(), []);
    let death = node.send("DDEATH/gw-1/d", 120_001, vec![]);
    assert_eq!((death.codes(), death.change), (vec![FaultCode::Future], Some(Change::DeviceDied("d".into()))));
}

#[test]
fn a_report_that_would_be_too_large_leaves_its_readings_to_the_payload_beside_them() {
    let long = |count| format!("{}{count:04}", "长".repeat(60));
    let metrics = |count| (0..count).map(|alias| metric(&long(alias), alias, FLOAT, Value::Float(1.0))).collect::<Vec<_>>();
    let mut node = born_with("d", metrics(500));
    let birth = node.send("DBIRTH/gw-1/d", 0, metrics(600));
    assert_eq!((birth.codes(), birth.ignored.no_room), (vec![], 600));
    let devices = birth.devices();
    assert_eq!((devices.as_array().unwrap().len(), &devices[0]["quality"], devices[0].get("readings")), (10, &json!("N"), None));
    assert_eq!(node.send("DDATA/gw-1/d", 0, vec![by_alias(599, Value::Float(2.0))]).devices()[0]["readings"], json!({long(599): 2.0}));
}

#[test]
fn a_payload_that_no_report_can_hold_is_refused_and_still_tells_of_its_metrics() {
    let mut node = born();
    let metrics = (0..1000).map(|count| metric(&format!("{count:0200}"), count, FLOAT, Value::Float(1.0)));
    let birth = node.send("DBIRTH/gw-1/d", 0, metrics.chain([metric("a", 5000, FLOAT, Value::Float(1.0))]).collect());
    assert_eq!(birth.faults.last().map(|fault| fault.code), Some(FaultCode::Size));
    assert_eq!((birth.report, birth.change), (None, Some(Change::DeviceBorn("d".into()))));
    assert_eq!(node.send("DDATA/gw-1/d", 0, vec![by_alias(5000, Value::Float(1.0))]).number().1, 3);
}

#[test]
fn payloads_metrics_and_devices_are_bounded() {
    assert_eq!(payload::read(&vec![0; REPORT_BYTES_MAX + 1]).unwrap_err().code, FaultCode::Size);
    let empty = |count: usize| Payload { metrics: vec![Metric::default(); count], ..Payload::default() }.encode_to_vec();
    assert!(payload::read(&empty(SPARKPLUG_METRICS_MAX)).is_ok());
    assert_eq!(payload::read(&empty(SPARKPLUG_METRICS_MAX + 1)).unwrap_err().code, FaultCode::Bound);

    let mut node = born();
    let metrics = |count: u64| (0..count).map(|alias| metric("a", alias, TEXT, Value::Int(1))).collect::<Vec<_>>();
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, metrics(9000)).codes(), []);
    assert_eq!(node.send("DBIRTH/gw-1/e", 0, metrics(1000)).codes(), [FaultCode::Bound], "bdSeq of the node is one of them");
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, metrics(9000)).codes(), [], "what is born again takes its own place");
    node.birth(0, vec![]);
    for count in 0..SPARKPLUG_DEVICES_MAX {
        assert_eq!(node.send(&format!("DBIRTH/gw-1/{count:\u{673a}<64}"), 0, vec![]).codes(), []);
    }
    assert_eq!(node.send("DBIRTH/gw-1/d", 0, vec![]).codes(), [FaultCode::Bound]);
    assert_eq!(node.death(7).devices().as_array().unwrap().len(), SPARKPLUG_DEVICES_MAX);
}

#[test]
fn a_device_name_that_is_none_is_refused_and_the_order_kept() {
    let mut node = born();
    assert_eq!(node.send(&format!("DBIRTH/gw-1/{}", "机".repeat(65)), 0, vec![]).codes(), [FaultCode::Text]);
    assert_eq!(node.send("DBIRTH/gw-1/", 0, vec![]).codes(), [FaultCode::Text]);
    assert_eq!(node.send("NDATA/gw-1", 0, vec![]).codes(), []);
}

#[test]
fn a_topic_of_another_edge_node_is_refused() {
    let applied = born().session.apply(&format!("spBv1.0/{ENTERPRISE}/NDEATH/gw-2"), &bytes(golden::NDEATH), at(0));
    assert_eq!((applied.codes(), applied.change), (vec![FaultCode::NotAuthorised], None));
}

prop_compose! {
    fn any_metric()(
        name in prop::option::of(prop::sample::select(vec!["a", "b", "功率", "", "bdSeq", "Node Control/Rebirth", "c\u{7}"])),
        alias in prop::option::of(0u64..4),
        timestamp in prop::option::of(prop_oneof![Just(0), Just(u64::MAX), Just(1_572_912_000_000), 1_572_911_999_000u64..1_572_912_200_000]),
        datatype in prop::option::of(0u32..14),
        is_null in prop::option::of(any::<bool>()),
        quality in prop::option::of(prop_oneof![Just(0), Just(192), Just(500)]),
        value in prop::option::of(prop_oneof![
            any::<u32>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::Long),
            any::<f32>().prop_map(Value::Float),
            any::<f64>().prop_map(Value::Double),
            any::<bool>().prop_map(Value::Boolean),
        ]),
    ) -> Metric {
        let metric = Metric { name: name.map(Into::into), alias, timestamp, datatype, is_null, value, properties: None };
        match quality { Some(quality) => of_quality(quality, metric), None => metric }
    }
}

#[derive(Clone, Debug)]
struct Step {
    below: &'static str,
    timestamp: Option<u64>,
    metrics: Vec<Metric>,
    /// What the seq is ahead of the next, if it has one.
    ahead: Option<u64>,
    damage: Option<(usize, u8)>,
    later_ms: i64,
}

prop_compose! {
    fn any_step()(
        below in prop::sample::select(vec!["NBIRTH/gw-1", "NDATA/gw-1", "NDEATH/gw-1", "DBIRTH/gw-1/d", "DDATA/gw-1/d", "DDATA/gw-1/d",
            "DDEATH/gw-1/d", "DBIRTH/gw-1/机", "DDATA/gw-1/机"]),
        timestamp in prop_oneof![9 => (1_572_911_990_000u64..1_572_912_010_000).prop_map(Some), 1 => prop::option::of(any::<u64>())],
        metrics in prop::collection::vec(any_metric(), 0..6),
        ahead in prop_oneof![9 => Just(Some(0)), 1 => prop::option::of(0u64..300)],
        damage in prop::option::weighted(0.05, (any::<usize>(), any::<u8>())),
        later_ms in 0i64..3000,
    ) -> Step {
        Step { below, timestamp, metrics, ahead, damage, later_ms }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = payload::read(&bytes);
    }

    #[test]
    fn no_damaged_payload_makes_decoding_panic(place in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = bytes(golden::DBIRTH_JS);
        let place = place % bytes.len();
        bytes[place] = byte;
        let _ = payload::read(&bytes);
    }

    /// Nor is a rebirth ever asked for without saying why.
    #[test]
    fn no_order_of_messages_makes_a_report_that_would_be_refused(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut node = node();
        for step in steps {
            node.now += TimeDelta::milliseconds(step.later_ms);
            let mut metrics = step.metrics;
            if step.below.starts_with("NBIRTH") || step.below.starts_with("NDEATH") {
                metrics.push(bd_seq(7));
            }
            let seq = if step.below.starts_with("NBIRTH") { 0 } else { node.session.birth.as_ref().map_or(0, |birth| birth.seq_next) };
            let payload = Payload { timestamp: step.timestamp, metrics, seq: step.ahead.map(|ahead| seq + ahead) };
            let mut bytes = payload.encode_to_vec();
            if let Some((place, byte)) = step.damage && !bytes.is_empty() {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            let applied = node.apply(step.below, &bytes);
            prop_assert!(!applied.rebirth || !applied.faults.is_empty());
        }
    }
}
