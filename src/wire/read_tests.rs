use super::*;
use chrono::DateTime;
use proptest::prelude::*;

const CODE: &str = "91440101231245152Y";

struct Everything;

impl Admission for Everything {
    fn enterprise(&self, _: &str) -> Result<(), (FaultCode, String)> {
        Ok(())
    }
    fn product(&self, _: Option<&str>, product: &str) -> Result<(), (FaultCode, String)> {
        if product == "P-1" { Ok(()) } else { Err((FaultCode::UnknownProduct, product.to_string())) }
    }
    fn function_module(&self, _: &str, module: &str) -> Result<(), (FaultCode, String)> {
        if module == "报表" { Ok(()) } else { Err((FaultCode::FunctionModule, module.to_string())) }
    }
}

fn read(door: Door, body: &str) -> Readout {
    let received_at = DateTime::parse_from_rfc3339("2019-11-05T08:00:00+08:00").unwrap().to_utc();
    read_report(body.as_bytes(), &ReadContext { door, received_at, future_skew_s_max: 120, admission: &Everything })
}

fn faults(door: Door, body: &str) -> Vec<(FaultCode, String)> {
    read(door, body).report.err().unwrap_or_default().into_iter().map(|fault| (fault.code, fault.path)).collect()
}

fn gateway(devices: &str) -> String {
    format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{devices}]}}"#)
}

#[test]
fn the_contracts_example_is_read_whole() {
    let body = format!(
        r#"{{"v":1,"id":"r-000001","boot":"b7","seq":1,"enterprise":"{CODE}","sent_at":"2019-11-05T08:01:02+08:00",
        "clock":{{"synchronised":true,"monotonic_ms":123456}},"events":[{{"at":"2019-11-05T07:00:00+08:00","event":"start","detail":"d"}}],
        "devices":[{{"device":"SN-0001","at":"2019-11-05T08:00:00+08:00","quality":"N","state":"running","readings":{{"功率_kw":4.2,"on":true}},"identity":{{"vendor":"v","model":"m","serial":"s"}}}}],
        "usage":[{{"product":"P-1","function_module":"报表","user":"7f3a","at":"2019-11-05T08:00:10+08:00","actions":3,"active_s":120}}]}}"#
    );
    let report = read(Door::Gateway, &body).report.unwrap();
    assert_eq!((report.seq, report.devices.len(), report.usage.len(), report.events.len()), (Some(1), 1, 1, 1));
    let readings: Vec<_> = report.readings.of(report.devices[0].readings).collect();
    assert_eq!(readings, [("功率_kw", Reading::Number(4.2)), ("on", Reading::Flag(true))]);
    assert_eq!(report.devices[0].identity.len(), 3);
}

#[test]
fn every_fault_is_listed_with_its_place() {
    let body = r#"{"v":2,"boot":"b","seq":0,"devices":[{"device":"","at":"gestern","quality":"X","readings":{"a/b":"high"}}],
        "usage":[{"product":"P-9","function_module":"报表","user":"u","at":"2019-11-05T08:02:01+08:00","actions":0}]}"#;
    let expected = [
        (FaultCode::Version, "/v"),
        (FaultCode::Sequence, "/seq"),
        (FaultCode::Text, "/devices/0/device"),
        (FaultCode::Instant, "/devices/0/at"),
        (FaultCode::Quality, "/devices/0/quality"),
        (FaultCode::Reading, "/devices/0/readings/a~1b"),
        (FaultCode::Future, "/usage/0/at"),
        (FaultCode::Actions, "/usage/0/actions"),
        (FaultCode::UnknownProduct, "/usage/0/product"),
    ];
    assert_eq!(faults(Door::Gateway, body), expected.map(|(code, path)| (code, path.to_string())));
}

#[test]
fn gateways_need_boot_and_seq_and_suppliers_id_and_enterprise() {
    let body = r#"{"v":1,"devices":[{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N"}]}"#;
    let missing = |path: &str| (FaultCode::Missing, path.to_string());
    assert_eq!(faults(Door::Gateway, body), [missing("/boot"), missing("/seq")]);
    assert_eq!(faults(Door::Supplier, body), [missing("/id"), missing("/enterprise")]);
}

