//! Carrier records: on that day that line of the enterprise was connected to the product's cloud endpoint.

use chrono::{Datelike, NaiveDate};
use compact_str::CompactString;

use crate::content::Content;
use crate::credit_code;
use crate::fault::{Fault, FaultCode};
use crate::json::Json;
use crate::limits::{CARRIER_RECORDS_MAX, FAULTS_MAX};
use crate::read::name_valid;
use crate::report::ContentDigest;

#[derive(Clone, Debug, PartialEq)]
pub struct CarrierMessage {
    pub id: CompactString,
    pub records: Vec<CarrierRecord>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CarrierRecord {
    pub enterprise: CompactString,
    pub line: CompactString,
    pub product: CompactString,
    pub day: NaiveDate,
    pub sessions: u64,
    pub bytes: u64,
    /// Distinct machine SIMs.
    pub devices: Option<u64>,
}

/// Is the name known? `Err` says what is wrong.
pub trait CarrierAdmission {
    fn enterprise(&self, credit_code: &str) -> Result<(), String>;
    fn product(&self, product: &str) -> Result<(), String>;
}

impl CarrierMessage {
    pub fn digest(&self) -> ContentDigest {
        let mut out = Content::new();
        out.text(Some(&self.id));
        for record in &self.records {
            out.text(Some(&record.enterprise));
            out.text(Some(&record.line));
            out.text(Some(&record.product));
            out.text(Some(&record.day.to_string()));
            out.number(Some(record.sessions));
            out.number(Some(record.bytes));
            out.number(record.devices);
        }
        out.short_sha256()
    }
}

/// Reads a carrier message whole, or says every fault. `today` is the day of receipt in Asia/Shanghai.
pub fn read_carrier_message(
    body: &[u8],
    today: NaiveDate,
    admission: &dyn CarrierAdmission,
) -> (Option<CompactString>, Result<CarrierMessage, Vec<Fault>>) {
    let mut faults = Vec::new();
    let json = match Json::read(body) {
        Ok(Json::Object(fields)) => fields,
        Ok(other) => return (None, Err(vec![Fault::new(FaultCode::Json, "", format!("it is {}", other.type_name()))])),
        Err(error) => return (None, Err(vec![Fault::new(FaultCode::Json, "", error.to_string())])),
    };
    let field = |name: &str| json.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    match field("v") {
        Some(Json::Unsigned(1)) => {}
        Some(_) => faults.push(Fault::new(FaultCode::Version, "/v", "v is not 1")),
        None => faults.push(Fault::new(FaultCode::Missing, "/v", "v is required")),
    }
    let id = name(field("id"), "/id", &mut faults);
    let mut records = Vec::new();
    match field("records") {
        Some(Json::List(list)) if list.is_empty() => faults.push(Fault::new(FaultCode::Empty, "/records", "no records")),
        Some(Json::List(list)) if list.len() > CARRIER_RECORDS_MAX => {
            faults.push(Fault::new(FaultCode::Bound, "/records", format!("{} records", list.len())));
        }
        Some(Json::List(list)) => {
            records.extend(list.iter().enumerate().filter_map(|(index, item)| record(item, index, today, admission, &mut faults)));
        }
        Some(other) => faults.push(Fault::new(FaultCode::Type, "/records", format!("expected a list, found {}", other.type_name()))),
        None => faults.push(Fault::new(FaultCode::Missing, "/records", "records is required")),
    }
    let label = id.clone();
    if faults.len() > FAULTS_MAX {
        let detail = format!("and {} more faults", faults.len() - FAULTS_MAX);
        faults.truncate(FAULTS_MAX);
        faults.push(Fault::new(FaultCode::Bound, "", detail));
    }
    match id {
        Some(id) if faults.is_empty() => (label, Ok(CarrierMessage { id, records })),
        _ => (label, Err(faults)),
    }
}

fn record(
    item: &Json<'_>,
    index: usize,
    today: NaiveDate,
    admission: &dyn CarrierAdmission,
    faults: &mut Vec<Fault>,
) -> Option<CarrierRecord> {
    let path = |name: &str| format!("/records/{index}/{name}");
    let Json::Object(fields) = item else {
        faults.push(Fault::new(FaultCode::Type, format!("/records/{index}"), "expected an object"));
        return None;
    };
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let enterprise = name(field("enterprise"), &path("enterprise"), faults);
    if let Some(code) = &enterprise {
        if let Err(error) = credit_code::check(code) {
            faults.push(Fault::new(FaultCode::CreditCode, path("enterprise"), error.to_string()));
        } else if let Err(detail) = admission.enterprise(code) {
            faults.push(Fault::new(FaultCode::UnknownEnterprise, path("enterprise"), detail));
        }
    }
    let line = name(field("line"), &path("line"), faults);
    let product = name(field("product"), &path("product"), faults);
    if let Some(Err(detail)) = product.as_ref().map(|product| admission.product(product)) {
        faults.push(Fault::new(FaultCode::UnknownProduct, path("product"), detail));
    }
    let day = day(field("day"), &path("day"), today, faults);
    let sessions = count(field("sessions"), &path("sessions"), true, faults);
    let bytes = count(field("bytes"), &path("bytes"), false, faults);
    let devices = count(field("devices"), &path("devices"), false, faults);
    Some(CarrierRecord {
        enterprise: enterprise?,
        line: line?,
        product: product?,
        day: day?,
        sessions: sessions?,
        bytes: bytes.unwrap_or(0),
        devices,
    })
}

fn day(value: Option<&Json<'_>>, path: &str, today: NaiveDate, faults: &mut Vec<Fault>) -> Option<NaiveDate> {
    let Some(Json::Text(text)) = value else {
        let code = if value.is_none() { FaultCode::Missing } else { FaultCode::Type };
        faults.push(Fault::new(code, path, "day is a required text"));
        return None;
    };
    let shaped = text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    match NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|day| shaped && day.year() >= 1970) {
        Some(day) if day > today => {
            faults.push(Fault::new(FaultCode::Future, path, format!("{day} is after today, {today}")));
            None
        }
        Some(day) => Some(day),
        None => {
            faults.push(Fault::new(FaultCode::Day, path, "not a day"));
            None
        }
    }
}

