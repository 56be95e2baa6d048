//! A machine that is replaced while the agent runs: the service is told, in an event and in the machine's next entry.
#![allow(clippy::unwrap_used)]

#[path = "modbus/peers.rs"]
#[allow(dead_code)]
mod peers;
mod support;

use peers::Peer;
use serde_json::{Value as Json, json};
use support::mosquitto::{Mosquitto, Subscriber};
use support::{Agent, config, wait_for};

fn machine(port: u16, model: &str, serial: &str) -> Peer {
    let peer = Peer::start("identity_machine.py", &[&port.to_string(), "Haitian", model, serial]);
    assert!(port == 0 || peer.port() == port);
    peer
}

fn identity(model: &str, serial: &str) -> Json {
    json!({"vendor": "Haitian", "model": model, "serial": serial})
}

/// What the reports say so far, in the order of their numbers: entries of the device, and what events of a change say.
struct Told {
    entries: Vec<Json>,
    changes: Vec<String>,
}

fn told(subscriber: &Subscriber) -> Told {
    let mut reports: Vec<Json> = subscriber.arrivals().into_iter().map(|arrival| arrival.report()).collect();
    reports.sort_by_key(|report| report["seq"].as_u64());
    reports.dedup_by_key(|report| report["seq"].as_u64());
    let list = |key: &str| reports.iter().flat_map(|report| report[key].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>();
    let changes = list("events").into_iter().filter(|event| event["event"] == "identity_changed");
    Told { entries: list("devices"), changes: changes.map(|event| event["detail"].as_str().unwrap().to_string()).collect() }
}

/// The entries from number `from` on, with at least so many good ones among them.
fn further(subscriber: &Subscriber, from: usize, good_count: usize) -> Vec<Json> {
    wait_for("further entries", || {
        let entries = told(subscriber).entries.split_off(from);
        (entries.iter().filter(|entry| entry["quality"] == "N").count() >= good_count).then_some(entries)
    })
}

#[test]
fn a_machine_that_is_replaced_is_reported_as_an_event_and_with_the_new_identity_in_its_next_entry() {
    let broker = Mosquitto::plain();
    let subscriber = broker.subscribe("shangyun/v1/gw-1/report");
    let first = machine(0, "MA1600", "A-1");
    let port = first.port();
    let points = "[[device.identity_point]]\nfield = \"serial\"\ntable = \"holding\"\naddress = 10\nquantity = 4\n[[device.point]]";
    let config = config(broker.dir.path(), broker.port, "[report]\nevery_s = 0.2\n")
        .replace("tcp://127.0.0.1:1\"", &format!("tcp://127.0.0.1:{port}\""))
        .replacen("[[device.point]]", points, 1);
    let mut agent = Agent::start(broker.dir.path(), &config);
    let entries = further(&subscriber, 0, 5);
    assert_eq!((&entries[0]["quality"], &entries[0]["identity"]), (&json!("N"), &identity("MA1600", "A-1")));
    assert!(entries[1..].iter().all(|entry| entry["identity"].is_null()), "it is told once: {entries:#?}");

    // Another takes its place, then the same one is only switched off and on, then one of another number of the same model.
    let mut running = first;
    let mut before = ("MA1600", "A-1");
    let mut changes: Vec<String> = vec![];
    for (model, serial) in [("MA2000", "B-2"), ("MA2000", "B-2"), ("MA2000", "C-3")] {
        let from = told(&subscriber).entries.len();
        drop(running);
        wait_for("its absence", || told(&subscriber).entries.split_off(from).iter().any(|entry| entry["quality"] == "B").then_some(()));
        running = machine(port, model, serial);
        let entries = further(&subscriber, from, 5);
        let back = entries.iter().rposition(|entry| entry["quality"] == "B").unwrap() + 1;
        let changed = before != (model, serial);
        let expected = if changed { identity(model, serial) } else { Json::Null };
        assert_eq!(entries[back]["identity"], expected, "{entries:#?}");
        let others = entries[back + 1..].iter().filter(|entry| entry["quality"] == "N").chain(&entries[..back]);
        // A reading of the old machine may have come after `from` was counted.
        assert!(others.into_iter().all(|entry| entry["identity"].is_null()), "{entries:#?}");
        if changed {
            changes.push(format!("SN-1: Haitian / {} / {} → Haitian / {model} / {serial}", before.0, before.1));
        }
        assert_eq!(told(&subscriber).changes, changes);
        before = (model, serial);
    }
    agent.terminate();
    assert_eq!(told(&subscriber).changes, changes);
}
