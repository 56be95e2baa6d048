//! Which report is sent next, and what an answer means. Decides only: no input or output, time is passed in.
//!
//! `Offline` until the broker has admitted us. What is unsettled then is the backlog: it is sent again, oldest first, at a bounded rate, and
//! never in the way of reports that are spooled from then on. With the last report of the backlog settled, delivery is `Live`.

mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;

use crate::backoff::Backoff;
use crate::held::Held;
use crate::pace::Pace;

pub use crate::held::Why;
use words::Fate;
pub use words::{Effect, Event, Limits, State};

/// Reports that the broker has taken and that have no receipt yet. More are not sent: the service may be away for long.
const AWAITING_MAX: usize = 10_000;
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

/// Delivery over one connection after another. All times are monotonic milliseconds.
pub struct Delivery {
    limits: Limits,
    state: State,
    in_flight_max: usize,
    /// Reports from this position on are live.
    boundary: u64,
    /// Up to where the backlog and the live reports have been sent.
    backlog_next: u64,
    live_next: u64,
    spooled: u64,
    /// Not taken when they were sent, and sent again.
    again_live: BTreeSet<u64>,
    /// The same of the backlog, and what has no receipt.
    again: BTreeSet<u64>,
    /// Handed to the client, which has not sent them yet; in this order.
    handed: VecDeque<Outstanding>,
    in_flight: HashMap<u16, Outstanding>,
    /// Acknowledged by the broker, since when; without a receipt.
    awaiting: BTreeMap<u64, u64>,
    /// Neither sent nor in the way of others, whatever connection there is.
    held: Held,
    patience: Duration,
    pace: Pace,
    paused_until_ms: u64,
    pause: Backoff,
    resent_total: u64,
}

#[derive(Clone, Copy)]
struct Outstanding {
    position: u64,
    since_ms: u64,
    /// What becomes of it was said before its acknowledgement.
    decided: bool,
}

impl Delivery {
    pub fn new(limits: Limits) -> Delivery {
        Delivery {
            state: State::Offline,
            in_flight_max: 0,
            boundary: 0,
            backlog_next: 0,
            live_next: 0,
            spooled: 0,
            again_live: BTreeSet::new(),
            again: BTreeSet::new(),
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            awaiting: BTreeMap::new(),
            held: Held::new(limits.pause_max.min(Duration::from_secs(1))),
            patience: limits.receipt_timeout.unwrap_or_default(),
            pace: Pace::new(limits.backlog_reports_per_s),
            paused_until_ms: 0,
            pause: Backoff::new(limits.pause_max.min(Duration::from_secs(1)), limits.pause_max),
            limits,
            resent_total: 0,
        }
    }

    /// The one way in: what follows from an event.
    pub fn apply(&mut self, event: Event<'_>, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Connected { oldest, next, receive_max } => self.connected(oldest, next, receive_max),
            Event::Disconnected => self.disconnected(),
            Event::Spooled { next } => self.spooled = self.spooled.max(next),
            Event::Sent { packet_id } => {
                if let Some(handed) = self.handed.pop_front() {
                    self.in_flight.insert(packet_id, Outstanding { since_ms: now_ms, ..handed });
                }
            }
            Event::Acknowledged { packet_id, reason, jitter } => {
                if let Some(sent) = self.in_flight.remove(&packet_id) {
                    effects.extend(self.acknowledged(sent, reason, now_ms, jitter));
                }
            }
            Event::Untold { position, reason, jitter } => effects.extend(self.hold(position, reason, now_ms, jitter)),
            Event::Held { position, why, jitter } => {
                self.decided(position);
                self.held.hold(position, why, now_ms, jitter);
            }
            Event::Oldest { position } => self.held.forget_below(position),
            Event::Gone { position, next } => self.gone(position, next),
            Event::Receipted { settled } => self.receipted(settled, now_ms),
            Event::Tick => {
                let unconfirmed = self.take_back_unconfirmed(now_ms);
                effects.extend((unconfirmed > 0).then_some(Effect::Unconfirmed(unconfirmed)));
                effects.extend(self.stalled(now_ms).then_some(Effect::Reconnect));
            }
        }
        self.send(now_ms, &mut effects);
        let state = self.state_now();
        if state != self.state {
            self.state = state;
            effects.push(Effect::Entered(state));
        }
        effects
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// So many were sent a second time, or will be because their connection was lost.
    pub fn resent_total(&self) -> u64 {
        self.resent_total
    }

    /// Nothing was sent whose answer is outstanding.
    pub fn idle(&self) -> bool {
        self.handed.is_empty() && self.in_flight.is_empty()
    }

