//! The evidence log: append-only segments, their space set aside and read as zeros, one writer, synced before anything is acknowledged.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::block::{BlockBuilder, FinishedBlock};
use crate::disk::{Disk, DiskFile};
use crate::merkle::{Frontier, Hash};
use crate::scan::{Scanned, Stretch, scan};
use crate::segments::{DAMAGED_DIR, Form, PREPARED, segment_path, segments};

/// Where the log ends, or where a checkpoint stands: everything before it is taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Number of the first block of the segment.
    pub segment: u64,
    /// Byte within the segment, uncompressed.
    pub byte: u64,
    /// The tree over all blocks before.
    pub frontier: Frontier,
}

impl LogPosition {
    /// Number of the next block.
    pub fn block(&self) -> u64 {
        self.frontier.leaves()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A segment is closed before it grows beyond this.
    pub segment_bytes: u64,
    /// A file that was not prepared grows by this much, zero-filled, so that most syncs change no size.
    pub grow_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 << 20, grow_bytes: 4 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: the checkpoint stands at byte {byte}, beyond the end of the log: restore the log from a backup", path.display())]
    Lost { path: PathBuf, byte: u64 },
    /// Nothing was written: the next try may succeed.
    #[error("no space left for the evidence log")]
    Full,
    /// Nothing was written: the next try may succeed.
    #[error("{}: {source}", path.display())]
    NotWritten { path: PathBuf, source: io::Error },
}

pub struct Log<D: Disk> {
    disk: D,
    dir: PathBuf,
    options: LogOptions,
    end: LogPosition,
    /// `None` where the next append begins a segment: after a failed write, nothing is ever written to the same file again.
    file: Option<OpenSegment<D::File>>,
}

struct OpenSegment<F> {
    file: F,
    /// Length of the file, zero-filled beyond the position.
    bytes: u64,
}

impl<D: Disk> Log<D> {
    /// Opens the log, gives everything after `from` to `visit`, cuts a torn tail and keeps a copy of what could not be read.
    pub fn open(
        disk: D,
        dir: &Path,
        options: LogOptions,
        from: LogPosition,
        visit: impl FnMut(Stretch<'_>),
    ) -> Result<(Log<D>, Scanned), LogError> {
        disk.create_dir(dir).map_err(at(dir))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).map_err(at(parent))?;
        }
        let scanned = scan(&disk, dir, from, None, visit)?;
        let mut log = Log { disk, dir: dir.to_path_buf(), options, end: scanned.end.clone(), file: None };
        log.keep_unreadable(&scanned)?;
        log.reopen_last()?;
        Ok((log, scanned))
    }

    pub fn end(&self) -> &LogPosition {
        &self.end
    }

