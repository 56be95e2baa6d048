//! The MQTT door against clients that do not behave: the offender is refused or cut off and counted, everybody else goes on.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chrono::Utc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::history::gateway_report;
use support::mqtt::{Packet, V3, V5, packet};
use support::street::Street;
use support::wait_for;

const REPORT: &str = "shangyun/v1/gw-1/report";
const REFUSED: &str = "shangyun/v1/gw-1/refused";

fn report(seq: u64) -> String {
    gateway_report("b1", seq, "SN-1", Utc::now()).to_string()
}

/// A sound report of exactly so many bytes.
fn padded(bytes: usize) -> String {
    let report = report(1);
    let spaces = " ".repeat(bytes - report.len());
    report + &spaces
}

/// A refusal as it is told on the `refused` topic: the codes.
fn codes(packet: Option<Packet>) -> Vec<String> {
    let Some(Packet::Publish { topic, payload, .. }) = packet else { panic!("no refusal: {packet:?}") };
    assert_eq!(topic, REFUSED);
    let told: Value = serde_json::from_str(&payload).unwrap();
    told["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_publish_to_a_foreign_topic_is_not_counted_is_kept_visible_and_ends_the_connection() {
    let street = Street::new();
    let topics = ["设备/1", "shangyun/v1/gw-2/report", "shangyun/v1/gw-10/report", "$SYS/broker"];
    for (n, topic) in (1..).zip(topics) {
        let mut five = street.connect(V5);
        five.publish(topic, 9, &report(n));
        assert_eq!(five.rest(), [Packet::Puback { id: 9, reason: 0x87 }, Packet::Disconnect(0x87)], "{topic}");
        let mut three = street.connect(V3);
        three.publish(topic, 9, &report(n));
        assert_eq!(three.rest(), [Packet::Puback { id: 9, reason: 0 }], "{topic}");
    }
    street.await_ended("foreign_topic", 8);
    assert_eq!(street.quarantined("gw-1"), vec!["not_authorised"; 8]);
    assert_eq!((street.boots("gw-1"), street.boots("gw-2")), (json!([]), json!([])));
    assert_eq!(street.site.service.reports("refused"), 8);
    street.all_well(0);
}

#[test]
fn a_publish_beside_the_report_topic_is_refused_and_the_connection_goes_on() {
    let street = Street::new();
    let mut mqtt = street.connect(V5);
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    for topic in ["shangyun/v1/gw-1/standing", "shangyun/v1/gw-1/report/x"] {
        mqtt.publish(topic, 1, &report(1));
        assert_eq!(codes(mqtt.read()), ["not_authorised"]);
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0x87 }));
    }
    mqtt.publish(REPORT, 2, &report(1));
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 2, reason: 0 }));
    drop(mqtt);
    street.all_well(1);
}

#[test]
fn subscriptions_outside_are_refused_filter_by_filter() {
    let street = Street::new();
    let filters =
        ["#", REFUSED, "shangyun/v1/gw-2/refused", "shangyun/v1/+/refused", "$SYS/#", "shangyun/v1/verdicts/+", "shangyun/v1/gw-1/#"];
    for (version, no) in [(V3, 0x80), (V5, 0x87)] {
        let mut mqtt = street.connect(version);
        assert_eq!(mqtt.subscribe(&filters), [no, 1, no, no, no, 1, 1]);
        assert!(mqtt.ping(), "the connection goes on");
    }
    assert_eq!(street.site.service.metric("shangyun_ingest_mqtt_subscriptions_refused_total"), 8);
    street.all_well(0);
}

