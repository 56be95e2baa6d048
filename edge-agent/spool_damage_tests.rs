//! A spool that is cut or changed anywhere: what is damaged costs itself alone, and is counted.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::segment::Segment;
use crate::spool_scan::scan;

const BYTES_MAX: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
enum Step {
    Append { reports: usize, bytes: usize },
    Boot,
    Settle(usize),
    SettleThrough(u64),
    Refuse(usize),
    Tick(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..5, 0usize..400).prop_map(|(reports, bytes)| Step::Append { reports, bytes }),
        1 => (1usize..4, 20_000usize..60_000).prop_map(|(reports, bytes)| Step::Append { reports, bytes }),
        1 => Just(Step::Boot),
        3 => any::<usize>().prop_map(Step::Settle),
        1 => (0u64..40).prop_map(Step::SettleThrough),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => (0u64..200_000).prop_map(Step::Tick),
        1 => Just(Step::Reopen),
    ]
}

/// Whatever was done to a spool, and what must still be in it.
struct History {
    dir: tempfile::TempDir,
    /// Taken and never settled, refused or dropped.
    waiting: BTreeMap<u64, Stored>,
    dropped_count: u64,
}

fn run(steps: &[Step], bytes_max: u64) -> History {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), bytes_max).unwrap();
    let mut waiting: BTreeMap<u64, Stored> = BTreeMap::new();
    let (mut boot, mut seq, mut now_ms, mut dropped_count, mut random) = (0, 0, 1_000_000, 0, StdRng::seed_from_u64(7));
    for step in steps {
        let nth = |waiting: &BTreeMap<u64, Stored>, n: usize| waiting.keys().nth(n % waiting.len().max(1)).copied();
        match step {
            Step::Append { reports, bytes } => {
                let batch: Vec<(ReportKey, Vec<u8>)> = (0..*reports)
                    .map(|_| {
                        seq += 1;
                        let body = (0..*bytes).map(|_| random.random::<u8>()).collect();
                        (ReportKey { boot: format!("b{boot}"), seq }, body)
                    })
                    .collect();
                let positions = spool.append_all(&batch).unwrap();
                assert_eq!(positions.end - positions.start, *reports as u64);
                waiting.extend(positions.zip(batch.into_iter().map(|(key, body)| Stored { key, body })));
                // The oldest give way, and only when the spool is full.
                let kept = spool.unsettled(0, usize::MAX);
                let dropped: Vec<u64> = waiting.keys().copied().filter(|position| !kept.contains(position)).collect();
                assert!(dropped.iter().all(|position| kept.first().is_some_and(|oldest| position < oldest)), "{dropped:?} {kept:?}");
                assert!(dropped.is_empty() || spool.bytes() > bytes_max / 2);
                dropped_count += dropped.len() as u64;
                dropped.iter().for_each(|position| drop(waiting.remove(position)));
            }
            Step::Boot => (boot, seq) = (boot + 1, 0),
            Step::Settle(n) => {
                if let Some(position) = nth(&waiting, *n) {
                    spool.settle(position).unwrap();
                    waiting.remove(&position);
                }
            }
            Step::SettleThrough(through) => {
                let name = format!("b{boot}");
                let settled = spool.settle_through(&name, *through, &[]).unwrap();
                let before = waiting.len();
                waiting.retain(|_, stored| stored.key.boot != name || stored.key.seq > *through);
                assert_eq!(before - waiting.len(), settled);
            }
            Step::Refuse(n) => {
                if let Some(position) = nth(&waiting, *n) {
                    spool.refuse(position, "payload", None).unwrap().unwrap();
                    waiting.remove(&position);
                }
            }
            Step::Tick(step_ms) => {
                now_ms += step_ms;
                spool.tick(now_ms).unwrap();
            }
            Step::Reopen => {
                spool.save_marks().unwrap();
                drop(spool);
                spool = Spool::open(dir.path(), bytes_max).unwrap();
                spool.tick(now_ms).unwrap();
                assert_eq!(spool.unreadable_count(), 0);
            }
        }
    }
    spool.save_marks().unwrap();
    History { dir, waiting, dropped_count }
}

/// What is read from a spool at each unsettled position, and how many are counted as unreadable.
fn opened(dir: &Path, bytes_max: u64) -> (BTreeMap<u64, Stored>, u64) {
    let mut spool = Spool::open(dir, bytes_max).unwrap();
    let positions = spool.unsettled(0, usize::MAX);
    let read = positions.into_iter().map(|position| (position, spool.read(position).unwrap().expect("what is unsettled can be read")));
    let read = read.collect();
    (read, spool.unreadable_count())
}

