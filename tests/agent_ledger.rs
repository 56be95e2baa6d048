//! The agent's ledger held against the machine's and the service's: what a machine was asked, what was reported of it, what was counted.
//!
//! `SHANGYUN_KILLS=1000 cargo test --release --test agent_ledger` kills any number of times.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use edge::point::Value as PointValue;
use edge::report::{Builder, ClockState, Entry, Identity, Quality, State};
use edge::spool::{ReportKey, Spool, acknowledged, inspect};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::facts::{Figures, count_reading, counted};
use support::register::{GUANGZHOU, Register, TOKEN};
use support::{Kept, Site, agent_program, drained, shangyun, stdout, wait_for};

const KILLS: u64 = 50;
const UNITS: u8 = 4;
const POLL_MS: u64 = 50;

fn register() -> Register {
    let register = Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU);
    register.voucher("V-1", 1, "P-1", "10000.00", json!({})).gateway("gw-1", 1)
}

/// When each value was read: a machine whose register says how often it was asked. By unit id and value.
type Asked = Arc<Mutex<BTreeMap<(u8, u64), DateTime<Utc>>>>;

/// Modbus/TCP, byte by byte: any read of two input registers is answered with the number of reads so far.
fn serve_counters(asked: Asked) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            std::thread::spawn(move || answer(stream, &asked));
        }
    });
    address
}

/// Until the client goes away.
fn answer(mut stream: TcpStream, asked: &Asked) -> Option<()> {
    loop {
        let mut request = [0; 12];
        stream.read_exact(&mut request).ok()?;
        let (unit_id, function) = (request[6], request[7]);
        let mut response = vec![request[0], request[1], 0, 0, 0, 7, unit_id, 4, 4];
        if function == 4 && request[10..] == [0, 2] {
            let mut asked = asked.lock().unwrap();
            let value = asked.range((unit_id, 0)..=(unit_id, u64::MAX)).next_back().map_or(1, |((_, value), _)| value + 1);
            asked.insert((unit_id, value), Utc::now());
            response.extend_from_slice(&u32::try_from(value).unwrap().to_be_bytes());
        } else {
            // Illegal function.
            response = vec![request[0], request[1], 0, 0, 0, 3, unit_id, function | 0x80, 1];
        }
        stream.write_all(&response).ok()?;
    }
}

