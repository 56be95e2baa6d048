//! A session over several connections, with the time as an argument.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::room::Room;
use super::session::{Dropped, Grant, Message, QueueBounds, RetainHandling, SUBSCRIPTIONS_MAX, Session, Subscription};

const BOUNDS: QueueBounds = QueueBounds { messages_max: 5, bytes_max: 100_000 };
const ONCE: Grant = Grant { qos: 1, retain: false };
const MAYBE: Grant = Grant { qos: 0, retain: false };

fn session() -> Session {
    Session::new(Room::new(1 << 20), BOUNDS)
}

fn message(text: &str) -> Message {
    Message::new("t/a", Bytes::copy_from_slice(text.as_bytes()))
}

fn subscription(filter: &str, qos: u8) -> Subscription {
    Subscription { filter: filter.into(), qos, no_local: false, retain_as_published: false, retained: RetainHandling::Always }
}

/// Everything that may be sent now: packet id (0 without), whether it was sent before, payload.
fn sent(session: &mut Session, window: usize) -> Vec<(u16, bool, String)> {
    let mut dropped = Dropped::default();
    let next = || session.next(window, Instant::now(), &mut dropped);
    let shown = |outgoing: super::session::Outgoing| {
        let payload = String::from_utf8(outgoing.message.payload.to_vec()).unwrap();
        (outgoing.packet_id.map_or(0, u16::from), outgoing.duplicate, payload)
    };
    std::iter::from_fn(next).map(shown).collect()
}

fn id(id: u16) -> NonZeroU16 {
    NonZeroU16::new(id).unwrap()
}

