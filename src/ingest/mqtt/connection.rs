//! One connection, from CONNECT to its end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use observe::Metrics;
use store::{GatewayEntry, Vouched};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use wire::identity::Sender;
use wire::topic::{self, GatewayTopic};
use wire::{Fault, FaultCode, Label};

use super::door::Door;
use super::packet::{AckReason, Codec, Connect, ConnectRefusal, Ending, Inbound, Terms};
use super::sessions::{Delivery, Membership};
use crate::item::{Batch, Outcome, RawMessage, Settled};

const READ_BYTES: usize = 64 << 10;
const READ_BYTES_IDLE: usize = 1 << 10;
/// Nothing larger is kept of somebody who is not known yet.
const CONNECT_BYTES_MAX: usize = 16 << 10;
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Everything of a PUBLISH but topic and payload, at most.
const PUBLISH_OVERHEAD_BYTES: usize = 16;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Faults that question who is speaking, not what is said.
const AUTHORITY: [FaultCode; 5] =
    [FaultCode::NotAuthorised, FaultCode::Kid, FaultCode::Signature, FaultCode::Unsigned, FaultCode::NoPublicKey];

/// Serves one connection and counts how it ended.
pub(super) async fn serve(door: Door, stream: TcpStream, peer: SocketAddr) {
    // Small answers should not wait for more; a socket that refuses this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let metrics = door.metrics.clone();
    let _counted = PanicCounted(&metrics);
    let reason = match Opening::new(&door, stream).run().await {
        Ok(connection) => connection.run().await.as_str(),
        Err(reason) => reason,
    };
    metrics.connections_ended.with_label_values(&[reason]).inc();
    tracing::debug!(%peer, reason, "mqtt connection ended");
}

/// Counts a connection that a panic has ended; its task takes nobody else along.
struct PanicCounted<'m>(&'m Metrics);

impl Drop for PanicCounted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.with_label_values(&["connection"]).inc();
            self.0.connections_ended.with_label_values(&["panic"]).inc();
        }
    }
}

/// Before the CONNECT is accepted.
struct Opening<'d> {
    door: &'d Door,
    stream: TcpStream,
    input: BytesMut,
}

