//! Segments of the evidence log, raw and sealed, with anything in them.
//!
//! The first byte of an input says which case it is; the rest is the segment's content.

use std::path::{Path, PathBuf};

use store::{BlockBuilder, Log, LogOptions, LogPosition, Record, Scanned, Vouched, scan, seal_next};
use wire::identity::Sender;

use super::memory::MemoryDisk;
use super::{Target, crc32c};

pub(crate) const TARGET: Target = Target { name: "log", run, seeds, words: WORDS };

/// The segment is a sealed one.
const SEALED: u8 = 1;
/// Checksums are made right, so that what they guard is reached.
const CHECKSUMS_RIGHT: u8 = 2;
/// A sound segment follows, which begins where the one before ended in the seeds.
const FOLLOWED: u8 = 4;

const DIR: &str = "/log";
const OPTIONS: LogOptions = LogOptions { segment_bytes: 4 << 10, grow_bytes: 256 };
const BLOCKS: u64 = 6;
const HEADER_BYTES: usize = 56;
const CRC_AT: usize = 52;
const INDEX_ENTRY_BYTES: usize = 20;

/// One pass over the log.
#[derive(Debug, PartialEq)]
struct Pass {
    blocks: Vec<Vec<u8>>,
    scanned: Scanned,
}

pub(crate) fn run(input: &[u8]) {
    let Some((case, content)) = input.split_first() else { return };
    let mut content = content.to_vec();
    if case & CHECKSUMS_RIGHT != 0 {
        if case & SEALED != 0 { right_index(&mut content) } else { right_blocks(&mut content) }
    }
    let name = if case & SEALED != 0 { "segz" } else { "seg" };
    let mut files = vec![(path(0, name), content)];
    if case & FOLLOWED != 0 {
        files.push((path(BLOCKS, "seg"), sound_segment(BLOCKS)));
    }
    let disk = MemoryDisk::with(files);
    let before = pass(&disk);
    accounts_for_every_block(&before);
    goes_on(&disk, &before);
    seals_alike(&disk);
}

fn path(first_block: u64, form: &str) -> PathBuf {
    Path::new(DIR).join(format!("{first_block:020}.{form}"))
}

fn pass(disk: &MemoryDisk) -> Pass {
    let mut blocks = Vec::new();
    let scanned = scan(disk, Path::new(DIR), LogPosition::default(), None, |stretch| {
        assert!(stretch.records().all(|(_, record)| record.sender.id().len() <= record_bytes(&stretch.blocks)));
        blocks.extend(stretch.blocks.iter().map(|block| block.to_vec()));
    });
    Pass { blocks, scanned: scanned.unwrap() }
}

fn record_bytes(blocks: &[&[u8]]) -> usize {
    blocks.iter().map(|block| block.len()).sum()
}

/// Each block is sound by our own reckoning, or named as damaged; none is passed over in silence or told twice.
fn accounts_for_every_block(pass: &Pass) {
    let mut told: Vec<_> = pass.scanned.damaged.iter().map(|damaged| damaged.blocks.clone()).collect();
    for block in &pass.blocks {
        assert!(block.len() >= HEADER_BYTES && is_magic(&block[..4]) && block.len() == HEADER_BYTES + u32_at(block, 4));
        assert_eq!(block_crc(block), u32_at(block, CRC_AT), "a block with a wrong checksum was handed on");
        let number = u64::from_le_bytes(block[8..16].try_into().unwrap());
        told.push(number..number + 1);
    }
    told.sort_by_key(|blocks| blocks.start);
    let end = told.iter().fold(0, |next, blocks| {
        assert!(blocks.start == next && blocks.end > next, "{told:?}");
        blocks.end
    });
    assert_eq!(pass.scanned.end.block(), end);
}

