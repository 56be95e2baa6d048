//! The committing thread: the only writer of the log. It takes whatever waits as one group, decides repeats, appends, syncs, counts,
//! and only then answers. Checkpoints are written beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use observe::{Health, Metrics, Part};
use store::{BlockBuilder, Checkpoint, Log, LogError, Record, RefusedMessage, Store, StoreError, TornTail};
use tally::{Boot, Claim, Facts, Novelty, RecentIdentities};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use wire::identity::{IdentityKey, MessageIdentity, Sender};
use wire::report::ContentDigest;
use wire::{Fault, FaultCode};

use crate::intake::IntakeOptions;
use crate::item::{Content, Item, Message, Outcome, Sound};
use crate::replay::Replay;

pub(crate) type Reply = Box<dyn FnOnce(Vec<Outcome>) + Send>;

pub(crate) enum Command {
    Submit { items: Vec<Item>, reply: Reply, room: OwnedSemaphorePermit },
    Flush(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// A group takes no more than this from the queue.
const GROUP_BYTES_MAX: usize = 4 << 20;
const GROUP_ITEMS_MAX: usize = 8192;
/// Memory taken by what no checkpoint holds before one is written whatever the time.
const UNWRITTEN_BYTES_MAX: usize = 96 << 20;

/// What is committed together.
#[derive(Default)]
struct Group {
    batches: Vec<(Vec<Item>, Reply)>,
    /// Given back when the group is settled.
    rooms: Vec<OwnedSemaphorePermit>,
    items: usize,
    bytes: usize,
}

pub(crate) struct Committer {
    store: Store,
    log: Log,
    metrics: Metrics,
    health: Health,
    every: Duration,
    recent: RecentIdentities,
    facts: Facts,
    /// Set when the log has failed: nothing is taken until the service is started anew.
    failed: bool,
    /// Set when facts were lost from memory: no checkpoint may pass them, so that the next start reads them from the log.
    facts_lost: bool,
    waiting: Vec<oneshot::Sender<()>>,
    running: Option<Running>,
    last_checkpoint: Instant,
}

/// A checkpoint on its way to the disk, and who waits for it.
struct Running {
    done: oneshot::Receiver<Result<(), Box<Checkpoint>>>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// Where an item stands before anything is written.
enum Decision {
    Accept(Box<Sound>),
    Duplicate,
    Refuse(Vec<Fault>),
    /// Its identity was taken by another report of this group, which stands only if the group is written.
    ConflictWithin(Vec<Fault>),
}

impl Committer {
    pub(crate) async fn open(
        store: Store,
        metrics: Metrics,
        health: Health,
        options: &IntakeOptions,
    ) -> Result<(Committer, Option<TornTail>), StoreError> {
        let position = store.checkpoint_position().await?;
        let mut replay = Replay::default();
        let (log, torn) = Log::open(&store.log_dir(), options.log, position, |block, record| replay.take(block, record))?;
        if replay.unreadable > 0 {
            tracing::error!(records = replay.unreadable, "records of the log cannot be read by this version and are not counted");
        }
        metrics.log_blocks.set(log.end().block() as i64);
        let committer = Committer {
            store,
            log,
            metrics,
            health,
            every: Duration::from_secs(options.checkpoint_every_s),
            recent: RecentIdentities::of(replay.identities),
            facts: replay.facts,
            failed: false,
            facts_lost: false,
            waiting: Vec::new(),
            running: None,
            last_checkpoint: Instant::now(),
        };
        Ok((committer, torn))
    }

    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut stop = None;
        while stop.is_none() {
            let command = tokio::select! {
                command = commands.recv(), if !self.overfull() => command,
                done = checkpoint_done(&mut self.running) => {
                    self.checkpoint_ended(done);
                    continue;
                }
                () = tokio::time::sleep(self.every) => {
                    self.begin_checkpoint_if_due();
                    continue;
                }
            };
            let Some(command) = command else { break };
            let mut group = Group::default();
            self.take(command, &mut group, &mut stop);
            while stop.is_none() && group.items < GROUP_ITEMS_MAX && group.bytes < GROUP_BYTES_MAX {
                let Ok(command) = commands.try_recv() else { break };
                self.take(command, &mut group, &mut stop);
            }
            if !group.batches.is_empty() {
                self.commit(group.batches).await;
            }
            self.begin_checkpoint_if_due();
        }
        self.end().await;
        stop.into_iter().for_each(tell);
    }

    /// The disk is slower than what comes in: take nothing more until the running checkpoint is written.
    fn overfull(&self) -> bool {
        self.running.is_some() && self.unwritten_bytes() >= 2 * UNWRITTEN_BYTES_MAX
    }

    fn unwritten_bytes(&self) -> usize {
        self.facts.memory_bytes() + self.recent.memory_bytes()
    }

    fn take(&mut self, command: Command, group: &mut Group, stop: &mut Option<oneshot::Sender<()>>) {
        match command {
            Command::Submit { items, reply, room } => {
                group.rooms.push(room);
                group.items += items.len();
                group.bytes += items.iter().map(|item| item.body.len()).sum::<usize>();
                group.batches.push((items, reply));
            }
            Command::Flush(done) => self.waiting.push(done),
            Command::Stop(done) => *stop = Some(done),
        }
    }

    async fn commit(&mut self, batches: Vec<(Vec<Item>, Reply)>) {
        let began = Instant::now();
        let mut replies = Vec::with_capacity(batches.len());
        let mut items = Vec::new();
        for (batch, reply) in batches {
            replies.push((batch.len(), reply));
            items.extend(batch);
        }
        let known = match self.known_identities(&items).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "the index of identities cannot be read");
                return answer(replies, items.iter().map(|_| Outcome::Unavailable("the index of identities cannot be read")));
            }
        };
        let mut claimed = HashMap::new();
        let decided: Vec<_> = items
            .into_iter()
            .map(|item| {
                let Item { sender, received_at, body, label, content } = item;
                let decision = match content {
                    Content::Refused(faults) => Decision::Refuse(faults),
                    Content::Sound(sound) => self.decide(sound, &known, &mut claimed),
                };
                (Item { sender, received_at, body, label, content: Content::Refused(Vec::new()) }, decision)
            })
            .collect();
        let block = self.log.end().block();
        let appended = self.append(&decided);
        let quarantined = self.quarantine(&decided, appended.is_ok()).await;
        let outcomes: Vec<_> = decided
            .into_iter()
            .map(|(item, decision)| {
                let carrier = matches!(item.sender, Sender::Carrier(_));
                let outcome = match (decision, &appended) {
                    (Decision::Accept(sound), Ok(())) => {
                        self.count(*sound, block);
                        Outcome::Accepted
                    }
                    // A repeat within this group stands on a report that was not written either.
                    (Decision::Accept(_) | Decision::Duplicate | Decision::ConflictWithin(_), Err(outcome)) => outcome.clone(),
                    (Decision::Duplicate, Ok(())) => Outcome::Duplicate,
                    (Decision::Refuse(faults) | Decision::ConflictWithin(faults), _) => match &quarantined {
                        Ok(()) => Outcome::Refused(faults),
                        Err(outcome) => outcome.clone(),
                    },
                };
                self.record(&outcome, carrier);
                outcome
            })
            .collect();
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        answer(replies, outcomes.into_iter());
    }

    /// Asks the index on disk about those that are not certainly new and not among the recent ones.
    async fn known_identities(&mut self, items: &[Item]) -> Result<HashMap<IdentityKey, ContentDigest>, StoreError> {
        let (mut numbers, mut ids) = (Vec::new(), Vec::new());
        let (mut keys_of_numbers, mut keys_of_ids) = (Vec::new(), Vec::new());
        for item in items {
            let Content::Sound(sound) = &item.content else { continue };
            if let MessageIdentity::Sequence { boot, seq } = &sound.identity {
                let boot = Boot { gateway: item.sender.id(), boot };
                let mut novelty = self.recent.look_up_number(boot, *seq, &sound.digest);
                if novelty == Novelty::AskBoot {
                    self.recent.learn_boot(boot, self.store.ranges_of_boot(boot).await?);
                    novelty = self.recent.look_up_number(boot, *seq, &sound.digest);
                }
                if novelty == Novelty::AskIndex {
                    numbers.push((boot, *seq));
                    keys_of_numbers.push(sound.key);
                }
            } else if self.recent.look_up_id(&sound.key, &sound.digest) == Novelty::AskIndex {
                ids.push(sound.key);
                keys_of_ids.push(sound.key);
            }
        }
        let mut found = self.store.find_numbers(&numbers).await?;
        found.extend(self.store.find_ids(&ids).await?);
        let keys = keys_of_numbers.into_iter().chain(keys_of_ids);
        Ok(keys.zip(found).filter_map(|(key, claim)| Some((key, claim?.digest))).collect())
    }

    fn decide(
        &self,
        sound: Box<Sound>,
        known: &HashMap<IdentityKey, ContentDigest>,
        claimed: &mut HashMap<IdentityKey, ContentDigest>,
    ) -> Decision {
        let within = claimed.contains_key(&sound.key);
        let accepted = claimed.get(&sound.key).or_else(|| known.get(&sound.key));
        let novelty = match accepted {
            Some(accepted) => RecentIdentities::compare(accepted, &sound.digest),
            None => match &sound.identity {
                MessageIdentity::Sequence { boot, seq } => {
                    self.recent.look_up_number(Boot { gateway: sound.origin.sender.id(), boot }, *seq, &sound.digest)
                }
                MessageIdentity::Id(_) => self.recent.look_up_id(&sound.key, &sound.digest),
            },
        };
        match novelty {
            // The index was asked, and does not know it.
            Novelty::New | Novelty::AskIndex | Novelty::AskBoot => {
                claimed.insert(sound.key, sound.digest);
                Decision::Accept(sound)
            }
            Novelty::Duplicate => Decision::Duplicate,
            Novelty::Conflict => {
                let (path, identity) = match &sound.identity {
                    MessageIdentity::Sequence { boot, seq } => ("/seq", format!("boot {boot:?}, seq {seq}")),
                    MessageIdentity::Id(id) => ("/id", format!("id {id:?}")),
                };
                let faults = vec![Fault::new(FaultCode::Conflict, path, format!("{identity} was accepted with other content"))];
                if within { Decision::ConflictWithin(faults) } else { Decision::Refuse(faults) }
            }
        }
    }

    /// Writes and syncs what is to be accepted; the error is the outcome for all of it.
    fn append(&mut self, decided: &[(Item, Decision)]) -> Result<(), Outcome> {
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
            return Ok(());
        }
        if self.failed {
            return Err(Outcome::Unavailable("the evidence log has failed"));
        }
        match self.log.append(block) {
            Ok(()) => {
                self.health.works(Part::Log);
                self.metrics.log_blocks.set(self.log.end().block() as i64);
                Ok(())
            }
            Err(error @ LogError::Full) => {
                self.health.fails(Part::Log, error.to_string());
                Err(Outcome::DiskFull)
            }
            Err(error @ LogError::NotWritten { .. }) => {
                tracing::error!(%error, "the evidence log could not grow; it is tried again");
                self.health.fails(Part::Log, error.to_string());
                Err(Outcome::Unavailable("the evidence log cannot grow now"))
            }
            Err(error) => {
                // What is on the disk now is unknown: never try the same sync again.
                tracing::error!(%error, "the evidence log has failed; nothing more is accepted until the service is started anew");
                self.health.fails(Part::Log, error.to_string());
                self.failed = true;
                Err(Outcome::Unavailable("the evidence log has failed"))
            }
        }
    }

    async fn quarantine(&self, decided: &[(Item, Decision)], appended: bool) -> Result<(), Outcome> {
        let refused: Vec<_> = decided
            .iter()
            .filter_map(|(item, decision)| match decision {
                Decision::Refuse(faults) => Some((item, faults)),
                Decision::ConflictWithin(faults) if appended => Some((item, faults)),
                _ => None,
            })
            .map(|(item, faults)| RefusedMessage {
                received_at: item.received_at,
                sender: &item.sender,
                label: item.label.id.as_deref(),
                faults,
                body: &item.body,
            })
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        self.store.quarantine(&refused).await.map_err(|error| {
            tracing::error!(%error, "the quarantine cannot be written");
            match error {
                StoreError::Full => Outcome::DiskFull,
                _ => Outcome::Unavailable("the quarantine cannot be written"),
            }
        })
    }

    /// `block`: where it stands in the log.
    fn count(&mut self, sound: Sound, block: u64) {
        match &sound.message {
            Message::Report(report) => self.facts.apply_report(&sound.origin, report),
            Message::Carrier(message) => self.facts.apply_carrier(message),
        }
        let claim = Claim { digest: sound.digest, block };
        match &sound.identity {
            MessageIdentity::Sequence { boot, seq } => {
                let boot = Boot { gateway: sound.origin.sender.id(), boot };
                self.recent.claim_number(boot, *seq, claim, sound.origin.received_at);
            }
            MessageIdentity::Id(_) => self.recent.claim_id(sound.key, claim),
        }
    }

    fn record(&self, outcome: &Outcome, carrier: bool) {
        let name = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Duplicate => "duplicate",
            Outcome::Refused(faults) => {
                faults.iter().for_each(|fault| self.metrics.faults.with_label_values(&[fault.code.as_str()]).inc());
                "refused"
            }
            Outcome::Unavailable(_) | Outcome::DiskFull => "unavailable",
        };
        let counter = if carrier { &self.metrics.carrier_messages } else { &self.metrics.reports };
        counter.with_label_values(&[name]).inc();
    }

    fn begin_checkpoint_if_due(&mut self) {
        if self.running.is_some() {
            return;
        }
        if self.facts_lost {
            // Whoever waits is told by the dropped sender.
            self.waiting.clear();
            return;
        }
        let due = !self.waiting.is_empty() || self.last_checkpoint.elapsed() >= self.every || self.unwritten_bytes() >= UNWRITTEN_BYTES_MAX;
        if !due {
            return;
        }
        self.last_checkpoint = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        if self.facts.is_empty() && self.recent.nothing_pending() {
            waiting.into_iter().for_each(tell);
            return;
        }
        let checkpoint =
            Checkpoint { facts: self.facts.hand_over(), identities: self.recent.hand_over(), position: self.log.end().clone() };
        let (sender, done) = oneshot::channel();
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let written = runtime.block_on(store.write_checkpoint(&checkpoint));
            metrics.checkpoint_seconds.observe(began.elapsed().as_secs_f64());
            let ended = written.map_err(|error| {
                tracing::error!(%error, "a checkpoint could not be written; it is tried again");
                Box::new(checkpoint)
            });
            // The committing thread outlives its checkpoints.
            let _ = sender.send(ended);
        });
        self.running = Some(Running { done, waiting });
    }

    fn checkpoint_ended(&mut self, ended: Result<(), Option<Box<Checkpoint>>>) {
        let waiting = self.running.take().map(|running| running.waiting).unwrap_or_default();
        match ended {
            Ok(()) => {
                self.health.works(Part::Tally);
                self.recent.forget_handed_over();
                waiting.into_iter().for_each(tell);
                self.begin_checkpoint_if_due();
            }
            Err(checkpoint) => {
                self.metrics.checkpoint_failures.inc();
                self.health.fails(Part::Tally, "checkpoints cannot be written");
                // Their identities are still held; whoever waits is told by the dropped sender.
                match checkpoint {
                    Some(checkpoint) => self.facts.merge(checkpoint.facts),
                    None => (self.failed, self.facts_lost) = (true, true),
                }
            }
        }
    }

    /// The last checkpoint, so that the next start replays nothing.
    async fn end(&mut self) {
        if self.running.is_some() {
            let done = checkpoint_done(&mut self.running).await;
            self.checkpoint_ended(done);
        }
        if self.running.is_none() {
            let (sender, _done) = oneshot::channel();
            self.waiting.push(sender);
            self.begin_checkpoint_if_due();
        }
        if self.running.is_some() {
            let done = checkpoint_done(&mut self.running).await;
            self.checkpoint_ended(done);
        }
    }
}

/// Waits for the running checkpoint; for ever if there is none. `Err(None)`: its task was lost.
async fn checkpoint_done(running: &mut Option<Running>) -> Result<(), Option<Box<Checkpoint>>> {
    match running {
        Some(running) => (&mut running.done).await.map_or(Err(None), |ended| ended.map_err(Some)),
        None => std::future::pending().await,
    }
}

/// Whoever asked may be gone.
fn tell(waiting: oneshot::Sender<()>) {
    let _ = waiting.send(());
}

/// Gives each batch its outcomes, in order.
fn answer(replies: Vec<(usize, Reply)>, mut outcomes: impl Iterator<Item = Outcome>) {
    for (count, reply) in replies {
        reply(outcomes.by_ref().take(count).collect());
    }
}
