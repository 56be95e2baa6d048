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
    waiting_logs: AtomicU64,
    lost_files: AtomicU64,
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

    /// A log waits as long as the answer lives.
    pub fn log_waits(&self) -> LogWaits {
        self.0.waiting_logs.fetch_add(1, Ordering::Relaxed);
        LogWaits(self.clone())
    }

    pub fn waiting_logs(&self) -> u64 {
        self.0.waiting_logs.load(Ordering::Relaxed)
    }

    pub fn add_lost_files(&self, count: u64) {
        self.0.lost_files.fetch_add(count, Ordering::Relaxed);
    }

    pub fn lost_files(&self) -> u64 {
        self.0.lost_files.load(Ordering::Relaxed)
    }

    pub fn lines(&self, outcome: LineOutcome) -> u64 {
        self.0.lines[outcome as usize].load(Ordering::Relaxed)
    }
}

pub struct LogWaits(UsageCounts);

impl Drop for LogWaits {
    fn drop(&mut self) {
        self.0.0.waiting_logs.fetch_sub(1, Ordering::Relaxed);
    }
}
