//! Monitoring results: append-only, numbered by voucher, never changed; one order over all of them for the feed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::kept::keep;
use crate::result_seals::{ResultGrounds, Seal, end_before, insert_seals};
use crate::sql::{Store, StoreError};

#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult {
    /// Place in the feed; rises.
    pub position: i64,
    pub voucher: String,
    pub sequence: i64,
    pub verdict: String,
    pub judged_at: DateTime<Utc>,
    /// The result's JSON, as it was stored.
    pub body: String,
    /// What the page shows beside it (device table, activity), as JSON.
    pub explanation: String,
}

/// What a list shows of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSummary {
    pub voucher: String,
    pub verdict: String,
    pub judged_at: DateTime<Utc>,
    /// The computed amount, in yuan.
    pub computed: String,
    /// Devices that decided, and devices required; `None` on rows without a per-device amount.
    pub devices: Option<(i64, i64)>,
}

#[derive(Clone, Debug)]
pub struct NewResult {
    pub voucher: String,
    /// One more than the newest that the judgement has looked at.
    pub sequence: i64,
    pub verdict: String,
    pub judged_at: DateTime<Utc>,
    pub body: String,
    pub explanation: String,
    pub grounds: ResultGrounds,
}

#[derive(Clone, Debug, Default)]
pub struct ResultFilter {
    pub after: i64,
    pub limit: i64,
}

const COLUMNS: &str = "position, voucher, sequence, verdict, judged_at, body, explanation";
/// Rows that one statement adds: their columns stay below the number that SQLite binds.
pub(crate) const ROWS_TOGETHER: usize = 500;

impl Store {
    pub async fn newest_result(&self, voucher: &str) -> Result<Option<StoredResult>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM result WHERE voucher = ? ORDER BY sequence DESC LIMIT 1"));
        sqlx::query(sql).bind(voucher).fetch_optional(&self.readers).await?.as_ref().map(stored).transpose()
    }

    /// The result that was in force at an instant.
    pub async fn result_as_of(&self, voucher: &str, as_of: DateTime<Utc>) -> Result<Option<StoredResult>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM result WHERE voucher = ? AND judged_at <= ? ORDER BY sequence DESC LIMIT 1"
        ));
        sqlx::query(sql).bind(voucher).bind(as_of.timestamp_micros()).fetch_optional(&self.readers).await?.as_ref().map(stored).transpose()
    }

    /// All results of a voucher, the newest first.
    pub async fn results_of(&self, voucher: &str) -> Result<Vec<StoredResult>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM result WHERE voucher = ? ORDER BY sequence DESC"));
        sqlx::query(sql).bind(voucher).fetch_all(&self.readers).await?.iter().map(stored).collect()
    }

    /// The feed: results in the order in which they were stored.
    pub async fn results_after(&self, filter: &ResultFilter) -> Result<Vec<StoredResult>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM result WHERE position > ? ORDER BY position LIMIT ?"));
        sqlx::query(sql).bind(filter.after).bind(filter.limit).fetch_all(&self.readers).await?.iter().map(stored).collect()
    }

    /// The newest result of every voucher that has one, in short.
    pub async fn newest_results(&self) -> Result<Vec<ResultSummary>, StoreError> {
        let rows = sqlx::query(
            "SELECT voucher, verdict, judged_at, json_extract(body, '$.amount.computed') AS computed,
                    json_extract(body, '$.devices.required') AS required, json_extract(body, '$.devices.decided') AS decided
             FROM result WHERE position IN (SELECT max(position) FROM result GROUP BY voucher)",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ResultSummary {
                    voucher: row.try_get("voucher")?,
                    verdict: row.try_get("verdict")?,
                    judged_at: instant(row.try_get("judged_at")?)?,
                    computed: row.try_get("computed")?,
                    devices: row.try_get::<Option<i64>, _>("decided")?.zip(row.try_get("required")?),
                })
            })
            .collect()
    }

    /// The newest results of these vouchers, by voucher.
    pub async fn newest_results_of(&self, vouchers: &[&str]) -> Result<HashMap<String, StoredResult>, StoreError> {
        let asked = serde_json::to_string(vouchers).map_err(|error| StoreError::stored("vouchers", error))?;
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM result WHERE position IN (
                 SELECT (SELECT position FROM result WHERE voucher = asked.value ORDER BY sequence DESC LIMIT 1) FROM json_each(?) AS asked)"
        ));
        let rows = sqlx::query(sql).bind(asked).fetch_all(&self.readers).await?;
        rows.iter().map(stored).map(|stored| stored.map(|stored| (stored.voucher.clone(), stored))).collect()
    }

    /// One result of a voucher by its number.
    pub async fn result(&self, voucher: &str, sequence: i64) -> Result<Option<StoredResult>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM result WHERE voucher = ? AND sequence = ?"));
        sqlx::query(sql).bind(voucher).bind(sequence).fetch_optional(&self.readers).await?.as_ref().map(stored).transpose()
    }

    /// Adds results in one transaction, each under its number. `None` for one whose number another process has used meanwhile: it
    /// must be judged again, looking at what is newest then.
    pub async fn add_results(&self, new: Vec<NewResult>) -> Result<Vec<Option<StoredResult>>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut end = end_before(&mut transaction, i64::MAX).await?;
        let mut position: i64 = sqlx::query_scalar("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'result'), 0)")
            .fetch_one(&mut *transaction)
            .await?;
        let mut newest = newest_sequences(&mut transaction, &new).await?;
        let (mut added, mut seals, mut kept) = (Vec::with_capacity(new.len()), Vec::new(), Vec::new());
        for new in new {
            let newest = newest.entry(new.voucher.clone()).or_default();
            if *newest >= new.sequence {
                added.push(None);
                continue;
            }
            *newest = new.sequence;
            position += 1;
            let (result, grounds) = new.stored_at(position);
            end = end.followed_by(position, &result.body, &result.explanation);
            seals.push(Seal::of(self.keys(), end, &result, &grounds));
            kept.extend(grounds.kept);
            added.push(Some(result));
        }
        let results: Vec<&StoredResult> = added.iter().flatten().collect();
        for some in results.chunks(ROWS_TOGETHER) {
            let mut insert = QueryBuilder::<Sqlite>::new(format!("INSERT INTO result ({COLUMNS}) "));
            insert.push_values(some, |mut row, result| {
                row.push_bind(result.position).push_bind(&result.voucher).push_bind(result.sequence).push_bind(&result.verdict);
                row.push_bind(result.judged_at.timestamp_micros()).push_bind(&result.body).push_bind(&result.explanation);
            });
            insert.build().persistent(false).execute(&mut *transaction).await?;
        }
        insert_seals(&mut transaction, &seals).await?;
        keep(&mut transaction, &kept).await?;
        transaction.commit().await?;
        self.remembered.add(&kept);
        Ok(added)
    }
}

