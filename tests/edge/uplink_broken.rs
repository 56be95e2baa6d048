//! The agent and Mosquitto with something broken between them: connections half open, a broker that refuses or is away.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge::key::{FileKey, Signer};
use serde_json::{Value, json};
use support::mosquitto::{Arrival, Mosquitto, gaps};
use support::proxy::Proxy;
use support::{Agent, config, wait_for};

const REPORT: &str = "shangyun/v1/gw-1/report";
const EVERY_200_MS: &str = "[report]\nevery_s = 0.2\n";

#[test]
fn a_connection_that_is_half_open_is_noticed_and_made_anew_and_no_report_is_lost() {
    let broker = Mosquitto::plain();
    let (proxy, subscriber) = (Proxy::start(broker.port), broker.subscribe(REPORT));
    let dir = broker.dir.path();
    let mut agent = Agent::start(dir, &config(dir, proxy.port, &format!("acknowledge_timeout_s = 1\n{EVERY_200_MS}")));
    let boot = subscriber.boot();
    for round in 1..=3 {
        let (before, accepted) = (subscriber.numbers(&boot).len(), proxy.accepted());
        wait_for("more reports", || (subscriber.numbers(&boot).len() >= before + 3).then_some(()));
        proxy.die();
        wait_for("a dead connection noticed", || (agent.said("report_unacknowledged") >= round).then_some(()));
        // The next attempt meets the same silence.
        wait_for("a new connection", || (proxy.accepted() > accepted).then_some(()));
        proxy.recover();
    }
    let reached = *subscriber.numbers(&boot).iter().max().unwrap();
    subscriber.until_number(&boot, reached + 10);
    agent.terminate();
    assert_eq!(gaps(&subscriber.numbers(&boot)), [0; 0]);
}

#[test]
fn a_connection_that_dies_while_nothing_is_said_is_noticed_by_its_keep_alive() {
    let broker = Mosquitto::plain();
    let (proxy, subscriber) = (Proxy::start(broker.port), broker.subscribe(REPORT));
    let dir = broker.dir.path();
    let mut agent = Agent::start(dir, &config(dir, proxy.port, "keep_alive_s = 5\n[report]\nevery_s = 3600\n"));
    // The first report comes at once, the next in an hour.
    let boot = subscriber.boot();
    proxy.die();
    wait_for("a new connection", || (proxy.accepted() > 1).then_some(()));
    proxy.recover();
    wait_for("a connection that works", || (agent.said("connected to the broker") >= 2).then_some(()));
    agent.terminate();
    let numbers = subscriber.numbers(&boot);
    assert!(numbers.len() > 1 && gaps(&numbers).is_empty(), "{numbers:?}");
}

/// Mosquitto whose access list lets the gateway read only, until it is told otherwise.
fn reading_only() -> Mosquitto {
    Mosquitto::start(|dir| {
        access(dir, "read");
        format!("acl_file {}\n", dir.join("access").display())
    })
}

fn access(dir: &Path, kind: &str) {
    std::fs::write(dir.join("access"), format!("user gw-1\ntopic {kind} shangyun/v1/gw-1/#\n")).unwrap();
}

