//! What is sent, and what it must add up to: straight maps, nothing shared with the tally.

use std::collections::BTreeMap;
use std::convert::Infallible;

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use serde_json::{Value, json};
use tally::{Claims, Facts, KeyParts, decode_carrier, decode_device_day, decode_usage, kind, numbered_day, read_usage_key};
use wire::identity::Sender;

pub const ENTERPRISE: &str = "91440101231245152Y";
pub const GATEWAYS: [&str; 2] = ["gw-1", "gw-2"];
pub const SUPPLIER: &str = "S-1";
pub const CARRIER: &str = "C-1";
pub const PRODUCT: &str = "P-1";
pub const MODULE: &str = "报警";

/// Who, and under which identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub sender: Sender,
    pub boot: u64,
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub identity: Identity,
    /// Which of the contents that go by this identity.
    pub variant: u64,
    pub faulty: bool,
}

pub fn base() -> DateTime<Utc> {
    DateTime::from_timestamp(1_572_940_800, 0).unwrap()
}

impl Sent {
    /// What is said follows from who says it: figures spread over devices, hours and qualities.
    fn figure(&self) -> u64 {
        self.identity.boot * 31 + self.identity.number * 7 + self.variant * 13
    }

    /// Less than a day before any receipt, and never after it.
    fn at(&self) -> DateTime<Utc> {
        base() - TimeDelta::minutes(1 + (self.figure() * 37 % 600) as i64)
    }

    fn quality(&self) -> &'static str {
        ["N", "N", "N", "B", "F"][(self.figure() % 5) as usize]
    }

    fn device(&self) -> String {
        format!("机-{}", self.figure() % 4)
    }

    pub fn body(&self) -> String {
        let Identity { boot, number, sender } = &self.identity;
        let at = if self.faulty { "yesterday".to_string() } else { self.at().to_rfc3339() };
        let body: Value = match sender {
            Sender::Gateway(_) => json!({"v": 1, "boot": format!("b{boot}"), "seq": number,
                "devices": [{"device": self.device(), "at": at, "quality": self.quality(), "readings": {"n": self.variant}}]}),
            Sender::Supplier(_) => json!({"v": 1, "id": format!("r{boot}-{number}"), "enterprise": ENTERPRISE,
                "usage": [{"product": PRODUCT, "function_module": MODULE, "user": format!("u{}", self.figure() % 3), "at": at,
                    "actions": 1 + self.variant}]}),
            Sender::Carrier(_) => json!({"v": 1, "id": format!("c{boot}-{number}"), "records": [{"enterprise": ENTERPRISE, "line": "l1",
                "product": PRODUCT, "day": if self.faulty { "x" } else { "2019-11-04" }, "sessions": 1 + self.variant, "bytes": 10}]}),
            Sender::Operator(_) => unreachable!("operators send nothing"),
        };
        body.to_string()
    }
}

/// Facts as plain figures under plain names.
pub type Figures = BTreeMap<String, u64>;

pub fn expected<'a>(accepted: impl Iterator<Item = &'a Sent>) -> Figures {
    let mut figures = Figures::new();
    let mut first = BTreeMap::new();
    for sent in accepted {
        let local = sent.at() + TimeDelta::hours(8);
        let day = format!("{:04}-{:02}-{:02}", local.year(), local.month(), local.day());
        let mut add = |name: String, count: u64| *figures.entry(name).or_default() += count;
        match &sent.identity.sender {
            Sender::Gateway(gateway) => {
                let place = format!("device {} {day} {}", sent.device(), local.hour());
                add(format!("{place} {}", sent.quality()), 1);
                let kind = if sent.quality() == "N" { "first normal" } else { "first other" };
                let at = sent.at().timestamp() as u64;
                let earliest = first.entry(format!("{place} {kind}")).or_insert(at);
                *earliest = at.min(*earliest);
                add(format!("numbers {gateway} b{}", sent.identity.boot), 1);
            }
            Sender::Supplier(_) => add(format!("usage u{} {day}", sent.figure() % 3), 1 + sent.variant),
            Sender::Carrier(_) => add("sessions".into(), 1 + sent.variant),
            Sender::Operator(_) => unreachable!("operators send nothing"),
        }
    }
    figures.extend(first);
    figures
}

/// The tally's facts and identities under the same names.
pub fn found<'c>(facts: &Facts, identities: impl Iterator<Item = &'c Claims>) -> Figures {
    let mut figures = Figures::new();
    let gathered = facts.records(&mut |key, value| {
        add_record(&mut figures, key, value);
        Ok::<_, Infallible>(())
    });
    gathered.unwrap();
    for (key, claims) in identities.flat_map(Claims::boots) {
        let numbers = claims.ranges().as_slice().iter().map(|(first, last)| last - first + 1).sum::<u64>();
        *figures.entry(format!("numbers {} {}", key.gateway, key.boot)).or_default() += numbers;
    }
    figures
}

fn add_record(figures: &mut Figures, key: &[u8], value: &[u8]) {
    let mut parts = KeyParts(key);
    let kind = parts.byte().unwrap();
    let mut add = |name: String, count: u64| *figures.entry(name).or_default() += count;
    match kind {
        kind::DEVICE_DAY => {
            let _enterprise = parts.name().unwrap();
            let day = numbered_day(parts.day().unwrap()).unwrap();
            let place = format!("device {} {day}", parts.name().unwrap());
            for ((hour, _), facts) in decode_device_day(day, value).unwrap().hours {
                for (count, quality) in
                    facts.counts.all().into_iter().zip(["N", "F", "M", "S", "D", "C", "T", "B"]).filter(|(count, _)| *count > 0)
                {
                    add(format!("{place} {hour} {quality}"), count);
                }
                for (kind, seen) in [("first normal", &facts.normal), ("first other", &facts.other)] {
                    if let Some(first) = seen.as_slice().first() {
                        add(format!("{place} {hour} {kind}"), (first.occurred_us / 1_000_000) as u64);
                    }
                }
            }
        }
        kind::USAGE_DAY => {
            let (_enterprise, _product) = (parts.name().unwrap(), parts.name().unwrap());
            let usage = read_usage_key(&mut parts).unwrap();
            add(format!("usage {} {}", usage.user, usage.day), decode_usage(value).unwrap().actions);
        }
        kind::CARRIER_DAY => add("sessions".into(), decode_carrier(value).unwrap().sessions),
        // What stands in the days already, in short.
        kind::DEVICE_HOURS => {}
        other => panic!("records of kind {other}"),
    }
}
