//! Building reports: entries and events are collected, batched and numbered.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Serialize, Serializer, ser::SerializeMap};
use wire::limits;
pub use wire::report::{Quality, State};

use crate::point::{Readings, Value};
use crate::spool::{DroppedRange, ReportKey};

/// Entries kept in memory while no report can be spooled.
const WAITING_MAX: usize = 4_000;
const EVENTS_MAX: usize = 100;
/// A wall clock that moves this much against the monotonic clock has jumped.
const JUMP_MS: i64 = 5_000;

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
    #[serde(serialize_with = "quality")]
    pub quality: Quality,
    #[serde(serialize_with = "state", skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(serialize_with = "readings", skip_serializing_if = "Vec::is_empty")]
    pub readings: Readings,
    /// Said at the birth of a device's reporting and when it changes.
    #[serde(skip_serializing_if = "Identity::absent")]
    pub identity: Identity,
}

/// What one user did in the product, as the factory's own system says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsageEntry {
    pub product: String,
    pub function_module: String,
    /// A pseudonym: hexadecimal HMAC-SHA256 with the enterprise's key.
    pub user: String,
    #[serde(serialize_with = "instant")]
    pub at: DateTime<Utc>,
    pub actions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_s: Option<u32>,
}

/// What goes into reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Device(Entry),
    Event(Event),
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Item {
        Item::Device(entry)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Start,
    Stop,
    ClockJump,
    Dropped,
    IdentityChanged,
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
    #[serde(skip_serializing_if = "<[Entry]>::is_empty")]
    devices: &'a [Entry],
    #[serde(skip_serializing_if = "<[UsageEntry]>::is_empty")]
    usage: &'a [UsageEntry],
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

fn quality<S: Serializer>(quality: &Quality, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(quality.as_str())
}

fn state<S: Serializer>(state: &Option<State>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&state.map(State::as_str))
}

fn readings<S: Serializer>(readings: &[(Arc<str>, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(readings.len()))?;
    for (name, value) in readings {
        map.serialize_entry(name.as_ref(), value)?;
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

/// Collects entries and events. `build` shows the next report; only `taken` moves on, so what could not be sealed is built again.
pub struct Builder {
    boot: String,
    seq: u64,
    enterprise: Option<String>,
    devices_max: usize,
    entries: VecDeque<Entry>,
    events: Vec<Event>,
    /// Dropped because nothing could be spooled, and not yet said.
    entries_dropped_count: u64,
    entries_dropped_total: u64,
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
            entries_dropped_total: 0,
            clock_before: None,
        }
    }

    pub fn boot(&self) -> &str {
        &self.boot
    }

    pub fn push(&mut self, item: impl Into<Item>) {
        match item.into() {
            Item::Device(entry) => {
                if self.entries.len() >= WAITING_MAX {
                    self.entries.pop_front();
                    self.entries_dropped_count += 1;
                    self.entries_dropped_total += 1;
                }
                self.entries.push_back(entry);
            }
            Item::Event(event) => self.event(event.at, event.event, event.detail),
        }
    }

    /// The detail is cut to what the service takes: it would refuse the whole report for a longer one.
    pub fn event(&mut self, at: DateTime<Utc>, event: EventKind, detail: impl Into<String>) {
        let detail = detail.into().chars().filter(|c| !c.is_control()).take(limits::TEXT_CHARS_MAX).collect();
        self.events.push(Event { at, event, detail });
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

    /// Since the start.
    pub(crate) fn entries_dropped_total(&self) -> u64 {
        self.entries_dropped_total
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
            entry_count = entry_count.div_ceil(2);
        }
    }

    /// A report of these entries alone, so that they are spooled together or not at all.
    pub(crate) fn build_usage(&self, clock: ClockState, entries: &[UsageEntry]) -> Result<Built, serde_json::Error> {
        let body = self.write(clock, &[], &[], entries)?;
        let key = ReportKey { boot: self.boot.clone(), seq: self.seq };
        Ok(Built { key, body, entry_count: 0, event_count: 0 })
    }

    /// The report has its number for good, and its contents are gone from here: whoever has it spools it.
    pub fn taken(&mut self, built: &Built) {
        self.seq += 1;
        self.entries.drain(..built.entry_count);
        self.events.drain(..built.event_count);
    }

    fn body(&mut self, clock: ClockState, entry_count: usize, event_count: usize) -> Result<Vec<u8>, serde_json::Error> {
        self.entries.make_contiguous();
        self.write(clock, &self.events[..event_count], &self.entries.as_slices().0[..entry_count], &[])
    }

    fn write(&self, clock: ClockState, events: &[Event], devices: &[Entry], usage: &[UsageEntry]) -> Result<Vec<u8>, serde_json::Error> {
        let report = Report {
            v: 1,
            id: format!("r-{:06}", self.seq),
            boot: &self.boot,
            seq: self.seq,
            enterprise: self.enterprise.as_deref(),
            sent_at: clock.now,
            clock,
            events,
            devices,
            usage,
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
#[path = "report_tests.rs"]
mod tests;
