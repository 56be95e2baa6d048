//! What waits to be read, fairly: each sender gets its turn by bytes, however much another sends, and backfill yields to live data.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use wire::identity::Sender;

use crate::intake::{Busy, Unavailable};
use crate::item::Batch;

/// Bodies under way from door to answer: of one sender, and in all. Whatever waits longer waits with its sender. More would not be
/// settled sooner: so much keeps readers and the committing thread busy.
pub(crate) const SENDER_KIB_MAX: usize = 768;
pub(crate) const TOTAL_KIB_MAX: usize = 2 << 10;
/// What is read of a sender at once.
pub(crate) const PIECE_KIB: usize = 64;
/// Pieces that are read and wait for room: what is not read waits with its sender, and takes nobody's time here.
const IN_HAND_MAX: usize = 4;
/// What a sender may have read in one turn.
const QUANTUM_BYTES: i64 = 64 << 10;
/// Of so many turns one is backfill's, while live data waits.
const BACKFILL_TURN: u64 = 10;

/// Room taken by a batch until it is answered.
pub(crate) struct Room {
    _sender: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

/// The right to read a piece of what a sender has sent.
pub(crate) struct Ticket {
    own: OwnedSemaphorePermit,
    in_hand: OwnedSemaphorePermit,
}

pub(crate) struct Queued {
    pub(crate) batch: Batch,
    pub(crate) room: Room,
}

#[derive(Clone)]
pub(crate) struct FairQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
    total: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// Everybody who has sent since the start: no more than the register has.
    senders: HashMap<Sender, Waiting>,
    /// Senders with something to read that nobody is reading: live ones and those that send backfill.
    live: VecDeque<Sender>,
    backfill: VecDeque<Sender>,
    turns: u64,
    stopped: bool,
}

struct Waiting {
    batches: VecDeque<Queued>,
    /// Bytes that it may still have read; below zero after a batch larger than its turn.
    credit: i64,
    /// Somebody is reading a batch of it: the next one waits, so that the order stays.
    busy: bool,
    /// Its last batch held old readings only.
    backfill: bool,
    room: Arc<Semaphore>,
}

/// What is to be read in one turn.
pub(crate) struct Turn {
    pub(crate) sender: Sender,
    pub(crate) batches: Vec<Queued>,
}

impl FairQueue {
    pub(crate) fn new() -> FairQueue {
        let [total, in_hand] = [TOTAL_KIB_MAX, IN_HAND_MAX].map(|permits| Arc::new(Semaphore::new(permits)));
        FairQueue(Arc::new(Shared { state: Mutex::default(), ready: Condvar::new(), total, in_hand }))
    }

    /// Waits until a piece of what a sender has sent may be read: for its own room, and until few others have something in hand.
    pub(crate) async fn ticket(&self, sender: &Sender) -> Result<Ticket, Unavailable> {
        let own = self.room_of(sender).acquire_many_owned(PIECE_KIB as u32).await.map_err(|_| Unavailable)?;
        let in_hand = self.0.in_hand.clone().acquire_owned().await.map_err(|_| Unavailable)?;
        Ok(Ticket { own, in_hand })
    }

    /// Waits for room, the sender's own first unless it has a ticket, and queues.
    pub(crate) async fn push(&self, batch: Batch, ticket: Option<Ticket>) -> Result<(), Unavailable> {
        let wanted = kib(&batch, SENDER_KIB_MAX);
        // A message that came in several pieces needs more than the last of them: it waits for room like what has no ticket.
        let (sender, _in_hand) = match ticket.filter(|_| wanted as usize <= PIECE_KIB) {
            Some(Ticket { mut own, in_hand }) => {
                let left = own.num_permits().saturating_sub(wanted as usize);
                drop(own.split(left));
                (own, Some(in_hand))
            }
            None => (self.room_of(&batch.sender).acquire_many_owned(wanted).await.map_err(|_| Unavailable)?, None),
        };
        let total = self.0.total.clone().acquire_many_owned(kib(&batch, TOTAL_KIB_MAX)).await.map_err(|_| Unavailable)?;
        self.put(Queued { batch, room: Room { _sender: sender, _total: total } })
    }

    /// Queues if there is room now. Of a request that is larger than one sender's share only the share is counted: it is in memory
    /// already, and would else have to wait until nobody has anything under way.
    pub(crate) fn try_push(&self, batch: Batch) -> Result<Result<(), Unavailable>, Busy> {
        let own = self.room_of(&batch.sender).try_acquire_many_owned(kib(&batch, SENDER_KIB_MAX));
        let sender = own.map_err(|_| Busy::Sender)?;
        match self.0.total.clone().try_acquire_many_owned(kib(&batch, SENDER_KIB_MAX)) {
            Ok(total) => Ok(self.put(Queued { batch, room: Room { _sender: sender, _total: total } })),
            Err(TryAcquireError::Closed) => Ok(Err(Unavailable)),
            Err(TryAcquireError::NoPermits) => Err(Busy::Service),
        }
    }

