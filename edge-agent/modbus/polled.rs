//! One device of a bus: when it is asked, and what its answers come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::identify::Identifier;
use super::line::Line;
use super::refused::Refused;
use super::request::{Answer, ReadRequest};
use super::state::{DeviceStates, MissingPoint};
use super::trouble::{ReadTrouble, Unreachable};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::device::Device;
use crate::point::{Block, Readings};
use crate::report::{Entry, Event, EventKind, Identity, Item, Quality, State};
use crate::requests::{self, Request};

const ASK_AGAIN_FIRST: Duration = Duration::from_millis(500);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A device that was silent is waited for this part of its timeout only …
const SILENT_SHARE: u32 = 4;
/// … and never less than this …
const SILENT_TIMEOUT_MIN: Duration = Duration::from_millis(50);
/// … but for each so manieth time, so that a slow machine is found again.
const SILENT_FULL_EACH: u32 = 4;
/// A point that stays missing stands in the log so often.
const MISSING_LOGGED_EVERY: Duration = Duration::from_secs(24 * 3600);

pub(super) enum Outcome {
    Said(Vec<Item>),
    /// Silent: it is asked once more, after those that wait by now.
    Again,
}

pub(super) struct Polled {
    device: Device,
    /// When it is asked next: its place on the grid, or a repetition.
    pub ready_at: Instant,
    /// The grid: the start of the poll that is due or under way.
    due: Instant,
    alone: bool,
    states: DeviceStates,
    requests: Vec<Request>,
    refused: Refused,
    missing_logged_at: BTreeMap<Arc<str>, Instant>,
    repeat_count: u8,
    silent_count: u32,
    backoff: Backoff,
    /// A silent device beside others is not asked before this, so that it doesn't delay them each time.
    ask_again_at: Option<Instant>,
    slowest_answer: Duration,
    failing: bool,
    identifier: Identifier,
}

/// What the answers of one poll hold.
struct Read {
    at: DateTime<Utc>,
    readings: Readings,
    /// The points that have none, and why.
    missing: Vec<(usize, ReadTrouble)>,
}

impl Polled {
    pub fn new(device: Device, due: Instant, alone: bool, states: DeviceStates) -> Polled {
        states.add(&device);
        let requests = requests::requests(&device.points, &device.limits);
        Polled {
            device,
            ready_at: due,
            due,
            alone,
            states,
            requests,
            refused: Refused::new(),
            missing_logged_at: BTreeMap::new(),
            repeat_count: 0,
            silent_count: 0,
            backoff: Backoff::new(ASK_AGAIN_FIRST, ASK_AGAIN_MAX),
            ask_again_at: None,
            slowest_answer: Duration::ZERO,
            failing: false,
            identifier: Identifier::default(),
        }
    }

    /// To the next place on the grid. Places that have passed meanwhile are counted and left out, but for the last: a device that is
    /// slower than its poll interval is read as fast as it can.
    pub fn advance(&mut self, now: Instant) {
        self.due += self.device.poll;
        self.leave_out(self.places_until(now));
    }

    /// This poll is left out, and so is whatever else has come by now: there is nobody to take its readings.
    pub fn skip(&mut self, now: Instant) {
        self.leave_out(self.places_until(now) + 1);
    }

    /// How many whole poll intervals have passed since the poll was due.
    fn places_until(&self, now: Instant) -> u32 {
        let late = now.saturating_duration_since(self.due).as_nanos() / self.device.poll.as_nanos().max(1);
        u32::try_from(late).unwrap_or(u32::MAX - 1)
    }

    fn leave_out(&mut self, places: u32) {
        self.repeat_count = 0;
        self.due += self.device.poll.saturating_mul(places);
        self.ready_at = self.due;
        self.states.change(&self.device.name, |state| {
            state.skipped_count += u64::from(places);
            state.behind = places > 0;
        });
    }

