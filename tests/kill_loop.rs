//! kill -9 in a loop, at random moments: while reports flow from several gateways and a supplier, and while the service starts and
//! replays. A ledger of what was answered is compared with what is counted.
//!
//! `SHANGYUN_KILLS=1000 cargo test --release --test kill_loop` runs any number.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::facts::{Figures, count_actions, count_reading, counted};
use support::history::show;
use support::http::try_post;
use support::mqtt::{self, Mqtt, Packet};
use support::register::{GUANGZHOU, MODULES, Register, credit_code};
use support::{Site, rebuild_tally, shangyun, stdout};

const KILLS: u64 = 50;
/// Publishes of one gateway under way at once, and reports of one request.
const WINDOW: usize = 40;
const REQUEST: usize = 8;
/// A gateway starts anew after so many reports.
const BOOT: u64 = 2000;
const DEVICES: u64 = 9;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gateway {
    id: &'static str,
    version: u8,
    enterprise: u32,
}

const GATEWAYS: [Gateway; 3] = [
    Gateway { id: "gw-1", version: mqtt::V3, enterprise: 1 },
    Gateway { id: "gw-2", version: mqtt::V5, enterprise: 1 },
    Gateway { id: "gw-3", version: mqtt::V5, enterprise: 2 },
];

fn register() -> Register {
    let register = Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU).enterprise(2, GUANGZHOU).voucher(
        "V-1",
        1,
        "P-1",
        "10000.00",
        json!({}),
    );
    GATEWAYS.iter().fold(register, |register, gateway| register.gateway(gateway.id, gateway.enterprise))
}

/// The report of that number: the same whenever it is sent, and far from being too old.
#[derive(Clone, Copy)]
struct Numbered {
    began: DateTime<Utc>,
    number: u64,
}

impl Numbered {
    fn at(self) -> DateTime<Utc> {
        self.began - TimeDelta::hours(2) - TimeDelta::seconds((self.number * 7 % 36_000) as i64)
    }

    fn devices(self, prefix: &str) -> impl Iterator<Item = String> {
        (0..6).map(move |i| format!("{prefix}-{}", (self.number + i) % DEVICES))
    }

    fn entries(self, prefix: &str) -> Vec<Value> {
        let entry =
            |device| json!({"device": device, "at": show(self.at()), "quality": "N", "readings": {"功率_kw": 4.2, "number": self.number}});
        self.devices(prefix).map(entry).collect()
    }

    /// Boot and sequence number.
    fn identity(self) -> (String, u64) {
        (format!("b{}", (self.number - 1) / BOOT), (self.number - 1) % BOOT + 1)
    }

    fn of_gateway(self, gateway: &str) -> String {
        let (boot, seq) = self.identity();
        json!({"v": 1, "boot": boot, "seq": seq, "devices": self.entries(gateway)}).to_string()
    }

    fn user(self) -> String {
        format!("{:04x}", self.number % 5)
    }

    fn of_supplier(self) -> Value {
        let usage = json!([{"product": "P-1", "function_module": MODULES[0], "user": self.user(), "at": show(self.at()), "actions": 1 + self.number % 3}]);
        json!({"v": 1, "id": format!("r{}", self.number), "enterprise": credit_code(1), "devices": self.entries("http"), "usage": usage})
    }
}