    /// Nothing is left to send now.
    pub fn all_sent(&self, now_ms: u64) -> bool {
        self.idle() && (self.paused(now_ms) || !(self.backlog_waits() || self.live_waits()))
    }

    /// What was sent and is not settled, as far as this is known here.
    pub fn unsettled(&self) -> Vec<u64> {
        let outstanding = self.handed.iter().chain(self.in_flight.values()).map(|sent| sent.position);
        self.awaiting.keys().chain(&self.again).chain(&self.again_live).copied().chain(self.held.positions()).chain(outstanding).collect()
    }

    /// It waits for a reason of its own.
    pub fn holds(&self, position: u64) -> bool {
        self.held.contains(position)
    }

    pub fn holds_any(&self) -> bool {
        self.held.positions().next().is_some()
    }

    /// The reason for which it waited, if it is being tried again.
    pub fn tries(&self, position: u64) -> Option<Why> {
        self.held.tries(position)
    }

    /// So many wait for this reason.
    pub fn held_count(&self, why: Why) -> usize {
        self.held.count(why)
    }

    /// When something may be sent that may not be sent now, without anything else happening.
    pub fn wakes_at_ms(&self, now_ms: u64) -> Option<u64> {
        if self.state == State::Offline {
            return None;
        }
        let held_at_ms = self.held.ready_at_ms();
        if self.paused(now_ms) {
            return (self.backlog_waits() || self.live_waits() || held_at_ms.is_some()).then_some(self.paused_until_ms);
        }
        let backlog_at_ms = self.backlog_waits().then(|| self.pace.ready_at_ms(now_ms));
        [backlog_at_ms, held_at_ms].into_iter().flatten().min().filter(|_| self.room_for_backlog())
    }

    fn connected(&mut self, oldest: Option<u64>, next: u64, receive_max: Option<u16>) {
        self.disconnected();
        // One less than the broker admits, so that a packet id is never taken twice.
        let admitted = usize::from(receive_max.unwrap_or(u16::MAX)).saturating_sub(1).max(1);
        self.in_flight_max = usize::from(self.limits.in_flight_max).min(admitted);
        (self.boundary, self.live_next, self.spooled) = (next, next, next);
        self.backlog_next = oldest.unwrap_or(next).min(next);
        self.held.forget_below(self.backlog_next);
    }

    /// What waits for a receipt is with the broker, and not sent again before its time.
    fn disconnected(&mut self) {
        self.in_flight_max = 0;
        self.resent_total += self.in_flight.len() as u64;
        self.handed.clear();
        self.in_flight.clear();
        self.again.clear();
        self.again_live.clear();
        self.held.disconnected();
    }

    fn state_now(&self) -> State {
        let old = 0..self.boundary;
        let unsettled = self.backlog_next < self.boundary
            || self.awaiting.range(old.clone()).next().is_some()
            || self.again.range(old.clone()).next().is_some()
            || self.held.any_below(self.boundary)
            || self.handed.iter().chain(self.in_flight.values()).any(|sent| !sent.decided && old.contains(&sent.position));
        match (self.in_flight_max, unsettled) {
            (0, _) => State::Offline,
            (_, true) => State::Backlog,
            (_, false) => State::Live,
        }
    }

    fn acknowledged(&mut self, sent: Outstanding, reason: PubAckReason, now_ms: u64, jitter: f64) -> Option<Effect> {
        let position = sent.position;
        let by_receipt = self.limits.receipt_timeout.is_some();
        match Fate::of(reason) {
            _ if sent.decided => None,
            Fate::Taken if by_receipt => {
                self.pause.reset();
                self.awaiting.insert(position, now_ms);
                None
            }
            Fate::Taken => {
                self.pause.reset();
                self.taken(position, now_ms);
                Some(Effect::Settle(position))
            }
            Fate::Refused(reason) if !by_receipt => {
                self.pause.reset();
                self.taken(position, now_ms);
                Some(Effect::Refuse(position, reason))
            }
            // The pause of those that are forbidden grows until something is taken.
            Fate::Forbidden(reason) if !by_receipt => Some(Effect::Forbidden(position, reason)),
            // Somebody else's broker does not decide what becomes of a report.
            Fate::Refused(reason) | Fate::Forbidden(reason) | Fate::Kept(reason) => self.hold(position, reason, now_ms, jitter),
        }
    }

    /// The report is sent again, after a pause of everything.
    fn hold(&mut self, position: u64, reason: &'static str, now_ms: u64, jitter: f64) -> Option<Effect> {
        if position < self.boundary {
            self.again.insert(position)
        } else {
            self.again_live.insert(position)
        };
        if self.paused(now_ms) {
            return None;
        }
        self.paused_until_ms = now_ms.saturating_add(millis(self.pause.after_failure(jitter)));
        Some(Effect::Pause(position, reason))
    }

