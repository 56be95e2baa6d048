//! The agent's bounded store-and-forward: reports that `append_all` took are on disk, and stay there until they are settled.
//!
//! Below the spool's directory: `*.spool` segments, `marks.a` and `marks.b` (what is settled; old ones only cause duplicates),
//! `refused/` (reports that the service refused, with its faults), `lock`.
//!
//! A position is the place of a report in the spool; positions rise by one and are never used twice. The time is told by `tick`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rangemap::RangeSet;

use crate::segment::Segment;
use crate::spool_bounds::{Bounds, SteadyClock};
use crate::spool_frame::{Codec, Frame};
use crate::spool_marks::{Found, Marks, MarksFiles};
use crate::spool_ranges::{Runs, add_range, said_in};
use crate::spool_refused::{REFUSED, keep_refused};

pub use crate::spool_bounds::Bounds as SpoolBounds;
pub use crate::spool_figures::SpoolFigures;
pub use crate::spool_inspect::{Inspection, KeptReport, acknowledged, inspect, waiting};
pub use crate::spool_ranges::DroppedRange;

const MARKS_EVERY_MS: u64 = 60_000;

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

pub struct Spool {
    pub(crate) dir: PathBuf,
    pub(crate) bounds: Bounds,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) next: u64,
    /// Everything that is not to be sent (again): acknowledged, refused, dropped, unreadable, or gone.
    pub(crate) settled: RangeSet<u64>,
    pub(crate) runs: Runs,
    /// Dropped, and not yet said in a report.
    pub(crate) dropped: Vec<DroppedRange>,
    pub(crate) dropped_count: u64,
    pub(crate) unreadable_count: u64,
    pub(crate) acknowledged: (u64, u64),
    pub(crate) clock: SteadyClock,
    codec: Codec,
    marks: MarksFiles,
    marks_changed: bool,
    marks_saved_ms: u64,
    _lock: File,
}

impl Spool {
    pub fn open(dir: &Path, bounds: impl Into<Bounds>) -> io::Result<Spool> {
        let lock = lock(dir)?;
        let (marks, found) = MarksFiles::read(dir);
        let mut spool = Spool {
            dir: dir.to_path_buf(),
            bounds: bounds.into(),
            segments: VecDeque::new(),
            next: 0,
            settled: RangeSet::new(),
            runs: Runs::default(),
            dropped: Vec::new(),
            dropped_count: 0,
            unreadable_count: 0,
            acknowledged: (0, 0),
            clock: SteadyClock::default(),
            codec: Codec::new()?,
            marks,
            marks_changed: false,
            marks_saved_ms: 0,
            _lock: lock,
        };
        spool.open_segments(found)?;
        Ok(spool)
    }

    fn open_segments(&mut self, found: Found) -> io::Result<()> {
        let list = Segment::list(&self.dir)?;
        let deletions_known = matches!(found, Found::Whole(_));
        let marks = match found {
            Found::Whole(marks) | Found::FirstFormat(marks) => marks,
            Found::Nothing => Marks::default(),
            Found::Damaged => {
                tracing::warn!(dir = %self.dir.display(), "the spool's marks are unreadable: everything in it is sent again, which does no harm");
                Marks::default()
            }
        };
        marks.settled.iter().filter(|(first, end)| first < end).for_each(|(first, end)| self.settled.insert(*first..*end));
        self.dropped = marks.dropped;
        self.acknowledged = marks.acknowledged;
        // Marks may know more than a segment whose tail was lost: no position is used twice.
        self.next = marks.next;

        let mut gaps = Vec::new();
        let mut expected = 0;
        for (i, (first, path)) in list.iter().enumerate() {
            let following = list.get(i + 1).map(|(first, _)| *first);
            if deletions_known {
                gaps.push(expected..*first);
            } else {
                // A file between may have been deleted when everything in it was settled.
                self.settle_range(expected..*first);
            }
            expected = expected.max(*first);
            let mut segment = match following {
                Some(following) if self.waiting(&(*first..following)) == 0 => {
                    expected = following;
                    Segment::settled(path.clone(), *first..following)?
                }
                _ => {
                    let (runs, known) = (&mut self.runs, self.next);
                    Segment::open(path.clone(), *first, following, known, |frame| {
                        if frame.position > expected {
                            gaps.push(expected..frame.position);
                        }
                        expected = frame.position + 1;
                        runs.push(frame.position, frame.boot, frame.seq);
                    })?
                }
            };
            segment.settled_ms = marks.settled_ms.iter().find(|(of, _)| of == first).map_or(0, |(_, ms)| *ms);
            if following.is_none() {
                let torn_bytes = segment.resume()?;
                if torn_bytes > 0 {
                    tracing::info!(torn_bytes, path = %path.display(), "cut torn records from the end of the spool");
                }
                segment.closed |= segment.end < self.next;
                segment.rest();
                self.next = self.next.max(segment.end);
            }
            self.segments.push_back(segment);
        }
        gaps.push(expected..self.next);
        self.give_up(&gaps);
        if !deletions_known {
            // So that the marks have their place on the disk, also when it is full later.
            self.marks.write_surely(&self.marks())?;
        }
        Ok(())
    }

