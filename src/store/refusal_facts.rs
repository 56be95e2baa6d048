//! What findings need to know of refused messages. It is not in the evidence log, so `tally rebuild` leaves it alone; it is kept for
//! good, whatever becomes of the entries in the quarantine.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use policy::calendar::{Day, day_of};
use policy::facts::{SenderConflicts, SenderName};
use sqlx::{Row, SqliteConnection};
use wire::FaultCode;
use wire::identity::{MessageIdentity, Sender};
use wire::report::ContentDigest;

use crate::facts_many::{ByEnterprise, Wanted};
use crate::gateway_rows::{asked_for, day_column};
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

/// How many facts about refusals there have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalRevision {
    conflict: i64,
    future: i64,
}

/// Identities and positions that a finding names of each sender.
const SOME: i64 = 10;

impl Store {
    /// Adds what was refused about these enterprises on days of receipt that are wanted.
    pub(crate) async fn add_refusals(&self, by: &mut ByEnterprise, wanted: &[Wanted]) -> Result<(), StoreError> {
        let mut transaction = self.quarantine_readers.begin().await?;
        let (asked, from, to) = asked_for(wanted);
        let future = "SELECT future_refusal.enterprise, gateway, day FROM json_each(?) AS asked
                      CROSS JOIN future_refusal ON future_refusal.enterprise = asked.value AND day BETWEEN ? AND ?";
        for row in &sqlx::query(future).bind(&asked).bind(&from).bind(&to).fetch_all(&mut *transaction).await? {
            let of_enterprise = by.entry(row.try_get("enterprise")?).or_default();
            of_enterprise.future_refusals.insert((row.try_get("gateway")?, day_column(row)?));
        }
        let conflicting = "SELECT DISTINCT conflict.enterprise FROM json_each(?) AS asked
                           CROSS JOIN conflict ON conflict.enterprise = asked.value AND day BETWEEN ? AND ?";
        let conflicting: BTreeSet<String> =
            sqlx::query_scalar(conflicting).bind(&asked).bind(&from).bind(&to).fetch_all(&mut *transaction).await?.into_iter().collect();
        for Wanted { enterprise, days, .. } in wanted.iter().filter(|one| conflicting.contains(&one.enterprise)) {
            let found = conflicts(&mut transaction, enterprise, *days).await?;
            by.entry(enterprise.clone()).or_default().conflicts.insert(*days, found);
        }
        transaction.rollback().await?;
        Ok(())
    }

    /// Enterprises about which facts about refusals were added since that revision, and the revision now.
    pub async fn refusals_since(&self, revision: RefusalRevision) -> Result<(BTreeSet<String>, RefusalRevision), StoreError> {
        let mut transaction = self.quarantine_readers.begin().await?;
        let newest = "SELECT coalesce((SELECT max(number) FROM conflict), 0) AS conflict,
                             coalesce((SELECT max(number) FROM future_refusal), 0) AS future";
        let row = sqlx::query(newest).fetch_one(&mut *transaction).await?;
        let now = RefusalRevision { conflict: row.try_get("conflict")?, future: row.try_get("future")? };
        let added = "SELECT enterprise FROM conflict WHERE number > ? UNION SELECT enterprise FROM future_refusal WHERE number > ?";
        let added: Vec<String> =
            sqlx::query_scalar(added).bind(revision.conflict).bind(revision.future).fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok((added.into_iter().collect(), now))
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
