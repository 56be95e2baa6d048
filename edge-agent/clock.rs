//! Time as the agent sees it. It is passed in, so that tests and demonstrations may run under another clock.

use std::path::Path;
use std::time::{Instant, SystemTime};

use chrono::{DateTime, Utc};

pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;

    /// Milliseconds since some moment before the agent's start; never goes back.
    fn monotonic_ms(&self) -> u64;

    /// Whether `now` follows a time server; `None` if that is not known.
    fn synchronised(&self) -> Option<bool>;
}

/// The clock of this machine.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        SystemTime::now().into()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn synchronised(&self) -> Option<bool> {
        // systemd-timesyncd leaves this mark; other time services leave none that can be read without privileges.
        Path::new("/run/systemd/timesync/synchronized").exists().then_some(true)
    }
}
