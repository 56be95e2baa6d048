//! The facts on disk, their checkpoint, and the index of identities.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use compact_str::CompactString;
use policy::calendar::{Day, read_day};
use policy::facts::{CarrierDay, Channel, UsageFacts, UsageKey, VoucherFacts};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tally::{
    CarrierKey, DeviceDayKey, Facts, Ranges, SequenceKey, UsageOwner, decode_device_day, decode_ranges, decode_usage, encode_device_day,
    encode_ranges, encode_usage, merge_carrier_day, merge_device_day, merge_usage,
};
use wire::identity::IdentityKey;
use wire::report::ContentDigest;

use crate::gateway_rows::{add_clock_tail, merge_clock_rows, missing_column, stored_clocks};
use crate::log::LogPosition;
use crate::merkle::Frontier;
use crate::receipt_rows::merge_dropped_rows;
use crate::sql::{Store, StoreError};

/// What one stretch of the log adds: facts, identities, and where the stretch ends.
pub struct Checkpoint {
    pub facts: Facts,
    pub identities: Vec<(IdentityKey, ContentDigest)>,
    pub position: LogPosition,
}

/// SHA-256 over all facts in the order of their keys: equal facts give equal digests on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsDigest {
    pub sha256: String,
    pub rows: u64,
}

/// One boot of a gateway: which numbers were accepted, and when the newest came.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySequences {
    pub boot: String,
    pub ranges: Ranges,
    pub last_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Merges a stretch of the log into the facts and moves the checkpoint, in one transaction.
    pub async fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        merge_facts(&mut transaction, &checkpoint.facts).await?;
        put_identities(&mut transaction, &checkpoint.identities).await?;
        put_position(&mut transaction, &checkpoint.position).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Throws the facts away and writes others that stand at the same position, as after reading the log anew. Gives the digests
    /// before and after; `None`, and nothing done, if the checkpoint has moved.
    pub async fn replace_facts(&self, anew: &Checkpoint) -> Result<Option<(FactsDigest, FactsDigest)>, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        if read_position(&mut transaction).await? != anew.position {
            return Ok(None);
        }
        let before = facts_digest(&mut transaction).await?;
        for table in ["device_day", "usage_day", "carrier_day", "sequence", "clock_day", "dropped_number", "identity"] {
            // A name takes no bound value; these are ours.
            sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut *transaction).await?;
        }
        merge_facts(&mut transaction, &anew.facts).await?;
        put_identities(&mut transaction, &anew.identities).await?;
        let after = facts_digest(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Some((before, after)))
    }

    /// Where the facts stand: everything in the log before is taken in.
    pub async fn checkpoint_position(&self) -> Result<LogPosition, StoreError> {
        read_position(&mut *self.readers.acquire().await?).await
    }

    /// What was accepted under these identities, where anything was.
    pub async fn find_identities(&self, keys: &[IdentityKey]) -> Result<Vec<(IdentityKey, ContentDigest)>, StoreError> {
        let list: Vec<String> = keys.iter().map(hex::encode).collect();
        let list = serde_json::to_string(&list).map_err(|error| StoreError::stored("keys", error))?;
        let rows = sqlx::query("SELECT key, digest FROM identity WHERE key IN (SELECT unhex(value) FROM json_each(?))")
            .bind(list)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok((short(row.try_get("key")?)?, short(row.try_get("digest")?)?))).collect()
    }

    /// The highest number of a boot that the checkpoint knows; 0 for none.
    pub async fn highest_sequence(&self, gateway: &str, boot: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT ranges FROM sequence WHERE gateway = ? AND boot = ?")
            .bind(gateway)
            .bind(boot)
            .fetch_optional(&self.readers)
            .await?;
        match row {
            Some(row) => Ok(decode_ranges(row.try_get("ranges")?)?.highest().unwrap_or(0)),
            None => Ok(0),
        }
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

    /// The facts of one voucher's enterprise and product within whole days, and the log position they stand at. `tail` is what the
    /// log holds after the checkpoint, where the caller has read it.
    pub async fn voucher_facts(
        &self,
        enterprise: &str,
        product: &str,
        days: (Day, Day),
        tail: Option<&Facts>,
    ) -> Result<(VoucherFacts, LogPosition), StoreError> {
        // One transaction: the facts and the position belong together.
        let mut transaction = self.readers.begin().await?;
        let mut facts = stored_facts(&mut transaction, enterprise, product, days).await?;
        let position = read_position(&mut transaction).await?;
        transaction.rollback().await?;
        if let Some(tail) = tail {
            add_tail(&mut facts, enterprise, product, days, tail);
        }
        Ok((facts, position))
    }
}

