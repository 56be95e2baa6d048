//! What the spool may hold, and for how long.

use std::io;
use std::time::Duration;

use crate::segment::Segment;
use crate::spool::Spool;
use crate::spool_scan::MAGIC;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const SHANGHAI_AHEAD_MS: u64 = 8 * HOUR_MS;
/// A file takes records for so long at most, so that whole files can be deleted when they are old.
const SEGMENT_AGE_MS_MAX: u64 = 4 * HOUR_MS;
/// A clock that goes further than this between two ticks, or goes back, was set.
const TICK_MS_MAX: u64 = 10 * 60_000;
const CHECK_EVERY_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub bytes_max: u64,
    /// What waits longer is dropped.
    pub age_max: Duration,
    /// What is settled stays for so long, as proof, unless its space is needed.
    pub keep_acknowledged: Duration,
}

/// Bounded by bytes alone; what is settled is deleted.
impl From<u64> for Bounds {
    fn from(bytes_max: u64) -> Bounds {
        Bounds { bytes_max, age_max: Duration::MAX, keep_acknowledged: Duration::ZERO }
    }
}

impl Bounds {
    fn age_ms_max(&self) -> u64 {
        u64::try_from(self.age_max.as_millis()).unwrap_or(u64::MAX)
    }

    fn keep_ms(&self) -> u64 {
        u64::try_from(self.keep_acknowledged.as_millis()).unwrap_or(u64::MAX)
    }

    fn segment_bytes_max(&self) -> u64 {
        (self.bytes_max / 16).clamp(64 * 1024, 8 * 1024 * 1024)
    }

    fn segment_age_ms_max(&self) -> u64 {
        SEGMENT_AGE_MS_MAX.min(self.age_ms_max() / 8)
    }

    pub(crate) fn refused_bytes_max(&self) -> u64 {
        self.bytes_max / 8
    }
}

/// The time as `tick` tells it. Nothing is dropped for its age before the clock has gone evenly for an hour:
/// a clock that was set says nothing of how long a report has waited.
#[derive(Default)]
pub(crate) struct SteadyClock {
    now_ms: u64,
    steady_since_ms: u64,
    checked_ms: u64,
}

impl SteadyClock {
    /// `true` about once a minute.
    pub(crate) fn tell(&mut self, now_ms: u64) -> bool {
        let even = now_ms.checked_sub(self.now_ms).is_some_and(|step_ms| step_ms <= TICK_MS_MAX);
        if !even {
            self.steady_since_ms = now_ms;
        }
        self.now_ms = now_ms;
        let due = now_ms.abs_diff(self.checked_ms) >= CHECK_EVERY_MS;
        if due {
            self.checked_ms = now_ms;
        }
        due
    }

    /// 0 before the first `tick`.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn steady(&self) -> bool {
        self.now_ms - self.steady_since_ms >= HOUR_MS
    }

    /// Days since the epoch, in Shanghai.
    pub(crate) fn shanghai_day(&self) -> u64 {
        (self.now_ms + SHANGHAI_AHEAD_MS) / DAY_MS
    }
}

impl Spool {
    /// Everything in it is settled: it only serves as proof.
    pub(crate) fn only_kept(&self, segment: &Segment) -> bool {
        self.waiting(&segment.positions()) == 0
    }

    /// Makes room for so many bytes: what is only kept goes first, then the oldest that waits.
    pub(crate) fn make_room(&mut self, needed: u64) -> io::Result<()> {
        let (bytes_max, age_ms_max) = (self.bounds.segment_bytes_max(), self.bounds.segment_age_ms_max());
        let now_ms = self.clock.now_ms();
        if let Some(active) = self.segments.back_mut()
            && active.end > active.first
        {
            active.closed |= active.bytes + needed > bytes_max || now_ms.abs_diff(active.oldest_ms) >= age_ms_max;
            active.rest();
        }
        self.remove_unkept()?;
        // A new file has a head of its own.
        while self.bytes() + needed + MAGIC.len() as u64 > self.bounds.bytes_max {
            if !self.remove_oldest_kept()? && !self.drop_oldest("the spool is full")? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn remove_oldest_kept(&mut self) -> io::Result<bool> {
        let oldest = self.segments.iter().position(|segment| segment.closed && self.only_kept(segment));
        oldest.map_or(Ok(false), |at| self.remove(at).map(|()| true))
    }

    /// Deletes what was settled and kept long enough. The newest segment stays while more can be added to it.
    pub(crate) fn remove_kept(&mut self) -> io::Result<()> {
        for at in (0..self.segments.len()).rev() {
            let segment = &self.segments[at];
            let kept_ms = self.clock.now_ms().saturating_sub(segment.settled_ms);
            if segment.closed && kept_ms >= self.bounds.keep_ms() && self.only_kept(segment) {
                self.remove(at)?;
            }
        }
        Ok(())
    }

    /// `tick` deletes what was kept long enough; what is not kept at all goes at once.
    pub(crate) fn remove_unkept(&mut self) -> io::Result<()> {
        if self.bounds.keep_acknowledged.is_zero() { self.remove_kept() } else { Ok(()) }
    }

    fn drop_oldest(&mut self, why: &str) -> io::Result<bool> {
        let Some(at) = self.segments.iter().position(|segment| !self.only_kept(segment)) else { return Ok(false) };
        self.segments[at].closed = true;
        let (positions, says_dropped) = (self.segments[at].positions(), std::mem::take(&mut self.segments[at].says_dropped));
        self.drop_waiting(positions, &says_dropped, why)?;
        self.remove(at)?;
        Ok(true)
    }

    /// Drops the oldest segment if everything in it has waited too long.
    pub(crate) fn drop_too_old(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.segments.iter().find(|segment| !self.only_kept(segment)) else { return Ok(false) };
        let age_ms = self.clock.now_ms().saturating_sub(oldest.newest_ms);
        let too_old = self.clock.steady() && oldest.newest_ms > 0 && age_ms > self.bounds.age_ms_max();
        if too_old { self.drop_oldest("they are older than spool.age_h_max") } else { Ok(false) }
    }

    /// First it is written down that nothing in it is waiting, then it is deleted.
    fn remove(&mut self, at: usize) -> io::Result<()> {
        self.save_marks_surely()?;
        if let Some(segment) = self.segments.remove(at) {
            segment.remove()?;
        }
        self.runs.forget_below(self.segments.front().map_or(self.next, |segment| segment.first));
        Ok(())
    }
}
