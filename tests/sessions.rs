//! MQTT sessions: what a client finds again when it comes back, and who may take it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use support::history::gateway_report;
use support::mqtt::{EXPIRY_1_H, Hello, Mqtt, Packet, RECEIVE_MAXIMUM_1, V3, V5, WILL_QOS_1, packet};
use support::register::{GUANGZHOU, Register};
use support::street::Street;
use support::{Site, wait_for};

const REPORT: &str = "shangyun/v1/gw-1/report";
const REFUSED: &str = "shangyun/v1/gw-1/refused";

fn open(street: &Street, hello: Hello<'_>) -> Mqtt {
    let (mqtt, code) = Mqtt::open(street.site.service.mqtt, hello);
    assert_eq!(code, 0, "CONNACK");
    mqtt
}

/// Makes the service refuse a report of gw-1 that is named by this boot.
fn be_refused(street: &Street, boots: &[&str]) {
    let mut mqtt = open(street, Hello { client_id: "gw-1/faulty", ..Hello::of(V5, "gw-1") });
    for boot in boots {
        mqtt.publish(REPORT, 1, &json!({"v": 2, "boot": boot, "seq": 1}).to_string());
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0x99 }));
    }
    mqtt.goodbye();
}

/// The next packet must be a refusal; gives its packet id, whether it comes again, and the boot it names.
fn refusal(mqtt: &mut Mqtt) -> (u16, bool, String) {
    match mqtt.read() {
        Some(Packet::Publish { topic, payload, id, again, retain: false }) if topic == REFUSED => {
            let told: serde_json::Value = serde_json::from_str(&payload).unwrap();
            (id, again, told["boot"].as_str().unwrap().to_string())
        }
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn what_comes_while_a_client_is_away_waits_for_it_and_a_clean_start_drops_it() {
    let street = Street::new();
    for version in [V3, V5] {
        let hello = Hello::kept(version, "gw-1");
        let mut mqtt = open(&street, hello);
        assert!(!mqtt.present);
        assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
        mqtt.goodbye();
        be_refused(&street, &["away-1", "away-2"]);
        let mut mqtt = open(&street, hello);
        assert!(mqtt.present);
        for boot in ["away-1", "away-2"] {
            let (id, again, of) = refusal(&mut mqtt);
            assert_eq!((again, of.as_str()), (false, boot));
            mqtt.puback(id);
        }
        assert!(mqtt.ping(), "nothing came before the answer");
        mqtt.goodbye();
        be_refused(&street, &["dropped"]);
        let mut mqtt = open(&street, Hello { clean: true, properties: &[], ..hello });
        assert!(!mqtt.present);
        be_refused(&street, &["unsubscribed"]);
        assert!(mqtt.ping(), "its subscriptions are gone");
        mqtt.goodbye();
        assert!(!open(&street, hello).present, "a clean session ends with its connection");
        open(&street, Hello { clean: true, properties: &[], ..hello }).goodbye();
    }
    assert_eq!(street.site.service.metric("shangyun_ingest_mqtt_idle_sessions"), 0);
    street.all_well(0);
}

#[test]
fn a_message_that_was_not_acknowledged_comes_again_and_says_so() {
    let street = Street::new();
    for version in [V3, V5] {
        let hello = Hello::kept(version, "gw-1");
        let mut mqtt = open(&street, hello);
        assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
        be_refused(&street, &["a", "b"]);
        let (first, ..) = refusal(&mut mqtt);
        let (second, again, _) = refusal(&mut mqtt);
        assert!(!again && first != second);
        mqtt.puback(first);
        // No packet id of this connection: it is counted and has no effect.
        mqtt.puback(0x7777);
        assert!(mqtt.ping());
        drop(mqtt);
        let mut mqtt = open(&street, hello);
        assert!(mqtt.present);
        assert_eq!(refusal(&mut mqtt), (second, true, "b".into()));
        mqtt.puback(second);
        assert!(mqtt.ping());
        mqtt.goodbye();
        open(&street, Hello { clean: true, properties: &[], ..hello }).goodbye();
    }
    assert_eq!(street.site.service.metric("shangyun_ingest_mqtt_unknown_pubacks_total"), 2);
    street.all_well(0);
}

#[test]
fn no_more_is_in_flight_than_the_client_takes_and_its_reports_go_on_meanwhile() {
    let street = Street::new();
    let properties = [EXPIRY_1_H, RECEIVE_MAXIMUM_1].concat();
    let mut five = open(&street, Hello { clean: false, properties: &properties, ..Hello::of(V5, "gw-1") });
    let mut three = open(&street, Hello { client_id: "gw-1/3", ..Hello::of(V3, "gw-1") });
    assert_eq!((five.subscribe(&[REFUSED]), three.subscribe(&[REFUSED])), (vec![1], vec![1]));
    let boots: Vec<String> = (0..30).map(|n| format!("b-{n:02}")).collect();
    be_refused(&street, &boots.iter().map(String::as_str).collect::<Vec<_>>());
    // MQTT 5 said one at a time; MQTT 3.1.1 cannot say, and gets twenty.
    for (mqtt, window) in [(&mut five, 1), (&mut three, 20)] {
        let mut ids = Vec::new();
        for boot in &boots[..window] {
            let (id, _, of) = refusal(mqtt);
            assert_eq!(of, *boot);
            ids.push(id);
        }
        mqtt.publish(REPORT, 9, &gateway_report("own", window as u64, "SN-1", Utc::now()).to_string());
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 9, reason: 0 }), "nothing more came, and reports are answered");
        for boot in &boots[window..] {
            mqtt.puback(ids.remove(0));
            let (id, _, of) = refusal(mqtt);
            assert_eq!(of, *boot);
            ids.push(id);
        }
        ids.iter().for_each(|id| mqtt.puback(*id));
        assert!(mqtt.ping());
    }
    drop((five, three));
    street.all_well(2);
}

