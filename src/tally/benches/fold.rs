//! What one report of 20 devices costs, and what a device weighs: `cargo bench -p shangyun-tally`.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;

use chrono::{DateTime, TimeDelta};
use divan::Bencher;
use divan::counter::ItemsCount;
use tally::{Boot, Claim, Facts, Novelty, Origin, Ranges, RecentIdentities};
use wire::Report;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality, Readings, ReadingsOf};

const DEVICES_PER_REPORT: usize = 20;
const DEVICES_PER_ENTERPRISE: usize = 1_000;

fn main() {
    weigh();
    divan::main();
}

fn origin(report: usize) -> Origin {
    let enterprise = format!("9144010100000{:05}", report * DEVICES_PER_REPORT / DEVICES_PER_ENTERPRISE);
    let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap() + TimeDelta::microseconds(report as i64 * 20);
    Origin { sender: Sender::Gateway("gw-1".into()), enterprise: enterprise.into(), received_at }
}

/// Far from each other, and every turn has its place.
fn scattered(number: usize, turns: usize) -> usize {
    number * 7_919 % turns
}

/// The report of that number when each device of so many has its turn.
fn report(number: usize, devices: usize) -> (Origin, Report) {
    let turn = number % devices.div_ceil(DEVICES_PER_REPORT);
    let origin = Origin { received_at: origin(number).received_at, ..origin(turn) };
    let (readings, places) = readings(number);
    let entry = |at: usize| DeviceEntry {
        device: format!("SN-{:07}", turn * DEVICES_PER_REPORT + at).into(),
        at: origin.received_at - TimeDelta::milliseconds(700),
        quality: Quality::Normal,
        state: None,
        readings: places[at],
        identity: Vec::new(),
    };
    let report = Report { devices: (0..DEVICES_PER_REPORT).map(entry).collect(), readings, ..Report::default() };
    (origin, report)
}

thread_local! {
    /// Some reports' readings: four numbers and a flag a device.
    static READINGS: Vec<(Readings, Vec<ReadingsOf>)> = (0..16).map(read_readings).collect();
}

fn readings(number: usize) -> (Readings, Vec<ReadingsOf>) {
    READINGS.with(|some| some[number % some.len()].clone())
}

fn read_readings(number: usize) -> (Readings, Vec<ReadingsOf>) {
    let entry = |at: usize| {
        let value = number * 31 + at * 7;
        format!(
            r#"{{"device":"SN-{at}","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{{"功率_kw":{value}.25,"电压_v":38{at}.1,"电流_a":{at}.5,"温度_c":4{at}.3,"运行":true}}}}"#
        )
    };
    let entries: Vec<String> = (0..DEVICES_PER_REPORT).map(entry).collect();
    let text = format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{}]}}"#, entries.join(","));
    let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap();
    let context = wire::ReadContext { door: wire::Door::Gateway, received_at, future_skew_s_max: 120, admission: &wire::AdmittedBefore };
    let report = wire::read_report(text.as_bytes(), &context).report.unwrap();
    let places = report.devices.iter().map(|entry| entry.readings).collect();
    (report.readings, places)
}

fn folded(devices: usize) -> Facts {
    let mut facts = Facts::default();
    for number in 0..devices / DEVICES_PER_REPORT {
        let (origin, report) = report(number, devices);
        facts.apply_report(&origin, &report);
    }
    facts
}

/// Each device has been seen before in this stretch; gateways report in another order than then.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 200, sample_size = 500)]
fn fold_report_of_20(bencher: Bencher, devices: usize) {
    let facts = RefCell::new(folded(devices));
    let number = Cell::new(0);
    bencher
        .counter(ItemsCount::new(DEVICES_PER_REPORT))
        .with_inputs(|| report(scattered(number.replace(number.get() + 1), devices / DEVICES_PER_REPORT), devices))
        .bench_local_refs(|(origin, report)| facts.borrow_mut().apply_report(origin, report));
}

