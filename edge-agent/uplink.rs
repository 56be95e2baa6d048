//! Brings reports from the spool to the service over MQTT 5. A report leaves the spool only when its PUBACK came.
//!
//! The client's own queue is never relied on: after any error the connection is thrown away, and a new one sends
//! everything unsettled again from the spool. A repeated report has no effect on the service.

use std::io;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use wire::topic::GatewayTopic;

use crate::backoff::Backoff;
use crate::broker::Broker;
use crate::config::Gateway;
use crate::delivery::{Delivery, Fate};
use crate::shared::SharedSpool;
use crate::spool::Spool;
use crate::watchdog::Pulse;

const PACKET_BYTES_MAX: u32 = 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
/// Without an answer to the subscription, sending begins all the same.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);
/// At the end, what is in flight may still be acknowledged for so long.
const FINISH_WAIT: Duration = Duration::from_secs(5);
/// A connection that lasted so long counts as good: the next attempt comes soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

pub struct Uplink {
    gateway: Gateway,
    broker: Broker,
    spool: SharedSpool,
    delivery: Delivery,
    backoff: Backoff,
    began: Instant,
    marks_unsaved: bool,
}

enum End {
    Finished,
    Lost(String),
}

impl Uplink {
    pub fn new(gateway: Gateway, broker: Broker, spool: SharedSpool) -> Uplink {
        let first_wait = broker.retry_max.min(Duration::from_secs(1));
        Uplink {
            delivery: Delivery::new(broker.in_flight_max, broker.retry_max),
            backoff: Backoff::new(first_wait, broker.retry_max),
            gateway,
            broker,
            spool,
            began: Instant::now(),
            marks_unsaved: false,
        }
    }

