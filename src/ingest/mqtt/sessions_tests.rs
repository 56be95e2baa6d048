//! Sessions that outlive their connections, wills and take-over, with the time as an argument.

use std::time::Duration;

use bytes::Bytes;
use observe::Metrics;
use tokio::time::Instant;

use super::membership::{Membership, TakenOver};
use super::session::{Message, MessageProperties, RetainHandling, Subscription};
use super::sessions::{Entrance, Leave, SessionOptions, Sessions};
use super::will::Will;

const TOPIC: &str = "shangyun/v1/gw-1/refused";
const HOUR: Duration = Duration::from_secs(3600);
const LOST: Leave = Leave { with_will: true, expiry: None };
const POLITE: Leave = Leave { with_will: false, expiry: None };

struct House {
    sessions: Sessions,
    metrics: Metrics,
    now: Instant,
}

impl House {
    fn new(idle_max: usize) -> House {
        let metrics = Metrics::new();
        let options = SessionOptions { idle_max, ..SessionOptions::default() };
        House { sessions: Sessions::new(options, metrics.clone()), metrics, now: Instant::now() }
    }

    fn enter(&self, client_id: &str, expiry: Duration) -> (Membership, bool) {
        self.enter_with(client_id, expiry, None)
    }

    fn enter_with(&self, client_id: &str, expiry: Duration, will: Option<Will>) -> (Membership, bool) {
        let gateway = client_id.split('/').next().unwrap();
        let entrance = Entrance { client_id, gateway, enterprise: "E-1", clean_start: false, expiry, will };
        self.sessions.enter(entrance, self.now)
    }

    /// Is there a session? It ends by the question.
    fn present(&self, client_id: &str) -> bool {
        self.enter(client_id, Duration::ZERO).1
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.sessions.sweep(self.now);
    }

    fn texts(&self, membership: &Membership) -> Vec<String> {
        let next = || membership.next(100, self.now).unwrap();
        std::iter::from_fn(next).map(|outgoing| String::from_utf8(outgoing.message.payload.to_vec()).unwrap()).collect()
    }
}

fn subscribe(membership: &Membership, filter: &str, qos: u8) {
    let retained = RetainHandling::Always;
    assert!(membership.subscribe(&Subscription { filter: filter.into(), qos, no_local: false, retain_as_published: false, retained }));
}

fn will(delay_s: u32) -> Option<Will> {
    Some(Will {
        topic: "shangyun/v1/gw-1/gone".into(),
        payload: Bytes::from_static(b"gone"),
        qos: 1,
        retain: false,
        delay_s,
        expiry_s: None,
        properties: MessageProperties::default(),
    })
}

#[test]
fn a_session_waits_for_its_client_and_keeps_what_comes_meanwhile() {
    let mut house = House::new(100);
    let (membership, present) = house.enter("gw-1", HOUR);
    assert!(!present);
    subscribe(&membership, TOPIC, 1);
    membership.leave(POLITE, house.now);
    assert_eq!(house.metrics.sessions_idle.get(), 1);
    house.sessions.deliver(TOPIC, &Bytes::from_static(b"meanwhile"));
    house.sessions.deliver("shangyun/v1/gw-2/refused", &Bytes::from_static(b"another's"));
    house.after(3599);
    let (membership, present) = house.enter("gw-1", HOUR);
    assert!(present);
    assert_eq!(house.texts(&membership), ["meanwhile"]);
    membership.leave(POLITE, house.now);
    house.after(3600);
    assert!(!house.present("gw-1"), "its time is over");
    assert_eq!(house.metrics.sessions_idle.get(), 0);
}

#[test]
fn a_session_without_a_time_of_its_own_ends_with_its_connection() {
    let house = House::new(100);
    let (membership, _) = house.enter("gw-1", Duration::ZERO);
    subscribe(&membership, TOPIC, 1);
    // Even when the next connection takes it over.
    let (second, present) = house.enter("gw-1", HOUR);
    assert!(!present);
    assert_eq!(membership.next(1, house.now).err(), Some(TakenOver));
    drop(membership);
    house.sessions.deliver(TOPIC, &Bytes::from_static(b"x"));
    assert_eq!(house.texts(&second), [""; 0]);
    // A client may give it up at its goodbye.
    second.leave(Leave { with_will: false, expiry: Some(Duration::ZERO) }, house.now);
    assert!(!house.present("gw-1"));
}

#[test]
fn a_gateway_registered_anew_for_another_enterprise_finds_nothing_of_the_former() {
    let house = House::new(100);
    let (membership, _) = house.enter("gw-1", HOUR);
    subscribe(&membership, TOPIC, 1);
    membership.leave(POLITE, house.now);
    let entrance = Entrance { client_id: "gw-1", gateway: "gw-1", enterprise: "E-2", clean_start: false, expiry: HOUR, will: None };
    let (_, present) = house.sessions.enter(entrance, house.now);
    assert!(!present);
}

#[test]
fn a_session_taken_over_goes_on_and_its_former_holder_can_do_nothing_more() {
    let house = House::new(100);
    let (first, _) = house.enter("gw-1", HOUR);
    subscribe(&first, TOPIC, 1);
    house.sessions.deliver(TOPIC, &Bytes::from_static(b"unacknowledged"));
    assert_eq!(house.texts(&first), ["unacknowledged"]);
    let (second, present) = house.enter("gw-1", HOUR);
    assert!(present);
    assert_eq!(first.next(9, house.now).err(), Some(TakenOver));
    assert!(!first.unsubscribe(TOPIC));
    drop(first);
    let outgoing = second.next(9, house.now).unwrap().unwrap();
    assert!(outgoing.duplicate);
    assert!(second.acknowledge(outgoing.packet_id.unwrap()));
}

