//! Messages on their way through the intake, and what became of them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use compact_str::CompactString;
use store::{Conflict, Vouched};
use tally::Origin;
use tokio::sync::oneshot;
use wire::carrier::CarrierMessage;
use wire::identity::{IdentityKey, MessageIdentity, Sender};
use wire::report::ContentDigest;
use wire::{Fault, Label, Report};

/// Called with one answer per message, in order, once each is settled.
pub type Reply = Box<dyn FnOnce(Vec<Settled>) + Send>;

/// What one sender has handed over in one piece.
pub struct Batch {
    pub sender: Sender,
    /// How the door knows the sender.
    pub vouched: Vouched,
    pub received_at: DateTime<Utc>,
    pub messages: Vec<RawMessage>,
    pub reply: Reply,
}

impl Batch {
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }

    /// A batch whose answers come through the channel that is given back.
    pub fn answered(sender: Sender, vouched: Vouched, received_at: DateTime<Utc>, messages: Vec<RawMessage>) -> (Batch, Answers) {
        let (answer, answers) = oneshot::channel();
        // A caller that went away needs no answer.
        let reply = Box::new(move |settled| drop(answer.send(settled)));
        (Batch { sender, vouched, received_at, messages, reply }, answers)
    }
}

pub type Answers = oneshot::Receiver<Vec<Settled>>;

/// Of the topic of a refused message.
const TOPIC_CHARS_MAX: usize = 256;

/// A message as it came.
pub struct RawMessage {
    pub body: Bytes,
    /// Why its door refuses it without reading; it goes to the quarantine like any other. Empty for what is to be read.
    pub refused: Vec<Fault>,
    /// Where it came, if it is refused and that was not its sender's own topic for reports.
    pub topic: Option<CompactString>,
    /// The entry of the quarantine that it is read from anew.
    pub replayed_from: Option<i64>,
}

impl RawMessage {
    pub fn of(body: Bytes) -> RawMessage {
        RawMessage { body, refused: Vec::new(), topic: None, replayed_from: None }
    }

    /// Refused where it came.
    pub(crate) fn refused_on(topic: &str, body: Bytes, refused: Vec<Fault>) -> RawMessage {
        RawMessage { refused, topic: Some(topic.chars().take(TOPIC_CHARS_MAX).collect()), ..RawMessage::of(body) }
    }
}

/// One message's answer, with what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub label: Label,
    pub outcome: Outcome,
}

/// A message as it was read against the register.
pub struct Item {
    pub(crate) sender: Sender,
    /// A gateway's; empty for others.
    pub(crate) enterprise: CompactString,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) body: Bytes,
    pub(crate) label: Label,
    /// Where it came, if not on its sender's own topic for reports.
    pub(crate) topic: Option<CompactString>,
    /// The entry of the quarantine that it is read from anew.
    pub(crate) replayed_from: Option<i64>,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Sound(Box<Sound>),
    Refused(Vec<Fault>),
}

/// A message without faults; only its identity is still to be looked up.
pub(crate) struct Sound {
    pub(crate) origin: Origin,
    pub(crate) vouched: Vouched,
    pub(crate) identity: MessageIdentity,
    pub(crate) key: IdentityKey,
    pub(crate) digest: ContentDigest,
    pub(crate) message: Message,
}

impl Sound {
    /// What is to be known of it where its identity stands for another accepted message.
    pub(crate) fn conflict(&self) -> Conflict {
        let enterprises = match &self.message {
            Message::Report(_) => [self.origin.enterprise.clone()].into(),
            Message::Carrier(message) => message.records.iter().map(|record| record.enterprise.clone()).collect(),
        };
        Conflict { enterprises, identity: self.identity.clone(), digest: self.digest }
    }
}

#[expect(clippy::large_enum_variant, reason = "nearly every message is a report, and lies on the heap with the rest of `Sound`")]
pub(crate) enum Message {
    Report(Report),
    Carrier(CarrierMessage),
}

impl Item {
    /// What is already known of a message, for a trial run.
    pub fn tried(self) -> Settled {
        let outcome = match self.content {
            Content::Sound(_) => Outcome::Accepted,
            Content::Refused(faults) => Outcome::Refused(faults),
        };
        Settled { label: self.label, outcome }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable in the log, and counted.
    Accepted,
    /// It was accepted before; nothing changed.
    Duplicate,
    /// Durable in the quarantine; with every fault.
    Refused(Vec<Fault>),
    /// Not taken; the sender keeps it and tries again.
    Unavailable(&'static str),
    /// Not taken: the disk is full.
    DiskFull,
}
