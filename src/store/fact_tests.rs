//! Facts through checkpoints, merges, rebuilds and crashes, against facts that were never stored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use policy::calendar::Day;
use policy::calendar::day_of;
use policy::devices::weigh;
use policy::facts::VoucherFacts;
use policy::register::{DeclaredDevice, Register, Voucher};
use policy::rulebook::Rulebook;
use policy::window::Window;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tally::{Boot, Claim, Claims, Facts, Origin, Ranges};
use wire::Report;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Event, Quality, UsageEntry};

use crate::facts_read::{FactsDigest, Tail, facts_digest};
use crate::log::LogPosition;
use crate::run_set::Family;
use crate::touched::EnterprisesOfKeys;
use crate::{Checkpoint, Countable, Store, StoreError};

const ENTERPRISES: [&str; 3] = ["91440101MA5XXXXXX1", "91440101MA5XXXXXX2", "914401"];
const NOW_S: i64 = 1_572_940_800;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW_S, 0).unwrap()
}

/// A report of the last days, some of it late, some of it of other quality.
fn report(random: &mut StdRng, days: i64) -> (Origin, Report) {
    let sender = if random.random_bool(0.7) { Sender::Gateway("g".into()) } else { Sender::Supplier("s".into()) };
    let received_at = now() - TimeDelta::seconds(random.random_range(0..days * 86_400));
    let delay_s = *[1, 30, 1_000, 86_400, 100_000, 9 * 86_400].choose(random).unwrap();
    let at = received_at - TimeDelta::seconds(delay_s) - TimeDelta::milliseconds(random.random_range(0..3_000));
    let device = |random: &mut StdRng| DeviceEntry {
        device: format!("SN-{}", random.random_range(0..6)).into(),
        at: at - TimeDelta::seconds(random.random_range(0..7_200)),
        quality: *[Quality::Normal, Quality::Normal, Quality::Normal, Quality::Fault].choose(random).unwrap(),
        state: None,
        readings: wire::report::ReadingsOf::default(),
        identity: Vec::new(),
    };
    let usage = |random: &mut StdRng| UsageEntry {
        product: format!("P-{}", random.random_range(0..2)).into(),
        function_module: "甲".into(),
        user: format!("u{}", random.random_range(0..3)).into(),
        at,
        actions: 2,
        active_s: None,
    };
    let devices = (0..random.random_range(0..6)).map(|_| device(random)).collect();
    let usage = (0..random.random_range(0..2)).map(|_| usage(random)).collect();
    let enterprise = (*ENTERPRISES.choose(random).unwrap()).into();
    let sent_at = Some(received_at - TimeDelta::milliseconds(random.random_range(0..5_000)));
    let first = random.random_range(1..500);
    let dropped = Event { at, event: "dropped".into(), detail: Some(format!("b:{first}-{}", first + 3)) };
    let events = if random.random_bool(0.1) { vec![dropped] } else { Vec::new() };
    (Origin { sender, enterprise, received_at }, Report { devices, usage, sent_at, events, ..Report::default() })
}

fn position(block: u64) -> LogPosition {
    let mut position = LogPosition { segment: 0, byte: block * 100, ..LogPosition::default() };
    (0..block).for_each(|block| position.frontier.push(&block.to_le_bytes()));
    position
}

fn actor() -> crate::audit::Actor {
    crate::audit::Actor::new("command:test", chrono::DateTime::UNIX_EPOCH)
}

fn checkpoint(facts: Facts, block: u64) -> Checkpoint {
    Checkpoint { facts, identities: Vec::new(), position: position(block), audited: Vec::new() }
}

/// As the store tells them, without a store: everything is the tail.
async fn unstored(facts: &Facts, enterprise: &str, product: &str, days: (Day, Day)) -> VoucherFacts {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    store.voucher_facts(enterprise, product, days, Some(Arc::new(Tail::of(facts)))).await.unwrap().0
}

async fn digest(store: &Store) -> FactsDigest {
    facts_digest(&store.facts_at_checkpoint(&[]).await.unwrap().runs).unwrap()
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.join("facts")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".run")).collect()
}

async fn listed(store: &Store) -> BTreeSet<String> {
    let names = crate::run_set::listed(&mut store.readers.acquire().await.unwrap()).await.unwrap();
    names.into_iter().collect()
}

