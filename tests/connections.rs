//! Who may connect to the MQTT door, and when a connection ends.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::time::{Duration, Instant};

use chrono::Utc;
use support::history::gateway_report;
use support::mqtt::{Hello, Mqtt, Packet, V3, V5, publish_packet};
use support::street::Street;

const REPORT: &str = "shangyun/v1/gw-1/report";

#[test]
fn strangers_wrong_tokens_foreign_client_ids_and_wills_are_refused_at_connect() {
    let street = Street::new();
    for (version, bad_credentials, bad_client, bad_will) in [(V3, 4, 2, 5), (V5, 0x86, 0x85, 0x87)] {
        let hello = Hello::of(version, "gw-1");
        assert_eq!(street.hello(Hello { password: "wrong-token", ..hello }), bad_credentials);
        assert_eq!(street.hello(Hello { password: "", ..hello }), bad_credentials);
        assert_eq!(street.hello(Hello::of(version, "gw-404")), bad_credentials);
        for client_id in ["gw-2", "gw-10", "x"] {
            assert_eq!(street.hello(Hello { client_id, ..hello }), bad_client, "{client_id}");
        }
        for topic in ["shangyun/v1/gw-2/gone", REPORT, "设备/1"] {
            assert_eq!(street.hello(Hello { will: Some((topic, "gone")), ..hello }), bad_will, "{topic}");
        }
        assert_eq!(street.hello(Hello { client_id: "gw-1/second", ..hello }), 0);
    }
    let reasons = ["bad_credentials", "client_id", "will"].map(|reason| street.ended(reason));
    assert_eq!(reasons, [6, 6, 6]);
    street.all_well(0);
}

#[test]
fn a_will_is_told_to_the_gateways_own_connections_when_one_is_lost_but_not_at_a_goodbye() {
    let street = Street::new();
    let mut watcher = street.connect(V3);
    assert_eq!(watcher.subscribe(&["shangyun/v1/gw-1/gone"]), [1]);
    let hello = Hello { client_id: "gw-1/a", will: Some(("shangyun/v1/gw-1/gone", "lost")), ..Hello::of(V5, "gw-1") };
    let (mut polite, _) = Mqtt::open(street.site.service.mqtt, hello);
    polite.send(&[0xE0, 0]);
    assert_eq!(polite.rest(), []);
    assert!(watcher.ping(), "nothing came before the answer");
    drop(Mqtt::open(street.site.service.mqtt, hello));
    let Some(Packet::Publish { topic, payload, id, .. }) = watcher.read() else { panic!("no will") };
    assert_eq!((topic.as_str(), payload.as_str(), id), ("shangyun/v1/gw-1/gone", "lost", 0));
    drop(watcher);
    street.all_well(0);
}

#[test]
fn a_second_connection_with_the_same_client_id_takes_over_and_one_with_another_does_not() {
    let street = Street::new();
    let mut first = street.connect(V5);
    let (mut beside, _) = Mqtt::open(street.site.service.mqtt, Hello { client_id: "gw-1/b", ..Hello::of(V5, "gw-1") });
    let mut second = street.connect(V5);
    assert_eq!(first.rest(), [Packet::Disconnect(0x8E)]);
    for (mqtt, seq) in [(&mut beside, 1), (&mut second, 2)] {
        mqtt.publish(REPORT, 1, &gateway_report("b1", seq, "SN-1", Utc::now()).to_string());
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0 }));
    }
    street.await_ended("taken_over", 1);
    drop((beside, second));
    street.all_well(2);
}

#[test]
fn who_is_silent_longer_than_its_keep_alive_is_cut_off_and_who_pings_is_not() {
    let street = Street::new();
    let open =
        |version, client_id| Mqtt::open(street.site.service.mqtt, Hello { client_id, keep_alive_s: 1, ..Hello::of(version, "gw-1") }).0;
    let (mut silent_3, mut silent_5, mut alive) = (open(V3, "gw-1/3"), open(V5, "gw-1/5"), open(V3, "gw-1/alive"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        std::thread::sleep(Duration::from_millis(500));
        assert!(alive.ping());
    }
    assert_eq!(street.ended("keep_alive"), 2);
    assert_eq!((silent_3.rest(), silent_5.rest()), (vec![], vec![Packet::Disconnect(0x8D)]));
    drop(alive);
    street.all_well(0);
}

#[test]
fn a_report_that_comes_in_one_piece_with_the_connect_is_acknowledged() {
    let street = Street::new();
    for (version, seq) in [(V3, 1), (V5, 2)] {
        let report = gateway_report("b", seq, "SN-1", Utc::now()).to_string();
        let publish = publish_packet(version, REPORT, 1, false, 7, &report);
        let (mut mqtt, code) = Mqtt::open_and_go_on(street.site.service.mqtt, Hello::of(version, "gw-1"), &publish);
        assert_eq!(code, 0);
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 7, reason: 0 }));
    }
    street.all_well(2);
}