#[test]
fn a_refusal_of_its_own_comes_before_its_puback_however_many_wait_with_3_1_1() {
    let street = Street::new();
    let mut mqtt = street.connect(V3);
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    for id in 1..=100 {
        mqtt.publish(REPORT, id, &json!({"v": 2, "boot": format!("b-{id}"), "seq": 1}).to_string());
    }
    for id in 1..=100 {
        assert_eq!(refusal(&mut mqtt).2, format!("b-{id}"));
        assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason: 0 }));
    }
    drop(mqtt);
    street.all_well(0);
}

#[test]
fn the_queue_of_a_client_that_is_away_is_bounded_and_the_oldest_gives_way() {
    let street = Street::with(|_| vec!["mqtt.queue_messages_max=3".into()]);
    let hello = Hello::kept(V5, "gw-1");
    let mut mqtt = open(&street, hello);
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    mqtt.goodbye();
    be_refused(&street, &["a", "b", "c", "d", "e"]);
    let mut mqtt = open(&street, hello);
    assert_eq!(["c", "d", "e"].map(|_| refusal(&mut mqtt).2), ["c", "d", "e"]);
    assert!(mqtt.ping());
    assert_eq!(street.site.service.metric("shangyun_ingest_mqtt_dropped_messages_total{reason=\"queue_full\"}"), 2);
    drop(mqtt);
    street.all_well(0);
}

#[test]
fn a_session_is_kept_no_longer_than_the_setting_says_and_the_client_is_told() {
    let street = Street::with(|_| vec!["mqtt.session_expiry_max_s=1".into()]);
    let hello = Hello::kept(V5, "gw-1");
    let mut mqtt = open(&street, hello);
    let told: &[u8] = &[0x11, 0, 0, 0, 1];
    assert!(mqtt.raw.windows(5).any(|bytes| bytes == told), "{:?}", mqtt.raw);
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    mqtt.goodbye();
    wait_for("the session ends", || (street.site.service.metric("shangyun_ingest_mqtt_idle_sessions") == 0).then_some(()));
    assert!(!open(&street, hello).present);
    // An interval that is not shortened is not told; one of 0 cannot become more at the end.
    let mut mqtt = open(&street, Hello { clean: true, properties: &[], ..hello });
    assert!(!mqtt.raw[3..].contains(&0x11));
    mqtt.send(&packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]));
    assert_eq!(mqtt.rest(), [Packet::Disconnect(0x82)]);
    street.await_ended("protocol", 1);
    street.all_well(0);
}

#[test]
fn sessions_do_not_outlive_the_service() {
    let site = Site::new(Register::new().enterprise(1, GUANGZHOU).gateway("gw-1", 1).file());
    let (mqtt, _) = Mqtt::open(site.service.mqtt, Hello::kept(V5, "gw-1"));
    mqtt.goodbye();
    assert!(Mqtt::open(site.service.mqtt, Hello::kept(V5, "gw-1")).0.present);
    let site = site.kill_and_restart();
    assert!(!Mqtt::open(site.service.mqtt, Hello::kept(V5, "gw-1")).0.present);
}