#[tokio::test]
async fn facts_of_any_enterprise_and_days_are_the_same_however_they_were_checkpointed_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut random = StdRng::seed_from_u64(11);
    let (mut all, mut stretch) = (Facts::default(), Facts::default());
    let mut block = 0;
    for n in 0..1_500 {
        let (origin, report) = report(&mut random, 40);
        all.apply_report(&origin, &report);
        stretch.apply_report(&origin, &report);
        if n % 37 == 36 {
            block += 1;
            store.write_checkpoint(&checkpoint(stretch.hand_over(), block)).await.unwrap();
            assert_eq!(store.checkpoint_position().await.unwrap(), position(block));
        }
    }
    let tail = Arc::new(Tail::of(&stretch));
    for enterprise in ENTERPRISES {
        for product in ["P-0", "P-1", "P-2"] {
            for (from, to) in [(40, 0), (20, 3), (5, 5), (90, 60)] {
                let days = (day_of(now() - TimeDelta::days(from)), day_of(now() - TimeDelta::days(to)));
                let (stored, at) = store.voucher_facts(enterprise, product, days, Some(tail.clone())).await.unwrap();
                assert_eq!(stored, unstored(&all, enterprise, product, days).await, "{enterprise} {product} {days:?}");
                assert_eq!((at, stored.devices.is_empty()), (position(block), from == 90));
            }
        }
    }
    store.write_checkpoint(&checkpoint(stretch, block + 1)).await.unwrap();
    store.stop_merges().await;
    assert!(listed(&store).await.len() < 20, "40 checkpoints were merged");
    assert_eq!(files(dir.path()), listed(&store).await);
    let other = tempfile::tempdir().unwrap();
    let at_once = Store::open(other.path()).await.unwrap();
    at_once.write_checkpoint(&checkpoint(all, 1)).await.unwrap();
    assert_eq!(digest(&store).await, digest(&at_once).await);
}

#[tokio::test]
async fn another_process_reads_facts_and_position_that_belong_together_while_runs_are_written_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let service = Store::open(dir.path()).await.unwrap();
    let reader = Store::open(dir.path()).await.unwrap();
    let days = (day_of(now()), day_of(now()));
    let writing = tokio::spawn(async move {
        for block in 1..=200 {
            let mut facts = Facts::default();
            let origin = Origin { sender: Sender::Gateway("g".into()), enterprise: "E".into(), received_at: now() };
            let entry = DeviceEntry {
                device: format!("d{block}").into(),
                at: now(),
                quality: Quality::Normal,
                state: None,
                readings: wire::report::ReadingsOf::default(),
                identity: Vec::new(),
            };
            facts.apply_report(&origin, &Report { devices: vec![entry], ..Report::default() });
            service.write_checkpoint(&checkpoint(facts, block)).await.unwrap();
        }
        service.close().await;
    });
    let mut last = 0;
    while last < 200 {
        let (facts, at) = reader.voucher_facts("E", "P", days, None).await.unwrap();
        assert_eq!(facts.devices.values().map(|days| days.len() as u64).sum::<u64>(), at.block());
        assert!(at.block() >= last);
        last = at.block();
    }
    writing.await.unwrap();
    assert_eq!(files(dir.path()), listed(&reader).await);
}

