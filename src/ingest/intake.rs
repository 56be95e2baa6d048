//! One function for every channel: reads a message against the register and hands it to the committing thread.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, Utc};
use compact_str::CompactString;
use observe::{Clock, Health, Metrics, Part};
use store::{LogOptions, RegisterState, Store, StoreError, TornTail, Vouched};
use tally::Origin;
use tokio::sync::{Semaphore, mpsc, oneshot};
use wire::carrier::read_carrier_message;
use wire::identity::{MessageIdentity, Sender, identity_key};
use wire::{Door, Fault, Label, ReadContext, Report, read_report};

use crate::admission::{CarrierNames, GatewayAdmission, SupplierAdmission};
use crate::commit::{Command, Committer, Reply};
use crate::item::{Content, Item, Message, Outcome, Sound};

#[derive(Clone, Copy, Debug)]
pub struct IntakeOptions {
    /// The rulebook's parameter of that name.
    pub future_skew_s_max: u32,
    pub log: LogOptions,
    /// A checkpoint is written after this much time, if there is anything to write.
    pub checkpoint_every_s: u64,
}

/// Says that nothing is taken any more once the committing thread has ended, be it by a panic.
struct Ended(Health);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fails(Part::Log, "the committing thread has ended");
    }
}

/// The service is stopping, or the log has failed: nothing is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service takes no messages now")]
pub struct Unavailable;

/// Batches waiting for the committing thread.
const QUEUE_MAX: usize = 1024;
/// Bodies waiting for it, in all.
const WAITING_KIB_MAX: usize = 256 << 10;

#[derive(Clone)]
pub struct Intake {
    commands: mpsc::Sender<Command>,
    register: RegisterState,
    clock: Clock,
    metrics: Metrics,
    future_skew_s_max: u32,
    room: Arc<Semaphore>,
}

impl Intake {
    /// Opens the log, replays what no checkpoint holds, and starts the committing thread.
    pub async fn start(
        store: Store,
        register: RegisterState,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        options: IntakeOptions,
    ) -> Result<(Intake, Option<TornTail>), StoreError> {
        let (commands, receiver) = mpsc::channel(QUEUE_MAX);
        let (committer, torn) = Committer::open(store, metrics.clone(), health.clone(), &options).await?;
        let runtime = tokio::runtime::Handle::current();
        let ended = Ended(health);
        let room = Arc::new(Semaphore::new(WAITING_KIB_MAX));
        std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || {
                let _said_however_it_ends = ended;
                runtime.block_on(committer.run(receiver));
            })
            .map_err(|source| StoreError::Directory { path: "the committing thread".into(), source })?;
        Ok((Intake { commands, register, clock, metrics, future_skew_s_max: options.future_skew_s_max, room }, torn))
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn future_skew_s_max(&self) -> u32 {
        self.future_skew_s_max
    }

    pub fn register(&self) -> &RegisterState {
        &self.register
    }

    /// Reads a gateway's report. `None` if the gateway is no longer in the register.
    pub fn read_from_gateway(&self, gateway: &str, received_at: DateTime<Utc>, body: Bytes) -> Option<Item> {
        let directory = self.register.directory();
        let enterprise = &directory.gateway(gateway)?.enterprise;
        let admission = GatewayAdmission { directory: &directory, enterprise };
        let context = ReadContext { door: Door::Gateway, received_at, future_skew_s_max: self.future_skew_s_max, admission: &admission };
        let readout = read_report(&body, &context);
        self.metrics.unknown_fields.inc_by(u64::from(readout.unknown_fields));
        let sender = Sender::Gateway(gateway.into());
        let content =
            readout.report.map(|report| self.sound_report(&sender, enterprise.as_str().into(), Vouched::Token, received_at, report));
        let item = item(sender, received_at, body, readout.label, content);
        Some(Item { enterprise: enterprise.as_str().into(), ..item })
    }

    /// Reads a supplier's report.
    pub fn read_from_supplier(&self, supplier: &str, received_at: DateTime<Utc>, body: Bytes) -> Item {
        let directory = self.register.directory();
        let admission = SupplierAdmission { directory: &directory, supplier };
        let context = ReadContext { door: Door::Supplier, received_at, future_skew_s_max: self.future_skew_s_max, admission: &admission };
        let readout = read_report(&body, &context);
        self.metrics.unknown_fields.inc_by(u64::from(readout.unknown_fields));
        let sender = Sender::Supplier(supplier.into());
        let content = readout.report.map(|report| {
            let enterprise = report.enterprise.clone().unwrap_or_default();
            self.sound_report(&sender, enterprise, Vouched::Key, received_at, report)
        });
        item(sender, received_at, body, readout.label, content)
    }

