//! The committing core: decides repeats, appends, syncs, counts, and only then answers. Synchronous, and generic over its disk, its
//! database and its clock, so that a simulation can run it through every way of failing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use observe::{Health, Metrics, Part};
use store::{
    AuditPlace, BlockBuilder, Checkpoint, Conflict, Directory, Disk, Log, LogError, LogOptions, LogPosition, PendingAudit, Record,
    RefusedMessage, Scanned, StoreError, Vouched,
};
use tally::{Facts, RecentIdentities};
use wire::identity::{IdentityKey, MessageIdentity, Sender};
use wire::report::ContentDigest;
use wire::{Fault, FaultCode};

use crate::identities::{Identities, Known, Standing};
use crate::item::{Content, Item, Message, Outcome, RawMessage, Sound};
use crate::ledger::Ledger;
use crate::reading::{Arrival, Reader};
use crate::replay::Replay;

/// How often the free space is looked at.
pub(crate) const SPACE_EVERY: Duration = Duration::from_millis(500);
/// How long nothing is tried after the log has failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What `read` allows; the service takes it from the rulebook.
const READ_SKEW_S_MAX: u32 = 120;

#[derive(Clone, Copy, Debug)]
pub struct CoreOptions {
    pub log: LogOptions,
    /// Below this much free space nothing is accepted.
    pub free_bytes_min: u64,
}

pub struct Core<D: Disk, L: Ledger> {
    log: Log<D>,
    ledger: L,
    options: CoreOptions,
    metrics: Metrics,
    health: Health,
    identities: Identities,
    facts: Facts,
    /// Entries of the audit log whose block no checkpoint has noted yet.
    audited: Vec<AuditPlace>,
    /// Those of them that were read from the log at the start: they are not carried into it again.
    audited_before: BTreeMap<i64, [u8; 32]>,
    /// What the facts take that a checkpoint is to write.
    handed_over_bytes: usize,
    /// Set when facts were lost from memory: nothing is accepted and no checkpoint may pass them, so that the next start reads them
    /// from the log.
    facts_lost: bool,
    nearly_full: bool,
    space_looked_at: Option<Duration>,
    /// The last try to write to the log failed.
    log_failing: bool,
    /// After a failure of the log nothing is tried before this.
    retry_at: Option<Duration>,
}

/// Reads a message for the core against one state of the register, as the intake does.
pub fn read(directory: &Directory, metrics: &Metrics, sender: Sender, received_at: DateTime<Utc>, message: RawMessage) -> Item {
    let reader = Reader { directory, metrics, future_skew_s_max: READ_SKEW_S_MAX };
    reader.read(&Arrival { sender, vouched: Vouched::Token, received_at }, message)
}

/// Where an item stands before anything is written.
enum Decision {
    Accept(Box<Sound>),
    Duplicate,
    /// Whether it was accepted before cannot be found out now.
    Unknown,
    Refuse(Refusal),
    /// Its identity was taken by another report of this group, which stands only if the group is written.
    ConflictWithin(Refusal),
}

struct Refusal {
    faults: Vec<Fault>,
    conflict: Option<Conflict>,
}

impl<D: Disk, L: Ledger> Core<D, L> {
    /// Opens the log and replays what no checkpoint holds.
    pub fn open(
        disk: D,
        dir: &Path,
        mut ledger: L,
        options: CoreOptions,
        metrics: Metrics,
        health: Health,
    ) -> Result<(Core<D, L>, Scanned), StoreError> {
        let position = ledger.position()?;
        let mut replay = Replay::default();
        let (log, scanned) = Log::open(disk, dir, options.log, position, |stretch| replay.take(&stretch))?;
        if replay.unreadable > 0 {
            tracing::error!(records = replay.unreadable, "records of the log cannot be read by this version and are not counted");
        }
        metrics.log_blocks.set(log.end().block() as i64);
        metrics.log_damaged_blocks.set(scanned.damaged.iter().map(|damaged| (damaged.blocks.end - damaged.blocks.start) as i64).sum());
        let core = Core {
            log,
            ledger,
            options,
            metrics,
            health,
            identities: Identities::of(replay.identities),
            facts: replay.facts,
            audited_before: replay.audited.iter().map(|place| (place.id, place.sha256)).collect(),
            audited: replay.audited,
            handed_over_bytes: 0,
            facts_lost: false,
            nearly_full: false,
            space_looked_at: None,
            log_failing: false,
            retry_at: None,
        };
        Ok((core, scanned))
    }

