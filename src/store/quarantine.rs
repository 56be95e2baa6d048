//! Refused messages, with all their faults, for their sender and the admins.

use chrono::{DateTime, Utc};
use sqlx::Row;
use wire::Fault;
use wire::identity::Sender;

use crate::sql::{Store, StoreError};

/// One refused message.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantineEntry {
    /// Given by the store; rises.
    pub position: i64,
    pub received_at: DateTime<Utc>,
    pub sender_kind: String,
    pub sender: String,
    /// Its id, if it could be read.
    pub label: Option<String>,
    /// JSON list of faults.
    pub faults: String,
    pub body: Vec<u8>,
}

/// A message to be kept in the quarantine.
pub struct RefusedMessage<'a> {
    pub received_at: DateTime<Utc>,
    pub sender: &'a Sender,
    pub label: Option<&'a str>,
    pub faults: &'a [Fault],
    pub body: &'a [u8],
}

#[derive(Clone, Debug, Default)]
pub struct QuarantineFilter {
    pub sender_kind: Option<String>,
    pub sender: Option<String>,
    /// Only entries before this position (pages run from the newest back).
    pub before: Option<i64>,
}

pub const QUARANTINE_PAGE: i64 = 100;

impl Store {
    /// Keeps refused messages, durably, in one transaction.
    pub async fn quarantine(&self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        let mut transaction = self.quarantine.begin().await?;
        for message in refused {
            let faults = serde_json::to_string(message.faults).map_err(|error| StoreError::stored("faults", error))?;
            sqlx::query("INSERT INTO quarantine (received_at, sender_kind, sender, label, faults, body) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(message.received_at.timestamp_micros())
                .bind(message.sender.kind())
                .bind(message.sender.id())
                .bind(message.label)
                .bind(faults)
                .bind(message.body)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The newest entries first, at most `QUARANTINE_PAGE`.
    pub async fn quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<QuarantineEntry>, StoreError> {
        let mut sql =
            "SELECT position, received_at, sender_kind, sender, label, faults, body FROM quarantine WHERE position < ?".to_string();
        // Only what is asked for stands in the statement, so that the index on senders serves.
        sql.push_str(if filter.sender_kind.is_some() { " AND sender_kind = ?" } else { "" });
        sql.push_str(if filter.sender.is_some() { " AND sender = ?" } else { "" });
        sql.push_str(" ORDER BY position DESC LIMIT ?");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(filter.before.unwrap_or(i64::MAX));
        for value in [&filter.sender_kind, &filter.sender].into_iter().flatten() {
            query = query.bind(value);
        }
        let rows = query.bind(QUARANTINE_PAGE).fetch_all(&self.quarantine_readers).await?;
        rows.iter()
            .map(|row| {
                let received_us: i64 = row.try_get("received_at")?;
                Ok(QuarantineEntry {
                    position: row.try_get("position")?,
                    received_at: DateTime::from_timestamp_micros(received_us).ok_or_else(|| StoreError::stored("instant", received_us))?,
                    sender_kind: row.try_get("sender_kind")?,
                    sender: row.try_get("sender")?,
                    label: row.try_get("label")?,
                    faults: row.try_get("faults")?,
                    body: row.try_get("body")?,
                })
            })
            .collect()
    }
}
