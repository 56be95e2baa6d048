//! The audit log: every administrative act, written in the transaction of the change itself, and from there carried into the evidence
//! log, so that it stands under the same tree. The committing thread is the only writer there; a checkpoint notes in which block an
//! entry stands, so that an entry is in the log exactly once however the service ends.

use policy::calendar::{Instant, show_instant};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};
use wire::identity::Sender;

use crate::block::{Record, Vouched};
use crate::keys::sha256_hex;
use crate::sql::{Store, StoreError};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    RegisterChanged,
    /// A voucher's state went a way that the rules do not allow, with a reason given.
    StateCorrected,
    KeyCreated,
    /// The service signs with a new key.
    KeyRotated,
    /// A gateway's public key was put into the register by its one-time key.
    GatewayEnrolled,
    /// A key of the API has read an enterprise's pseudonym key, for the first time.
    PseudonymKeyRead,
    QuarantineReplayed,
    JudgingAsked,
    /// The service has started with other rulebooks or catalogues than before.
    PolicyChanged,
    TallyRebuilt,
    /// What a spot check found was recorded.
    SpotCheckRecorded,
    /// A spot-check list was drawn.
    SpotCheckDrawn,
}

impl Act {
    pub fn as_str(self) -> &'static str {
        match self {
            Act::RegisterChanged => "register_changed",
            Act::StateCorrected => "state_corrected",
            Act::KeyCreated => "key_created",
            Act::KeyRotated => "key_rotated",
            Act::GatewayEnrolled => "gateway_enrolled",
            Act::PseudonymKeyRead => "pseudonym_key_read",
            Act::QuarantineReplayed => "quarantine_replayed",
            Act::JudgingAsked => "judging_asked",
            Act::PolicyChanged => "policy_changed",
            Act::TallyRebuilt => "tally_rebuilt",
            Act::SpotCheckRecorded => "spot_check_recorded",
            Act::SpotCheckDrawn => "spot_check_drawn",
        }
    }
}

/// Who acts, and when: `key:ROLE:NAME` over HTTP, `command:USER` on the service's machine.
#[derive(Clone, Debug)]
pub struct Actor {
    pub who: String,
    pub at: Instant,
    /// Which of the keys of that name: the first digits of its SHA-256.
    pub key: Option<String>,
}

impl Actor {
    pub fn new(who: impl Into<String>, at: Instant) -> Actor {
        Actor { who: who.into(), at, key: None }
    }

    pub fn with_key(self, secret: &str) -> Actor {
        Actor { key: Some(sha256_hex(secret).chars().take(8).collect()), ..self }
    }
}

/// An act that is to be written down.
#[derive(Clone, Debug)]
pub struct AuditDraft {
    pub act: Act,
    /// What it was done to: `vouchers/V-1`, `keys/…`, `tally`.
    pub subject: String,
    /// For changes of rows: list, key, before, after.
    pub changes: Vec<Value>,
    pub detail: Value,
}

impl AuditDraft {
    pub fn of(act: Act, subject: impl Into<String>, detail: Value) -> AuditDraft {
        AuditDraft { act, subject: subject.into(), changes: Vec::new(), detail }
    }
}

/// An entry that is not known to stand in the evidence log.
#[derive(Clone, Debug)]
pub struct PendingAudit {
    pub id: i64,
    pub at_us: i64,
    pub who: String,
    pub body: Vec<u8>,
    pub sha256: [u8; 32],
}

impl PendingAudit {
    pub fn record(&self) -> Record<'_> {
        let vouched = if self.who.starts_with("key:") { Vouched::Key } else { Vouched::Local };
        Record {
            sender: Sender::Operator(self.who.as_str().into()),
            enterprise: Default::default(),
            vouched,
            received_at_us: self.at_us,
            body: &self.body,
        }
    }
}

/// Where an entry stands in the evidence log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPlace {
    pub id: i64,
    pub sha256: [u8; 32],
    pub block: u64,
}

impl AuditPlace {
    /// Of an operator's record; `None` if it cannot be read.
    pub fn of(record: &Record<'_>, block: u64) -> Option<AuditPlace> {
        let Numbered { id } = serde_json::from_slice(record.body).ok()?;
        Some(AuditPlace { id, sha256: Sha256::digest(record.body).into(), block })
    }
}

#[derive(Deserialize)]
struct Numbered {
    id: i64,
}

/// An entry as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct AuditEntry {
    #[serde(flatten)]
    pub entry: Value,
    /// The block of the evidence log; `None` until it is known to stand there.
    pub block: Option<u64>,
}

/// Entries on one page.
pub const AUDIT_PAGE: usize = 200;
/// What is carried into the log in one piece.
const PENDING_BYTES_MAX: usize = 2 << 20;
const PENDING_ROWS_MAX: i64 = 2000;
/// Bodies in one statement.
const PUT_BYTES_MAX: usize = 4 << 20;

