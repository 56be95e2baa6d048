//! Wills: what the door tells the rest of a gateway when one of its clients is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::GatewayEntry;
use tokio::time::Instant;
use wire::sparkplug;
use wire::topic::{self, GatewayTopic};

use super::packet::ConnectRefusal;
use super::session::{Message, MessageProperties};

/// Topic, payload and properties together; many sessions may hold one.
const WILL_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) properties: MessageProperties,
}

impl Will {
    /// Why this will is not taken from a gateway, if it is not: it lies below the gateway's own topics but is none of the service's,
    /// and nothing of a gateway is retained. A gateway that speaks Sparkplug leaves its NDEATH. MQTT 3.1.1 cannot be told so; there the flag has no effect.
    pub(crate) fn refusal(&self, gateway: &str, entry: &GatewayEntry, version_5: bool) -> Option<ConnectRefusal> {
        let taken_by_service = GatewayTopic::ALL.iter().any(|(service, _)| service.of(gateway) == self.topic);
        let death = entry.sparkplug && sparkplug::will_allowed(&self.topic, &entry.enterprise, gateway);
        let own = topic::topic_name_valid(&self.topic) && topic::below_gateway(&self.topic, gateway) && !taken_by_service;
        if !own && !death {
            Some(ConnectRefusal::Will)
        } else if self.qos > 1 {
            Some(ConnectRefusal::WillQos)
        } else if self.retain && version_5 {
            Some(ConnectRefusal::WillRetain)
        } else if self.topic.len() + self.payload.len() + self.properties.bytes() > WILL_BYTES_MAX {
            Some(ConnectRefusal::WillTooLarge)
        } else {
            None
        }
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_s.into())
    }

    pub(crate) fn message(self, now: Instant) -> Message {
        Message {
            topic: self.topic.into(),
            payload: self.payload,
            retained: false,
            properties: Some(Arc::new(self.properties)),
            expires_at: self.expiry_s.map(|expiry_s| now + Duration::from_secs(expiry_s.into())),
        }
    }
}