/// What one sender has sent, numbered from 1, and what it was answered.
#[derive(Default)]
struct Ledger {
    newest: u64,
    unanswered: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Ledger {
    /// What to send next: first what was not answered, then, unless only that is asked for, new reports.
    fn outstanding(&self, new: bool) -> impl Iterator<Item = u64> + use<> {
        let first_new = if new { self.newest + 1 } else { u64::MAX };
        self.unanswered.clone().into_iter().chain(first_new..u64::MAX)
    }

    /// Whether it was never sent before.
    fn sent(&mut self, number: u64) -> bool {
        self.newest = self.newest.max(number);
        self.unanswered.insert(number)
    }

    fn answered(&mut self, number: u64) {
        self.unanswered.remove(&number);
        self.acknowledged.insert(number);
    }
}

/// Publishes until the service dies, or, without new reports, until all are answered. Every answer comes in its order.
fn publish(address: SocketAddr, gateway: Gateway, began: DateTime<Utc>, ledger: &mut Ledger, new: bool) {
    let Some(mut mqtt) = Mqtt::try_connect(address, gateway.version, gateway.id) else { return };
    let topic = format!("shangyun/v1/{}/report", gateway.id);
    let (mut in_flight, mut ids) = (VecDeque::new(), (1..=60_000u16).cycle());
    let mut outstanding = ledger.outstanding(new);
    loop {
        while in_flight.len() < WINDOW
            && let Some(number) = outstanding.next()
        {
            let id = ids.next().unwrap();
            ledger.sent(number);
            mqtt.publish(&topic, id, &Numbered { began, number }.of_gateway(gateway.id));
            in_flight.push_back((id, number));
        }
        let Some((id, number)) = in_flight.pop_front() else { return };
        let Some(answer) = mqtt.read() else { return };
        assert_eq!(answer, Packet::Puback { id, reason: 0 });
        ledger.answered(number);
    }
}

/// Pushes until the service dies, or, without new reports, until all are answered.
fn push(url: &str, key: &str, began: DateTime<Utc>, ledger: &mut Ledger, new: bool) {
    let mut outstanding = ledger.outstanding(new);
    loop {
        let numbers: Vec<u64> = outstanding.by_ref().take(REQUEST).collect();
        if numbers.is_empty() {
            return;
        }
        let fresh: Vec<bool> = numbers.iter().map(|number| ledger.sent(*number)).collect();
        let reports: Vec<Value> = numbers.iter().map(|number| Numbered { began, number: *number }.of_supplier()).collect();
        let Ok(answer) = try_post(url, key, json!(reports).to_string().as_bytes(), &[]) else { return };
        assert_eq!(answer.status, 200, "{}", answer.body);
        for ((number, fresh), result) in numbers.iter().zip(fresh).zip(answer.json()["results"].as_array().unwrap()) {
            let status = result["status"].as_str().unwrap();
            assert!(status == "accepted" || !fresh && status == "duplicate", "{number}: {result}");
            ledger.answered(*number);
        }
    }
}

/// Which numbers of a gateway are accepted.
fn accepted(site: &Site, gateway: Gateway) -> BTreeSet<u64> {
    let known = site.get(&format!("/api/v1/gateways/{}", gateway.id), &site.admin).json();
    let mut numbers = BTreeSet::new();
    for boot in known["boots"].as_array().unwrap() {
        let before = boot["boot"].as_str().unwrap()[1..].parse::<u64>().unwrap() * BOOT;
        let ranges: Vec<(u64, u64)> = serde_json::from_value(boot["accepted"].clone()).unwrap();
        numbers.extend(ranges.into_iter().flat_map(|(first, last)| before + first..=before + last));
    }
    numbers
}

fn nothing_acknowledged_is_lost(site: &Site, ledgers: &BTreeMap<Gateway, Ledger>) {
    for (gateway, ledger) in ledgers {
        let accepted = accepted(site, *gateway);
        let lost: Vec<_> = ledger.acknowledged.difference(&accepted).collect();
        assert!(lost.is_empty(), "{}: acknowledged and lost: {lost:?}", gateway.id);
        assert!(accepted.last().is_none_or(|last| *last <= ledger.newest), "{}: accepted and never sent", gateway.id);
    }
}

/// One stretch of load, ended by a kill; sometimes the next start is killed too.
fn kill_under_load(
    site: Site,
    key: &str,
    began: DateTime<Utc>,
    random: &mut StdRng,
    by_gateway: &mut BTreeMap<Gateway, Ledger>,
    pushed: &mut Ledger,
) -> Site {
    let (address, url) = (site.service.mqtt, format!("{}/api/v1/reports", site.service.http));
    std::thread::scope(|scope| {
        for (gateway, ledger) in by_gateway {
            scope.spawn(move || publish(address, *gateway, began, ledger, true));
        }
        scope.spawn(|| push(&url, key, began, pushed, true));
        std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
        let log = site.service.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        let false_starts = if random.random_bool(0.3) { random.random_range(1..3) } else { 0 };
        let false_starts: Vec<_> = (0..false_starts).map(|_| Duration::from_millis(random.random_range(0..250))).collect();
        site.kill_and_restart_after(&false_starts)
    })
}

/// What a plain count over everything that was sent gives.
fn model(began: DateTime<Utc>, by_gateway: &BTreeMap<Gateway, Ledger>, pushed: &Ledger, enterprise: u32) -> Figures {
    let mut figures = Figures::new();
    for (gateway, ledger) in by_gateway.iter().filter(|(gateway, _)| gateway.enterprise == enterprise) {
        for report in (1..=ledger.newest).map(|number| Numbered { began, number }) {
            report.devices(gateway.id).for_each(|device| count_reading(&mut figures, &device, report.at()));
        }
    }
    for report in (1..=pushed.newest).map(|number| Numbered { began, number }).filter(|_| enterprise == 1) {
        report.devices("http").for_each(|device| count_reading(&mut figures, &device, report.at()));
        count_actions(&mut figures, &report.user(), report.at(), 1 + report.number % 3);
    }
    figures
}

/// Sends again what was acknowledged: all of it is known.
fn acknowledged_is_known(site: &Site, key: &str, began: DateTime<Utc>, by_gateway: &BTreeMap<Gateway, Ledger>, pushed: &Ledger) {
    let acknowledged: Vec<u64> = pushed.acknowledged.iter().copied().collect();
    for some in acknowledged.chunks(500) {
        let reports: Vec<Value> = some.iter().map(|number| Numbered { began, number: *number }.of_supplier()).collect();
        assert!(site.push(key, &reports).iter().all(|result| result["status"] == "duplicate"));
    }
    for (gateway, ledger) in by_gateway {
        let before = site.service.reports("duplicate");
        let some: BTreeSet<u64> = ledger.acknowledged.iter().copied().step_by(5).collect();
        let mut again = Ledger { newest: 0, unanswered: some.clone(), acknowledged: BTreeSet::new() };
        publish(site.service.mqtt, *gateway, began, &mut again, false);
        assert_eq!((again.acknowledged.len(), site.service.reports("duplicate") - before), (some.len(), some.len() as u64));
    }
}

fn segments(data: &Path, ending: &str) -> usize {
    let names = std::fs::read_dir(data.join("log")).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(ending)).count()
}

