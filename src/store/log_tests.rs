use std::fs;
use std::path::Path;

use super::*;
use crate::block::{Record, Vouched};
use crate::disk::OsDisk;
use crate::scan::{DamagedBlocks, TornTail};
use crate::seal::seal_next;
use crate::segments::sealed_path;
use wire::identity::Sender;

const SMALL: LogOptions = LogOptions { segment_bytes: 4096, grow_bytes: 1024 };

fn one(body: &str) -> BlockBuilder {
    let mut builder = BlockBuilder::default();
    let sender = Sender::Gateway("g".into());
    builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: 1, body: body.as_bytes() });
    builder
}

fn read(stretch: &Stretch<'_>) -> Vec<String> {
    stretch.records().map(|(_, record)| String::from_utf8(record.body.to_vec()).unwrap()).collect()
}

fn open(dir: &Path) -> (Log<OsDisk>, Vec<String>, Scanned) {
    let mut bodies = Vec::new();
    let (log, scanned) = Log::open(OsDisk, dir, SMALL, LogPosition::default(), |stretch| bodies.extend(read(&stretch))).unwrap();
    (log, bodies, scanned)
}

fn filled(dir: &Path, count: usize) -> (Vec<String>, LogPosition) {
    let mut log = open(dir).0;
    let written: Vec<String> = (0..count).map(|i| format!("{i:0>200}")).collect();
    for body in &written {
        log.append(one(body)).unwrap();
    }
    (written, log.end().clone())
}

#[test]
fn what_was_appended_is_read_again_over_several_segments_with_the_same_root() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).0;
    let mut middle = LogPosition::default();
    for i in 0..50 {
        assert_eq!(log.append(one(&format!("{i:0>200}"))).unwrap(), i);
        if i == 29 {
            middle = log.end().clone();
        }
        if i % 10 == 0 {
            prepare_segment(&OsDisk, dir.path(), SMALL.segment_bytes).unwrap();
        }
    }
    let (_, all, scanned) = open(dir.path());
    assert_eq!((all.len(), &scanned.torn, &scanned.end), (50, &None, log.end()));
    let mut after = 0;
    let read = scan(&OsDisk, dir.path(), middle, None, |stretch| after += stretch.records().count()).unwrap();
    assert_eq!((&read.end, after), (log.end(), 20));
    assert!(segments(&OsDisk, dir.path()).unwrap().len() > 2);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_kept_aside_and_what_came_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (written, end) = filled(dir.path(), 3);
    let path = segment_path(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    let block = end.byte as usize / 3;
    for keep in 0..block {
        let mut torn_bytes = whole[..2 * block + keep].to_vec();
        torn_bytes.extend(vec![0; 300]);
        fs::write(&path, torn_bytes).unwrap();
        let (_, read, scanned) = open(dir.path());
        assert_eq!(read, written[..2], "cut at {keep}");
        assert_eq!(scanned.torn.is_some(), keep > 0);
        assert_eq!(scanned.end.byte as usize, 2 * block);
        if let Some(TornTail { bytes, .. }) = scanned.torn {
            let kept = fs::read_dir(dir.path().join(DAMAGED_DIR)).unwrap().flatten().map(|entry| fs::read(entry.path()).unwrap());
            assert!(kept.into_iter().any(|kept| kept == bytes));
        }
    }
    open(dir.path()).0.append(one("after")).unwrap();
    assert_eq!(open(dir.path()).1, [written[0].clone(), written[1].clone(), "after".to_string()]);
}

#[test]
fn a_damaged_block_is_named_and_passed_over_and_the_tree_goes_on_as_if_it_were_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (written, end) = filled(dir.path(), 40);
    for block in [1u64, 12, 37] {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let (segment, _) = segments(&OsDisk, dir.path()).unwrap().range(..=block).next_back().map(|(s, f)| (*s, *f)).unwrap();
        let path = segment_path(copy.path(), segment);
        let mut bytes = fs::read(&path).unwrap();
        let length = end.byte as usize / (end.block() - end.segment) as usize;
        bytes[(block - segment) as usize * length + 100] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let (mut log, read, scanned) = open(copy.path());
        let mut expected = written.clone();
        expected.remove(block as usize);
        assert_eq!(read, expected);
        assert!(
            matches!(&scanned.damaged[..], [DamagedBlocks { blocks, leaves_known: true, .. }] if *blocks == (block..block + 1)),
            "{:?}",
            scanned.damaged
        );
        assert_eq!(scanned.end, end, "root and position");
        log.append(one("after")).unwrap();
        assert_eq!(open(copy.path()).1.last().unwrap(), "after");
    }
}

#[test]
fn any_flipped_bit_of_raw_and_sealed_segments_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (written, _) = filled(dir.path(), 30);
    seal_next(&OsDisk, dir.path(), 0).unwrap().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    for path in names {
        let sound = fs::read(&path).unwrap();
        let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..used).step_by(61) {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            let mut bodies = Vec::new();
            let scanned = scan(&OsDisk, dir.path(), LogPosition::default(), None, |stretch| bodies.extend(read(&stretch))).unwrap();
            let found = scanned.torn.is_some() || !scanned.damaged.is_empty();
            // A bit of the compressed form that decompresses to the same blocks has damaged nothing.
            assert!(found || bodies == written, "{} byte {at}", path.display());
            assert!(bodies.iter().all(|body| written.contains(body)));
        }
        fs::write(&path, sound).unwrap();
    }
}

#[test]
fn a_missing_segment_is_damage_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (written, end) = filled(dir.path(), 60);
    let all: Vec<u64> = segments(&OsDisk, dir.path()).unwrap().into_keys().collect();
    fs::remove_file(segment_path(dir.path(), all[1])).unwrap();
    let (_, read, scanned) = open(dir.path());
    assert_eq!(scanned.damaged.len(), 1);
    assert_eq!((&scanned.damaged[0].blocks, scanned.damaged[0].leaves_known), (&(all[1]..all[2]), false));
    assert_eq!(read.len(), written.len() - (all[2] - all[1]) as usize);
    assert_eq!(scanned.end.block(), end.block());
    assert_ne!(scanned.end.root(), end.root(), "the tree cannot know what is gone");
}

#[test]
fn sealed_segments_hold_the_same_blocks_and_the_newest_stays_raw() {
    let dir = tempfile::tempdir().unwrap();
    let (written, end) = filled(dir.path(), 60);
    let mut sealed = 0;
    while let Some(done) = seal_next(&OsDisk, dir.path(), 0).unwrap() {
        assert!(sealed_path(dir.path(), done.first_block).exists() && !segment_path(dir.path(), done.first_block).exists());
        assert!(done.sealed_bytes < done.raw_bytes / 3, "{done:?}");
        sealed += 1;
    }
    assert!(sealed > 2);
    let (mut log, read, scanned) = open(dir.path());
    assert_eq!((read, &scanned.end, scanned.damaged.len()), (written, &end, 0));
    log.append(one("after")).unwrap();
    assert_eq!(open(dir.path()).1.last().unwrap(), "after");
}
