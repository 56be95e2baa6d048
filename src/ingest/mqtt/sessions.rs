//! All sessions: messages of the service find their way to clients from here, and a client that comes back finds its session.
//! In memory only: when the service starts anew, no session is present.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use observe::Metrics;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::topic;

use super::membership::Membership;
use super::room::Room;
use super::session::{Dropped, Grant, Message, QueueBounds, RetainHandling, Session, Subscription};
use super::will::Will;

/// Sessions that one gateway may leave behind; beyond it the one that is away longest ends.
const IDLE_PER_GATEWAY_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Sessions that may wait for their client, in all.
    pub idle_max: usize,
    /// Messages and bytes that may wait in one session, and bytes in all.
    pub messages_max: usize,
    pub bytes_max: usize,
    pub all_bytes_max: usize,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { idle_max: 20_000, messages_max: 1_000, bytes_max: 1 << 20, all_bytes_max: 64 << 20 }
    }
}

/// Every connection has one: cheap to clone, and small.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Shared>);

struct Shared {
    registry: Mutex<Registry>,
    room: Room,
    options: SessionOptions,
    metrics: Metrics,
}

#[derive(Default)]
struct Registry {
    by_client: HashMap<String, Arc<Seat>>,
    by_gateway: HashMap<String, Vec<Arc<Seat>>>,
    /// Without a connection, in the order in which they were left.
    idle: BTreeMap<u64, Arc<Seat>>,
    retained: HashMap<String, Bytes>,
    serial: u64,
}

/// A session's place under its client id. Locked after the registry, never before it.
pub(super) struct Seat {
    client_id: String,
    gateway: String,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) session: Session,
    /// Whose gateway this was: a gateway that is registered anew for another enterprise starts afresh.
    enterprise: String,
    /// The connection that holds the session now.
    holder: Option<Holder>,
    /// How long the session outlives its connection.
    expiry: Duration,
    will: Option<Will>,
    away: Option<Away>,
}

struct Holder {
    serial: u64,
    /// Told when there is something to send, and when the session was taken away.
    wake: Arc<Notify>,
}

/// A session without a connection.
struct Away {
    /// Its key among the idle ones.
    serial: u64,
    ends_at: Instant,
    will_at: Instant,
}

/// What a CONNECT says of its session.
pub(super) struct Entrance<'a> {
    pub(super) client_id: &'a str,
    pub(super) gateway: &'a str,
    pub(super) enterprise: &'a str,
    pub(super) clean_start: bool,
    pub(super) expiry: Duration,
    pub(super) will: Option<Will>,
}

/// How a connection leaves its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    pub(super) with_will: bool,
    /// Where the client or the door has changed it.
    pub(super) expiry: Option<Duration>,
}

impl Sessions {
    pub(crate) fn new(options: SessionOptions, metrics: Metrics) -> Sessions {
        Sessions(Arc::new(Shared { registry: Mutex::default(), room: Room::new(options.all_bytes_max), options, metrics }))
    }

    /// Gives a connection its session, and whether it is one from before. An older connection of the same client id loses it.
    pub(super) fn enter(&self, entrance: Entrance<'_>, now: Instant) -> (Membership, bool) {
        let mut registry = self.lock();
        registry.serial += 1;
        let serial = registry.serial;
        let known = registry.by_client.get(entrance.client_id).cloned();
        let present = known.as_ref().is_some_and(|seat| {
            let state = seat.lock();
            !entrance.clean_start && !state.expiry.is_zero() && state.enterprise == entrance.enterprise
        });
        if let Some(seat) = &known {
            let will = registry.take_from(seat, present);
            self.tell_will(&registry, seat, will, now);
        }
        let seat = match known {
            Some(seat) if present => seat,
            known => {
                if let Some(known) = known {
                    registry.remove(&known);
                }
                registry.add(self.seat(&entrance))
            }
        };
        let wake = Arc::new(Notify::new());
        // What waits from before is to be sent.
        wake.notify_one();
        {
            let mut state = seat.lock();
            state.holder = Some(Holder { serial, wake: wake.clone() });
            state.expiry = entrance.expiry;
            state.will = entrance.will;
        }
        self.count(&registry);
        (Membership::new(self.clone(), seat, serial, wake), present)
    }

