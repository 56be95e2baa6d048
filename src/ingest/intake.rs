//! One way in for every channel: batches wait their turn, are read against the register, and go to the committing thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender as Commands, channel, sync_channel};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use observe::{Clock, Health, Metrics, Part};
use store::{LogOptions, OsDisk, RegisterState, Scanned, ServiceKeys, Store, StoreError, Vouched};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wire::identity::Sender;

use crate::audit;
use crate::commit::{Command, Committer, ReadBatch, unavailable};
use crate::connected::Connected;
use crate::core::{Core, CoreOptions};
use crate::item::{Batch, Item, RawMessage, Settled};
use crate::ledger::SqlLedger;
use crate::queue::{FairQueue, Queued, Ticket};
use crate::reading::{Arrival, Reader, backfill, unreadable};
use crate::upkeep;

#[derive(Clone, Copy, Debug)]
pub struct IntakeOptions {
    /// The rulebook's parameter of that name.
    pub future_skew_s_max: u32,
    pub log: LogOptions,
    /// Below this much free space nothing is accepted.
    pub free_bytes_min: u64,
    /// How long a group may wait for more.
    pub group_delay: Duration,
    /// A checkpoint is written after this much time, if there is anything to write.
    pub checkpoint_every: Duration,
}

/// Says that nothing is taken any more once a thread has ended, be it by a panic.
struct Ended(Health, &'static str);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fails(Part::Log, self.1);
    }
}

/// The service is stopping, or the log has failed: nothing is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service takes no messages now")]
pub struct Unavailable;

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is under way")]
pub enum Busy {
    /// The sender's own share is taken.
    Sender,
    /// Everything is taken.
    Service,
}

#[derive(Clone)]
pub struct Intake {
    queue: FairQueue,
    commands: Commands<Command>,
    reading: Reading,
    connected: Connected,
    clock: Clock,
}

/// What reading needs.
#[derive(Clone)]
struct Reading {
    register: RegisterState,
    metrics: Metrics,
    future_skew_s_max: u32,
}

impl Intake {
    /// Opens the log, replays what no checkpoint holds, and starts the threads.
    pub async fn start(
        store: Store,
        register: RegisterState,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        keys: ServiceKeys,
        options: IntakeOptions,
    ) -> Result<(Intake, Scanned), StoreError> {
        let runtime = Handle::current();
        let core_options = CoreOptions { log: options.log, free_bytes_min: options.free_bytes_min };
        let ledger = SqlLedger { store: store.clone(), runtime: runtime.clone() };
        let (dir, core_metrics, core_health) = (store.log_dir(), metrics.clone(), health.clone());
        let opened = tokio::task::spawn_blocking(move || Core::open(OsDisk, &dir, ledger, core_options, core_metrics, core_health)).await;
        let (core, scanned) = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let (commands, receiver) = channel();
        let (prepare, asked) = sync_channel(1);
        let committer = Committer {
            core,
            store: store.clone(),
            runtime,
            metrics: metrics.clone(),
            checkpoint_every: options.checkpoint_every,
            group_delay: options.group_delay,
            own: commands.clone(),
            keys,
            clock: clock.clone(),
            prepare,
            began: Instant::now(),
        };
        let ended = Ended(health.clone(), "the committing thread has ended");
        thread("commit", move || {
            let _said_however_it_ends = ended;
            committer.run(&receiver);
        })?;
        upkeep::start(&store.log_dir(), options.log.segment_bytes, asked, metrics.clone()).map_err(not_started)?;
        tokio::spawn(audit::carry(store.clone(), commands.clone()));
        let queue = FairQueue::new();
        let reading = Reading { register, metrics, future_skew_s_max: options.future_skew_s_max };
        for i in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (queue, reading, commands) = (queue.clone(), reading.clone(), commands.clone());
            let ended = Ended(health.clone(), "a reading thread has ended");
            thread(&format!("read-{i}"), move || {
                let _said_however_it_ends = ended;
                while let Some(turn) = queue.next() {
                    let mut old = true;
                    for queued in turn.batches {
                        let batch = reading.read(queued);
                        old &= backfill(&batch.items);
                        commit(&commands, batch);
                    }
                    queue.done(&turn.sender, old);
                }
            })?;
        }
        Ok((Intake { queue, commands, reading, connected: Connected::default(), clock }, scanned))
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What is connected now by Sparkplug.
    pub fn connected(&self) -> &Connected {
        &self.connected
    }

    pub fn future_skew_s_max(&self) -> u32 {
        self.reading.future_skew_s_max
    }

    pub fn register(&self) -> &RegisterState {
        &self.reading.register
    }

    /// Hands a batch over, as soon as there is room for it. Its reply is called once each of its messages is settled.
    pub async fn submit(&self, batch: Batch) -> Result<(), Unavailable> {
        self.submit_read(batch, None).await
    }

    /// As `submit`, of what was read with a ticket.
    pub(crate) async fn submit_read(&self, batch: Batch, ticket: Option<Ticket>) -> Result<(), Unavailable> {
        self.queue.push(self.timed(batch), ticket).await
    }

