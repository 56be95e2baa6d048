//! Reading the log from a position on: sound blocks are handed on, damaged ones are named and passed over, a torn tail ends it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::block::{self, BlockError, Record};
use crate::disk::Disk;
use crate::log::{LogError, LogPosition, at};
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::segments::{read_segment, segment_path, segments};

/// Blocks that cannot be read, and that sound ones follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedBlocks {
    pub path: PathBuf,
    pub byte: u64,
    pub blocks: Range<u64>,
    pub fault: BlockError,
    /// What stands there now.
    pub bytes: Vec<u8>,
    /// Whether the tree goes on with their true leaves, which the block behind them names.
    pub leaves_known: bool,
}

/// What was found at the end of the log: a write that was under way, or a damaged last block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub path: PathBuf,
    pub block: u64,
    pub byte: u64,
    pub fault: BlockError,
    pub bytes: Vec<u8>,
}

/// Where reading ended, and what was wrong on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    pub end: LogPosition,
    pub torn: Option<TornTail>,
    pub damaged: Vec<DamagedBlocks>,
}

/// Sound blocks of one segment, in order.
pub struct Stretch<'a> {
    pub blocks: Vec<&'a [u8]>,
}

impl<'a> Stretch<'a> {
    /// Every record with the number of its block.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record<'a>)> + '_ {
        let numbered = self.blocks.iter().map(|block| (block::block_number(block), *block));
        numbered.flat_map(|(number, block)| block::records(block).flatten().map(move |record| (number, record)))
    }
}

