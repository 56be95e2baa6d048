//! Brings reports from the spool to the service over MQTT 5. What is sent and what an answer means is decided in `delivery`.
//!
//! The client's own queue is never relied on: after any error the connection is thrown away, and a new one sends
//! everything unsettled again from the spool. A repeated report has no effect on the service.

mod answers;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use wire::topic::GatewayTopic;

use crate::backoff::Backoff;
use crate::broker::{Broker, Confirm, DeliveryConfig};
use crate::clock::Clock;
use crate::config::Gateway;
use crate::connect::{self, say_goodbye};
use crate::delivery::{self, Delivery, Effect, Limits, Why};
use crate::receipt::ReceiptKeys;
use crate::refusals::Refusals;
use crate::shared::SharedSpool;
use crate::spool::Spool;
use crate::trouble::{BrokerTrouble, TroubleKind};
use crate::uplink_state::SharedUplinkState;
use crate::watchdog::Pulse;

const TICK: Duration = Duration::from_secs(1);
/// At the end, what is in flight may still be acknowledged for so long.
const FINISH_WAIT: Duration = Duration::from_secs(5);
/// A connection that lasted so long counts as good: the next attempt comes soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);
/// What a PUBLISH has beside topic and payload.
const PUBLISH_BYTES: usize = 16;

pub struct Uplink {
    gateway: Gateway,
    broker: Broker,
    keys: Option<ReceiptKeys>,
    spool: SharedSpool,
    clock: Arc<dyn Clock>,
    shown: SharedUplinkState,
    delivery: Delivery,
    refusals: Refusals,
    backoff: Backoff,
    began: Instant,
    /// Reports from this position on are of this start.
    own_from: u64,
    /// Which of the broker's addresses is next, and how many were tried in vain since the last wait.
    address: usize,
    vain_count: usize,
    was_connected: bool,
}

enum End {
    Finished,
    Lost(BrokerTrouble),
}

impl From<BrokerTrouble> for End {
    fn from(trouble: BrokerTrouble) -> End {
        End::Lost(trouble)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Lost(BrokerTrouble::new(TroubleKind::Spool, error.to_string()))
    }
}

/// One connection in use.
struct Link {
    client: AsyncClient,
    packet_bytes_max: usize,
    connected: bool,
    tick: Interval,
    finish_until: Option<Instant>,
}

impl Uplink {
    pub fn new(
        gateway: Gateway,
        broker: Broker,
        config: DeliveryConfig,
        spool: SharedSpool,
        clock: Arc<dyn Clock>,
        shown: SharedUplinkState,
    ) -> Uplink {
        let (keys, receipt_timeout) = match config.confirm {
            Confirm::Puback => (None, None),
            Confirm::Receipt { keys_file, timeout } => (Some(ReceiptKeys::of(keys_file)), Some(timeout)),
        };
        let limits = Limits {
            in_flight_max: broker.in_flight_max,
            backlog_reports_per_s: config.backlog_reports_per_s,
            pause_max: broker.retry_max,
            acknowledge_timeout: broker.acknowledge_timeout,
            receipt_timeout,
        };
        Uplink {
            delivery: Delivery::new(limits),
            refusals: Refusals::default(),
            backoff: Backoff::new(broker.retry_max.min(Duration::from_secs(1)), broker.retry_max),
            gateway,
            broker,
            keys,
            spool,
            clock,
            shown,
            began: Instant::now(),
            own_from: u64::MAX,
            address: 0,
            vain_count: 0,
            was_connected: false,
        }
    }

    /// Delivers until `finish` turns true, then what can still be delivered shortly.
    pub async fn run(mut self, mut finish: watch::Receiver<bool>, pulse: Pulse) {
        if let Ok(next) = self.spool.with(|spool| Ok(spool.next_position())).await {
            self.own_from = next;
        }
        loop {
            let began = Instant::now();
            let end = self.connection(&mut finish, &pulse).await;
            self.disconnected();
            let End::Lost(trouble) = end else { break };
            let wait = self.lost(&trouble, began.elapsed());
            tokio::select! {
                () = pulse.during(tokio::time::sleep(wait)) => {}
                () = asked(&mut finish) => break,
            }
        }
        if let Err(error) = self.spool.with(|spool| spool.save_marks()).await {
            tracing::warn!(%error, "the spool's marks cannot be written; after a restart some reports are sent again");
        }
    }

