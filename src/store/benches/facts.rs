//! What checkpoints, readings of vouchers and the index of identities cost: `cargo bench -p shangyun-store`. The figures for
//! 1,000,000 devices over 30 days need 4 GiB in the directory for temporary files and some minutes to be prepared.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use divan::Bencher;
use divan::counter::ItemsCount;
use policy::calendar::day_of;
use policy::rulebook::Rulebook;
use policy::window::Window;
use store::{Checkpoint, Countable, LogPosition, Store};
use tally::{Boot, Claim, Claims, Facts, Origin};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wire::Report;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality};

/// How many devices the month has.
static DEVICES: LazyLock<usize> =
    LazyLock::new(|| std::env::var("DEVICES").map_or(1_000_000, |devices| devices.parse().expect("DEVICES is a number")));
const DEVICES_PER_ENTERPRISE: usize = 30;
const DEVICES_PER_REPORT: usize = 10;
const DAYS: i64 = 30;
const HOURS_PER_DAY: i64 = 10;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn main() {
    divan::main();
}

fn enterprise(number: usize) -> String {
    format!("9144010100000{number:05}")
}

/// Midnight in Shanghai on the first day.
fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(1_572_537_600, 0).unwrap()
}

/// Every eighth reading is missing, so that no day is like another.
fn missing(device: usize, hour: DateTime<Utc>) -> bool {
    let mixed = (device as u64 ^ (hour.timestamp() as u64) << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 61 == 0
}

/// One reading of nearly every device within one clock hour, each report at its own second.
fn fold_hour(facts: &mut Facts, devices: usize, hour: DateTime<Utc>) {
    for first in (0..devices).step_by(DEVICES_PER_REPORT) {
        let at = hour + TimeDelta::seconds((first / DEVICES_PER_REPORT % 3_600) as i64);
        let origin = Origin {
            sender: Sender::Gateway(format!("gw-{}", first / DEVICES_PER_ENTERPRISE).into()),
            enterprise: enterprise(first / DEVICES_PER_ENTERPRISE).into(),
            received_at: at + TimeDelta::milliseconds(900),
        };
        let entry = |device: usize| DeviceEntry {
            device: format!("SN-{device:07}").into(),
            at,
            quality: Quality::Normal,
            state: None,
            readings: wire::report::ReadingsOf::default(),
            identity: Vec::new(),
        };
        facts.apply_report(
            &origin,
            &Report {
                devices: (first..first + DEVICES_PER_REPORT).filter(|device| !missing(*device, hour)).map(entry).collect(),
                ..Report::default()
            },
        );
    }
}

fn position(block: u64) -> LogPosition {
    LogPosition { byte: block, ..LogPosition::default() }
}

fn write(store: &Store, facts: Facts, identities: Vec<Arc<Claims>>, block: u64) {
    RUNTIME.block_on(store.write_checkpoint(&Checkpoint { facts, identities, position: position(block), audited: Vec::new() })).unwrap();
}

fn opened() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = RUNTIME.block_on(Store::open(dir.path())).unwrap();
    (dir, store)
}

/// 30 days of all devices, one checkpoint a day and twenty small ones of the last.
static MONTH: LazyLock<(TempDir, Store)> = LazyLock::new(|| {
    let (dir, store) = opened();
    let start = Instant::now();
    for day in 0..DAYS {
        let mut facts = Facts::default();
        for hour in 0..HOURS_PER_DAY {
            fold_hour(&mut facts, *DEVICES, began() + TimeDelta::days(day) + TimeDelta::hours(8 + hour));
        }
        write(&store, facts, Vec::new(), day as u64 + 1);
    }
    for more in 0..20 {
        let mut facts = Facts::default();
        fold_hour(&mut facts, *DEVICES / 10, began() + TimeDelta::days(DAYS - 1) + TimeDelta::hours(18));
        write(&store, facts, Vec::new(), DAYS as u64 + 1 + more);
    }
    let files: Vec<_> =
        std::fs::read_dir(dir.path().join("facts")).unwrap().flatten().map(|entry| entry.metadata().unwrap().len() >> 20).collect();
    eprintln!("a month was written in {:?}; MiB of runs: {files:?}", start.elapsed());
    (dir, store)
});

/// All of it: sorted, encoded, written, synced, committed.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 5)]
fn checkpoint_of_devices(bencher: Bencher, devices: usize) {
    let (_dir, store) = opened();
    let mut block = 0;
    bencher
        .counter(ItemsCount::new(devices))
        .with_inputs(|| {
            let mut facts = Facts::default();
            fold_hour(&mut facts, devices, began());
            block += 1;
            (facts, block)
        })
        .bench_local_values(|(facts, block)| write(&store, facts, Vec::new(), block));
}