    pub async fn poll(&mut self, line: &mut Line, clock: &dyn Clock) -> Outcome {
        let begun = Instant::now();
        let waits = self.ask_again_at.is_some_and(|at| begun < at);
        let read = if waits { Err(ReadTrouble::Waiting) } else { self.read(line, clock).await };
        match read {
            Ok(read) => {
                self.silent_count = 0;
                self.backoff.reset();
                self.ask_again_at = None;
                let latency = begun.elapsed();
                self.identifier.ask(line, &self.device).await;
                Outcome::Said(self.good(read, latency, clock))
            }
            Err(trouble) => {
                if matches!(trouble, ReadTrouble::Timeout | ReadTrouble::Short) {
                    if self.silent_count == 0 && self.repeat_count < self.device.retries {
                        self.repeat_count += 1;
                        return Outcome::Again;
                    }
                    self.silent_count += 1;
                    if !self.alone {
                        self.ask_again_at = Some(Instant::now() + self.backoff.after_failure(rand::random()));
                    }
                }
                if trouble.offline() {
                    self.identifier.doubt();
                }
                Outcome::Said(vec![self.bad(&trouble, clock.now()).into()])
            }
        }
    }

    /// How long an answer is waited for.
    fn limit(&self) -> Duration {
        let full = self.device.timeout;
        if self.alone || self.silent_count.is_multiple_of(SILENT_FULL_EACH) {
            return full;
        }
        (full / SILENT_SHARE).max(self.slowest_answer * 2).max(SILENT_TIMEOUT_MIN).min(full)
    }

