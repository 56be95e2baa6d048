//! kill -9 while reports flow: what was acknowledged is there afterwards, and is counted exactly once.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use drive::agent_setup::{AgentSetup, DeviceSetup, agent_config};
use drive::machines::{Machine, MachineKind};
use drive::modbus_server::serve;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use serde_json::{Value, json};
use support::history::{device_reports, gateway_report};
use support::http::try_post;
use support::mqtt::{self, Mqtt};
use support::register::{GUANGZHOU, Register, TOKEN, device_names};
use support::{Kept, Site, agent_program, drained, rebuild_tally, wait_for};

fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .gateway("gw-1", 1)
}

/// The report of that number: always the same bytes, and never near a whole day old.
fn from_gateway(began: DateTime<Utc>, seq: u64) -> String {
    gateway_report("b1", seq, &format!("SN-{}", seq % 7), began - TimeDelta::hours(2) - TimeDelta::seconds(seq as i64)).to_string()
}

fn from_supplier(began: DateTime<Utc>, n: u64) -> Value {
    let devices = device_names("HTTP", 1 + n as usize % 3);
    device_reports(&format!("r{n}"), 1, &devices, &[began - TimeDelta::hours(3) - TimeDelta::seconds(n as i64)]).remove(0)
}

/// Publishes from `first` on until the service dies; gives how many were sent, and which were acknowledged.
fn publish_until_killed(address: SocketAddr, began: DateTime<Utc>, first: u64) -> (u64, BTreeSet<u64>) {
    let mut options = MqttOptions::new("gw-1", address.ip().to_string(), address.port());
    options.set_credentials("gw-1", TOKEN).set_inflight(50);
    let (client, mut connection) = Client::new(options, 50);
    let publisher = std::thread::spawn(move || {
        let mut seq = first;
        while client.publish("shangyun/v1/gw-1/report", QoS::AtLeastOnce, false, from_gateway(began, seq)).is_ok() {
            seq += 1;
        }
    });
    let (mut sent, mut acknowledged) = (first, BTreeSet::new());
    let mut in_flight = BTreeMap::new();
    for event in connection.iter() {
        match event {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                in_flight.insert(id, sent);
                sent += 1;
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                acknowledged.insert(in_flight.remove(&ack.pkid).unwrap());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    drop(connection);
    publisher.join().unwrap();
    (sent, acknowledged)
}

/// Pushes requests of four reports until the service dies; gives how many were sent, and which were acknowledged.
fn push_until_killed(url: &str, key: &str, began: DateTime<Utc>, first: u64) -> (u64, BTreeSet<u64>) {
    let (mut next, mut acknowledged) = (first, BTreeSet::new());
    loop {
        let numbers: Vec<u64> = (next..next + 4).collect();
        next += 4;
        let body = json!(numbers.iter().map(|n| from_supplier(began, *n)).collect::<Vec<_>>()).to_string();
        match try_post(url, key, body.as_bytes(), &[]) {
            Ok(answer) if answer.status == 200 => {
                let results = answer.json()["results"].clone();
                assert!(results.as_array().unwrap().iter().all(|result| result["status"] == "accepted"), "{results}");
                acknowledged.extend(numbers);
            }
            _ => return (next, acknowledged),
        }
    }
}

fn accepted_ranges(site: &Site, boot: &str) -> Vec<(u64, u64)> {
    let gateway = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    let boots = gateway["boots"].as_array().unwrap();
    let ranges = boots.iter().find(|known| known["boot"] == boot).map(|known| known["accepted"].clone());
    ranges.map(|ranges| serde_json::from_value(ranges).unwrap()).unwrap_or_default()
}

/// Sends the gateway's reports again and gives how many of them were duplicates.
fn resend(site: &Site, began: DateTime<Utc>, numbers: std::ops::Range<u64>) -> u64 {
    let mut mqtt = Mqtt::connect(site.service.mqtt, mqtt::V3, "gw-1");
    let before = site.service.reports("duplicate");
    let numbers: Vec<u64> = numbers.collect();
    for some in numbers.chunks(500) {
        for (id, seq) in (1..).zip(some) {
            mqtt.publish("shangyun/v1/gw-1/report", id, &from_gateway(began, *seq));
        }
        for id in 1..=some.len() as u16 {
            assert_eq!(mqtt.read(), Some(mqtt::Packet::Puback { id, reason: 0 }));
        }
    }
    site.service.reports("duplicate") - before
}

#[test]
fn every_acknowledged_report_survives_kill_9_and_is_counted_exactly_once() {
    let mut random = StdRng::seed_from_u64(20190902);
    let began = Utc::now();
    let mut site = Site::with(register().file(), |_| vec!["tally.checkpoint_every_s=1".into()]);
    let key = site.key("supplier", Some("S-1"));
    let (mut published, mut pushed) = (1, 1);
    let (mut acknowledged_seq, mut acknowledged_id) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..6 {
        let (mqtt, url) = (site.service.mqtt, format!("{}/api/v1/reports", site.service.http));
        let by_mqtt = std::thread::spawn(move || publish_until_killed(mqtt, began, published));
        let supplier = key.clone();
        let by_http = std::thread::spawn(move || push_until_killed(&url, &supplier, began, pushed));
        wait_for("reports flow", || (site.service.reports("accepted") > 50).then_some(()));
        std::thread::sleep(Duration::from_millis(random.random_range(0..900)));
        site = site.kill_and_restart();
        let (next, acknowledged) = by_mqtt.join().unwrap();
        published = next;
        assert!(!acknowledged.is_empty(), "round {round}");
        acknowledged_seq.extend(acknowledged);
        let (next, acknowledged) = by_http.join().unwrap();
        pushed = next;
        acknowledged_id.extend(acknowledged);
        let ranges = accepted_ranges(&site, "b1");
        let lost: Vec<_> = acknowledged_seq.iter().filter(|seq| !ranges.iter().any(|(from, to)| (from..=to).contains(seq))).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
    }
    // Resent, what was acknowledged is a duplicate; what was not may be either.
    let all: Vec<u64> = (1..pushed).collect();
    for some in all.chunks(500) {
        let results = site.push(&key, &some.iter().map(|n| from_supplier(began, *n)).collect::<Vec<_>>());
        for (n, result) in some.iter().zip(results) {
            let expected: &[&str] = if acknowledged_id.contains(n) { &["duplicate"] } else { &["accepted", "duplicate"] };
            assert!(expected.contains(&result["status"].as_str().unwrap()), "{n}: {result}");
        }
    }
    let before: u64 = accepted_ranges(&site, "b1").iter().map(|(from, to)| to - from + 1).sum();
    assert_eq!(resend(&site, began, 1..published), before, "the duplicates are those that were in");
    assert_eq!(accepted_ranges(&site, "b1"), [(1, published - 1)]);
    let (_dir, data) = site.stop();
    let (same, digest) = rebuild_tally(&data);
    assert!(same, "the facts at hand are those of the log");

    // A service that was never killed and got each report once holds the same facts.
    let calm = Site::new(register().file());
    let key = calm.key("supplier", Some("S-1"));
    let all: Vec<Value> = (1..pushed).map(|n| from_supplier(began, n)).collect();
    all.chunks(500).for_each(|some| calm.push_accepted(&key, some));
    assert_eq!(resend(&calm, began, 1..published), 0);
    let (_calm_dir, data) = calm.stop();
    assert_eq!(rebuild_tally(&data), (true, digest));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_agent(config: &Path) -> Kept {
    let mut child: Child = Command::new(agent_program()).args(["run", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
    drained(child.stderr.take().unwrap());
    Kept(child)
}

/// The boot that the agent has now, and the highest number accepted of it.
fn newest_boot(site: &Site, known: &[String]) -> Option<(String, u64)> {
    let gateway = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    let boot =
        gateway["boots"].as_array().unwrap().iter().find(|boot| !known.contains(&boot["boot"].as_str().unwrap().to_string()))?.clone();
    Some((boot["boot"].as_str()?.to_string(), boot["accepted"].as_array()?.last()?[1].as_u64()?))
}

#[test]
fn the_agent_keeps_what_was_not_acknowledged_and_resends_it_when_the_service_is_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, vec![Machine::new(MachineKind::EnergyMeter, 7)], Utc::now));
    let port = free_port();
    let site = Site::with(register().file(), |_| vec![format!("mqtt.listen=127.0.0.1:{port}")]);
    let setup = AgentSetup {
        gateway: "gw-1".into(),
        token: TOKEN.into(),
        enterprise: None,
        broker_url: format!("mqtt://127.0.0.1:{port}"),
        spool_dir: site.scratch().join("spool").display().to_string(),
        report_every_s: 0.1,
        poll_ms: 100,
        devices: vec![DeviceSetup { name: "SN-1".into(), address, unit_id: 1, kind: MachineKind::EnergyMeter }],
    };
    let config = site.scratch().join("agent.toml");
    std::fs::write(&config, agent_config(&setup)).unwrap();
    let agent = start_agent(&config);
    let (boot, before) = wait_for("the agent reports", || newest_boot(&site, &[]).filter(|(_, highest)| *highest >= 5));
    let site = site.kill_and_restart();
    let through =
        |least: u64| wait_for("the agent resends", || matches!(accepted_ranges(&site, &boot)[..], [(1, to)] if to >= least).then_some(()));
    through(before + 10);
    // The agent is killed while the service is away: its next life delivers what lies in the spool.
    let site = site.kill_and_restart();
    drop(agent);
    let spooled = accepted_ranges(&site, &boot);
    let agent = start_agent(&config);
    let (second, _) = wait_for("the agent's second life reports", || {
        newest_boot(&site, std::slice::from_ref(&boot)).filter(|(_, highest)| *highest >= 3)
    });
    let ended = Command::new("kill").args(["-TERM", &agent.0.id().to_string()]).status().unwrap();
    assert!(ended.success());
    let mut agent = agent;
    assert!(wait_for("the agent ends in good order", || agent.0.try_wait().unwrap()).success());
    assert!(matches!(accepted_ranges(&site, &boot)[..], [(1, to)] if to >= spooled.last().map_or(1, |range| range.1)));
    assert!(matches!(accepted_ranges(&site, &second)[..], [(1, _)]), "no gap");
    assert_eq!(site.service.reports("refused"), 0);
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0);
}