#[test]
fn a_session_is_taken_over_with_its_messages_by_the_same_client_id_and_by_no_other_gateway() {
    let street = Street::new();
    let hello = Hello::kept(V5, "gw-1");
    let mut first = open(&street, hello);
    assert_eq!(first.subscribe(&[REFUSED]), [1]);
    be_refused(&street, &["a"]);
    let (id, ..) = refusal(&mut first);
    // Neither by its user name nor by its client id does another gateway get at it.
    for (user, client_id) in [("gw-2", "gw-1"), ("gw-2", "gw-1/x"), ("gw-2", "gw-2/../gw-1")] {
        let code = street.hello(Hello { user, client_id, ..hello });
        assert_eq!(code, if client_id.starts_with("gw-2/") { 0 } else { 0x85 }, "{client_id}");
    }
    assert!(first.ping(), "nobody has taken it");
    let mut second = open(&street, hello);
    assert!(second.present);
    assert_eq!(first.rest(), [Packet::Disconnect(0x8E)]);
    assert_eq!(refusal(&mut second), (id, true, "a".into()));
    drop((first, second));
    street.await_ended("taken_over", 1);
    street.all_well(0);
}

#[test]
fn a_will_waits_its_delay_and_is_not_told_if_the_client_comes_back() {
    let street = Street::new();
    let mut watcher = open(&street, Hello { client_id: "gw-1/watcher", ..Hello::of(V5, "gw-1") });
    assert_eq!(watcher.subscribe(&["shangyun/v1/gw-1/gone"]), [1]);
    // A content type and a delay of one second.
    let will_properties = [&[0x18, 0, 0, 0, 1, 0x03][..], &support::mqtt::text("text/plain")].concat();
    let hello = Hello {
        will: Some(("shangyun/v1/gw-1/gone", "lost")),
        will_flags: WILL_QOS_1,
        will_properties: &will_properties,
        ..Hello::kept(V5, "gw-1")
    };
    drop(open(&street, hello));
    drop(open(&street, Hello { will: None, ..hello }));
    // Well beyond the delay of the will that must not be told.
    std::thread::sleep(Duration::from_secs(3));
    assert!(watcher.ping(), "nothing was told");
    drop(open(&street, hello));
    let Some(Packet::Publish { topic, payload, retain, id, .. }) = watcher.read() else { panic!("no will") };
    assert_eq!((topic.as_str(), payload.as_str(), retain), ("shangyun/v1/gw-1/gone", "lost", false));
    assert!(id > 0, "with its own QoS");
    let text = String::from_utf8_lossy(&watcher.raw).to_string();
    assert!(text.contains("text/plain"), "{text:?}");
    drop(watcher);
    street.all_well(0);
}

#[test]
fn retained_standing_comes_with_each_subscription_as_it_asks_and_with_its_qos() {
    let register = Register::new()
        .enterprise(1, GUANGZHOU)
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .voucher("V-1", 1, "P-5", "10000.00", json!({}))
        .gateway("gw-1", 1);
    let site = Site::new(register.file());
    site.judge("V-1");
    let standing = "shangyun/v1/gw-1/standing";
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let mut kept = |options: u8| {
        assert_eq!(mqtt.subscribe_as(&[standing], options, &[]), [options & 1]);
        mqtt.send(&[0xC0, 0]);
        match mqtt.read() {
            Some(Packet::Pong) => None,
            Some(Packet::Publish { topic, retain, id, .. }) => {
                assert_eq!(mqtt.read(), Some(Packet::Pong));
                assert_eq!((topic.as_str(), retain), (standing, true));
                Some(u8::from(id > 0))
            }
            other => panic!("{other:?}"),
        }
    };
    // Retain handling 0, 1 and 2 stand in bits 4 and 5.
    assert_eq!([kept(0x21), kept(0x11), kept(0x01), kept(0x00)], [None, None, Some(1), Some(0)]);
    assert_eq!(mqtt.unsubscribe(standing), [0]);
    assert_eq!(mqtt.unsubscribe(standing), [0x11]);
    assert_eq!(mqtt.unsubscribe("shangyun/v1/gw-1/#/x"), [0x8F]);
}