    pub fn end(&self) -> &LogPosition {
        self.log.end()
    }

    pub fn log(&self) -> &Log<D> {
        &self.log
    }

    /// Facts that no checkpoint holds yet.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Identities, and which of them no checkpoint holds yet.
    pub fn identities(&self) -> &RecentIdentities {
        &self.identities.recent
    }

    /// About how much memory is taken by what no checkpoint holds.
    pub fn unwritten_bytes(&self) -> usize {
        self.facts.memory_bytes() + self.identities.recent.memory_bytes()
    }

    /// The same with what is being written.
    pub fn held_bytes(&self) -> usize {
        self.unwritten_bytes() + self.handed_over_bytes
    }

    pub fn facts_lost(&self) -> bool {
        self.facts_lost
    }

    /// Settles a group: one outcome per item, in order. `now`: time since any fixed moment, never running backwards.
    pub fn commit(&mut self, items: Vec<Item>, now: Duration) -> Vec<Outcome> {
        self.look_at_space(now);
        let known = self.identities.look_up(&mut self.ledger, &items);
        if let Some(error) = &known.failed {
            self.index_fails(error);
        }
        let mut claimed = HashMap::new();
        let decided: Vec<_> = items
            .into_iter()
            .map(|mut item| {
                let decision = match std::mem::replace(&mut item.content, Content::Refused(Vec::new())) {
                    Content::Refused(faults) => Decision::Refuse(Refusal { faults, conflict: None }),
                    Content::Sound(sound) => self.decide(sound, &known, &mut claimed),
                };
                (item, decision)
            })
            .collect();
        let appended = self.append(&decided, now);
        let quarantined = self.quarantine(&decided, appended.is_ok());
        decided
            .into_iter()
            .map(|(item, decision)| {
                let outcome = match (decision, &appended) {
                    (Decision::Accept(sound), Ok(block)) => {
                        self.count(&sound, *block);
                        Outcome::Accepted
                    }
                    // A repeat within this group stands on a report that was not written either.
                    (Decision::Accept(_) | Decision::Duplicate | Decision::ConflictWithin(_), Err(outcome)) => outcome.clone(),
                    (Decision::Duplicate, Ok(_)) => Outcome::Duplicate,
                    (Decision::Unknown, _) => Outcome::Unavailable("the index of identities cannot be read"),
                    (Decision::Refuse(refusal) | Decision::ConflictWithin(refusal), _) => match &quarantined {
                        Ok(()) => Outcome::Refused(refusal.faults),
                        Err(outcome) => outcome.clone(),
                    },
                };
                self.recorded(outcome, &item)
            })
            .collect()
    }

    /// What a checkpoint has to write; `None` if there is nothing, or if nothing may be written.
    pub fn hand_over(&mut self) -> Option<Checkpoint> {
        let nothing = self.facts.is_empty() && self.identities.recent.nothing_pending() && self.audited.is_empty();
        if self.facts_lost || nothing {
            return None;
        }
        self.handed_over_bytes = self.facts.memory_bytes();
        Some(Checkpoint {
            facts: self.facts.hand_over(),
            identities: self.identities.recent.hand_over(),
            position: self.log.end().clone(),
            audited: std::mem::take(&mut self.audited),
        })
    }

    /// What became of it. `Err(None)`: it was lost, and with it whether it was written.
    pub fn handed_over(&mut self, ended: Result<(), Option<Box<Checkpoint>>>) {
        self.handed_over_bytes = 0;
        match ended {
            Ok(()) => {
                self.health.works(Part::Tally);
                self.identities.recent.forget_handed_over();
            }
            Err(checkpoint) => {
                self.metrics.checkpoint_failures.inc();
                self.health.fails(Part::Tally, "checkpoints cannot be written");
                // Their identities are still held.
                match checkpoint {
                    Some(checkpoint) => {
                        self.facts.merge(checkpoint.facts);
                        self.audited.extend(checkpoint.audited);
                    }
                    None => self.facts_lost = true,
                }
            }
        }
    }