#[test]
fn no_more_than_the_window_are_in_flight_and_order_is_kept() {
    let mut session = session();
    for text in ["a", "b", "c"] {
        assert_eq!(session.push(message(text), ONCE), Dropped::default());
    }
    session.push(message("d"), MAYBE);
    assert_eq!(sent(&mut session, 2), [(1, false, "a".into()), (2, false, "b".into())]);
    assert!(!session.acknowledge(id(9)), "nothing waits for that");
    assert!(session.acknowledge(id(1)));
    assert!(!session.acknowledge(id(1)), "only once");
    assert_eq!(sent(&mut session, 2), [(3, false, "c".into()), (0, false, "d".into())]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_first_and_says_so() {
    let mut session = session();
    session.push(message("a"), ONCE);
    session.push(message("b"), ONCE);
    assert_eq!(sent(&mut session, 9).len(), 2);
    session.push(message("c"), MAYBE);
    session.push(message("d"), ONCE);
    session.rest();
    // Another connection, which takes one at a time.
    assert_eq!(sent(&mut session, 1), [(1, true, "a".into())]);
    assert!(!session.acknowledge(id(2)), "it was not sent on this connection");
    assert!(session.acknowledge(id(1)));
    assert_eq!(sent(&mut session, 1), [(2, true, "b".into())]);
    session.rest();
    assert_eq!(sent(&mut session, 9), [(2, true, "b".into()), (3, false, "d".into())], "QoS 0 went with the connection");
}

#[test]
fn the_oldest_that_was_not_sent_gives_way() {
    let mut session = session();
    for n in 0..5 {
        session.push(message(&n.to_string()), ONCE);
    }
    assert_eq!(sent(&mut session, 1), [(1, false, "0".into())]);
    session.push(message("5"), ONCE);
    assert_eq!(session.push(message("6"), ONCE), Dropped { full: 1, expired: 0 });
    session.acknowledge(id(1));
    let texts: Vec<_> = sent(&mut session, 9).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["2", "3", "4", "5", "6"]);
    // Bytes are bounded too; what is in flight counts, and the new one gives way to it.
    assert_eq!(session.push(message(&"x".repeat(200_000)), ONCE).full, 1);
    assert_eq!(sent(&mut session, 9), []);
}

#[test]
fn sessions_share_one_room_and_give_it_back() {
    let room = Room::new(1_000);
    let mut one = Session::new(room.clone(), BOUNDS);
    let mut other = Session::new(room, BOUNDS);
    assert_eq!(one.push(message(&"x".repeat(700)), ONCE), Dropped::default());
    assert_eq!(other.push(message(&"x".repeat(700)), ONCE).full, 1);
    assert_eq!(sent(&mut one, 9).len(), 1);
    assert!(one.acknowledge(id(1)));
    assert_eq!(other.push(message(&"x".repeat(700)), ONCE), Dropped::default());
    drop(other);
    assert_eq!(one.push(message(&"x".repeat(700)), ONCE), Dropped::default());
}

#[test]
fn a_message_that_has_expired_is_not_sent() {
    let mut session = session();
    let now = Instant::now();
    session.push(Message { expires_at: Some(now + Duration::from_secs(5)), ..message("soon over") }, ONCE);
    session.push(message("stays"), ONCE);
    let mut dropped = Dropped::default();
    let next = session.next(9, now + Duration::from_secs(5), &mut dropped).unwrap();
    assert_eq!((&next.message.payload[..], dropped.expired), (&b"stays"[..], 1));
}

#[test]
fn an_answer_overtakes_what_waits_but_nothing_of_its_own_topic() {
    let mut session = session();
    session.push(message("waits"), ONCE);
    let other = Message::new("t/other", Bytes::from_static(b"now"));
    assert!(session.waits("t/a") && !session.waits("t/other"));
    assert_eq!(session.send_at_once(&other, ONCE, 1).unwrap().packet_id, Some(id(1)));
    assert!(session.send_at_once(&other, ONCE, 1).is_none(), "the window is full");
    assert_eq!(session.send_at_once(&other, MAYBE, 1).unwrap().packet_id, None);
    session.acknowledge(id(1));
    assert_eq!(sent(&mut session, 1), [(2, false, "waits".into())]);
    session.rest();
    assert!(session.waits("t/a"), "it is to be sent again");
}

#[test]
fn packet_ids_in_use_are_not_given_twice() {
    let mut session = session();
    session.push(message("slow"), ONCE);
    assert_eq!(sent(&mut session, 9)[0].0, 1);
    let mut last = 0;
    for _ in 0..65_534 {
        session.push(message("x"), ONCE);
        last = sent(&mut session, 9)[0].0;
        assert!(session.acknowledge(id(last)));
    }
    assert_eq!(last, 65_535);
    session.push(message("x"), ONCE);
    assert_eq!(sent(&mut session, 9)[0].0, 2);
}

#[test]
fn the_best_of_the_matching_subscriptions_counts_and_a_client_may_spare_itself_its_own() {
    let mut session = session();
    assert_eq!(session.subscribe(subscription("t/#", 0)), Some(true));
    assert_eq!(session.grant(&message("x"), false), Some(MAYBE));
    assert_eq!(session.subscribe(Subscription { no_local: true, ..subscription("t/+", 1) }), Some(true));
    assert_eq!(session.grant(&message("x"), false), Some(ONCE));
    assert_eq!(session.grant(&message("x"), true), Some(MAYBE), "only by t/#");
    assert_eq!(session.subscribe(Subscription { retain_as_published: true, ..subscription("t/#", 0) }), Some(false), "replaced");
    assert_eq!(session.grant(&Message { retained: true, ..message("x") }, false), Some(Grant { qos: 1, retain: true }));
    assert!(session.unsubscribe("t/#") && !session.unsubscribe("t/#") && session.unsubscribe("t/+"));
    assert_eq!(session.grant(&message("x"), false), None);
    for n in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(session.subscribe(subscription(&format!("f/{n}"), 0)), Some(true));
    }
    assert_eq!(session.subscribe(subscription("one/more", 0)), None);
    assert_eq!(session.subscribe(subscription("f/0", 1)), Some(false));
}