#[test]
fn two_hundred_thousand_random_bytes_end_only_the_connection_that_sent_them() {
    let street = Street::new();
    let mut random = StdRng::seed_from_u64(1);
    for (n, version) in (0..12).zip([None, Some(V3), Some(V5)].into_iter().cycle()) {
        let mut bytes = vec![0; 200_000];
        random.fill_bytes(&mut bytes);
        let began = Instant::now();
        match version {
            Some(version) => {
                let mut mqtt = street.connect(version);
                mqtt.send(&bytes);
                assert!(mqtt.rest().iter().all(|packet| !matches!(packet, Packet::Puback { .. })), "{n}");
            }
            None => {
                let mut stream = TcpStream::connect(street.site.service.mqtt).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
                // The door may have hung up before the end.
                let _ = stream.write_all(&bytes);
                let mut answer = Vec::new();
                if let Err(error) = stream.read_to_end(&mut answer) {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{n}");
                }
                assert!(answer.is_empty(), "{n}: nothing is owed to a stranger");
            }
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{n}");
    }
    wait_for("every ending is counted", || {
        let reasons =
            ["malformed", "protocol", "packet_too_large", "connect_timeout", "foreign_topic", "qos_unsupported", "retain_unsupported"];
        (reasons.iter().map(|reason| street.ended(reason)).sum::<u64>() == 12).then_some(())
    });
    street.all_well(0);
}

#[test]
fn an_oversized_packet_ends_its_connection_before_it_has_been_read() {
    let street = Street::new();
    // Only the header comes: 200 MB are announced.
    let header = [0x32, 0x80, 0x84, 0xAF, 0x5F];
    let mut five = street.connect(V5);
    five.send(&header);
    assert_eq!(five.rest(), [Packet::Disconnect(0x95)]);
    let mut three = street.connect(V3);
    three.send(&header);
    assert_eq!(three.rest(), []);
    street.await_ended("packet_too_large", 2);
    // A report that is a little too large is a report still: it is refused, not its connection.
    let mut mqtt = street.connect(V5);
    assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
    mqtt.publish(REPORT, 3, &padded(262_145));
    assert_eq!(codes(mqtt.read()), ["size"]);
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 3, reason: 0x99 }));
    mqtt.publish(REPORT, 4, &padded(262_144));
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 4, reason: 0 }), "256 KiB to the byte");
    drop(mqtt);
    street.all_well(1);
}

#[test]
fn a_report_with_qos_0_is_refused_on_the_refused_topic() {
    let street = Street::new();
    for version in [V3, V5] {
        let mut mqtt = street.connect(version);
        assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
        mqtt.publish(REPORT, 0, &report(1));
        assert_eq!(codes(mqtt.read()), ["qos0"]);
        assert!(mqtt.ping());
    }
    assert_eq!(street.boots("gw-1"), json!([]));
    street.all_well(0);
}

#[test]
fn qos_2_retain_aliases_and_a_second_connect_end_the_connection() {
    let street = Street::new();
    let mut five = street.connect(V5);
    five.publish_as(REPORT, 2, false, 1, &report(1));
    assert_eq!(five.rest(), [Packet::Disconnect(0x9B)]);
    let mut five = street.connect(V5);
    five.publish_as(REPORT, 1, true, 1, &report(1));
    assert_eq!(five.rest(), [Packet::Disconnect(0x9A)]);
    let mut three = street.connect(V3);
    three.publish_as(REPORT, 2, false, 1, &report(1));
    assert_eq!(three.rest(), []);
    let mut three = street.connect(V3);
    three.send(&packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01x"));
    assert_eq!(three.rest(), []);
    let mut three = street.connect(V3);
    three.publish("shangyun/v1/gw-1/+", 1, "{}");
    assert_eq!(three.rest(), []);
    street.await_ended("qos_unsupported", 2);
    street.await_ended("retain_unsupported", 1);
    // MQTT 3.1.1 cannot be told that nothing is retained; the flag has no effect.
    let mut three = street.connect(V3);
    three.publish_as(REPORT, 1, true, 5, &report(1));
    assert_eq!(three.read(), Some(Packet::Puback { id: 5, reason: 0 }));
    drop(three);
    street.all_well(1);
}

#[test]
fn pubacks_come_in_the_order_of_the_publishes_and_each_refusal_right_before_its_own() {
    let street = Street::new();
    for (version, no) in [(V3, 0), (V5, 0x99)] {
        let mut mqtt = street.connect(version);
        assert_eq!(mqtt.subscribe(&[REFUSED]), [1]);
        let boot = format!("b{version}");
        let at = Utc::now();
        let faulty = |id: u16| id % 5 == 3;
        for id in 1..=400u16 {
            // Every seventh repeats the first; every fifth is none.
            let seq = if id % 7 == 0 { 1 } else { u64::from(id) };
            let body = if faulty(id) { "{\"v\":1".to_string() } else { gateway_report(&boot, seq, "SN-1", at).to_string() };
            mqtt.publish(REPORT, id, &body);
        }
        for id in 1..=400u16 {
            if faulty(id) {
                assert_eq!(codes(mqtt.read()), ["json"], "before PUBACK {id}");
            }
            assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason: if faulty(id) { no } else { 0 } }));
        }
    }
    let (sound, repeats) = (2 * 320, 2 * (1..=400).filter(|id| id % 7 == 0 && id % 5 != 3).count() as u64);
    assert_eq!(street.site.service.reports("duplicate"), repeats);
    street.all_well(sound - repeats);
}
