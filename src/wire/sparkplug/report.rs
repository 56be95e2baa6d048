//! What one message says, and the report of version 1 that it becomes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta};
use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::births::{Births, Purpose};
use super::payload::{Metric, Payload, Value};
use crate::fault::{Fault, FaultCode};
use crate::instant::YEARS;
use crate::limits::{ENTRIES_MAX, FAULTS_MAX, READINGS_MAX, REPORT_BYTES_MAX};
use crate::report::{Instant, Quality, State};

/// Metrics of a message that became no reading, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Neither numbers nor booleans.
    pub other_type: usize,
    pub null: usize,
    pub not_finite: usize,
    /// Their names are no point names.
    pub unusable_name: usize,
    /// Not born.
    pub unknown: usize,
    /// Without a time, or with one that is none.
    pub untimed: usize,
    /// The report would have been too large.
    pub no_room: usize,
}

impl Ignored {
    /// For a metric by reason.
    pub fn by_reason(&self) -> [(&'static str, usize); 7] {
        [
            ("other_type", self.other_type),
            ("null", self.null),
            ("not_finite", self.not_finite),
            ("unusable_name", self.unusable_name),
            ("unknown", self.unknown),
            ("untimed", self.untimed),
            ("no_room", self.no_room),
        ]
    }
}

/// Milliseconds since 1970, if they are an instant of ours.
pub(super) fn instant(milliseconds: u64) -> Option<Instant> {
    let at = DateTime::from_timestamp_millis(i64::try_from(milliseconds).ok()?)?;
    YEARS.contains(&at.year()).then_some(at)
}

/// What a message says, on its way into a report.
pub(super) struct Draft {
    received_at: Instant,
    future_skew_s_max: u32,
    events: Vec<Event>,
    entries: Vec<Entry>,
    pub(super) ignored: Ignored,
    /// Of what is left out.
    pub(super) remarks: Vec<Fault>,
    /// Why the message is refused.
    pub(super) refusals: Vec<Fault>,
}

/// By what a report is known, and where it came from.
pub(super) struct Origin<'a> {
    pub(super) boot: &'a str,
    pub(super) seq: u64,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
}