    /// Waits until a piece of what a sender has sent may be read.
    pub(crate) async fn ticket(&self, sender: &Sender) -> Result<Ticket, Unavailable> {
        self.queue.ticket(sender).await
    }

    /// Hands a batch over if there is room now, and waits for its answers.
    pub async fn settle_now(
        &self,
        sender: Sender,
        vouched: Vouched,
        received_at: DateTime<Utc>,
        messages: Vec<RawMessage>,
    ) -> Result<Result<Vec<Settled>, Unavailable>, Busy> {
        let (batch, answers) = Batch::answered(sender, vouched, received_at, messages);
        match self.queue.try_push(self.timed(batch)) {
            Err(busy) => Err(busy),
            Ok(Err(unavailable)) => Ok(Err(unavailable)),
            Ok(Ok(())) => Ok(answers.await.map_err(|_| Unavailable)),
        }
    }

    /// Observes, when the batch is answered, how long that took.
    fn timed(&self, batch: Batch) -> Batch {
        let (began, settle_seconds, answer) = (Instant::now(), self.reading.metrics.settle_seconds.clone(), batch.reply);
        let reply = Box::new(move |settled| {
            settle_seconds.observe(began.elapsed().as_secs_f64());
            answer(settled);
        });
        Batch { reply, ..batch }
    }

    /// What would become of messages, as far as it can be told without their identities.
    pub fn try_out(&self, sender: Sender, vouched: Vouched, received_at: DateTime<Utc>, messages: Vec<RawMessage>) -> Vec<Settled> {
        let arrival = Arrival { sender, vouched, received_at };
        self.reading.items(&arrival, messages).into_iter().map(Item::tried).collect()
    }

    /// Writes a checkpoint of everything accepted before this call.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Flush(sender)).map_err(|_| Unavailable)?;
        receiver.await.map_err(|_| Unavailable)
    }

    /// Settles what is waiting, writes a last checkpoint and ends the threads.
    pub async fn stop(&self) {
        self.queue.stop();
        let (sender, receiver) = oneshot::channel();
        if self.commands.send(Command::Stop(sender)).is_ok() {
            // The thread ends either way.
            let _ = receiver.await;
        }
    }
}

impl Reading {
    fn read(&self, queued: Queued) -> ReadBatch {
        let Queued { batch: Batch { sender, vouched, received_at, messages, reply }, room } = queued;
        let items = self.items(&Arrival { sender, vouched, received_at }, messages);
        ReadBatch { items, reply, room }
    }

    fn items(&self, arrival: &Arrival, messages: Vec<RawMessage>) -> Vec<Item> {
        let directory = self.register.directory();
        let reader = Reader { directory: &directory, metrics: &self.metrics, future_skew_s_max: self.future_skew_s_max };
        messages.into_iter().map(|message| contained(&self.metrics, arrival, message, |message| reader.read(arrival, message))).collect()
    }
}

/// A mistake of ours in reading a message refuses that message and no other: it is kept in the quarantine, and the thread goes on.
fn contained(metrics: &Metrics, arrival: &Arrival, message: RawMessage, read: impl FnOnce(RawMessage) -> Item) -> Item {
    let body = message.body.clone();
    // What reading shares are counters and a snapshot of the register, neither of which a panic leaves half-changed.
    catch_unwind(AssertUnwindSafe(|| read(message))).unwrap_or_else(|_| {
        metrics.panics.with_label_values(&["reading"]).inc();
        tracing::error!(sender = arrival.sender.id(), bytes = body.len(), "reading a message has panicked; it is refused");
        unreadable(arrival, body)
    })
}

/// Once the committing thread has ended, nobody is left to settle a batch: its sender is told so.
fn commit(commands: &Commands<Command>, batch: ReadBatch) {
    if let Err(std::sync::mpsc::SendError(Command::Commit(batch))) = commands.send(Command::Commit(batch)) {
        (batch.reply)(unavailable(batch.items.len()));
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop).map_err(not_started)
}

fn not_started(source: std::io::Error) -> StoreError {
    StoreError::Directory { path: "a thread could not be started".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Outcome;
    use bytes::Bytes;

    #[test]
    fn a_panic_in_reading_one_message_refuses_that_one_and_the_thread_goes_on() {
        let metrics = Metrics::new();
        let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap();
        let arrival = Arrival { sender: Sender::Gateway("g".into()), vouched: Vouched::Token, received_at };
        let read = |message: RawMessage| match &message.body[..] {
            b"bad" => panic!("a mistake of ours"),
            _ => unreadable(&arrival, message.body),
        };
        let settled: Vec<_> = ["one", "bad", "two"]
            .map(|body| contained(&metrics, &arrival, RawMessage::of(Bytes::from(body)), read))
            .map(|item| (item.body.clone(), item.tried().outcome))
            .into();
        assert!(settled.iter().map(|(body, _)| &body[..]).eq([&b"one"[..], b"bad", b"two"]), "each keeps its body and its place");
        let Outcome::Refused(faults) = &settled[1].1 else { panic!("{settled:?}") };
        assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), [wire::FaultCode::Internal]);
        assert_eq!(metrics.panics.with_label_values(&["reading"]).get(), 1);
    }
}