    /// Hands a message of the service to every session that has subscribed to its topic.
    pub(crate) fn deliver(&self, topic: &str, payload: &Bytes) {
        let registry = self.lock();
        let retained = registry.retained.contains_key(topic);
        let message = Message { retained, ..Message::new(topic, payload.clone()) };
        match topic::gateway_of(topic) {
            Some(gateway) => registry.of_gateway(gateway).iter().for_each(|seat| self.hand_over(seat, &message, false)),
            None => registry.by_gateway.values().flatten().for_each(|seat| self.hand_over(seat, &message, false)),
        }
    }

    /// Has any session of the topic's gateway subscribed to it?
    pub(crate) fn listened(&self, topic: &str) -> bool {
        let registry = self.lock();
        let message = Message::new(topic, Bytes::new());
        let seats = topic::gateway_of(topic).map_or(&[][..], |gateway| registry.of_gateway(gateway));
        seats.iter().any(|seat| seat.lock().session.grant(&message, false).is_some())
    }

    /// Keeps a message for those who subscribe later.
    pub(crate) fn retain(&self, topic: &str, payload: &Bytes) {
        self.lock().retained.insert(topic.to_string(), payload.clone());
    }

    /// Ends sessions whose time is over, and tells wills that are due.
    pub(super) fn sweep(&self, now: Instant) {
        let mut registry = self.lock();
        let idle: Vec<_> = registry.idle.values().cloned().collect();
        for seat in idle {
            let (over, will) = {
                let mut state = seat.lock();
                let Some(Away { ends_at, will_at, .. }) = state.away else { continue };
                let over = ends_at <= now;
                (over, if over || will_at <= now { state.will.take() } else { None })
            };
            self.tell_will(&registry, &seat, will, now);
            if over {
                registry.remove(&seat);
            }
        }
        self.count(&registry);
    }

    /// Adds a subscription of the session's holder, and hands over what is retained for it. `None`: there are too many.
    pub(super) fn subscribe(&self, seat: &Seat, holder: u64, subscription: &Subscription) -> Option<()> {
        let registry = self.lock();
        let mut state = seat.lock();
        if !state.held_by(holder) {
            return Some(());
        }
        let new = state.session.subscribe(subscription.clone())?;
        let wanted = match subscription.retained {
            RetainHandling::Always => true,
            RetainHandling::IfNew => new,
            RetainHandling::Never => false,
        };
        for (topic, payload) in registry.retained.iter().filter(|(topic, _)| wanted && topic::matches(&subscription.filter, topic)) {
            let grant = Grant { qos: subscription.qos, retain: true };
            self.count_dropped(state.session.push(Message::new(topic, payload.clone()), grant));
        }
        state.wake();
        Some(())
    }

    /// Hands a message to the gateway's sessions, but for one of them.
    pub(super) fn deliver_beside(&self, seat: &Seat, message: &Message) {
        let registry = self.lock();
        let others = registry.of_gateway(&seat.gateway).iter().filter(|other| !std::ptr::eq(Arc::as_ptr(other), seat));
        others.for_each(|other| self.hand_over(other, message, false));
    }

    fn seat(&self, entrance: &Entrance<'_>) -> Seat {
        let bounds = QueueBounds { messages_max: self.0.options.messages_max, bytes_max: self.0.options.bytes_max };
        let state = State {
            session: Session::new(self.0.room.clone(), bounds),
            enterprise: entrance.enterprise.to_string(),
            holder: None,
            expiry: Duration::ZERO,
            will: None,
            away: None,
        };
        Seat { client_id: entrance.client_id.to_string(), gateway: entrance.gateway.to_string(), state: Mutex::new(state) }
    }

    /// Does nothing if the session was taken over.
    pub(super) fn leave(&self, seat: &Arc<Seat>, holder: u64, leave: Leave, now: Instant) {
        let mut registry = self.lock();
        registry.serial += 1;
        let serial = registry.serial;
        let (over, will) = {
            let mut state = seat.lock();
            if !state.held_by(holder) {
                return;
            }
            state.holder = None;
            state.expiry = leave.expiry.unwrap_or(state.expiry);
            if !leave.with_will {
                state.will = None;
            }
            let over = state.expiry.is_zero();
            let delay = state.will.as_ref().map_or(Duration::ZERO, Will::delay);
            let will = if over || delay.is_zero() { state.will.take() } else { None };
            if !over {
                state.session.rest();
                state.away = Some(Away { serial, ends_at: now + state.expiry, will_at: now + delay });
            }
            (over, will)
        };
        if over {
            registry.remove(seat);
        } else {
            registry.idle.insert(serial, seat.clone());
            self.make_room(&mut registry, &seat.gateway, now);
        }
        self.tell_will(&registry, seat, will, now);
        self.count(&registry);
    }