#[tokio::test]
async fn what_was_left_over_is_removed_at_the_next_start_unless_somebody_is_writing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (mut facts, mut random) = (Facts::default(), StdRng::seed_from_u64(2));
    (0..40).map(|_| report(&mut random, 3)).for_each(|(origin, report)| facts.apply_report(&origin, &report));
    store.write_checkpoint(&checkpoint(facts.clone(), 1)).await.unwrap();
    let before = files(dir.path());
    // Killed between the file and the transaction.
    let writing = store.runs.writing().unwrap();
    let orphans = store.write_runs(&facts, &[], &mut EnterprisesOfKeys::default()).unwrap();
    let orphan = orphans[0].name().to_string();
    Store::open(dir.path()).await.unwrap().close().await;
    assert!(files(dir.path()).contains(&orphan), "somebody is writing");
    drop(writing);
    Store::open(dir.path()).await.unwrap().close().await;
    assert_eq!(files(dir.path()), before);
    assert_eq!(listed(&store).await, before);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_committed_leaves_facts_position_and_files_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (mut facts, mut random) = (Facts::default(), StdRng::seed_from_u64(3));
    (0..40).map(|_| report(&mut random, 3)).for_each(|(origin, report)| facts.apply_report(&origin, &report));
    store.write_checkpoint(&checkpoint(facts.clone(), 1)).await.unwrap();
    let (before, kept) = (digest(&store).await, files(dir.path()));
    sqlx::query("CREATE TRIGGER refuse BEFORE INSERT ON run BEGIN SELECT raise(ABORT, 'no'); END").execute(&store.writer).await.unwrap();
    assert!(store.write_checkpoint(&checkpoint(facts.clone(), 2)).await.is_err());
    assert_eq!((digest(&store).await, store.checkpoint_position().await.unwrap()), (before.clone(), position(1)));
    assert_eq!(files(dir.path()), kept);
    sqlx::query("DROP TRIGGER refuse").execute(&store.writer).await.unwrap();
    store.write_checkpoint(&checkpoint(facts, 2)).await.unwrap();
    assert_ne!(digest(&store).await.sha256, before.sha256);
}

fn claim(seq: u64) -> Claim {
    Claim { digest: [seq as u8; 16], block: seq / 3 }
}

#[tokio::test]
async fn identities_are_found_after_any_number_of_checkpoints_and_new_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let boots = [Boot { gateway: "gw-1", boot: "b1" }, Boot { gateway: "gw-1", boot: "b2" }, Boot { gateway: "gw-2", boot: "b1" }];
    let id = |n: u64| -> [u8; 16] { std::array::from_fn(|i| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * (i % 8))) as u8) };
    for block in 0..30 {
        let mut claims = Claims::default();
        for n in 0..50 {
            // One boot on end, one with gaps, one in no order.
            claims.claim_number(boots[0], block * 50 + n + 1, claim(n), now());
            claims.claim_number(boots[1], 2 * (block * 50 + n) + 2, claim(n), now());
            claims.claim_number(boots[2], (29 - block) * 50 + n + 1, claim(n), now());
            claims.claim_id(id(block * 50 + n), claim(n));
        }
        let checkpoint =
            Checkpoint { facts: Facts::default(), identities: vec![Arc::new(claims)], position: position(block + 1), audited: Vec::new() };
        store.write_checkpoint(&checkpoint).await.unwrap();
    }
    for store in [store, Store::open(dir.path()).await.unwrap()] {
        let asked: Vec<_> = boots.iter().flat_map(|boot| (1..1_700).map(move |seq| (*boot, seq))).collect();
        for ((boot, seq), found) in asked.iter().zip(store.find_numbers(&asked).await.unwrap()) {
            let (held, n) = if *boot == boots[1] { (seq % 2 == 0, seq / 2 - u64::from(*seq > 1)) } else { (*seq <= 1_500, seq - 1) };
            assert_eq!(found, held.then(|| claim(n % 50)), "{boot:?} {seq}");
        }
        let asked: Vec<_> = (0..3_000).map(id).collect();
        for (n, found) in store.find_ids(&asked).await.unwrap().into_iter().enumerate() {
            assert_eq!(found, (n < 1_500).then(|| claim(n as u64 % 50)), "{n}");
        }
        let ranges = [store.ranges_of_boot(boots[0]).await, store.ranges_of_boot(boots[2]).await].map(Result::unwrap);
        assert!(ranges.iter().all(|ranges| ranges.as_slice() == [(1, 1_500)]));
        assert_eq!(store.ranges_of_boot(boots[1]).await.unwrap().missing(), 1_500);
        let all = store.gateway_sequences("gw-1").await.unwrap();
        assert_eq!(
            all.iter().map(|of_boot| (of_boot.boot.as_str(), of_boot.last_at)).collect::<Vec<_>>(),
            [("b1", Some(now())), ("b2", Some(now()))]
        );
    }
}

