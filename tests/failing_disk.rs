//! Disks that fail to sync, and disks that are full: nothing is acknowledged that is not kept, everybody is told, and the service goes on
//! by itself as soon as it can.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::facts::{Figures, count_reading, counted};
use support::history::{device_reports, gateway_report};
use support::mqtt::{self, Mqtt, Packet};
use support::register::{GUANGZHOU, Register, device_names};
use support::small_disk::SmallDisk;
use support::strace::{Call, Of, Strace};
use support::{Site, rebuild_tally, shangyun, stdout, wait_for};

const PAYLOAD_INVALID: u8 = 0x99;
const QUOTA_EXCEEDED: u8 = 0x97;
const UNANSWERED: [u8; 0] = [];

/// A service on a disk, and what its two gateways and its supplier were told.
struct Stand {
    site: Site,
    key: String,
    began: DateTime<Utc>,
    /// Numbers by gateway, of those that were acknowledged.
    acknowledged: [BTreeSet<u64>; 2],
    pushed: Vec<Value>,
}

const GATEWAYS: [(&str, u8); 2] = [("gw-3", mqtt::V3), ("gw-5", mqtt::V5)];
const V3: usize = 0;
const V5: usize = 1;

impl Stand {
    fn new(dir: tempfile::TempDir, settings: &[&str]) -> Stand {
        let register = Register::new()
            .supplier("S-1")
            .product("P-1", "S-1", 5, "A")
            .enterprise(1, GUANGZHOU)
            .voucher("V-1", 1, "P-1", "10000.00", json!({}))
            .gateway("gw-3", 1)
            .gateway("gw-5", 1);
        let settings: Vec<String> =
            ["tally.checkpoint_every_s=1", "log.segment_mib=1"].iter().chain(settings).map(|s| s.to_string()).collect();
        let site = Site::in_dir(dir, register.file(), |_| settings);
        let key = site.key("supplier", Some("S-1"));
        Stand { site, key, began: Utc::now(), acknowledged: Default::default(), pushed: Vec::new() }
    }

    fn at(&self, seq: u64) -> DateTime<Utc> {
        self.began - TimeDelta::hours(2) - TimeDelta::seconds(seq as i64)
    }

    fn report(&self, gateway: usize, seq: u64) -> Value {
        gateway_report("b1", seq, GATEWAYS[gateway].0, self.at(seq))
    }

    /// Publishes these reports on a new connection and gives the reason of every PUBACK that came before its end, or before all were
    /// answered.
    fn publish(&mut self, gateway: usize, numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let (id, version) = GATEWAYS[gateway];
        let mut mqtt = Mqtt::connect(self.site.service.mqtt, version, id);
        let numbers: Vec<u64> = numbers.into_iter().collect();
        for (packet_id, seq) in (1..).zip(&numbers) {
            mqtt.publish(&format!("shangyun/v1/{id}/report"), packet_id, &self.report(gateway, *seq).to_string());
        }
        let mut reasons = Vec::new();
        for (packet_id, seq) in (1..).zip(numbers) {
            let (id, reason) = match mqtt.read() {
                Some(Packet::Puback { id, reason }) => (id, reason),
                None | Some(Packet::Disconnect(_)) => break,
                other => panic!("{other:?}"),
            };
            assert_eq!(id, packet_id, "in their order");
            reasons.push(reason);
            if reason == 0 {
                self.acknowledged[gateway].insert(seq);
            }
        }
        reasons
    }

    fn publish_accepted(&mut self, gateway: usize, numbers: std::ops::RangeInclusive<u64>) {
        let count = numbers.clone().count();
        assert_eq!(self.publish(gateway, numbers), vec![0; count]);
    }

    /// Pushes one report of the supplier and gives the answer's status.
    fn push(&mut self, number: u64) -> u16 {
        let report = device_reports(&format!("r{number}"), 1, &device_names("HTTP", 1), &[self.at(number)]).remove(0);
        let answer = self.site.post("/api/v1/reports", &self.key, &report);
        match answer.status {
            200 if answer.json()["results"][0]["status"] == "accepted" => self.pushed.push(report),
            503 => assert!(!answer.header("retry-after").is_empty()),
            _ => {}
        }
        answer.status
    }