impl Draft {
    pub(super) fn new(received_at: Instant, future_skew_s_max: u32) -> Draft {
        Draft {
            received_at,
            future_skew_s_max,
            events: Vec::new(),
            entries: Vec::new(),
            ignored: Ignored::default(),
            remarks: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, at: Instant, event: &'static str, detail: String) {
        self.events.push(Event { at, event, detail });
    }

    pub(super) fn offline(&mut self, device: &str, at: Instant) {
        let entry = Entry {
            device: device.into(),
            at,
            quality: Quality::Communication,
            state: Some(State::Offline),
            readings: Readings::default(),
        };
        self.entries.push(entry);
    }

    /// The readings of a device.
    pub(super) fn readings(&mut self, device: &str, births: &Births, payload: &Payload) {
        let mut groups = Groups::default();
        for (index, metric) in payload.metrics.iter().enumerate() {
            self.metric(index, metric, births, payload.timestamp, &mut groups);
            if groups.count > ENTRIES_MAX {
                self.refusals.push(Fault::new(FaultCode::Bound, "/metrics", format!("more than {ENTRIES_MAX} entries")));
                break;
            }
        }
        for ((at, quality), chunks) in groups.chunks {
            let entry = |readings| Entry { device: device.into(), at, quality, state: None, readings };
            self.entries.extend(chunks.into_iter().map(entry));
        }
    }

    fn metric(&mut self, index: usize, metric: &Metric, births: &Births, sent_at_ms: Option<u64>, groups: &mut Groups) {
        let Some(born) = births.of(metric) else {
            self.ignored.unknown += 1;
            let said = metric.alias.map_or_else(|| "it was not born".into(), |alias| format!("no metric was born with alias {alias}"));
            return self.remark(FaultCode::SparkplugMetric, format!("/metrics/{index}"), said);
        };
        match born.purpose {
            Purpose::Reading => {}
            Purpose::Control => return,
            Purpose::OtherType => return self.ignored.other_type += 1,
            Purpose::Unusable => return self.ignored.unusable_name += 1,
        }
        let Some(at) = metric.timestamp.or(sent_at_ms).and_then(instant) else {
            self.ignored.untimed += 1;
            return self.remark(FaultCode::Instant, format!("/metrics/{index}/timestamp"), "neither the metric nor the payload has a time");
        };
        self.refuse_future(&format!("/metrics/{index}/timestamp"), at);
        let quality = metric.quality();
        let datatype = metric.datatype.filter(|datatype| *datatype != 0).unwrap_or(born.datatype);
        match metric.value.as_ref().filter(|_| metric.is_null != Some(true)) {
            None => {
                self.ignored.null += 1;
                if quality != Quality::Normal {
                    groups.touch(at, quality);
                }
            }
            Some(value) => match number(datatype, value) {
                Some(number) if number.finite() => groups.add(at, quality, &born.name, number),
                Some(_) => self.ignored.not_finite += 1,
                None => self.ignored.other_type += 1,
            },
        }
    }

    /// An instant too far ahead refuses the message, as it would refuse a report.
    pub(super) fn refuse_future(&mut self, path: &str, at: Instant) {
        let ahead = at - self.received_at;
        if ahead > TimeDelta::seconds(i64::from(self.future_skew_s_max)) && self.refusals.len() < FAULTS_MAX {
            let detail = format!("{} s after receipt, at most {} s", ahead.num_seconds(), self.future_skew_s_max);
            self.refusals.push(Fault::new(FaultCode::Future, path, detail));
        }
    }

    pub(super) fn remark(&mut self, code: FaultCode, path: String, detail: impl Into<String>) {
        if self.remarks.len() < FAULTS_MAX {
            self.remarks.push(Fault::new(code, path, detail));
        }
    }

    pub(super) fn says_nothing(&self) -> bool {
        self.events.is_empty() && self.entries.is_empty() && self.refusals.is_empty()
    }

    /// The report. Where its readings do not fit they are left out: the payload that stands beside them holds them.
    pub(super) fn write(&mut self, origin: &Origin<'_>) -> Result<Vec<u8>, Fault> {
        let mut text = self.text(origin);
        if text.len() > REPORT_BYTES_MAX {
            for entry in &mut self.entries {
                self.ignored.no_room += std::mem::take(&mut entry.readings).len();
            }
            text = self.text(origin);
        }
        if text.len() > REPORT_BYTES_MAX {
            return Err(Fault::new(FaultCode::Size, "", format!("{} bytes as a report", text.len())));
        }
        Ok(text)
    }

    fn text(&self, origin: &Origin<'_>) -> Vec<u8> {
        let sparkplug = Original { topic: origin.topic, payload: STANDARD.encode(origin.payload) };
        let report = ReportText { v: 1, boot: origin.boot, seq: origin.seq, events: &self.events, devices: &self.entries, sparkplug };
        // Text keys, finite numbers, and a Vec that takes everything: writing cannot fail.
        serde_json::to_vec(&report).unwrap_or_default()
    }
}

type Readings = BTreeMap<CompactString, Number>;

/// Readings by time and quality, each in as many parts as it takes.
#[derive(Default)]
struct Groups {
    chunks: BTreeMap<(Instant, Quality), Vec<Readings>>,
    count: usize,
}

impl Groups {
    fn add(&mut self, at: Instant, quality: Quality, name: &CompactString, number: Number) {
        let chunks = self.chunks.entry((at, quality)).or_default();
        match chunks.last_mut().filter(|chunk| chunk.len() < READINGS_MAX && !chunk.contains_key(name)) {
            Some(chunk) => {
                chunk.insert(name.clone(), number);
            }
            None => {
                chunks.push(Readings::from([(name.clone(), number)]));
                self.count += 1;
            }
        }
    }

    /// Something was said of that time, though without a reading.
    fn touch(&mut self, at: Instant, quality: Quality) {
        let chunks = self.chunks.entry((at, quality)).or_default();
        if chunks.is_empty() {
            chunks.push(Readings::default());
            self.count += 1;
        }
    }
}

/// A value as it is written; a single keeps its own shortest digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Flag(bool),
}

