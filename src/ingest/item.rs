//! One message on its way through the intake, and what became of it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use compact_str::CompactString;
use store::{Conflict, Vouched};
use tally::Origin;
use wire::carrier::CarrierMessage;
use wire::identity::{IdentityKey, MessageIdentity, Sender};
use wire::report::ContentDigest;
use wire::{Fault, Label, Report};

/// Of the topic of a refused message.
const TOPIC_CHARS_MAX: usize = 256;

/// A message as its door has read it.
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

pub(crate) enum Message {
    Report(Report),
    Carrier(CarrierMessage),
}

impl Item {
    /// By what the message calls itself, as far as it could be read.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Says where it came, or how that began.
    pub(crate) fn on_topic(self, topic: &str) -> Item {
        Item { topic: Some(topic.chars().take(TOPIC_CHARS_MAX).collect()), ..self }
    }

    /// What is already known to be wrong; for a trial run.
    pub fn faults(&self) -> &[Fault] {
        match &self.content {
            Content::Sound(_) => &[],
            Content::Refused(faults) => faults,
        }
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
