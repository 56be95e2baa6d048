//! What findings need to know of refused messages. It is not in the evidence log, so `tally rebuild` leaves it alone; it is kept for
//! good, whatever becomes of the entries in the quarantine.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use policy::calendar::{Day, day_of};
use policy::facts::{SenderConflicts, SenderName, VoucherFacts};
use sqlx::{Row, SqliteConnection};
use wire::FaultCode;
use wire::identity::{MessageIdentity, Sender};
use wire::report::ContentDigest;

use crate::gateway_rows::day_column;
use crate::quarantine::RefusedMessage;
use crate::sql::{Store, StoreError};

/// A message whose identity stands for another accepted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The enterprises that it speaks of: of a report one, of a carrier's message several.
    pub enterprises: BTreeSet<CompactString>,
    pub identity: MessageIdentity,
    pub digest: ContentDigest,
}

/// Identities and positions that a finding names of each sender.
const SOME: i64 = 10;

impl Store {
    /// Adds what was refused about an enterprise on these days of receipt.
    pub async fn add_refusal_facts(&self, facts: &mut VoucherFacts, enterprise: &str, days: (Day, Day)) -> Result<(), StoreError> {
        let mut transaction = self.quarantine_readers.begin().await?;
        facts.future_refusals = future_refusals(&mut transaction, enterprise, days).await?;
        facts.conflicts = conflicts(&mut transaction, enterprise, days).await?;
        transaction.rollback().await?;
        Ok(())
    }

    /// Rises with every fact about refusals.
    pub async fn refusal_facts_revision(&self) -> Result<i64, StoreError> {
        let newest = "SELECT coalesce((SELECT max(number) FROM conflict), 0) + coalesce((SELECT max(number) FROM future_refusal), 0)";
        Ok(sqlx::query_scalar(newest).fetch_one(&self.quarantine_readers).await?)
    }

    /// Days of receipt on which reports of these gateways were refused because they spoke of the future: the newest of each.
    pub async fn newest_future_refusals(&self, gateways: &[&str]) -> Result<BTreeMap<String, Day>, StoreError> {
        let list = serde_json::to_string(gateways).map_err(|error| StoreError::stored("gateways", error))?;
        let newest =
            "SELECT gateway, max(day) AS day FROM future_refusal WHERE gateway IN (SELECT value FROM json_each(?)) GROUP BY gateway";
        let rows = sqlx::query(newest).bind(list).fetch_all(&self.quarantine_readers).await?;
        rows.iter().map(|row| Ok((row.try_get("gateway")?, day_column(row)?))).collect()
    }
}

/// Notes a refused message, once for equal contents.
pub(crate) async fn note_refusal(connection: &mut SqliteConnection, message: &RefusedMessage<'_>, position: i64) -> Result<(), StoreError> {
    let day = day_of(message.received_at).to_string();
    if let Some(conflict) = message.conflict {
        for enterprise in &conflict.enterprises {
            sqlx::query(
                "INSERT INTO conflict (enterprise, sender_kind, sender, identity, digest, day, received_at, position)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET day = min(day, excluded.day), received_at = min(received_at, excluded.received_at)",
            )
            .bind(enterprise.as_str())
            .bind(message.sender.kind())
            .bind(message.sender.id())
            .bind(conflict.identity.to_string())
            .bind(&conflict.digest[..])
            .bind(&day)
            .bind(message.received_at.timestamp_micros())
            .bind(position)
            .execute(&mut *connection)
            .await?;
        }
    }
    if let (Sender::Gateway(gateway), Some(boot), Some(seq)) = (message.sender, &message.label.boot, message.label.seq)
        && let Ok(seq) = i64::try_from(seq)
    {
        sqlx::query("INSERT OR IGNORE INTO refused_number (gateway, boot, seq) VALUES (?, ?, ?)")
            .bind(gateway.as_str())
            .bind(boot.as_str())
            .bind(seq)
            .execute(&mut *connection)
            .await?;
    }
    let of_the_future = message.faults.iter().any(|fault| fault.code == FaultCode::Future);
    if let (Sender::Gateway(gateway), true) = (message.sender, of_the_future) {
        sqlx::query("INSERT OR IGNORE INTO future_refusal (enterprise, day, gateway) VALUES (?, ?, ?)")
            .bind(message.enterprise)
            .bind(&day)
            .bind(gateway.as_str())
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn future_refusals(
    connection: &mut SqliteConnection,
    enterprise: &str,
    days: (Day, Day),
) -> Result<BTreeSet<(String, Day)>, StoreError> {
    let rows = sqlx::query("SELECT gateway, day FROM future_refusal WHERE enterprise = ? AND day BETWEEN ? AND ?")
        .bind(enterprise)
        .bind(days.0.to_string())
        .bind(days.1.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("gateway")?, day_column(row)?))).collect()
}

async fn conflicts(
    connection: &mut SqliteConnection,
    enterprise: &str,
    days: (Day, Day),
) -> Result<BTreeMap<SenderName, SenderConflicts>, StoreError> {
    let (from, to) = (days.0.to_string(), days.1.to_string());
    let rows = sqlx::query(
        "SELECT sender_kind, sender, count(DISTINCT identity) AS identities, count(*) AS contents, count(DISTINCT day) AS days
         FROM conflict WHERE enterprise = ? AND day BETWEEN ? AND ? GROUP BY sender_kind, sender",
    )
    .bind(enterprise)
    .bind(&from)
    .bind(&to)
    .fetch_all(&mut *connection)
    .await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let name: SenderName = (row.try_get("sender_kind")?, row.try_get("sender")?);
        let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let within = "FROM conflict WHERE enterprise = ? AND day BETWEEN ? AND ? AND sender_kind = ? AND sender = ?";
        let some = format!("SELECT DISTINCT identity {within} ORDER BY identity LIMIT {SOME}");
        let some = sqlx::query_scalar(sqlx::AssertSqlSafe(some)).bind(enterprise).bind(&from).bind(&to).bind(&name.0).bind(&name.1);
        let positions = format!("SELECT DISTINCT position {within} ORDER BY position DESC LIMIT {SOME}");
        let positions = sqlx::query_scalar(sqlx::AssertSqlSafe(positions));
        let positions = positions.bind(enterprise).bind(&from).bind(&to).bind(&name.0).bind(&name.1);
        let conflicts = SenderConflicts {
            identities: count("identities")?,
            contents: count("contents")?,
            days: count("days")?,
            some: some.fetch_all(&mut *connection).await?,
            positions: positions.fetch_all(&mut *connection).await?,
        };
        found.insert(name, conflicts);
    }
    Ok(found)
}