    fn await_not_ready(&self, part: &str) {
        wait_for("it is said that something does not work", || {
            let readiness = self.site.readiness();
            (readiness.status == 503 && readiness.body.contains(part)).then_some(())
        });
    }

    /// Without a report coming meanwhile.
    fn await_ready(&self) {
        wait_for("it recovers by itself", || (self.site.readiness().status == 200).then_some(()));
    }

    fn reads_and_judges(&self) {
        assert_eq!(self.site.get("/api/v1/vouchers", &self.site.admin).status, 200);
        assert_eq!(self.site.judge("V-1")["voucher"], "V-1");
    }

    fn kill_and_restart(self) -> Stand {
        Stand { site: self.site.kill_and_restart(), ..self }
    }

    /// Everything acknowledged is known and counted exactly once, and nothing else is counted; the log is whole.
    fn all_is_counted_exactly_once(mut self) {
        let log = self.site.service.log();
        assert!(!log.contains("panicked"), "{log}");
        self = self.kill_and_restart();
        let mut model = Figures::new();
        for gateway in [V3, V5] {
            let numbers = self.acknowledged[gateway].clone();
            let before = self.site.service.reports("duplicate");
            let list: Vec<u64> = numbers.iter().copied().collect();
            list.chunks(500).for_each(|some| assert_eq!(self.publish(gateway, some.iter().copied()), vec![0; some.len()]));
            assert_eq!(self.site.service.reports("duplicate") - before, numbers.len() as u64, "all of them are known");
            numbers.iter().for_each(|seq| count_reading(&mut model, GATEWAYS[gateway].0, self.at(*seq)));
        }
        for report in &self.pushed {
            assert_eq!(self.site.push(&self.key, std::slice::from_ref(report))[0]["status"], "duplicate");
            count_reading(&mut model, "HTTP-001", report["devices"][0]["at"].as_str().unwrap().parse().unwrap());
        }
        let (_dir, data) = self.site.stop();
        assert_eq!(counted(&data, 1, "P-1"), model);
        assert!(rebuild_tally(&data).0);
        let verified = shangyun(&data, &["log", "verify"]);
        assert!(verified.status.success(), "{}", stdout(&verified));
    }
}

fn fail_syncs(stand: &Stand, of: Of<'_>, syncs: &str) -> Strace {
    let output = stand.site.scratch().join("strace.log");
    Strace::attach(stand.site.service.pid(), of, "fdatasync,fsync,/^rename", syncs, "EIO", &output)
}

const LOG_THREAD: Of<'_> = Of::Threads(&["commit"]);

/// After a sync of a file has failed, the next sync is of another file: one that has its name since, or another name.
fn no_failed_sync_is_tried_again(calls: &[Call]) {
    for (at, failed) in calls.iter().enumerate().filter(|(_, call)| call.failed && call.name == "fdatasync") {
        let file = failed.arguments.split_once('<').unwrap().1.trim_end_matches('>');
        let again = calls[at + 1..].iter().take_while(|call| !(call.name.starts_with("rename") && call.arguments.contains(file)));
        assert!(!again.into_iter().any(|call| call.arguments == failed.arguments), "{file} is synced again: {calls:?}");
    }
}

#[test]
fn a_failed_sync_of_the_log_acknowledges_nothing_is_never_repeated_and_the_log_goes_on_by_itself_in_a_new_file() {
    let mut stand = Stand::new(tempfile::tempdir().unwrap(), &[]);
    stand.publish_accepted(V3, 1..=20);
    stand.publish_accepted(V5, 1..=20);
    assert_eq!(stand.push(1), 200);
    let strace = fail_syncs(&stand, LOG_THREAD, "fdatasync");
    for gateway in [V3, V5] {
        assert_eq!(stand.publish(gateway, 21..=25), UNANSWERED);
    }
    assert_eq!(stand.push(2), 503);
    stand.await_not_ready("evidence log");
    stand.reads_and_judges();
    wait_for("it tries again", || (stand.site.service.metric("shangyun_store_log_failures_total") >= 3).then_some(()));
    assert_eq!(stand.publish(V5, 21..=25), UNANSWERED);
    let calls = strace.detach();
    assert!(calls.iter().filter(|call| call.failed && call.name == "fdatasync").count() > 1, "{calls:?}");
    no_failed_sync_is_tried_again(&calls);
    stand.await_ready();
    stand.publish_accepted(V3, 21..=25);
    stand.publish_accepted(V5, 21..=25);
    assert_eq!(stand.push(2), 200);
    stand.all_is_counted_exactly_once();
}

