//! Monitoring results: append-only, numbered by voucher, never changed; one order over all of them for the feed.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

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
    pub verdict: String,
    pub judged_at: DateTime<Utc>,
    pub explanation: String,
}

#[derive(Clone, Debug, Default)]
pub struct ResultFilter {
    pub after: i64,
    pub limit: i64,
}

const COLUMNS: &str = "position, voucher, sequence, verdict, judged_at, body, explanation";

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

    /// Adds a result unless `decide` finds, looking at the newest one, that nothing has changed. `decide` gives the JSON to store
    /// for the next number. Both happen in one transaction, so that two processes never use one number twice.
    pub async fn add_result(
        &self,
        new: &NewResult,
        decide: impl FnOnce(Option<&StoredResult>, i64) -> Result<Option<String>, StoreError>,
    ) -> Result<StoredResult, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM result WHERE voucher = ? ORDER BY sequence DESC LIMIT 1"));
        let newest = sqlx::query(sql).bind(&new.voucher).fetch_optional(&mut *transaction).await?;
        let newest = newest.as_ref().map(stored).transpose()?;
        let sequence = newest.as_ref().map_or(1, |newest| newest.sequence + 1);
        match (decide(newest.as_ref(), sequence)?, newest) {
            (None, Some(newest)) => Ok(newest),
            (None, None) => Err(StoreError::stored("result", "nothing to store and nothing stored")),
            (Some(body), _) => {
                let row = sqlx::query(
                    "INSERT INTO result (voucher, sequence, verdict, judged_at, body, explanation) VALUES (?, ?, ?, ?, ?, ?)
                     RETURNING position, voucher, sequence, verdict, judged_at, body, explanation",
                )
                .bind(&new.voucher)
                .bind(sequence)
                .bind(&new.verdict)
                .bind(new.judged_at.timestamp_micros())
                .bind(body)
                .bind(&new.explanation)
                .fetch_one(&mut *transaction)
                .await?;
                let result = stored(&row)?;
                transaction.commit().await?;
                Ok(result)
            }
        }
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

fn instant(us: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(us).ok_or_else(|| StoreError::stored("instant", us))
}
