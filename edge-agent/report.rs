//! Building reports: entries and events are collected, batched and numbered.

use std::collections::VecDeque;

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Serialize, Serializer, ser::SerializeMap};
use wire::limits;

use crate::point::Value;
use crate::spool::{DroppedRange, ReportKey};

/// Entries kept in memory while no report can be spooled.
const WAITING_MAX: usize = 10_000;
const EVENTS_MAX: usize = 100;
/// A wall clock that moves this much against the monotonic clock has jumped.
const JUMP_MS: i64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Quality {
    #[serde(rename = "N")]
    Normal,
    #[serde(rename = "D")]
    Fault,
    #[serde(rename = "B")]
    Communication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Idle,
    Stopped,
    Fault,
    Offline,
}

/// What a maker says of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl Identity {
    fn absent(&self) -> bool {
        *self == Identity::default()
    }
}

/// One device at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    pub device: String,
    #[serde(serialize_with = "instant")]
    pub at: DateTime<Utc>,
    pub quality: Quality,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(serialize_with = "readings", skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<(String, Value)>,
    #[serde(skip_serializing_if = "Identity::absent")]
    pub identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Start,
    Stop,
    ClockJump,
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    #[serde(serialize_with = "instant")]
    pub at: DateTime<Utc>,
    pub event: EventKind,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Serialize)]
struct Report<'a> {
    v: u8,
    id: String,
    boot: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise: Option<&'a str>,
    #[serde(serialize_with = "instant")]
    sent_at: DateTime<Utc>,
    clock: ClockState,
    #[serde(skip_serializing_if = "<[Event]>::is_empty")]
    events: &'a [Event],
    devices: &'a [Entry],
}

/// What the clock said when the report was built.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClockState {
    #[serde(skip)]
    pub now: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronised: Option<bool>,
    pub monotonic_ms: u64,
}

fn instant<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    match FixedOffset::east_opt(8 * 3600) {
        Some(shanghai) => serializer.serialize_str(&at.with_timezone(&shanghai).to_rfc3339_opts(SecondsFormat::Millis, false)),
        None => serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
    }
}