    /// Says what happened, turns to the next address, and gives the time to wait.
    fn lost(&mut self, trouble: &BrokerTrouble, lasted: Duration) -> Duration {
        if lasted > GOOD_CONNECTION {
            self.backoff.reset();
        }
        let count = self.broker.addresses.len().max(1);
        let broker = self.broker.addresses[self.address].to_string();
        let of_the_disk = trouble.kind == TroubleKind::Spool;
        if !of_the_disk {
            self.address = (self.address + 1) % count;
            self.vain_count += 1;
        }
        // All addresses are tried before a wait; but whoever was connected waits, so that not all gateways turn to the next one at once.
        let at_once = self.vain_count < count && !self.was_connected && !of_the_disk;
        let wait = if at_once { Duration::ZERO } else { self.backoff.after_failure(rand::random()) };
        if !at_once {
            self.vain_count = 0;
        }
        let what = ended(trouble.kind, std::mem::take(&mut self.was_connected));
        let (name, wait_ms) = (trouble.name(), wait.as_millis());
        tracing::warn!(gateway = self.gateway.id, broker, trouble = name, reason = %trouble, wait_ms, "{what}");
        self.shown.failed(trouble, self.clock.now());
        wait
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// One connection, from connecting to its end.
    async fn connection(&mut self, finish: &mut watch::Receiver<bool>, pulse: &Pulse) -> End {
        self.gateway.renew_token();
        let options = match connect::options(&self.broker, &self.broker.addresses[self.address], &self.gateway, &self.gateway.id) {
            Ok(options) => options,
            Err(trouble) => return End::Lost(trouble),
        };
        let (client, mut connection) = AsyncClient::new(options, usize::from(self.broker.in_flight_max) + 4);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = Link { client, packet_bytes_max: usize::MAX, connected: false, tick, finish_until: None };
        loop {
            match self.next(&mut link, &mut connection, finish, pulse).await {
                Ok(()) => {}
                Err(End::Finished) => {
                    say_goodbye(&link.client, &mut connection).await;
                    return End::Finished;
                }
                Err(lost) => return lost,
            }
        }
    }

    /// Waits for the connection's next event and does what follows from it, and from what happens meanwhile.
    async fn next(
        &mut self,
        link: &mut Link,
        connection: &mut EventLoop,
        finish: &mut watch::Receiver<bool>,
        pulse: &Pulse,
    ) -> Result<(), End> {
        let polled = {
            // A poll is never dropped half way: a packet just taken from the client's queue would be lost.
            let poll = connection.poll();
            tokio::pin!(poll);
            loop {
                pulse.beat();
                let wakes_at = self.delivery.wakes_at_ms(self.now_ms()).map(|at_ms| self.began + Duration::from_millis(at_ms));
                let event = tokio::select! {
                    event = &mut poll => break event,
                    () = self.spool.filled() => self.spooled().await?,
                    () = tokio::time::sleep_until(wakes_at.unwrap_or_else(Instant::now)), if wakes_at.is_some() => delivery::Event::Tick,
                    _ = link.tick.tick() => {
                        self.forget_settled(link).await?;
                        delivery::Event::Tick
                    }
                    () = asked(finish), if link.finish_until.is_none() => {
                        link.finish_until = Some(Instant::now() + FINISH_WAIT);
                        self.spooled().await?
                    }
                };
                self.apply(link, event).await?;
                self.finished(link).await?;
            }
        };
        match polled {
            Ok(event) => self.heard(link, event).await?,
            Err(error) => {
                // Acknowledgements that came in the same breath as the error still count.
                while let Some(event) = connection.state.events.pop_front() {
                    self.heard(link, event).await?;
                }
                return Err(BrokerTrouble::from(&error).into());
            }
        }
        self.finished(link).await
    }

    async fn finished(&self, link: &Link) -> Result<(), End> {
        let Some(until) = link.finish_until else { return Ok(()) };
        let done = match link.connected {
            true => self.delivery.all_sent(self.now_ms()),
            false => self.spool.with(|spool| Ok(spool.unsettled_count() == 0)).await?,
        };
        if done || Instant::now() >= until { Err(End::Finished) } else { Ok(()) }
    }

    /// Reports may be dropped while they are held.
    async fn forget_settled(&mut self, link: &Link) -> Result<(), End> {
        if !self.delivery.holds_any() {
            return Ok(());
        }
        let oldest = |spool: &mut Spool| Ok(spool.unsettled(0, 1).first().copied().unwrap_or(spool.next_position()));
        let position = self.spool.with(oldest).await?;
        self.apply(link, delivery::Event::Oldest { position }).await
    }

    async fn spooled(&self) -> io::Result<delivery::Event<'static>> {
        Ok(delivery::Event::Spooled { next: self.spool.with(|spool| Ok(spool.next_position())).await? })
    }