    pub fn disk(&self) -> &D {
        &self.disk
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes one block and syncs it. When this returns `Ok`, the records survive a power cut, and the number of their block is given.
    /// After `File` it is unknown what is on the disk: the file is left behind, and the next append begins a new segment at the last
    /// durable position.
    pub fn append(&mut self, block: BlockBuilder) -> Result<u64, LogError> {
        let number = self.end.block();
        let FinishedBlock { bytes, leaf } = block.finish(number, &self.end.frontier.last_leaf());
        let full = self.end.byte > 0 && self.end.byte + bytes.len() as u64 > self.options.segment_bytes;
        if full || self.file.is_none() {
            self.begin_segment()?;
        }
        self.make_room(bytes.len() as u64)?;
        let path = segment_path(&self.dir, self.end.segment);
        let Some(segment) = &self.file else { return Err(not_open(&path)) };
        let written = segment.file.write_at(&bytes, self.end.byte).and_then(|()| segment.file.sync());
        if let Err(error) = written {
            self.file = None;
            return Err(at(&path)(error));
        }
        self.end.byte += bytes.len() as u64;
        self.end.frontier.push_hash(leaf);
        Ok(number)
    }

    /// After a failure: makes sure that the next block will find a sound file with room, without waiting for one to come.
    pub fn try_again(&mut self) -> Result<(), LogError> {
        if self.file.is_none() {
            self.begin_segment()?;
        }
        self.make_room(self.options.grow_bytes.min(self.options.segment_bytes.saturating_sub(self.end.byte)))?;
        let path = segment_path(&self.dir, self.end.segment);
        let Some(segment) = &mut self.file else { return Err(not_open(&path)) };
        // What stands there is zero already; the write gives the sync something to prove.
        if let Err(error) = segment.file.write_at(&[0], self.end.byte).and_then(|()| segment.file.sync()) {
            self.file = None;
            return Err(at(&path)(error));
        }
        segment.bytes = segment.bytes.max(self.end.byte + 1);
        Ok(())
    }

    /// Whether it is time to prepare the file of the next segment.
    pub fn wants_prepared(&self) -> bool {
        self.end.byte >= self.options.segment_bytes / 2
    }

    /// A new segment at the last durable position, in the prepared file if there is one.
    fn begin_segment(&mut self) -> Result<(), LogError> {
        let segment = self.end.block();
        let path = segment_path(&self.dir, segment);
        self.file = None;
        let (prepared, begun) = (self.dir.join(PREPARED), self.dir.join("beginning"));
        let opened = match self.disk.open(&prepared) {
            Ok(file) => file.length().map(|bytes| (file, bytes, &prepared)),
            // Another name, so that one that is prepared meanwhile is not taken for it.
            Err(error) if error.kind() == ErrorKind::NotFound => self.disk.create(&begun).map(|file| (file, 0, &begun)),
            Err(error) => Err(error),
        };
        let (file, bytes, name) = opened.map_err(full_or_not_written(&path))?;
        self.disk.rename(name, &path).map_err(full_or_not_written(&path))?;
        self.disk.sync_dir(&self.dir).map_err(full_or_not_written(&self.dir))?;
        self.file = Some(OpenSegment { file, bytes });
        self.end.segment = segment;
        self.end.byte = 0;
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let path = segment_path(&self.dir, self.end.segment);
        let Some(segment) = &mut self.file else { return Err(not_open(&path)) };
        let needed = self.end.byte + bytes;
        if needed <= segment.bytes {
            return Ok(());
        }
        let target = needed.max((segment.bytes + self.options.grow_bytes).min(self.options.segment_bytes));
        if let Err(error) = segment.file.reserve(segment.bytes, target).and_then(|()| segment.file.sync()) {
            // Only zeros were added: taking them back leaves the log as it was. If not even that works, the file is left behind.
            if segment.file.set_length(segment.bytes).is_err() || !full(&error) {
                self.file = None;
            }
            return Err(full_or_not_written(&path)(error));
        }
        segment.bytes = target;
        Ok(())
    }

    /// What could not be read stays where it is, and a copy of it is kept under the number of its block.
    fn keep_unreadable(&self, scanned: &Scanned) -> Result<(), LogError> {
        let damaged = scanned.damaged.iter().map(|damaged| (damaged.blocks.start, &damaged.bytes));
        let torn = scanned.torn.iter().map(|torn| (torn.block, &torn.bytes));
        let kept = self.dir.join(DAMAGED_DIR);
        for (block, bytes) in damaged.chain(torn) {
            self.disk.create_dir(&kept).map_err(at(&kept))?;
            let path = kept.join(format!("{block:020}-{:08x}", crc32c::crc32c(bytes)));
            let file = self.disk.create(&path).map_err(at(&path))?;
            file.write_at(bytes, 0).and_then(|()| file.sync()).map_err(at(&path))?;
            self.disk.sync_dir(&kept).map_err(at(&kept))?;
        }
        Ok(())
    }

    /// Opens the last segment for appending. What was read of it may so far stand in memory only (a sync before may have failed):
    /// it is written and synced again before it counts.
    fn reopen_last(&mut self) -> Result<(), LogError> {
        let files = segments(&self.disk, &self.dir).map_err(at(&self.dir))?;
        let path = segment_path(&self.dir, self.end.segment);
        let last = files.keys().next_back() == Some(&self.end.segment) && files.get(&self.end.segment) == Some(&Form::Raw);
        if !last {
            return Ok(());
        }
        let rewritten = (|| {
            let content = self.disk.read(&path)?;
            let durable = usize::try_from(self.end.byte).ok().and_then(|end| content.get(..end)).unwrap_or(&content);
            let file = self.disk.open(&path)?;
            file.set_length(durable.len() as u64)?;
            file.write_at(durable, 0)?;
            file.sync()?;
            self.disk.sync_dir(&self.dir)?;
            Ok(OpenSegment { file, bytes: durable.len() as u64 })
        })();
        self.file = Some(rewritten.map_err(at(&path))?);
        Ok(())
    }
}

/// Sets a file aside, read as zeros, for the next segment, if none waits. Safe beside the writer.
pub fn prepare_segment<D: Disk>(disk: &D, dir: &Path, bytes: u64) -> io::Result<()> {
    let waiting = dir.join(PREPARED);
    match disk.open(&waiting) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // It may be there all the same, and the writer about to take it: putting another in its place would leave him with a file that
        // has no name.
        Err(error) => return Err(error),
    }
    let growing = dir.join("preparing");
    let file = disk.create(&growing)?;
    let filled = file.reserve(0, bytes).and_then(|()| file.sync()).and_then(|()| disk.rename(&growing, &waiting));
    if filled.is_err() {
        // It holds only zeros; what is left of it is overwritten by the next try.
        let _ = disk.remove(&growing);
    }
    filled
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| LogError::File { path: path.clone(), source }
}

fn not_open(path: &Path) -> LogError {
    LogError::NotWritten { path: path.to_path_buf(), source: io::Error::other("the segment is not open") }
}

fn full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// For what happens before anything of a block is written.
fn full_or_not_written(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| if full(&source) { LogError::Full } else { LogError::NotWritten { path: path.clone(), source } }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