fn readings<S: Serializer>(readings: &[(String, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(readings.len()))?;
    for (name, value) in readings {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// A report that is ready for the spool.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    pub key: ReportKey,
    pub body: Vec<u8>,
    entry_count: usize,
    event_count: usize,
}

/// Collects entries and events. `build` shows the next report; only `taken` moves on, so a report that could not be spooled is built again.
pub struct Builder {
    boot: String,
    seq: u64,
    enterprise: Option<String>,
    devices_max: usize,
    entries: VecDeque<Entry>,
    events: Vec<Event>,
    entries_dropped_count: u64,
    clock_before: Option<(DateTime<Utc>, u64)>,
}

impl Builder {
    pub fn new(boot: String, enterprise: Option<String>, devices_max: usize) -> Builder {
        Builder {
            boot,
            seq: 1,
            enterprise,
            devices_max: devices_max.clamp(1, limits::ENTRIES_MAX),
            entries: VecDeque::new(),
            events: Vec::new(),
            entries_dropped_count: 0,
            clock_before: None,
        }
    }

    pub fn boot(&self) -> &str {
        &self.boot
    }

    pub fn push(&mut self, entry: Entry) {
        if self.entries.len() >= WAITING_MAX {
            self.entries.pop_front();
            self.entries_dropped_count += 1;
        }
        self.entries.push_back(entry);
    }

    pub fn event(&mut self, at: DateTime<Utc>, event: EventKind, detail: impl Into<String>) {
        self.events.push(Event { at, event, detail: detail.into() });
    }

    /// Reports that the spool had to drop: one event for each run of numbers, as `boot:first-last`.
    pub fn dropped(&mut self, at: DateTime<Utc>, ranges: &[DroppedRange]) {
        for range in ranges {
            self.event(at, EventKind::Dropped, range.to_string());
        }
    }

    pub fn empty(&self) -> bool {
        self.entries.is_empty() && self.events.is_empty()
    }

    pub fn events_waiting(&self) -> bool {
        !self.events.is_empty()
    }

    /// A full report's worth of entries is waiting.
    pub fn full(&self) -> bool {
        self.entries.len() >= self.devices_max
    }

    /// The next report, or `None` if there is nothing to say.
    pub fn build(&mut self, clock: ClockState) -> Result<Option<Built>, serde_json::Error> {
        self.note_clock(clock);
        if self.entries_dropped_count > 0 {
            let detail = format!("entries:{}", self.entries_dropped_count);
            self.event(clock.now, EventKind::Dropped, detail);
            self.entries_dropped_count = 0;
        }
        if self.empty() {
            return Ok(None);
        }
        let event_count = self.events.len().min(EVENTS_MAX);
        let mut entry_count = self.entries.len().min(self.devices_max);
        loop {
            let body = self.body(clock, entry_count, event_count)?;
            if body.len() <= limits::REPORT_BYTES_MAX || entry_count <= 1 {
                let key = ReportKey { boot: self.boot.clone(), seq: self.seq };
                return Ok(Some(Built { key, body, entry_count, event_count }));
            }
            entry_count /= 2;
        }
    }

    /// The report is in the spool: its number is used up and its contents are gone from here.
    pub fn taken(&mut self, built: &Built) {
        self.seq += 1;
        self.entries.drain(..built.entry_count);
        self.events.drain(..built.event_count);
    }

    fn body(&mut self, clock: ClockState, entry_count: usize, event_count: usize) -> Result<Vec<u8>, serde_json::Error> {
        let report = Report {
            v: 1,
            id: format!("r-{:06}", self.seq),
            boot: &self.boot,
            seq: self.seq,
            enterprise: self.enterprise.as_deref(),
            sent_at: clock.now,
            clock,
            events: &self.events[..event_count],
            devices: &self.entries.make_contiguous()[..entry_count],
        };
        serde_json::to_vec(&report)
    }

    fn note_clock(&mut self, clock: ClockState) {
        if let Some((now_before, monotonic_before)) = self.clock_before {
            let wall_ms = (clock.now - now_before).num_milliseconds();
            let steady_ms = i64::try_from(clock.monotonic_ms.saturating_sub(monotonic_before)).unwrap_or(i64::MAX);
            let jump_ms = wall_ms.saturating_sub(steady_ms);
            if jump_ms.abs() >= JUMP_MS {
                self.event(clock.now, EventKind::ClockJump, format!("{jump_ms} ms"));
            }
        }
        self.clock_before = Some((clock.now, clock.monotonic_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn clock(text: &str, monotonic_ms: u64) -> ClockState {
        ClockState { now: at(text), synchronised: Some(true), monotonic_ms }
    }

    fn entry(device: &str) -> Entry {
        Entry {
            device: device.into(),
            at: at("2019-11-05T00:00:00Z"),
            quality: Quality::Normal,
            state: Some(State::Running),
            readings: vec![("功率_kw".into(), Value::Number(4.2)), ("计数".into(), Value::Number(7.0)), ("on".into(), Value::Flag(true))],
            identity: Identity { vendor: Some("海天".into()), ..Identity::default() },
        }
    }

    #[test]
    fn a_report_has_exactly_the_shape_of_the_contract() {
        let mut builder = Builder::new("b7".into(), Some("91440300708461136T".into()), 50);
        builder.event(at("2019-11-04T23:59:59Z"), EventKind::Start, "");
        builder.push(entry("SN-0001"));
        builder.push(Entry {
            quality: Quality::Communication,
            state: Some(State::Offline),
            readings: vec![],
            identity: Identity::default(),
            ..entry("SN-0002")
        });
        let built = builder.build(clock("2019-11-05T00:01:02Z", 123_456)).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(built.body).unwrap(),
            concat!(
                r#"{"v":1,"id":"r-000001","boot":"b7","seq":1,"enterprise":"91440300708461136T","sent_at":"2019-11-05T08:01:02.000+08:00","#,
                r#""clock":{"synchronised":true,"monotonic_ms":123456},"#,
                r#""events":[{"at":"2019-11-05T07:59:59.000+08:00","event":"start"}],"#,
                r#""devices":[{"device":"SN-0001","at":"2019-11-05T08:00:00.000+08:00","quality":"N","state":"running","#,
                r#""readings":{"功率_kw":4.2,"计数":7,"on":true},"identity":{"vendor":"海天"}},"#,
                r#"{"device":"SN-0002","at":"2019-11-05T08:00:00.000+08:00","quality":"B","state":"offline"}]}"#,
            )
        );
    }

    #[test]
    fn the_service_reads_a_report_without_a_fault_or_an_unknown_field() {
        use wire::{AdmittedBefore, Door, ReadContext};
        let mut builder = Builder::new("b7".into(), Some("91440300708461136T".into()), 50);
        for kind in [EventKind::Start, EventKind::Stop, EventKind::ClockJump, EventKind::Dropped] {
            builder.event(at("2019-11-04T23:59:59Z"), kind, "b7:1-4");
        }
        for quality in [Quality::Normal, Quality::Fault, Quality::Communication] {
            builder.push(Entry { quality, ..entry("SN-1") });
        }
        for state in [State::Idle, State::Stopped, State::Fault, State::Offline] {
            builder.push(Entry { state: Some(state), ..entry("SN-2") });
        }
        let built = builder.build(clock("2019-11-05T00:01:02Z", 123_456)).unwrap().unwrap();
        let context = ReadContext {
            door: Door::Gateway,
            received_at: at("2019-11-05T00:01:03Z"),
            future_skew_s_max: 300,
            admission: &AdmittedBefore,
        };
        let readout = wire::read_report(&built.body, &context);
        let report = readout.report.unwrap();
        assert_eq!((readout.unknown_fields, report.devices.len(), report.events.len()), (0, 7, 4));
        assert_eq!((report.boot.as_deref(), report.seq), (Some("b7"), Some(1)));
    }

    #[test]
    fn numbers_rise_by_one_and_only_when_a_report_was_taken() {
        let mut builder = Builder::new("b7".into(), None, 2);
        (0..5).for_each(|i| builder.push(entry(&format!("SN-{i}"))));
        let first = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap();
        assert_eq!(builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap(), first);
        let mut seqs = vec![];
        while let Some(built) = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap() {
            seqs.push((built.key.seq, built.entry_count));
            builder.taken(&built);
        }
        assert_eq!(seqs, [(1, 2), (2, 2), (3, 1)]);
    }

    #[test]
    fn a_report_never_exceeds_the_byte_limit() {
        let mut builder = Builder::new("b7".into(), None, 1000);
        let long = "功".repeat(64);
        for _ in 0..100 {
            builder
                .push(Entry { readings: (0..64).map(|i| (format!("{long}{i}"), Value::Number(0.123_456_789))).collect(), ..entry("SN") });
        }
        let mut entry_count = 0;
        while let Some(built) = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap() {
            assert!(built.body.len() <= limits::REPORT_BYTES_MAX);
            entry_count += built.entry_count;
            builder.taken(&built);
        }
        assert_eq!(entry_count, 100);
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_said() {
        let mut builder = Builder::new("b7".into(), None, 50);
        assert!(builder.build(clock("2019-11-05T00:00:00Z", 1_000)).unwrap().is_none());
        assert!(builder.build(clock("2019-11-05T00:01:00Z", 61_000)).unwrap().is_none());
        let built = builder.build(clock("2019-11-05T00:00:00Z", 62_000)).unwrap().unwrap();
        assert!(String::from_utf8(built.body).unwrap().contains(r#""event":"clock_jump","detail":"-61000 ms""#));
    }

    #[test]
    fn entries_that_could_not_wait_are_counted_and_said() {
        let mut builder = Builder::new("b7".into(), None, 50);
        (0..WAITING_MAX + 3).for_each(|_| builder.push(entry("SN")));
        let built = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap();
        assert!(String::from_utf8(built.body).unwrap().contains(r#""event":"dropped","detail":"entries:3""#));
    }
}
