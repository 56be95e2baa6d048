//! A connection's hold on its session; another connection of the same client id may take the session over.

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::session::{Dropped, Message, Outgoing, Subscription};
use super::sessions::{Leave, Seat, Sessions};

pub(super) struct Membership {
    sessions: Sessions,
    seat: Arc<Seat>,
    serial: u64,
    wake: Arc<Notify>,
}

/// Another connection of the same client id holds the session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakenOver;

impl Membership {
    pub(super) fn new(sessions: Sessions, seat: Arc<Seat>, serial: u64, wake: Arc<Notify>) -> Membership {
        Membership { sessions, seat, serial, wake }
    }

    /// Waits until there is something to send, or the session was taken over.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// `false` if there are too many.
    pub(super) fn subscribe(&self, subscription: &Subscription) -> bool {
        self.sessions.subscribe(&self.seat, self.serial, subscription).is_some()
    }

    /// Tells whether the subscription was there.
    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        let mut state = self.seat.lock();
        state.held_by(self.serial) && state.session.unsubscribe(filter)
    }

    /// The next message to send, while fewer than `window` wait for their acknowledgement.
    pub(super) fn next(&self, window: usize, now: Instant) -> Result<Option<Outgoing>, TakenOver> {
        let mut state = self.seat.lock();
        if !state.held_by(self.serial) {
            return Err(TakenOver);
        }
        let mut dropped = Dropped::default();
        let next = state.session.next(window, now, &mut dropped);
        self.sessions.count_dropped(dropped);
        Ok(next)
    }

    /// There is more to send than was taken.
    pub(super) fn wake_again(&self) {
        self.wake.notify_one();
    }

    /// Tells whether anything waited for this acknowledgement.
    pub(super) fn acknowledge(&self, packet_id: NonZeroU16) -> bool {
        let mut state = self.seat.lock();
        let known = state.held_by(self.serial) && state.session.acknowledge(packet_id);
        state.wake();
        known
    }

    /// Tells a message to the gateway's clients. Gives it back where this very connection is to send it at once; where its client has
    /// not acknowledged enough of what came before, it waits its turn.
    pub(super) fn tell(&self, message: &Message, window: usize) -> Option<Outgoing> {
        self.sessions.deliver_beside(&self.seat, message);
        let mut state = self.seat.lock();
        let grant = state.session.grant(message, false).filter(|_| state.held_by(self.serial))?;
        if !state.session.waits(&message.topic)
            && let Some(outgoing) = state.session.send_at_once(message, grant, window)
        {
            return Some(outgoing);
        }
        self.sessions.count_dropped(state.session.push(message.clone(), grant));
        state.wake();
        None
    }

    pub(super) fn leave(&self, leave: Leave, now: Instant) {
        self.sessions.leave(&self.seat, self.serial, leave, now);
    }
}

impl Drop for Membership {
    /// A task that has failed leaves like a lost connection; after `leave` there is nothing left to do.
    fn drop(&mut self) {
        self.sessions.leave(&self.seat, self.serial, Leave { with_will: true, expiry: None }, Instant::now());
    }
}
