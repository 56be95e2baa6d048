//! One connection, from its CONNACK to its end.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use store::GatewayEntry;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::Fault;
use wire::identity::Sender;
use wire::topic::{self, GatewayTopic};

use super::codec::{Codec, TooLarge};
use super::door::Door;
use super::edge_node::EdgeNode;
use super::ending::Ending;
use super::handshake::Trust;
use super::membership::{Membership, TakenOver};
use super::packet::{AckReason, Inbound, Publish, SubscribeAnswer, UnsubscribeAnswer};
use super::reports::{self, Answer, Reports};
use super::session::{Message, Outgoing, Subscription};
use super::sessions::Leave;
use super::stream::{self, Piece, Stream};
use super::watch::Watch;
use crate::item::{Outcome, RawMessage, Settled};
use crate::queue::Ticket;

/// Messages are put into the output until it holds so much.
const OUT_BYTES: usize = 32 << 10;
/// Everything of a PUBLISH but topic and payload, at most.
const PUBLISH_OVERHEAD_BYTES: usize = 16;
/// How often it is noted that a gateway is still where it was.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct Connection<'d> {
    pub(super) door: &'d Door,
    pub(super) stream: Stream,
    pub(super) input: BytesMut,
    pub(super) out: BytesMut,
    pub(super) codec: Codec,
    /// The largest packet that the client takes.
    pub(super) packet_bytes_max: usize,
    /// QoS 1 messages that the client takes before it has acknowledged them.
    pub(super) window: usize,
    /// The CONNECT asked for a session that outlives its connection.
    pub(super) session_outlives: bool,
    pub(super) reports: Reports,
    /// The gateway, as the intake names it.
    pub(super) sender: Sender,
    /// For a gateway that speaks Sparkplug.
    pub(super) edge_node: Option<Box<EdgeNode>>,
    /// What the register said at CONNECT: another enterprise or token ends the connection.
    pub(super) admitted: GatewayEntry,
    pub(super) trust: Option<Trust>,
    pub(super) membership: Membership,
    pub(super) watch: Watch,
    /// From which the client connected, and when that is noted again.
    pub(super) address: IpAddr,
    pub(super) note_at: Instant,
    /// Set once the connection is to end; what is waiting is settled before.
    pub(super) ending: Option<Ending>,
    pub(super) with_will: bool,
    /// As the client has changed it at its goodbye.
    pub(super) expiry: Option<Duration>,
}

/// Ends when a client's certificate is no longer to be trusted.
async fn trust_lost(trust: &mut Option<Trust>) {
    match trust {
        Some(trust) => trust.lost().await,
        None => std::future::pending().await,
    }
}