/// The newest number of each of their vouchers that has a result.
async fn newest_sequences(connection: &mut SqliteConnection, new: &[NewResult]) -> Result<HashMap<String, i64>, StoreError> {
    let asked: Vec<&str> = new.iter().map(|new| new.voucher.as_str()).collect();
    let asked = serde_json::to_string(&asked).map_err(|error| StoreError::stored("vouchers", error))?;
    let newest = "SELECT asked.value AS voucher, (SELECT max(sequence) FROM result WHERE voucher = asked.value) AS newest
                  FROM json_each(?) AS asked";
    let rows = sqlx::query(newest).bind(asked).fetch_all(connection).await?;
    let of_row = |row: &SqliteRow| Ok((row.try_get("voucher")?, row.try_get::<Option<i64>, _>("newest")?.unwrap_or(0)));
    rows.iter().map(of_row).collect()
}

impl NewResult {
    fn stored_at(self, position: i64) -> (StoredResult, ResultGrounds) {
        let NewResult { voucher, sequence, verdict, judged_at, body, explanation, grounds } = self;
        (StoredResult { position, voucher, sequence, verdict, judged_at, body, explanation }, grounds)
    }
}

fn stored(row: &SqliteRow) -> Result<StoredResult, StoreError> {
    Ok(StoredResult {
        position: row.try_get("position")?,
        voucher: row.try_get("voucher")?,
        sequence: row.try_get("sequence")?,
        verdict: row.try_get("verdict")?,
        judged_at: instant(row.try_get("judged_at")?)?,
        body: row.try_get("body")?,
        explanation: row.try_get("explanation")?,
    })
}

pub(crate) fn instant(us: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(us).ok_or_else(|| StoreError::stored("instant", us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(voucher: &str, sequence: i64) -> NewResult {
        let judged_at = DateTime::from_timestamp(1_572_900_000, 0).unwrap();
        let (body, explanation) = ("{}".to_string(), "{}".to_string());
        let grounds = ResultGrounds { as_of: judged_at, refusals: String::new(), kept: Vec::new() };
        NewResult { voucher: voucher.to_string(), sequence, verdict: "met".to_string(), judged_at, body, explanation, grounds }
    }

    #[tokio::test]
    async fn a_number_is_used_once_and_the_next_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let added = store.add_results(vec![new("V-1", 1), new("V-2", 1), new("V-1", 1), new("V-1", 2)]).await.unwrap();
        assert_eq!(added.iter().map(|one| one.as_ref().map(|one| one.position)).collect::<Vec<_>>(), [Some(1), Some(2), None, Some(3)]);
        let newest = store.newest_results_of(&["V-1", "V-3", "V-2"]).await.unwrap();
        assert_eq!((newest.len(), newest["V-1"].sequence, newest["V-2"].sequence), (2, 2, 1));
        assert!(store.add_results(vec![new("V-2", 3)]).await.unwrap_err().to_string().contains("follows the last"));
    }

    #[tokio::test]
    async fn the_database_itself_refuses_to_change_replace_or_delete_a_result() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        store.add_results(vec![new("V-1", 1), new("V-1", 2)]).await.unwrap();
        let before = store.results_of("V-1").await.unwrap();
        for statement in [
            "UPDATE result SET verdict = 'not_met'",
            "DELETE FROM result",
            "INSERT OR REPLACE INTO result VALUES (9, 'V-1', 2, 'not_met', 0, '{}', '{}')",
            "INSERT OR REPLACE INTO result VALUES (1, 'V-1', 3, 'not_met', 0, '{}', '{}')",
            "REPLACE INTO result VALUES (2, 'V-2', 1, 'not_met', 0, '{}', '{}')",
        ] {
            let error = sqlx::query(statement).execute(&store.writer).await.unwrap_err().to_string();
            assert!(error.contains("a result"), "{statement}: {error}");
        }
        assert_eq!(store.results_of("V-1").await.unwrap(), before);
    }
}