#[tokio::test]
async fn a_rebuild_in_stretches_gives_the_same_bytes_and_replaces_what_differs_or_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let stretches: Vec<Facts> = (0..30)
        .map(|_| {
            let mut facts = Facts::default();
            (0..30).map(|_| report(&mut random, 10)).for_each(|(origin, report)| facts.apply_report(&origin, &report));
            facts
        })
        .collect();
    let claims = |n: u64| {
        let mut claims = Claims::default();
        claims.claim_number(Boot { gateway: "g", boot: "b" }, n, claim(n), now());
        claims
    };
    for (block, facts) in (1..).zip(&stretches) {
        let identities = vec![Arc::new(claims(block))];
        store
            .write_checkpoint(&Checkpoint { facts: facts.clone(), identities, position: position(block), audited: Vec::new() })
            .await
            .unwrap();
    }
    let other = Store::open(dir.path()).await.unwrap();
    let mut rebuild = other.rebuild().unwrap();
    for (block, facts) in (1..).zip(&stretches[..29]) {
        rebuild.add(facts, claims(block)).unwrap();
    }
    let boots = store.receipt_boots("g").await.unwrap();
    let facts = async |store: &Store| {
        store.voucher_facts(ENTERPRISES[0], "P-0", (day_of(now() - TimeDelta::days(60)), day_of(now())), None).await.unwrap().0
    };
    let of_voucher = facts(&store).await;
    assert!(!of_voucher.clocks.is_empty() && boots["b"].dropped != Ranges::default());
    // The service has moved on: the last stretch is still to be read.
    assert_eq!(rebuild.finish(&position(29), &actor()).await.unwrap(), None);
    rebuild.add(&stretches[29], claims(30)).unwrap();
    let (before, after) = rebuild.finish(&position(30), &actor()).await.unwrap().unwrap();
    assert_eq!(before, Some(after.clone()));
    assert_eq!((store.receipt_boots("g").await.unwrap(), facts(&store).await), (boots, of_voucher));
    drop(rebuild);
    assert_eq!(files(dir.path()), listed(&store).await);

    // The service goes on where it stood, also with its index of identities.
    store.write_checkpoint(&checkpoint(stretches[0].clone(), 31)).await.unwrap();
    assert_eq!(store.find_numbers(&[(Boot { gateway: "g", boot: "b" }, 7)]).await.unwrap(), [Some(claim(7))]);
    assert_eq!(store.ranges_of_boot(Boot { gateway: "g", boot: "b" }).await.unwrap().as_slice(), [(1, 30)]);
    store.stop_merges().await;

    // Damaged facts are told, and made anew.
    let largest = files(dir.path())
        .into_iter()
        .filter(|name| Family::Facts.holds(name))
        .max_by_key(|name| fs::metadata(dir.path().join("facts").join(name)).unwrap().len());
    let path = dir.path().join("facts").join(largest.unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let third = Store::open(dir.path()).await.unwrap();
    let days = (day_of(now() - TimeDelta::days(60)), day_of(now()));
    let mut told = 0;
    for enterprise in ENTERPRISES {
        told += usize::from(
            matches!(third.voucher_facts(enterprise, "P-0", days, None).await, Err(StoreError::Run(error)) if error.to_string().contains("tally rebuild")),
        );
    }
    assert!(told > 0);
    let mut rebuild = third.rebuild().unwrap();
    stretches.iter().for_each(|facts| rebuild.add(facts, Claims::default()).unwrap());
    let (before, again) = rebuild.finish(&position(31), &actor()).await.unwrap().unwrap();
    assert_eq!((before, again), (None, after));
    drop(rebuild);
    assert_eq!(files(dir.path()), listed(&third).await);
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_left_out_and_the_others_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut random = StdRng::seed_from_u64(8);
    let mut checkpoint_of_some = |block: u64| {
        let mut facts = Facts::default();
        (0..10).map(|_| report(&mut random, 3)).for_each(|(origin, report)| facts.apply_report(&origin, &report));
        checkpoint(facts, block)
    };
    store.write_checkpoint(&checkpoint_of_some(1)).await.unwrap();
    let damaged = files(dir.path()).into_iter().next().unwrap();
    let path = dir.path().join("facts").join(&damaged);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut block = 1;
    while block < 12 || listed(&store).await.len() as u64 > block / 2 {
        block += 1;
        store.write_checkpoint(&checkpoint_of_some(block)).await.unwrap();
        assert!(block < 2_000, "nothing is merged");
    }
    assert!(listed(&store).await.contains(&damaged), "it is still named");
}