#[test]
fn what_was_acknowledged_is_counted_exactly_once_however_often_the_service_is_killed() {
    let kills = std::env::var("SHANGYUN_KILLS").map_or(KILLS, |text| text.parse().expect("SHANGYUN_KILLS is a number"));
    let mut random = StdRng::seed_from_u64(20190902);
    let began = Utc::now();
    let settings = |_: &Path| vec!["tally.checkpoint_every_s=1".into(), "log.segment_mib=1".into()];
    let mut site = Site::with(register().file(), settings);
    let key = site.key("supplier", Some("S-1"));
    let mut by_gateway: BTreeMap<_, _> = GATEWAYS.into_iter().map(|gateway| (gateway, Ledger::default())).collect();
    let mut pushed = Ledger::default();
    for kill in 0..kills {
        site = kill_under_load(site, &key, began, &mut random, &mut by_gateway, &mut pushed);
        if kill % 10 == 9 {
            nothing_acknowledged_is_lost(&site, &by_gateway);
        }
    }
    let ledgers = || by_gateway.values().chain([&pushed]);
    assert!(ledgers().all(|ledger| ledger.acknowledged.len() as u64 > 10 * kills), "too little came through to prove anything");
    let (sent, unanswered): (u64, usize) = ledgers().fold((0, 0), |sum, ledger| (sum.0 + ledger.newest, sum.1 + ledger.unanswered.len()));
    assert!(unanswered > 0, "no kill came while anything was under way");
    eprintln!("{kills} kills, {sent} reports sent, {unanswered} unanswered at the last kill");
    acknowledged_is_known(&site, &key, began, &by_gateway, &pushed);
    for (gateway, ledger) in &mut by_gateway {
        publish(site.service.mqtt, *gateway, began, ledger, false);
        assert!(ledger.unanswered.is_empty());
        assert_eq!(accepted(&site, *gateway), (1..=ledger.newest).collect());
    }
    push(&format!("{}/api/v1/reports", site.service.http), &key, began, &mut pushed, false);
    assert!(pushed.unanswered.is_empty());
    let (_dir, data) = site.stop();
    assert!(segments(&data, ".segz") > 0 && segments(&data, ".seg") + segments(&data, ".segz") > 3, "segments were filled and sealed");
    for enterprise in [1, 2] {
        assert_eq!(counted(&data, enterprise, "P-1"), model(began, &by_gateway, &pushed, enterprise));
    }
    assert!(rebuild_tally(&data).0, "the facts at hand are those of the log");
    let verified = shangyun(&data, &["log", "verify"]);
    assert!(verified.status.success(), "{}", stdout(&verified));
}
