//! Runs against a plain map: what is written is read again by range, by key and merged, and damage is always found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tally::{Key, kind};

use crate::page::RunFault;
use crate::run_file::{Run, RunError, RunPlan, RunWriter};
use crate::run_merge::Merged;
use crate::run_scan::{Finder, Scan};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;
type InOrder = Vec<(Vec<u8>, Vec<u8>)>;

fn written(path: &Path, records: &Records, page_bytes: usize) -> Arc<Run> {
    let filter_bytes = crate::filter::filter_bytes(records.keys().filter(|key| key[0] == kind::ID).count() as u64);
    let mut writer = RunWriter::create(path.to_path_buf(), RunPlan { page_bytes, filter_bytes }).unwrap();
    records.iter().for_each(|(key, value)| writer.push(key, value).unwrap());
    Arc::new(writer.finish().unwrap())
}

fn scanned(run: &Arc<Run>, from: &[u8], until: &[u8], read_ahead: usize) -> Result<InOrder, RunError> {
    let mut scan = Scan::new(run, from, until, read_ahead)?;
    let mut list = Vec::new();
    while scan.next()? {
        list.push((scan.key().to_vec(), scan.value().to_vec()));
    }
    Ok(list)
}

/// What carriers said, in bytes that can be merged.
fn carrier_records() -> impl Strategy<Value = Records> {
    let key = (0u8..3, 0i32..40, 0u8..4).prop_map(|(enterprise, day, line)| {
        Key::default().begin(kind::CARRIER_DAY).name([b'e', enterprise]).name("P").day(day).name([b'l', line]).0.clone()
    });
    // Form, sessions, bytes, no figure of devices; sums stay in one byte.
    prop::collection::btree_map(key, (0u8..20).prop_map(|sessions| vec![1, sessions, 0, 0]), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ranges_and_single_records_are_those_of_a_map(
        records in prop::collection::btree_map(prop::collection::vec(b'a'..=b'c', 1..7), prop::collection::vec(any::<u8>(), 0..30), 0..900),
        page_bytes in 30usize..400,
        read_ahead in 1usize..4_000,
        bounds in prop::collection::vec((prop::collection::vec(b'a'..=b'd', 0..6), prop::collection::vec(b'a'..=b'd', 0..6)), 20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let run = written(&dir.path().join("facts-1.run"), &records, page_bytes);
        let again = Arc::new(Run::open(run.path().to_path_buf()).unwrap());
        prop_assert_eq!((again.records(), again.bytes()), (records.len() as u64, fs::metadata(run.path()).unwrap().len()));
        let mut finder = Finder::new(&again);
        for (from, until) in bounds {
            let expected: Vec<_> = if from < until {
                records.range(from.clone()..until.clone()).map(|(key, value)| (key.clone(), value.clone())).collect()
            } else {
                Vec::new()
            };
            prop_assert_eq!(scanned(&again, &from, &until, read_ahead).unwrap(), expected);
            let at_or_below = records.range(..=from.clone()).next_back().map(|(key, value)| (key.clone(), value.clone()));
            let found = finder.at_or_below(&from).unwrap().map(|found| (found.key, found.value.to_vec()));
            prop_assert_eq!(found, at_or_below);
        }
    }

    #[test]
    fn runs_merged_in_any_order_are_one_run_with_everything(mut parts in prop::collection::vec(carrier_records(), 1..6), turn in 0usize..6) {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Records::new();
        for (key, value) in parts.iter().flatten() {
            all.entry(key.clone()).and_modify(|kept| kept[1] += value[1]).or_insert_with(|| value.clone());
        }
        let turn = turn % parts.len();
        parts.rotate_left(turn);
        let path = |number: usize| dir.path().join(format!("facts-{number}.run"));
        let runs: Vec<_> = parts.iter().enumerate().map(|(number, part)| written(&path(number), part, 200)).collect();
        let mut merged = Merged::new(runs.iter().map(|run| Scan::new(run, &[], &[u8::MAX], 500).unwrap()).collect()).unwrap();
        let mut read = Records::new();
        while merged.next().unwrap() {
            prop_assert!(read.last_key_value().is_none_or(|(last, _)| last.as_slice() < merged.key()));
            read.insert(merged.key().to_vec(), merged.value().to_vec());
        }
        prop_assert_eq!(read, all);
    }
}

fn many() -> Records {
    (0u32..3_000).map(|n| (format!("d{:06}", n * 7).into_bytes(), n.to_le_bytes().repeat(3))).collect()
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_is_damage_that_is_named_and_never_other_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts-1.run");
    let records = many();
    let expected: Vec<_> = records.clone().into_iter().collect();
    drop(written(&path, &records, 500));
    let sound = fs::read(&path).unwrap();
    let read = || Run::open(path.clone()).and_then(|run| scanned(&Arc::new(run), b"d", b"e", 2_000));
    assert_eq!(read().unwrap(), expected);
    for at in (0..sound.len()).step_by(61) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let error = read().err().unwrap_or_else(|| panic!("byte {at} of {}", sound.len()));
        assert!(matches!(error, RunError::Damaged { .. }), "{error}");
        fs::write(&path, &sound[..at]).unwrap();
        assert!(matches!(read(), Err(RunError::Damaged { .. })), "cut at {at}");
    }
    fs::write(&path, [&sound[..], &[0; 64]].concat()).unwrap();
    assert!(matches!(read(), Err(RunError::Damaged { fault: RunFault::Footer, .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(), Err(RunError::Gone(gone)) if gone == path));
}

#[test]
fn an_empty_run_has_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = written(&dir.path().join("facts-1.run"), &Records::new(), 500);
    assert!(scanned(&run, &[], &[u8::MAX], 100).unwrap().is_empty());
    assert!(Finder::new(&run).at_or_below(b"d").unwrap().is_none());
    assert!(!run.has_kind(kind::DEVICE_DAY));
}
