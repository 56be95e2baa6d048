//! Refused messages, with all their faults, for their sender and the admins: kept for a time, and read anew when the register was
//! corrected.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use wire::identity::Sender;
use wire::{Fault, Label, Remedy};

use crate::refusal_facts::{Conflict, note_refusal};
use crate::sql::{Store, StoreError};

/// One refused message.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantineEntry {
    /// Given by the store; rises.
    pub position: i64,
    pub received_at: DateTime<Utc>,
    pub sender_kind: String,
    pub sender: String,
    /// Its id, boot and number, as far as they could be read.
    pub label: Option<String>,
    pub boot: Option<String>,
    pub seq: Option<i64>,
    /// Where it came on a topic other than its sender's own for reports.
    pub topic: Option<String>,
    /// JSON list of faults, as of the last time that it was read.
    pub faults: String,
    /// False where it was refused for the way it came: then only its sender can mend it.
    pub replayable: bool,
    pub replayed_at: Option<DateTime<Utc>>,
    /// What became of it when it was last replayed.
    pub outcome: Option<String>,
    pub body: Vec<u8>,
}

impl QuarantineEntry {
    /// The message stands in the log: nothing is left to do.
    pub fn settled(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome != REFUSED)
    }
}

pub const ACCEPTED: &str = "accepted";
pub const DUPLICATE: &str = "duplicate";
pub const REFUSED: &str = "refused";

/// A message to be kept in the quarantine.
pub struct RefusedMessage<'a> {
    pub received_at: DateTime<Utc>,
    pub sender: &'a Sender,
    /// The gateway's; empty for others.
    pub enterprise: &'a str,
    pub label: &'a Label,
    pub topic: Option<&'a str>,
    pub faults: &'a [Fault],
    pub conflict: Option<&'a Conflict>,
    pub body: &'a [u8],
    /// The entry that it was replayed from: it is kept there already.
    pub replayed_from: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct QuarantineFilter {
    pub sender_kind: Option<String>,
    pub sender: Option<String>,
    /// Only entries with a fault of this code.
    pub code: Option<String>,
    /// Only entries that are not settled.
    pub open: bool,
}

#[derive(Clone, Debug, Default)]
pub struct QuarantinePage {
    pub entries: Vec<QuarantineEntry>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<i64>,
}

/// What became of an entry that was replayed.
#[derive(Clone, Debug)]
pub struct Replayed<'a> {
    pub position: i64,
    pub outcome: &'static str,
    /// The faults that it has today, where it is refused again.
    pub faults: Option<&'a [Fault]>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct QuarantineLimits {
    pub keep: TimeDelta,
    pub bytes_max: u64,
}

/// What one turn of pruning removed, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub by_age: u64,
    pub by_size: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// One page or batch, and one turn of pruning, at most.
pub const QUARANTINE_PAGE: usize = 100;
const PAGE_BODY_BYTES: i64 = 8 << 20;
const SCANNED_MAX: usize = 2_000;
const PRUNED_MAX: i64 = 1_000;
const PRUNED_BYTES_MAX: i64 = 32 << 20;

const COLUMNS: &str = "position, received_at, sender_kind, sender, label, boot, seq, topic, faults, replayable, replayed_at, outcome, body";

