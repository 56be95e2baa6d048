//! The agent's bounded store-and-forward: a report that `append` took is on disk, and stays there until it is settled.
//!
//! Below the spool's directory: `*.spool` segments, `marks.json` (what is settled; an old one only causes duplicates),
//! `refused/` (reports that the service refused, with its faults), `lock`.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::segment::{self, Segment};

const MARKS: &str = "marks.json";
const REFUSED: &str = "refused";
const REFUSED_FILES_MAX: usize = 1000;

/// By what a report is known: `seq` counts within a `boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportKey {
    pub boot: String,
    pub seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: ReportKey,
    pub body: Vec<u8>,
}

/// Reports of one boot that were dropped because the spool was full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRange {
    pub boot: String,
    pub first: u64,
    pub last: u64,
}

impl fmt::Display for DroppedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-{}", self.boot, self.first, self.last)
    }
}

impl DroppedRange {
    fn read(text: &str) -> Option<DroppedRange> {
        let (boot, numbers) = text.rsplit_once(':')?;
        let (first, last) = numbers.split_once('-')?;
        Some(DroppedRange { boot: boot.to_string(), first: first.parse().ok()?, last: last.parse().ok()? })
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Marks {
    /// Everything below this position is settled.
    through: u64,
    /// Settled positions from there on.
    above: BTreeSet<u64>,
    /// Dropped, and not yet said in a report.
    dropped: Vec<DroppedRange>,
}

pub struct Spool {
    dir: PathBuf,
    bytes_max: u64,
    segment_bytes_max: u64,
    segments: VecDeque<Segment>,
    next: u64,
    marks: Marks,
    marks_changed: bool,
    unreadable_count: u64,
    _lock: File,
}

impl Spool {
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Spool> {
        std::fs::create_dir_all(dir.join(REFUSED))?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(dir.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another agent uses this spool"))?;
        let marks = read_marks(&dir.join(MARKS));
        let mut spool = Spool {
            dir: dir.to_path_buf(),
            bytes_max,
            segment_bytes_max: (bytes_max / 16).clamp(64 * 1024, 8 * 1024 * 1024),
            segments: VecDeque::new(),
            // Marks may know more than a segment whose tail was lost: no position is used twice.
            next: marks.above.last().map_or(0, |last| last + 1).max(marks.through),
            marks,
            marks_changed: false,
            unreadable_count: 0,
            _lock: lock,
        };
        spool.open_segments()?;
        Ok(spool)
    }

    fn open_segments(&mut self) -> io::Result<()> {
        let list = Segment::list(&self.dir)?;
        for (i, (first, path)) in list.iter().enumerate() {
            let following = list.get(i + 1).map(|(first, _)| *first);
            let mut segment = Segment::open(path.clone(), *first, following.unwrap_or(u64::MAX))?;
            match following {
                None => {
                    let torn_bytes = segment.cut_tail()?;
                    if torn_bytes > 0 {
                        tracing::info!(torn_bytes, path = %path.display(), "cut a torn record from the end of the spool");
                    }
                    self.next = self.next.max(segment.end());
                    segment.closed = segment.end() != self.next;
                }
                Some(following) => {
                    let lost = (segment.end().max(self.marks.through)..following).filter(|at| !self.marks.above.contains(at)).count();
                    if lost > 0 {
                        tracing::error!(lost, path = %path.display(), "the spool is damaged: reports in it cannot be read");
                        self.unreadable_count += lost as u64;
                    }
                }
            }
            self.segments.push_back(segment);
        }
        self.settle_through();
        self.remove_settled_segments()
    }

    /// Reports that damage of the disk made unreadable, found when the spool was opened.
    pub fn unreadable_count(&self) -> u64 {
        self.unreadable_count
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub fn dropped(&self) -> &[DroppedRange] {
        &self.marks.dropped
    }

    /// These were said in a report that is now in the spool.
    pub fn dropped_said(&mut self, said: &[DroppedRange]) {
        self.marks.dropped.retain(|range| !said.contains(range));
        self.marks_changed |= !said.is_empty();
    }

    /// Writes a report and syncs it. Only when the spool is full are the oldest reports dropped, and counted.
    pub fn append(&mut self, key: &ReportKey, body: &[u8]) -> io::Result<u64> {
        let record = segment::encode(self.next, key, body)?;
        let needed = record.len() as u64;
        if needed > self.bytes_max / 2 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the spool is too small for this report"));
        }
        if self.segments.back().is_none_or(|last| last.closed || last.bytes + needed > self.segment_bytes_max) {
            self.remove_settled_segments_before(self.next)?;
            self.segments.push_back(Segment::create(&self.dir, self.next)?);
        }
        while self.bytes() + needed > self.bytes_max && self.segments.len() > 1 {
            self.drop_oldest_segment()?;
        }
        let active = self.segments.back_mut().ok_or_else(|| io::Error::other("the spool has no segment"))?;
        active.append(&record)?;
        let position = self.next;
        self.next += 1;
        Ok(position)
    }

    /// The first unsettled positions from `position` on.
    pub fn unsettled(&self, position: u64, count: usize) -> Vec<u64> {
        let from = position.max(self.marks.through);
        let kept = self.segments.iter().flat_map(|segment| segment.first.max(from)..segment.end());
        kept.filter(|at| !self.settled(*at)).take(count).collect()
    }

    pub fn unsettled_count(&self) -> u64 {
        self.next - self.marks.through - self.marks.above.len() as u64
    }

    /// `None` if the report is settled or was dropped.
    pub fn read(&self, position: u64) -> io::Result<Option<Stored>> {
        if self.settled(position) {
            return Ok(None);
        }
        match self.segments.iter().find(|segment| (segment.first..segment.end()).contains(&position)) {
            Some(segment) => segment.read(position),
            None => Ok(None),
        }
    }

    fn settled(&self, position: u64) -> bool {
        position < self.marks.through || self.marks.above.contains(&position)
    }

    /// The service has accepted this report (or knows it already): it is deleted.
    pub fn settle(&mut self, position: u64) -> io::Result<()> {
        if self.settled(position) || position >= self.next {
            return Ok(());
        }
        self.marks.above.insert(position);
        self.marks_changed = true;
        self.settle_through();
        self.remove_settled_segments()
    }

    /// The service has refused this report for good: it moves to `refused/`, with what the service said.
    pub fn refuse(&mut self, position: u64, reason: &str, faults: Option<&[u8]>) -> io::Result<Option<PathBuf>> {
        #[derive(Serialize)]
        struct Refused<'a> {
            reason: &'a str,
            faults: Option<&'a RawValue>,
            report: &'a RawValue,
        }
        let Some(stored) = self.read(position)? else { return Ok(None) };
        let refused = Refused {
            reason,
            faults: faults.and_then(|faults| serde_json::from_slice(faults).ok()),
            report: serde_json::from_slice(&stored.body)?,
        };
        let dir = self.dir.join(REFUSED);
        let path = dir.join(format!("{position:016x}-{}-{}.json", stored.key.boot, stored.key.seq));
        let mut file = File::create(&path)?;
        file.write_all(&serde_json::to_vec_pretty(&refused)?)?;
        file.sync_all()?;
        segment::sync_dir(&dir)?;
        bound_refused(&dir)?;
        self.settle(position)?;
        Ok(Some(path))
    }

    /// Writes down what is settled, if that has changed.
    pub fn save_marks(&mut self) -> io::Result<()> {
        if self.marks_changed { self.write_marks(false) } else { Ok(()) }
    }

    fn write_marks(&mut self, sync: bool) -> io::Result<()> {
        let fresh = self.dir.join("marks.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(&self.marks)?)?;
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(&fresh, self.dir.join(MARKS))?;
        if sync {
            segment::sync_dir(&self.dir)?;
        }
        self.marks_changed = false;
        Ok(())
    }

    /// Moves `through` over everything that is settled or gone.
    fn settle_through(&mut self) {
        let oldest = self.segments.front().map_or(self.next, |segment| segment.first);
        self.marks.through = self.marks.through.max(oldest);
        while self.marks.above.remove(&self.marks.through) {
            self.marks.through += 1;
        }
        self.marks.above = self.marks.above.split_off(&self.marks.through);
    }

    fn remove_settled_segments(&mut self) -> io::Result<()> {
        // The newest segment stays: it carries the next position.
        let newest = self.segments.back().map_or(0, |segment| segment.first);
        self.remove_settled_segments_before(newest)
    }

    fn remove_settled_segments_before(&mut self, position: u64) -> io::Result<()> {
        while let Some(oldest) = self.segments.front() {
            let unsettled = (oldest.first..oldest.end()).any(|at| !self.settled(at));
            if unsettled || oldest.first >= position {
                break;
            }
            if let Some(segment) = self.segments.pop_front() {
                segment.remove()?;
            }
            self.settle_through();
        }
        Ok(())
    }

    fn drop_oldest_segment(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        let (first, end) = (oldest.first, oldest.end());
        let mut dropped_count = 0;
        for position in first..end {
            // A record that cannot be read is dropped all the same; its number shows as a gap.
            let Some(stored) = self.read(position).unwrap_or_default() else { continue };
            dropped_count += 1;
            let ReportKey { boot, seq } = stored.key;
            add_range(&mut self.marks.dropped, DroppedRange { boot, first: seq, last: seq });
            said_in(&stored.body).into_iter().for_each(|range| add_range(&mut self.marks.dropped, range));
        }
        tracing::warn!(
            dropped_count,
            "the spool is full: the oldest reports are dropped; enlarge spool.bytes_max or restore the connection"
        );
        // First written down, then gone: a crash between the two loses no count.
        self.marks.through = self.marks.through.max(end);
        self.write_marks(true)?;
        if let Some(segment) = self.segments.pop_front() {
            segment.remove()?;
        }
        self.settle_through();
        Ok(())
    }
}

/// A dropped report may itself have said which ones were dropped before it: that must be said again.
fn said_in(body: &[u8]) -> Vec<DroppedRange> {
    #[derive(Deserialize)]
    struct Events {
        #[serde(default)]
        events: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        event: String,
        #[serde(default)]
        detail: String,
    }
    let events = serde_json::from_slice::<Events>(body).map(|report| report.events).unwrap_or_default();
    events.iter().filter(|said| said.event == "dropped").filter_map(|said| DroppedRange::read(&said.detail)).collect()
}

fn add_range(ranges: &mut Vec<DroppedRange>, new: DroppedRange) {
    match ranges.iter_mut().find(|range| range.boot == new.boot && new.first <= range.last + 1 && range.first <= new.last + 1) {
        Some(range) => {
            range.first = range.first.min(new.first);
            range.last = range.last.max(new.last);
        }
        None => ranges.push(new),
    }
}

fn read_marks(path: &Path) -> Marks {
    match std::fs::read(path) {
        Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the spool's marks are unreadable: everything in it is sent again, which does no harm");
            Marks::default()
        }),
        Err(_) => Marks::default(),
    }
}

fn bound_refused(dir: &Path) -> io::Result<()> {
    let mut paths = std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths.iter().take(paths.len().saturating_sub(REFUSED_FILES_MAX)) {
        tracing::warn!(path = %path.display(), "too many refused reports are kept: the oldest is deleted");
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