/// A broker of others that forbids publishing by mistake: everything arrives once the mistake is mended.
fn nothing_is_given_up_where_the_broker_forbids(delivery: &str) {
    let broker = reading_only();
    let subscriber = broker.subscribe(REPORT);
    let dir = broker.dir.path();
    let keys = dir.join("keys.json");
    std::fs::write(&keys, r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#).unwrap();
    let mut agent =
        Agent::start(dir, &config(dir, broker.port, &format!("{EVERY_200_MS}{}", delivery.replace("KEYS", keys.to_str().unwrap()))));
    wait_for("a second pause", || (agent.said("0x87 not authorised") >= 2).then_some(()));
    assert_eq!(subscriber.arrivals().len(), 0);
    access(dir, "readwrite");
    broker.reload();
    let boot = subscriber.boot();
    subscriber.until_number(&boot, 1);
    agent.terminate();
    let numbers = subscriber.numbers(&boot);
    assert!(numbers.len() > 3 && gaps(&numbers).is_empty(), "{numbers:?}");
    assert_eq!(std::fs::read_dir(dir.join("spool/refused")).unwrap().count(), 0);
}

#[test]
fn by_receipt_a_broker_that_forbids_publishing_makes_no_report_a_refused_one() {
    nothing_is_given_up_where_the_broker_forbids("[delivery]\nconfirm = \"receipt\"\nreceipt_keys_file = \"KEYS\"\n");
}

#[test]
fn by_acknowledgement_a_report_that_is_not_authorised_without_its_faults_is_kept() {
    nothing_is_given_up_where_the_broker_forbids("");
}

#[test]
fn after_an_outage_live_reports_go_first_and_the_backlog_follows_in_its_order_at_its_rate() {
    const BACKLOG_PER_S: usize = 5;
    let mut broker = Mosquitto::plain();
    let subscriber = broker.subscribe(REPORT);
    let dir = broker.dir.path().to_path_buf();
    let more = format!("{EVERY_200_MS}[delivery]\nbacklog_reports_per_s = {BACKLOG_PER_S}\n");
    let mut agent = Agent::start(&dir, &config(&dir, broker.port, &more));
    let boot = subscriber.boot();
    broker.stop();
    let before = subscriber.arrivals();
    let received = before.len() as u64;
    // So long that about 40 reports wait.
    std::thread::sleep(Duration::from_secs(8));
    let resumed_at = SystemTime::now();
    broker.resume();
    wait_for("every number", || {
        let numbers = subscriber.numbers(&boot);
        (numbers.len() as u64 > received + 30 && gaps(&numbers).is_empty()).then_some(())
    });
    agent.terminate();
    let after: Vec<Arrival> = subscriber.arrivals().split_off(before.len());
    let numbers: Vec<u64> = after.iter().map(Arrival::seq).collect();
    // The first that comes although the one before it has not come is the first live one.
    let mut seen: BTreeSet<u64> = (1..=received).collect();
    let live_from = *numbers.iter().find(|seq| !seen.contains(&(*seq - 1)) || !seen.insert(**seq)).unwrap();
    let (live, old): (Vec<&Arrival>, Vec<&Arrival>) = after.iter().partition(|arrival| arrival.seq() >= live_from);
    let rising = |part: &[&Arrival]| part.is_sorted_by_key(|arrival| arrival.seq());
    assert!(rising(&live) && rising(&old), "{numbers:?}");
    assert!(old.len() >= 30, "{numbers:?}");
    let last_old = numbers.iter().rposition(|seq| *seq < live_from).unwrap();
    let live_before = numbers[..last_old].iter().filter(|seq| **seq >= live_from).count();
    assert!(live_before >= 10, "live reports do not wait for the backlog: {numbers:?}");
    // Counted from when the broker was there again: the subscriber gets what came before itself all at once.
    let took_s = old.last().unwrap().at_s - resumed_at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let allowed = BACKLOG_PER_S as f64 * (1.0 + took_s);
    assert!(old.len() as f64 <= allowed + 1.0, "what one second allows and then the rate: {took_s} s for {} reports", old.len());
    for arrival in live {
        let sent_at = arrival.report()["sent_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let waited_s = arrival.at_s - sent_at.timestamp_millis() as f64 / 1000.0;
        assert!(waited_s < 3.0, "live report {} came after {waited_s} s", arrival.seq());
    }
}

#[test]
fn a_signed_report_is_verified_on_the_wire_by_a_library_of_others() {
    let broker = Mosquitto::plain();
    let subscriber = broker.subscribe(REPORT);
    let dir = broker.dir.path();
    let key = FileKey::create(&dir.join("gateway.key"), "gw-1").unwrap();
    let text = config(dir, broker.port, EVERY_200_MS)
        .replace("[gateway]", &format!("[gateway]\nkey_file = \"{}\"", dir.join("gateway.key").display()));
    let mut agent = Agent::start(dir, &text);
    wait_for("reports", || (subscriber.arrivals().len() >= 3).then_some(()));
    agent.terminate();
    let mut messages: Vec<String> = subscriber.arrivals().into_iter().map(|arrival| arrival.hex).collect();
    let count = messages.len();
    // The last byte of the payload, and that of the signature.
    let first = messages[0].clone();
    for from_end in [2 * (64 + 2) + 2, 2] {
        let at = first.len() - from_end;
        let byte = u8::from_str_radix(&first[at..at + 2], 16).unwrap() ^ 1;
        messages.push(format!("{}{byte:02x}{}", &first[..at], &first[at + 2..]));
    }
    let key: String = key.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let verified = verify(&json!({"key": key, "kid": "gw-1", "messages": messages}));
    let (sound, changed) = verified.split_at(count);
    for (index, payload) in sound.iter().enumerate() {
        let report: Value = serde_json::from_str(payload.as_str().unwrap()).unwrap();
        assert_eq!(report["seq"], index as u64 + 1);
    }
    assert_eq!(changed, [Value::Null, Value::Null]);
}

fn verify(told: &Value) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(root.join("target/test-venv/bin/python"));
    let script = root.join("tests/edge/verify_cose.py");
    let mut python = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("./tests/run makes the venv");
    python.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
