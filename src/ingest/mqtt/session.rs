//! One session: what a client has subscribed to, and the messages on their way to it. It decides and does no I/O; connections come and go.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wire::topic;

use super::room::{Room, Taken};

pub(crate) const SUBSCRIPTIONS_MAX: usize = 32;

/// What one session may hold of messages that wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

/// A subscription as it was asked for; the QoS is at most 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    /// Not what this very client has published.
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retained: RetainHandling,
}

/// Whether a subscription is answered with what is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    IfNew,
    Never,
}

/// A message to whoever has subscribed; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    /// It was published to be kept.
    pub(crate) retained: bool,
    /// Of a will, for subscribers of MQTT 5.
    pub(crate) properties: Option<Arc<MessageProperties>>,
    pub(crate) expires_at: Option<Instant>,
}

/// What a publisher says about a message besides its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageProperties {
    pub(crate) text: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Bytes>,
    pub(crate) user: Vec<(String, String)>,
}

impl MessageProperties {
    pub(crate) fn bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        of(&self.content_type) + of(&self.response_topic) + self.correlation.as_ref().map_or(0, Bytes::len) + user
    }
}

impl Message {
    pub(crate) fn new(topic: &str, payload: Bytes) -> Message {
        Message { topic: topic.into(), payload, retained: false, properties: None, expires_at: None }
    }

    /// What it takes of memory, about.
    fn weight(&self) -> usize {
        const OWN: usize = 128;
        OWN + self.topic.len() + self.payload.len() + self.properties.as_ref().map_or(0, |properties| properties.bytes())
    }

    fn expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// How a message reaches a session: the best of the subscriptions that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

struct Queued {
    message: Message,
    grant: Grant,
    _taken: Taken,
}

/// A message to be sent now.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// With QoS 1.
    pub(crate) packet_id: Option<NonZeroU16>,
    /// It was sent before, on an earlier connection.
    pub(crate) duplicate: bool,
    pub(crate) retain: bool,
    pub(crate) message: Message,
}

/// What a session could not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) full: u64,
    pub(crate) expired: u64,
}

pub(crate) struct Session {
    subscriptions: Vec<Subscription>,
    /// Not sent yet.
    queue: VecDeque<Queued>,
    /// Sent with QoS 1 on this connection and not acknowledged.
    in_flight: VecDeque<(NonZeroU16, Queued)>,
    /// Sent on an earlier connection and not acknowledged there: sent again before anything else.
    again: VecDeque<(NonZeroU16, Queued)>,
    packet_id: u16,
    bytes: usize,
    room: Room,
    bounds: QueueBounds,
}

impl Session {
    pub(crate) fn new(room: Room, bounds: QueueBounds) -> Session {
        Session {
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            packet_id: 0,
            bytes: 0,
            room,
            bounds,
        }
    }

