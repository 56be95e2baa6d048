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
        let rows = sqlx::query(
            "SELECT position, received_at, sender_kind, sender, label, faults, body FROM quarantine
             WHERE (?1 IS NULL OR sender_kind = ?1) AND (?2 IS NULL OR sender = ?2) AND position < ?3
             ORDER BY position DESC LIMIT ?4",
        )
        .bind(&filter.sender_kind)
        .bind(&filter.sender)
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(QUARANTINE_PAGE)
        .fetch_all(&self.quarantine)
        .await?;
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