/// Identities of one statement: a statement for each would cost more than its row.
const IDENTITIES_AT_ONCE: usize = 4_096;

async fn put_identities(connection: &mut SqliteConnection, identities: &[(IdentityKey, ContentDigest)]) -> Result<(), StoreError> {
    for some in identities.chunks(IDENTITIES_AT_ONCE) {
        let list: Vec<String> = some.iter().map(|(key, digest)| hex::encode([&key[..], digest].concat())).collect();
        let list = serde_json::to_string(&list).map_err(|error| StoreError::stored("identities", error))?;
        sqlx::query(
            "INSERT OR IGNORE INTO identity (key, digest)
             SELECT unhex(substr(value, 1, 32)), unhex(substr(value, 33)) FROM json_each(?)",
        )
        .bind(list)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn facts_digest(connection: &mut SqliteConnection) -> Result<FactsDigest, StoreError> {
    let mut digest = Sha256::new();
    let mut rows = 0;
    for table in [
        "SELECT json_array('device', enterprise, day, device), facts FROM device_day ORDER BY 1",
        "SELECT json_array('usage', enterprise, product, day, user, function_module, channel), facts FROM usage_day ORDER BY 1",
        "SELECT json_array('carrier', enterprise, product, day, line, sessions, bytes, devices), x'' FROM carrier_day ORDER BY 1",
    ] {
        for row in sqlx::query(table).fetch_all(&mut *connection).await? {
            let key: String = row.try_get(0)?;
            let facts: Vec<u8> = row.try_get(1)?;
            digest.update((key.len() as u64).to_le_bytes());
            digest.update(key);
            digest.update((facts.len() as u64).to_le_bytes());
            digest.update(facts);
            rows += 1;
        }
    }
    Ok(FactsDigest { sha256: hex::encode(digest.finalize()), rows })
}

async fn merge_facts(connection: &mut SqliteConnection, facts: &Facts) -> Result<(), StoreError> {
    for (key, day) in &facts.devices {
        let DeviceDayKey { enterprise, day: date, device } = key;
        let date = date.to_string();
        let kept: Option<Vec<u8>> = sqlx::query_scalar("SELECT facts FROM device_day WHERE enterprise = ? AND day = ? AND device = ?")
            .bind(enterprise.as_str())
            .bind(&date)
            .bind(device.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let mut merged = kept.as_deref().map(decode_device_day).transpose()?.unwrap_or_default();
        merge_device_day(&mut merged, day);
        sqlx::query("INSERT OR REPLACE INTO device_day (enterprise, day, device, facts) VALUES (?, ?, ?, ?)")
            .bind(enterprise.as_str())
            .bind(&date)
            .bind(device.as_str())
            .bind(encode_device_day(&merged))
            .execute(&mut *connection)
            .await?;
    }
    for (owner, usage) in &facts.usage {
        for (key, facts) in usage {
            merge_usage_row(connection, owner, key, facts).await?;
        }
    }
    for (key, day) in &facts.carrier {
        merge_carrier_row(connection, key, day).await?;
    }
    for (key, (ranges, last_at)) in &facts.sequences {
        merge_sequence_row(connection, key, ranges, *last_at).await?;
    }
    merge_clock_rows(connection, &facts.clocks).await?;
    merge_dropped_rows(connection, &facts.dropped).await?;
    Ok(())
}

async fn merge_usage_row(
    connection: &mut SqliteConnection,
    owner: &UsageOwner,
    key: &UsageKey,
    facts: &UsageFacts,
) -> Result<(), StoreError> {
    let day = key.day.to_string();
    let kept: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT facts FROM usage_day WHERE enterprise = ? AND product = ? AND day = ? AND user = ? AND function_module = ? AND channel = ?",
    )
    .bind(owner.enterprise.as_str())
    .bind(owner.product.as_str())
    .bind(&day)
    .bind(&key.user)
    .bind(&key.function_module)
    .bind(channel_name(key.channel))
    .fetch_optional(&mut *connection)
    .await?;
    let mut merged = kept.as_deref().map(decode_usage).transpose()?.unwrap_or_default();
    merge_usage(&mut merged, facts);
    sqlx::query(
        "INSERT OR REPLACE INTO usage_day (enterprise, product, day, user, function_module, channel, facts) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner.enterprise.as_str())
    .bind(owner.product.as_str())
    .bind(&day)
    .bind(&key.user)
    .bind(&key.function_module)
    .bind(channel_name(key.channel))
    .bind(encode_usage(&merged))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn merge_carrier_row(connection: &mut SqliteConnection, key: &CarrierKey, day: &CarrierDay) -> Result<(), StoreError> {
    let date = key.day.to_string();
    let kept =
        sqlx::query("SELECT sessions, bytes, devices FROM carrier_day WHERE enterprise = ? AND product = ? AND day = ? AND line = ?")
            .bind(key.enterprise.as_str())
            .bind(key.product.as_str())
            .bind(&date)
            .bind(key.line.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    let mut merged = kept.as_ref().map(carrier_day).transpose()?.unwrap_or_default();
    merge_carrier_day(&mut merged, day);
    sqlx::query(
        "INSERT OR REPLACE INTO carrier_day (enterprise, product, day, line, sessions, bytes, devices) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.enterprise.as_str())
    .bind(key.product.as_str())
    .bind(&date)
    .bind(key.line.as_str())
    .bind(integer(merged.sessions))
    .bind(integer(merged.bytes))
    .bind(merged.devices.map(integer))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn merge_sequence_row(
    connection: &mut SqliteConnection,
    key: &SequenceKey,
    ranges: &Ranges,
    last_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    let kept: Option<Vec<u8>> = sqlx::query_scalar("SELECT ranges FROM sequence WHERE gateway = ? AND boot = ?")
        .bind(key.gateway.as_str())
        .bind(key.boot.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let mut merged = kept.as_deref().map(decode_ranges).transpose()?.unwrap_or_default();
    merged.merge(ranges);
    sqlx::query(
        "INSERT INTO sequence (gateway, boot, ranges, last_at, missing) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (gateway, boot) DO UPDATE SET ranges = ?3, last_at = max(coalesce(last_at, ?4), ?4), missing = ?5",
    )
    .bind(key.gateway.as_str())
    .bind(key.boot.as_str())
    .bind(encode_ranges(&merged))
    .bind(last_at.map(|at| at.timestamp_micros()))
    .bind(missing_column(merged.missing()))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn stored_facts(
    connection: &mut SqliteConnection,
    enterprise: &str,
    product: &str,
    days: (Day, Day),
) -> Result<VoucherFacts, StoreError> {
    let (from, to) = (days.0.to_string(), days.1.to_string());
    let mut facts = VoucherFacts::default();
    let rows = sqlx::query("SELECT device, day, facts FROM device_day WHERE enterprise = ? AND day BETWEEN ? AND ?")
        .bind(enterprise)
        .bind(&from)
        .bind(&to)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        facts.devices.insert((row.try_get("device")?, day_column(row)?), decode_device_day(row.try_get("facts")?)?);
    }
    let rows = sqlx::query(
        "SELECT day, user, function_module, channel, facts FROM usage_day WHERE enterprise = ? AND product = ? AND day BETWEEN ? AND ?",
    )
    .bind(enterprise)
    .bind(product)
    .bind(&from)
    .bind(&to)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let channel: String = row.try_get("channel")?;
        let channel = read_channel(&channel).ok_or_else(|| StoreError::stored("channel", channel))?;
        let key = UsageKey { day: day_column(row)?, user: row.try_get("user")?, function_module: row.try_get("function_module")?, channel };
        facts.usage.insert(key, decode_usage(row.try_get("facts")?)?);
    }
    let rows = sqlx::query(
        "SELECT day, line, sessions, bytes, devices FROM carrier_day WHERE enterprise = ? AND product = ? AND day BETWEEN ? AND ?",
    )
    .bind(enterprise)
    .bind(product)
    .bind(&from)
    .bind(&to)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        facts.carrier.insert((day_column(row)?, row.try_get("line")?), carrier_day(row)?);
    }
    facts.clocks = stored_clocks(connection, enterprise, days).await?;
    Ok(facts)
}

fn add_tail(facts: &mut VoucherFacts, enterprise: &str, product: &str, days: (Day, Day), tail: &Facts) {
    let within = |day: Day| days.0 <= day && day <= days.1;
    for (key, day) in tail.devices.iter().filter(|(key, _)| key.enterprise == enterprise && within(key.day)) {
        merge_device_day(facts.devices.entry((key.device.to_string(), key.day)).or_default(), day);
    }
    let owner = UsageOwner { enterprise: CompactString::from(enterprise), product: CompactString::from(product) };
    let usage: Option<&BTreeMap<UsageKey, UsageFacts>> = tail.usage.get(&owner);
    for (key, usage) in usage.into_iter().flatten().filter(|(key, _)| within(key.day)) {
        merge_usage(facts.usage.entry(key.clone()).or_default(), usage);
    }
    for (key, day) in tail.carrier.iter().filter(|(key, _)| key.enterprise == enterprise && key.product == product && within(key.day)) {
        merge_carrier_day(facts.carrier.entry((key.day, key.line.to_string())).or_default(), day);
    }
    add_clock_tail(facts, enterprise, days, tail);
}

async fn put_position(connection: &mut SqliteConnection, position: &LogPosition) -> Result<(), StoreError> {
    let value = [&position.segment.to_le_bytes()[..], &position.byte.to_le_bytes(), &position.frontier.to_bytes()].concat();
    sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES ('checkpoint', ?)").bind(value).execute(connection).await?;
    Ok(())
}

async fn read_position(connection: &mut SqliteConnection) -> Result<LogPosition, StoreError> {
    let value: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'checkpoint'").fetch_optional(connection).await?;
    let Some(value) = value else { return Ok(LogPosition::default()) };
    let damaged = || StoreError::stored("checkpoint", "it cannot be read");
    let (segment, rest) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (byte, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let frontier = Frontier::from_bytes(rest).ok_or_else(damaged)?;
    Ok(LogPosition { segment: u64::from_le_bytes(*segment), byte: u64::from_le_bytes(*byte), frontier })
}

fn carrier_day(row: &SqliteRow) -> Result<CarrierDay, StoreError> {
    let count = |value: i64| u64::try_from(value).map_err(|error| StoreError::stored("carrier figure", error));
    Ok(CarrierDay {
        sessions: count(row.try_get("sessions")?)?,
        bytes: count(row.try_get("bytes")?)?,
        devices: row.try_get::<Option<i64>, _>("devices")?.map(count).transpose()?,
    })
}

pub(crate) fn day_column(row: &SqliteRow) -> Result<Day, StoreError> {
    let day: String = row.try_get("day")?;
    read_day(&day).ok_or_else(|| StoreError::stored("day", day))
}

fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Gateway => "gateway",
        Channel::Supplier => "supplier",
    }
}

fn read_channel(name: &str) -> Option<Channel> {
    [Channel::Gateway, Channel::Supplier].into_iter().find(|channel| channel_name(*channel) == name)
}

/// SQLite's integers are signed; sums beyond that are no figures of this world.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn short(bytes: Vec<u8>) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::stored("identity", "it has not 16 bytes"))
}
