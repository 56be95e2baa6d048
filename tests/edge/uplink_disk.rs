//! The agent on a disk that others have filled: it runs on, says so, and loses nothing that it does not declare.
#![allow(clippy::unwrap_used)]

#[path = "../support/small_disk.rs"]
#[allow(dead_code)]
mod small_disk;
#[path = "../support/strace.rs"]
#[allow(dead_code)]
mod strace;
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use edge::report::{Entry, Identity, Item, Quality};
use edge::spool::inspect;
use edge::{Clock as _, Config, RunError, SystemClock, run_with_items};
use small_disk::SmallDisk;
use support::mosquitto::{Mosquitto, Subscriber, free_port, gaps};
use support::{Kept, config, wait_for};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Before the disk is full, while it is full, and after. More than can wait in memory come while it is full.
const BEFORE: Range<u64> = 0..200;
const FULL: Range<u64> = 200..12_200;
const AFTER: Range<u64> = 12_200..12_300;

fn entry(number: u64) -> Item {
    wide_entry(number, 1)
}

fn wide_entry(number: u64, readings: usize) -> Item {
    // Such readings make an entry that does not shrink much.
    let readings = (0..readings).map(|index| (format!("n{index}").into(), edge::point::Value::Number(rand::random()))).collect();
    let (device, identity) = (number.to_string(), Identity::default());
    Item::Device(Entry { device, at: SystemClock::default().now(), quality: Quality::Normal, state: None, readings, identity })
}

/// What the subscriber has seen: the entries' numbers, and how many were declared dropped.
fn seen(subscriber: &Subscriber) -> (BTreeSet<u64>, u64) {
    let (mut entries, mut declared, mut reports) = (BTreeSet::new(), 0, BTreeSet::new());
    for report in subscriber.arrivals().into_iter().map(|arrival| arrival.report()) {
        // What is sent twice is one report.
        if !reports.insert((report["boot"].to_string(), report["seq"].as_u64())) {
            continue;
        }
        for device in report["devices"].as_array().into_iter().flatten() {
            assert!(entries.insert(device["device"].as_str().unwrap().parse().unwrap()), "{device} is in two reports");
        }
        let events = report["events"].as_array().into_iter().flatten().filter(|event| event["event"] == "dropped");
        declared +=
            events.map(|event| event["detail"].as_str().unwrap().strip_prefix("entries:").unwrap().parse::<u64>().unwrap()).sum::<u64>();
    }
    (entries, declared)
}

fn said(log: &Path, text: &str) -> bool {
    std::fs::read_to_string(log).unwrap().contains(text)
}

/// The agent without polling, given its entries.
struct Fed {
    runtime: Runtime,
    items: mpsc::Sender<Item>,
    stop: oneshot::Sender<()>,
    agent: JoinHandle<Result<(), RunError>>,
}

impl Fed {
    fn start(config: &str) -> Fed {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ((sender, items), (stop, stopped)) = (mpsc::channel(100), oneshot::channel::<()>());
        let shutdown = async move { drop(stopped.await) };
        let agent = run_with_items(Config::read(config, []).unwrap(), Arc::new(SystemClock::default()), items, shutdown);
        Fed { agent: runtime.spawn(agent), runtime, items: sender, stop }
    }

    fn stop(self) -> Result<(), RunError> {
        self.stop.send(()).unwrap();
        self.runtime.block_on(self.agent).unwrap()
    }
}

fn with_page(dir: &Path, broker_port: u16, page: u16) -> String {
    config(dir, broker_port, "[report]\nevery_s = 0.2\ndevices_max = 100\n")
        .replace("listen = \"\"", &format!("listen = \"127.0.0.1:{page}\""))
}

/// The status page says that this is wrong.
fn troubled(page: u16, code: &str) -> bool {
    let answer = ureq::get(format!("http://127.0.0.1:{page}/status.json")).call().unwrap().body_mut().read_to_string().unwrap();
    let status: serde_json::Value = serde_json::from_str(&answer).unwrap();
    status["troubles"].as_array().unwrap().iter().any(|trouble| trouble["code"] == code)
}

