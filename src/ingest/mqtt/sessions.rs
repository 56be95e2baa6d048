//! Who is connected, and what each has subscribed to: messages of the service find their way from here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use observe::Metrics;
use tokio::sync::mpsc;
use wire::topic;

/// Messages that may wait for one slow reader; beyond it they are dropped, as QoS 0 allows, and counted.
const OUTBOX_MAX: usize = 256;
pub(crate) const SUBSCRIPTIONS_MAX: usize = 32;

/// What a connection is handed from outside.
pub(crate) enum Delivery {
    Message {
        topic: String,
        payload: Bytes,
        retain: bool,
    },
    /// Another connection has come with the same client id.
    TakenOver,
}

struct Session {
    serial: u64,
    gateway: String,
    filters: Vec<String>,
    outbox: mpsc::Sender<Delivery>,
}

#[derive(Default)]
struct Inner {
    by_client: HashMap<String, Session>,
    retained: HashMap<String, Bytes>,
    serial: u64,
}

#[derive(Clone)]
pub(crate) struct Sessions {
    inner: Arc<Mutex<Inner>>,
    metrics: Metrics,
}

/// A connection's own place among the sessions; it leaves when this is dropped.
pub(crate) struct Membership {
    sessions: Sessions,
    client_id: String,
    serial: u64,
}

impl Sessions {
    pub(crate) fn new(metrics: Metrics) -> Sessions {
        Sessions { inner: Arc::default(), metrics }
    }

    /// Enters a connection; an older one of the same client id is told to go.
    pub(crate) fn enter(&self, client_id: &str, gateway: &str) -> (Membership, mpsc::Receiver<Delivery>) {
        let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
        let mut inner = self.lock();
        inner.serial += 1;
        let serial = inner.serial;
        let session = Session { serial, gateway: gateway.to_string(), filters: Vec::new(), outbox };
        if let Some(older) = inner.by_client.insert(client_id.to_string(), session) {
            // A full outbox is no reason to stay: the older one then ends when its sender is dropped.
            let _ = older.outbox.try_send(Delivery::TakenOver);
        }
        (Membership { sessions: self.clone(), client_id: client_id.to_string(), serial }, inbox)
    }

    /// Hands a message to every connection that has subscribed to its topic.
    pub(crate) fn deliver(&self, topic: &str, payload: &Bytes) {
        let inner = self.lock();
        inner.by_client.values().for_each(|session| self.hand_over(session, topic, payload, false));
    }

    /// Hands a message to the connections of one gateway, but for one of them.
    pub(crate) fn deliver_to_gateway(&self, gateway: &str, but: &Membership, topic: &str, payload: &Bytes) {
        let inner = self.lock();
        let others = inner.by_client.values().filter(|session| session.gateway == gateway && session.serial != but.serial);
        others.for_each(|session| self.hand_over(session, topic, payload, false));
    }

    /// Keeps a message for those who subscribe later.
    pub(crate) fn retain(&self, topic: &str, payload: &Bytes) {
        self.lock().retained.insert(topic.to_string(), payload.clone());
    }

    fn hand_over(&self, session: &Session, topic: &str, payload: &Bytes, retain: bool) {
        if session.filters.iter().any(|filter| topic::matches(filter, topic)) {
            let message = Delivery::Message { topic: topic.to_string(), payload: payload.clone(), retain };
            if session.outbox.try_send(message).is_err() {
                self.metrics.feed_dropped.inc();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Membership {
    /// Adds a subscription; `false` if there are too many. Retained messages that match are handed over at once.
    pub(crate) fn subscribe(&self, filter: &str) -> bool {
        let mut inner = self.sessions.lock();
        let inner = &mut *inner;
        let Some(session) = self.own(&mut inner.by_client) else { return false };
        if !session.filters.iter().any(|known| known == filter) {
            if session.filters.len() >= SUBSCRIPTIONS_MAX {
                return false;
            }
            session.filters.push(filter.to_string());
        }
        for (topic, payload) in inner.retained.iter().filter(|(topic, _)| topic::matches(filter, topic)) {
            let message = Delivery::Message { topic: topic.clone(), payload: payload.clone(), retain: true };
            if session.outbox.try_send(message).is_err() {
                self.sessions.metrics.feed_dropped.inc();
            }
        }
        true
    }

    /// Takes a subscription back; tells whether it was there.
    pub(crate) fn unsubscribe(&self, filter: &str) -> bool {
        let mut inner = self.sessions.lock();
        let Some(session) = self.own(&mut inner.by_client) else { return false };
        let before = session.filters.len();
        session.filters.retain(|known| known != filter);
        session.filters.len() < before
    }

    pub(crate) fn subscribed_to(&self, topic: &str) -> bool {
        let mut inner = self.sessions.lock();
        self.own(&mut inner.by_client).is_some_and(|session| session.filters.iter().any(|filter| topic::matches(filter, topic)))
    }

    fn own<'a>(&self, by_client: &'a mut HashMap<String, Session>) -> Option<&'a mut Session> {
        by_client.get_mut(&self.client_id).filter(|session| session.serial == self.serial)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut inner = self.sessions.lock();
        if self.own(&mut inner.by_client).is_some() {
            inner.by_client.remove(&self.client_id);
        }
    }
}
