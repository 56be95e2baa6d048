//! The key of each enterprise with which its users are pseudonymised: made at its first need, the same for good. Gateways get it when they
//! are enrolled, suppliers read it, so that both write one user the same.

use std::fmt;

use serde_json::json;
use sqlx::SqliteConnection;

use crate::audit::{Act, Actor, AuditDraft, put_audit};
use crate::keys::sha256_hex;
use crate::sql::{Store, StoreError};

/// 256 random bits; users are written as the hex HMAC-SHA256 under it.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey([u8; 32]);

impl PseudonymKey {
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// Never in a log.
impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(…)")
    }
}

impl Store {
    /// The enterprise's key, for whoever asks with this key of the API; the first time that one asks is written to the audit log.
    pub async fn read_pseudonym_key(&self, enterprise: &str, secret: &str, actor: &Actor) -> Result<PseudonymKey, StoreError> {
        let reader = sha256_hex(secret);
        let known: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT key FROM pseudonym_key JOIN pseudonym_key_reader USING (enterprise) WHERE enterprise = ? AND key_sha256 = ?",
        )
        .bind(enterprise)
        .bind(&reader)
        .fetch_optional(&self.readers)
        .await?;
        if let Some(key) = known {
            return stored(key);
        }
        let mut writing = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let (key, made) = pseudonym_key(&mut writing, enterprise, actor).await?;
        let first = sqlx::query("INSERT OR IGNORE INTO pseudonym_key_reader (enterprise, key_sha256, at) VALUES (?, ?, ?)")
            .bind(enterprise)
            .bind(&reader)
            .bind(actor.at.timestamp_micros())
            .execute(&mut *writing)
            .await?;
        if first.rows_affected() > 0 {
            let draft = AuditDraft::of(Act::PseudonymKeyRead, format!("enterprises/{enterprise}"), json!({ "made": made }));
            put_audit(&mut writing, actor, [draft]).await?;
        }
        writing.commit().await?;
        Ok(key)
    }
}

/// The enterprise's key, and whether it was made now.
pub(crate) async fn pseudonym_key(
    connection: &mut SqliteConnection,
    enterprise: &str,
    actor: &Actor,
) -> Result<(PseudonymKey, bool), StoreError> {
    let made = sqlx::query("INSERT OR IGNORE INTO pseudonym_key (enterprise, key, made_at) VALUES (?, ?, ?)")
        .bind(enterprise)
        .bind(&rand::random::<[u8; 32]>()[..])
        .bind(actor.at.timestamp_micros())
        .execute(&mut *connection)
        .await?;
    let key = sqlx::query_scalar("SELECT key FROM pseudonym_key WHERE enterprise = ?").bind(enterprise).fetch_one(connection).await?;
    Ok((stored(key)?, made.rows_affected() > 0))
}

fn stored(key: Vec<u8>) -> Result<PseudonymKey, StoreError> {
    key.try_into().map(PseudonymKey).map_err(|_| StoreError::stored("pseudonym key", "it is not of 32 bytes"))
}