#[test]
fn a_report_with_nothing_in_it_is_refused_but_events_alone_are_enough() {
    assert_eq!(faults(Door::Gateway, r#"{"v":1,"boot":"b","seq":1,"devices":[],"usage":[]}"#), [(FaultCode::Empty, String::new())]);
    assert!(
        read(Door::Gateway, r#"{"v":1,"boot":"b","seq":1,"events":[{"at":"2019-11-05T08:00:00+08:00","event":"stop"}]}"#).report.is_ok()
    );
}

#[test]
fn the_future_begins_after_120_seconds_exactly() {
    let at = |text: &str| faults(Door::Gateway, &gateway(&format!(r#"{{"device":"d","at":"{text}","quality":"N"}}"#)));
    assert_eq!(at("2019-11-05T08:02:00+08:00"), []);
    assert_eq!(at("2019-11-05T08:02:00.000001+08:00"), [(FaultCode::Future, "/devices/0/at".to_string())]);
}

#[test]
fn a_repeated_field_or_point_is_refused() {
    assert_eq!(
        faults(Door::Gateway, r#"{"v":1,"v":1,"boot":"b","seq":1,"events":[{"at":"2019-11-05T08:00:00+08:00","event":"stop"}]}"#),
        [(FaultCode::DuplicateField, "/v".to_string())]
    );
    let twice = gateway(r#"{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{"p":1,"p":1}}"#);
    assert_eq!(faults(Door::Gateway, &twice), [(FaultCode::DuplicateField, "/devices/0/readings/p".to_string())]);
}

#[test]
fn unknown_fields_are_ignored_and_counted() {
    let body =
        gateway(r#"{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N","colour":"red"}"#).replace("\"v\":1", "\"v\":1,\"x\":{}");
    let readout = read(Door::Gateway, &body);
    assert!(readout.report.is_ok());
    assert_eq!(readout.unknown_fields, 2);
}

#[test]
fn bounds_are_refused_at_one_above() {
    let entry = r#"{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N"}"#;
    assert!(faults(Door::Gateway, &gateway(&vec![entry; 1000].join(","))).is_empty());
    assert_eq!(faults(Door::Gateway, &gateway(&vec![entry; 1001].join(","))), [(FaultCode::Bound, "/devices".to_string())]);
    let name = |length: usize| gateway(&entry.replace("\"d\"", &format!("\"{}\"", "机".repeat(length))));
    assert!(faults(Door::Gateway, &name(64)).is_empty());
    assert_eq!(faults(Door::Gateway, &name(65)), [(FaultCode::Text, "/devices/0/device".to_string())]);
    let large = format!("{}{}", gateway(entry), " ".repeat(REPORT_BYTES_MAX));
    assert_eq!(faults(Door::Gateway, &large), [(FaultCode::Size, String::new())]);
}

#[test]
fn faults_beyond_a_thousand_are_counted_not_listed() {
    let entry = r#"{"device":"","at":"x","quality":"X"}"#;
    let faults = read(Door::Gateway, &gateway(&vec![entry; 1000].join(","))).report.unwrap_err();
    assert_eq!(faults.len(), 1001);
    assert_eq!((faults[1000].code, faults[1000].detail.as_str()), (FaultCode::Bound, "and 2000 more faults"));
}

#[test]
fn equal_reports_have_equal_digests_whatever_their_writing() {
    let first = gateway(r#"{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{"a":1,"b":2.50}}"#);
    let again = r#"{"sent_at":"2019-11-05T08:00:09+08:00","devices":[{"readings":{"b":2.5,"a":1.0},"quality":"N","at":"2019-11-05T00:00:00Z","device":"d","x":1}],"seq":1,"boot":"b","v":1}"#;
    let other = first.replace("2.50", "2.51");
    let digest = |body: &str| read(Door::Gateway, body).report.unwrap().digest();
    assert_eq!(digest(&first), digest(again));
    assert_ne!(digest(&first), digest(&other));
    let sent_at = read(Door::Gateway, again).report.unwrap().sent_at.unwrap();
    assert_eq!(sent_at.timestamp(), 1_572_912_009, "kept beside the content");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let received_at = DateTime::UNIX_EPOCH;
        read_report(&body, &ReadContext { door: Door::Gateway, received_at, future_skew_s_max: 120, admission: &Everything });
    }

    #[test]
    fn no_damaged_report_makes_reading_panic(at in 0usize..150, byte in any::<u8>()) {
        let mut body = gateway(r#"{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{"a":1,"b":2.5}}"#).into_bytes();
        let at = at % body.len();
        body[at] = byte;
        read_report(&body, &ReadContext { door: Door::Gateway, received_at: DateTime::UNIX_EPOCH, future_skew_s_max: 120, admission: &Everything });
    }
}