impl<'d> Opening<'d> {
    fn new(door: &'d Door, stream: TcpStream) -> Opening<'d> {
        Opening { door, stream, input: BytesMut::with_capacity(1024) }
    }

    async fn run(mut self) -> Result<Connection<'d>, &'static str> {
        let (mut codec, connect) = match timeout(self.door.options.connect_timeout, self.connect()).await {
            Err(_) => return Err("connect_timeout"),
            Ok(Err(ending)) => return Err(ending.as_str()),
            Ok(Ok(connect)) => connect,
        };
        let mut out = BytesMut::new();
        let (gateway, admitted) = match self.admit(&connect).await {
            Ok(gateway) => gateway,
            Err((refusal, reason)) => {
                codec.refuse_connect(&mut out, refusal);
                // It is refused whether or not it still hears so.
                let _ = timeout(WRITE_TIMEOUT, self.stream.write_all(&out)).await;
                return Err(reason);
            }
        };
        let max_s = self.door.options.keep_alive_max_s;
        let keep_alive_s = if connect.keep_alive_s == 0 { max_s } else { connect.keep_alive_s.min(max_s) };
        let terms = Terms {
            receive_maximum: self.door.options.receive_maximum,
            packet_bytes_max: self.door.options.packet_bytes_max(),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        };
        let version_5 = codec.version_5();
        codec.connack(&mut out, &terms);
        let (membership, inbox) = self.door.sessions.enter(&connect.client_id, &gateway);
        let (outcomes_in, outcomes) = mpsc::unbounded_channel();
        Ok(Connection {
            door: self.door,
            stream: self.stream,
            input: self.input,
            out,
            codec,
            will: connect.will,
            packet_bytes_max: connect.packet_bytes_max,
            gateway,
            admitted,
            membership,
            inbox,
            outcomes_in,
            outcomes,
            waiting: VecDeque::new(),
            idle_max: idle_max(keep_alive_s, connect.keep_alive_s, version_5),
            ending: None,
        })
    }

    async fn connect(&mut self) -> Result<(Codec, Connect), Ending> {
        let mut codec = None;
        loop {
            if codec.is_none() {
                codec = Codec::detect(&mut self.input, self.door.options.packet_bytes_max())?;
            }
            if let Some(codec) = &mut codec
                && let Some(packet) = codec.decode(&mut self.input)?
            {
                let Inbound::Connect(connect) = packet else { return Err(Ending::Protocol) };
                let codec = std::mem::replace(codec, Codec::V3(Default::default()));
                return Ok((codec, *connect));
            }
            if self.input.len() > CONNECT_BYTES_MAX {
                return Err(Ending::PacketTooLarge);
            }
            if self.stream.read_buf(&mut self.input).await.map_err(|_| Ending::Lost)? == 0 {
                return Err(Ending::Lost);
            }
        }
    }

    /// The gateway that this is, or why it is not let in.
    async fn admit(&self, connect: &Connect) -> Result<(String, GatewayEntry), (ConnectRefusal, &'static str)> {
        if connect.version_3_1 {
            return Err((ConnectRefusal::Version, "protocol_version"));
        }
        let bad_credentials = (ConnectRefusal::BadCredentials, "bad_credentials");
        let gateway = connect.user_name.as_deref().ok_or(bad_credentials)?;
        let token = connect.password.as_deref().and_then(|password| std::str::from_utf8(password).ok()).ok_or(bad_credentials)?;
        if let Err(error) = self.door.intake.register().refresh().await {
            tracing::error!(%error, "the register cannot be read");
            return Err((ConnectRefusal::Busy, "unavailable"));
        }
        let directory = self.door.intake.register().directory();
        let entry = directory.gateway(gateway).filter(|entry| entry.token_matches(token)).ok_or(bad_credentials)?;
        if !topic::client_id_valid(&connect.client_id, gateway) {
            return Err((ConnectRefusal::ClientId, "client_id"));
        }
        match &connect.will {
            Some((topic, _)) if !will_allowed(topic, gateway) => Err((ConnectRefusal::Will, "will")),
            _ => Ok((gateway.to_string(), entry.clone())),
        }
    }
}

/// Ends when the service stops.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// How long a client may be silent: one and a half times its keep alive, as the standard says. MQTT 3.1.1 cannot be told of a shorter
/// one, so what it asked for holds; where it asked for none, silence is bounded all the same.
fn idle_max(told_s: u16, asked_s: u16, version_5: bool) -> Duration {
    match asked_s {
        0 if !version_5 => SILENCE_MAX,
        asked_s if !version_5 => Duration::from_millis(u64::from(asked_s) * 1500),
        _ => Duration::from_millis(u64::from(told_s) * 1500),
    }
}

/// A will lies below the gateway's own topics, but is none of the service's.
fn will_allowed(topic: &str, gateway: &str) -> bool {
    topic::topic_name_valid(topic)
        && topic::below_gateway(topic, gateway)
        && GatewayTopic::ALL.iter().all(|(service, _)| service.of(gateway) != topic)
}

struct Connection<'d> {
    door: &'d Door,
    stream: TcpStream,
    input: BytesMut,
    out: BytesMut,
    codec: Codec,
    will: Option<(String, Bytes)>,
    /// The largest packet that the client takes.
    packet_bytes_max: usize,
    gateway: String,
    /// What the register said at CONNECT: another enterprise or token ends the connection.
    admitted: GatewayEntry,
    membership: Membership,
    inbox: mpsc::Receiver<Delivery>,
    outcomes_in: mpsc::UnboundedSender<Vec<Settled>>,
    outcomes: mpsc::UnboundedReceiver<Vec<Settled>>,
    /// Publishes handed to the intake, in order; without a packet id for QoS 0, which gets no PUBACK.
    waiting: VecDeque<Option<NonZeroU16>>,
    idle_max: Duration,
    /// Set once the connection is to end; what is waiting is settled before.
    ending: Option<Ending>,
}

