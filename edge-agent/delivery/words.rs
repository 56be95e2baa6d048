//! What delivery hears, what it says is to be done, and what it is told to keep to.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde::Serialize;

use super::Why;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Offline,
    Backlog,
    Live,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The broker has admitted us. `oldest`: the first unsettled position; `next`: the one that the next report will get.
    Connected {
        oldest: Option<u64>,
        next: u64,
        receive_max: Option<u16>,
    },
    Disconnected,
    /// Reports below this position are in the spool.
    Spooled {
        next: u64,
    },
    /// The client has given the report that was handed to it first its packet id, and sent it.
    Sent {
        packet_id: u16,
    },
    /// `jitter` from 0 to 1 spreads pauses.
    Acknowledged {
        packet_id: u16,
        reason: PubAckReason,
        jitter: f64,
    },
    /// Whoever forbade this report did not say why, as the service does: it was somebody else.
    Untold {
        position: u64,
        reason: &'static str,
        jitter: f64,
    },
    /// This report waits for a reason of its own; the others go on.
    Held {
        position: u64,
        why: Why,
        jitter: f64,
    },
    /// Everything below this position is settled.
    Oldest {
        position: u64,
    },
    /// The spool has no report at this position any more; the next one is not below `next`.
    Gone {
        position: u64,
        next: u64,
    },
    /// A signed receipt settled these, and perhaps others.
    Receipted {
        settled: &'a [u64],
    },
    /// Time has passed.
    Tick,
}

/// What is to be done about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Send(u64),
    /// Accepted, or known already: it leaves the spool.
    Settle(u64),
    /// Refused for good, for this reason: it moves aside.
    Refuse(u64, &'static str),
    /// Refused by whoever decides who may speak: it is `Held` if the service has said why; else this is `Untold`.
    Forbidden(u64, &'static str),
    /// Not taken now, for this reason: sending pauses.
    Pause(u64, &'static str),
    /// So many reports have waited too long for their receipt, and are sent again.
    Unconfirmed(usize),
    /// The connection is of no use any more: reports are not acknowledged.
    Reconnect,
    Entered(State),
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    Refused(&'static str),
    Forbidden(&'static str),
    Kept(&'static str),
}

impl Fate {
    pub(super) fn of(reason: PubAckReason) -> Fate {
        match reason {
            PubAckReason::Success => Fate::Taken,
            PubAckReason::PayloadFormatInvalid => Fate::Refused("0x99 payload format invalid"),
            PubAckReason::NotAuthorized => Fate::Forbidden("0x87 not authorised"),
            PubAckReason::QuotaExceeded => Fate::Kept("0x97 quota exceeded"),
            PubAckReason::NoMatchingSubscribers => Fate::Kept("0x10 no matching subscribers"),
            PubAckReason::UnspecifiedError => Fate::Kept("0x80 unspecified error"),
            PubAckReason::ImplementationSpecificError => Fate::Kept("0x83 implementation specific error"),
            PubAckReason::TopicNameInvalid => Fate::Kept("0x90 topic name invalid"),
            PubAckReason::PacketIdentifierInUse => Fate::Kept("0x91 packet identifier in use"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub in_flight_max: u16,
    pub backlog_reports_per_s: f64,
    /// The longest pause that the service can ask for.
    pub pause_max: Duration,
    /// A report without acknowledgement for so long means that the connection is dead.
    pub acknowledge_timeout: Duration,
    /// `None`: an acknowledgement settles. Else a signed receipt does, and a report without one for so long is sent again.
    pub receipt_timeout: Option<Duration>,
}
