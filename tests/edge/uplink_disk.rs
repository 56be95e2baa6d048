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
use edge::{Clock as _, Config, SystemClock, run_with_items};
use small_disk::SmallDisk;
use support::mosquitto::{Mosquitto, Subscriber, gaps};
use support::{Kept, config, wait_for};
use tokio::sync::{mpsc, oneshot};

/// Before the disk is full, while it is full, and after. More than can wait in memory come while it is full.
const BEFORE: Range<u64> = 0..200;
const FULL: Range<u64> = 200..12_200;
const AFTER: Range<u64> = 12_200..12_300;

fn entry(number: u64) -> Item {
    // The reading makes an entry that does not shrink much.
    let readings = vec![("n".into(), edge::point::Value::Number(rand::random()))];
    let (device, identity) = (number.to_string(), Identity::default());
    Item::Device(Entry { device, at: SystemClock::default().now(), quality: Quality::Normal, state: None, readings, identity })
}

/// What the subscriber has seen: the entries' numbers, and how many were declared dropped.
fn seen(subscriber: &Subscriber) -> (BTreeSet<u64>, u64) {
    let (mut entries, mut declared, mut reports) = (BTreeSet::new(), 0, BTreeSet::new());
    for report in subscriber.arrivals().into_iter().map(|arrival| arrival.report()) {
        // What is sent twice is one report.
        if !reports.insert(report["seq"].as_u64().unwrap()) {
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

#[test]
fn on_a_full_disk_the_agent_runs_on_delivers_what_it_has_and_declares_what_could_not_wait_and_no_number_is_missing() {
    let disk = SmallDisk::new(8);
    assert!(disk.mounted(), "this test must be allowed to mount a tmpfs: as root, or by sudo");
    let (dir, mut broker) = (disk.tempdir(), Mosquitto::plain());
    let (subscriber, log) = (broker.subscribe("shangyun/v1/gw-1/report"), broker.file("log"));
    tracing_subscriber::fmt().with_writer(Mutex::new(File::create(&log).unwrap())).with_ansi(false).init();
    let text = config(dir.path(), broker.port, "[report]\nevery_s = 0.2\ndevices_max = 100\n");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sender, items) = mpsc::channel(100);
    let (stop, stopped) = oneshot::channel::<()>();
    broker.stop();
    let shutdown = async move { drop(stopped.await) };
    let agent = runtime.spawn(run_with_items(Config::read(&text, []).unwrap(), Arc::new(SystemClock::default()), items, shutdown));
    let push = |numbers: Range<u64>| numbers.for_each(|number| sender.blocking_send(entry(number)).unwrap());

    push(BEFORE);
    let spool = dir.path().join("spool");
    wait_for("spooled reports", || inspect(&spool).is_ok_and(|found| found.records >= 2).then_some(()));
    let full = disk.fill(std::process::id());
    push(FULL);
    wait_for("a word about the full disk", || said(&log, "reports cannot be spooled").then_some(()));
    broker.resume();
    wait_for("what was spooled before", || seen(&subscriber).0.is_superset(&(0..100).collect()).then_some(()));
    assert!(!seen(&subscriber).0.contains(&(FULL.end - 1)), "the disk was not full");
    drop(full);
    push(AFTER);
    wait_for("what came afterwards", || seen(&subscriber).0.contains(&(AFTER.end - 1)).then_some(()));
    stop.send(()).unwrap();
    runtime.block_on(agent).unwrap().unwrap();

    let (entries, declared) = seen(&subscriber);
    assert!(declared > 0, "everything could wait");
    assert_eq!(entries.len() as u64 + declared, AFTER.end);
    assert!(BEFORE.chain(AFTER).all(|number| entries.contains(&number)));
    assert_eq!(gaps(&subscriber.numbers(&subscriber.boot())), [0; 0]);
}