impl Connection<'_> {
    async fn run(mut self) -> Ending {
        let mut idle_until = Instant::now() + self.idle_max;
        let mut stopping = self.door.stopping.clone();
        // A client need not wait for its CONNACK: packets may have come with the CONNECT.
        self.take_packets().await;
        let ending = loop {
            if let Err(ending) = self.write().await {
                break ending;
            }
            if let Some(ending) = self.ending
                && (self.waiting.is_empty() || ending == Ending::Lost)
            {
                break ending;
            }
            let reading = self.ending.is_none() && self.waiting.len() < usize::from(self.door.options.receive_maximum.get());
            tokio::select! {
                biased;
                Some(outcomes) = self.outcomes.recv() => self.settle(outcomes),
                delivery = self.inbox.recv(), if self.ending.is_none() => match delivery {
                    Some(Delivery::Message { topic, payload, retain }) => self.codec.publish(&mut self.out, &topic, payload, retain),
                    Some(Delivery::TakenOver) | None => self.ending = Some(Ending::TakenOver),
                },
                read = self.stream.read_buf(&mut self.input), if reading => {
                    idle_until = Instant::now() + self.idle_max;
                    match read {
                        Ok(0) | Err(_) => self.ending = Some(Ending::Lost),
                        Ok(count) => {
                            self.take_packets().await;
                            // A busy connection gets a large buffer, an idle one keeps a small one.
                            self.input.reserve(if count >= READ_BYTES_IDLE { READ_BYTES } else { READ_BYTES_IDLE });
                        }
                    }
                }
                () = tokio::time::sleep_until(idle_until), if reading => self.ending = Some(Ending::KeepAlive),
                () = stop_asked(&mut stopping), if self.ending.is_none() => self.ending = Some(Ending::ShuttingDown),
            }
        };
        self.codec.disconnect(&mut self.out, ending);
        // The peer may be gone already.
        let _ = self.write().await;
        let _ = self.stream.shutdown().await;
        if let (Some((topic, payload)), false) = (&self.will, ending == Ending::Disconnected) {
            self.door.sessions.deliver_to_gateway(&self.gateway, &self.membership, topic, payload);
        }
        ending
    }

    /// Decodes everything that has come and hands the reports of it to the intake as one batch.
    async fn take_packets(&mut self) {
        let received_at = self.door.intake.clock().now();
        if self.door.intake.register().directory().gateway(&self.gateway) != Some(&self.admitted) {
            self.ending = Some(Ending::GatewayRemoved);
            return;
        }
        let mut messages = Vec::new();
        while self.ending.is_none() {
            match self.codec.decode(&mut self.input) {
                Ok(Some(packet)) => self.take_packet(packet, &mut messages),
                Ok(None) => break,
                Err(ending) => self.ending = Some(ending),
            }
        }
        if messages.is_empty() {
            return;
        }
        let outcomes = self.outcomes_in.clone();
        // The receiver lives as long as the connection; afterwards nobody needs the outcome.
        let reply = Box::new(move |settled| drop(outcomes.send(settled)));
        let sender = Sender::Gateway(self.gateway.as_str().into());
        let batch = Batch { sender, vouched: Vouched::Token, received_at, messages, reply };
        if self.door.intake.submit(batch).await.is_err() {
            self.waiting.clear();
            self.ending = Some(Ending::Unavailable);
        }
    }

    fn take_packet(&mut self, packet: Inbound, messages: &mut Vec<RawMessage>) {
        match packet {
            Inbound::Publish { topic, qos, retain, alias, packet_id, payload } => {
                if alias || !topic::topic_name_valid(&topic) {
                    self.ending = Some(Ending::Protocol);
                } else if qos > 1 {
                    self.ending = Some(Ending::QosUnsupported);
                } else if retain && self.codec.version_5() {
                    self.ending = Some(Ending::RetainUnsupported);
                } else if qos == 1
                    && self.codec.version_5()
                    && self.unacknowledged() >= usize::from(self.door.options.receive_maximum.get())
                {
                    self.ending = Some(Ending::ReceiveMaximum);
                } else {
                    self.publish(&topic, packet_id, payload, messages);
                }
            }
            Inbound::Subscribe { packet_id, filters } => {
                let granted: Vec<bool> = filters.iter().map(|filter| self.subscribe(filter)).collect();
                self.codec.suback(&mut self.out, packet_id, &granted);
            }
            Inbound::Unsubscribe { packet_id, filters } => {
                let existed: Vec<bool> = filters.iter().map(|filter| self.membership.unsubscribe(filter)).collect();
                self.codec.unsuback(&mut self.out, packet_id, &existed);
            }
            Inbound::Ping => self.codec.ping_response(&mut self.out),
            Inbound::Disconnect { with_will } => {
                if !with_will {
                    self.will = None;
                }
                self.ending = Some(Ending::Disconnected);
            }
            Inbound::Connect(_) => self.ending = Some(Ending::Protocol),
            Inbound::Unexpected(what) => {
                tracing::debug!(gateway = self.gateway, what, "unexpected packet");
                self.ending = Some(Ending::Protocol);
            }
        }
    }

    /// QoS 1 publishes that wait for their PUBACK.
    fn unacknowledged(&self) -> usize {
        let most = usize::from(self.door.options.receive_maximum.get());
        // Counting is needed only near the bound.
        if self.waiting.len() < most { self.waiting.len() } else { self.waiting.iter().flatten().count() }
    }

    fn subscribe(&self, filter: &str) -> bool {
        let allowed = topic::subscription_allowed(filter, &self.gateway);
        if !allowed {
            self.door.metrics.subscriptions_refused.inc();
        }
        allowed && self.membership.subscribe(filter)
    }

    fn publish(&mut self, topic: &str, packet_id: Option<NonZeroU16>, payload: Bytes, messages: &mut Vec<RawMessage>) {
        let refusal = if !topic::report_topic_of(topic, &self.gateway) {
            if !topic::below_gateway(topic, &self.gateway) {
                self.ending = Some(Ending::ForeignTopic);
            }
            let detail = format!("{:?} is not {}", topic.chars().take(128).collect::<String>(), GatewayTopic::Report.of(&self.gateway));
            Some(Fault::new(FaultCode::NotAuthorised, "", detail))
        } else if packet_id.is_none() {
            Some(Fault::new(FaultCode::Qos0, "", "the report came with QoS 0"))
        } else {
            None
        };
        self.waiting.push_back(packet_id);
        messages.push(RawMessage { body: payload, refusal });
    }

    /// Answers publishes in their order: a refusal is told before its PUBACK.
    fn settle(&mut self, settled: Vec<Settled>) {
        for Settled { label, outcome } in settled {
            let Some(packet_id) = self.waiting.pop_front() else { return };
            let reason = match &outcome {
                Outcome::Accepted | Outcome::Duplicate => AckReason::Success,
                Outcome::Refused(faults) => {
                    self.tell_refused(&label, faults);
                    let authorised = faults.iter().all(|fault| !AUTHORITY.contains(&fault.code));
                    if authorised { AckReason::PayloadInvalid } else { AckReason::NotAuthorised }
                }
                // Without MQTT 5 there is no way to say no: ending the connection unanswered makes the client send again.
                Outcome::DiskFull if self.codec.version_5() => AckReason::QuotaExceeded,
                Outcome::DiskFull | Outcome::Unavailable(_) => {
                    self.waiting.clear();
                    self.ending = Some(Ending::Unavailable);
                    return;
                }
            };
            if let Some(packet_id) = packet_id {
                self.codec.puback(&mut self.out, packet_id, reason);
            }
        }
    }

    /// Tells the faults on the gateway's `refused` topic; as many as fit, the whole list is in the quarantine.
    fn tell_refused(&mut self, label: &Label, faults: &[Fault]) {
        let topic = GatewayTopic::Refused.of(&self.gateway);
        let bytes_max = self.packet_bytes_max.saturating_sub(topic.len() + PUBLISH_OVERHEAD_BYTES);
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
        if self.membership.subscribed_to(&topic) && payload.len() <= bytes_max {
            self.codec.publish(&mut self.out, &topic, payload.clone(), false);
        }
        self.door.sessions.deliver_to_gateway(&self.gateway, &self.membership, &topic, &payload);
    }

    async fn write(&mut self) -> Result<(), Ending> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, self.stream.write_all(&self.out)).await;
        self.out.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Lost),
            Err(_) => Err(Ending::SlowReader),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_one_connection_is_counted_and_takes_no_other_along() {
        let metrics = Metrics::new();
        let (go, gone) = tokio::sync::oneshot::channel();
        let (of_one, of_other) = (metrics.clone(), metrics.clone());
        let one = tokio::spawn(async move {
            let _open = of_one.connection_open();
            let _counted = PanicCounted(&of_one);
            panic!("a mistake of ours");
        });
        let other = tokio::spawn(async move {
            let _open = of_other.connection_open();
            let _counted = PanicCounted(&of_other);
            gone.await
        });
        assert!(one.await.unwrap_err().is_panic());
        assert_eq!(metrics.connections.get(), 1, "the other is still there");
        go.send(7).unwrap();
        assert_eq!(other.await.unwrap(), Ok(7));
        assert_eq!(metrics.panics.with_label_values(&["connection"]).get(), 1);
        assert_eq!(metrics.connections_ended.with_label_values(&["panic"]).get(), 1);
        assert_eq!(metrics.connections.get(), 0);
    }
}