/// Reads blocks from `from` on. `until`: stop before the block of that number.
pub fn scan<D: Disk>(
    disk: &D,
    dir: &Path,
    from: LogPosition,
    until: Option<u64>,
    visit: impl FnMut(Stretch<'_>),
) -> Result<Scanned, LogError> {
    scan_tree(disk, dir, from, until, visit, |_| {})
}

/// As `scan`, and shows the tree after every leaf.
pub fn scan_tree<D: Disk>(
    disk: &D,
    dir: &Path,
    from: LogPosition,
    until: Option<u64>,
    mut visit: impl FnMut(Stretch<'_>),
    mut grown: impl FnMut(&Frontier),
) -> Result<Scanned, LogError> {
    let mut scanned = Scanned { end: from, ..Scanned::default() };
    loop {
        let files = segments(disk, dir).map_err(at(dir))?;
        let segment = scanned.end.segment;
        let path = segment_path(dir, segment);
        let bytes = match read_segment(disk, dir, segment).map_err(at(&path))? {
            Some(bytes) => bytes,
            None if files.range(segment..).next().is_none() && scanned.end.byte == 0 => return Ok(scanned),
            None => Vec::new(),
        };
        // One that begins before the log has come there is none of this log.
        let next_segment = files.range(segment + 1..).map(|(first, _)| *first).find(|first| *first >= scanned.end.block());
        let walk = Walk { path, bytes: &bytes, until, next_segment };
        match walk.run(&mut scanned, &mut visit, &mut grown)? {
            Onward::Ended => return Ok(scanned),
            Onward::Segment(next) => {
                let behind = scanned.end.block() < next;
                if let Some(damaged) = scanned.damaged.last_mut().filter(|damaged| behind && damaged.blocks.end == next) {
                    let following = read_segment(disk, dir, next).map_err(at(dir))?.unwrap_or_default();
                    pass_over(&mut scanned.end, damaged, block::block_at(&following, next).ok());
                    grown(&scanned.end.frontier);
                }
                scanned.end.segment = next;
                scanned.end.byte = 0;
            }
        }
    }
}

enum Onward {
    Ended,
    /// Go on with the segment that begins at this block.
    Segment(u64),
}

/// One segment's walk.
struct Walk<'a> {
    path: PathBuf,
    bytes: &'a [u8],
    until: Option<u64>,
    next_segment: Option<u64>,
}

impl<'a> Walk<'a> {
    fn run(
        &self,
        scanned: &mut Scanned,
        visit: &mut impl FnMut(Stretch<'_>),
        grown: &mut impl FnMut(&Frontier),
    ) -> Result<Onward, LogError> {
        let mut stretch = Stretch { blocks: Vec::new() };
        let onward = self.blocks(scanned, &mut stretch, grown);
        if !stretch.blocks.is_empty() {
            visit(stretch);
        }
        onward
    }

    fn blocks(&self, scanned: &mut Scanned, stretch: &mut Stretch<'a>, grown: &mut impl FnMut(&Frontier)) -> Result<Onward, LogError> {
        let beyond = LogError::Lost { path: self.path.clone(), byte: scanned.end.byte };
        let mut rest = usize::try_from(scanned.end.byte).ok().and_then(|byte| self.bytes.get(byte..));
        if rest.is_none() && self.next_segment.is_some() {
            // The segment is gone or cut: what it held is missing.
            rest = Some(&[]);
        }
        let mut rest = rest.ok_or(beyond)?;
        loop {
            let number = scanned.end.block();
            if self.until.is_some_and(|until| number >= until) {
                return Ok(Onward::Ended);
            }
            // Whatever stands behind the point where the log went on elsewhere was never acknowledged.
            if self.next_segment == Some(number) {
                return Ok(Onward::Segment(number));
            }
            let fault = match sound_block(rest, number) {
                Ok((block, leaf)) => {
                    scanned.end.frontier.push_hash(leaf);
                    grown(&scanned.end.frontier);
                    scanned.end.byte += block.len() as u64;
                    rest = &rest[block.len()..];
                    stretch.blocks.push(block);
                    continue;
                }
                Err(fault) => fault,
            };
            let following = block::first_block_above(rest, number).map(|offset| (offset, block::block_number(&rest[offset..])));
            let (skipped, next) = match following.filter(|(_, next)| self.next_segment.is_none_or(|segment| *next <= segment)) {
                Some(following) => following,
                None => match self.next_segment {
                    Some(next) => (rest.len(), next),
                    None => {
                        scanned.torn = self.torn_tail(rest, number, scanned.end.byte, fault);
                        return Ok(Onward::Ended);
                    }
                },
            };
            let found = DamagedBlocks {
                path: self.path.clone(),
                byte: scanned.end.byte,
                blocks: number..next,
                fault,
                bytes: without_trailing_zeros(&rest[..skipped]).to_vec(),
                leaves_known: false,
            };
            scanned.damaged.push(found);
            if skipped == rest.len() {
                return Ok(Onward::Segment(next));
            }
            if let Some(damaged) = scanned.damaged.last_mut() {
                pass_over(&mut scanned.end, damaged, block::block_at(&rest[skipped..], next).ok());
                grown(&scanned.end.frontier);
            }
            scanned.end.byte += skipped as u64;
            rest = &rest[skipped..];
        }
    }

    fn torn_tail(&self, rest: &[u8], block: u64, byte: u64, fault: BlockError) -> Option<TornTail> {
        let bytes = without_trailing_zeros(rest);
        (!bytes.is_empty()).then(|| TornTail { path: self.path.clone(), block, byte, fault, bytes: bytes.to_vec() })
    }
}

/// A whole block with the right number, of which every record can be read, and its leaf.
fn sound_block(bytes: &[u8], number: u64) -> Result<(&[u8], Hash), BlockError> {
    let block = block::block_at(bytes, number)?;
    Ok((block, block::leaf(block)?))
}

/// Takes leaves for damaged blocks: the last one's is named by the block that follows; of others only what stands there now is known.
fn pass_over(end: &mut LogPosition, damaged: &mut DamagedBlocks, following: Option<&[u8]>) {
    let count = damaged.blocks.end - damaged.blocks.start;
    let standing = leaf_hash(&damaged.bytes);
    end.frontier.push_repeated(standing, count - 1);
    end.frontier.push_hash(following.map_or(standing, block::leaf_before));
    damaged.leaves_known = count == 1 && following.is_some();
}

fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}