impl Store {
    /// Keeps refused messages, durably, in one transaction, and notes what findings rest on.
    pub async fn quarantine(&self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        let mut transaction = self.quarantine.begin_with("BEGIN IMMEDIATE").await?;
        for message in refused {
            let position = match message.replayed_from {
                Some(position) => position,
                None => insert(&mut transaction, message).await?,
            };
            note_refusal(&mut transaction, message, position).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The newest entries first; `before`: `next` of the page before.
    pub async fn quarantined(&self, filter: &QuarantineFilter, before: Option<i64>) -> Result<QuarantinePage, StoreError> {
        let mut query = scan(filter);
        query.push(" AND position < ").push_bind(before.unwrap_or(i64::MAX)).push(" ORDER BY position DESC");
        let mut page = self.page(query).await?;
        page.entries.reverse();
        Ok(page)
    }

    /// Entries that can be replayed, the oldest first; `after`: `next` of the batch before.
    pub async fn quarantined_to_replay(&self, filter: &QuarantineFilter, after: i64) -> Result<QuarantinePage, StoreError> {
        let mut query = scan(&QuarantineFilter { open: true, ..filter.clone() });
        query.push(" AND replayable AND position > ").push_bind(after).push(" ORDER BY position");
        self.page(query).await
    }

    pub async fn quarantine_entry(&self, position: i64) -> Result<Option<QuarantineEntry>, StoreError> {
        Ok(self.entries(&[position]).await?.pop())
    }

    /// Says what became of replayed entries. One that is settled stays so.
    pub async fn mark_replayed(&self, replayed: &[Replayed<'_>], at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut transaction = self.quarantine.begin_with("BEGIN IMMEDIATE").await?;
        for Replayed { position, outcome, faults } in replayed {
            let faults = faults.map(faults_json).transpose()?;
            sqlx::query(
                "UPDATE quarantine SET replayed_at = ?, outcome = ?, faults = coalesce(?, faults)
                 WHERE position = ? AND (outcome IS NULL OR outcome = ?)",
            )
            .bind(at.timestamp_micros())
            .bind(outcome)
            .bind(faults)
            .bind(position)
            .bind(REFUSED)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// One turn: removes what is too old, then the oldest of what is too much, a bounded number of each.
    pub async fn prune_quarantine(&self, limits: &QuarantineLimits, now: DateTime<Utc>) -> Result<Pruned, StoreError> {
        let mut transaction = self.quarantine.begin_with("BEGIN IMMEDIATE").await?;
        let oldest = now.checked_sub_signed(limits.keep).unwrap_or(DateTime::<Utc>::MIN_UTC).timestamp_micros();
        let aged = sqlx::query("SELECT position, bytes FROM quarantine WHERE received_at < ? ORDER BY received_at LIMIT ?");
        let aged = aged.bind(oldest).bind(PRUNED_MAX).fetch_all(&mut *transaction).await?;
        let by_age = remove(&mut transaction, &aged, i64::MAX).await?;
        let excess = size(&mut transaction).await?.1 - i64::try_from(limits.bytes_max).unwrap_or(i64::MAX);
        let mut by_size = 0;
        if excess > 0 {
            let first = sqlx::query("SELECT position, bytes FROM quarantine ORDER BY position LIMIT ?").bind(PRUNED_MAX);
            let first = first.fetch_all(&mut *transaction).await?;
            by_size = remove(&mut transaction, &first, excess).await?;
        }
        let (entries, bytes) = size(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Pruned { by_age, by_size, entries: entries.unsigned_abs(), bytes: bytes.unsigned_abs() })
    }

    /// Looks through the entries of a scan in its order, and reads those wanted until a page is full.
    async fn page(&self, mut query: QueryBuilder<Sqlite>) -> Result<QuarantinePage, StoreError> {
        query.push(" LIMIT ").push_bind(SCANNED_MAX as i64);
        let rows = query.build().fetch_all(&self.quarantine_readers).await?;
        let (mut positions, mut bytes, mut next) = (Vec::new(), 0, None);
        for (scanned, row) in (1..).zip(&rows) {
            let position: i64 = row.try_get("position")?;
            if row.try_get("wanted")? {
                positions.push(position);
                bytes += row.try_get::<i64, _>("body_bytes")?;
            }
            let full = positions.len() == QUARANTINE_PAGE || bytes >= PAGE_BODY_BYTES;
            if full || scanned == SCANNED_MAX {
                next = Some(position);
                break;
            }
        }
        Ok(QuarantinePage { entries: self.entries(&positions).await?, next })
    }

    /// In the order of their positions.
    async fn entries(&self, positions: &[i64]) -> Result<Vec<QuarantineEntry>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM quarantine WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position");
        let list = serde_json::to_string(positions).map_err(|error| StoreError::stored("positions", error))?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(list).fetch_all(&self.quarantine_readers).await?;
        rows.iter().map(entry).collect()
    }
}

/// The beginning of a scan, up to where its direction is said. Bodies are not read here.
fn scan(filter: &QuarantineFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT position, length(body) AS body_bytes, ");
    match &filter.code {
        Some(code) => query.push("EXISTS (SELECT 1 FROM json_each(faults) WHERE value ->> 'code' = ").push_bind(code.clone()).push(")"),
        None => query.push("TRUE"),
    };
    query.push(" AS wanted FROM quarantine WHERE TRUE");
    // Only what is asked for stands in the statement, so that the index on senders serves.
    for (column, value) in [("sender_kind", &filter.sender_kind), ("sender", &filter.sender)] {
        if let Some(value) = value {
            query.push(format!(" AND {column} = ")).push_bind(value.clone());
        }
    }
    if filter.open {
        query.push(" AND (outcome IS NULL OR outcome = ").push_bind(REFUSED).push(")");
    }
    query
}

async fn insert(connection: &mut SqliteConnection, message: &RefusedMessage<'_>) -> Result<i64, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO quarantine (received_at, sender_kind, sender, label, boot, seq, topic, faults, replayable, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(message.received_at.timestamp_micros())
    .bind(message.sender.kind())
    .bind(message.sender.id())
    .bind(message.label.id.as_deref())
    .bind(message.label.boot.as_deref())
    .bind(message.label.seq.and_then(|seq| i64::try_from(seq).ok()))
    .bind(message.topic)
    .bind(faults_json(message.faults)?)
    .bind(message.faults.iter().all(|fault| fault.code.remedy() != Remedy::Door))
    .bind(message.body)
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_rowid())
}

/// Removes entries from the first on until `enough` bytes are gone, or the turn's share of work is done.
async fn remove(connection: &mut SqliteConnection, rows: &[SqliteRow], enough: i64) -> Result<u64, StoreError> {
    let (mut positions, mut bytes) = (Vec::new(), 0);
    for row in rows {
        if bytes >= enough.min(PRUNED_BYTES_MAX) {
            break;
        }
        positions.push(row.try_get::<i64, _>("position")?);
        bytes += row.try_get::<i64, _>("bytes")?;
    }
    if positions.is_empty() {
        return Ok(0);
    }
    let list = serde_json::to_string(&positions).map_err(|error| StoreError::stored("positions", error))?;
    let removed = sqlx::query("DELETE FROM quarantine WHERE position IN (SELECT value FROM json_each(?))").bind(list);
    Ok(removed.execute(connection).await?.rows_affected())
}

/// Entries and bytes.
async fn size(connection: &mut SqliteConnection) -> Result<(i64, i64), StoreError> {
    let row = sqlx::query("SELECT entries, bytes FROM quarantine_size").fetch_one(connection).await?;
    Ok((row.try_get("entries")?, row.try_get("bytes")?))
}

fn faults_json(faults: &[Fault]) -> Result<String, StoreError> {
    serde_json::to_string(faults).map_err(|error| StoreError::stored("faults", error))
}

fn entry(row: &SqliteRow) -> Result<QuarantineEntry, StoreError> {
    let instant = |us: i64| DateTime::from_timestamp_micros(us).ok_or_else(|| StoreError::stored("instant", us));
    Ok(QuarantineEntry {
        position: row.try_get("position")?,
        received_at: instant(row.try_get("received_at")?)?,
        sender_kind: row.try_get("sender_kind")?,
        sender: row.try_get("sender")?,
        label: row.try_get("label")?,
        boot: row.try_get("boot")?,
        seq: row.try_get("seq")?,
        topic: row.try_get("topic")?,
        faults: row.try_get("faults")?,
        replayable: row.try_get("replayable")?,
        replayed_at: row.try_get::<Option<i64>, _>("replayed_at")?.map(instant).transpose()?,
        outcome: row.try_get("outcome")?,
        body: row.try_get("body")?,
    })
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