    /// Asks for all points. What the machine refuses costs only the points concerned; any other failure costs the poll.
    async fn read(&mut self, line: &mut Line, clock: &dyn Clock) -> Result<Read, ReadTrouble> {
        self.ask_for_everything_again();
        let limit = self.limit();
        let mut values = Vec::with_capacity(self.device.points.len());
        let (mut at, mut missing) = (None, Vec::new());
        let mut slowest = Duration::ZERO;
        let mut next = 0;
        while let Some(request) = self.requests.get(next) {
            let begun = Instant::now();
            let answered = ask(line, &self.device, request, self.silent_count == 0, limit).await;
            match answered {
                Ok(block) => {
                    slowest = slowest.max(begun.elapsed());
                    // No value of the entry is older than its time says: the first answer decides.
                    at.get_or_insert_with(|| clock.now());
                    for &(index, start) in &request.points {
                        let point = &self.device.points[index];
                        match point.decode(&block, start) {
                            Ok(value) => values.push((index, value)),
                            Err(_) => missing.push((index, ReadTrouble::NoNumber(point.value_type))),
                        }
                    }
                    next += 1;
                }
                Err(ReadTrouble::Exception(2 | 3)) if request.points.len() > 1 => {
                    let halves = request.halves(&self.device.points);
                    self.requests.splice(next..=next, halves);
                }
                Err(trouble @ ReadTrouble::Exception(2 | 3)) => {
                    self.refused.add(request.points.iter().map(|(index, _)| *index), &trouble, Instant::now());
                    self.requests.remove(next);
                }
                Err(trouble) if !trouble.offline() => {
                    missing.extend(request.points.iter().map(|(index, _)| (*index, trouble.clone())));
                    next += 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.refused.settle();
        missing.extend_from_slice(self.refused.points());
        let Some(at) = at else { return Err(missing.into_iter().next().map_or(ReadTrouble::Garbage, |(_, trouble)| trouble)) };
        missing.sort_by_key(|(index, _)| *index);
        self.slowest_answer = slowest;
        values.sort_by_key(|(index, _)| *index);
        let readings = values.into_iter().map(|(index, value)| (self.device.points[index].name.clone(), value)).collect();
        Ok(Read { at, readings, missing })
    }

    fn ask_for_everything_again(&mut self) {
        if self.refused.ask_again(self.requests.is_empty(), Instant::now()) {
            self.requests = requests::requests(&self.device.points, &self.device.limits);
        }
    }

    /// Readings that are all there have the quality that the rules give. Where some are missing, because the machine refuses them or
    /// because they are no numbers, it is D, fault: such an entry never counts, and still shows what is there. B, communication error,
    /// says that there are none.
    fn good(&mut self, read: Read, latency: Duration, clock: &dyn Clock) -> Vec<Item> {
        let missing = self.missing(read.missing);
        self.log_missing(&missing, Instant::now());
        let told = self.identifier.tell(&self.device, Instant::now());
        let mut items = Vec::with_capacity(1);
        if let Some(detail) = told.change {
            tracing::warn!(device = self.device.name, detail, "the machine says it is another");
            items.push(Item::Event(Event { at: clock.now(), event: EventKind::IdentityChanged, detail }));
        }
        let entry = Entry {
            device: self.device.name.clone(),
            at: read.at,
            quality: if missing.is_empty() { self.device.quality(&read.readings) } else { Quality::Fault },
            state: self.device.state(&read.readings),
            readings: read.readings,
            identity: told.identity,
        };
        if self.failing {
            tracing::info!(device = self.device.name, "the device gives readings again");
        }
        self.failing = false;
        self.states.change(&self.device.name, |state| {
            state.last_read_at = Some(entry.at);
            state.failing = entry.readings.is_empty();
            if state.failing
                && let Some(point) = missing.first()
            {
                state.fail(&point.why, entry.at);
            }
            state.quality = Some(entry.quality);
            state.state = entry.state;
            state.read_count += 1;
            state.latency_ms = u64::try_from(latency.as_millis()).ok();
            state.missing_points = missing;
        });
        items.push(entry.into());
        items
    }

    fn missing(&self, missing: Vec<(usize, ReadTrouble)>) -> Vec<MissingPoint> {
        let point = |(index, why): (usize, ReadTrouble)| {
            let point = &self.device.points[index];
            MissingPoint { name: point.name.clone(), table: point.table, address: point.address, why }
        };
        missing.into_iter().map(point).collect()
    }

    fn log_missing(&mut self, missing: &[MissingPoint], now: Instant) {
        for MissingPoint { name, table, address, why } in missing {
            if self.missing_logged_at.get(name).is_none_or(|at| now.duration_since(*at) >= MISSING_LOGGED_EVERY) {
                let (device, point, table) = (&self.device.name, &**name, table.name());
                tracing::warn!(device, point, table, address, error = %why, "a point gives no reading; the device's entries have quality D");
                self.missing_logged_at.insert(name.clone(), now);
            }
        }
    }

    /// A failed read gives no readings, least of all those of before.
    fn bad(&mut self, trouble: &ReadTrouble, at: DateTime<Utc>) -> Entry {
        if !self.failing {
            tracing::warn!(device = self.device.name, error = %trouble, "the device gives no readings");
        }
        self.failing = true;
        let entry = Entry {
            device: self.device.name.clone(),
            at,
            quality: Quality::Communication,
            state: trouble.offline().then_some(State::Offline),
            readings: Vec::new(),
            identity: Identity::default(),
        };
        self.states.change(&self.device.name, |state| {
            state.failing = true;
            // That it was not even asked says less than why.
            if state.last_error_at.is_none() || !matches!(trouble, ReadTrouble::Waiting | ReadTrouble::Unreachable(Unreachable::Waiting)) {
                state.fail(trouble, at);
            }
            state.quality = Some(entry.quality);
            state.state = entry.state;
            state.error_count += 1;
        });
        entry
    }
}

/// Asks once, and again at once where the answer was spoilt. Silence is not repeated here: others may be waiting.
async fn ask(line: &mut Line, device: &Device, request: &Request, repeat: bool, limit: Duration) -> Result<Block, ReadTrouble> {
    let wanted = ReadRequest::Values { table: request.table, address: request.address, quantity: request.quantity };
    let mut repeats = if repeat { device.retries } else { 0 };
    loop {
        match line.read(device.unit_id, &wanted, limit).await {
            Ok(Answer::Block(block)) => return Ok(block),
            Ok(Answer::Identity(_)) => return Err(ReadTrouble::Garbage),
            Err(trouble) if repeats == 0 || !trouble.passing() => return Err(trouble),
            Err(_) => repeats -= 1,
        }
    }
}

#[cfg(test)]
#[path = "polled_tests.rs"]
mod tests;