    /// Reports in these gaps cannot be read any more: they are counted and, where their numbers are known, told as dropped.
    fn give_up(&mut self, gaps: &[Range<u64>]) {
        for gap in gaps.iter().filter(|gap| gap.start < gap.end) {
            for lost in self.settled.gaps(gap).collect::<Vec<_>>() {
                let count = lost.end - lost.start;
                let numbers = self.runs.missing(&lost);
                tracing::error!(
                    count,
                    numbers = numbers.as_ref().map(ToString::to_string),
                    "the spool is damaged: reports in it cannot be read; check the disk"
                );
                self.unreadable_count += count;
                numbers.into_iter().for_each(|range| add_range(&mut self.dropped, range));
                self.settle_range(lost);
            }
        }
    }

    pub(crate) fn settle_range(&mut self, range: Range<u64>) {
        if range.start < range.end {
            self.settled.insert(range);
            self.marks_changed = true;
        }
    }

    /// Reports that damage of the disk made unreadable, found since the spool was opened.
    pub fn unreadable_count(&self) -> u64 {
        self.unreadable_count
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub fn dropped(&self) -> &[DroppedRange] {
        &self.dropped
    }

    /// These were said in a report that is now in the spool.
    pub fn dropped_said(&mut self, said: &[DroppedRange]) {
        self.dropped.retain(|range| !said.contains(range));
        self.marks_changed |= !said.is_empty();
    }

    /// The position that the next report gets.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// Says what time it is, and does what is due at it: call it at least once a minute.
    pub fn tick(&mut self, now_ms: u64) -> io::Result<()> {
        if self.clock.tell(now_ms) {
            self.remove_kept()?;
            while self.drop_too_old()? {}
        }
        if self.marks_changed && self.clock.now_ms().abs_diff(self.marks_saved_ms) >= MARKS_EVERY_MS {
            self.save_marks()?;
        }
        Ok(())
    }

    pub fn append(&mut self, key: &ReportKey, body: &[u8]) -> io::Result<u64> {
        self.append_all(&[(key.clone(), body.to_vec())]).map(|positions| positions.start)
    }

    /// Writes reports in one piece and syncs them once: all of them are taken, or none.
    /// Only when the spool is full are the oldest reports dropped, and counted.
    pub fn append_all(&mut self, reports: &[(ReportKey, Vec<u8>)]) -> io::Result<Range<u64>> {
        self.append_groups(reports, &[])
    }

    /// `append_all`, where a power cut within the writing leaves some of the reports: of each group (indices into `reports`) all or none.
    pub fn append_groups(&mut self, reports: &[(ReportKey, Vec<u8>)], groups: &[Range<usize>]) -> io::Result<Range<u64>> {
        let mut batch = Vec::new();
        let mut starts = Vec::with_capacity(reports.len());
        for (index, (position, (key, body))) in (self.next..).zip(reports).enumerate() {
            let more = groups.iter().any(|group| group.contains(&index) && group.contains(&(index + 1)));
            starts.push(batch.len());
            self.codec.write(&mut batch, position, self.clock.now_ms(), key, body, more)?;
        }
        if batch.len() as u64 > self.bounds.bytes_max / 2 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the spool is too small for these reports; enlarge spool.bytes_max"));
        }
        self.make_room(batch.len() as u64)?;
        while let Err(error) = self.write(&batch, &starts) {
            // Other programs may have filled the disk: what is only kept gives way to what is not yet delivered.
            if error.kind() != io::ErrorKind::StorageFull || !self.remove_oldest_kept()? {
                return Err(error);
            }
        }
        let positions = self.next..self.next + reports.len() as u64;
        for (position, (key, body)) in positions.clone().zip(reports) {
            self.runs.push(position, &key.boot, key.seq);
            if crate::spool_frame::says_dropped(body)
                && let Some(active) = self.segments.back_mut()
            {
                active.says_dropped.push(position);
            }
        }
        self.next = positions.end;
        self.marks_changed |= positions.start < positions.end;
        Ok(positions)
    }