#[test]
fn a_kill_while_syncs_of_the_log_fail_loses_nothing_and_doubles_nothing() {
    let mut stand = Stand::new(tempfile::tempdir().unwrap(), &[]);
    stand.publish_accepted(V3, 1..=20);
    let strace = fail_syncs(&stand, LOG_THREAD, "fdatasync,fsync");
    assert_eq!(stand.publish(V5, 1..=5), UNANSWERED);
    stand = stand.kill_and_restart();
    drop(strace);
    stand.await_ready();
    // What the killed one had written may count already, and is then a duplicate.
    stand.publish_accepted(V5, 1..=5);
    stand.publish_accepted(V3, 21..=25);
    stand.all_is_counted_exactly_once();
}

#[test]
fn while_the_database_fails_to_sync_reports_are_still_taken_refusals_are_not_settled_and_the_checkpoint_is_tried_again() {
    let mut stand = Stand::new(tempfile::tempdir().unwrap(), &[]);
    stand.publish_accepted(V3, 1..=20);
    let databases = ["shangyun.db", "shangyun.db-wal", "quarantine.db", "quarantine.db-wal"].map(|name| stand.site.dir().join(name));
    let strace = fail_syncs(&stand, Of::Files(&databases), "fdatasync,fsync");
    stand.publish_accepted(V3, 21..=25);
    assert_eq!(stand.push(1), 200);
    stand.await_not_ready("tally");
    assert!(stand.site.service.metric("shangyun_store_checkpoint_failures_total") > 0);
    assert_eq!(stand.site.post("/api/v1/vouchers/V-1/judge", &stand.site.admin, &Value::Null).status, 503, "it would not cover everything");
    let refused = json!({"v": 1, "boot": "b1", "seq": 99, "devices": [{"device": "SN"}]}).to_string();
    let publish_refused = |stand: &Stand| {
        let mut mqtt = Mqtt::connect(stand.site.service.mqtt, mqtt::V5, "gw-5");
        mqtt.publish("shangyun/v1/gw-5/report", 1, &refused);
        mqtt.read()
    };
    assert!(!matches!(publish_refused(&stand), Some(Packet::Puback { .. })), "it is not in the quarantine");
    stand.publish_accepted(V5, 1..=5);
    assert!(strace.detach().iter().any(|call| call.failed && call.arguments.contains("shangyun.db")));
    stand.await_ready();
    assert_eq!(publish_refused(&stand), Some(Packet::Puback { id: 1, reason: PAYLOAD_INVALID }));
    stand.reads_and_judges();
    stand.all_is_counted_exactly_once();
}

