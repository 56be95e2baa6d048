use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admitted_before::AdmittedBefore;
use crate::cose::{SigningKey, seal};
use crate::json::Json;
use crate::read::{Door, ReadContext, Readout, read_report};

const SEED: [u8; 32] = [7; 32];
const REPORT: &[u8] = br#"{"v":1,"boot":"b","seq":1,"devices":[{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N"}]}"#;

fn key() -> SigningKey {
    SigningKey::from_bytes(&SEED)
}

fn public_key() -> PublicKey {
    PublicKey::from(&key())
}

/// What the gateway gw-1 with the key is told.
fn refused(body: &[u8]) -> FaultCode {
    open_report(body, Some(&public_key()), "gw-1").expect_err("it was opened").code
}

#[test]
fn a_gateway_with_a_key_signs_in_json_or_in_cbor() {
    let cbor = Json::read(REPORT).unwrap().to_cbor();
    for report in [REPORT, &cbor] {
        let body = seal(report, "gw-1", &key());
        let opened = open_report(&body, Some(&public_key()), "gw-1").unwrap();
        assert_eq!(opened.report, report);
        assert_eq!(opened.signed.map(|signed| *signed.signature), body.last_chunk().copied());
        assert_eq!(refused(report), FaultCode::Unsigned);
    }
}

#[test]
fn a_gateway_without_a_key_does_not_sign() {
    let cbor = Json::read(REPORT).unwrap().to_cbor();
    for report in [REPORT, &cbor] {
        let opened = open_report(report, None, "gw-1").unwrap();
        assert_eq!((opened.report, opened.signed.is_some()), (report, false));
        let fault = open_report(&seal(report, "gw-1", &key()), None, "gw-1").unwrap_err();
        assert_eq!((fault.code, fault.detail.as_str()), (FaultCode::NoPublicKey, "gw-1 has no public_key in the register"));
    }
}

#[test]
fn signatures_of_others_and_for_others_are_refused() {
    assert_eq!(refused(&seal(REPORT, "gw-1", &SigningKey::from_bytes(&[8; 32]))), FaultCode::Signature);
    assert_eq!(refused(&seal(REPORT, "gw-2", &key())), FaultCode::Kid);
    assert_eq!(refused(&seal(REPORT, "gw-1/x", &key())), FaultCode::Kid);
    let fault = open_report(&seal(REPORT, &"\u{7}".repeat(500), &key()), Some(&public_key()), "gw-1").unwrap_err();
    assert!(fault.detail.len() < 500 && !fault.detail.contains('\u{7}'), "{}", fault.detail);
}

#[test]
fn envelopes_that_are_broken_empty_nested_or_too_large_are_refused() {
    let sealed = seal(REPORT, "gw-1", &key());
    assert_eq!(refused(&sealed[..sealed.len() - 1]), FaultCode::Cose);
    assert_eq!(refused(&[0xD2]), FaultCode::Cose);
    assert_eq!(refused(&seal(b"", "gw-1", &key())), FaultCode::Format);
    assert_eq!(refused(&seal(b"[]", "gw-1", &key())), FaultCode::Format);
    assert_eq!(refused(&seal(&sealed, "gw-1", &key())), FaultCode::Format);
    assert_eq!(refused(&seal(&vec![b'{'; REPORT_BYTES_MAX + ENVELOPE_BYTES_MAX], "gw-1", &key())), FaultCode::Size);
    for body in [&b""[..], b"[]", b" {}", b"\x80", b"\xc0", b"\xd1", b"\xd8\x12"] {
        assert_eq!(refused(body), FaultCode::Format);
    }
}

#[test]
fn a_signature_is_verified_only_when_it_is_asked_for() {
    let mut body = seal(REPORT, "gw-1", &key());
    assert!(!examine_report(REPORT, None, "gw-1").unwrap().signed());
    *body.last_mut().unwrap() ^= 1;
    let unverified = examine_report(&body, Some(&public_key()), "gw-1").unwrap();
    assert!(unverified.signed());
    assert_eq!(unverified.verify().unwrap_err().code, FaultCode::Signature);
    assert_eq!(reopen_report(&body).unwrap().report, REPORT);
}

