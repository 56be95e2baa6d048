//! Reports as they come from gateways and suppliers, in JSON or CBOR, up to the facts that they become.

use chrono::{DateTime, TimeDelta, Utc};
use tally::{Facts, KeyParts, Origin, decode_device_day, decode_usage, encode_device_day, encode_usage, kind, numbered_day};
use wire::identity::Sender;
use wire::json::Json;
use wire::limits::{ENTRIES_MAX, EVENTS_MAX, NAME_CHARS_MAX, READINGS_MAX, REPORT_BYTES_MAX};
use wire::report::{Instant, Reading};
use wire::{Admission, Door, FaultCode, Format, ReadContext, Readout, Report, read_report};

use super::{Target, faults, written};

pub(crate) const TARGET: Target = Target { name: "report", run, seeds, words: WORDS };

const ENTERPRISE: &str = "91440101231245152Y";
const FUTURE_SKEW_S_MAX: u32 = 120;

/// A register of one enterprise, one product and one function module.
struct Known;

impl Admission for Known {
    fn enterprise(&self, credit_code: &str) -> Result<(), (FaultCode, String)> {
        if credit_code == ENTERPRISE { Ok(()) } else { Err((FaultCode::UnknownEnterprise, "another".into())) }
    }

    fn product(&self, _: Option<&str>, product: &str) -> Result<(), (FaultCode, String)> {
        if product == "P-1" { Ok(()) } else { Err((FaultCode::UnknownProduct, format!("{product:?}"))) }
    }

    fn function_module(&self, _: &str, function_module: &str) -> Result<(), (FaultCode, String)> {
        if function_module == "报警" { Ok(()) } else { Err((FaultCode::FunctionModule, format!("{function_module:?}"))) }
    }
}

pub(crate) fn received_at() -> Instant {
    DateTime::from_timestamp(1_572_940_800, 0).unwrap()
}

fn read(body: &[u8], door: Door) -> Readout {
    read_report(body, &ReadContext { door, received_at: received_at(), future_skew_s_max: FUTURE_SKEW_S_MAX, admission: &Known })
}

pub(crate) fn run(body: &[u8]) {
    let message = match Format::of(body) {
        Some(Format::Cbor) => Json::read_cbor(body).ok(),
        _ => Json::read(body).ok(),
    };
    for door in [Door::Gateway, Door::Supplier] {
        let readout = read(body, door);
        match &readout.report {
            Ok(report) => {
                sound(report, door);
                comes_back(report, door);
                becomes_facts(report, door);
            }
            Err(found) => faults::check(found, message.as_ref()),
        }
        if let Some(message @ Json::Object(_)) = &message {
            reads_the_same_in_the_other_form(body, message, &readout, door);
        }
    }
}

/// Everything within its bounds, and what its door requires.
fn sound(report: &Report, door: Door) {
    let name = |text: &str| (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let required = match door {
        Door::Gateway => report.boot.is_some() && report.seq.is_some_and(|seq| seq > 0),
        Door::Supplier => report.id.is_some() && report.enterprise.is_some(),
    };
    assert!(required && [&report.id, &report.boot].into_iter().flatten().all(|text| name(text)), "{report:?}");
    assert!(report.enterprise.as_deref().is_none_or(|code| code == ENTERPRISE));
    assert!(report.devices.len() <= ENTRIES_MAX && report.usage.len() <= ENTRIES_MAX && report.events.len() <= EVENTS_MAX);
    assert!(!report.devices.is_empty() || !report.usage.is_empty() || !report.events.is_empty());
    let latest = received_at() + TimeDelta::seconds(i64::from(FUTURE_SKEW_S_MAX));
    for entry in &report.devices {
        let mut readings = report.readings.of(entry.readings);
        assert!(name(&entry.device) && entry.at <= latest && readings.len() <= READINGS_MAX, "{entry:?}");
        assert!(readings.all(|(point, value)| name(point) && !matches!(value, Reading::Number(n) if !n.is_finite())));
    }
    for entry in &report.usage {
        assert!(entry.product == "P-1" && entry.function_module == "报警" && name(&entry.user) && entry.at <= latest, "{entry:?}");
        assert!((1..=100_000).contains(&entry.actions) && entry.active_s.is_none_or(|seconds| seconds <= 86_400));
    }
    assert!(report.events.iter().all(|event| event.at <= latest));
}

/// Written anew, in either form, it is the same report.
fn comes_back(report: &Report, door: Door) {
    let tree = written::report(report);
    for body in [written::json_text(&tree).unwrap().into_bytes(), tree.to_cbor()] {
        if body.len() > REPORT_BYTES_MAX {
            continue;
        }
        let again = read(&body, door);
        // When it was sent is no part of what it says.
        let unsent = Report { sent_at: None, ..report.clone() };
        assert_eq!(again.report.as_ref(), Ok(&unsent));
        assert_eq!(again.report.map(|again| again.digest()), Ok(report.digest()));
        assert_eq!(again.unknown_fields, 0);
    }
}

/// JSON and CBOR are two ways of writing one thing: report, faults and label are the same. So are they whichever way through the reader
/// a body takes, since CBOR knows only the long one.
fn reads_the_same_in_the_other_form(body: &[u8], message: &Json<'_>, readout: &Readout, door: Door) {
    let other = match Format::of(body) {
        Some(Format::Cbor) => written::json_text(message).map(String::into_bytes),
        _ => Some(message.to_cbor()),
    };
    let Some(other) = other.filter(|other| other.len().max(body.len()) <= REPORT_BYTES_MAX) else { return };
    let again = read(&other, door);
    assert_eq!(again.report, readout.report);
    assert_eq!((again.label, again.unknown_fields), (readout.label.clone(), readout.unknown_fields));
}

/// Facts of an accepted report can be counted, merged and kept.
fn becomes_facts(report: &Report, door: Door) {
    let sender = match door {
        Door::Gateway => Sender::Gateway("g".into()),
        Door::Supplier => Sender::Supplier("s".into()),
    };
    let origin = Origin { sender, enterprise: ENTERPRISE.into(), received_at: received_at() };
    let mut facts = Facts::default();
    facts.apply_report(&origin, report);
    let mut merged = Facts::default();
    merged.merge(facts.clone());
    assert_eq!((records(&merged), &merged.clocks, &merged.dropped), (records(&facts), &facts.clocks, &facts.dropped));
    for (key, value) in records(&facts) {
        let mut parts = KeyParts(&key);
        match parts.byte() {
            Ok(kind::DEVICE_DAY) => {
                parts.name().unwrap();
                let day = numbered_day(parts.day().unwrap()).unwrap();
                assert_eq!(encode_device_day(day, &decode_device_day(day, &value).unwrap()), value);
            }
            Ok(kind::USAGE_DAY) => assert_eq!(encode_usage(&decode_usage(&value).unwrap()), value),
            kind => assert_eq!(kind, Ok(kind::DEVICE_HOURS)),
        }
    }
}

fn records(facts: &Facts) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    let gathered = facts.records(&mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        Ok::<_, std::convert::Infallible>(())
    });
    gathered.unwrap();
    records
}