/// Writes acts down in the transaction of the change.
pub(crate) async fn put_audit(
    connection: &mut SqliteConnection,
    actor: &Actor,
    drafts: impl IntoIterator<Item = AuditDraft>,
) -> Result<(), StoreError> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetch_optional(&mut *connection).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (id, draft) in (newest.unwrap_or(0) + 1..).zip(drafts) {
        let mut body = json!({
            "v": 1, "id": id, "at": show_instant(actor.at), "who": actor.who, "act": draft.act.as_str(), "subject": draft.subject,
        });
        if let Some(key) = &actor.key {
            body["key"] = json!(key);
        }
        if !draft.changes.is_empty() {
            body["changes"] = Value::Array(draft.changes);
        }
        if !draft.detail.is_null() {
            body["detail"] = draft.detail;
        }
        let body = body.to_string();
        let sha256 = hex::encode(Sha256::digest(&body));
        bytes += body.len();
        rows.push(json!([id, draft.act.as_str(), draft.subject, body, sha256]));
        if bytes > PUT_BYTES_MAX {
            put_rows(connection, actor, std::mem::take(&mut rows)).await?;
            bytes = 0;
        }
    }
    put_rows(connection, actor, rows).await
}

async fn put_rows(connection: &mut SqliteConnection, actor: &Actor, rows: Vec<Value>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (id, at, who, act, subject, body, sha256)
         SELECT value ->> 0, ?, ?, value ->> 1, value ->> 2, CAST(value ->> 3 AS BLOB), unhex(value ->> 4) FROM json_each(?)",
    )
    .bind(actor.at.timestamp_micros())
    .bind(&actor.who)
    .bind(Value::Array(rows).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes, in the transaction of a checkpoint, where entries stand.
pub(crate) async fn note_places(connection: &mut SqliteConnection, places: &[AuditPlace]) -> Result<(), StoreError> {
    for place in places {
        sqlx::query("UPDATE audit SET block = ? WHERE id = ? AND sha256 = ? AND block IS NULL")
            .bind(place.block as i64)
            .bind(place.id)
            .bind(&place.sha256[..])
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// Writes an act down that changes nothing else in the database.
    pub async fn record_act(&self, actor: &Actor, draft: AuditDraft) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        put_audit(&mut transaction, actor, [draft]).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes down that the policy in force is another than at the last start, if it is. `policy`: rulebooks and catalogues with hashes.
    pub async fn record_policy(&self, actor: &Actor, policy: &Value) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let before: Option<String> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'policy'").fetch_optional(&mut *transaction).await?;
        let (text, before) = (policy.to_string(), before.unwrap_or_else(|| "null".into()));
        if text == before {
            return Ok(());
        }
        let before: Value = serde_json::from_str(&before).map_err(|error| StoreError::stored("policy", error))?;
        sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES ('policy', ?)").bind(text).execute(&mut *transaction).await?;
        let detail = json!({ "before": before, "after": policy });
        put_audit(&mut transaction, actor, [AuditDraft::of(Act::PolicyChanged, "policy", detail)]).await?;
        Ok(transaction.commit().await?)
    }

    /// Entries above `after` that are not known to stand in the log, the oldest first, no more than one block should hold.
    pub async fn pending_audit(&self, after: i64) -> Result<Vec<PendingAudit>, StoreError> {
        let rows = sqlx::query("SELECT id, at, who, body, sha256 FROM audit WHERE block IS NULL AND id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(PENDING_ROWS_MAX)
            .fetch_all(&self.readers)
            .await?;
        let (mut pending, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let (body, sha256): (Vec<u8>, Vec<u8>) = (row.try_get("body")?, row.try_get("sha256")?);
            bytes += body.len();
            if bytes > PENDING_BYTES_MAX && !pending.is_empty() {
                break;
            }
            let sha256 = sha256.try_into().map_err(|_| StoreError::stored("audit entry", "its hash is not of 32 bytes"))?;
            pending.push(PendingAudit { id: row.try_get("id")?, at_us: row.try_get("at")?, who: row.try_get("who")?, body, sha256 });
        }
        Ok(pending)
    }

    /// A page of entries, the oldest first, and where the next one goes on. `subject`: of this one, or of all that it is the start of
    /// (`vouchers/`).
    pub async fn audit_entries(&self, after: i64, subject: Option<&str>) -> Result<(Vec<AuditEntry>, Option<i64>), StoreError> {
        let (from, to) = match subject {
            Some(prefix) if prefix.ends_with('/') => (prefix.to_string(), format!("{prefix}\u{10FFFF}")),
            Some(subject) => (subject.to_string(), subject.to_string()),
            None => (String::new(), "\u{10FFFF}".into()),
        };
        let rows = sqlx::query("SELECT id, body, block FROM audit WHERE id > ? AND subject BETWEEN ? AND ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(from)
            .bind(to)
            .bind(AUDIT_PAGE as i64 + 1)
            .fetch_all(&self.readers)
            .await?;
        let next = rows.get(AUDIT_PAGE - 1).filter(|_| rows.len() > AUDIT_PAGE).map(|row| row.try_get("id")).transpose()?;
        let mut entries = Vec::with_capacity(rows.len().min(AUDIT_PAGE));
        for row in rows.iter().take(AUDIT_PAGE) {
            let (body, block): (&[u8], Option<i64>) = (row.try_get("body")?, row.try_get("block")?);
            let entry = serde_json::from_slice(body).map_err(|error| StoreError::stored("audit entry", error))?;
            entries.push(AuditEntry { entry, block: block.map(|block| block as u64) });
        }
        Ok((entries, next))
    }
}