#[tokio::test]
async fn a_rebuild_that_is_given_up_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (mut facts, mut random) = (Facts::default(), StdRng::seed_from_u64(6));
    (0..40).map(|_| report(&mut random, 3)).for_each(|(origin, report)| facts.apply_report(&origin, &report));
    store.write_checkpoint(&checkpoint(facts.clone(), 1)).await.unwrap();
    let (before, kept) = (digest(&store).await, files(dir.path()));
    let mut rebuild = store.rebuild().unwrap();
    (0..20).for_each(|_| rebuild.add(&facts, Claims::default()).unwrap());
    drop(rebuild);
    assert_eq!((digest(&store).await, files(dir.path())), (before, kept));
}

/// As the judge counts them for a voucher that declares all devices there are.
fn judged(facts: &VoucherFacts, rulebook: &Rulebook, window: &Window) -> u64 {
    let voucher: Voucher = serde_json::from_value(serde_json::json!({
        "id": "V", "enterprise": "E", "product": "P", "contract_no": "1", "contract_signed_on": "2019-06-01", "contract_total": "1.00",
        "contract_amount": "1.00", "contract_modules": [], "applied_at": "2019-07-01T09:00:00+08:00",
    }))
    .unwrap();
    let declared = facts.devices.keys().map(|device| {
        let row = DeclaredDevice { voucher: "V".into(), device: device.clone(), name: None, model: None, template: None, province: None };
        (("V".to_string(), device.clone()), row)
    });
    let register = Register { devices: declared.collect(), ..Register::default() };
    weigh(&register, &rulebook.parameters, &voucher, None, window, facts).connected()
}

#[tokio::test]
async fn connected_devices_of_all_enterprises_are_those_that_the_judge_counts_at_any_cut_off_under_any_rule() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut all = Facts::default();
    for block in 1..=12 {
        let mut stretch = Facts::default();
        for _ in 0..900 {
            let (origin, report) = report(&mut random, 45);
            all.apply_report(&origin, &report);
            stretch.apply_report(&origin, &report);
        }
        store.write_checkpoint(&checkpoint(stretch, block)).await.unwrap();
    }
    let everything = Arc::new(Tail::of(&all));
    let empty_dir = tempfile::tempdir().unwrap();
    let empty = Store::open(empty_dir.path()).await.unwrap();
    let devices = |place: usize| (0..6).map(move |device| (format!("SN-{device}"), vec![place, ENTERPRISES.len()])).collect();
    let countable: Countable =
        ENTERPRISES.into_iter().enumerate().map(|(place, enterprise)| (enterprise.to_string(), devices(place))).collect();
    let mut counted = 0;
    for _ in 0..150 {
        let rule = [
            ("late_days_max", random.random_range(0..11)),
            ("effective_day_hours_min", random.random_range(1..6)),
            ("device_effective_days_min", random.random_range(1..8)),
        ];
        let with = |rulebook: Rulebook, (name, value): (&str, u32)| rulebook.with(name, &value.to_string()).unwrap();
        let rulebook = rule.into_iter().fold(Rulebook::default_2019(), with);
        // Readings lie on whole milliseconds: often exactly there, or a microsecond before.
        let ago_us = random.random_range(0..60 * 86_400_000) * 1_000 + random.random_range(0..3);
        let cut_off = now() - TimeDelta::microseconds(ago_us);
        let to = day_of(cut_off);
        let window = Window { from: to - TimeDelta::days(random.random_range(0..70)), to, cut_off };
        let later = Window { cut_off: cut_off + TimeDelta::hours(1), ..window };
        for window in [window, later] {
            let places = ENTERPRISES.len() + 1;
            let counts = store.count_connected(&rulebook.parameters, &window, countable.clone(), places).await.unwrap();
            let mut expected = vec![0; places];
            for (place, enterprise) in ENTERPRISES.into_iter().enumerate() {
                let facts = empty.voucher_facts(enterprise, "P", (window.from, window.to), Some(everything.clone()));
                let connected = judged(&facts.await.unwrap().0, &rulebook, &window);
                expected[place] = connected;
                // One more counts everybody's.
                expected[ENTERPRISES.len()] += connected;
            }
            counted += usize::from(expected[ENTERPRISES.len()] > 0);
            assert_eq!(counts, expected, "{rule:?} {window:?}");
        }
    }
    assert!(counted > 100, "{counted}");
}