/// The log opens, takes one more record, and what could be read before still can.
fn goes_on(disk: &MemoryDisk, before: &Pass) {
    let (mut log, scanned) = Log::open(disk.clone(), Path::new(DIR), OPTIONS, LogPosition::default(), |_| {}).unwrap();
    assert_eq!(scanned, before.scanned);
    let number = log.append(block(9)).unwrap();
    assert_eq!(number, before.scanned.end.block());
    let after = pass(disk);
    let (last, rest) = after.blocks.split_last().unwrap();
    assert_eq!(rest, before.blocks);
    assert_eq!(u64::from_le_bytes(last[8..16].try_into().unwrap()), number);
    assert_eq!((after.scanned.end.block(), &after.scanned.torn), (number + 1, &None));
    assert_eq!(damaged(&after), damaged(before));
    assert_eq!(after.scanned.end.root(), log.end().root());
}

/// Why they cannot be read may be another once the tail is cut, where one seems to reach into it.
fn damaged(pass: &Pass) -> Vec<(u64, std::ops::Range<u64>)> {
    pass.scanned.damaged.iter().map(|damaged| (damaged.byte, damaged.blocks.clone())).collect()
}

/// Whatever can be sealed reads as before.
fn seals_alike(disk: &MemoryDisk) {
    let before = pass(disk);
    while let Ok(Some(_)) = seal_next(disk, Path::new(DIR), 0) {
        let after = pass(disk);
        assert_eq!((&after.blocks, after.scanned.end.root()), (&before.blocks, before.scanned.end.root()));
    }
}

fn right_blocks(content: &mut [u8]) {
    let mut at = 0;
    while content.get(at..at + 4).is_some_and(is_magic) {
        let Some(header) = content.get(at..at + HEADER_BYTES) else { return };
        let end = at + HEADER_BYTES + u32_at(header, 4);
        let Some(block) = content.get(at..end) else { return };
        let crc = (block_crc(block) as u32).to_le_bytes();
        content[at + CRC_AT..at + HEADER_BYTES].copy_from_slice(&crc);
        at = end;
    }
}

fn right_index(content: &mut [u8]) {
    let Some(count_at) = content.len().checked_sub(8) else { return };
    let frames = u32_at(content, count_at);
    let Some(index_at) = count_at.checked_sub(frames.saturating_mul(INDEX_ENTRY_BYTES)) else { return };
    let crc = crc32c::of(&[&content[index_at..count_at + 4]]).to_le_bytes();
    content[count_at + 4..].copy_from_slice(&crc);
}

/// Of blocks as they are written, and as they stand in older logs.
fn is_magic(bytes: &[u8]) -> bool {
    bytes == b"SYB2" || bytes == b"SYB1"
}

fn block_crc(block: &[u8]) -> usize {
    crc32c::of(&[&block[..CRC_AT], &block[HEADER_BYTES..]]) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Three records, by one sender of each kind.
fn block(n: u64) -> BlockBuilder {
    let mut builder = BlockBuilder::default();
    let body = "水".repeat(n as usize);
    for sender in [Sender::Gateway("g".into()), Sender::Supplier("供应商".into()), Sender::Carrier("".into())] {
        builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: n as i64, body: body.as_bytes() });
    }
    builder
}

/// A raw segment that begins at this block.
fn sound_segment(first_block: u64) -> Vec<u8> {
    let mut content = Vec::new();
    for number in first_block..first_block + BLOCKS {
        content.extend(block(number).finish(number, &[number as u8; 32]).bytes);
    }
    content
}

fn seeds() -> Vec<Vec<u8>> {
    let raw = [&sound_segment(0)[..], &[0; 100]].concat();
    let disk = MemoryDisk::with([(path(0, "seg"), raw.clone()), (path(BLOCKS, "seg"), sound_segment(BLOCKS))]);
    seal_next(&disk, Path::new(DIR), 0).unwrap().unwrap();
    let sealed = store::Disk::read(&disk, &path(0, "segz")).unwrap();
    let cases = [0, FOLLOWED, CHECKSUMS_RIGHT, CHECKSUMS_RIGHT | FOLLOWED];
    let seed = |case: u8, content: &[u8]| [&[case], content].concat();
    cases.iter().flat_map(|case| [seed(*case, &raw), seed(case | SEALED, &sealed)]).collect()
}

const WORDS: &[&[u8]] = &[
    b"SYB2",
    b"SYB1",
    b"SYZ1",
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x01\x00\x00\x00\x00\x00\x00\x00",
    b"\x06\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x04",
    b"\x28\xb5\x2f\xfd",
];
