//! Carriers' messages, up to the facts that they become.

use chrono::NaiveDate;
use tally::Facts;
use wire::carrier::{CarrierAdmission, CarrierMessage, read_carrier_message};
use wire::json::Json;
use wire::limits::CARRIER_RECORDS_MAX;

use super::{Target, faults, report, written};

pub(crate) const TARGET: Target = Target { name: "carrier", run, seeds, words: WORDS };

struct Known;

impl CarrierAdmission for Known {
    fn enterprise(&self, credit_code: &str) -> Result<(), String> {
        if credit_code == "91440101231245152Y" { Ok(()) } else { Err(format!("{credit_code} is another")) }
    }

    fn product(&self, product: &str) -> Result<(), String> {
        if product == "P-1" { Ok(()) } else { Err(format!("{product:?} is another")) }
    }
}

fn read(body: &[u8]) -> (Option<String>, Result<CarrierMessage, Vec<wire::Fault>>) {
    let (label, message) = read_carrier_message(body, today(), &Known);
    (label.map(String::from), message)
}

fn today() -> NaiveDate {
    report::received_at().date_naive()
}

pub(crate) fn run(body: &[u8]) {
    match read(body) {
        (label, Ok(message)) => {
            assert_eq!(label.as_deref(), Some(message.id.as_str()));
            assert!((1..=CARRIER_RECORDS_MAX).contains(&message.records.len()));
            assert!(message.records.iter().all(|record| record.day <= today()));
            let (_, again) = read(written::json_text(&written::carrier_message(&message)).unwrap().as_bytes());
            assert_eq!(again.as_ref(), Ok(&message));
            assert_eq!(again.map(|again| again.digest()), Ok(message.digest()));
            let mut facts = Facts::default();
            facts.apply_carrier(&message);
            let mut merged = facts.clone();
            merged.merge(facts);
        }
        (_, Err(found)) => faults::check(&found, Json::read(body).ok().as_ref()),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let record =
        r#"{"enterprise":"91440101231245152Y","line":"专线-1","product":"P-1","day":"2019-11-05","sessions":3,"bytes":1024,"devices":7}"#;
    let bare = r#"{"enterprise":"91440101231245152Y","line":"l","product":"P-1","day":"1970-01-01","sessions":0,"devices":null}"#;
    let sound = format!(r#"{{"v":1,"id":"c-1","records":[{record},{bare}]}}"#);
    let tomorrow = sound.replace("2019-11-05", "2019-11-06");
    let faulty =
        r#"{"v":3,"records":[{"enterprise":"91440101231245152X","line":"","product":"P-2","day":"2019-11-06","sessions":-1,"bytes":1},4]}"#;
    vec![sound.into_bytes(), tomorrow.into_bytes(), faulty.into()]
}

const WORDS: &[&[u8]] = &[
    b"\"v\":1,",
    b"\"id\":\"c\",",
    b"\"records\":[",
    b"{\"enterprise\":\"91440101231245152Y\",",
    b"\"line\":\"l\",",
    b"\"product\":\"P-1\",",
    b"\"day\":\"2019-11-05\",",
    b"2019-02-29",
    b"+262142-12-31",
    b"\"sessions\":9223372036854775807,",
    b"\"bytes\":9223372036854775808,",
    b"\"devices\":null",
    b"1e3",
    b"\\u0000",
    b"{},",
    b"[]",
];
