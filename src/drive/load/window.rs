//! The stretch of time in which everybody sends, and which is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone)]
pub(super) struct Window {
    began: Instant,
    /// In microseconds after the beginning.
    length_us: Arc<AtomicU64>,
}

impl Window {
    /// Begins now.
    pub(super) fn of(length: Duration) -> Window {
        Window { began: Instant::now(), length_us: Arc::new(AtomicU64::new(length.as_micros() as u64)) }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn end(&self) -> Instant {
        self.began + self.length()
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_micros(self.length_us.load(Ordering::Relaxed))
    }

    /// Ends it for everybody: somebody has nothing left to send.
    pub(super) fn close(&self, now: Instant) {
        self.length_us.fetch_min(now.saturating_duration_since(self.began).as_micros() as u64, Ordering::Relaxed);
    }
}
