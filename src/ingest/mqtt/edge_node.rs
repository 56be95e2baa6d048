//! A gateway that speaks Sparkplug: its messages become reports, what it says of births and deaths sets what is connected.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use observe::Metrics;
use wire::sparkplug::{Applied, Change, Session, command_topic, publish_allowed, rebirth_request, will_allowed};

use super::session::Message;
use super::will::Will;
use crate::connected::Connected;
use crate::item::RawMessage;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

pub(super) struct EdgeNode {
    gateway: String,
    enterprise: String,
    session: Session,
    will: Option<(String, Bytes)>,
    connected: Connected,
    /// Tells this connection from others of the gateway.
    connection: u64,
    metrics: Metrics,
}

/// What a message of an edge node leads to.
pub(super) struct Taken {
    /// For the intake; nothing where the message says nothing that is evidence.
    pub(super) message: Option<RawMessage>,
    /// For the edge node: it should be born again.
    pub(super) rebirth: Option<Message>,
}

impl EdgeNode {
    /// `None` for a gateway that is not registered with `sparkplug`.
    pub(super) fn new(gateway: &str, entry: &store::GatewayEntry, will: Option<&Will>, door: &super::door::Door) -> Option<EdgeNode> {
        if !entry.sparkplug {
            return None;
        }
        let will = will.filter(|will| will_allowed(&will.topic, &entry.enterprise, gateway));
        let will = will.map(|will| (will.topic.clone(), will.payload.clone()));
        let skew_s_max = door.intake.future_skew_s_max();
        Some(EdgeNode {
            gateway: gateway.to_string(),
            enterprise: entry.enterprise.clone(),
            session: Session::new(&entry.enterprise, gateway, skew_s_max, will.as_ref().map(|(_, payload)| &payload[..])),
            will,
            connected: door.intake.connected().clone(),
            connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            metrics: door.metrics.clone(),
        })
    }

    pub(super) fn publishes(&self, topic: &str) -> bool {
        publish_allowed(topic, &self.enterprise, &self.gateway)
    }

    pub(super) fn subscribes(&self, filter: &str) -> bool {
        wire::sparkplug::subscription_allowed(filter, &self.enterprise, &self.gateway)
    }

    pub(super) fn take(&mut self, topic: &str, payload: Bytes, received_at: DateTime<Utc>) -> Taken {
        let applied = self.session.apply(topic, &payload, received_at);
        self.note(&applied);
        let rebirth = applied.rebirth.then(|| {
            self.metrics.sparkplug_rebirths.inc();
            Message::new(&command_topic(&self.enterprise, &self.gateway), rebirth_request(received_at).into())
        });
        let message = match applied.report {
            Some(report) => Some(RawMessage::of(report.into())),
            None if applied.faults.is_empty() => None,
            None => Some(RawMessage::refused_on(topic, payload, applied.faults)),
        };
        Taken { message, rebirth }
    }

    /// The connection was lost: what the will says holds.
    pub(super) fn lost(&mut self, received_at: DateTime<Utc>) -> Option<RawMessage> {
        let (topic, payload) = self.will.take()?;
        self.take(&topic, payload, received_at).message
    }

    fn note(&self, applied: &Applied) {
        match &applied.change {
            Some(Change::NodeBorn) => self.connected.node_born(&self.gateway, self.connection),
            Some(Change::NodeDied) => self.connected.node_died(&self.gateway, self.connection),
            Some(Change::DeviceBorn(device)) => self.connected.device_born(&self.gateway, self.connection, device),
            Some(Change::DeviceDied(device)) => self.connected.device_died(&self.gateway, self.connection, device),
            None => {}
        }
        for (reason, count) in applied.ignored.by_reason() {
            if count > 0 {
                self.metrics.sparkplug_ignored.with_label_values(&[reason]).inc_by(count as u64);
            }
        }
        if applied.report.is_some() {
            // The message is evidence all the same; what was wrong beside it is counted.
            applied.faults.iter().for_each(|fault| self.metrics.faults.with_label_values(&[fault.code.as_str()]).inc());
        }
    }
}

impl Drop for EdgeNode {
    /// Without its connection nothing of it is connected.
    fn drop(&mut self) {
        self.connected.node_died(&self.gateway, self.connection);
    }
}
