//! Time as the agent sees it. It is passed in, so that tests and demonstrations may run under another clock.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};

/// systemd-timesyncd touches this mark each time a server has told it the time: every 34 minutes at least.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";
/// Of an older mark it is not known whether the servers can still be reached.
const MARK_AGE_MAX: Duration = Duration::from_secs(3 * 3600);
/// How long what `timedatectl` said is taken for true.
const ASK_EVERY: Duration = Duration::from_secs(300);

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
    asked_at: Mutex<Option<Instant>>,
    said: Arc<AtomicU8>,
}

const NOT_KNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { started: Instant::now(), asked_at: Mutex::new(None), said: Arc::new(AtomicU8::new(NOT_KNOWN)) }
    }
}

impl SystemClock {
    /// Asks the system in the background, so that no report waits for the answer.
    fn ask(&self) {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        *asked_at = Some(Instant::now());
        let said = self.said.clone();
        // Without a thread the state stays unknown, and reports say so.
        let _ = std::thread::Builder::new().name("clock".into()).stack_size(64 * 1024).spawn(move || {
            said.store(
                match system_synchronised() {
                    Some(true) => YES,
                    Some(false) => NO,
                    None => NOT_KNOWN,
                },
                Ordering::Relaxed,
            );
        });
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
        self.ask();
        match self.said.load(Ordering::Relaxed) {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }
}

/// Whether the system's clock follows a time server, whichever program sees to that; `None` where nobody can say.
pub fn system_synchronised() -> Option<bool> {
    if recently_marked(Path::new(TIMESYNC_MARK), SystemTime::now()) {
        return Some(true);
    }
    let output = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match output.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn recently_marked(mark: &Path, now: SystemTime) -> bool {
    let marked = std::fs::metadata(mark).and_then(|metadata| metadata.modified());
    marked.is_ok_and(|marked| now.duration_since(marked).is_ok_and(|age| age <= MARK_AGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_the_time_service_counts_while_it_is_fresh() {
        let mark = tempfile::NamedTempFile::new().unwrap();
        let marked = mark.as_file().metadata().unwrap().modified().unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert!(recently_marked(mark.path(), marked + minutes(35)));
        assert!(!recently_marked(mark.path(), marked + minutes(181)));
        assert!(!recently_marked(mark.path(), marked - minutes(1)), "the clock was set back since");
        assert!(!recently_marked(Path::new("/nowhere"), marked));
    }
}