/// Where each record stands in a file.
fn records(path: &Path, first: u64) -> Vec<(u64, Range<usize>)> {
    let mut starts = Vec::new();
    let end = scan(&File::open(path).unwrap(), first..u64::MAX, |at, frame| {
        starts.push((frame.position, at as usize));
        Ok(())
    });
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([end.unwrap() as usize]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|((position, start), end)| (position, start..end)).collect()
}

/// `waiting` without what stands at `lost`; says how many that were.
fn without(waiting: &BTreeMap<u64, Stored>, lost: impl Fn(u64) -> bool) -> (BTreeMap<u64, Stored>, u64) {
    let left: BTreeMap<u64, Stored> =
        waiting.iter().filter(|(position, _)| !lost(**position)).map(|(position, stored)| (*position, stored.clone())).collect();
    let lost_count = (waiting.len() - left.len()) as u64;
    (left, lost_count)
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
    to
}

proptest! {
    // Each case opens the spool once for every byte of a file.
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_cut_at_any_byte_loses_only_what_was_cut_and_counts_it(
        steps in prop::collection::vec((1usize..4, 0usize..60).prop_map(|(reports, bytes)| Step::Append { reports, bytes }), 2..4),
        settled in any::<usize>(),
    ) {
        let history = run(&[steps, vec![Step::Settle(settled)]].concat(), BYTES_MAX);
        let (first, path) = Segment::list(history.dir.path()).unwrap().pop().unwrap();
        let (whole, records) = (std::fs::read(&path).unwrap(), records(&path, first));
        for cut in 0..whole.len() {
            let copied = copy(history.dir.path());
            std::fs::write(copied.path().join(path.file_name().unwrap()), &whole[..cut]).unwrap();
            let lost = |position| records.iter().any(|(at, bytes)| *at == position && bytes.end > cut);
            prop_assert_eq!(opened(copied.path(), BYTES_MAX), without(&history.waiting, lost), "cut at byte {}", cut);
            // What comes next has a position of its own.
            let mut spool = Spool::open(copied.path(), BYTES_MAX).unwrap();
            prop_assert_eq!(spool.append(&ReportKey { boot: "next".into(), seq: 1 }, b"{}").unwrap(), records.last().unwrap().0 + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_done_what_waits_is_read_unchanged_after_a_restart(steps in prop::collection::vec(step(), 1..80)) {
        let history = run(&steps, BYTES_MAX / 2);
        prop_assert_eq!(opened(history.dir.path(), BYTES_MAX / 2), (history.waiting, 0));
    }

    #[test]
    fn a_changed_byte_anywhere_costs_at_most_its_own_record(
        steps in prop::collection::vec(step(), 4..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 12),
    ) {
        let history = run(&steps, BYTES_MAX);
        let list = Segment::list(history.dir.path()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(history.dir.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
        names.retain(|name| history.dir.path().join(name).metadata().unwrap().len() > 0);
        names.sort();
        prop_assume!(!names.is_empty());
        for (file, byte, change) in changes {
            let copied = copy(history.dir.path());
            let path = copied.path().join(file.get(&names));
            let mut content = std::fs::read(&path).unwrap();
            let at = byte.index(content.len());
            content[at] ^= change;
            let records = list.iter().find(|(_, of)| of.file_name() == path.file_name()).map_or(vec![], |(first, _)| records(&path, *first));
            std::fs::write(&path, content).unwrap();
            let lost = |position| records.iter().any(|(of, bytes)| *of == position && bytes.contains(&at));
            let (left, lost_count) = without(&history.waiting, lost);
            let (read, unreadable_count) = opened(copied.path(), BYTES_MAX);
            for (position, stored) in &left {
                prop_assert_eq!(read.get(position), Some(stored), "byte {} of {:?}", at, path);
            }
            prop_assert_eq!(unreadable_count, lost_count, "byte {} of {:?}", at, path);
            if list.iter().any(|(_, of)| of.file_name() == path.file_name()) {
                prop_assert_eq!(read.len(), left.len(), "nothing settled comes back");
            }
        }
    }
}

#[test]
fn the_histories_also_drop() {
    let steps = vec![Step::Append { reports: 2, bytes: 50_000 }; 20];
    let history = run(&steps, BYTES_MAX);
    assert!(history.dropped_count > 10 && history.waiting.len() > 10, "{} {}", history.dropped_count, history.waiting.len());
}

#[test]
fn unreadable_reports_between_others_of_their_boot_are_told_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    let reports: Vec<_> = (1..=9).map(|seq| (ReportKey { boot: "b7".into(), seq }, format!("{{\"seq\":{seq}}}").into_bytes())).collect();
    spool.append_all(&reports).unwrap();
    spool.save_marks().unwrap();
    drop(spool);
    let path = dir.path().join("0000000000000000.spool");
    let records = records(&path, 0);
    let mut content = std::fs::read(&path).unwrap();
    content[records[3].1.start..records[4].1.end].fill(0xFF);
    content[records[8].1.end - 1] ^= 1;
    std::fs::write(&path, content).unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!(spool.unreadable_count(), 3);
    assert_eq!(spool.dropped(), [DroppedRange { boot: "b7".into(), first: 4, last: 5 }], "behind the last nothing is known");
    assert_eq!(spool.unsettled(0, 100), [0, 1, 2, 5, 6, 7]);
    assert_eq!(spool.settle_through("b7", 7, &[]).unwrap(), 5);
    spool.save_marks().unwrap();
    drop(spool);
    assert_eq!(Spool::open(dir.path(), BYTES_MAX).unwrap().unreadable_count(), 0, "they are counted once");
}

#[test]
fn a_report_that_is_damaged_while_the_agent_runs_is_given_up_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    for seq in 1..=3 {
        spool.append(&ReportKey { boot: "b7".into(), seq }, b"{}").unwrap();
    }
    let path = dir.path().join("0000000000000000.spool");
    let at = records(&path, 0)[1].1.end - 1;
    let mut content = std::fs::read(&path).unwrap();
    content[at] ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_eq!(spool.read(1).unwrap(), None);
    assert_eq!((spool.unreadable_count(), spool.unsettled(0, 9)), (1, vec![0, 2]));
    assert_eq!(spool.dropped(), [DroppedRange { boot: "b7".into(), first: 2, last: 2 }]);
}

#[test]
fn a_file_that_vanished_is_counted_and_one_that_was_settled_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    let noise: Vec<u8> = StdRng::seed_from_u64(1).random_iter().take(50_000).collect();
    for seq in 1..=6 {
        spool.append(&ReportKey { boot: "b7".into(), seq }, &noise).unwrap();
    }
    spool.settle(2).unwrap();
    spool.save_marks().unwrap();
    drop(spool);
    let list = Segment::list(dir.path()).unwrap();
    assert_eq!(list.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [0, 1, 3, 4, 5]);
    std::fs::remove_file(&list[3].1).unwrap();
    std::fs::remove_file(&list[0].1).unwrap();
    let spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!((spool.unreadable_count(), spool.unsettled(0, 9)), (2, vec![1, 3, 5]));
}

/// What version 0.1.0 wrote: reports 1 to 3 of boot `b7`.
const FIRST_FORMAT: &str = concat!(
    "535953504f4f4c31",
    "2e000000116fe9dd000000000000000001000000000000000262377b2276223a312c22626f6f74223a226237222c22736571223a317d",
    "2e00000006468e6d010000000000000002000000000000000262377b2276223a312c22626f6f74223a226237222c22736571223a327d",
    "2e00000063dc93fd020000000000000003000000000000000262377b2276223a312c22626f6f74223a226237222c22736571223a337d",
);
const FIRST_RECORD_BYTES: usize = 54;

fn first_format() -> Vec<u8> {
    (0..FIRST_FORMAT.len()).step_by(2).map(|at| u8::from_str_radix(&FIRST_FORMAT[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_spool_of_the_first_format_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0000000000000000.spool"), first_format()).unwrap();
    std::fs::write(dir.path().join("marks.json"), r#"{"through":1,"above":[],"dropped":[{"boot":"b6","first":1,"last":4}]}"#).unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!(spool.unsettled(0, 9), [1, 2]);
    let expected = Stored { key: ReportKey { boot: "b7".into(), seq: 2 }, body: br#"{"v":1,"boot":"b7","seq":2}"#.to_vec() };
    assert_eq!(spool.read(1).unwrap(), Some(expected));
    assert_eq!(spool.dropped(), [DroppedRange { boot: "b6".into(), first: 1, last: 4 }]);
    assert_eq!(spool.append(&ReportKey { boot: "b8".into(), seq: 1 }, b"{}").unwrap(), 3);
    assert_eq!(spool.settle_through("b7", 2, &[]).unwrap(), 1);
    spool.save_marks().unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    assert_eq!((spool.unsettled(0, 9), spool.unreadable_count()), (vec![2, 3], 0));
    assert_eq!(spool.read(3).unwrap().unwrap().key.boot, "b8");
    assert!(!dir.path().join("marks.json").exists());
}

#[test]
fn damage_in_a_spool_of_the_first_format_costs_its_record_alone() {
    for at in 8..8 + 3 * FIRST_RECORD_BYTES {
        let dir = tempfile::tempdir().unwrap();
        let mut content = first_format();
        content[at] ^= 0x40;
        std::fs::write(dir.path().join("0000000000000000.spool"), content).unwrap();
        let lost = ((at - 8) / FIRST_RECORD_BYTES) as u64;
        let read = opened(dir.path(), BYTES_MAX).0;
        assert_eq!(read.into_keys().collect::<Vec<_>>(), (0..3).filter(|position| *position != lost).collect::<Vec<_>>(), "byte {at}");
    }
}