impl Number {
    fn finite(self) -> bool {
        match self {
            Number::Single(number) => number.is_finite(),
            Number::Double(number) => number.is_finite(),
            Number::Signed(_) | Number::Unsigned(_) | Number::Flag(_) => true,
        }
    }
}

/// The value as its datatype means it. Senders differ in how they widen small and signed integers; all of their ways are read.
fn number(datatype: u32, value: &Value) -> Option<Number> {
    let whole = match *value {
        Value::Int(number) => Some(u64::from(number)),
        Value::Long(number) => Some(number),
        _ => None,
    };
    match (datatype, value, whole) {
        (1, _, Some(whole)) => Some(Number::Signed(i64::from(whole as i8))),
        (2, _, Some(whole)) => Some(Number::Signed(i64::from(whole as i16))),
        (3, _, Some(whole)) => Some(Number::Signed(i64::from(whole as i32))),
        (4, _, Some(whole)) => Some(Number::Signed(whole as i64)),
        (0 | 5..=8, _, Some(whole)) => Some(Number::Unsigned(whole)),
        (0 | 9 | 10, Value::Float(number), _) => Some(Number::Single(*number)),
        (0 | 9 | 10, Value::Double(number), _) => Some(Number::Double(*number)),
        (0 | 11, Value::Boolean(flag), _) => Some(Number::Flag(*flag)),
        _ => None,
    }
}

#[derive(Serialize)]
struct ReportText<'a> {
    v: u8,
    boot: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    events: &'a [Event],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    devices: &'a [Entry],
    /// Unknown to the reader of reports: kept as evidence, not counted.
    sparkplug: Original<'a>,
}

#[derive(Serialize)]
struct Event {
    #[serde(serialize_with = "rfc3339")]
    at: Instant,
    event: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Entry {
    device: CompactString,
    #[serde(serialize_with = "rfc3339")]
    at: Instant,
    #[serde(serialize_with = "quality_word")]
    quality: Quality,
    #[serde(serialize_with = "state_word", skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(skip_serializing_if = "Readings::is_empty")]
    readings: Readings,
}

#[derive(Serialize)]
struct Original<'a> {
    topic: &'a str,
    payload: String,
}

fn rfc3339<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn quality_word<S: Serializer>(quality: &Quality, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(quality.as_str())
}

fn state_word<S: Serializer>(state: &Option<State>, serializer: S) -> Result<S::Ok, S::Error> {
    state.map(State::as_str).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_however_their_sender_widened_them() {
        for (datatype, value, expected) in [
            (1, Value::Int(0xFB), Number::Signed(-5)),
            (1, Value::Int(0xFFFF_FFFB), Number::Signed(-5)),
            (2, Value::Int(0xFED4), Number::Signed(-300)),
            (3, Value::Long(0xFFFF_FFFE), Number::Signed(-2)),
            (4, Value::Long(u64::MAX), Number::Signed(-1)),
            (7, Value::Long(4_000_000_000), Number::Unsigned(4_000_000_000)),
            (8, Value::Long(u64::MAX), Number::Unsigned(u64::MAX)),
            (0, Value::Int(9), Number::Unsigned(9)),
            (9, Value::Double(0.5), Number::Double(0.5)),
            (0, Value::Boolean(true), Number::Flag(true)),
        ] {
            assert_eq!(number(datatype, &value), Some(expected), "{datatype} {value:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_than_its_metrics_is_no_reading() {
        for (datatype, value) in
            [(3, Value::Float(1.0)), (9, Value::Int(1)), (11, Value::Int(1)), (12, Value::Int(1)), (13, Value::Long(1))]
        {
            assert_eq!(number(datatype, &value), None, "{datatype} {value:?}");
        }
    }

    #[test]
    fn instants_lie_between_1970_and_9998() {
        assert_eq!(instant(0), Some(DateTime::UNIX_EPOCH));
        assert!(instant(253_370_764_799_999).is_some());
        assert_eq!(instant(253_402_300_800_000), None);
        assert_eq!(instant(u64::MAX), None);
    }
}
