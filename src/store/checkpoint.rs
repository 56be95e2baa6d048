//! The checkpoint: what a stretch of the log adds is written as one run of facts and one of identities, and counts from the moment
//! at which one transaction puts them on the list and moves the position.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tally::{Claims, Facts, PutRecord, claim_records};

use crate::audit::{AuditPlace, note_places};
use crate::block_rows::merge_block_rows;
use crate::filter::filter_bytes;
use crate::gateway_rows::merge_clock_rows;
use crate::log::LogPosition;
use crate::merkle::Frontier;
use crate::receipt_rows::merge_dropped_rows;
use crate::run_file::{Run, RunError, Runs, remove};
use crate::run_set::{Family, change_list, listed};
use crate::sequence_rows::{Sequences, gather, merge_sequences};
use crate::sql::{Store, StoreError};
use crate::touched::EnterprisesOfKeys;

/// What one stretch of the log adds: facts, identities, and where the stretch ends.
pub struct Checkpoint {
    pub facts: Facts,
    pub identities: Vec<Arc<Claims>>,
    pub position: LogPosition,
    /// Entries of the audit log that stand in the stretch.
    pub audited: Vec<AuditPlace>,
}

impl Store {
    /// Adds a stretch of the log to the facts and moves the checkpoint, all or nothing. Sorts and writes files: for a thread that may
    /// be kept busy.
    pub async fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.wait_for_merges().await;
        let _writing = self.runs.writing()?;
        let mut enterprises = EnterprisesOfKeys::default();
        let runs = self.write_runs(&checkpoint.facts, &checkpoint.identities, &mut enterprises)?;
        self.commit_runs(&runs, async |connection| {
            let mut sequences = Sequences::new();
            gather(&mut sequences, checkpoint.identities.iter().flat_map(|claims| claims.boots()));
            merge_sequences(connection, sequences).await?;
            merge_clock_rows(connection, &checkpoint.facts.clocks).await?;
            merge_dropped_rows(connection, &checkpoint.facts.dropped).await?;
            merge_block_rows(connection, &checkpoint.facts.blocks).await?;
            note_places(connection, &checkpoint.audited).await?;
            put_position(connection, &checkpoint.position).await?;
            Ok(Some(Vec::new()))
        })
        .await?;
        let clocks = checkpoint.facts.clocks.keys().map(|key| key.enterprise.to_string());
        self.touched.add(enterprises.found().into_iter().chain(clocks).collect());
        self.begin_merges();
        Ok(())
    }

    /// Writes runs that stand in no list yet.
    pub(crate) fn write_runs(
        &self,
        facts: &Facts,
        identities: &[Arc<Claims>],
        enterprises: &mut EnterprisesOfKeys,
    ) -> Result<Runs, StoreError> {
        let mut runs = Runs::new();
        let written = (|| {
            if facts.has_records() {
                let write = |put: &mut PutRecord<'_, RunError>| {
                    facts.records(&mut |key, value| {
                        enterprises.note(key)?;
                        put(key, value)
                    })
                };
                runs.push(self.write_run(Family::Facts, 0, write)?);
            }
            if !identities.is_empty() {
                let ids = identities.iter().map(|claims| claims.id_count() as u64).sum();
                runs.push(self.write_run(Family::Claims, filter_bytes(ids), |put| claim_records(identities, put))?);
            }
            Ok(())
        })();
        if written.is_err() {
            runs.iter().for_each(|run| remove(run.path()));
        }
        written.map(|()| runs)
    }

    /// Writes one run; `fill` is given the way to put records.
    pub(crate) fn write_run(
        &self,
        family: Family,
        filter_bytes: u64,
        fill: impl FnOnce(&mut PutRecord<'_, RunError>) -> Result<(), RunError>,
    ) -> Result<Arc<Run>, RunError> {
        let mut writer = self.runs.writer(family, filter_bytes)?;
        let path = writer.path().to_path_buf();
        let filled = fill(&mut |key, value| writer.push(key, value));
        let finished = filled.and_then(|()| self.runs.finish(writer));
        if finished.is_err() {
            remove(&path);
        }
        finished
    }

    /// Puts runs on the list and does what else belongs to it in the same transaction; what `also` gives is taken off the list. If it
    /// gives `None`, nothing is changed, and the runs stay with the caller. After an error nobody wants them.
    pub(crate) async fn commit_runs(
        &self,
        runs: &[Arc<Run>],
        also: impl AsyncFnOnce(&mut SqliteConnection) -> Result<Option<Vec<String>>, StoreError>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        // Lists are remembered in the order in which they were committed.
        let _one_at_a_time = self.merges.list.lock().await;
        let prepared = async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let Some(dropped) = also(&mut transaction).await? else { return Ok(None) };
            change_list(&mut transaction, runs, &dropped).await?;
            let listed = listed(&mut transaction).await?;
            Ok(Some((transaction, dropped, listed)))
        };
        let (transaction, dropped, listed) = match prepared.await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(None),
            Err(error) => {
                runs.iter().for_each(|run| remove(run.path()));
                return Err(error);
            }
        };
        if let Err(error) = transaction.commit().await {
            return self.after_failed_commit(runs, error.into()).await.map(|()| Some(dropped));
        }
        self.runs.forget_doubtful(&listed);
        self.runs.remember(listed);
        Ok(Some(dropped))
    }

    /// An error may hide a commit: only the list tells. Files that it does not name stay until a later commit has settled that they
    /// are not wanted.
    async fn after_failed_commit(&self, runs: &[Arc<Run>], error: StoreError) -> Result<(), StoreError> {
        let stands = async { listed(&mut *self.readers.acquire().await?).await };
        match stands.await {
            Ok(stands) if !runs.is_empty() && runs.iter().all(|run| stands.iter().any(|name| name == run.name())) => {
                self.runs.remember(stands);
                Ok(())
            }
            _ => {
                self.runs.doubt(runs);
                self.runs.forget_list();
                Err(error)
            }
        }
    }

    /// Where the facts stand: everything in the log before is taken in.
    pub async fn checkpoint_position(&self) -> Result<LogPosition, StoreError> {
        read_position(&mut *self.readers.acquire().await?).await
    }
}

pub(crate) async fn put_position(connection: &mut SqliteConnection, position: &LogPosition) -> Result<(), StoreError> {
    let value = [&position.segment.to_le_bytes()[..], &position.byte.to_le_bytes(), &position.frontier.to_bytes()].concat();
    sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES ('checkpoint', ?)").bind(value).execute(connection).await?;
    Ok(())
}

pub(crate) async fn read_position(connection: &mut SqliteConnection) -> Result<LogPosition, StoreError> {
    let value: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'checkpoint'").fetch_optional(connection).await?;
    let Some(value) = value else { return Ok(LogPosition::default()) };
    let damaged = || StoreError::stored("checkpoint", "it cannot be read");
    let (segment, rest) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (byte, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let frontier = Frontier::from_bytes(rest).ok_or_else(damaged)?;
    Ok(LogPosition { segment: u64::from_le_bytes(*segment), byte: u64::from_le_bytes(*byte), frontier })
}
