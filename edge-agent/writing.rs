//! How writing to the spool goes: for the status page, the metrics and whoever asks.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writing {
    /// While nothing can be written: since when, and why.
    pub failing: Option<WriteFailure>,
    /// Entries that found no room in memory meanwhile, since the start.
    pub entries_dropped_total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteFailure {
    pub since: DateTime<Utc>,
    pub error: String,
}

/// Written by the reporter, read by others.
#[derive(Clone, Default)]
pub(crate) struct SharedWriting(Arc<Mutex<Writing>>);

impl SharedWriting {
    pub fn read(&self) -> Writing {
        self.with(|writing| writing.clone())
    }

    pub fn done(&self) {
        self.with(|writing| writing.failing = None);
    }

    pub fn failed(&self, error: &io::Error, now: DateTime<Utc>) {
        self.with(|writing| {
            let since = writing.failing.as_ref().map_or(now, |before| before.since);
            writing.failing = Some(WriteFailure { since, error: error.to_string() });
        });
    }

    pub fn dropped(&self, entries_total: u64) {
        self.with(|writing| writing.entries_dropped_total = entries_total);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Writing) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