    /// What comes from the broker, or went to it.
    async fn heard(&mut self, link: &mut Link, event: Event) -> Result<(), End> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.apply(link, delivery::Event::Sent { packet_id }).await,
            Event::Incoming(Packet::ConnAck(answer)) => self.connected(link, &answer).await,
            Event::Incoming(Packet::PubAck(answer)) => {
                let event = delivery::Event::Acknowledged { packet_id: answer.pkid, reason: answer.reason, jitter: rand::random() };
                self.apply(link, event).await
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                if let Err(trouble) = connect::subscribed(&answer.return_codes) {
                    tracing::warn!(gateway = self.gateway.id, trouble = trouble.name(), reason = %trouble, "not everything that the service says is heard");
                    self.shown.failed(&trouble, self.clock.now());
                    self.shown.with(|state| state.obstacles.unheard = Some(trouble.detail));
                }
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = GatewayTopic::ALL.iter().find(|(topic, _)| publish.topic == topic.of(&self.gateway.id).as_bytes());
                match topic {
                    Some((GatewayTopic::Refused, _)) => self.refusal(link, &publish.payload).await?,
                    Some((GatewayTopic::Receipt, _)) => self.receipt(link, &publish.payload).await?,
                    Some((GatewayTopic::Standing, _)) => {
                        let said = serde_json::from_slice(&publish.payload).unwrap_or_default();
                        self.shown.with(|state| state.stand(said));
                    }
                    _ => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn connected(&mut self, link: &mut Link, answer: &ConnAck) -> Result<(), End> {
        let properties = answer.properties.as_ref();
        link.connected = true;
        link.packet_bytes_max = properties.and_then(|properties| properties.max_packet_size).map_or(usize::MAX, |bytes| bytes as usize);
        self.was_connected = true;
        let broker = self.broker.addresses[self.address].to_string();
        tracing::info!(gateway = self.gateway.id, broker, "connected to the broker");
        let now = self.clock.now();
        self.shown.with(|state| {
            state.broker = Some(broker);
            state.connected_since = Some(now);
            state.connections_total += 1;
            (state.obstacles.oversized, state.obstacles.unheard) = (None, None);
        });
        // The broker reads it before any report that follows, so that what is said of a report is heard.
        let mut topics = vec![GatewayTopic::Refused, GatewayTopic::Standing];
        topics.extend(self.keys.is_some().then_some(GatewayTopic::Receipt));
        connect::subscribe(&link.client, &self.gateway, &topics)?;
        let receive_max = properties.and_then(|properties| properties.receive_max);
        let (oldest, next) = self.spool.with(|spool| Ok((spool.unsettled(0, 1).first().copied(), spool.next_position()))).await?;
        self.apply(link, delivery::Event::Connected { oldest, next, receive_max }).await
    }

    fn disconnected(&mut self) {
        self.delivery.apply(delivery::Event::Disconnected, self.now_ms());
        if self.keys.is_none() {
            self.refusals.clear();
        }
        self.shown.with(|state| {
            state.state = self.delivery.state();
            state.resent_total = self.delivery.resent_total();
            (state.broker, state.connected_since) = (None, None);
        });
    }

    /// Lets `delivery` decide, and does it.
    async fn apply(&mut self, link: &Link, event: delivery::Event<'_>) -> Result<(), End> {
        let mut effects = VecDeque::from(self.delivery.apply(event, self.now_ms()));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send(position) => {
                    let mut positions = vec![position];
                    while let Some(Effect::Send(position)) = effects.front() {
                        positions.push(*position);
                        effects.pop_front();
                    }
                    effects.extend(self.send(link, positions).await?);
                }
                Effect::Settle(position) => {
                    self.spool.with(move |spool| spool.settle(position)).await?;
                    self.acknowledged(1);
                }
                Effect::Refuse(position, reason) => {
                    if let Some(held) = self.refuse(position, reason).await {
                        effects.extend(self.delivery.apply(held, self.now_ms()));
                    }
                }
                Effect::Forbidden(position, reason) => {
                    let follows = self.forbidden(position, reason).await?;
                    effects.extend(self.delivery.apply(follows, self.now_ms()));
                }
                Effect::Pause(position, reason) => {
                    let gateway = &self.gateway.id;
                    tracing::warn!(gateway, position, reason, "the broker does not take a report now; it is sent again later");
                }
                Effect::Unconfirmed(count) => {
                    let gateway = &self.gateway.id;
                    tracing::warn!(gateway, count, "reports have no receipt in time; they are sent again");
                }
                Effect::Reconnect => return Err(BrokerTrouble::new(TroubleKind::Unacknowledged, "no acknowledgement").into()),
                Effect::Entered(state) => {
                    tracing::info!(gateway = self.gateway.id, ?state, "delivery");
                    self.shown.with(|shown| shown.state = state);
                }
            }
        }
        self.show();
        Ok(())
    }