    fn index_fails(&self, error: &StoreError) {
        tracing::error!(%error, "the index of identities cannot be read");
        self.health.fails(Part::Identities, error.to_string());
    }

    fn decide(&self, sound: Box<Sound>, known: &Known, claimed: &mut HashMap<IdentityKey, ContentDigest>) -> Decision {
        match self.identities.standing(&sound, known, claimed) {
            Standing::New => {
                claimed.insert(sound.key, sound.digest);
                Decision::Accept(sound)
            }
            Standing::Duplicate => Decision::Duplicate,
            Standing::Unknown => Decision::Unknown,
            Standing::Conflict => {
                let path = if let MessageIdentity::Sequence { .. } = sound.identity { "/seq" } else { "/id" };
                let detail = format!("{} was accepted with other content", sound.identity);
                let faults = vec![Fault::new(FaultCode::Conflict, path, detail)];
                let refusal = Refusal { faults, conflict: Some(sound.conflict()) };
                if claimed.contains_key(&sound.key) { Decision::ConflictWithin(refusal) } else { Decision::Refuse(refusal) }
            }
        }
    }

    /// Writes and syncs what is to be accepted, and gives the number of its block; the error is the outcome for all of it.
    fn append(&mut self, decided: &[(Item, Decision)], now: Duration) -> Result<u64, Outcome> {
        let mut block = BlockBuilder::default();
        for (item, decision) in decided {
            if let Decision::Accept(sound) = decision {
                block.push(&Record {
                    sender: item.sender.clone(),
                    enterprise: sound.origin.enterprise.clone(),
                    vouched: sound.vouched,
                    received_at_us: item.received_at.timestamp_micros(),
                    body: &item.body,
                });
            }
        }
        if block.records() == 0 {
            return Ok(self.log.end().block());
        }
        self.write(block, now)
    }

    /// Carries entries of the audit log into the evidence log; gives whether they stand there now.
    pub fn append_audit(&mut self, entries: &[PendingAudit], now: Duration) -> bool {
        let new: Vec<_> = entries.iter().filter(|entry| self.audited_before.get(&entry.id) != Some(&entry.sha256)).collect();
        let mut block = BlockBuilder::default();
        new.iter().for_each(|entry| block.push(&entry.record()));
        if block.records() == 0 {
            return true;
        }
        self.look_at_space(now);
        let Ok(block) = self.write(block, now) else { return false };
        self.audited.extend(new.iter().map(|entry| AuditPlace { id: entry.id, sha256: entry.sha256, block }));
        true
    }

    fn write(&mut self, block: BlockBuilder, now: Duration) -> Result<u64, Outcome> {
        if self.facts_lost {
            return Err(Outcome::Unavailable("facts were lost: the service must be started anew"));
        }
        if self.nearly_full {
            return Err(Outcome::DiskFull);
        }
        if self.retry_at.is_some_and(|at| now < at) {
            return Err(Outcome::Unavailable("the evidence log has failed"));
        }
        let appended = self.log.append(block);
        self.metrics.log_blocks.set(self.log.end().block() as i64);
        self.log_tried(appended, now)
    }

    /// What a try to write to the log means for what comes next.
    fn log_tried<T>(&mut self, tried: Result<T, LogError>, now: Duration) -> Result<T, Outcome> {
        let failed_before = std::mem::replace(&mut self.log_failing, tried.is_err());
        match tried {
            Ok(done) => {
                self.retry_at = None;
                if failed_before {
                    tracing::info!("the evidence log goes on");
                }
                self.health.works(Part::Log);
                Ok(done)
            }
            Err(error @ LogError::Full) => {
                self.health.fails(Part::Log, error.to_string());
                Err(Outcome::DiskFull)
            }
            Err(error) => {
                // What is on the disk now is unknown: the same sync is never tried again, the log goes on in a new file.
                tracing::error!(%error, "the evidence log has failed; nothing is accepted until a new segment takes over");
                self.metrics.log_failures.inc();
                self.health.fails(Part::Log, error.to_string());
                self.retry_at = Some(now + RETRY_AFTER);
                Err(Outcome::Unavailable("the evidence log has failed"))
            }
        }
    }