#[test]
fn a_will_is_told_when_its_client_is_lost_at_once_or_after_its_delay_but_not_if_it_comes_back() {
    let mut house = House::new(100);
    let (watcher, _) = house.enter("gw-1/watcher", Duration::ZERO);
    subscribe(&watcher, "shangyun/v1/gw-1/gone", 1);
    let lost = |house: &House, delay_s, expiry| house.enter_with("gw-1/a", expiry, will(delay_s)).0.leave(LOST, house.now);
    lost(&house, 0, HOUR);
    assert_eq!(house.texts(&watcher), ["gone"]);
    house.enter_with("gw-1/a", HOUR, will(0)).0.leave(POLITE, house.now);
    lost(&house, 60, HOUR);
    house.after(59);
    assert_eq!(house.texts(&watcher), [""; 0]);
    house.after(1);
    assert_eq!(house.texts(&watcher), ["gone"]);
    // It comes back in time; and at the end of its session no delay holds.
    lost(&house, 60, HOUR);
    let (back, present) = house.enter("gw-1/a", HOUR);
    assert!(present);
    back.leave(POLITE, house.now);
    house.after(61);
    assert_eq!(house.texts(&watcher), [""; 0]);
    lost(&house, 60, Duration::from_secs(10));
    house.after(10);
    assert_eq!(house.texts(&watcher), ["gone"]);
    lost(&house, 60, Duration::ZERO);
    assert_eq!(house.texts(&watcher), ["gone"]);
    // A will has its own QoS.
    let modest = Will { qos: 0, ..will(0).unwrap() };
    house.enter_with("gw-1/a", HOUR, Some(modest)).0.leave(LOST, house.now);
    assert_eq!(watcher.next(9, house.now).unwrap().unwrap().packet_id, None);
}

#[test]
fn a_will_without_delay_is_told_when_its_connection_is_taken_over_one_with_delay_is_not() {
    let house = House::new(100);
    let (watcher, _) = house.enter("gw-1/watcher", Duration::ZERO);
    subscribe(&watcher, "shangyun/v1/gw-1/gone", 1);
    let _first = house.enter_with("gw-1/a", HOUR, will(30));
    let _second = house.enter_with("gw-1/a", HOUR, will(0));
    assert_eq!(house.texts(&watcher), [""; 0]);
    let _third = house.enter_with("gw-1/a", HOUR, None);
    assert_eq!(house.texts(&watcher), ["gone"]);
}

#[test]
fn sessions_left_behind_are_bounded_and_the_one_away_longest_ends() {
    let house = House::new(30);
    for n in 0..20 {
        house.enter(&format!("gw-1/{n}"), HOUR).0.leave(POLITE, house.now);
    }
    assert_eq!((house.metrics.sessions_idle.get(), house.metrics.sessions_dropped.get()), (16, 4));
    assert!(!house.present("gw-1/3"));
    assert!(house.present("gw-1/4"));
    for n in 0..20 {
        house.enter(&format!("gw-{n}x"), HOUR).0.leave(POLITE, house.now);
    }
    assert_eq!(house.metrics.sessions_idle.get(), 30);
    assert!(!house.present("gw-1/5"), "away longest of all");
    assert!(house.present("gw-1/19") && house.present("gw-19x"));
}

#[test]
fn retained_messages_come_with_a_subscription_as_it_asks() {
    let house = House::new(100);
    let topic = "shangyun/v1/gw-1/standing";
    house.sessions.retain(topic, &Bytes::from_static(b"kept"));
    let (membership, _) = house.enter("gw-1", HOUR);
    let ask = |retained, retain_as_published| {
        let filter = "shangyun/v1/gw-1/#".to_string();
        assert!(membership.subscribe(&Subscription { filter, qos: 1, no_local: false, retain_as_published, retained }));
        let next = || membership.next(100, house.now).unwrap();
        std::iter::from_fn(next).map(|outgoing| (outgoing.retain, outgoing.packet_id.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(ask(RetainHandling::Never, false), []);
    assert_eq!(ask(RetainHandling::IfNew, false), [], "it is not new");
    assert_eq!(ask(RetainHandling::Always, false), [(true, true)]);
    assert!(membership.unsubscribe("shangyun/v1/gw-1/#"));
    assert_eq!(ask(RetainHandling::IfNew, false), [(true, true)]);
    // What comes later says that it is kept only to those who asked for that.
    for as_published in [false, true] {
        assert_eq!(ask(RetainHandling::Never, as_published), []);
        house.sessions.deliver(topic, &Bytes::from_static(b"newer"));
        assert_eq!(membership.next(100, house.now).unwrap().unwrap().retain, as_published);
    }
}

#[test]
fn an_answer_goes_to_its_own_connection_at_once_and_to_the_others_of_the_gateway() {
    let house = House::new(100);
    let (own, _) = house.enter("gw-1", HOUR);
    let (beside, _) = house.enter("gw-1/b", HOUR);
    let (foreign, _) = house.enter("gw-2", HOUR);
    for membership in [&own, &beside, &foreign] {
        subscribe(membership, TOPIC, 1);
    }
    let message = Message::new(TOPIC, Bytes::from_static(b"refused"));
    assert!(own.tell(&message, 1).unwrap().packet_id.is_some());
    assert!(own.tell(&message, 1).is_none(), "the client has not acknowledged the first");
    assert_eq!(house.texts(&own), ["refused"], "it waits its turn");
    assert_eq!(house.texts(&beside), ["refused", "refused"]);
    assert_eq!(house.texts(&foreign), [""; 0]);
}
