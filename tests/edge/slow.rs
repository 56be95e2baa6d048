//! What is slow, a machine or whoever takes the readings, costs polls. They are left out and counted; nothing is stamped later than it
//! was read. The machines here say in their registers at which millisecond they answer.
#![allow(clippy::unwrap_used)]

#[path = "modbus/peers.rs"]
#[allow(dead_code)]
mod peers;
#[path = "../support/strace.rs"]
#[allow(dead_code)]
mod strace;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Utc};
use edge::bus::BusSettings;
use edge::modbus::{DeviceState, DeviceStates};
use edge::report::Item;
use peers::{Peer, polling, start_poller};
use serde_json::Value as Json;
use strace::Strace;
use support::mosquitto::free_port;
use support::{AGENT, Agent, Kept, page, spooled_reports, wait_for};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

const POLL_MS: i64 = 50;
/// The machine that runs the tests may be busy for so long. Everything that must not be taken for the time of reading lasts longer.
const SLACK_MS: i64 = 500;
/// What may wait in a poller for each device.
const WAITING_MAX: usize = 4;

fn device(name: &str, unit: usize, address: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\naddress = \"{address}\"\nunit_id = {unit}\npoll_ms = {POLL_MS}\ntimeout_ms = 2000\nidentify = false\n\
         [[device.point]]\nname = \"ms\"\ntable = \"holding\"\naddress = 0\ntype = \"u32\"\n"
    )
}

/// One entry: when it says that it was read, and when the machine says so.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    at: DateTime<Utc>,
    machine_ms: u32,
}

impl Stamp {
    fn late_ms(self) -> i64 {
        // The registers hold the lower half of the time.
        i64::from((self.at.timestamp_millis() as u32).wrapping_sub(self.machine_ms) as i32)
    }
}

