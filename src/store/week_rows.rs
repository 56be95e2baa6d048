//! What weekly data quality needs of refusals and missing numbers, over a stretch of time.

use std::collections::HashMap;

use policy::calendar::Instant;
use sqlx::Row;
use tally::decode_ranges;

use crate::gateway_rows::{GapTotals, missing_column};
use crate::quarantine::REFUSED;
use crate::sql::{Store, StoreError};

impl Store {
    /// Messages received from the one instant until before the other that stand in the quarantine as refused, by kind and id of their
    /// sender. What the quarantine has let go of is not counted.
    pub async fn refused_between(&self, from: Instant, until: Instant) -> Result<HashMap<(String, String), u64>, StoreError> {
        let rows = sqlx::query(
            "SELECT sender_kind, sender, count(*) AS number FROM quarantine
             WHERE received_at >= ? AND received_at < ? AND (outcome IS NULL OR outcome = ?) GROUP BY sender_kind, sender",
        )
        .bind(from.timestamp_micros())
        .bind(until.timestamp_micros())
        .bind(REFUSED)
        .fetch_all(&self.quarantine_readers)
        .await?;
        rows.iter()
            .map(|row| Ok(((row.try_get("sender_kind")?, row.try_get("sender")?), row.try_get::<i64, _>("number")?.unsigned_abs())))
            .collect()
    }

    /// Numbers missing in boots whose newest report came from the one instant until before the other, by gateway.
    pub async fn gaps_between(&self, from: Instant, until: Instant) -> Result<HashMap<String, GapTotals>, StoreError> {
        let rows = sqlx::query("SELECT gateway, ranges FROM sequence WHERE missing > 0 AND last_at >= ? AND last_at < ?")
            .bind(from.timestamp_micros())
            .bind(until.timestamp_micros())
            .fetch_all(&self.readers)
            .await?;
        let mut by: HashMap<String, GapTotals> = HashMap::new();
        for row in &rows {
            let missing = missing_column(decode_ranges(row.try_get("ranges")?)?.missing()).unsigned_abs();
            let totals = by.entry(row.try_get("gateway")?).or_insert(GapTotals { reports: 0, boots: 0 });
            totals.reports += missing;
            totals.boots += 1;
        }
        Ok(by)
    }
}