    fn gone(&mut self, position: u64, next: u64) {
        self.handed.retain(|handed| handed.position != position);
        self.held.forget(position);
        if position < self.boundary {
            self.backlog_next = self.backlog_next.max(next.min(self.boundary));
            self.pace.give_back();
        }
    }

    fn receipted(&mut self, settled: &[u64], now_ms: u64) {
        self.patience = self.limits.receipt_timeout.unwrap_or_default();
        for position in settled {
            self.decided(*position);
            self.taken(*position, now_ms);
        }
    }

    /// Nobody doubts any more who speaks in this report: others that were doubted may be taken too.
    fn taken(&mut self, position: u64, now_ms: u64) {
        let free = self.held.taken(position, now_ms);
        let still_to_come = self.backlog_next..self.boundary;
        self.again.extend(free.into_iter().filter(|position| !still_to_come.contains(position)));
    }

    /// It is known what becomes of this report, wherever it is.
    fn decided(&mut self, position: u64) {
        self.awaiting.remove(&position);
        self.again.remove(&position);
        self.again_live.remove(&position);
        let outstanding = self.handed.iter_mut().chain(self.in_flight.values_mut());
        outstanding.filter(|sent| sent.position == position).for_each(|sent| sent.decided = true);
    }

    /// The longer nothing is heard from the service, the rarer is a report sent again.
    fn take_back_unconfirmed(&mut self, now_ms: u64) -> usize {
        let patience_ms = millis(self.patience);
        let before = self.awaiting.len();
        let again = &mut self.again;
        self.awaiting.retain(|position, since_ms| {
            let waits = now_ms.saturating_sub(*since_ms) < patience_ms;
            if !waits {
                again.insert(*position);
            }
            waits
        });
        let count = before - self.awaiting.len();
        if count > 0 {
            self.patience = (self.patience * 2).min(PATIENCE_MAX.max(self.limits.receipt_timeout.unwrap_or_default()));
        }
        count
    }

    fn stalled(&self, now_ms: u64) -> bool {
        let timeout_ms = millis(self.limits.acknowledge_timeout);
        self.handed.iter().chain(self.in_flight.values()).any(|sent| now_ms.saturating_sub(sent.since_ms) > timeout_ms)
    }

    fn paused(&self, now_ms: u64) -> bool {
        now_ms < self.paused_until_ms
    }

    fn live_waits(&self) -> bool {
        self.live_next < self.spooled || !self.again_live.is_empty()
    }

    fn backlog_waits(&self) -> bool {
        self.backlog_next < self.boundary || !self.again.is_empty()
    }

    fn outstanding(&self) -> usize {
        self.handed.len() + self.in_flight.len()
    }

    fn room(&self) -> bool {
        self.outstanding() < self.in_flight_max && self.awaiting.len() < AWAITING_MAX
    }

    /// A quarter is kept free for live reports, so that none waits for an answer to an old one.
    fn room_for_backlog(&self) -> bool {
        let kept_free = if self.in_flight_max > 1 { (self.in_flight_max / 4).max(1) } else { 0 };
        self.room() && self.outstanding() + kept_free < self.in_flight_max
    }

    fn send(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.paused(now_ms) {
            return;
        }
        while self.live_waits() && self.room() {
            let position = next_of(&mut self.again_live, &mut self.live_next, &mut self.resent_total);
            self.hand_over(position, now_ms, effects);
        }
        if self.room_for_backlog()
            && let Some(position) = self.held.next(now_ms)
        {
            self.resent_total += 1;
            self.hand_over(position, now_ms, effects);
        }
        while self.backlog_waits() && self.room_for_backlog() {
            let passed_by = |position| self.awaiting.contains_key(&position) || self.held.contains(position);
            if self.again.is_empty() && passed_by(self.backlog_next) {
                self.backlog_next += 1;
                continue;
            }
            if !self.pace.take(now_ms) {
                break;
            }
            let position = next_of(&mut self.again, &mut self.backlog_next, &mut self.resent_total);
            self.hand_over(position, now_ms, effects);
        }
    }

    fn hand_over(&mut self, position: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        self.handed.push_back(Outstanding { position, since_ms: now_ms, decided: false });
        effects.push(Effect::Send(position));
    }
}

/// What is sent again comes first.
fn next_of(again: &mut BTreeSet<u64>, next: &mut u64, resent_total: &mut u64) -> u64 {
    if let Some(position) = again.pop_first() {
        *resent_total += 1;
        return position;
    }
    *next += 1;
    *next - 1
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
