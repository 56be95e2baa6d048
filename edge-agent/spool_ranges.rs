//! Which reports stand at which positions, and which of them were dropped, as runs of numbers.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::spool::ReportKey;

/// Reports of one boot that will never be sent: the spool was full, they were too old, or they can no longer be read.
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

    fn touches(&self, other: &DroppedRange) -> bool {
        self.boot == other.boot && self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

/// Adds a range to others that neither overlap nor follow each other.
pub(crate) fn add_range(ranges: &mut Vec<DroppedRange>, mut new: DroppedRange) {
    ranges.retain(|range| {
        let apart = !range.touches(&new);
        if !apart {
            new.first = new.first.min(range.first);
            new.last = new.last.max(range.last);
        }
        apart
    });
    ranges.push(new);
}

/// A dropped report may itself have said which ones were dropped before it: that must be said again.
pub(crate) fn said_in(body: &[u8]) -> Vec<DroppedRange> {
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
    let events = serde_json::from_slice::<Events>(payload(body)).map(|report| report.events).unwrap_or_default();
    events.iter().filter(|said| said.event == "dropped").filter_map(|said| DroppedRange::read(&said.detail)).collect()
}

/// The report itself, without the envelope of a signed one.
pub(crate) fn payload(body: &[u8]) -> &[u8] {
    wire::cose::Signed::read(body).map_or(body, |signed| signed.payload)
}

/// Positions whose numbers rise with them, within one boot.
struct Run {
    position: u64,
    boot: Box<str>,
    seq: u64,
}

/// What stands at each position: a few bytes for each boot, not for each report.
#[derive(Default)]
pub(crate) struct Runs {
    /// By position.
    runs: Vec<Run>,
    /// The position after the last that is known.
    end: u64,
}

impl Runs {
    /// Positions come in rising order.
    pub(crate) fn push(&mut self, position: u64, boot: &str, seq: u64) {
        self.end = position + 1;
        let continued = self
            .runs
            .last()
            .is_some_and(|run| *run.boot == *boot && seq.checked_sub(run.seq).is_some_and(|numbers| numbers == position - run.position));
        if !continued {
            self.runs.push(Run { position, boot: boot.into(), seq });
        }
    }

    fn positions(&self, index: usize) -> Range<u64> {
        let end = self.runs.get(index + 1).map_or(self.end, |next| next.position);
        self.runs[index].position..end
    }

    pub(crate) fn key(&self, position: u64) -> Option<ReportKey> {
        let index = self.runs.partition_point(|run| run.position <= position).checked_sub(1)?;
        let run = &self.runs[index];
        self.positions(index)
            .contains(&position)
            .then(|| ReportKey { boot: run.boot.to_string(), seq: run.seq + (position - run.position) })
    }

    /// The numbers of the reports at `wanted`, as far as they are known.
    pub(crate) fn numbers(&self, wanted: &Range<u64>) -> Vec<DroppedRange> {
        let mut out = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let positions = self.positions(index);
            let (first, end) = (positions.start.max(wanted.start), positions.end.min(wanted.end));
            if first < end {
                let number = |position| run.seq + (position - run.position);
                out.push(DroppedRange { boot: run.boot.to_string(), first: number(first), last: number(end - 1) });
            }
        }
        out
    }

    /// The numbers of records that are missing at `gap`: known if what stands before and behind it is of one run.
    pub(crate) fn missing(&self, gap: &Range<u64>) -> Option<DroppedRange> {
        let index = self.runs.partition_point(|run| run.position <= gap.start).checked_sub(1)?;
        let positions = self.positions(index);
        let between = positions.start < gap.start && gap.end < positions.end;
        between.then(|| self.numbers(gap)).and_then(|mut numbers| numbers.pop())
    }

    /// Where the reports of `boot` stand up to the number `seq`.
    pub(crate) fn through(&self, boot: &str, seq: u64) -> Vec<Range<u64>> {
        let of_boot = self.runs.iter().enumerate().filter(|(_, run)| *run.boot == *boot && run.seq <= seq);
        of_boot
            .map(|(index, run)| {
                let positions = self.positions(index);
                positions.start..positions.end.min(run.position.saturating_add(seq - run.seq).saturating_add(1))
            })
            .collect()
    }

    /// Where this report stands.
    pub(crate) fn position(&self, key: &ReportKey) -> Option<u64> {
        let up_to = self.through(&key.boot, key.seq);
        up_to.into_iter().rev().filter_map(|positions| positions.end.checked_sub(1)).find(|last| self.key(*last).as_ref() == Some(key))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Forgets what stands below `position`.
    pub(crate) fn forget_below(&mut self, position: u64) {
        let kept_from = self.runs.partition_point(|run| run.position <= position).saturating_sub(1);
        self.runs.drain(..kept_from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> DroppedRange {
        DroppedRange { boot: "b7".into(), first, last }
    }

    #[test]
    fn a_range_that_closes_a_gap_makes_one_of_three() {
        let mut ranges = vec![range(1, 4), range(8, 9)];
        add_range(&mut ranges, range(6, 6));
        assert_eq!(ranges, [range(1, 4), range(8, 9), range(6, 6)]);
        add_range(&mut ranges, range(5, 7));
        assert_eq!(ranges, [range(1, 9)]);
        add_range(&mut ranges, DroppedRange { boot: "b8".into(), first: 10, last: 10 });
        assert_eq!(ranges.len(), 2);
    }

    #[test]
    fn numbers_are_known_from_positions_also_across_a_gap_but_not_between_boots() {
        let mut runs = Runs::default();
        for (position, boot, seq) in [(10, "a", 1), (11, "a", 2), (14, "a", 5), (16, "b", 1), (17, "b", 2)] {
            runs.push(position, boot, seq);
        }
        assert_eq!(runs.key(14), Some(ReportKey { boot: "a".into(), seq: 5 }));
        assert_eq!((runs.key(9), runs.key(18)), (None, None));
        assert_eq!(runs.missing(&(12..14)), Some(DroppedRange { boot: "a".into(), first: 3, last: 4 }));
        assert_eq!((runs.missing(&(15..16)), runs.missing(&(18..20))), (None, None));
        assert_eq!(runs.through("a", 2), [Range { start: 10, end: 12 }]);
        assert_eq!(runs.through("b", 9), [Range { start: 16, end: 18 }]);
        assert_eq!(runs.through("c", 9), []);
        let position = |boot: &str, seq| runs.position(&ReportKey { boot: boot.into(), seq });
        assert_eq!((position("a", 2), position("a", 5), position("b", 1)), (Some(11), Some(14), Some(16)));
        assert_eq!((position("a", 7), position("b", 3), position("c", 1)), (None, None, None));
        runs.forget_below(16);
        assert_eq!((runs.key(14), runs.key(16)), (None, Some(ReportKey { boot: "b".into(), seq: 1 })));
    }

    #[test]
    fn a_number_that_does_not_follow_begins_a_new_run() {
        let mut runs = Runs::default();
        [(0, "a", 1), (1, "a", 3), (2, "a", 2)].iter().for_each(|(position, boot, seq)| runs.push(*position, boot, *seq));
        assert_eq!(runs.through("a", 2), [0..1, 2..3]);
    }
}
