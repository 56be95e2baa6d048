//! A sealed segment: its blocks, compressed in frames of about 1 MiB, so that damage to one leaves the others readable.
//!
//! Magic `SYZ1`; the frames (zstd); the index: per frame first block u64, blocks u32, compressed length u32, raw length u32; then the number
//! of frames u32 and CRC32C u32 over index and number. All numbers little-endian. The blocks keep their own CRC32C.

use std::ops::Range;

use crate::block::{self, BlockError};

const MAGIC: [u8; 4] = *b"SYZ1";
const ENTRY_BYTES: usize = 20;
const END_BYTES: usize = 8;
const FRAME_BYTES: usize = 1 << 20;
/// A frame holds whole blocks: one more than `FRAME_BYTES` at most, and a block is bounded by its group.
const RAW_BYTES_MAX: usize = 64 << 20;
/// Denser levels gain little on reports and cost much.
const LEVEL: i32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error("it is no sealed segment, or its index is damaged")]
    Index,
    #[error("frame {0} cannot be decompressed")]
    Frame(usize),
    #[error("block {block}: {fault}")]
    Block { block: u64, fault: BlockError },
}

struct Frame {
    compressed: Range<usize>,
    raw_bytes: usize,
}

/// Compresses whole sound blocks, the first of them with the number `first_block`.
pub fn seal(blocks: &[u8], first_block: u64) -> Result<Vec<u8>, SealedError> {
    let mut out = MAGIC.to_vec();
    let mut index = Vec::new();
    let (mut rest, mut number, mut frames) = (blocks, first_block, 0u32);
    while !rest.is_empty() {
        let (first, mut length) = (number, 0);
        while length < FRAME_BYTES && length < rest.len() {
            let block = block::block_at(&rest[length..], number).map_err(|fault| SealedError::Block { block: number, fault })?;
            length += block.len();
            number += 1;
        }
        let frame = zstd::bulk::compress(&rest[..length], LEVEL).map_err(|_| SealedError::Frame(frames as usize))?;
        index.extend_from_slice(&first.to_le_bytes());
        for figure in [(number - first) as u32, frame.len() as u32, length as u32] {
            index.extend_from_slice(&figure.to_le_bytes());
        }
        out.extend_from_slice(&frame);
        frames += 1;
        rest = &rest[length..];
    }
    index.extend_from_slice(&frames.to_le_bytes());
    out.extend_from_slice(&index);
    out.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
    Ok(out)
}

/// All blocks, as they were before sealing. In the place of a frame that cannot be read stand zeros, so that the others keep their
/// places: its blocks are missing, and are named as such.
pub fn unseal(sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
    let frames = frames(sealed)?;
    let mut blocks = Vec::with_capacity(frames.iter().map(|frame| frame.raw_bytes).sum());
    for frame in &frames {
        let end = blocks.len() + frame.raw_bytes;
        if let Ok(raw) = zstd::bulk::decompress(&sealed[frame.compressed.clone()], frame.raw_bytes) {
            blocks.extend_from_slice(&raw);
        }
        blocks.resize(end, 0);
    }
    Ok(blocks)
}

/// Whether it holds exactly these blocks; one frame at a time is unpacked for that.
pub fn gives_back(sealed: &[u8], blocks: &[u8]) -> bool {
    let Ok(frames) = frames(sealed) else { return false };
    let mut rest = Some(blocks);
    for frame in &frames {
        let split = rest.and_then(|rest| rest.split_at_checked(frame.raw_bytes));
        let unpacked = zstd::bulk::decompress(&sealed[frame.compressed.clone()], frame.raw_bytes);
        rest = split.filter(|(raw, _)| unpacked.is_ok_and(|unpacked| unpacked == *raw)).map(|(_, rest)| rest);
    }
    rest.is_some_and(<[u8]>::is_empty)
}

fn frames(sealed: &[u8]) -> Result<Vec<Frame>, SealedError> {
    let (before, end) = sealed.split_at_checked(sealed.len().wrapping_sub(END_BYTES)).ok_or(SealedError::Index)?;
    let count = u32_at(end, 0) as usize;
    let index_bytes = count.checked_mul(ENTRY_BYTES).ok_or(SealedError::Index)?;
    let index_at = before.len().checked_sub(index_bytes).ok_or(SealedError::Index)?;
    let sound = sealed.starts_with(&MAGIC) && crc32c::crc32c(&sealed[index_at..sealed.len() - 4]) == u32_at(end, 4);
    if !sound {
        return Err(SealedError::Index);
    }
    let mut at = MAGIC.len();
    let mut frames = Vec::with_capacity(count);
    for entry in before[index_at..].chunks_exact(ENTRY_BYTES) {
        let compressed = at..at + u32_at(entry, 12) as usize;
        let raw_bytes = u32_at(entry, 16) as usize;
        if compressed.end > index_at || raw_bytes > RAW_BYTES_MAX {
            return Err(SealedError::Index);
        }
        at = compressed.end;
        frames.push(Frame { compressed, raw_bytes });
    }
    Ok(frames)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockBuilder, Record, Vouched};
    use wire::identity::Sender;

    fn blocks(first: u64, count: u64, body_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in first..first + count {
            let mut builder = BlockBuilder::default();
            let body: Vec<u8> = (0..body_bytes).map(|i| (i as u64 * number % 251) as u8).collect();
            let sender = Sender::Gateway("g".into());
            builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: 1, body: &body });
            bytes.extend(builder.finish(number, &[0; 32]).bytes);
        }
        bytes
    }

    #[test]
    fn a_sealed_segment_gives_back_every_block() {
        let raw = blocks(7, 40, 100_000);
        let sealed = seal(&raw, 7).unwrap();
        assert!(sealed.len() < raw.len() / 2);
        assert!(frames(&sealed).unwrap().len() > 2);
        assert_eq!(unseal(&sealed).unwrap(), raw);
        assert!(gives_back(&sealed, &raw));
    }

    #[test]
    fn other_blocks_are_told_from_those_that_were_sealed() {
        let raw = blocks(7, 40, 100_000);
        let sealed = seal(&raw, 7).unwrap();
        assert!(!gives_back(&sealed, &raw[..raw.len() - 1]));
        assert!(!gives_back(&sealed, &[&raw[..], &[0]].concat()));
        for at in [0, raw.len() / 2, raw.len() - 1] {
            let mut other = raw.clone();
            other[at] ^= 1;
            assert!(!gives_back(&sealed, &other), "byte {at}");
        }
        assert!(!gives_back(&sealed[..sealed.len() - 1], &raw));
    }

    #[test]
    fn a_flipped_bit_costs_one_frame_at_most() {
        let raw = blocks(0, 40, 100_000);
        let sealed = seal(&raw, 0).unwrap();
        for at in (0..sealed.len()).step_by(sealed.len() / 97) {
            let mut damaged = sealed.clone();
            damaged[at] ^= 4;
            if let Ok(read) = unseal(&damaged) {
                assert_eq!(read.len(), raw.len(), "what is sound keeps its place");
                let changed = read.iter().zip(&raw).filter(|(read, raw)| read != raw).count();
                assert!(changed <= FRAME_BYTES + 101_000, "byte {at}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_is_no_sealed_segment() {
        let sealed = seal(&blocks(0, 3, 1000), 0).unwrap();
        for length in 0..sealed.len() {
            assert!(unseal(&sealed[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn damaged_blocks_are_not_sealed() {
        let mut raw = blocks(0, 3, 1000);
        raw[1500] ^= 1;
        assert!(matches!(seal(&raw, 0), Err(SealedError::Block { block: 1, .. })));
    }
}