fn name(value: Option<&Json<'_>>, path: &str, faults: &mut Vec<Fault>) -> Option<CompactString> {
    match value {
        Some(Json::Text(text)) => match name_valid(text) {
            Ok(()) => return Some(CompactString::from(text.as_ref())),
            Err(detail) => faults.push(Fault::new(FaultCode::Text, path, detail)),
        },
        Some(other) => faults.push(Fault::new(FaultCode::Type, path, format!("expected a text, found {}", other.type_name()))),
        None => faults.push(Fault::new(FaultCode::Missing, path, "required")),
    }
    None
}

fn count(value: Option<&Json<'_>>, path: &str, required: bool, faults: &mut Vec<Fault>) -> Option<u64> {
    match value {
        Some(Json::Unsigned(number)) if *number <= i64::MAX as u64 => Some(*number),
        None | Some(Json::Null) if !required => None,
        None => {
            faults.push(Fault::new(FaultCode::Missing, path, "required"));
            None
        }
        Some(_) => {
            faults.push(Fault::new(FaultCode::Count, path, "not a whole number from 0"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;
    impl CarrierAdmission for Known {
        fn enterprise(&self, code: &str) -> Result<(), String> {
            if code == "91440101231245152Y" { Ok(()) } else { Err("unknown".into()) }
        }
        fn product(&self, product: &str) -> Result<(), String> {
            if product == "P-1" { Ok(()) } else { Err("unknown".into()) }
        }
    }

    fn read(body: &str) -> Result<CarrierMessage, Vec<(FaultCode, String)>> {
        let today = NaiveDate::from_ymd_opt(2019, 11, 5).unwrap();
        read_carrier_message(body.as_bytes(), today, &Known)
            .1
            .map_err(|faults| faults.into_iter().map(|fault| (fault.code, fault.path)).collect())
    }

    #[test]
    fn a_sound_message_is_read_and_devices_may_be_absent() {
        let message = read(r#"{"v":1,"id":"c-1","records":[{"enterprise":"91440101231245152Y","line":"l","product":"P-1","day":"2019-11-05","sessions":3,"bytes":10}]}"#).unwrap();
        assert_eq!((message.records[0].sessions, message.records[0].devices), (3, None));
    }

    #[test]
    fn every_fault_of_a_message_is_listed() {
        let body = r#"{"v":3,"records":[{"enterprise":"91440101231245152X","line":"","product":"P-2","day":"2019-11-06","sessions":-1,"bytes":1}]}"#;
        let expected = [
            (FaultCode::Version, "/v"),
            (FaultCode::Missing, "/id"),
            (FaultCode::CreditCode, "/records/0/enterprise"),
            (FaultCode::Text, "/records/0/line"),
            (FaultCode::UnknownProduct, "/records/0/product"),
            (FaultCode::Future, "/records/0/day"),
            (FaultCode::Count, "/records/0/sessions"),
        ];
        assert_eq!(read(body), Err(expected.map(|(code, path)| (code, path.to_string())).to_vec()));
    }

    #[test]
    fn more_faults_than_anybody_reads_are_counted() {
        let body = format!(r#"{{"v":1,"id":"c-1","records":[{}]}}"#, vec!["{}"; CARRIER_RECORDS_MAX].join(","));
        let faults = read(&body).unwrap_err();
        assert_eq!((faults.len(), faults.last().unwrap().0), (FAULTS_MAX + 1, FaultCode::Bound));
    }
}