    /// What is to be done also while nothing comes: the free space is looked at, and a log that has failed is tried again. Whoever
    /// sends only where `/readyz` says so would otherwise wait for ever.
    pub fn tend(&mut self, now: Duration) {
        let looked = self.look_at_space(now);
        if looked && self.log_failing && !self.nearly_full && self.retry_at.is_none_or(|at| at <= now) {
            let tried = self.log.try_again();
            // What failed is said in `/readyz`; nobody waits for it here.
            let _ = self.log_tried(tried, now);
        }
        if looked && let Some(answered) = self.identities.ask_again(&mut self.ledger) {
            match answered {
                Ok(()) => self.health.works(Part::Identities),
                Err(error) => self.index_fails(&error),
            }
        }
    }

    /// Before the disk is full, nothing more is accepted: reading and judging need room too. Says whether it has looked.
    fn look_at_space(&mut self, now: Duration) -> bool {
        if self.space_looked_at.is_some_and(|at| now < at + SPACE_EVERY) {
            return false;
        }
        self.space_looked_at = Some(now);
        match self.log.disk().free_bytes(self.log.dir()) {
            Ok(free) if free < self.options.free_bytes_min => {
                self.nearly_full = true;
                let (free, min) = (free >> 20, self.options.free_bytes_min >> 20);
                self.health.fails(Part::Disk, format!("{free} MiB are free, {min} MiB must be (disk.free_mib_min): nothing is accepted"));
            }
            Ok(_) => {
                self.nearly_full = false;
                self.health.works(Part::Disk);
            }
            Err(error) => tracing::warn!(%error, "the free space cannot be found out"),
        }
        true
    }

    fn quarantine(&mut self, decided: &[(Item, Decision)], appended: bool) -> Result<(), Outcome> {
        let refused: Vec<_> = decided
            .iter()
            .filter_map(|(item, decision)| match decision {
                Decision::Refuse(refusal) => Some((item, refusal)),
                Decision::ConflictWithin(refusal) if appended => Some((item, refusal)),
                _ => None,
            })
            .map(|(item, refusal)| RefusedMessage {
                received_at: item.received_at,
                sender: &item.sender,
                enterprise: &item.enterprise,
                label: &item.label,
                topic: item.topic.as_deref(),
                faults: &refusal.faults,
                conflict: refusal.conflict.as_ref(),
                body: &item.body,
                replayed_from: item.replayed_from,
            })
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        if self.nearly_full {
            return Err(Outcome::DiskFull);
        }
        self.ledger.quarantine(&refused).map_err(|error| {
            tracing::error!(%error, "the quarantine cannot be written");
            match error {
                StoreError::Full => Outcome::DiskFull,
                _ => Outcome::Unavailable("the quarantine cannot be written"),
            }
        })
    }

    /// `block`: where it stands in the log.
    fn count(&mut self, sound: &Sound, block: u64) {
        match &sound.message {
            Message::Report(report) => self.facts.apply_report(&sound.origin, report),
            Message::Carrier(message) => self.facts.apply_carrier(message),
        }
        self.facts.note_block(sound.origin.received_at, block);
        self.identities.claim(sound, block);
    }

    /// A replayed message was counted as refused when it came: of it only the acceptance is counted.
    fn recorded(&self, outcome: Outcome, item: &Item) -> Outcome {
        if item.replayed_from.is_some() && outcome != Outcome::Accepted {
            return outcome;
        }
        let name = match &outcome {
            Outcome::Accepted => "accepted",
            Outcome::Duplicate => "duplicate",
            Outcome::Refused(faults) => {
                faults.iter().for_each(|fault| self.metrics.faults.with_label_values(&[fault.code.as_str()]).inc());
                "refused"
            }
            Outcome::Unavailable(_) | Outcome::DiskFull => "unavailable",
        };
        let carrier = matches!(item.sender, Sender::Carrier(_));
        let counter = if carrier { &self.metrics.carrier_messages } else { &self.metrics.reports };
        counter.with_label_values(&[name]).inc();
        outcome
    }
}
