//! What became of usage since the start, for metrics and the status page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The fate of one line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    Counted,
    /// The pattern does not match.
    Unmatched,
    /// A function module that the table of the log does not know.
    UnknownModule,
    /// The pattern matches, and a field is no usable value.
    Invalid,
    /// Its time is yet to come.
    Future,
    TooLong,
}

impl LineOutcome {
    pub const ALL: [(LineOutcome, &str); 6] = [
        (LineOutcome::Counted, "counted"),
        (LineOutcome::Unmatched, "unmatched"),
        (LineOutcome::UnknownModule, "unknown_module"),
        (LineOutcome::Invalid, "invalid"),
        (LineOutcome::Future, "future"),
        (LineOutcome::TooLong, "too_long"),
    ];
}

#[derive(Default)]
struct Counts {
    posted: AtomicU64,
    lines: [AtomicU64; LineOutcome::ALL.len()],
}

#[derive(Clone, Default)]
pub struct UsageCounts(Arc<Counts>);

impl UsageCounts {
    pub fn add_posted(&self, count: usize) {
        self.0.posted.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn posted(&self) -> u64 {
        self.0.posted.load(Ordering::Relaxed)
    }

    pub fn add_line(&self, outcome: LineOutcome) {
        self.0.lines[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn lines(&self, outcome: LineOutcome) -> u64 {
        self.0.lines[outcome as usize].load(Ordering::Relaxed)
    }
}
