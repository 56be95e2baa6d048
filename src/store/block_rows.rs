//! Which blocks of the log hold what was received on a day.

use std::collections::BTreeMap;

use policy::calendar::Day;
use sqlx::{Row, SqliteConnection};
use tally::{BlockDays, BlockRange};

use crate::gateway_rows::day_column;
use crate::sql::{Store, StoreError};

impl Store {
    /// By day of receipt, from this one on, as the newest checkpoint holds them: the first and the last block.
    pub async fn blocks_since(&self, day: Day) -> Result<BTreeMap<Day, BlockRange>, StoreError> {
        let rows =
            sqlx::query("SELECT day, first, last FROM block_day WHERE day >= ?").bind(day.to_string()).fetch_all(&self.readers).await?;
        let number = |row: &sqlx::sqlite::SqliteRow, name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        rows.iter().map(|row| Ok((day_column(row)?, (number(row, "first")?, number(row, "last")?)))).collect()
    }
}

pub(crate) async fn merge_block_rows(connection: &mut SqliteConnection, blocks: &BlockDays) -> Result<(), StoreError> {
    for day in blocks.days() {
        let (day, (first, last)) = day?;
        sqlx::query(
            "INSERT INTO block_day (day, first, last) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
        )
        .bind(day.to_string())
        .bind(first.cast_signed())
        .bind(last.cast_signed())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Puts these in the place of all that is kept.
pub(crate) async fn replace_block_rows(connection: &mut SqliteConnection, blocks: &BlockDays) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM block_day").execute(&mut *connection).await?;
    merge_block_rows(connection, blocks).await
}
