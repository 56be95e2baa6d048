//! The room that all waiting messages share, so that many sessions together stay bounded as each does alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub(crate) struct Room {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Bytes of the room; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Room {
        Room { used: Arc::default(), bytes_max }
    }

    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Taken { used: self.used.clone(), bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
