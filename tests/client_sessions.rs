//! The life of a session with clients of other make: Mosquitto's, Paho, MQTT.js and rumqttc, each with 3.1.1 and 5.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use support::history::gateway_report;
use support::mqtt::{V3, V5};
use support::register::{GUANGZHOU, Register, TOKEN};
use support::rumqttc_client::{Client, Opening, Seen};
use support::{Kept, Site, node_modules, python, stderr, stdout, wait_for};

const REPORT: &str = "shangyun/v1/gw-1/report";
const REFUSED: &str = "shangyun/v1/gw-1/refused";
const GONE: &str = "shangyun/v1/gw-1/gone";

fn site() -> Site {
    Site::new(Register::new().enterprise(1, GUANGZHOU).gateway("gw-1", 1).file())
}

fn report(version: u8) -> String {
    gateway_report(&format!("b{version}"), 1, "机床-1", Utc::now()).to_string()
}

fn faulty(boot: &str) -> String {
    json!({"v": 2, "boot": boot, "seq": 1}).to_string()
}

/// The boot that a refusal names.
fn boot(refusal: &str) -> String {
    serde_json::from_str::<Value>(refusal).unwrap()["boot"].as_str().unwrap().to_string()
}

/// Runs a client's program and holds what it has seen against what MQTT promises.
fn live_through_a_session(program: &mut Command, site: &Site, version: u8) {
    let told = json!({"host": site.service.mqtt.ip().to_string(), "port": site.service.mqtt.port(), "version": version,
        "gateway": "gw-1", "token": TOKEN, "report": report(version), "modules": node_modules()});
    let output = program.arg(told.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let seen: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&seen["first_present"], &seen["granted"]), (&json!(false), &json!([1])), "{seen}");
    assert_eq!((&seen["accepted"], &seen["refused"]), (&json!(0), &json!(if version == V5 { 0x99 } else { 0 })), "{seen}");
    for name in ["now", "away"] {
        assert_eq!(seen[name][0], 1, "with QoS 1: {seen}");
        assert_eq!(boot(seen[name][1].as_str().unwrap()), name, "{seen}");
    }
    assert_eq!((&seen["again_present"], &seen["clean_present"]), (&json!(true), &json!(false)), "{seen}");
    assert!(version != V5 || seen["taken_over"] == 0x8E, "{seen}");
    assert_eq!((&seen["will"], &seen["kept_alive"]), (&json!([1, "lost"]), &json!(true)), "{seen}");
    assert_eq!(site.service.metric("shangyun_ingest_mqtt_connections_ended_total{reason=\"keep_alive\"}"), 0);
}

#[test]
fn paho_lives_through_a_session_with_either_version() {
    let site = site();
    for version in [V3, V5] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/paho_sessions.py");
        live_through_a_session(Command::new(python()).arg(script), &site, version);
    }
    assert_eq!((site.service.reports("accepted"), site.service.reports("duplicate")), (2, 2));
}

#[test]
fn mqtt_js_lives_through_a_session_with_either_version() {
    let site = site();
    for version in [V3, V5] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mqttjs_sessions.mjs");
        live_through_a_session(Command::new("node").arg(script), &site, version);
    }
    assert_eq!((site.service.reports("accepted"), site.service.reports("duplicate")), (2, 2));
}

#[test]
fn rumqttc_lives_through_a_session_with_either_version() {
    let site = site();
    for version in [V3, V5] {
        let hello = Opening { version, client_id: "gw-1/rumqttc", kept: true, will: None, keep_alive_s: 60 };
        let open = |opening: &Opening<'_>, present: bool| {
            let client = Client::open(site.service.mqtt, opening);
            assert_eq!(client.next(), Seen::Connected { present });
            client
        };
        let refusal = |client: &Client, of: &str| match client.next() {
            Seen::Message { qos: 1, payload } => assert_eq!(boot(&payload), of),
            other => panic!("{other:?}"),
        };
        let no = Seen::Puback(if version == V5 { 0x99 } else { 0 });
        let client = open(&hello, false);
        client.subscribe(REFUSED);
        assert_eq!(client.next(), Seen::Granted(1));
        client.publish(REPORT, &report(version));
        assert_eq!(client.next(), Seen::Puback(0));
        client.publish(REPORT, &faulty("now"));
        refusal(&client, "now");
        assert_eq!(client.next(), no);
        client.leave();
        let beside = open(&Opening { client_id: "gw-1/beside", kept: false, ..hello }, false);
        beside.publish(REPORT, &faulty("away"));
        assert_eq!(beside.next(), no);
        let client = open(&hello, true);
        refusal(&client, "away");
        let second = open(&hello, true);
        let Seen::Ended(why) = client.next() else { panic!("it goes on") };
        assert!(version != V5 || why.contains("SessionTakenOver"), "{why}");
        second.leave();
        open(&Opening { kept: false, ..hello }, false).leave();
        beside.subscribe(GONE);
        assert_eq!(beside.next(), Seen::Granted(1));
        open(&Opening { client_id: "gw-1/will", kept: false, will: Some((GONE, "lost")), ..hello }, false).vanish();
        assert_eq!(beside.next(), Seen::Message { qos: 1, payload: "lost".into() });
        beside.leave();
        let client = open(&Opening { kept: false, keep_alive_s: 5, ..hello }, false);
        // Longer than one and a half times its keep alive: only its pings can have kept it.
        std::thread::sleep(Duration::from_secs(9));
        assert!(client.nothing_yet());
        client.leave();
    }
    assert_eq!(site.service.reports("accepted"), 2);
}

