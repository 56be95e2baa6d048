//! Sealing: a full segment is checked, compressed, and takes the place of its raw form.

use std::io;
use std::path::Path;

use crate::block::{self, BlockError};
use crate::disk::{Disk, DiskFile};
use crate::sealed::{self, SealedError};
use crate::segments::{Form, sealed_path, segment_path, segments};

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("segment {segment} stays as it is: {fault}")]
    Unsound { segment: u64, fault: SealedError },
}

/// What sealing has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    pub first_block: u64,
    pub raw_bytes: u64,
    pub sealed_bytes: u64,
}

/// Seals the oldest raw segment from `from` on that another follows; `None` if there is none. Safe beside the writer and readers.
pub fn seal_next<D: Disk>(disk: &D, dir: &Path, from: u64) -> Result<Option<SealedSegment>, SealError> {
    let files = segments(disk, dir)?;
    let next_of = |first: u64| files.range(first + 1..).next().map(|(next, _)| *next);
    let oldest = files.range(from..).find_map(|(first, form)| (*form == Form::Raw).then_some(*first));
    let Some((first, next)) = oldest.and_then(|first| Some((first, next_of(first)?))) else { return Ok(None) };
    let unsound = |fault| SealError::Unsound { segment: first, fault };
    let raw_path = segment_path(dir, first);
    let content = disk.read(&raw_path)?;
    let blocks = blocks_between(&content, first, next).map_err(unsound)?;
    let compressed = sealed::seal(blocks, first).map_err(unsound)?;
    if !sealed::gives_back(&compressed, blocks) {
        return Err(unsound(SealedError::Index));
    }
    put(disk, dir, first, &compressed)?;
    // The raw form goes only when the sealed one is sure to stay.
    disk.sync_dir(dir)?;
    disk.remove(&raw_path)?;
    Ok(Some(SealedSegment { first_block: first, raw_bytes: blocks.len() as u64, sealed_bytes: compressed.len() as u64 }))
}

/// The whole file, synced, under its name.
fn put<D: Disk>(disk: &D, dir: &Path, first: u64, compressed: &[u8]) -> io::Result<()> {
    let growing = dir.join("sealing");
    let file = disk.create(&growing)?;
    let put = file.write_at(compressed, 0).and_then(|()| file.sync()).and_then(|()| disk.rename(&growing, &sealed_path(dir, first)));
    if put.is_err() {
        // On a full disk every byte counts; what cannot be removed is replaced by the next try.
        let _ = disk.remove(&growing);
    }
    put
}

/// The bytes of blocks `first..next`, all of them sound; what stands behind them was never acknowledged.
fn blocks_between(content: &[u8], first: u64, next: u64) -> Result<&[u8], SealedError> {
    let mut end = 0;
    for number in first..next {
        let rest = content.get(end..).unwrap_or_default();
        end += block::block_at(rest, number).map_err(|fault: BlockError| SealedError::Block { block: number, fault })?.len();
    }
    Ok(&content[..end])
}
