//! MQTT's rules at the door: what is said in CONNACK, which reason each refusal has, and what ends a connection.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::time::Duration;

use serde_json::json;
use support::mqtt::{Hello, Mqtt, Packet, V3, V5, WILL_QOS_2, WILL_RETAIN, packet, publish_packet, text};
use support::street::Street;

const REPORT: &str = "shangyun/v1/gw-1/report";
const REFUSED: &str = "shangyun/v1/gw-1/refused";

/// The reason string among the properties of the last packet.
fn said(mqtt: &Mqtt, beginning: &str) -> bool {
    String::from_utf8_lossy(&mqtt.raw).contains(beginning)
}

#[test]
fn connack_says_what_gateways_may_not_do_and_the_keep_alive_that_holds() {
    let street = Street::new();
    for (asked_s, told) in [(60, None), (0, Some([0x13, 0x02, 0x58])), (601, Some([0x13, 0x02, 0x58]))] {
        let (mqtt, code) = Mqtt::open(street.site.service.mqtt, Hello { keep_alive_s: asked_s, ..Hello::of(V5, "gw-1") });
        assert_eq!(code, 0);
        let properties = &mqtt.raw[3..];
        let has = |property: &[u8]| properties.windows(property.len()).any(|bytes| bytes == property);
        // Maximum QoS 1; retain, subscription identifiers and shared subscriptions are not available; 1000 in flight.
        for property in [&[0x24, 1][..], &[0x25, 0], &[0x29, 0], &[0x2A, 0], &[0x21, 0x03, 0xE8]] {
            assert!(has(property), "{property:?} of {properties:?}");
        }
        assert!(!properties.contains(&0x12), "no client id is assigned");
        assert_eq!(told.is_some_and(|told| has(&told)), told.is_some(), "{asked_s} s: {properties:?}");
        assert_eq!(has(&[0x13, 0x02, 0x58]), told.is_some(), "{asked_s} s");
        mqtt.goodbye();
    }
    street.all_well(0);
}