fn config(site: &Site, spool: &Path, machines: Option<SocketAddr>) -> PathBuf {
    let mut text = format!(
        "[gateway]\nid = \"gw-1\"\ntoken = \"{TOKEN}\"\n[broker]\nurl = \"mqtt://{}\"\nretry_s_max = 0.2\n[delivery]\nbacklog_reports_per_s = 5000\n\
         [spool]\ndir = \"{}\"\n[report]\nevery_s = 0.1\n[local]\nlisten = \"\"\n",
        site.service.mqtt,
        spool.display()
    );
    for unit_id in (1..=UNITS).filter(|_| machines.is_some()) {
        let address = machines.unwrap();
        text += &format!(
            "[[device]]\nname = \"SN-{unit_id}\"\naddress = \"tcp://{address}\"\nunit_id = {unit_id}\npoll_ms = {POLL_MS}\nidentify = false\n\
             [[device.point]]\nname = \"次数\"\ntable = \"input\"\naddress = 0\ntype = \"u32\"\n"
        );
    }
    let path = site.scratch().join("agent.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn start(config: &Path) -> Kept {
    let mut child = Command::new(agent_program()).args(["run", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
    drained(child.stderr.take().unwrap());
    Kept(child)
}

/// SIGTERM, once nothing waits any more.
fn drain(config: &Path, spool: &Path) {
    let mut agent = start(config);
    wait_for("the spool to be empty", || (inspect(spool).unwrap().unsettled == 0).then_some(()));
    assert!(Command::new("kill").arg(agent.0.id().to_string()).status().unwrap().success());
    assert!(agent.0.wait().unwrap().success());
}

/// Every report that the spool has taken, by boot and number, all of them acknowledged.
fn ledger(spool: &Path) -> BTreeMap<(String, u64), Value> {
    assert_eq!(inspect(spool).unwrap().unsettled, 0);
    let mut out = BTreeMap::new();
    acknowledged(spool, |kept| {
        let ReportKey { boot, seq } = kept.stored.key;
        assert!(out.insert((boot, seq), serde_json::from_slice(&kept.stored.body).unwrap()).is_none(), "a number is given twice");
        Ok(())
    })
    .unwrap();
    out
}

/// (device, when, value or none) of each entry.
fn entries(report: &Value) -> impl Iterator<Item = (&str, DateTime<Utc>, Option<u64>)> {
    let entries = report["devices"].as_array().into_iter().flatten();
    entries.map(|entry| {
        (entry["device"].as_str().unwrap(), entry["at"].as_str().unwrap().parse().unwrap(), entry["readings"]["次数"].as_u64())
    })
}

/// The service has accepted exactly these numbers.
fn accepted_are(site: &Site, reports: impl Iterator<Item = (String, u64)>) {
    let mut expected: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for (boot, seq) in reports {
        let ranges = expected.entry(boot).or_default();
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == seq => last.1 = seq,
            _ => ranges.push((seq, seq)),
        }
    }
    let known = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    let boots = known["boots"].as_array().unwrap();
    for boot in boots {
        let accepted: Vec<(u64, u64)> = serde_json::from_value(boot["accepted"].clone()).unwrap();
        assert_eq!(Some(&accepted), expected.get(boot["boot"].as_str().unwrap()), "{boot}");
    }
    assert!(expected.values().all(|ranges| ranges.len() == 1 && ranges[0].0 == 1), "numbers begin at 1 and have no gaps: {expected:?}");
}

#[test]
fn over_50_kills_every_reading_that_was_taken_is_counted_once_and_none_is_invented() {
    let kills = std::env::var("SHANGYUN_KILLS").map_or(KILLS, |text| text.parse().expect("SHANGYUN_KILLS is a number"));
    let mut random = StdRng::seed_from_u64(20190902);
    let mut site = Site::new(register().file());
    let spool = site.scratch().join("spool");
    let asked = Asked::default();
    let machines = serve_counters(asked.clone());
    for kill in 0..kills {
        let file = config(&site, &spool, Some(machines));
        let mut agent = start(&file);
        std::thread::sleep(Duration::from_millis(random.random_range(20..900)));
        if kill % 7 == 3 {
            // The service dies under it, too; it comes back at another address.
            site = site.kill_and_restart();
            std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
        }
        agent.0.kill().unwrap();
        agent.0.wait().unwrap();
    }
    let file = config(&site, &spool, None);
    drain(&file, &spool);

    let ledger = ledger(&spool);
    let asked = asked.lock().unwrap().clone();
    let (mut told, mut figures) = (BTreeMap::new(), Figures::new());
    for (key, report) in &ledger {
        assert_eq!(
            report["events"].as_array().map_or(0, |events| events.iter().filter(|event| event["event"] == "dropped").count()),
            0,
            "{key:?}"
        );
        for (device, at, value) in entries(report) {
            count_reading(&mut figures, device, at);
            let Some(value) = value else { continue };
            let unit_id = device.strip_prefix("SN-").unwrap().parse().unwrap();
            assert_eq!(told.insert((unit_id, value), at), None, "{device} {value}: reported twice");
            let served = asked[&(unit_id, value)];
            let late = at - served;
            assert!(
                late > TimeDelta::milliseconds(-2) && late < TimeDelta::milliseconds(500),
                "{device} {value}: read {served}, reported as {at}"
            );
        }
    }
    assert!(told.len() as u64 > 10 * kills, "too little came through to prove anything: {}", told.len());
    // What a kill takes is what was read and not yet spooled: at most a report's time and a spool's, and what was just being read.
    let lost = asked.len() - told.len();
    let window = (100 + 100 + 200) / POLL_MS * u64::from(UNITS);
    assert!(lost as u64 <= kills * window, "{lost} of {} readings never came into the spool", asked.len());
    eprintln!("{kills} kills, {} readings, {} reported, {lost} lost with a kill before they were taken", asked.len(), told.len());

    accepted_are(&site, ledger.into_keys());
    assert_eq!(site.service.reports("refused"), 0);
    let (_dir, data) = site.stop();
    assert_eq!(counted(&data, 1, "P-1"), figures);
    let verified = shangyun(&data, &["log", "verify"]);
    assert!(verified.status.success(), "{}", stdout(&verified));
}

const DEVICES: usize = 200;
const REPORT_DEVICES: usize = 50;
const MINUTES: i64 = 24 * 60;

/// What 200 devices say each minute of the last 24 hours, as the agent would have spooled it.
fn spool_a_day(dir: &Path, until: DateTime<Utc>) -> (u64, Figures) {
    let mut spool = Spool::open(dir, 256 << 20).unwrap();
    let mut builder = Builder::new("outage".into(), None, REPORT_DEVICES);
    let (mut reports, mut figures) = (0, Figures::new());
    for minute in (1..=MINUTES).rev() {
        let at = until - TimeDelta::minutes(minute);
        spool.tick(at.timestamp_millis().unsigned_abs()).unwrap();
        for number in 0..DEVICES {
            let device = format!("SN-{number:03}");
            count_reading(&mut figures, &device, at);
            let readings =
                vec![("功率_kw".into(), PointValue::Number(4.2)), ("产量".into(), PointValue::Number((MINUTES - minute) as f64))];
            builder.push(Entry {
                device,
                at,
                quality: Quality::Normal,
                state: Some(State::Running),
                readings,
                identity: Identity::default(),
            });
        }
        let clock = ClockState { now: at, synchronised: Some(true), monotonic_ms: (MINUTES - minute).unsigned_abs() * 60_000 };
        let mut batch = Vec::new();
        while let Some(built) = builder.build(clock).unwrap() {
            builder.taken(&built);
            batch.push((built.key, built.body));
        }
        reports += batch.len() as u64;
        spool.append_all(&batch).unwrap();
    }
    (reports, figures)
}

#[test]
fn an_outage_of_24_hours_is_drained_without_loss_and_counted_once() {
    let mut site = Site::new(register().file());
    let spool = site.scratch().join("spool");
    let (reports, figures) = spool_a_day(&spool, Utc::now());
    assert_eq!(reports, (DEVICES / REPORT_DEVICES) as u64 * MINUTES.unsigned_abs());

    // In the middle of it the service dies, and what was not yet acknowledged comes again.
    let file = config(&site, &spool, None);
    let mut agent = start(&file);
    wait_for("a quarter to be delivered", || (site.service.reports("accepted") > reports / 4).then_some(()));
    site = site.kill_and_restart();
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    assert!(inspect(&spool).unwrap().unsettled > 0, "it was over before the service died");
    let file = config(&site, &spool, None);
    drain(&file, &spool);

    // The day's reports, and the starts and ends of two agents.
    let ledger = ledger(&spool);
    assert_eq!(ledger.keys().filter(|(boot, _)| boot == "outage").count() as u64, reports);
    accepted_are(&site, ledger.into_keys());
    let (_dir, data) = site.stop();
    assert_eq!(counted(&data, 1, "P-1"), figures);
}
