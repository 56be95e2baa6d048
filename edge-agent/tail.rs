//! Follows a log of the factory's own system and turns its lines into usage. Each line counts once: the place up to which a log is read
//! moves on with the report that holds its usage, whatever happens between.

mod decode;
mod follow;
mod line;
mod marks;
mod rotated;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::report::UsageEntry;
use crate::usage::{Batch, ENTRIES_MAX, LineOutcome, LogConfig, Merge, Pseudonyms, Rule, UsageCounts};
use follow::{Follower, Piece};
pub(crate) use marks::{LogMark, LogMarks, Place};

/// A log is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A place that could not be written down is tried again after this time.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// So much read without any usage is written down all the same: it is not read again after a restart.
const UNUSED_BYTES_MAX: u64 = 16 << 20;
/// So much a clock that follows a time server and the one that stamps a log may differ. What lies further ahead is wrong.
const EARLY_MAX: Duration = Duration::from_secs(900);
/// No line holds up its log for longer.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What all logs share.
#[derive(Clone)]
pub(crate) struct Tails {
    pub pseudonyms: Pseudonyms,
    pub product: Option<String>,
    pub marks: LogMarks,
    pub batches: mpsc::Sender<Batch>,
    pub counts: UsageCounts,
    pub clock: Arc<dyn Clock>,
    /// Usage of so long is gathered into one batch.
    pub every: Duration,
}

/// Follows one log until the agent ends.
pub(crate) async fn follow(tails: Tails, log: LogConfig) {
    let name = log.file.display().to_string();
    let place = tails.marks.of(&name);
    let mut tail = Tail { name, merge: Merge::new(ENTRIES_MAX), place, since: None, unused_bytes: 0, early_since: None, tails, log };
    tail.run().await;
}

struct Tail {
    name: String,
    tails: Tails,
    log: LogConfig,
    merge: Merge,
    /// Up to here, what was read is in `merge` or of no use.
    place: Option<Place>,
    /// When the first entry came into `merge`.
    since: Option<Instant>,
    unused_bytes: u64,
    /// Since when lines are waited for whose time is yet to come.
    early_since: Option<Instant>,
}

/// The agent ends.
struct Ending;

impl Tail {
    async fn run(&mut self) {
        let mut follower = Follower::new(self.log.file.clone(), self.place.clone(), self.log.from_start);
        let mut trouble = String::new();
        loop {
            let (returned, read) = match tokio::task::spawn_blocking(move || {
                let read = follower.read();
                (follower, read)
            })
            .await
            {
                Ok(done) => done,
                // Whoever keeps this going says it, and begins anew from the place that was written down.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            };
            follower = returned;
            self.tails.counts.add_lost_files(follower.take_lost());
            let pieces = match read {
                Ok(pieces) => {
                    trouble.clear();
                    pieces
                }
                Err(error) => {
                    let said = error.to_string();
                    if said != trouble {
                        tracing::warn!(file = self.name, %error, "the log cannot be read; it is tried again");
                    }
                    trouble = said;
                    Vec::new()
                }
            };
            let idle = pieces.is_empty();
            let done = match self.first_seen(&follower).await {
                Ok(()) => self.take_all(pieces).await,
                Err(ending) => Err(ending),
            };
            if done.is_err() {
                return;
            }
            if idle {
                sleep(LOOK_EVERY.min(self.tails.every)).await;
            }
        }
    }

    /// Where reading begins is written down before anything is read, so that a restart begins there too.
    async fn first_seen(&mut self, follower: &Follower) -> Result<(), Ending> {
        if self.place.is_some() {
            return Ok(());
        }
        self.place = follower.place();
        while !self.write_place().await? {
            sleep(WRITE_AGAIN).await;
        }
        Ok(())
    }

    async fn take_all(&mut self, pieces: Vec<Piece>) -> Result<(), Ending> {
        for piece in pieces {
            self.take(piece).await?;
        }
        if self.since.is_some_and(|since| since.elapsed() >= self.tails.every) {
            self.hand_over().await?;
        }
        if self.merge.empty() && self.unused_bytes >= UNUSED_BYTES_MAX {
            self.write_place().await?;
        }
        Ok(())
    }

    async fn take(&mut self, piece: Piece) -> Result<(), Ending> {
        let outcome = match piece.line {
            None => LineOutcome::TooLong,
            Some(line) => match line::read(&line, &self.log, &self.tails) {
                Ok(entry) if self.due(entry.at).await? => {
                    self.add(entry).await?;
                    LineOutcome::Counted
                }
                Ok(_) => LineOutcome::Future,
                Err(outcome) => outcome,
            },
        };
        self.tails.counts.add_line(outcome);
        self.unused_bytes += piece.bytes;
        self.place = Some(piece.place);
        Ok(())
    }

    /// Whether this moment has come. If it lies ahead, that may be this gateway's clock, and the log waits until the clock is right.
    async fn due(&mut self, at: DateTime<Utc>) -> Result<bool, Ending> {
        let mut waiting = None;
        while Rule::at(at, self.tails.clock.now()).is_err() {
            let since = *self.early_since.get_or_insert_with(Instant::now);
            let wrong = self.tails.clock.synchronised() == Some(true)
                && (at - self.tails.clock.now()).to_std().is_ok_and(|ahead| ahead > EARLY_MAX);
            if wrong {
                self.early_since = None;
            }
            if wrong || since.elapsed() >= WAIT_MAX {
                return Ok(false);
            }
            if waiting.is_none() {
                tracing::warn!(file = self.name, %at, "the log's next line is of a time to come; it waits for this gateway's clock");
                waiting = Some(self.tails.counts.log_waits());
            }
            if !self.merge.empty() {
                self.hand_over().await?;
            }
            sleep(LOOK_EVERY.min(self.tails.every)).await;
        }
        if waiting.is_some() {
            self.early_since = None;
        }
        Ok(true)
    }

    async fn add(&mut self, entry: UsageEntry) -> Result<(), Ending> {
        if let Err(entry) = self.merge.add(entry) {
            self.hand_over().await?;
            // An empty merge has room.
            let _ = self.merge.add(entry);
        }
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Returns when the usage and its place are on disk.
    async fn hand_over(&mut self) -> Result<(), Ending> {
        let mark = self.place.clone().map(|place| LogMark { name: self.name.clone(), place });
        mark.iter().for_each(|mark| self.tails.marks.hand_over(mark));
        let (batch, mut pending) = Batch::new(self.merge.take(), mark);
        self.since = None;
        self.unused_bytes = 0;
        self.tails.batches.send(batch).await.map_err(|_| Ending)?;
        if pending.spooled().await { Ok(()) } else { Err(Ending) }
    }

    /// Whether it could be written.
    async fn write_place(&mut self) -> Result<bool, Ending> {
        let Some(place) = self.place.clone() else { return Ok(true) };
        let (marks, name) = (self.tails.marks.clone(), self.name.clone());
        let written = tokio::task::spawn_blocking(move || marks.write(&name, place)).await.map_err(|_| Ending)?;
        if let Err(error) = &written {
            tracing::warn!(file = self.name, %error, "the place in the log cannot be written down; it is tried again");
        } else {
            self.unused_bytes = 0;
        }
        Ok(written.is_ok())
    }
}

#[cfg(test)]
#[path = "tail/tests.rs"]
mod tests;
