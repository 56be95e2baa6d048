//! The committing thread: takes whatever waits as one group and gives it to the core. Checkpoints are written beside it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use observe::{Clock, Metrics};
use store::{Checkpoint, LogPosition, OsDisk, PendingAudit, ServiceKeys, SignedHead, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::core::{Core, SPACE_EVERY};
use crate::item::{Item, Outcome, Reply, Settled};
use crate::ledger::SqlLedger;
use crate::queue::Room;

pub(crate) enum Command {
    Commit(ReadBatch),
    Flush(oneshot::Sender<()>),
    /// Entries of the audit log, and who wants to know whether they stand in the evidence log.
    Audit(Vec<PendingAudit>, oneshot::Sender<bool>),
    CheckpointEnded(Result<(), Option<Box<Checkpoint>>>),
    Stop(oneshot::Sender<()>),
}

/// A batch as the readers have read it.
pub(crate) struct ReadBatch {
    pub(crate) items: Vec<Item>,
    pub(crate) reply: Reply,
    /// Given back when the batch is settled.
    pub(crate) room: Room,
}

/// A group takes no more than this from the queue.
const GROUP_BYTES_MAX: usize = 4 << 20;
const GROUP_ITEMS_MAX: usize = 8192;
/// Memory taken by what no checkpoint holds before one is written whatever the time.
const UNWRITTEN_BYTES_MAX: usize = 128 << 20;
/// How long no checkpoint is tried after one has failed.
const CHECKPOINT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often the head of the log is signed.
const HEAD_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Committer {
    pub(crate) core: Core<OsDisk, SqlLedger>,
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    pub(crate) metrics: Metrics,
    pub(crate) checkpoint_every: Duration,
    /// How long a group may wait for more.
    pub(crate) group_delay: Duration,
    /// Tells the own queue how a checkpoint ended.
    pub(crate) own: Sender<Command>,
    pub(crate) keys: ServiceKeys,
    pub(crate) clock: Clock,
    /// Asks for the next segment to be prepared.
    pub(crate) prepare: SyncSender<()>,
    pub(crate) began: Instant,
}

#[derive(Default)]
struct Progress {
    held: VecDeque<ReadBatch>,
    /// Who waits for the next checkpoint, and for the one that is being written.
    waiting: Vec<oneshot::Sender<()>>,
    running: Option<Vec<oneshot::Sender<()>>>,
    /// When the last checkpoint failed, if it did.
    checkpoint_failed: Option<Instant>,
    stop: Option<oneshot::Sender<()>>,
    last_head: Option<Instant>,
}

impl Committer {
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let mut progress = Progress::default();
        let mut last_checkpoint = Instant::now();
        while progress.stop.is_none() {
            let wait = self.checkpoint_every.saturating_sub(last_checkpoint.elapsed()).clamp(Duration::from_millis(1), SPACE_EVERY);
            if progress.held.is_empty() || self.overfull() {
                match commands.recv_timeout(wait) {
                    Ok(command) => self.take(command, &mut progress),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            self.gather(commands, &mut progress);
            self.core.tend(self.began.elapsed());
            if !self.overfull() {
                self.commit_group(&mut progress.held);
            }
            let due = !progress.waiting.is_empty() || last_checkpoint.elapsed() >= self.checkpoint_every;
            let failed_now = progress.checkpoint_failed.is_some_and(|at| at.elapsed() < CHECKPOINT_RETRY_AFTER);
            if due || (self.core.unwritten_bytes() >= UNWRITTEN_BYTES_MAX && !failed_now) {
                last_checkpoint = Instant::now();
                self.begin_checkpoint(&mut progress);
            }
        }
        self.end(commands, progress);
    }

    /// Checkpoints are slower than what comes in, or fail: nothing more is committed until one is written. Where none can be written
    /// any more, the core refuses everything by itself.
    fn overfull(&self) -> bool {
        !self.core.facts_lost() && self.core.held_bytes() >= 2 * UNWRITTEN_BYTES_MAX
    }

    /// Takes what else has come, for as long as a group may wait.
    fn gather(&mut self, commands: &Receiver<Command>, progress: &mut Progress) {
        let until = Instant::now() + self.group_delay;
        while progress.stop.is_none() && items(&progress.held) < GROUP_ITEMS_MAX {
            let left = if progress.held.is_empty() { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            let come = if left.is_zero() { commands.try_recv().ok() } else { commands.recv_timeout(left).ok() };
            let Some(command) = come else { return };
            self.take(command, progress);
        }
    }

    fn take(&mut self, command: Command, progress: &mut Progress) {
        match command {
            Command::Commit(batch) => progress.held.push_back(batch),
            Command::Flush(done) => progress.waiting.push(done),
            Command::Audit(entries, done) => {
                // Whoever asked may be gone: then they are asked for again at the next start, and known.
                let _ = done.send(self.core.append_audit(&entries, self.began.elapsed()));
            }
            Command::Stop(done) => progress.stop = Some(done),
            Command::CheckpointEnded(ended) => {
                let waiting = progress.running.take().unwrap_or_default();
                let written = ended.is_ok();
                self.core.handed_over(ended);
                progress.checkpoint_failed = (!written).then(Instant::now);
                // Whoever waits for a checkpoint that failed is told by the dropped sender.
                waiting.into_iter().filter(|_| written).for_each(tell);
            }
        }
    }

    fn commit_group(&mut self, held: &mut VecDeque<ReadBatch>) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        let mut replies = Vec::new();
        while items.len() < GROUP_ITEMS_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(batch) = held.pop_front()
        {
            bytes += batch.items.iter().map(|item| item.body.len()).sum::<usize>();
            replies.push((batch.items.len(), batch.reply, batch.room));
            items.extend(batch.items);
        }
        if items.is_empty() {
            return;
        }
        let began = Instant::now();
        let labels: Vec<_> = items.iter().map(|item| item.label.clone()).collect();
        let outcomes = self.core.commit(items, self.began.elapsed());
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        if self.core.log().wants_prepared() {
            // If it is already being prepared, that is that.
            let _ = self.prepare.try_send(());
        }
        let mut settled = labels.into_iter().zip(outcomes).map(|(label, outcome)| Settled { label, outcome });
        for (count, reply, room) in replies {
            drop(room);
            reply(settled.by_ref().take(count).collect());
        }
    }

    fn begin_checkpoint(&mut self, progress: &mut Progress) {
        if progress.running.is_some() {
            return;
        }
        let waiting = std::mem::take(&mut progress.waiting);
        let Some(checkpoint) = self.core.hand_over() else {
            // Nothing to write: whoever waits has what he wants, unless facts were lost; then the dropped sender says so.
            waiting.into_iter().filter(|_| !self.core.facts_lost()).for_each(tell);
            return;
        };
        progress.running = Some(waiting);
        let head_due = progress.stop.is_some() || progress.last_head.is_none_or(|at| at.elapsed() >= HEAD_EVERY);
        let head = head_due.then(|| (checkpoint.position.clone(), self.clock.now(), self.keys.clone()));
        if head_due {
            progress.last_head = Some(Instant::now());
        }
        let ended = EndedCheckpoint(Some(self.own.clone()));
        let (store, metrics, runtime) = (self.store.clone(), self.metrics.clone(), self.runtime.clone());
        self.runtime.spawn_blocking(move || {
            let began = Instant::now();
            let written = runtime.block_on(write(&store, checkpoint));
            metrics.checkpoint_seconds.observe(began.elapsed().as_secs_f64());
            if let (Some((position, now, keys)), Ok(())) = (head, &written)
                && let Err(error) = runtime.block_on(sign_head(&store, &position, now, &keys))
            {
                tracing::warn!(%error, "a signed head of the log could not be kept; the next one will be");
            }
            ended.tell(written);
        });
    }

    /// Settles what is held and writes the last checkpoint, so that the next start replays nothing.
    fn end(&mut self, commands: &Receiver<Command>, mut progress: Progress) {
        while !progress.held.is_empty() {
            self.commit_group(&mut progress.held);
        }
        for _ in 0..2 {
            while progress.running.is_some() {
                let Ok(command) = commands.recv() else { return };
                self.take(command, &mut progress);
            }
            self.begin_checkpoint(&mut progress);
        }
        while progress.running.is_some()
            && let Ok(command) = commands.recv()
        {
            self.take(command, &mut progress);
        }
        progress.stop.into_iter().for_each(tell);
    }
}

fn items(held: &VecDeque<ReadBatch>) -> usize {
    held.iter().map(|batch| batch.items.len()).sum()
}

async fn sign_head(store: &Store, position: &LogPosition, now: DateTime<Utc>, keys: &ServiceKeys) -> Result<(), StoreError> {
    store.put_head(&SignedHead::sign(position, store.results_end().await?, now, keys)).await
}

async fn write(store: &Store, checkpoint: Checkpoint) -> Result<(), Option<Box<Checkpoint>>> {
    let error: StoreError = match store.write_checkpoint(&checkpoint).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // An error may hide a commit: only the position tells.
    match store.checkpoint_position().await {
        Ok(stands) if stands == checkpoint.position => Ok(()),
        Ok(_) => {
            tracing::error!(%error, "a checkpoint could not be written; it is tried again");
            Err(Some(Box::new(checkpoint)))
        }
        Err(second) => {
            tracing::error!(%error, %second, "a checkpoint could not be written, and whether it was cannot be found out");
            Err(None)
        }
    }
}

/// Tells how a checkpoint ended, also if its task is lost.
struct EndedCheckpoint(Option<Sender<Command>>);

impl EndedCheckpoint {
    fn tell(mut self, ended: Result<(), Option<Box<Checkpoint>>>) {
        if let Some(own) = self.0.take() {
            // The committing thread outlives its checkpoints.
            let _ = own.send(Command::CheckpointEnded(ended));
        }
    }
}

impl Drop for EndedCheckpoint {
    fn drop(&mut self) {
        if let Some(own) = self.0.take() {
            let _ = own.send(Command::CheckpointEnded(Err(None)));
        }
    }
}

/// Whoever asked may be gone.
fn tell(waiting: oneshot::Sender<()>) {
    let _ = waiting.send(());
}

/// Outcome of everything in a batch that the service can no longer take.
pub(crate) fn unavailable(count: usize) -> Vec<Settled> {
    let outcome = Outcome::Unavailable("the service is stopping");
    vec![Settled { label: wire::Label::default(), outcome }; count]
}
