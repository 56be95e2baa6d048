//! Which numbers of which boot of a gateway were accepted.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Row as _, SqliteConnection};
use tally::{Boot, BootClaims, Ranges, SequenceKey, decode_ranges, encode_ranges};

use crate::gateway_rows::missing_column;
use crate::sql::{Store, StoreError};

/// Rows that one statement reads or writes.
pub(crate) const ROWS_MAX: usize = 4_000;

/// One boot of a gateway: which numbers were accepted, and when the newest came.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySequences {
    pub boot: String,
    pub ranges: Ranges,
    pub last_at: Option<DateTime<Utc>>,
}

/// By boot.
pub(crate) type Sequences = HashMap<SequenceKey, (Ranges, Option<DateTime<Utc>>)>;

impl Store {
    /// Which numbers of a boot the last checkpoint holds.
    pub async fn ranges_of_boot(&self, boot: Boot<'_>) -> Result<Ranges, StoreError> {
        let row = sqlx::query("SELECT ranges FROM sequence WHERE gateway = ? AND boot = ?")
            .bind(boot.gateway)
            .bind(boot.boot)
            .fetch_optional(&self.readers)
            .await?;
        row.map_or(Ok(Ranges::default()), |row| Ok(decode_ranges(row.try_get("ranges")?)?))
    }

    pub async fn gateway_sequences(&self, gateway: &str) -> Result<Vec<GatewaySequences>, StoreError> {
        let rows = sqlx::query("SELECT boot, ranges, last_at FROM sequence WHERE gateway = ? ORDER BY last_at DESC, boot")
            .bind(gateway)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(GatewaySequences {
                    boot: row.try_get("boot")?,
                    ranges: decode_ranges(row.try_get("ranges")?)?,
                    last_at: row.try_get::<Option<i64>, _>("last_at")?.and_then(DateTime::from_timestamp_micros),
                })
            })
            .collect()
    }
}

pub(crate) fn gather<'c>(sequences: &mut Sequences, accepted: impl Iterator<Item = (&'c SequenceKey, &'c BootClaims)>) {
    for (key, claims) in accepted {
        let (ranges, last_at) = sequences.entry(key.clone()).or_default();
        ranges.merge(&claims.ranges());
        *last_at = (*last_at).max(claims.last_at);
    }
}

/// Adds what was accepted to what is kept.
pub(crate) async fn merge_sequences(connection: &mut SqliteConnection, accepted: Sequences) -> Result<(), StoreError> {
    let mut list: Vec<_> = accepted.into_iter().collect();
    list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for some in list.chunks_mut(ROWS_MAX) {
        let asked: Value = some.iter().enumerate().map(|(at, (key, _))| json!([at, *key.gateway, *key.boot])).collect();
        let kept = sqlx::query(
            "SELECT asked.value ->> 0 AS at, ranges, last_at FROM json_each(?) AS asked
             CROSS JOIN sequence ON gateway = asked.value ->> 1 AND boot = asked.value ->> 2",
        )
        .bind(asked.to_string())
        .fetch_all(&mut *connection)
        .await?;
        for row in &kept {
            let at = usize::try_from(row.try_get::<i64, _>("at")?).map_err(|error| StoreError::stored("sequence", error))?;
            let (_, (ranges, last_at)) = &mut some[at];
            ranges.merge(&decode_ranges(row.try_get("ranges")?)?);
            *last_at = (*last_at).max(row.try_get::<Option<i64>, _>("last_at")?.and_then(DateTime::from_timestamp_micros));
        }
        put_some(connection, some.iter().map(|(key, sequences)| (key, sequences)).collect()).await?;
    }
    Ok(())
}

/// Puts these in the place of all that is kept.
pub(crate) async fn replace_sequences(connection: &mut SqliteConnection, sequences: &Sequences) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sequence").execute(&mut *connection).await?;
    let mut list: Vec<_> = sequences.iter().collect();
    list.sort_unstable_by_key(|(key, _)| *key);
    for some in list.chunks(ROWS_MAX) {
        put_some(connection, some.to_vec()).await?;
    }
    Ok(())
}

type Row<'s> = (&'s SequenceKey, &'s (Ranges, Option<DateTime<Utc>>));

async fn put_some(connection: &mut SqliteConnection, sequences: Vec<Row<'_>>) -> Result<(), StoreError> {
    let row = |(key, (ranges, last_at)): Row<'_>| {
        let last_us = last_at.map(|at| at.timestamp_micros());
        json!([*key.gateway, *key.boot, hex::encode(encode_ranges(ranges)), last_us, missing_column(ranges.missing())])
    };
    let rows: Value = sequences.into_iter().map(row).collect();
    sqlx::query(
        "INSERT OR REPLACE INTO sequence (gateway, boot, ranges, last_at, missing)
         SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4 FROM json_each(?)",
    )
    .bind(rows.to_string())
    .execute(&mut *connection)
    .await?;
    Ok(())
}