    fn write(&mut self, batch: &[u8], starts: &[usize]) -> io::Result<()> {
        let now_ms = self.clock.now_ms();
        if self.segments.back().is_none_or(|last| last.closed) {
            // An empty file that is left over has the same name: it is replaced.
            self.segments.pop_back_if(|last| last.first == self.next);
            self.segments.push_back(Segment::create(&self.dir, self.next)?);
        }
        match self.segments.back_mut() {
            Some(active) if !starts.is_empty() => active.append(batch, starts, now_ms),
            _ => Ok(()),
        }
    }

    /// Where the reports of `boot` below the number `seq` stand, settled or not.
    pub fn positions_below(&self, boot: &str, seq: u64) -> Vec<Range<u64>> {
        seq.checked_sub(1).map(|last| self.runs.through(boot, last)).unwrap_or_default()
    }

    /// Where this report stands, if it is not settled.
    pub fn position(&self, key: &ReportKey) -> Option<u64> {
        self.runs.position(key).filter(|position| !self.settled.contains(position))
    }

    /// The first unsettled positions from `position` on.
    pub fn unsettled(&self, position: u64, count: usize) -> Vec<u64> {
        if position >= self.next {
            return Vec::new();
        }
        self.settled.gaps(&(position..self.next)).flatten().take(count).collect()
    }

    pub fn unsettled_count(&self) -> u64 {
        self.waiting(&(0..self.next))
    }

    /// How many of these positions are not settled.
    pub(crate) fn waiting(&self, positions: &Range<u64>) -> u64 {
        if positions.start >= positions.end {
            return 0;
        }
        self.settled.gaps(positions).map(|gap| gap.end - gap.start).sum()
    }

    /// `None` if the report is settled or was dropped, or is found to be damaged: then it is counted, and given up.
    pub fn read(&mut self, position: u64) -> io::Result<Option<Stored>> {
        if position >= self.next || self.settled.contains(&position) {
            return Ok(None);
        }
        let stored = self.read_with(position, |codec, frame| codec.open(frame))?;
        if stored.is_none() {
            let key = self.runs.key(position);
            tracing::error!(position, ?key, "a report in the spool is damaged and cannot be sent; check the disk");
            self.unreadable_count += 1;
            if let Some(ReportKey { boot, seq }) = key {
                add_range(&mut self.dropped, DroppedRange { boot, first: seq, last: seq });
            }
            self.settle_range(position..position + 1);
        }
        Ok(stored)
    }