    /// Delivers until `finish` turns true, then what can still be delivered shortly.
    pub async fn run(mut self, mut finish: watch::Receiver<bool>, pulse: Pulse) {
        loop {
            let connected_at = Instant::now();
            let end = self.session(&mut finish, &pulse).await;
            self.save_marks().await;
            let End::Lost(reason) = end else { return };
            if connected_at.elapsed() > GOOD_CONNECTION {
                self.backoff.reset();
            }
            let wait = self.backoff.after_failure(rand::random());
            tracing::warn!(
                gateway = self.gateway.id,
                reason,
                wait_ms = wait.as_millis(),
                "no connection to the broker; reports wait in the spool"
            );
            tokio::select! {
                () = pulse.during(tokio::time::sleep(wait)) => {}
                () = asked(&mut finish) => return,
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let host = if self.broker.host.contains(':') { format!("[{}]", self.broker.host) } else { self.broker.host.clone() };
        let mut options = MqttOptions::new(&self.gateway.id, host, self.broker.port);
        options.set_credentials(&self.gateway.id, &self.gateway.token.0);
        options.set_clean_start(true);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        // One more than we ever use, for the subscription's packet id.
        options.set_outgoing_inflight_upper_limit(self.broker.in_flight_max + 1);
        options
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// One connection, from connecting to its end.
    async fn session(&mut self, finish: &mut watch::Receiver<bool>, pulse: &Pulse) -> End {
        let (client, mut connection) = AsyncClient::new(self.options(), usize::from(self.broker.in_flight_max) + 4);
        self.delivery.disconnected();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut subscribe_until: Option<Instant> = None;
        let mut finish_until: Option<Instant> = None;
        loop {
            // A poll is never dropped half way: a packet just taken from the client's queue would be lost.
            let polled = {
                let poll = connection.poll();
                tokio::pin!(poll);
                loop {
                    pulse.beat();
                    if let Some(until) = finish_until
                        && (Instant::now() >= until || self.nothing_left().await)
                    {
                        break Err(ConnectionError::RequestsDone);
                    }
                    tokio::select! {
                        event = &mut poll => break event,
                        () = self.spool.filled() => {}
                        _ = tick.tick() => {
                            if self.delivery.stalled(self.now_ms(), self.broker.acknowledge_timeout) {
                                return End::Lost("a report was not acknowledged in time".into());
                            }
                            if subscribe_until.is_some_and(|until| Instant::now() >= until) {
                                self.delivery.ready();
                            }
                        }
                        () = asked(finish), if finish_until.is_none() => {
                            finish_until = Some(Instant::now() + FINISH_WAIT);
                        }
                    }
                    if let Err(error) = self.send(&client).await {
                        return End::Lost(format!("the spool cannot be read: {error}"));
                    }
                }
            };
            let handled = match polled {
                Ok(event) => {
                    if let Event::Incoming(Packet::ConnAck(ConnAck { properties, .. })) = &event {
                        self.delivery.connected(properties.as_ref().and_then(|properties| properties.receive_max));
                        subscribe_until = Some(Instant::now() + SUBSCRIBE_WAIT);
                        tracing::info!(
                            gateway = self.gateway.id,
                            host = self.broker.host,
                            port = self.broker.port,
                            "connected to the broker"
                        );
                        if let Err(error) = client.try_subscribe(GatewayTopic::Refused.of(&self.gateway.id), QoS::AtLeastOnce) {
                            return End::Lost(error.to_string());
                        }
                    }
                    self.apply(event).await
                }
                Err(ConnectionError::RequestsDone) => {
                    say_goodbye(&client, &mut connection).await;
                    return End::Finished;
                }
                Err(error) => {
                    // Acknowledgements that came in the same breath as the error still count.
                    while let Some(event) = connection.state.events.pop_front() {
                        if let Err(error) = self.apply(event).await {
                            return End::Lost(format!("the spool cannot be written: {error}"));
                        }
                    }
                    return End::Lost(explain(&error));
                }
            };
            let sent = match handled {
                Ok(()) => self.send(&client).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                return End::Lost(format!("the spool fails: {error}"));
            }
        }
    }

    async fn nothing_left(&self) -> bool {
        let waiting =
            !self.delivery.holding(self.now_ms()) && self.spool.with(|spool| Ok(spool.unsettled_count() > 0)).await.unwrap_or(false);
        self.delivery.idle() && !waiting
    }

    /// Hands as many reports to the client as may be in flight.
    async fn send(&mut self, client: &AsyncClient) -> io::Result<()> {
        let Some((from, count)) = self.delivery.wanted(self.now_ms()) else { return Ok(()) };
        let unsettled = self.spool.with(move |spool| Ok(spool.unsettled(from, count))).await?;
        let chosen = self.delivery.choose(&unsettled);
        if chosen.is_empty() {
            return Ok(());
        }
        let bodies =
            self.spool.with(move |spool| chosen.into_iter().map(|position| Ok((position, read(spool, position)?))).collect()).await;
        let topic = GatewayTopic::Report.of(&self.gateway.id);
        let bodies: Vec<(u64, Option<Vec<u8>>)> = bodies?;
        for (position, body) in bodies {
            let Some(body) = body else { continue };
            client.try_publish(topic.as_str(), QoS::AtLeastOnce, false, body).map_err(io::Error::other)?;
            self.delivery.handed_over(position);
        }
        Ok(())
    }

    async fn apply(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.delivery.sent(packet_id, self.now_ms()),
            Event::Incoming(Packet::PubAck(acknowledgement)) => self.acknowledged(&acknowledgement).await?,
            Event::Incoming(Packet::SubAck(_)) => self.delivery.ready(),
            Event::Incoming(Packet::Publish(publish)) if publish.topic == GatewayTopic::Refused.of(&self.gateway.id).as_bytes() => {
                self.delivery.refusal(publish.payload.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    async fn acknowledged(&mut self, acknowledgement: &PubAck) -> io::Result<()> {
        let now_ms = self.now_ms();
        let holding = self.delivery.holding(now_ms);
        let fate = self.delivery.acknowledged(acknowledgement.pkid, acknowledgement.reason, now_ms, rand::random());
        match fate {
            Some((position, Fate::Settled)) => {
                self.backoff.reset();
                self.spool.with(move |spool| spool.settle(position)).await?;
            }
            Some((position, Fate::Refused(reason))) => {
                let Some(stored) = self.spool.with(move |spool| spool.read(position)).await? else { return Ok(()) };
                let faults = self.delivery.take_refusal(&stored.key);
                let path = self.spool.with(move |spool| spool.refuse(position, reason, faults.as_deref())).await?;
                let path = path.unwrap_or_default();
                tracing::error!(gateway = self.gateway.id, boot = stored.key.boot, seq = stored.key.seq, reason, path = %path.display(), "the service refused a report; it is kept with its faults");
            }
            // One line for each pause, not for each report in flight.
            Some((position, Fate::Kept(reason))) if !holding => {
                tracing::warn!(
                    gateway = self.gateway.id,
                    position,
                    reason,
                    "the service does not take a report now; it is sent again later"
                );
            }
            Some((_, Fate::Kept(_))) | None => {}
        }
        self.marks_unsaved = true;
        Ok(())
    }

    async fn save_marks(&mut self) {
        if !self.marks_unsaved {
            return;
        }
        match self.spool.with(|spool| spool.save_marks()).await {
            Ok(()) => self.marks_unsaved = false,
            Err(error) => tracing::warn!(%error, "the spool's marks cannot be written; after a restart some reports are sent again"),
        }
    }
}

/// A report that fails its checksum can never be sent: it is given up, and its number shows as a gap.
fn read(spool: &mut Spool, position: u64) -> io::Result<Option<Vec<u8>>> {
    match spool.read(position) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(position, %error, "a spooled report is damaged and is given up");
            spool.settle(position)?;
            Ok(None)
        }
        stored => Ok(stored?.map(|stored| stored.body)),
    }
}

/// Completes when finishing is asked for, or nobody is left to ask.
async fn asked(finish: &mut watch::Receiver<bool>) {
    let _ = finish.wait_for(|finish| *finish).await;
}

async fn say_goodbye(client: &AsyncClient, connection: &mut EventLoop) {
    let goodbye = async {
        client.try_disconnect().ok()?;
        loop {
            if let Event::Outgoing(Outgoing::Disconnect) = connection.poll().await.ok()? {
                return Some(());
            }
        }
    };
    // Without a connection there is nobody to say it to.
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => {
            "the broker does not admit this gateway: check gateway.id and gateway.token against the register".to_string()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