/// Ends when the service stops.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl Connection<'_> {
    pub(super) async fn run(&mut self) -> Ending {
        let mut stopping = self.door.stopping.clone();
        // A client need not wait for its CONNACK: packets may have come with the CONNECT.
        self.take_packets(None).await;
        let ending = loop {
            if let Err(ending) = stream::write(&mut self.stream, &mut self.out, self.door.options.stall_timeout).await {
                break ending;
            }
            if let Some(ending) = self.ending
                && (self.reports.waiting() == 0 || ending == Ending::Lost)
            {
                break ending;
            }
            let reading = self.ending.is_none() && self.reports.waiting() < usize::from(self.door.options.receive_maximum.get());
            self.watch.read(reading, Instant::now());
            let patience = self.watch.until();
            tokio::select! {
                biased;
                outcomes = self.reports.settled() => self.settle(outcomes),
                () = self.membership.woken(), if self.ending.is_none() => self.send_messages(),
                read = stream::read_in_turn(&mut self.stream, &mut self.input, (&self.door.intake, &self.sender), patience), if reading => {
                    match read {
                        Ok(Piece { bytes: 0, .. }) => self.ending = Some(Ending::Lost),
                        Ok(Piece { ticket, waited, .. }) => {
                            self.watch.waited(waited);
                            self.take_packets(Some(ticket)).await;
                        }
                        Err(ending) => self.ending = Some(ending),
                    }
                }
                () = trust_lost(&mut self.trust), if self.ending.is_none() => self.ending = Some(Ending::CertificateLost),
                () = stop_asked(&mut stopping), if self.ending.is_none() => self.ending = Some(Ending::ShuttingDown),
            }
        };
        // Kept apart: what most connections wait for must not carry the room that their end takes.
        Box::pin(self.end(ending)).await
    }

    async fn end(&mut self, ending: Ending) -> Ending {
        if let Some(mut edge_node) = self.edge_node.take().filter(|_| self.with_will)
            && let Some(death) = edge_node.lost(self.door.intake.clock().now())
        {
            // There is nobody left to hear what became of it.
            let _ = self.reports.submit(&self.door.intake, self.door.intake.clock().now(), vec![death], None).await;
        }
        // A gateway that is another's now has nothing to come back to.
        let expiry = if ending == Ending::GatewayRemoved { Some(Duration::ZERO) } else { self.expiry };
        self.membership.leave(Leave { with_will: self.with_will, expiry }, Instant::now());
        self.codec.disconnect(&mut self.out, ending);
        // The peer may be gone already.
        let _ = stream::write(&mut self.stream, &mut self.out, self.door.options.stall_timeout).await;
        stream::close(&mut self.stream).await;
        ending
    }

    /// Decodes everything that has come and hands the reports of it to the intake as one batch.
    async fn take_packets(&mut self, ticket: Option<Ticket>) {
        let received_at = self.door.intake.clock().now();
        if self.door.intake.register().directory().gateway(&self.reports.gateway) != Some(&self.admitted) {
            self.ending = Some(Ending::GatewayRemoved);
            return;
        }
        let mut messages = Vec::new();
        let mut packets = 0;
        while self.ending.is_none() {
            match self.codec.decode(&mut self.input) {
                Ok(Some(Inbound::Publish(publish))) => {
                    self.ending = self.publish_fault(&publish);
                    if self.ending.is_none() {
                        self.ending = self.take_publish(publish, received_at, &mut messages);
                    }
                }
                Ok(Some(packet)) => {
                    if let Err(ending) = self.take_packet(packet) {
                        self.ending = Some(ending);
                    }
                }
                Ok(None) => break,
                Err(ending) => self.ending = Some(ending),
            }
            packets += 1;
        }
        if self.input.is_empty() {
            // An idle connection keeps no buffer.
            self.input = BytesMut::new();
        }
        if !messages.is_empty()
            && let Err(ending) = self.reports.submit(&self.door.intake, received_at, messages, ticket).await
        {
            self.reports.forget();
            self.ending = Some(ending);
        }
        self.puback_passed();
        let now = Instant::now();
        self.watch.heard(packets, !self.input.is_empty(), now);
        if now >= self.note_at {
            self.door.whereabouts.note(&self.reports.gateway, &self.admitted.enterprise, self.address, received_at);
            self.note_at = now + NOTE_EVERY;
        }
    }

    fn take_publish(&mut self, publish: Publish, received_at: DateTime<Utc>, messages: &mut Vec<RawMessage>) -> Option<Ending> {
        let Some(edge_node) = self.edge_node.as_mut().filter(|edge_node| edge_node.publishes(&publish.topic)) else {
            return self.reports.take(publish, messages);
        };
        let taken = edge_node.take(&publish.topic, publish.payload, received_at);
        match taken.message {
            Some(message) => self.reports.put(publish.packet_id, message, messages),
            None => self.reports.pass(publish.packet_id),
        }
        if let Some(rebirth) = taken.rebirth
            && let Some(outgoing) = self.membership.tell(&rebirth, self.window)
        {
            self.send(outgoing, Instant::now());
        }
        None
    }

    /// PUBACKs whose turn has come and that wait for nothing else.
    fn puback_passed(&mut self) {
        while let Some(packet_id) = self.reports.passed() {
            if let Err(TooLarge) = self.puback(packet_id, AckReason::Success, None) {
                self.ending = Some(Ending::PacketTooLarge);
            }
        }
    }

    fn take_packet(&mut self, packet: Inbound) -> Result<(), Ending> {
        match packet {
            Inbound::Puback(packet_id) => {
                if !self.membership.acknowledge(packet_id) {
                    self.door.metrics.pubacks_unknown.inc();
                }
            }
            Inbound::Subscribe { packet_id, identified, subscriptions } => {
                let answers: Vec<_> = subscriptions.iter().map(|subscription| self.subscribe(subscription, identified)).collect();
                self.codec.suback(&mut self.out, packet_id, &answers)?;
            }
            Inbound::Unsubscribe { packet_id, filters } => {
                let answers: Vec<_> = filters.iter().map(|filter| self.unsubscribe(filter)).collect();
                self.codec.unsuback(&mut self.out, packet_id, &answers)?;
            }
            Inbound::Ping => self.codec.ping_response(&mut self.out)?,
            Inbound::Disconnect { with_will, expiry_s } => return Err(self.goodbye(with_will, expiry_s)),
            Inbound::Connect(_) | Inbound::Publish(_) => return Err(Ending::Protocol),
            Inbound::Unexpected(what) => {
                tracing::debug!(gateway = self.reports.gateway, what, "unexpected packet");
                return Err(Ending::Protocol);
            }
        }
        Ok(())
    }

    /// Why a publish is none that this door takes.
    fn publish_fault(&self, publish: &Publish) -> Option<Ending> {
        let receive_maximum = usize::from(self.door.options.receive_maximum.get());
        if publish.alias {
            Some(Ending::TopicAlias)
        } else if publish.topic.is_empty() {
            Some(Ending::Protocol)
        } else if !topic::topic_name_valid(&publish.topic) {
            Some(Ending::TopicInvalid)
        } else if publish.qos > 1 {
            Some(Ending::QosUnsupported)
        } else if publish.retain && self.codec.version_5() {
            Some(Ending::RetainUnsupported)
        } else if publish.qos == 1 && self.codec.version_5() && self.reports.unacknowledged(receive_maximum) >= receive_maximum {
            Some(Ending::ReceiveMaximum)
        } else {
            None
        }
    }

    fn subscribe(&self, subscription: &Subscription, identified: bool) -> SubscribeAnswer {
        let filter = &subscription.filter;
        let answer = if identified {
            SubscribeAnswer::Identified
        } else if filter.starts_with("$share/") {
            SubscribeAnswer::Shared
        } else if !topic::topic_filter_valid(filter) {
            SubscribeAnswer::FilterInvalid
        } else if !self.may_subscribe(filter) {
            SubscribeAnswer::NotAuthorised
        } else if self.membership.subscribe(subscription) {
            SubscribeAnswer::Granted(subscription.qos)
        } else {
            SubscribeAnswer::TooMany
        };
        if !matches!(answer, SubscribeAnswer::Granted(_)) {
            self.door.metrics.subscriptions_refused.inc();
        } else if topic::matches(filter, &GatewayTopic::Receipt.of(&self.reports.gateway)) {
            self.door.settlings.subscribed(&self.reports.gateway);
        }
        answer
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        let sparkplug = self.edge_node.as_ref().is_some_and(|edge_node| edge_node.subscribes(filter));
        sparkplug || topic::subscription_allowed(filter, &self.reports.gateway)
    }

    fn unsubscribe(&self, filter: &str) -> UnsubscribeAnswer {
        if !topic::topic_filter_valid(filter) {
            UnsubscribeAnswer::FilterInvalid
        } else if self.membership.unsubscribe(filter) {
            UnsubscribeAnswer::Done
        } else {
            UnsubscribeAnswer::NoneThere
        }
    }

    /// A session that was to end with its connection cannot be prolonged at the end of it.
    fn goodbye(&mut self, with_will: bool, expiry_s: Option<u32>) -> Ending {
        if !self.session_outlives && expiry_s.is_some_and(|expiry_s| expiry_s > 0) {
            return Ending::Protocol;
        }
        self.with_will = with_will;
        self.expiry = expiry_s.map(|expiry_s| Duration::from_secs(expiry_s.min(self.door.options.session_expiry_max_s).into()));
        Ending::Disconnected
    }

    /// Sends what waits for the client, as much as it takes now.
    fn send_messages(&mut self) {
        let now = Instant::now();
        while self.out.len() < OUT_BYTES {
            match self.membership.next(self.window, now) {
                Ok(Some(outgoing)) => self.send(outgoing, now),
                Ok(None) => return,
                Err(TakenOver) => {
                    self.ending = Some(Ending::TakenOver);
                    return;
                }
            }
        }
        self.membership.wake_again();
    }

    /// A message that is too large for the client is as good as acknowledged.
    fn send(&mut self, outgoing: Outgoing, now: Instant) {
        let (before, packet_id) = (self.out.len(), outgoing.packet_id);
        let encoded = self.codec.publish(&mut self.out, outgoing, now);
        if encoded.is_err() || self.out.len() - before > self.packet_bytes_max {
            self.out.truncate(before);
            self.door.metrics.messages_dropped.with_label_values(&["too_large"]).inc();
            if let Some(packet_id) = packet_id {
                self.membership.acknowledge(packet_id);
            }
        }
    }

    /// Answers publishes in their order: a refusal is told before its PUBACK.
    fn settle(&mut self, settled: Vec<Settled>) {
        self.door.settlings.note(&self.reports.gateway, &settled);
        for settled in settled {
            let Some(answer) = self.reports.answer(settled) else { return };
            let (reason, said) = match &answer.outcome {
                Outcome::Accepted | Outcome::Duplicate => (AckReason::Success, None),
                Outcome::Refused(faults) => {
                    self.tell_refused(&answer, faults);
                    reports::reason(faults)
                }
                // Without MQTT 5 there is no way to say no: ending the connection unanswered makes the client send again.
                Outcome::DiskFull if self.codec.version_5() => {
                    (AckReason::QuotaExceeded, Some("the disk is full; send again later".into()))
                }
                Outcome::DiskFull | Outcome::Unavailable(_) => {
                    self.reports.forget();
                    self.ending = Some(Ending::Unavailable);
                    return;
                }
            };
            if let Some(packet_id) = answer.packet_id
                && let Err(TooLarge) = self.puback(packet_id, reason, said)
            {
                self.ending = Some(Ending::PacketTooLarge);
            }
            self.puback_passed();
        }
    }

    fn puback(&mut self, packet_id: NonZeroU16, reason: AckReason, said: Option<String>) -> Result<(), TooLarge> {
        self.codec.puback(&mut self.out, packet_id, reason, said)
    }

    /// Tells the faults on the gateway's `refused` topic; as many as fit, the whole list is in the quarantine.
    fn tell_refused(&mut self, answer: &Answer, faults: &[Fault]) {
        let topic = GatewayTopic::Refused.of(&self.reports.gateway);
        let bytes_max = self.packet_bytes_max.saturating_sub(topic.len() + PUBLISH_OVERHEAD_BYTES);
        let label = &answer.label;
        let mut told = faults.len();
        let payload = loop {
            let omitted = faults.len() - told;
            let message = serde_json::json!({
                "id": label.id, "boot": label.boot, "seq": label.seq, "faults": &faults[..told], "faults_omitted": omitted,
            });
            let payload = message.to_string();
            if payload.len() <= bytes_max || told == 0 {
                break Bytes::from(payload);
            }
            told /= 2;
        };
        if let Some(outgoing) = self.membership.tell(&Message::new(&topic, payload), self.answers_max()) {
            self.send(outgoing, Instant::now());
        }
    }

    /// MQTT 3.1.1 learns of a refusal in no other way: there the bound is that of its reports, not the one of other messages.
    fn answers_max(&self) -> usize {
        if self.codec.version_5() { self.window } else { usize::from(self.door.options.receive_maximum.get()) }
    }
}

impl From<TooLarge> for Ending {
    fn from(_: TooLarge) -> Ending {
        Ending::PacketTooLarge
    }
}