#[test]
fn a_connect_that_cannot_be_served_is_told_why() {
    let street = Street::new();
    let own = Some(("shangyun/v1/gw-1/gone", "x"));
    let method = [&[0x15][..], &text("SCRAM")].concat();
    let big = "x".repeat(5000);
    for version in [V3, V5] {
        let hello = Hello { will: own, ..Hello::of(version, "gw-1") };
        let codes = |five: u8, three: u8| if version == V5 { five } else { three };
        assert_eq!(street.hello(Hello { client_id: "", ..hello }), codes(0x85, 2), "no client id");
        assert_eq!(street.hello(Hello { client_id: "", clean: false, ..hello }), codes(0x85, 2), "no client id, no clean start");
        assert_eq!(street.hello(Hello { will_flags: WILL_QOS_2, ..hello }), codes(0x9B, 5), "a will of QoS 2");
        // MQTT 3.1.1 cannot be told that nothing is retained; the flag has no effect.
        assert_eq!(street.hello(Hello { will_flags: WILL_RETAIN, ..hello }), codes(0x9A, 0), "a retained will");
        assert_eq!(street.hello(Hello { will: Some(("shangyun/v1/gw-1/gone", &big)), ..hello }), codes(0x97, 5), "a large will");
        assert_eq!(street.hello(Hello { will: Some(("shangyun/v1/gw-1/+", "x")), ..hello }), codes(0x87, 5), "a will everywhere");
    }
    assert_eq!(street.hello(Hello { properties: &method, ..Hello::of(V5, "gw-1") }), 0x8C, "an authentication method");
    let (mqtt, _) = Mqtt::open(street.site.service.mqtt, Hello { client_id: "gw-2", ..Hello::of(V5, "gw-1") });
    assert!(said(&mqtt, "the client id is the gateway id"));
    // Bytes behind the CONNECT's last field, and a level that nobody speaks.
    let mut broken = Hello::of(V5, "gw-1").packet();
    broken[1] += 1;
    broken.push(b'x');
    assert_eq!(street.raw(&broken), [Packet::Connack { code: 0x81, present: false }]);
    let mut broken = Hello::of(V3, "gw-1").packet();
    broken[1] += 1;
    broken.push(b'x');
    assert_eq!(street.raw(&broken), []);
    assert_eq!(street.raw(&packet(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0")), [Packet::Connack { code: 1, present: false }]);
    assert_eq!(street.raw(&packet(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\0")), [Packet::Connack { code: 1, present: false }]);
    street.await_ended("malformed", 2);
    street.await_ended("protocol_version", 2);
    street.await_ended("authentication_method", 1);
    street.all_well(0);
}

#[test]
fn whatever_the_standard_forbids_ends_the_connection_with_its_reason() {
    let street = Street::new();
    let publish = |topic: &str, properties: &[u8]| {
        let properties = [&[properties.len() as u8], properties].concat();
        packet(0x32, &[&text(topic)[..], &[0, 1], &properties, b"{}"].concat())
    };
    let cases: [(&str, Vec<u8>, u8, &str); 16] = [
        ("a second CONNECT", Hello::of(V5, "gw-1").packet(), 0x82, "protocol"),
        ("a PINGREQ with flags", vec![0xC1, 0], 0x81, "malformed"),
        ("a PINGREQ with a body", vec![0xC0, 1, 0], 0x81, "malformed"),
        ("a SUBSCRIBE without filters", packet(0x82, &[0, 1, 0]), 0x82, "protocol"),
        ("a SUBSCRIBE with packet id 0", packet(0x82, &[&[0, 0, 0], &text("x")[..], &[1]].concat()), 0x81, "malformed"),
        ("an UNSUBSCRIBE without filters", packet(0xA2, &[0, 1, 0]), 0x82, "protocol"),
        ("a PUBLISH with packet id 0", packet(0x32, &[&text(REPORT)[..], &[0, 0, 0], b"{}"].concat()), 0x81, "malformed"),
        ("a PUBLISH to a wildcard", publish("shangyun/v1/gw-1/#", &[]), 0x90, "topic_invalid"),
        ("a PUBLISH to a NUL", publish("shangyun/v1/gw-1/\0", &[]), 0x90, "topic_invalid"),
        ("a PUBLISH to nowhere", publish("", &[]), 0x82, "protocol"),
        ("a topic alias", publish(REPORT, &[0x23, 0, 1]), 0x94, "topic_alias"),
        ("a subscription identifier", publish(REPORT, &[0x0B, 1]), 0x82, "protocol"),
        ("a response topic with a wildcard", publish(REPORT, &[&[0x08][..], &text("a/+")].concat()), 0x82, "protocol"),
        ("a PUBREL", packet(0x62, &[0, 1]), 0x82, "protocol"),
        ("an AUTH", packet(0xF0, &[]), 0x82, "protocol"),
        ("a CONNACK", packet(0x20, &[0, 0, 0]), 0x82, "protocol"),
    ];
    for (what, bytes, code, reason) in cases {
        let before = street.ended(reason);
        let mut mqtt = street.connect(V5);
        mqtt.send(&bytes);
        assert_eq!(mqtt.rest(), [Packet::Disconnect(code)], "{what}");
        street.await_ended(reason, before + 1);
    }
    for (what, bytes) in [
        ("a SUBSCRIBE with reserved bits", packet(0x82, &[&[0, 1], &text(REFUSED)[..], &[0x41]].concat())),
        ("a DISCONNECT with a body", packet(0xE0, &[0])),
        ("a PUBLISH of QoS 0 sent twice", packet(0x38, &[&text(REPORT)[..], b"{}"].concat())),
    ] {
        let mut mqtt = street.connect(V3);
        mqtt.send(&bytes);
        assert_eq!(mqtt.rest(), [], "{what}");
    }
    street.all_well(0);
}

#[test]
fn subscriptions_that_are_not_available_are_refused_with_their_reason() {
    let street = Street::new();
    let mut five = street.connect(V5);
    let shared = "$share/g/shangyun/v1/gw-1/refused";
    let filters = [shared, "shangyun/v1/gw-1/#/x", "shangyun/v1/gw-2/refused", REFUSED];
    assert_eq!(five.subscribe(&filters), [0x9E, 0x8F, 0x87, 1]);
    assert!(said(&five, "a gateway subscribes below"));
    assert_eq!(five.subscribe_as(&[REFUSED], 1, &[0x0B, 7]), [0xA1]);
    assert_eq!(five.subscribe_as(&[REFUSED], 2, &[]), [1], "QoS 2 becomes 1");
    assert_eq!(five.subscribe_as(&[REFUSED], 0, &[]), [0]);
    let mut three = street.connect(V3);
    assert_eq!(three.subscribe(&filters), [0x80, 0x80, 0x80, 1]);
    // Not more than 32 of one session.
    let names: Vec<String> = (0..33).map(|n| format!("shangyun/v1/gw-1/x{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut five = street.connect(V5);
    assert_eq!(five.subscribe(&names), [vec![1; 32], vec![0x97]].concat());
    drop((five, three));
    street.all_well(0);
}

#[test]
fn a_client_spares_itself_its_own_will_only_if_it_asks_for_that() {
    let street = Street::new();
    let gone = "shangyun/v1/gw-1/gone";
    for (options, hears) in [(0x01, true), (0x05, false)] {
        let hello = Hello { will: Some((gone, "lost")), ..Hello::kept(V5, "gw-1") };
        let (mut mqtt, _) = Mqtt::open(street.site.service.mqtt, Hello { will_flags: support::mqtt::WILL_QOS_1, ..hello });
        assert_eq!(mqtt.subscribe_as(&[gone], options, &[]), [1]);
        drop(mqtt);
        street.await_closed(1);
        let (mut mqtt, _) = Mqtt::open(street.site.service.mqtt, Hello { will: None, ..hello });
        assert!(mqtt.present);
        mqtt.send(&[0xC0, 0]);
        let heard = matches!(mqtt.read(), Some(Packet::Publish { topic, .. }) if topic == gone);
        assert_eq!(heard, hears);
        drop(mqtt);
        street.await_closed(1);
        assert_eq!(street.hello(Hello { clean: true, properties: &[], will: None, ..hello }), 0);
        street.await_closed(1);
    }
    street.all_well(0);
}

#[test]
fn a_refusal_says_in_words_what_is_wrong_unless_the_client_wants_none() {
    let street = Street::new();
    for (properties, told) in [(&[][..], true), (&[0x17, 0], false)] {
        let (mut mqtt, _) = Mqtt::open(street.site.service.mqtt, Hello { properties, ..Hello::of(V5, "gw-1") });
        mqtt.publish(REPORT, 1, "[]");
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0x99 }));
        assert_eq!(said(&mqtt, "it begins with another byte"), told);
        mqtt.goodbye();
    }
    street.all_well(0);
}

#[test]
fn nothing_larger_is_sent_than_the_client_takes() {
    let street = Street::new();
    // 120 bytes: room for a refusal's head, not for its faults, nor for words in the PUBACK.
    let (mut mqtt, _) = Mqtt::open(street.site.service.mqtt, Hello { properties: &[0x27, 0, 0, 0, 120], ..Hello::of(V5, "gw-1") });
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    for (id, boot) in [(1, "b"), (2, &"b".repeat(60))] {
        mqtt.publish(REPORT, id, &json!({"v": 2, "boot": boot, "seq": 1}).to_string());
        let mut packet = mqtt.read();
        while let Some(Packet::Publish { payload, .. }) = packet {
            assert!(id == 1 && payload.contains("\"faults_omitted\":2"), "{payload}");
            packet = mqtt.read();
        }
        assert_eq!(packet, Some(Packet::Puback { id, reason: 0x99 }));
        assert!(mqtt.raw.len() <= 118, "{}", mqtt.raw.len());
    }
    assert_eq!(street.site.service.metric("shangyun_ingest_mqtt_dropped_messages_total{reason=\"too_large\"}"), 1);
    mqtt.goodbye();
    street.all_well(0);
}

#[test]
fn more_in_flight_than_allowed_ends_the_connection_of_5_and_slows_3_1_1() {
    let street = Street::new();
    let burst = |version| {
        let of = |id| publish_packet(version, REPORT, 1, false, id, &json!({"v": 2, "boot": "b", "seq": id}).to_string());
        (1..=3000).flat_map(of).collect::<Vec<u8>>()
    };
    let mut three = street.connect(V3);
    three.send(&burst(V3));
    for id in 1..=3000 {
        assert_eq!(three.read(), Some(Packet::Puback { id, reason: 0 }));
    }
    let mut five = street.connect(V5);
    five.send(&burst(V5));
    let rest = five.rest();
    let acknowledged = rest.iter().filter(|packet| matches!(packet, Packet::Puback { reason: 0x99, .. })).count();
    // The service may keep up with all of it; if not, it says so.
    assert!(rest.last() == Some(&Packet::Disconnect(0x93)) && acknowledged < 3000 || acknowledged == 3000, "{acknowledged}");
    drop((three, five));
    street.all_well(0);
}

#[test]
fn a_packet_that_is_begun_and_not_finished_ends_its_connection_only() {
    let street = Street::with(|_| vec!["mqtt.stall_timeout_s=1".into()]);
    let mut slow = street.connect(V5);
    let bytes = publish_packet(V5, REPORT, 1, false, 1, "{}");
    // A byte now and then keeps no connection alive.
    for byte in bytes.iter().take(8) {
        slow.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(slow.rest(), [Packet::Disconnect(0x8D)]);
    street.await_ended("stalled", 1);
    street.all_well(0);
}

#[test]
fn a_client_that_takes_no_answers_is_cut_off_and_the_others_go_on() {
    let street = Street::with(|_| vec!["mqtt.stall_timeout_s=1".into()]);
    // It takes packets of 256 KiB, and is told a thousand faults for each of its reports.
    let (mut deaf, _) = Mqtt::open(street.site.service.mqtt, Hello { properties: &[0x27, 0, 4, 0, 0], ..Hello::of(V5, "gw-1") });
    assert_eq!(deaf.subscribe_as(&[REFUSED], 0, &[]), [0]);
    let devices = vec![json!({}); 1000];
    let faulty = publish_packet(V5, REPORT, 1, false, 1, &json!({"v": 1, "boot": "b", "seq": 1, "devices": devices}).to_string());
    deaf.send_until_full(&faulty);
    street.await_ended("slow_reader", 1);
    street.all_well(0);
}