/// Each entry has the time of its reading, and each place on the grid of time was read or is counted as left out.
fn accounted(name: &str, stamps: &[Stamp], skipped_count: u64) {
    for stamp in stamps {
        assert!((-SLACK_MS..SLACK_MS).contains(&stamp.late_ms()), "{name} is stamped {} ms late: {stamp:?}", stamp.late_ms());
    }
    assert!(stamps.is_sorted_by_key(|stamp| stamp.at), "{name}");
    let (first, last) = (stamps[0].at, stamps[stamps.len() - 1].at);
    let places = (last - first).num_milliseconds() / POLL_MS + 1;
    let known = stamps.len() as i64 + skipped_count as i64;
    // First and last may stand beside their places, and some were left out after the last.
    let slack = 1 + SLACK_MS / POLL_MS;
    assert!((places - slack..=places + slack).contains(&known), "{name}: {places} places, {} read, {skipped_count} left out", stamps.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_takes_readings_nothing_is_read_and_afterwards_every_bus_goes_on_and_what_was_left_out_is_counted() {
    const CHANNEL: usize = 2;
    const STUCK: Duration = Duration::from_secs(3);
    let peers = [0, 1].map(|_| Peer::start("modbus_faulty.py", &["tcp", "0", "1=clock", "2=clock"]));
    let (sender, mut items) = mpsc::channel(CHANNEL);
    let states = DeviceStates::default();
    for (bus, peer) in peers.iter().enumerate() {
        let address = format!("tcp://127.0.0.1:{}", peer.port());
        let devices: String = [1, 2].map(|unit| device(&format!("{bus}-{unit}"), unit, &address)).concat();
        start_poller(&address, &devices, BusSettings::default(), &states, sender.clone());
    }
    // The time in which nobody takes anything.
    sleep(STUCK).await;
    let asked_count: usize = peers.iter().map(|peer| peer.requests().len()).sum();
    assert!(asked_count <= CHANNEL + 4 * WAITING_MAX, "{asked_count} readings, and nobody takes them");
    let stuck = states.snapshot();
    assert!(stuck.values().all(|state| state.behind && state.skipped_count >= 40), "{stuck:#?}");

    let mut stamps: BTreeMap<String, Vec<Stamp>> = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(3);
    while let Ok(Some(item)) = timeout_at(until, items.recv()).await {
        let Item::Device(entry) = item else { panic!("{item:?}") };
        let machine_ms = entry.readings[0].1.number().unwrap() as u32;
        stamps.entry(entry.device).or_default().push(Stamp { at: entry.at, machine_ms });
    }
    let states = states.snapshot();
    assert_eq!(stamps.len(), 4);
    for (name, stamps) in &stamps {
        assert!(stamps.len() > 30, "{name} was read {} times afterwards", stamps.len());
        accounted(name, stamps, states[name].skipped_count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_slower_than_its_poll_interval_is_read_as_fast_as_it_can_and_owes_nothing_when_it_is_quick_again() {
    const SLOW_COUNT: usize = 8;
    const SLOW_MS: i64 = 330;
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", &format!("1=clock:{SLOW_COUNT}+{SLOW_MS}")]);
    let address = format!("tcp://127.0.0.1:{}", peer.port());
    let mut polling = polling(&address, &device("SN", 1, &address), BusSettings::default());
    let state = |states: &DeviceStates| -> DeviceState { states.snapshot().remove("SN").unwrap() };
    let slow = polling.collect(Duration::from_millis(SLOW_MS as u64 * 5)).await;
    let while_slow = state(&polling.states);
    assert!(while_slow.behind && while_slow.skipped_count >= 15, "{while_slow:?}");
    assert!(while_slow.latency_ms >= Some(SLOW_MS as u64), "{while_slow:?}");
    // Till it has been quick for some seconds.
    let quick = polling.collect(Duration::from_secs(4)).await;
    let state = state(&polling.states);
    assert!(state.latency_ms < Some(SLOW_MS as u64), "{state:?}");

    let entries = slow["SN"].iter().chain(&quick["SN"]);
    let stamps: Vec<Stamp> =
        entries.map(|entry| Stamp { at: entry.at, machine_ms: entry.readings[0].1.number().unwrap() as u32 }).collect();
    accounted("SN", &stamps, state.skipped_count);
    for pair in stamps[..SLOW_COUNT].windows(2) {
        let pause_ms = (pair[1].at - pair[0].at).num_milliseconds();
        assert!((SLOW_MS - 20..SLOW_MS + SLACK_MS).contains(&pause_ms), "{pause_ms} ms between polls that take {SLOW_MS} ms");
    }
    let quick = &stamps[SLOW_COUNT..];
    let span_ms = (quick[quick.len() - 1].at - quick[0].at).num_milliseconds();
    assert!(quick.len() > 20 && quick.len() as i64 <= span_ms / POLL_MS + 3, "{} polls in {span_ms} ms", quick.len());
}

/// A gateway without a broker, whose page is at this port.
fn gateway(dir: &Path, listen: u16, devices: &str) -> String {
    format!(
        "[gateway]\nid = \"g\"\ntoken = \"t\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n[local]\nlisten = \"127.0.0.1:{listen}\"\n\
         [report]\nevery_s = 0.5\n[spool]\ndir = \"{}\"\n{devices}",
        dir.join("spool").display()
    )
}

#[test]
fn a_technician_is_told_which_device_is_slower_than_its_poll_interval_and_how_long_reading_it_takes() {
    let (dir, listen) = (tempfile::tempdir().unwrap(), free_port());
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", "1=clock:1000+330", "2=clock"]);
    let address = format!("tcp://127.0.0.1:{}", peer.port());
    // Each on a bus of its own.
    let devices = device("slow", 1, &address) + &device("quick", 2, &address.replace("127.0.0.1", "localhost"));
    let _agent = Agent::start(dir.path(), &gateway(dir.path(), listen, &devices));
    let status = || {
        let output = Command::new(AGENT).args(["status", "--config"]).arg(dir.path().join("edge.toml")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let table = wait_for("a word about the slow device", || Some(status()).filter(|said| said.contains("slow [device_behind]")));
    assert!(table.contains("采集跟不上 poll_ms = 50") && table.contains("does not keep up with poll_ms = 50 (it took 3"), "{table}");
    let metrics = page(listen, "/metrics").unwrap();
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let slowest_s = value("shangyun_edge_slowest_read_seconds ");
    assert!((0.33..1.0).contains(&slowest_s), "{slowest_s}");
    assert!(value("shangyun_edge_behind_devices ") >= 1.0, "{metrics}");
    assert!(value("shangyun_edge_polls_total{outcome=\"skipped\"} ") >= 5.0, "{metrics}");
}

/// By device, from reports.
fn stamps_of(reports: &[Json]) -> BTreeMap<String, Vec<Stamp>> {
    let mut stamps: BTreeMap<String, Vec<Stamp>> = BTreeMap::new();
    for entry in reports.iter().flat_map(|report| report["devices"].as_array().into_iter().flatten()) {
        let machine_ms = entry["readings"]["ms"].as_u64().unwrap_or_else(|| panic!("{entry}")) as u32;
        let at = entry["at"].as_str().unwrap().parse().unwrap();
        stamps.entry(entry["device"].as_str().unwrap().to_string()).or_default().push(Stamp { at, machine_ms });
    }
    stamps
}

#[test]
fn on_a_disk_that_is_stuck_for_seconds_polls_are_left_out_and_counted_and_every_entry_has_the_time_of_its_reading() {
    const UNITS: usize = 20;
    const STUCK: Duration = Duration::from_secs(4);
    let dir = tempfile::tempdir().unwrap();
    let units: Vec<String> = (1..=UNITS).map(|unit| format!("{unit}=clock")).collect();
    let arguments: Vec<&str> = ["tcp", "0"].into_iter().chain(units.iter().map(String::as_str)).collect();
    let peers = [0, 1].map(|_| Peer::start("modbus_faulty.py", &arguments));
    let listen = free_port();
    let mut devices = String::new();
    for (bus, peer) in peers.iter().enumerate() {
        let address = format!("tcp://127.0.0.1:{}", peer.port());
        (1..=UNITS).for_each(|unit| devices += &device(&format!("{bus}-{unit}"), unit, &address));
    }
    let mut agent = Agent::start(dir.path(), &gateway(dir.path(), listen, &devices));
    // By device, while the spool gives an answer.
    let totals = |key: &str| -> Option<BTreeMap<String, u64>> {
        let status: Json = serde_json::from_str(&page(listen, "/status.json")?).unwrap();
        let devices = status["devices"].as_array().unwrap().iter();
        Some(devices.map(|device| (device["name"].as_str().unwrap().to_string(), device[key].as_u64().unwrap())).collect())
    };
    wait_for("first readings", || totals("read_total").filter(|totals| totals.values().all(|total| *total > 5)));

    let strace = Strace::delay(agent.pid(), "fdatasync,fsync", STUCK, &dir.path().join("strace.log"));
    // More than half of the time that one sync takes.
    wait_for("polls that are left out", || totals("skipped_total").filter(|totals| totals.values().all(|total| *total > 40)));
    assert!(strace.detach().iter().all(|call| !call.failed));
    let before = wait_for("the disk", || totals("read_total"));
    wait_for("further polls", || totals("read_total").filter(|totals| totals.iter().all(|(name, total)| *total > before[name] + 20)));
    let skipped = totals("skipped_total").unwrap();
    agent.terminate();

    let reports = spooled_reports(&dir.path().join("spool"));
    let events: Vec<&str> = reports
        .iter()
        .flat_map(|report| report["events"].as_array().into_iter().flatten())
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["start", "stop"], "nothing that was read was dropped");
    let stamps = stamps_of(&reports);
    assert_eq!(stamps.len(), 2 * UNITS);
    stamps.iter().for_each(|(name, stamps)| accounted(name, stamps, skipped[name]));
}