fn read(body: &[u8]) -> Readout {
    let received_at = DateTime::from_timestamp(1_572_912_000, 0).unwrap();
    read_report(body, &ReadContext { door: Door::Gateway, received_at, future_skew_s_max: 120, admission: &AdmittedBefore })
}

#[test]
fn a_report_in_cbor_has_the_faults_of_json_and_those_of_its_own() {
    let faults = |body: &[u8]| -> Vec<(FaultCode, String)> {
        read(body).report.unwrap_err().into_iter().map(|fault| (fault.code, fault.path)).collect()
    };
    let reading = |reading: Json<'static>| {
        let Ok(Json::Object(mut report)) = Json::read(REPORT) else { panic!("not an object") };
        let Json::List(devices) = &mut report[3].1 else { panic!("not a list") };
        let Json::Object(device) = &mut devices[0] else { panic!("not an object") };
        device.push(("readings".into(), Json::Object(vec![("a/b".into(), reading)])));
        Json::Object(report).to_cbor()
    };
    assert!(read(&reading(Json::Float(1.5))).report.is_ok());
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(faults(&reading(Json::Float(number))), [(FaultCode::Reading, "/devices/0/readings/a~1b".to_string())], "{number}");
    }
    // v twice; then a tag
    assert_eq!(faults(b"\xa2\x61v\x01\x61v\x01")[0], (FaultCode::DuplicateField, "/v".to_string()));
    let fault = read(b"\xa1\x61v\xc1\x01").report.unwrap_err().remove(0);
    assert_eq!((fault.code, fault.detail.as_str()), (FaultCode::Cbor, "at byte 3: a tag"));
}

/// A value of a sort that a field may hold, or a wrong one.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (1u64..4).prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|flag| json!(flag)),
        2 => prop::sample::select(&["N", "running", "start", "2019-11-05T08:00:00.25+08:00", "91440101231245152Y", "机床-1", ""][..]).prop_map(|text| json!(text)),
        1 => Just(Value::Null),
    ]
}

fn object(names: &'static [&'static str], value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(names), value, 0..names.len()).prop_map(|fields| json!(fields))
}

/// A sound report with some fields replaced or added, so that some are sound and others have every sort of fault.
fn report() -> impl Strategy<Value = Value> {
    let readings = prop::collection::btree_map(".{0,3}", prop_oneof![any::<f64>().prop_map(|number| json!(number)), value()], 0..4)
        .prop_map(|fields| json!(fields));
    let device = (object(&["device", "at", "quality", "state", "identity", "x"], value()), readings, any::<bool>()).prop_map(
        |(odd, readings, sound)| {
            let mut device = json!({"device": "d", "at": "2019-11-05T08:00:00+08:00", "quality": "N", "readings": readings});
            let odd = if sound { json!({}) } else { odd };
            device.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
            device
        },
    );
    let odd = object(&["v", "id", "boot", "seq", "enterprise", "sent_at", "clock", "events", "usage", "x"], value());
    (prop::collection::vec(device, 0..4), odd, any::<bool>()).prop_map(|(devices, odd, sound)| {
        let mut report = json!({"v": 1, "boot": "b", "seq": 1, "devices": devices});
        let odd = if sound { json!({}) } else { odd };
        report.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        report
    })
}

proptest! {
    #[test]
    fn json_and_cbor_say_the_same(report in report()) {
        let json = report.to_string();
        let cbor = Json::read(json.as_bytes()).unwrap().to_cbor();
        let (json, cbor) = (read(json.as_bytes()), read(&cbor));
        prop_assert_eq!(&json.report, &cbor.report);
        prop_assert_eq!(json.report.map(|report| report.digest()).ok(), cbor.report.map(|report| report.digest()).ok());
        prop_assert_eq!((json.label, json.unknown_fields), (cbor.label, cbor.unknown_fields));
    }

    #[test]
    fn no_bytes_make_opening_or_reading_panic(first in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = [&[first], &rest[..]].concat();
        let _ = open_report(&body, Some(&public_key()), "gw-1");
        if let Ok(opened) = open_report(&body, None, "gw-1") {
            read(opened.report);
        }
        read(&[&[0xA0 | first & 0x1F], &rest[..]].concat());
    }
}