    /// Reads a carrier's message.
    pub fn read_from_carrier(&self, carrier: &str, received_at: DateTime<Utc>, body: Bytes) -> Item {
        let directory = self.register.directory();
        let sender = Sender::Carrier(carrier.into());
        let (id, message) = read_carrier_message(&body, shanghai_day(received_at), &CarrierNames(&directory));
        let content = message.map(|message| {
            let identity = MessageIdentity::Id(message.id.clone());
            Box::new(Sound {
                origin: Origin { sender: sender.clone(), enterprise: CompactString::default(), received_at },
                vouched: Vouched::Key,
                key: identity_key(&sender, &identity),
                digest: message.digest(),
                identity,
                message: Message::Carrier(message),
            })
        });
        item(sender, received_at, body, Label { id, ..Label::default() }, content)
    }

    /// A message that its door refuses before reading it; it goes to the quarantine like any other.
    pub fn refuse(&self, sender: Sender, received_at: DateTime<Utc>, body: Bytes, fault: Fault) -> Item {
        item(sender, received_at, body, Label::default(), Err(vec![fault]))
    }

    /// Hands a batch over; `reply` is called with one outcome per item, in order, once each is settled.
    pub async fn submit(&self, items: Vec<Item>, reply: Reply) -> Result<(), Unavailable> {
        let kib = items.iter().map(|item| item.body.len() / 1024 + 1).sum::<usize>().min(WAITING_KIB_MAX);
        let room = self.room.clone().acquire_many_owned(kib as u32).await.map_err(|_| Unavailable)?;
        self.commands.send(Command::Submit { items, reply, room }).await.map_err(|_| Unavailable)
    }

    /// Submits and waits.
    pub async fn settle(&self, items: Vec<Item>) -> Result<Vec<Outcome>, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        // A caller that went away needs no answer.
        self.submit(items, Box::new(move |outcomes| drop(sender.send(outcomes)))).await?;
        receiver.await.map_err(|_| Unavailable)
    }

    /// Writes a checkpoint of everything accepted before this call.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Flush(sender)).await.map_err(|_| Unavailable)?;
        receiver.await.map_err(|_| Unavailable)
    }

    /// Settles what is waiting, writes a last checkpoint and ends the committing thread.
    pub async fn stop(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.commands.send(Command::Stop(sender)).await.is_ok() {
            // The thread ends either way.
            let _ = receiver.await;
        }
    }

    fn sound_report(
        &self,
        sender: &Sender,
        enterprise: CompactString,
        vouched: Vouched,
        received_at: DateTime<Utc>,
        report: Report,
    ) -> Box<Sound> {
        let identity = report_identity(sender, &report);
        Box::new(Sound {
            origin: Origin { sender: sender.clone(), enterprise, received_at },
            vouched,
            key: identity_key(sender, &identity),
            digest: report.digest(),
            identity,
            message: Message::Report(report),
        })
    }
}

/// Gateways count by (boot, seq), suppliers name an id; reading a report has made sure that the fields are there.
pub(crate) fn report_identity(sender: &Sender, report: &Report) -> MessageIdentity {
    match (sender, &report.boot, report.seq) {
        (Sender::Gateway(_), Some(boot), Some(seq)) => MessageIdentity::Sequence { boot: boot.clone(), seq },
        _ => MessageIdentity::Id(report.id.clone().unwrap_or_default()),
    }
}

/// The calendar day in Asia/Shanghai, UTC+08:00.
pub(crate) fn shanghai_day(at: DateTime<Utc>) -> chrono::NaiveDate {
    FixedOffset::east_opt(8 * 3600).map_or(at.date_naive(), |offset| at.with_timezone(&offset).date_naive())
}

fn item(sender: Sender, received_at: DateTime<Utc>, body: Bytes, label: Label, content: Result<Box<Sound>, Vec<Fault>>) -> Item {
    let content = content.map_or_else(Content::Refused, Content::Sound);
    let enterprise = CompactString::default();
    Item { sender, enterprise, received_at, body, label, topic: None, replayed_from: None, content }
}