/// Flips bits in every run of facts and identities: in the first page of each, and in the filter of ids before it.
fn damage_runs(facts: &Path) {
    let runs = std::fs::read_dir(facts).unwrap().map(|entry| entry.unwrap().path());
    for path in runs.filter(|path| path.extension().is_some_and(|extension| extension == "run")) {
        let mut bytes = std::fs::read(&path).unwrap();
        [10, 80].into_iter().filter(|at| at + 80 < bytes.len()).collect::<Vec<_>>().into_iter().for_each(|at| bytes[at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn damaged_facts_and_identities_are_named_hold_up_only_who_asks_for_them_and_are_made_anew_from_the_log() {
    let mut stand = Stand::new(tempfile::tempdir().unwrap(), &[]);
    stand.publish_accepted(V3, 1..=20);
    stand.publish_accepted(V5, 1..=20);
    assert_eq!(stand.push(1), 200);
    stand.reads_and_judges();
    damage_runs(&stand.site.dir().join("facts"));
    stand = stand.kill_and_restart();
    stand.publish_accepted(V5, 21..=25);
    assert_eq!(stand.publish(V5, 1..=5), UNANSWERED, "whether they are repeats cannot be told");
    stand.await_not_ready("index of identities");
    assert!(stand.site.readiness().body.contains("tally rebuild"), "{}", stand.site.readiness().body);
    assert_eq!(stand.push(2), 503);
    stand.publish_accepted(V3, 21..=25);
    assert!(stand.site.post("/api/v1/vouchers/V-1/judge", &stand.site.admin, &Value::Null).status >= 500);
    assert!(!rebuild_tally(&stand.site.dir()).0, "the facts as they were could not be read");
    stand.await_ready();
    stand.reads_and_judges();
    assert_eq!(stand.push(2), 200);
    stand.all_is_counted_exactly_once();
}

#[test]
fn where_a_file_system_cannot_set_space_aside_segments_are_filled_with_zeros() {
    let mut stand = Stand::new(tempfile::tempdir().unwrap(), &[]);
    stand.publish_accepted(V3, 1..=20);
    let output = stand.site.scratch().join("strace.log");
    let threads = Of::Threads(&["commit", "prepare"]);
    let strace = Strace::attach(stand.site.service.pid(), threads, "fallocate", "fallocate", "EOPNOTSUPP", &output);
    // More than a segment of 1 MiB.
    (0..16).for_each(|part| stand.publish_accepted(V5, part * 500 + 1..=part * 500 + 500));
    wait_for("segments are begun", || (strace.calls().len() > 1).then_some(()));
    assert!(strace.detach().iter().all(|call| call.failed));
    stand.await_ready();
    stand.all_is_counted_exactly_once();
}

/// What of a disk is free, in MiB.
fn free_mib(path: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "--block-size=1M"]).arg(path).output().unwrap();
    stdout(&output).lines().last().unwrap().trim().parse().unwrap()
}

/// A file of that size.
fn filler(path: PathBuf, mib: u64) -> PathBuf {
    let made = Command::new("fallocate").args(["--length", &format!("{mib}MiB")]).arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[test]
fn a_disk_that_is_nearly_full_takes_nothing_more_and_says_so_while_reading_and_judging_go_on() {
    let shm = Path::new("/dev/shm");
    let free = free_mib(shm);
    // Others use this disk too: there is some slack.
    let slack = (free / 4).min(128);
    let mut stand = Stand::new(tempfile::tempdir_in(shm).unwrap(), &[&format!("disk.free_mib_min={}", free - slack)]);
    stand.publish_accepted(V3, 1..=5);
    stand.publish_accepted(V5, 1..=5);
    let filler = filler(stand.site.scratch().join("filler"), 2 * slack);
    stand.await_not_ready("disk");
    assert!(stand.site.readiness().body.contains("disk.free_mib_min"));
    assert_eq!(stand.push(1), 507);
    assert_eq!(stand.publish(V5, 6..=10), [QUOTA_EXCEEDED; 5]);
    assert_eq!(stand.publish(V3, 6..=10), UNANSWERED, "without MQTT 5 the connection ends");
    stand.reads_and_judges();
    std::fs::remove_file(filler).unwrap();
    stand.await_ready();
    stand.publish_accepted(V3, 6..=10);
    stand.publish_accepted(V5, 6..=10);
    assert_eq!(stand.push(1), 200);
    stand.all_is_counted_exactly_once();
}

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost_and_it_goes_on_when_there_is_room() {
    let disk = SmallDisk::new(32);
    let mut stand = Stand::new(disk.tempdir(), &["disk.free_mib_min=0"]);
    stand.publish_accepted(V3, 1..=20);
    let full = disk.fill(stand.site.service.pid());
    let mut next = 1;
    // What lies ready of the log is used up first.
    while stand.publish(V5, next..next + 500) == [0; 500] {
        next += 500;
        assert!(next < 100_000, "it takes more than the disk holds");
    }
    stand.await_not_ready("evidence log");
    assert!([503, 507].contains(&stand.push(1)));
    assert_eq!(stand.publish(V3, 21..=25), UNANSWERED, "without MQTT 5 the connection ends");
    assert_eq!(stand.site.get("/api/v1/vouchers", &stand.site.admin).status, 200);
    assert!(!stand.site.service.log().contains("panicked"));
    drop(full);
    stand.await_ready();
    stand.publish_accepted(V5, next..=next + 499);
    stand.publish_accepted(V3, 21..=25);
    assert_eq!(stand.push(1), 200);
    stand.reads_and_judges();
    stand.all_is_counted_exactly_once();
}
