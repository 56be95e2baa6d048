//! One file of the spool: 8 bytes `SYSPOOL2`, then records in the order of their positions. Its name is the first position.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::spool_frame::{Frame, HEAD_BYTES, plausible};
use crate::spool_scan::{MAGIC, bad_sector, scan};

const ENDING: &str = "spool";

pub(crate) struct Segment {
    path: PathBuf,
    pub(crate) first: u64,
    /// The position after the last record.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    /// When the first and the last record were spooled; 0 if that is not known.
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
    /// When the last of the settled ones was settled.
    pub(crate) settled_ms: u64,
    /// Reports that may say that others were dropped.
    pub(crate) says_dropped: Vec<u64>,
    /// Nothing more is appended here.
    pub(crate) closed: bool,
    index: Option<Index>,
}

/// Where the records of a segment begin: only of the segments that are in use.
struct Index {
    file: File,
    /// By position, from the first on; 0 where a record is missing.
    starts: Vec<u32>,
}

impl Segment {
    fn new(path: PathBuf, first: u64) -> Segment {
        Segment {
            path,
            first,
            end: first,
            bytes: MAGIC.len() as u64,
            oldest_ms: 0,
            newest_ms: 0,
            settled_ms: 0,
            says_dropped: Vec::new(),
            closed: false,
            index: None,
        }
    }

    pub(crate) fn create(dir: &Path, first: u64) -> io::Result<Segment> {
        let path = dir.join(format!("{first:016x}.{ENDING}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(MAGIC, 0)?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(Segment { index: Some(Index { file, starts: Vec::new() }), ..Segment::new(path, first) })
    }

    /// The segments of a directory, oldest first, as (first position, path).
    pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|ending| ending == ENDING)
                && let Some(first) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())
            {
                out.push((first, path));
            }
        }
        out.sort();
        Ok(out)
    }

    /// A segment whose records are all settled: what is in it is looked at only when it is asked for.
    pub(crate) fn settled(path: PathBuf, positions: Range<u64>) -> io::Result<Segment> {
        let bytes = std::fs::metadata(&path)?.len();
        Ok(Segment { end: positions.end, bytes, closed: true, ..Segment::new(path, positions.start) })
    }

    /// Reads a segment from end to end, and shows each sound record to `visit`. `following`: where the next segment begins;
    /// `known`: up to here the marks know of records, so that those were written whole.
    pub(crate) fn open(
        path: PathBuf,
        first: u64,
        following: Option<u64>,
        known: u64,
        mut visit: impl FnMut(&Frame<'_>),
    ) -> io::Result<Segment> {
        let mut segment = Segment::new(path, first);
        let file = File::open(&segment.path)?;
        let file_bytes = file.metadata()?.len();
        let end = match following {
            Some(following) => following,
            None => whole_end(&file, first..first.saturating_add(file_bytes), known)?,
        };
        let positions = first..end;
        segment.bytes = scan(&file, positions, |_, frame| {
            if segment.end == first {
                segment.oldest_ms = frame.spooled_at_ms;
            }
            segment.newest_ms = frame.spooled_at_ms;
            segment.end = frame.position + 1;
            if frame.says_dropped {
                segment.says_dropped.push(frame.position);
            }
            visit(frame);
            Ok(())
        })?;
        if following.is_some() {
            segment.bytes = file_bytes;
            segment.closed = true;
        }
        Ok(segment)
    }

    /// Makes the newest segment ready for more: cuts what stands behind its last record, and says how many bytes that were.
    pub(crate) fn resume(&mut self) -> io::Result<u64> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let file_bytes = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        let headed = file.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC;
        if !headed && self.end > self.first {
            // Of the first format, or its head is damaged: nothing is added.
            self.closed = true;
            return Ok(0);
        }
        if file_bytes != self.bytes || !headed {
            file.write_all_at(MAGIC, 0)?;
            file.set_len(self.bytes)?;
            file.sync_all()?;
        }
        self.index = Some(self.read_index(file)?);
        Ok(file_bytes.saturating_sub(self.bytes))
    }

    fn read_index(&self, file: File) -> io::Result<Index> {
        let mut starts = vec![0; usize::try_from(self.end - self.first).map_err(io::Error::other)?];
        scan(&file, self.first..self.end, |at, frame| {
            let start = usize::try_from(frame.position - self.first).ok().and_then(|index| starts.get_mut(index));
            if let (Some(start), Ok(at)) = (start, u32::try_from(at)) {
                *start = at;
            }
            Ok(())
        })?;
        Ok(Index { file, starts })
    }

    pub(crate) fn positions(&self) -> Range<u64> {
        self.first..self.end
    }

    pub(crate) fn indexed(&self) -> bool {
        self.index.is_some()
    }

    /// Forgets where the records begin.
    pub(crate) fn rest(&mut self) {
        if self.closed {
            self.index = None;
        }
    }

    /// Writes records in one piece and syncs them. `starts`: where each of them begins in `batch`.
    pub(crate) fn append(&mut self, batch: &[u8], starts: &[usize], now_ms: u64) -> io::Result<()> {
        let Some(index) = &mut self.index else { return Err(io::Error::other("the segment is closed")) };
        let mut added = Vec::with_capacity(starts.len());
        for start in starts {
            added.push(u32::try_from(self.bytes + *start as u64).map_err(io::Error::other)?);
        }
        let written = index.file.write_all_at(batch, self.bytes);
        if let Err(error) = written.and_then(|()| index.file.sync_data()) {
            // What a failed sync leaves on the disk is not known: the next record goes into a new file.
            let full = error.kind() == io::ErrorKind::StorageFull;
            let cut = index.file.set_len(self.bytes);
            self.closed = !full || cut.is_err();
            if let Err(error) = cut {
                tracing::warn!(path = %self.path.display(), %error, "failed records could not be cut from the spool; they are skipped at the next start");
            }
            return Err(error);
        }
        if self.end == self.first {
            self.oldest_ms = now_ms;
        }
        self.newest_ms = now_ms;
        self.bytes += batch.len() as u64;
        self.end += starts.len() as u64;
        index.starts.extend(added);
        Ok(())
    }

    /// The bytes of a record; `None` if it is missing.
    pub(crate) fn record(&mut self, position: u64) -> io::Result<Option<Vec<u8>>> {
        if self.index.is_none() {
            self.index = Some(self.read_index(File::open(&self.path)?)?);
        }
        let Some(index) = &self.index else { return Ok(None) };
        let at = position.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()).and_then(|at| index.starts.get(at));
        let Some(start) = at.copied().filter(|start| *start != 0).map(u64::from) else { return Ok(None) };
        let mut record = vec![0; HEAD_BYTES];
        let read = index.file.read_exact_at(&mut record, start).and_then(|()| {
            record.resize(plausible(&record).map_or(0, |(length, _)| length), 0);
            index.file.read_exact_at(&mut record, start)
        });
        match read {
            Ok(()) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || bad_sector(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Where the last group of records begins whose end was never written; where all are whole, the end of `positions`.
fn whole_end(file: &File, positions: Range<u64>, known: u64) -> io::Result<u64> {
    let mut begun = None;
    scan(file, positions.clone(), |_, frame| {
        begun = if frame.more { begun.or(Some(frame.position)) } else { None };
        Ok(())
    })?;
    Ok(begun.filter(|begun| *begun >= known).unwrap_or(positions.end))
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
