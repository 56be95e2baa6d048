//! What judging costs: `cargo bench -p shangyun-monitor`. 10,000 vouchers of 30 devices over 30 days, three readings in each of ten
//! clock hours a day; the data take some 700 MiB in the directory for temporary files and a minute or two to be prepared. `VOUCHERS=100` is
//! quicker.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use divan::Bencher;
use divan::counter::ItemsCount;
use futures::future::BoxFuture;
use monitor::{EvidenceSource, FlushEvidence, FlushFailed, Monitor, MonitorParts};
use observe::{Clock, Metrics};
use policy::catalogue::Catalogue;
use policy::in_force::Versions;
use policy::rulebook::Rulebook;
use serde_json::{Value, json};
use store::{Checkpoint, LogPosition, RegisterState, Store};
use tally::{Facts, Origin};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wire::Report;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality, Readings, ReadingsOf};

static VOUCHERS: LazyLock<usize> =
    LazyLock::new(|| std::env::var("VOUCHERS").map_or(10_000, |vouchers| vouchers.parse().expect("VOUCHERS is a number")));
const DEVICES: usize = 30;
const DAYS: i64 = 30;
const HOURS: i64 = 10;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn main() {
    divan::main();
}

/// A sound unified social credit code of its own for every number.
fn enterprise(number: usize) -> String {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    let body = format!("91440101MA5{number:06}");
    let weights = (0..17).scan(1, |weight, _| Some(std::mem::replace(weight, *weight * 3 % 31)));
    let sum: usize =
        body.bytes().zip(weights).map(|(byte, weight)| weight * ALPHABET.iter().position(|known| *known == byte).unwrap()).sum();
    format!("{body}{}", char::from(ALPHABET[(31 - sum % 31) % 31]))
}

/// Midnight in Shanghai on the first day.
fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(1_572_537_600, 0).unwrap()
}

fn register() -> Value {
    let mut enterprises = Vec::new();
    let (mut vouchers, mut devices) = (Vec::new(), Vec::new());
    for number in 0..*VOUCHERS {
        let (enterprise, voucher) = (enterprise(number), format!("V-{number:05}"));
        enterprises.push(json!({"id": enterprise, "name": format!("第{number}机械厂"), "city": "440100", "kind": "manufacturer"}));
        vouchers.push(json!({
            "id": voucher, "enterprise": enterprise, "product": "P-5", "contract_no": format!("HT-{number}"), "contract_signed_on": "2019-06-01",
            "contract_total": "60000.00", "contract_amount": "56250.00", "contract_modules": ["采集", "监测"], "period": "2019",
            "applied_at": "2019-07-01T09:00:00+08:00",
        }));
        devices.extend(
            (0..DEVICES).map(|device| json!({"voucher": voucher, "device": format!("SN-{number:05}-{device:02}"), "province": "44"})),
        );
    }
    json!({"v": 1, "rulebook": "gd-2019",
        "suppliers": [{"id": "S-1", "name": "供应商", "city": "440100"}],
        "products": [{"id": "P-5", "supplier": "S-1", "name": "设备物联", "class": "A", "row": 5, "function_modules": ["采集", "监测"]}],
        "periods": [{"id": "2019", "claim_from": "2019-06-01T00:00:00+08:00", "claim_to": "2019-12-31T23:59:00+08:00",
            "redeem_from": "2019-08-01T00:00:00+08:00", "redeem_to": "2020-03-31T23:59:00+08:00"}],
        "enterprises": enterprises, "vouchers": vouchers, "devices": devices})
}

thread_local! {
    /// Some reports' readings: a number of each device, mostly another in each.
    static READINGS: Vec<(Readings, Vec<ReadingsOf>)> = (0..97).map(read_readings).collect();
}

fn read_readings(number: usize) -> (Readings, Vec<ReadingsOf>) {
    let entry = |device: usize| {
        let value = number * 31 + device * 7;
        format!(r#"{{"device":"SN-{device}","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{{"功率_kw":{value}.25}}}}"#)
    };
    let entries: Vec<String> = (0..DEVICES).map(entry).collect();
    let text = format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{}]}}"#, entries.join(","));
    let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap();
    let context = wire::ReadContext { door: wire::Door::Gateway, received_at, future_skew_s_max: 120, admission: &wire::AdmittedBefore };
    let report = wire::read_report(text.as_bytes(), &context).report.unwrap();
    let places = report.devices.iter().map(|entry| entry.readings).collect();
    (report.readings, places)
}