    /// Opens a record; `None` if it is missing or damaged.
    pub(crate) fn read_with<T>(
        &mut self,
        position: u64,
        open: impl FnOnce(&mut Codec, &Frame<'_>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(at) = self.segment_at(position) else { return Ok(None) };
        if !self.segments[at].indexed() {
            self.segments.iter_mut().for_each(Segment::rest);
        }
        let record = self.segments[at].record(position)?;
        let frame = record.as_deref().and_then(Frame::read).filter(|frame| frame.position == position);
        match frame.map(|frame| open(&mut self.codec, &frame)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            opened => opened.transpose(),
        }
    }

    pub(crate) fn segment_at(&self, position: u64) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.end <= position);
        self.segments.get(at).filter(|segment| segment.positions().contains(&position)).map(|_| at)
    }

    /// The service has accepted this report, or knows it already.
    pub fn settle(&mut self, position: u64) -> io::Result<()> {
        if position < self.next {
            self.acknowledge(std::slice::from_ref(&(position..position + 1)))?;
        }
        Ok(())
    }

    /// A receipt: every report of `boot` up to the number `seq` is accepted, refused or known to be dropped. Says how many were waiting.
    /// Those at `but` wait on.
    pub fn settle_through(&mut self, boot: &str, seq: u64, but: &[Range<u64>]) -> io::Result<usize> {
        let mut through: RangeSet<u64> = self.runs.through(boot, seq).into_iter().filter(|range| range.start < range.end).collect();
        but.iter().filter(|range| range.start < range.end).for_each(|range| through.remove(range.clone()));
        let ranges: Vec<Range<u64>> = through.into_iter().collect();
        self.acknowledge(&ranges).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn acknowledge(&mut self, ranges: &[Range<u64>]) -> io::Result<u64> {
        let mut count = 0;
        for range in ranges {
            let fresh = self.waiting(range);
            if fresh > 0 {
                count += fresh;
                self.settle_range(range.clone());
                self.settled_now(range);
            }
        }
        if count > 0 {
            let day = self.clock.shanghai_day();
            let before = if self.acknowledged.0 == day { self.acknowledged.1 } else { 0 };
            self.acknowledged = (day, before + count);
            self.remove_unkept()?;
        }
        Ok(count)
    }

    fn settled_now(&mut self, range: &Range<u64>) {
        let now_ms = self.clock.now_ms();
        let from = self.segments.partition_point(|segment| segment.end <= range.start);
        for segment in self.segments.iter_mut().skip(from).take_while(|segment| segment.first < range.end) {
            segment.settled_ms = now_ms;
        }
    }

    /// The service has refused this report for good: it moves to `refused/`, with what the service said.
    pub fn refuse(&mut self, position: u64, reason: &str, faults: Option<&[u8]>) -> io::Result<Option<PathBuf>> {
        let Some(stored) = self.read(position)? else { return Ok(None) };
        let path = keep_refused(&self.dir, self.bounds.refused_bytes_max(), position, &stored, reason, faults)?;
        self.settle_range(position..position + 1);
        self.settled_now(&(position..position + 1));
        self.remove_unkept()?;
        Ok(Some(path))
    }

    /// Writes down what is settled, if that has changed. `tick` does it once a minute; call it when the agent ends.
    pub fn save_marks(&mut self) -> io::Result<()> {
        if self.marks_changed {
            self.marks.write(&self.marks())?;
            self.marks_saved();
        }
        Ok(())
    }

    /// Writes down what is settled before something is deleted: a crash in between loses no count.
    pub(crate) fn save_marks_surely(&mut self) -> io::Result<()> {
        self.marks.write_surely(&self.marks())?;
        self.marks_saved();
        Ok(())
    }

    fn marks_saved(&mut self) {
        self.marks_changed = false;
        self.marks_saved_ms = self.clock.now_ms();
    }

    fn marks(&self) -> Marks {
        let some_settled = self.segments.iter().filter(|segment| segment.settled_ms > 0);
        Marks {
            next: self.next,
            settled: self.settled.iter().map(|range| (range.start, range.end)).collect(),
            settled_ms: some_settled.map(|segment| (segment.first, segment.settled_ms)).collect(),
            dropped: self.dropped.clone(),
            acknowledged: self.acknowledged,
        }
    }

    /// Drops what still waits in a segment: it is counted, and told as ranges of numbers.
    pub(crate) fn drop_waiting(&mut self, positions: Range<u64>, says_dropped: &[u64], why: &str) -> io::Result<()> {
        let waiting: Vec<Range<u64>> = self.settled.gaps(&positions).collect();
        for position in says_dropped.iter().filter(|position| waiting.iter().any(|range| range.contains(position))) {
            let said = self.read_with(*position, |codec, frame| Ok(said_in(&codec.open(frame)?.body)))?;
            said.into_iter().flatten().for_each(|range| add_range(&mut self.dropped, range));
        }
        let count: u64 = waiting.iter().map(|range| range.end - range.start).sum();
        for range in waiting {
            self.runs.numbers(&range).into_iter().for_each(|numbers| add_range(&mut self.dropped, numbers));
            self.settle_range(range);
        }
        self.dropped_count += count;
        tracing::warn!(count, why, "the oldest reports are dropped; enlarge the spool's bounds or restore the connection");
        Ok(())
    }
}

fn lock(dir: &Path) -> io::Result<File> {
    let explained = |error: io::Error| io::Error::new(error.kind(), format!("the spool cannot be written: {error}"));
    std::fs::create_dir_all(dir.join(REFUSED)).map_err(explained)?;
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(dir.join("lock")).map_err(explained)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(io::ErrorKind::ResourceBusy, "another agent uses this spool")),
        Err(TryLockError::Error(error)) => Err(explained(error)),
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "spool_damage_tests.rs"]
mod damage_tests;

#[cfg(test)]
#[path = "spool_keep_tests.rs"]
mod keep_tests;

#[cfg(test)]
#[path = "spool_outage_tests.rs"]
mod outage_tests;