    /// Ends the sessions that are away longest where there are too many: of this gateway, or in all.
    fn make_room(&self, registry: &mut Registry, gateway: &str, now: Instant) {
        let away_since = |seat: &Arc<Seat>| seat.lock().away.as_ref().map(|away| (away.serial, seat.clone()));
        let mut theirs: Vec<_> = registry.of_gateway(gateway).iter().filter_map(away_since).collect();
        theirs.sort_unstable_by_key(|(serial, _)| *serial);
        let beyond = theirs.len().saturating_sub(IDLE_PER_GATEWAY_MAX);
        let mut ending: Vec<Arc<Seat>> = theirs.into_iter().take(beyond).map(|(_, seat)| seat).collect();
        if registry.idle.len() - ending.len() > self.0.options.idle_max {
            ending.extend(registry.idle.values().next().cloned());
        }
        for seat in ending {
            let will = seat.lock().will.take();
            self.tell_will(registry, &seat, will, now);
            registry.remove(&seat);
            self.0.metrics.sessions_dropped.inc();
        }
    }

    fn tell_will(&self, registry: &Registry, of: &Seat, will: Option<Will>, now: Instant) {
        let Some(will) = will else { return };
        let qos = will.qos;
        let message = will.message(now);
        for seat in registry.of_gateway(&of.gateway) {
            self.hand_over_at_most(seat, &message, seat.client_id == of.client_id, qos);
        }
    }

    fn hand_over(&self, seat: &Seat, message: &Message, own: bool) {
        self.hand_over_at_most(seat, message, own, 1);
    }

    fn hand_over_at_most(&self, seat: &Seat, message: &Message, own: bool, qos_max: u8) {
        let mut state = seat.lock();
        let Some(grant) = state.session.grant(message, own) else { return };
        let grant = Grant { qos: grant.qos.min(qos_max), ..grant };
        // What has QoS 0 does not wait for a client that is away.
        if state.holder.is_none() && grant.qos == 0 {
            return;
        }
        self.count_dropped(state.session.push(message.clone(), grant));
        state.wake();
    }

    pub(super) fn count_dropped(&self, dropped: Dropped) {
        for (reason, count) in [("queue_full", dropped.full), ("expired", dropped.expired)] {
            if count > 0 {
                self.0.metrics.messages_dropped.with_label_values(&[reason]).inc_by(count);
            }
        }
    }

    fn count(&self, registry: &Registry) {
        self.0.metrics.sessions_idle.set(registry.idle.len() as i64);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Registry {
    fn of_gateway(&self, gateway: &str) -> &[Arc<Seat>] {
        self.by_gateway.get(gateway).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, seat: Seat) -> Arc<Seat> {
        let seat = Arc::new(seat);
        self.by_client.insert(seat.client_id.clone(), seat.clone());
        self.by_gateway.entry(seat.gateway.clone()).or_default().push(seat.clone());
        seat
    }

    fn remove(&mut self, seat: &Arc<Seat>) {
        if let Some(away) = seat.lock().away.take() {
            self.idle.remove(&away.serial);
        }
        self.by_client.remove(&seat.client_id);
        if let Some(theirs) = self.by_gateway.get_mut(&seat.gateway) {
            theirs.retain(|known| !Arc::ptr_eq(known, seat));
            if theirs.is_empty() {
                self.by_gateway.remove(&seat.gateway);
            }
        }
    }

    /// Takes a session from whoever holds it or has left it; gives the will that is due by that. A will with a delay is not told when
    /// the session goes on.
    fn take_from(&mut self, seat: &Arc<Seat>, goes_on: bool) -> Option<Will> {
        let mut state = seat.lock();
        if let Some(holder) = state.holder.take() {
            state.session.rest();
            holder.wake.notify_one();
        }
        if let Some(away) = state.away.take() {
            self.idle.remove(&away.serial);
        }
        state.will.take().filter(|will| !(goes_on && will.delay_s > 0))
    }
}

impl State {
    pub(super) fn held_by(&self, serial: u64) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.serial == serial)
    }

    pub(super) fn wake(&self) {
        if let Some(holder) = &self.holder {
            holder.wake.notify_one();
        }
    }
}

impl Seat {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