#[test]
fn what_waited_in_memory_is_written_when_the_agent_is_stopped_once_the_disk_has_room_again() {
    let disk = SmallDisk::new(8);
    assert!(disk.mounted(), "this test must be allowed to mount a tmpfs: as root, or by sudo");
    let (dir, mut broker) = (disk.tempdir(), Mosquitto::plain());
    let (subscriber, page) = (broker.subscribe("shangyun/v1/gw-1/report"), free_port());
    let text = with_page(dir.path(), broker.port, page);
    broker.stop();
    let agent = Fed::start(&text);
    agent.items.blocking_send(entry(0)).unwrap();
    let spool = dir.path().join("spool");
    wait_for("a spooled report", || inspect(&spool).is_ok_and(|found| found.records >= 1).then_some(()));
    let full = disk.fill(std::process::id());
    // What the first attempt builds, and what comes behind it.
    (1..2000).for_each(|number| agent.items.blocking_send(entry(number)).unwrap());
    wait_for("the trouble", || troubled(page, "spool_unwritable").then_some(()));
    (2000..3000).for_each(|number| agent.items.blocking_send(entry(number)).unwrap());
    drop(full);
    agent.stop().unwrap();

    broker.resume();
    let agent = Fed::start(&text);
    wait_for("all entries", || (seen(&subscriber).0.len() == 3000).then_some(()));
    agent.stop().unwrap();
    assert_eq!(seen(&subscriber), ((0..3000).collect(), 0));
    let events = subscriber.arrivals().into_iter().flat_map(|arrival| arrival.report()["events"].as_array().cloned().unwrap_or_default());
    assert_eq!(events.filter(|event| event["event"] == "stop").count(), 2);
}

#[test]
fn more_than_a_small_spool_takes_in_one_piece_is_written_in_several() {
    let broker = Mosquitto::plain();
    let subscriber = broker.subscribe("shangyun/v1/gw-1/report");
    let text = config(broker.dir.path(), broker.port, "[report]\nevery_s = 1\n").replace("[spool]", "[spool]\nbytes_max = 1048576");
    let agent = Fed::start(&text);
    (0..3500).for_each(|number| agent.items.blocking_send(wide_entry(number, 20)).unwrap());
    wait_for("all entries", || (seen(&subscriber).0.len() == 3500).then_some(()));
    agent.stop().unwrap();
    assert_eq!(seen(&subscriber).1, 0);
    assert_eq!(gaps(&subscriber.numbers(&subscriber.boot())), [0; 0]);
}

#[test]
fn on_a_full_disk_the_agent_runs_on_delivers_what_it_has_and_declares_what_could_not_wait_and_no_number_is_missing() {
    let disk = SmallDisk::new(8);
    assert!(disk.mounted(), "this test must be allowed to mount a tmpfs: as root, or by sudo");
    let (dir, mut broker) = (disk.tempdir(), Mosquitto::plain());
    let (subscriber, log) = (broker.subscribe("shangyun/v1/gw-1/report"), broker.file("log"));
    tracing_subscriber::fmt().with_writer(Mutex::new(File::create(&log).unwrap())).with_ansi(false).init();
    let page = free_port();
    broker.stop();
    let agent = Fed::start(&with_page(dir.path(), broker.port, page));
    let push = |numbers: Range<u64>| numbers.for_each(|number| agent.items.blocking_send(entry(number)).unwrap());

    push(BEFORE);
    let spool = dir.path().join("spool");
    wait_for("spooled reports", || inspect(&spool).is_ok_and(|found| found.records >= 2).then_some(()));
    let full = disk.fill(std::process::id());
    push(FULL);
    wait_for("a word about the full disk", || said(&log, "reports cannot be spooled").then_some(()));
    wait_for("both troubles on the page", || ["spool_unwritable", "entries_dropped"].iter().all(|code| troubled(page, code)).then_some(()));
    broker.resume();
    wait_for("what was spooled before", || seen(&subscriber).0.is_superset(&(0..100).collect()).then_some(()));
    assert!(!seen(&subscriber).0.contains(&(FULL.end - 1)), "the disk was not full");
    drop(full);
    push(AFTER);
    wait_for("what came afterwards", || seen(&subscriber).0.contains(&(AFTER.end - 1)).then_some(()));
    assert!(!troubled(page, "spool_unwritable"), "the disk takes reports again");
    agent.stop().unwrap();

    let (entries, declared) = seen(&subscriber);
    assert!(declared > 0, "everything could wait");
    assert_eq!(entries.len() as u64 + declared, AFTER.end);
    assert!(BEFORE.chain(AFTER).all(|number| entries.contains(&number)));
    assert_eq!(gaps(&subscriber.numbers(&subscriber.boot())), [0; 0]);
}