struct Mosquitto<'a> {
    site: &'a Site,
    version: &'a str,
}

impl Mosquitto<'_> {
    /// mosquitto_sub, through stdbuf, for it holds lines back from a pipe.
    fn subscriber(&self, client_id: &str, args: &[&str]) -> Child {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-V", self.version, "-i", client_id, "-u", "gw-1", "-P", TOKEN, "-q", "1", "-W", "30"]);
        let address = self.site.service.mqtt;
        command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A subscriber that stays until it has got one message, QoS and payload; it is connected when this returns.
    fn waiting(&self, client_id: &str, topic: &str) -> (Kept, impl Iterator<Item = String>) {
        let mut child = self.subscriber(client_id, &["-t", topic, "-C", "1", "-F", "%q %p", "-d"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("Subscribed")));
        (Kept(child), lines)
    }

    fn publish(&self, payload: &str) {
        let address = self.site.service.mqtt;
        let output = Command::new("mosquitto_pub")
            .args(["-V", self.version, "-i", "gw-1/pub", "-u", "gw-1", "-P", TOKEN, "-q", "1", "-t", REPORT, "-m", payload])
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn ended(&self, reason: &str) -> u64 {
        self.site.service.metric(&format!("shangyun_ingest_mqtt_connections_ended_total{{reason=\"{reason}\"}}"))
    }
}

#[test]
fn mosquittos_clients_live_through_a_session_with_either_version() {
    let site = site();
    for (round, version) in [(1, "mqttv311"), (2, "mqttv5")] {
        let mosquitto = Mosquitto { site: &site, version };
        mosquitto.publish(&report(if round == 1 { V3 } else { V5 }));
        let keep: &[&str] = if round == 2 { &["-c", "-x", "3600"] } else { &["-c"] };
        // -E: it ends as soon as it has subscribed, and leaves its session behind.
        let output = mosquitto.subscriber("gw-1/sub", &[&["-t", REFUSED, "-E"], keep].concat()).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        mosquitto.publish(&faulty("away"));
        let output =
            mosquitto.subscriber("gw-1/sub", &[&["-t", REFUSED, "-C", "1", "-F", "%q %p"], keep].concat()).wait_with_output().unwrap();
        let text = stdout(&output);
        let (qos, payload) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{text}{}", stderr(&output)));
        assert_eq!((qos, boot(payload).as_str()), ("1", "away"));
        // A clean start drops the session; nothing is left to wait for it.
        assert!(mosquitto.subscriber("gw-1/sub", &["-t", REFUSED, "-E"]).wait().unwrap().success());
        wait_for("the session ends", || (site.service.metric("shangyun_ingest_mqtt_idle_sessions") == 0).then_some(()));
        // A will, by a client that is killed; then a take-over.
        let (_watcher, lines) = mosquitto.waiting("gw-1/watcher", GONE);
        let mut dying =
            mosquitto.subscriber("gw-1/will", &["-t", REFUSED, "-d", "--will-topic", GONE, "--will-payload", "lost", "--will-qos", "1"]);
        assert!(BufReader::new(dying.stdout.take().unwrap()).lines().map_while(Result::ok).any(|line| line.starts_with("Subscribed")));
        dying.kill().unwrap();
        dying.wait().unwrap();
        assert!(lines.into_iter().any(|line| line == "1 lost"));
        let (first, _) = mosquitto.waiting("gw-1/twice", REFUSED);
        let before = mosquitto.ended("taken_over");
        let (second, _) = mosquitto.waiting("gw-1/twice", REFUSED);
        wait_for("the take-over is counted", || (mosquitto.ended("taken_over") > before).then_some(()));
        drop((first, second));
    }
    assert_eq!(site.service.reports("accepted"), 2);
}