/// Three readings of each device in that clock hour, so that its values tell something.
fn fold_hour(facts: &mut Facts, hour: DateTime<Utc>) {
    for (number, minutes) in (0..*VOUCHERS).flat_map(|number| [0, 20, 40].map(|minutes| (number, minutes))) {
        let at = hour + TimeDelta::minutes(minutes) + TimeDelta::seconds((number % 1_200) as i64);
        let origin = Origin {
            sender: Sender::Gateway(format!("gw-{number}").into()),
            enterprise: enterprise(number).into(),
            received_at: at + TimeDelta::milliseconds(900),
        };
        let set = number + at.timestamp().unsigned_abs() as usize / 60;
        let (readings, places) = READINGS.with(|some| some[set % some.len()].clone());
        let entry = |device: usize| DeviceEntry {
            device: format!("SN-{number:05}-{device:02}").into(),
            at,
            quality: Quality::Normal,
            state: None,
            readings: places[device],
            identity: Vec::new(),
        };
        facts.apply_report(&origin, &Report { devices: (0..DEVICES).map(entry).collect(), readings, ..Report::default() });
    }
}

struct NothingWaits;

impl FlushEvidence for NothingWaits {
    fn flush(&self) -> BoxFuture<'_, Result<(), FlushFailed>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Seconds after the month, so that every look is a new one.
static AFTER_S: AtomicI64 = AtomicI64::new(0);

static MONTH: LazyLock<(TempDir, Monitor)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let monitor = RUNTIME.block_on(async {
        let store = Store::open(dir.path()).await.unwrap();
        store.import_register(&[register().into()], &|_| true, &store::Actor::new("bench", DateTime::UNIX_EPOCH)).await.unwrap();
        for day in 0..DAYS {
            let mut facts = Facts::default();
            (0..HOURS).for_each(|hour| fold_hour(&mut facts, began() + TimeDelta::days(day) + TimeDelta::hours(8 + hour)));
            let position = LogPosition { byte: day as u64 + 1, ..LogPosition::default() };
            store.write_checkpoint(&Checkpoint { facts, identities: Vec::new(), position, audited: Vec::new() }).await.unwrap();
        }
        Monitor::new(MonitorParts {
            register: RegisterState::load(store.clone()).await.unwrap(),
            store,
            rulebooks: Versions::new(vec![Rulebook::default_2019()]).unwrap(),
            catalogues: Versions::new(vec![Catalogue::default_2019()]).unwrap(),
            clock: Clock::new(|| {
                began() + TimeDelta::days(DAYS) - TimeDelta::hours(2) + TimeDelta::seconds(AFTER_S.load(Ordering::Relaxed))
            }),
            metrics: Metrics::new(),
            evidence: EvidenceSource::Live(Arc::new(NothingWaits)),
            announce: None,
            judging: Default::default(),
        })
    });
    (dir, monitor)
});

/// All vouchers; every judgement says something new, as after new evidence about all, and every result is stored.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn judge_every_voucher_with_new_results(bencher: Bencher) {
    let (_, monitor) = &*MONTH;
    bencher.counter(ItemsCount::new(*VOUCHERS)).bench_local(|| {
        // Asked for as of an instant, so that the cut-off alone makes a result.
        let as_of = monitor.parts().clock.now() + TimeDelta::seconds(AFTER_S.fetch_add(1, Ordering::Relaxed));
        let round = RUNTIME.block_on(monitor.judge_all(Some(as_of))).unwrap();
        assert_eq!((round.judged, round.new), (*VOUCHERS, *VOUCHERS));
    });
}

/// All vouchers; nothing has changed.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn judge_every_voucher_again(bencher: Bencher) {
    let (_, monitor) = &*MONTH;
    RUNTIME.block_on(monitor.judge_all(None)).unwrap();
    bencher.counter(ItemsCount::new(*VOUCHERS)).bench_local(|| {
        AFTER_S.fetch_add(1, Ordering::Relaxed);
        let round = RUNTIME.block_on(monitor.judge_all(None)).unwrap();
        assert_eq!((round.judged, round.new), (*VOUCHERS, 0));
    });
}

/// One voucher on demand, its new result stored.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn judge_one_voucher(bencher: Bencher) {
    let (_, monitor) = &*MONTH;
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 7_919) % *VOUCHERS;
        let as_of = monitor.parts().clock.now() + TimeDelta::seconds(AFTER_S.fetch_add(1, Ordering::Relaxed));
        let judged = RUNTIME.block_on(monitor.judge_voucher(&format!("V-{number:05}"), Some(as_of))).unwrap();
        assert!(judged.new);
    });
}