    /// The next sender's turn; waits for one. `None` once the queue has stopped and is empty.
    pub(crate) fn next(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            if let Some(turn) = state.next_turn() {
                return Some(turn);
            }
            if state.stopped {
                return None;
            }
            state = self.0.ready.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The turn's batches have gone on; `backfill`: they held old readings only.
    pub(crate) fn done(&self, sender: &Sender, backfill: bool) {
        let mut state = self.lock();
        let Some(waiting) = state.senders.get_mut(sender) else { return };
        waiting.busy = false;
        waiting.backfill = backfill;
        if !waiting.batches.is_empty() {
            state.line_up(sender.clone(), backfill);
            self.0.ready.notify_one();
        }
    }

    /// Takes nothing more; what waits is still read.
    pub(crate) fn stop(&self) {
        self.0.total.close();
        self.0.in_hand.close();
        self.lock().stopped = true;
        self.0.ready.notify_all();
    }

    fn room_of(&self, sender: &Sender) -> Arc<Semaphore> {
        self.lock().waiting(sender).room.clone()
    }

    fn put(&self, queued: Queued) -> Result<(), Unavailable> {
        let mut state = self.lock();
        if state.stopped {
            return Err(Unavailable);
        }
        let sender = queued.batch.sender.clone();
        let waiting = state.waiting(&sender);
        waiting.batches.push_back(queued);
        let (idle, backfill) = (!waiting.busy && waiting.batches.len() == 1, waiting.backfill);
        if idle {
            state.line_up(sender, backfill);
            self.0.ready.notify_one();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn waiting(&mut self, sender: &Sender) -> &mut Waiting {
        self.senders.entry(sender.clone()).or_insert_with(|| Waiting {
            batches: VecDeque::new(),
            credit: 0,
            busy: false,
            backfill: false,
            room: Arc::new(Semaphore::new(SENDER_KIB_MAX)),
        })
    }

    fn line_up(&mut self, sender: Sender, backfill: bool) {
        if backfill { self.backfill.push_back(sender) } else { self.live.push_back(sender) }
    }

    fn next_turn(&mut self) -> Option<Turn> {
        loop {
            self.turns += 1;
            let backfill_first = self.turns.is_multiple_of(BACKFILL_TURN);
            let (first, second) = if backfill_first { (&mut self.backfill, &mut self.live) } else { (&mut self.live, &mut self.backfill) };
            let sender = first.pop_front().or_else(|| second.pop_front())?;
            let alone = self.live.is_empty() && self.backfill.is_empty();
            let waiting = self.senders.get_mut(&sender)?;
            // Whoever is alone owes nobody anything.
            waiting.credit = if alone { QUANTUM_BYTES } else { (waiting.credit + QUANTUM_BYTES).min(QUANTUM_BYTES) };
            let mut batches = Vec::new();
            while waiting.credit > 0
                && let Some(queued) = waiting.batches.pop_front()
            {
                waiting.credit -= queued.batch.bytes() as i64;
                batches.push(queued);
            }
            if batches.is_empty() {
                let backfill = waiting.backfill;
                self.line_up(sender, backfill);
                continue;
            }
            waiting.busy = true;
            return Some(Turn { sender, batches });
        }
    }
}

fn kib(batch: &Batch, most: usize) -> u32 {
    (batch.bytes() / 1024 + 1).min(most) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::RawMessage;
    use bytes::Bytes;
    use chrono::DateTime;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use store::Vouched;

    fn batch(sender: &str, bytes: usize) -> Batch {
        Batch {
            sender: Sender::Gateway(sender.into()),
            vouched: Vouched::Token,
            received_at: DateTime::from_timestamp(1_572_940_800, 0).unwrap(),
            messages: vec![RawMessage::of(Bytes::from(vec![b'x'; bytes]))],
            reply: Box::new(|_| {}),
        }
    }

    fn push(queue: &FairQueue, sender: &str, bytes: usize) {
        assert!(matches!(queue.try_push(batch(sender, bytes)), Ok(Ok(()))));
    }

    /// Takes and ends a turn: who had it, and how many batches.
    fn turn(queue: &FairQueue, backfill: bool) -> (String, usize) {
        let turn = queue.next().unwrap();
        queue.done(&turn.sender, backfill);
        (turn.sender.id().to_string(), turn.batches.len())
    }

    #[test]
    fn a_noisy_sender_gets_its_share_by_bytes_and_no_more() {
        let queue = FairQueue::new();
        (0..12).for_each(|_| push(&queue, "noisy", 60 << 10));
        (0..3).for_each(|_| push(&queue, "quiet", 1 << 10));
        assert_eq!(turn(&queue, false), ("noisy".into(), 2));
        assert_eq!(turn(&queue, false), ("quiet".into(), 3), "the quiet one is not behind all of the noisy one's");
        push(&queue, "quiet", 1 << 10);
        // The noisy one has had more than its turn and pays first.
        let next: Vec<_> = (0..2).map(|_| turn(&queue, false).0).collect();
        assert!(next.contains(&"quiet".to_string()), "{next:?}");
    }

    #[test]
    fn a_sender_with_a_batch_of_many_turns_waits_as_many_while_others_have_something() {
        let queue = FairQueue::new();
        push(&queue, "bulk", 640 << 10);
        push(&queue, "bulk", 1 << 10);
        (0..12).for_each(|_| push(&queue, "live", 60 << 10));
        assert_eq!(turn(&queue, false), ("bulk".into(), 1));
        let before_bulk = (0..).map(|_| turn(&queue, false).0).take_while(|sender| sender == "live").count();
        assert!(before_bulk >= 5, "{before_bulk}");
    }

    #[test]
    fn backfill_yields_to_live_data_but_is_not_starved() {
        let queue = FairQueue::new();
        (0..16).for_each(|_| push(&queue, "old", 30 << 10));
        assert_eq!(turn(&queue, true).0, "old");
        (0..48).for_each(|n| push(&queue, ["live", "also live"][n % 2], 30 << 10));
        let turns: Vec<_> = (0..16)
            .map(|_| {
                let turn = queue.next().unwrap();
                queue.done(&turn.sender, turn.sender.id() == "old");
                turn.sender.id().to_string()
            })
            .collect();
        let old = turns.iter().filter(|sender| *sender == "old").count();
        assert!((1..=4).contains(&old), "{turns:?}");
    }

    #[test]
    fn batches_of_one_sender_keep_their_order_and_are_never_read_at_once() {
        let queue = FairQueue::new();
        push(&queue, "g", 100 << 10);
        push(&queue, "g", 100 << 10);
        push(&queue, "other", 1);
        let first = queue.next().unwrap();
        assert_eq!(first.sender.id(), "g");
        assert_eq!(queue.next().unwrap().sender.id(), "other", "the second batch waits for the first");
        queue.done(&first.sender, false);
        assert_eq!(queue.next().unwrap().sender.id(), "g");
    }

    #[test]
    fn room_is_bounded_by_sender_and_in_all_and_given_back() {
        let queue = FairQueue::new();
        let most = (SENDER_KIB_MAX - 1) << 10;
        push(&queue, "a", most);
        assert!(matches!(queue.try_push(batch("a", 1 << 10)), Err(Busy::Sender)));
        push(&queue, "b", most);
        push(&queue, "c", (TOTAL_KIB_MAX - 2 * SENDER_KIB_MAX - 1) << 10);
        assert!(matches!(queue.try_push(batch("d", 4 << 10)), Err(Busy::Service)));
        let taken = queue.next().unwrap();
        queue.done(&taken.sender, false);
        drop(taken);
        push(&queue, "d", 4 << 10);
    }

    /// A ticket that is there at once, or none.
    fn ticket(queue: &FairQueue, sender: &str) -> Option<Ticket> {
        let sender = Sender::Gateway(sender.into());
        let mut asked = pin!(queue.ticket(&sender));
        match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ticket) => ticket.ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn few_pieces_are_in_hand_at_once_and_no_sender_has_more_than_its_room() {
        let queue = FairQueue::new();
        let tickets: Vec<_> = ["a", "a", "b", "c"].iter().map(|sender| ticket(&queue, sender).unwrap()).collect();
        assert!(ticket(&queue, "d").is_none(), "enough is in hand");
        drop(tickets);
        let of_a = ticket(&queue, "a").unwrap();
        queue.push(batch("a", 1 << 10), Some(of_a)).await.unwrap();
        let room = queue.room_of(&Sender::Gateway("a".into()));
        assert_eq!(room.available_permits(), SENDER_KIB_MAX - 2, "what the piece did not need is given back");
        let of_b = ticket(&queue, "b").unwrap();
        queue.push(batch("b", 200 << 10), Some(of_b)).await.unwrap();
        let room = queue.room_of(&Sender::Gateway("b".into()));
        assert_eq!(room.available_permits(), SENDER_KIB_MAX - 201, "a message in many pieces takes its whole size");
        push(&queue, "a", (SENDER_KIB_MAX - 60) << 10);
        assert!(ticket(&queue, "a").is_none(), "its room is full");
        assert!(ticket(&queue, "b").is_some(), "nobody waits for it");
        queue.stop();
        assert!(ticket(&queue, "b").is_none());
    }

    #[test]
    fn after_the_stop_what_waits_is_read_and_nothing_is_taken() {
        let queue = FairQueue::new();
        push(&queue, "a", 10);
        queue.stop();
        assert!(!matches!(queue.try_push(batch("a", 10)), Ok(Ok(()))));
        assert_eq!(turn(&queue, false).0, "a");
        assert!(queue.next().is_none());
    }
}