    /// Adds or replaces a subscription; tells whether it is new, or `None` if there are too many.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) -> Option<bool> {
        if let Some(known) = self.subscriptions.iter_mut().find(|known| known.filter == subscription.filter) {
            *known = subscription;
            return Some(false);
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return None;
        }
        self.subscriptions.push(subscription);
        Some(true)
    }

    /// Takes a subscription back; tells whether it was there.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|known| known.filter != filter);
        self.subscriptions.len() < before
    }

    /// How a message reaches this session, if it does. `own`: this very client has published it.
    pub(crate) fn grant(&self, message: &Message, own: bool) -> Option<Grant> {
        let matching = self.subscriptions.iter().filter(|s| !(own && s.no_local) && topic::matches(&s.filter, &message.topic));
        matching.fold(None, |best: Option<Grant>, subscription| {
            let best = best.unwrap_or(Grant { qos: 0, retain: false });
            let retain = best.retain || (message.retained && subscription.retain_as_published);
            Some(Grant { qos: best.qos.max(subscription.qos), retain })
        })
    }

    /// Puts a message behind the others. Where there is no room the oldest that was not sent yet gives way.
    pub(crate) fn push(&mut self, message: Message, grant: Grant) -> Dropped {
        let weight = message.weight();
        let mut dropped = Dropped::default();
        let taken = loop {
            let fits = self.queue.len() < self.bounds.messages_max && self.bytes + weight <= self.bounds.bytes_max;
            if let Some(taken) = fits.then(|| self.room.take(weight)).flatten() {
                break taken;
            }
            dropped.full += 1;
            match self.queue.pop_front() {
                Some(oldest) => self.bytes -= oldest.message.weight(),
                // All room is held by what was sent and not acknowledged: the new one gives way.
                None => return dropped,
            }
        };
        self.bytes += weight;
        self.queue.push_back(Queued { message, grant, _taken: taken });
        dropped
    }

    /// The next message to send, while fewer than `window` wait for their acknowledgement.
    pub(crate) fn next(&mut self, window: usize, now: Instant, dropped: &mut Dropped) -> Option<Outgoing> {
        if self.in_flight.len() < window
            && let Some((packet_id, queued)) = self.again.pop_front()
        {
            let outgoing = outgoing(Some(packet_id), true, &queued);
            self.in_flight.push_back((packet_id, queued));
            return Some(outgoing);
        }
        if !self.again.is_empty() {
            return None;
        }
        while self.queue.front().is_some_and(|queued| queued.message.expired(now)) {
            self.bytes -= self.queue.pop_front().map_or(0, |queued| queued.message.weight());
            dropped.expired += 1;
        }
        if self.queue.front()?.grant.qos == 0 {
            let queued = self.queue.pop_front()?;
            self.bytes -= queued.message.weight();
            return Some(outgoing(None, false, &queued));
        }
        if self.in_flight.len() >= window {
            return None;
        }
        let packet_id = self.free_packet_id();
        let queued = self.queue.pop_front()?;
        let outgoing = outgoing(Some(packet_id), false, &queued);
        self.in_flight.push_back((packet_id, queued));
        Some(outgoing)
    }

    /// Does a message to this topic still wait to be sent? A later one may not overtake it.
    pub(crate) fn waits(&self, topic: &str) -> bool {
        let waiting = self.again.iter().map(|(_, queued)| queued).chain(&self.queue);
        waiting.into_iter().any(|queued| *queued.message.topic == *topic)
    }

    /// Sends a message past those that wait, if fewer than `window` are in flight; `None`: it must wait like them.
    pub(crate) fn send_at_once(&mut self, message: &Message, grant: Grant, window: usize) -> Option<Outgoing> {
        if grant.qos == 0 {
            return Some(Outgoing { packet_id: None, duplicate: false, retain: grant.retain, message: message.clone() });
        }
        let weight = message.weight();
        if self.in_flight.len() >= window || self.bytes + weight > self.bounds.bytes_max {
            return None;
        }
        let taken = self.room.take(weight)?;
        let packet_id = self.free_packet_id();
        let queued = Queued { message: message.clone(), grant, _taken: taken };
        let outgoing = outgoing(Some(packet_id), false, &queued);
        self.bytes += weight;
        self.in_flight.push_back((packet_id, queued));
        Some(outgoing)
    }

    /// Takes an acknowledgement; tells whether anything waited for it.
    pub(crate) fn acknowledge(&mut self, packet_id: NonZeroU16) -> bool {
        let Some(at) = self.in_flight.iter().position(|(id, _)| *id == packet_id) else { return false };
        if let Some((_, queued)) = self.in_flight.remove(at) {
            self.bytes -= queued.message.weight();
        }
        true
    }

    /// The connection is gone: QoS 0 goes with it, what was not acknowledged will be sent again.
    pub(crate) fn rest(&mut self) {
        let mut gone = 0;
        self.queue.retain(|queued| {
            let keep = queued.grant.qos > 0;
            gone += if keep { 0 } else { queued.message.weight() };
            keep
        });
        self.bytes -= gone;
        while let Some(unacknowledged) = self.in_flight.pop_back() {
            self.again.push_front(unacknowledged);
        }
    }

    fn free_packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            let in_use = |(id, _): &(NonZeroU16, Queued)| id.get() == self.packet_id;
            // Far fewer than 65,535 are in flight: a free one comes soon.
            if let Some(id) = NonZeroU16::new(self.packet_id)
                && !self.in_flight.iter().chain(&self.again).any(in_use)
            {
                return id;
            }
        }
    }
}

fn outgoing(packet_id: Option<NonZeroU16>, duplicate: bool, queued: &Queued) -> Outgoing {
    Outgoing { packet_id, duplicate, retain: queued.grant.retain, message: queued.message.clone() }
}
