//! When to judge what. This half decides: it knows no runtime, and is given events and the time. `watch` waits for the events and
//! does what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use policy::calendar::{Day, Instant, day_of, day_start, minute_end};
use policy::register::{Register, Voucher};

use crate::concerned::concerned;

#[derive(Clone, Debug)]
pub enum Event {
    /// Facts about these enterprises were accepted, or refused in a way that a finding tells of.
    Evidence(BTreeSet<String>),
    /// The register has changed, and is this one now.
    Register(Arc<Register>),
    /// Time has passed.
    Time,
    /// The round that was asked for has ended; these vouchers could not be judged.
    Ended { failed: BTreeSet<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Judge these vouchers in one round, and tell when it has ended.
    Judge(BTreeSet<String>),
}

/// What is to be judged, and when. It begins with everything: rulebook, catalogue or program may be others than before.
pub struct Schedule {
    register: Arc<Register>,
    due: BTreeSet<String>,
    judging: bool,
    /// No round begins before.
    not_before: Instant,
    every: TimeDelta,
    /// The day up to which all live vouchers were judged.
    day: Day,
    /// Instants to come at which judgements change by themselves.
    turns: BTreeMap<Instant, BTreeSet<String>>,
}

impl Schedule {
    pub fn new(register: Arc<Register>, every: Duration, now: Instant) -> Schedule {
        Schedule {
            due: register.vouchers.keys().cloned().collect(),
            judging: false,
            not_before: now,
            every: TimeDelta::from_std(every).unwrap_or(TimeDelta::MAX),
            day: day_of(now),
            turns: turns(&register, now),
            register,
        }
    }

    /// What comes of an event. Changes gather while a round is under way, and are judged together in the next.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Evidence(enterprises) => {
                let vouchers = self.register.vouchers.values().filter(|voucher| enterprises.contains(&voucher.enterprise));
                self.due.extend(vouchers.map(|voucher| voucher.id.clone()));
            }
            Event::Register(register) => {
                self.due.extend(concerned(&self.register, &register));
                self.due.retain(|voucher| register.vouchers.contains_key(voucher));
                self.turns = turns(&register, now);
                self.register = register;
            }
            Event::Time => {}
            Event::Ended { failed } => {
                self.judging = false;
                self.due.extend(failed);
            }
        }
        self.take_turns(now);
        if self.judging || self.due.is_empty() || now < self.not_before {
            return Vec::new();
        }
        self.judging = true;
        self.not_before = now + self.every;
        vec![Effect::Judge(std::mem::take(&mut self.due))]
    }

    /// What has become due since the last event: cut-offs reached, deadlines passed, a day begun.
    fn take_turns(&mut self, now: Instant) {
        while let Some(first) = self.turns.first_entry().filter(|first| *first.key() <= now) {
            self.due.extend(first.remove());
        }
        let today = day_of(now);
        if today != self.day {
            self.day = today;
            // Also those whose cut-off is set: a net under everything that should have reached them. Without a change nothing is added.
            let live = self.register.vouchers.values().filter(|voucher| voucher.status.live());
            self.due.extend(live.map(|voucher| voucher.id.clone()));
        }
    }

    /// When to apply `Time` at the latest, if nothing happens before.
    pub fn wake_at(&self) -> Instant {
        let midnight = self.day.succ_opt().map_or(Instant::MAX_UTC, day_start);
        let turn = self.turns.keys().next().copied().unwrap_or(Instant::MAX_UTC);
        let due = if self.due.is_empty() || self.judging { Instant::MAX_UTC } else { self.not_before };
        midnight.min(turn).min(due)
    }
}

/// Cut-offs to come; the first instants after claiming and redemption have ended, when R28 and R10 begin to say something else.
fn turns(register: &Register, now: Instant) -> BTreeMap<Instant, BTreeSet<String>> {
    let mut turns: BTreeMap<Instant, BTreeSet<String>> = BTreeMap::new();
    let after = |at: Instant| minute_end(at) + TimeDelta::microseconds(1);
    let ends = |voucher: &Voucher| {
        let period = register.periods.get(voucher.period.as_ref()?)?;
        Some([after(period.claim_to), after(period.redeem_to)])
    };
    for voucher in register.vouchers.values() {
        for at in voucher.redeem_at.into_iter().chain(ends(voucher).into_iter().flatten()).filter(|at| *at > now) {
            turns.entry(at).or_default().insert(voucher.id.clone());
        }
    }
    turns
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