    fn show(&self) {
        let count = |why| self.delivery.held_count(why) as u64;
        self.shown.with(|state| {
            state.resent_total = self.delivery.resent_total();
            let obstacles = &mut state.obstacles;
            (obstacles.doubted, obstacles.unkept) = (count(Why::Doubted), count(Why::Unkept));
            if obstacles.doubted == 0 {
                obstacles.doubts.clear();
            }
            if obstacles.unkept == 0 {
                obstacles.unkept_error = None;
            }
        });
    }

    fn acknowledged(&mut self, count: u64) {
        self.backoff.reset();
        let now = self.clock.now();
        self.shown.with(|state| {
            state.acknowledged_total += count;
            state.last_ack_at = Some(now);
        });
    }

    /// Hands reports to the client, in this order. What follows from those that the spool no longer has is given back.
    async fn send(&mut self, link: &Link, positions: Vec<u64>) -> Result<Vec<Effect>, End> {
        let read = move |spool: &mut Spool| {
            let read = |position| -> io::Result<_> {
                let stored = spool.read(position)?;
                let next = if stored.is_some() { position } else { spool.unsettled(position, 1).first().copied().unwrap_or(u64::MAX) };
                Ok((position, stored.map(|stored| stored.body), next))
            };
            positions.into_iter().map(read).collect::<io::Result<Vec<_>>>()
        };
        let topic = GatewayTopic::Report.of(&self.gateway.id);
        let body_bytes_max = link.packet_bytes_max.saturating_sub(topic.len() + PUBLISH_BYTES);
        let mut effects = Vec::new();
        for (position, body, next) in self.spool.with(read).await? {
            match body {
                Some(body) if body.len() <= body_bytes_max => {
                    let published = link.client.try_publish(topic.as_str(), QoS::AtLeastOnce, false, body);
                    published.map_err(|error| BrokerTrouble::new(TroubleKind::Closed, error.to_string()))?;
                    continue;
                }
                Some(body) => {
                    let (gateway, bytes) = (&self.gateway.id, body.len());
                    tracing::error!(
                        gateway,
                        position,
                        bytes,
                        body_bytes_max,
                        "the broker takes no report of this size; it stays in the spool"
                    );
                    self.shown.with(|state| {
                        let oversized = state.obstacles.oversized.get_or_insert_default();
                        oversized.count += 1;
                        oversized.bytes = oversized.bytes.max(bytes as u64);
                        oversized.packet_bytes_max = link.packet_bytes_max as u64;
                    });
                }
                None => {}
            }
            let gone = delivery::Event::Gone { position, next: next.max(position + 1) };
            effects.extend(self.delivery.apply(gone, self.now_ms()));
        }
        Ok(effects)
    }
}

fn ended(kind: TroubleKind, was_connected: bool) -> &'static str {
    match (kind, was_connected) {
        (TroubleKind::Spool, _) => "the spool fails; delivery begins anew",
        (_, true) => "the connection to the broker has ended; reports wait in the spool",
        (_, false) => "no connection to the broker; reports wait in the spool",
    }
}

/// Completes when finishing is asked for, or nobody is left to ask.
async fn asked(finish: &mut watch::Receiver<bool>) {
    let _ = finish.wait_for(|finish| *finish).await;
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