/// Each device is new in this stretch.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 100, sample_size = 1)]
fn fold_report_of_20_new_devices(bencher: Bencher, devices: usize) {
    let before = folded(devices);
    let facts = RefCell::new(before);
    let number = Cell::new(0);
    let reports = (devices / DEVICES_PER_REPORT).min(500);
    bencher
        .counter(ItemsCount::new(reports))
        .with_inputs(|| {
            let first = number.replace(number.get() + reports);
            if first % (devices / DEVICES_PER_REPORT) + reports > devices / DEVICES_PER_REPORT || first == 0 {
                facts.borrow_mut().hand_over();
            }
            (first..first + reports).map(|number| report(number, devices)).collect::<Vec<_>>()
        })
        .bench_local_refs(|reports| reports.iter().for_each(|(origin, report)| facts.borrow_mut().apply_report(origin, report)));
}

/// The facts as records in the order of their keys, as a checkpoint writes them.
#[divan::bench(args = [100_000, 1_000_000], sample_count = 5)]
fn records_of_facts(bencher: Bencher, devices: usize) {
    let facts = folded(devices);
    bencher.counter(ItemsCount::new(devices)).bench_local(|| {
        let mut bytes = 0;
        let put = &mut |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            Ok::<_, Infallible>(())
        };
        facts.records(put).unwrap();
        bytes
    });
}

/// A report of a known gateway is looked up and claims its number.
#[divan::bench(args = [100, 50_000], sample_count = 100, sample_size = 1000)]
fn look_up_and_claim(bencher: Bencher, gateways: usize) {
    let recent = RefCell::new(RecentIdentities::default());
    let names: Vec<String> = (0..gateways).map(|gateway| format!("gw-{gateway:05}")).collect();
    names.iter().for_each(|gateway| recent.borrow_mut().learn_boot(Boot { gateway, boot: "2019-11-05T08:00" }, Ranges::default()));
    let number = Cell::new(0);
    let received_at = origin(0).received_at;
    bencher.bench_local(|| {
        let number = number.replace(number.get() + 1);
        let boot = Boot { gateway: &names[number % gateways], boot: "2019-11-05T08:00" };
        let seq = (number / gateways) as u64 + 1;
        let mut recent = recent.borrow_mut();
        assert_eq!(recent.look_up_number(boot, seq, &[7; 16]), Novelty::New);
        recent.claim_number(boot, seq, Claim { digest: [7; 16], block: number as u64 }, received_at);
        if number.is_multiple_of(250_000) {
            recent.hand_over();
            recent.forget_handed_over();
        }
    });
}

/// The facts of 30 devices and 30 days of 10 hours, from bytes.
#[divan::bench]
fn decode_900_device_days(bencher: Bencher) {
    let day = policy::calendar::read_day("2019-11-05").unwrap();
    let mut facts = policy::facts::DeviceDay::default();
    for hour in 8..18 {
        let at = policy::calendar::day_start(day) + TimeDelta::hours(i64::from(hour)) + TimeDelta::seconds(77);
        let of_hour = facts.hours.entry((hour, policy::facts::Channel::Gateway)).or_default();
        of_hour.normal.add(policy::facts::Seen::new(at, 1));
        of_hour.counts.add(0, 60);
    }
    let bytes = tally::encode_device_day(day, &facts);
    bencher.bench_local(|| (0..900).map(|_| tally::decode_device_day(day, divan::black_box(&bytes)).unwrap()).collect::<Vec<_>>());
}

/// Resident memory, as the system counts it.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn weigh() {
    for devices in [100_000, 1_000_000] {
        let before = resident_bytes();
        let facts = folded(devices);
        let resident = resident_bytes() - before;
        println!(
            "{devices} devices of one hour: {} bytes each resident, {} as counted",
            resident / devices,
            facts.memory_bytes() / devices
        );
    }
}
