//! Looking into a spool without touching it, also while its agent runs: nothing is written and no lock is taken.

use std::fs::File;
use std::io;
use std::path::Path;

use rangemap::RangeSet;
use serde::Serialize;

use crate::segment::Segment;
use crate::spool::Stored;
use crate::spool_frame::Codec;
use crate::spool_marks::{Found, Marks, MarksFiles};
use crate::spool_refused::refused_count;
use crate::spool_scan::scan;

/// What stands in a spool. The agent writes down once a minute what is settled: that much younger the rest may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Reports that can be read.
    pub records: u64,
    /// Of these, the ones that wait for their acknowledgement.
    pub unsettled: u64,
    /// Reports that cannot be read and were not settled.
    pub damaged: u64,
    pub bytes: u64,
    pub segments: u64,
    pub oldest_unsettled_at_ms: Option<u64>,
    pub newest_at_ms: Option<u64>,
    /// When the newest acknowledgement came.
    pub settled_at_ms: Option<u64>,
    /// Reports in `refused/`.
    pub refused: u64,
    /// The marks cannot be read: everything will be sent again.
    pub marks_damaged: bool,
}

/// A report on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReport {
    pub position: u64,
    pub spooled_at_ms: u64,
    /// When the last of its neighbours in the same file was settled; 0 if that is not known.
    pub settled_by_ms: u64,
    pub stored: Stored,
}

struct View {
    settled: RangeSet<u64>,
    marks: Marks,
    damaged: bool,
    /// First position, the one after the last, and the file.
    files: Vec<(u64, u64, File)>,
}

impl View {
    fn of(dir: &Path) -> io::Result<View> {
        let found = MarksFiles::read(dir).1;
        let damaged = matches!(found, Found::Damaged);
        let marks = match found {
            Found::Whole(marks) | Found::FirstFormat(marks) => marks,
            Found::Damaged | Found::Nothing => Marks::default(),
        };
        let settled = marks.settled.iter().filter(|(first, end)| first < end).map(|(first, end)| *first..*end).collect();
        let list = Segment::list(dir)?;
        let mut files = Vec::new();
        for (i, (first, path)) in list.iter().enumerate() {
            match File::open(path) {
                Ok(file) => {
                    let end = match list.get(i + 1) {
                        Some((following, _)) => *following,
                        None => first.saturating_add(file.metadata()?.len()),
                    };
                    files.push((*first, end, file));
                }
                // The agent has just deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(View { settled, marks, damaged, files })
    }

    fn settled_ms(&self, first: u64) -> u64 {
        self.marks.settled_ms.iter().find(|(of, _)| *of == first).map_or(0, |(_, ms)| *ms)
    }

    fn waiting(&self, first: u64, end: u64) -> u64 {
        if first < end { self.settled.gaps(&(first..end)).map(|gap| gap.end - gap.start).sum() } else { 0 }
    }
}

/// Counts what stands in the spool.
pub fn inspect(dir: &Path) -> io::Result<Inspection> {
    let view = View::of(dir)?;
    let mut out = Inspection {
        segments: view.files.len() as u64,
        settled_at_ms: view.marks.settled_ms.iter().map(|(_, ms)| *ms).max(),
        refused: refused_count(dir)?,
        marks_damaged: view.damaged,
        ..Inspection::default()
    };
    for (i, (first, end, file)) in view.files.iter().enumerate() {
        out.bytes += file.metadata()?.len();
        let mut expected = *first;
        scan(file, *first..*end, |_, frame| {
            out.damaged += view.waiting(expected, frame.position);
            expected = frame.position + 1;
            out.records += 1;
            out.newest_at_ms = out.newest_at_ms.max(Some(frame.spooled_at_ms).filter(|ms| *ms > 0));
            if !view.settled.contains(&frame.position) {
                out.unsettled += 1;
                out.oldest_unsettled_at_ms = out.oldest_unsettled_at_ms.or(Some(frame.spooled_at_ms).filter(|ms| *ms > 0));
            }
            Ok(())
        })?;
        let end = if i + 1 < view.files.len() { *end } else { view.marks.next };
        out.damaged += view.waiting(expected, end);
    }
    Ok(out)
}

/// Shows every settled report that is still on disk, oldest first: the proof that it was delivered.
pub fn acknowledged(dir: &Path, visit: impl FnMut(KeptReport) -> io::Result<()>) -> io::Result<()> {
    each(dir, true, visit)
}

/// Shows every report that waits for its acknowledgement, oldest first.
pub fn waiting(dir: &Path, mut visit: impl FnMut(Stored) -> io::Result<()>) -> io::Result<()> {
    each(dir, false, |report| visit(report.stored))
}

fn each(dir: &Path, settled: bool, mut visit: impl FnMut(KeptReport) -> io::Result<()>) -> io::Result<()> {
    let view = View::of(dir)?;
    let mut codec = Codec::new()?;
    for (first, end, file) in &view.files {
        scan(file, *first..*end, |_, frame| {
            if view.settled.contains(&frame.position) != settled {
                return Ok(());
            }
            let (position, spooled_at_ms) = (frame.position, frame.spooled_at_ms);
            visit(KeptReport { position, spooled_at_ms, settled_by_ms: view.settled_ms(*first), stored: codec.open(frame)? })
        })?;
    }
    Ok(())
}
