//! What gateways have sent, in short, and how their clocks stand.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use policy::calendar::{Day, read_day};
use policy::facts::{ClockDay, VoucherFacts};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tally::{ClockKey, Clocks, decode_clock_day, decode_ranges, encode_clock_day, merge_clock_day};

use crate::facts_many::{ByEnterprise, Wanted};
use crate::sequence_rows::ROWS_MAX;
use crate::sql::{Store, StoreError};

/// More missing numbers of one boot than this are one mistake, not so many lost reports; and sums stay in range.
const MISSING_MAX: u64 = 1 << 40;

/// All boots of a gateway taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewaySummary {
    pub boots: u64,
    pub missing: u64,
    pub last_at: Option<DateTime<Utc>>,
    /// The newest day of receipt.
    pub clock: Option<(Day, ClockDay)>,
}

/// Numbers that are missing, of all boots of all gateways, and in how many boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapTotals {
    pub reports: u64,
    pub boots: u64,
}

impl Store {
    /// Summaries of those gateways that have sent anything.
    pub async fn gateway_summaries(&self, gateways: &[&str]) -> Result<HashMap<String, GatewaySummary>, StoreError> {
        let list = serde_json::to_string(gateways).map_err(|error| StoreError::stored("gateways", error))?;
        let mut summaries: HashMap<String, GatewaySummary> = HashMap::new();
        let rows = sqlx::query("SELECT gateway, ranges, last_at FROM sequence WHERE gateway IN (SELECT value FROM json_each(?))")
            .bind(&list)
            .fetch_all(&self.readers)
            .await?;
        for row in &rows {
            let summary = summaries.entry(row.try_get("gateway")?).or_default();
            summary.boots += 1;
            summary.missing = summary.missing.saturating_add(decode_ranges(row.try_get("ranges")?)?.missing());
            let last_at: Option<i64> = row.try_get("last_at")?;
            summary.last_at = summary.last_at.max(last_at.and_then(DateTime::from_timestamp_micros));
        }
        let newest = "SELECT gateway, day, facts FROM json_each(?) AS asked JOIN clock_day ON gateway = asked.value
                      WHERE day = (SELECT max(day) FROM clock_day WHERE gateway = asked.value)";
        for row in &sqlx::query(newest).bind(&list).fetch_all(&self.readers).await? {
            let summary = summaries.entry(row.try_get("gateway")?).or_default();
            // A gateway that changed its enterprise has two rows of that day.
            let clock = &mut summary.clock.get_or_insert((day_column(row)?, ClockDay::default())).1;
            merge_clock_day(clock, &decode_clock_day(row.try_get("facts")?)?);
        }
        Ok(summaries)
    }

    pub async fn gap_totals(&self) -> Result<GapTotals, StoreError> {
        let row = sqlx::query("SELECT coalesce(sum(missing), 0) AS reports, count(*) AS boots FROM sequence WHERE missing > 0")
            .fetch_one(&self.readers)
            .await?;
        let count = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(GapTotals { reports: count("reports")?, boots: count("boots")? })
    }
}

/// As the total counts it.
pub(crate) fn missing_column(missing: u64) -> i64 {
    missing.min(MISSING_MAX) as i64
}

/// Adds clocks to what is kept, many rows with one statement.
pub(crate) async fn merge_clock_rows(connection: &mut SqliteConnection, clocks: &Clocks) -> Result<(), StoreError> {
    let mut list: Vec<_> = clocks.iter().map(|(key, day)| (key, day.clone())).collect();
    list.sort_unstable_by_key(|(key, _)| *key);
    for some in list.chunks_mut(ROWS_MAX) {
        let asked: Value =
            some.iter().enumerate().map(|(at, (key, _))| json!([at, *key.gateway, key.day.to_string(), *key.enterprise])).collect();
        let kept = sqlx::query(
            "SELECT asked.value ->> 0 AS at, facts FROM json_each(?) AS asked
             CROSS JOIN clock_day ON gateway = asked.value ->> 1 AND day = asked.value ->> 2 AND enterprise = asked.value ->> 3",
        )
        .bind(asked.to_string())
        .fetch_all(&mut *connection)
        .await?;
        for row in &kept {
            let at = usize::try_from(row.try_get::<i64, _>("at")?).map_err(|error| StoreError::stored("clock", error))?;
            merge_clock_day(&mut some[at].1, &decode_clock_day(row.try_get("facts")?)?);
        }
        let row = |(key, day): &(&ClockKey, ClockDay)| {
            json!([*key.gateway, key.day.to_string(), *key.enterprise, hex::encode(encode_clock_day(day))])
        };
        let rows: Value = some.iter().map(row).collect();
        sqlx::query(
            "INSERT OR REPLACE INTO clock_day (gateway, day, enterprise, facts)
             SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3) FROM json_each(?)",
        )
        .bind(rows.to_string())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Clocks of these enterprises' gateways, over all days that are wanted of anybody.
pub(crate) async fn stored_clocks(connection: &mut SqliteConnection, wanted: &[Wanted]) -> Result<ByEnterprise, StoreError> {
    let (asked, from, to) = asked_for(wanted);
    let rows = sqlx::query(
        "SELECT clock_day.enterprise, gateway, day, facts FROM json_each(?) AS asked
         CROSS JOIN clock_day ON clock_day.enterprise = asked.value AND day BETWEEN ? AND ?",
    )
    .bind(asked)
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await?;
    let mut by = ByEnterprise::new();
    for row in &rows {
        let of_enterprise = by.entry(row.try_get("enterprise")?).or_default();
        of_enterprise.clocks.insert((row.try_get("gateway")?, day_column(row)?), decode_clock_day(row.try_get("facts")?)?);
    }
    Ok(by)
}

/// The enterprises as a JSON list, each once, and the first and last day that is wanted of any.
pub(crate) fn asked_for(wanted: &[Wanted]) -> (String, String, String) {
    let enterprises: BTreeSet<&str> = wanted.iter().map(|one| one.enterprise.as_str()).collect();
    let from = wanted.iter().map(|one| one.days.0).min().unwrap_or_default();
    let to = wanted.iter().map(|one| one.days.1).max().unwrap_or_default();
    (json!(enterprises).to_string(), from.to_string(), to.to_string())
}

/// Puts these in the place of all that is kept.
pub(crate) async fn replace_clock_rows(connection: &mut SqliteConnection, clocks: &Clocks) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM clock_day").execute(&mut *connection).await?;
    merge_clock_rows(connection, clocks).await
}

pub(crate) fn day_column(row: &SqliteRow) -> Result<Day, StoreError> {
    let day: String = row.try_get("day")?;
    read_day(&day).ok_or_else(|| StoreError::stored("day", day))
}

pub(crate) fn add_clock_tail(facts: &mut VoucherFacts, enterprise: &str, days: (Day, Day), tail: &Clocks) {
    let within = |day: Day| days.0 <= day && day <= days.1;
    for (key, day) in tail.iter().filter(|(key, _)| key.enterprise == enterprise && within(key.day)) {
        merge_clock_day(facts.clocks.entry((key.gateway.to_string(), key.day)).or_default(), day);
    }
}