/// 30 devices, 30 days, 10 hours a day, among 1,000,000 devices.
#[divan::bench(sample_count = 200)]
fn read_one_voucher(bencher: Bencher) {
    let (_, store) = &*MONTH;
    let days = (day_of(began()), day_of(began() + TimeDelta::days(DAYS - 1)));
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 7_919) % (*DEVICES / DEVICES_PER_ENTERPRISE);
        let (facts, _) = RUNTIME.block_on(store.voucher_facts(&enterprise(number), "P-1", days, None)).unwrap();
        assert!(facts.devices.values().map(|days| days.len()).sum::<usize>() >= DEVICES_PER_ENTERPRISE * DAYS as usize);
    });
}

/// Every enterprise has a voucher that declares its 30 devices; up to a cut-off in the middle of the last day.
#[divan::bench(sample_count = 5)]
fn connected_devices_of_every_voucher(bencher: Bencher) {
    let (_, store) = &*MONTH;
    let cut_off = began() + TimeDelta::days(DAYS - 1) + TimeDelta::minutes(12 * 60 + 30);
    let to = day_of(cut_off);
    let window = Window { from: to - TimeDelta::days(29), to, cut_off };
    let parameters = Rulebook::default_2019().parameters;
    bencher.counter(ItemsCount::new(*DEVICES)).bench_local(|| {
        let vouchers = *DEVICES / DEVICES_PER_ENTERPRISE + 1;
        let mut countable = Countable::new();
        for device in 0..*DEVICES {
            let voucher = device / DEVICES_PER_ENTERPRISE;
            countable.entry(enterprise(voucher)).or_default().insert(format!("SN-{device:07}"), vec![voucher]);
        }
        let counts = RUNTIME.block_on(store.count_connected(&parameters, &window, countable, vouchers)).unwrap();
        assert_eq!(counts.iter().sum::<u64>(), *DEVICES as u64);
    });
}

fn id(number: u64) -> [u8; 16] {
    let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(31);
    let halves = [mixed(number + 1).to_be_bytes(), mixed(mixed(number + 1)).to_be_bytes()].concat();
    std::array::from_fn(|i| halves[i])
}

/// A checkpoint of 250,000 ids of suppliers, after 40 others of that size.
#[divan::bench(sample_count = 5)]
fn checkpoint_of_250_000_ids(bencher: Bencher) {
    let (_dir, store) = opened();
    let next = |block: u64| {
        let mut claims = Claims::default();
        (0..250_000).for_each(|n| claims.claim_id(id(block * 250_000 + n), Claim { digest: [7; 16], block }));
        vec![Arc::new(claims)]
    };
    (0..40).for_each(|block| write(&store, Facts::default(), next(block), block + 1));
    let mut block = 40;
    let input = || {
        block += 1;
        (next(block), block)
    };
    bencher.with_inputs(input).bench_local_values(|(claims, block)| write(&store, Facts::default(), claims, block));
}

/// A group of 1,000 reports of suppliers that are new, among 10,000,000.
#[divan::bench(sample_count = 50)]
fn look_up_1_000_new_ids(bencher: Bencher) {
    look_up_ids(bencher, 100_000_000);
}

/// A group of 1,000 reports of suppliers that all came before.
#[divan::bench(sample_count = 50)]
fn look_up_1_000_repeated_ids(bencher: Bencher) {
    look_up_ids(bencher, 0);
}

static IDS: LazyLock<(TempDir, Store)> = LazyLock::new(|| {
    let (dir, store) = opened();
    for block in 0..40 {
        let mut claims = Claims::default();
        (0..250_000).for_each(|n| claims.claim_id(id(block * 250_000 + n), Claim { digest: [7; 16], block }));
        write(&store, Facts::default(), vec![Arc::new(claims)], block + 1);
    }
    (dir, store)
});

fn look_up_ids(bencher: Bencher, first: u64) {
    let (_, store) = &*IDS;
    let mut turn = 0;
    bencher.counter(ItemsCount::new(1_000u32)).bench_local(|| {
        turn += 1;
        let asked: Vec<_> = (0..1_000).map(|n| id(first + (turn * 1_000 + n) * 61 % 10_000_000)).collect();
        let found = RUNTIME.block_on(store.find_ids(&asked)).unwrap();
        assert!(found.iter().all(|found| found.is_some() == (first == 0)));
    });
}

/// 5 reports each of 10,000 gateways.
#[divan::bench(sample_count = 5)]
fn checkpoint_of_10_000_gateways(bencher: Bencher) {
    let (_dir, store) = opened();
    let mut block = 0;
    let input = || {
        let mut claims = Claims::default();
        for gateway in 0..10_000 {
            let gateway = format!("gw-{gateway:05}");
            let boot = Boot { gateway: &gateway, boot: "2019-11-05T08:00" };
            (1..=5).for_each(|n| claims.claim_number(boot, block * 5 + n, Claim { digest: [7; 16], block }, began()));
        }
        block += 1;
        (vec![Arc::new(claims)], block)
    };
    bencher.with_inputs(input).bench_local_values(|(claims, block)| write(&store, Facts::default(), claims, block));
}
