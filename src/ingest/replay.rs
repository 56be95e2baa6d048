//! Reads records of the log again into facts and identities.

use std::thread;

use chrono::DateTime;
use store::{AuditPlace, Record, Stretch};
use tally::{Boot, Claim, Claims, Facts};
use wire::carrier::read_carrier_message;
use wire::identity::{MessageIdentity, Sender};
use wire::{AdmittedBefore, Door, ReadContext, read_report, reopen_report};

use crate::item::{Message, Sound};
use crate::reading::{Arrival, shanghai_day, sound_carrier_message, sound_report};

/// Fewer records than this are not worth a thread.
const SHARE_RECORDS_MIN: usize = 256;

/// What a stretch of the log adds up to.
#[derive(Default)]
pub struct Replay {
    pub facts: Facts,
    pub identities: Claims,
    /// Entries of the audit log, which are no facts.
    pub audited: Vec<AuditPlace>,
    /// Records that this program can no longer read; none are expected.
    pub unreadable: u64,
    pub records: u64,
}

impl Replay {
    /// Takes the records of a stretch in, on as many threads as there are cores: facts do not depend on the order.
    pub fn take(&mut self, stretch: &Stretch<'_>) {
        let records: Vec<_> = stretch.records().collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = records.len().div_ceil(threads).max(SHARE_RECORDS_MIN);
        let mut shares = records.chunks(share);
        let own = shares.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = shares.map(|share| scope.spawn(move || Replay::of(share))).collect();
            own.iter().for_each(|(block, record)| self.take_one(*block, record));
            for other in others {
                match other.join() {
                    Ok(other) => self.merge(other),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }

    /// Records with the numbers of their blocks.
    fn of(records: &[(u64, Record<'_>)]) -> Replay {
        let mut replay = Replay::default();
        records.iter().for_each(|(block, record)| replay.take_one(*block, record));
        replay
    }

    fn merge(&mut self, other: Replay) {
        self.facts.merge(other.facts);
        self.identities.merge(other.identities);
        self.audited.extend(other.audited);
        self.unreadable += other.unreadable;
        self.records += other.records;
    }

    /// Takes one record in, with the number of its block.
    pub fn take_one(&mut self, block: u64, record: &Record<'_>) {
        self.records += 1;
        if let Sender::Operator(_) = record.sender {
            match AuditPlace::of(record, block) {
                Some(place) => self.audited.push(place),
                None => self.unreadable += 1,
            }
            return;
        }
        let Some(sound) = sound(record) else {
            self.unreadable += 1;
            return;
        };
        match &sound.message {
            Message::Report(report) => self.facts.apply_report(&sound.origin, report),
            Message::Carrier(message) => self.facts.apply_carrier(message),
        }
        self.facts.note_block(sound.origin.received_at, block);
        let claim = Claim { digest: sound.digest, block };
        match &sound.identity {
            MessageIdentity::Sequence { boot, seq } => {
                let boot = Boot { gateway: sound.origin.sender.id(), boot };
                self.identities.claim_number(boot, *seq, claim, sound.origin.received_at);
            }
            MessageIdentity::Id(_) => self.identities.claim_id(sound.key, claim),
        }
    }
}

/// Whether a record speaks of an enterprise: a report is of one, a carrier's message names several.
pub fn concerns(record: &Record<'_>, enterprise: &str) -> bool {
    if !matches!(record.sender, Sender::Carrier(_)) {
        return record.enterprise == enterprise;
    }
    let of = |sound: Box<Sound>| match sound.message {
        Message::Carrier(message) => message.records.iter().any(|said| said.enterprise == enterprise),
        Message::Report(_) => false,
    };
    sound(record).is_some_and(of)
}

fn sound(record: &Record<'_>) -> Option<Box<Sound>> {
    let received_at = DateTime::from_timestamp_micros(record.received_at_us)?;
    let arrival = Arrival { sender: record.sender.clone(), vouched: record.vouched, received_at };
    let door = match record.sender {
        Sender::Gateway(_) => Door::Gateway,
        Sender::Supplier(_) => Door::Supplier,
        Sender::Carrier(_) => {
            let message = read_carrier_message(record.body, shanghai_day(received_at), &AdmittedBefore).1.ok()?;
            return Some(sound_carrier_message(&arrival, message));
        }
        Sender::Operator(_) => return None,
    };
    // What was not too far in the future when it came is not refused when it is read again.
    let context = ReadContext { door, received_at, future_skew_s_max: u32::MAX, admission: &AdmittedBefore };
    let report = read_report(reopen_report(record.body).ok()?.report, &context).report.ok()?;
    Some(sound_report(&arrival, record.enterprise.clone(), report))
}