pub(crate) fn texts() -> Vec<String> {
    let at = show(received_at());
    let before = show(received_at() - TimeDelta::days(9));
    let full = format!(
        r#"{{"v":1,"id":"r-1","boot":"b7","seq":17,"enterprise":"{ENTERPRISE}","sent_at":"{at}","clock":{{"synchronised":true,"monotonic_ms":123456}},
"events":[{{"at":"{at}","event":"start","detail":"上电"}},{{"at":"{before}","event":"clock_jump"}}],
"devices":[{{"device":"SN-0001","at":"{at}","quality":"N","state":"running","readings":{{"功率_kw":4.2,"on":true,"count":12,"t":-3,"e":1.5e-3}},"identity":{{"vendor":"厂","model":"M-1","serial":"00~1/2"}}}},
{{"device":"机床\"二\"","at":"{before}","quality":"C","readings":{{}}}}],
"usage":[{{"product":"P-1","function_module":"报警","user":"7f3a","at":"{at}","actions":3,"active_s":120}}]}}"#
    );
    let plain = r#"{"v":1,"boot":"b","seq":1,"devices":[{"device":"SN-1","at":"2019-11-05T16:00:00+08:00","quality":"N","readings":{"功率_kw":4.2,"on":true}},{"device":"SN-2","at":"2019-11-05T16:00:00.5+08:00","quality":"F","state":"stopped"}]}"#.to_string();
    let usage = format!(
        r#"{{"v":1,"id":"u-1","enterprise":"{ENTERPRISE}","usage":[{{"product":"P-1","function_module":"报警","user":"a","at":"{at}","actions":1}},{{"product":"P-1","function_module":"报警","user":"b","at":"{at}","actions":100000,"active_s":0}}]}}"#
    );
    let faulty = r#"{"v":2,"v":1,"boot":"","seq":0,"extra":[1,[2,{"a":null}]],"devices":[{"device":"\u0001","at":"gestern","quality":"X","readings":{"a/b~":"x","a":1,"a":2}},7],"usage":{}}"#;
    vec![full, plain, usage, faulty.into()]
}

fn show(at: DateTime<Utc>) -> String {
    at.to_rfc3339()
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = texts();
    let mut seeds: Vec<_> = texts.iter().map(|text| Json::read(text.as_bytes()).unwrap().to_cbor()).collect();
    // CBOR can say what JSON cannot: 4.2 becomes infinite.
    let plain = &seeds[1];
    let number = plain.windows(9).position(|bytes| *bytes == Json::Float(4.2).to_cbor()).unwrap();
    seeds.push([&plain[..number], &Json::Float(f64::INFINITY).to_cbor(), &plain[number + 9..]].concat());
    seeds.extend(texts.into_iter().map(String::into_bytes));
    seeds
}

pub(crate) const WORDS: &[&[u8]] = &[
    b"\"v\":1,",
    b"\"id\":\"\",",
    b"\"boot\"",
    b"\"seq\":18446744073709551615,",
    b"\"enterprise\"",
    b"\"sent_at\"",
    b"\"clock\"",
    b"\"events\"",
    b"\"devices\":[",
    b"\"usage\":[",
    b"\"device\":\"SN-1\",",
    b"\"at\":\"2019-11-05T16:00:00+08:00\",",
    b"2019-11-05T23:59:60Z",
    b"9999-12-31T23:59:59-23:59",
    b"0000-01-01T00:00:00+23:59",
    b"1970-01-01T00:00:00.000000001Z",
    b"\"quality\":\"N\"",
    b"\"state\":\"idle\"",
    b"\"readings\":{\"a\":1}",
    b"\"identity\"",
    b"\"actions\":1",
    b"\"active_s\"",
    b"null",
    b"true",
    b"-0.0",
    b"1e308",
    b"1E999",
    b"18446744073709551616",
    b"0.1e-400",
    b"\\u0000",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"\\/",
    b"\xEF\xBB\xBF",
    "水".as_bytes(),
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"{},",
    b" \n\t",
    b"\x7f\x61\x61\xff",
    b"\x9f\xff",
    b"\xbf\xff",
    b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xf9\x7e\x00",
];
