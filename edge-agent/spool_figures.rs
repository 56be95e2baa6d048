//! What `status` says of the spool.

use std::io;

use serde::Serialize;

use crate::spool::Spool;

const INFLOW_MS: u64 = 6 * 3_600_000;
const HOUR_MS: f64 = 3_600_000.0;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpoolFigures {
    /// Reports that wait for their acknowledgement.
    pub waiting: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    /// When the report that waits longest was spooled.
    pub oldest_at_ms: Option<u64>,
    /// How long an outage may last before reports are dropped, at the inflow of the last hours.
    pub hours_left: Option<f64>,
    /// Since midnight in Shanghai.
    pub acknowledged_today: u64,
    /// Settled reports that are still on disk, as proof.
    pub kept: u64,
    /// Since the start.
    pub dropped: u64,
    pub unreadable: u64,
}

impl Spool {
    pub fn figures(&mut self) -> io::Result<SpoolFigures> {
        let oldest = self.unsettled(0, 1).first().copied();
        let oldest_at_ms = match oldest {
            Some(position) => self.read_with(position, |_, frame| Ok(frame.spooled_at_ms))?.filter(|at_ms| *at_ms > 0),
            None => None,
        };
        let held: u64 = self.segments.iter().map(|segment| segment.end - segment.first).sum();
        Ok(SpoolFigures {
            waiting: self.unsettled_count(),
            bytes: self.bytes(),
            bytes_max: self.bounds.bytes_max,
            oldest_at_ms,
            hours_left: self.hours_left(),
            acknowledged_today: if self.acknowledged.0 == self.clock.shanghai_day() { self.acknowledged.1 } else { 0 },
            kept: held.saturating_sub(self.unsettled_count()),
            dropped: self.dropped_count,
            unreadable: self.unreadable_count,
        })
    }

    /// What is only kept gives way, so it counts as free.
    fn hours_left(&self) -> Option<f64> {
        let now_ms = self.clock.now_ms();
        let since_ms = now_ms.saturating_sub(INFLOW_MS);
        let recent = || self.segments.iter().filter(|segment| segment.oldest_ms > 0 && segment.newest_ms >= since_ms);
        let span_ms = now_ms.checked_sub(recent().map(|segment| segment.oldest_ms).min()?).filter(|span_ms| *span_ms > 0)?;
        let inflow: u64 = recent().map(|segment| segment.bytes).sum();
        let waiting: u64 = self.segments.iter().filter(|segment| !self.only_kept(segment)).map(|segment| segment.bytes).sum();
        let free = self.bounds.bytes_max.saturating_sub(waiting);
        Some(free as f64 / inflow as f64 * span_ms as f64 / HOUR_MS)
    }
}
