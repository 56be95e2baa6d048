//! Bearer keys: 256 random bits, shown once, kept as SHA-256.

use policy::calendar::{Instant, show_instant};
use rand::RngExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::audit::{Act, Actor, AuditDraft, put_audit};
use crate::signing::NextKey;
use crate::sql::{Store, StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    Admin,
    Supplier,
    Carrier,
    Platform,
    /// A gateway's, for once.
    Enrol,
}

impl KeyRole {
    pub const ALL: [(KeyRole, &str); 5] = [
        (KeyRole::Admin, "admin"),
        (KeyRole::Supplier, "supplier"),
        (KeyRole::Carrier, "carrier"),
        (KeyRole::Platform, "platform"),
        (KeyRole::Enrol, "enrol"),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }

    pub fn read(name: &str) -> Option<KeyRole> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(role, _)| *role)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub role: KeyRole,
    pub name: String,
    /// Of whom: a supplier, a carrier, a city, a gateway. `None`: everything that the role allows.
    pub scope: Option<String>,
    /// It is not taken from then on.
    pub expires_at: Option<Instant>,
}

impl Store {
    /// Makes a key and gives its secret, which is kept nowhere.
    pub async fn create_key(&self, key: &ApiKey, actor: &Actor) -> Result<String, StoreError> {
        let secret = format!("sy_{}", hex::encode(rand::rng().random::<[u8; 32]>()));
        let sha256 = sha256_hex(&secret);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO api_key (sha256, role, name, scope, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&sha256)
            .bind(key.role.as_str())
            .bind(&key.name)
            .bind(&key.scope)
            .bind(actor.at.timestamp_micros())
            .bind(key.expires_at.map(|at| at.timestamp_micros()))
            .execute(&mut *transaction)
            .await?;
        let mut detail = json!({ "role": key.role.as_str(), "name": key.name, "scope": key.scope, "sha256": sha256 });
        if let Some(expires_at) = key.expires_at {
            detail["expires_at"] = json!(show_instant(expires_at));
        }
        put_audit(&mut transaction, actor, [AuditDraft::of(Act::KeyCreated, format!("keys/{}", key.name), detail)]).await?;
        transaction.commit().await?;
        Ok(secret)
    }

    /// Puts a new signing key in the place of the one before, and gives its id. What the audit log says of it stands there before the key
    /// signs anything.
    pub async fn rotate_key(&self, actor: &Actor) -> Result<String, StoreError> {
        let next = NextKey::of(self.dir())?;
        let detail = json!({ "before": next.before(), "after": next.id() });
        self.record_act(actor, AuditDraft::of(Act::KeyRotated, "keys/signing", detail)).await?;
        Ok(next.put(actor.at)?)
    }

    pub async fn find_key(&self, secret: &str) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query("SELECT role, name, scope, expires_at FROM api_key WHERE sha256 = ?")
            .bind(sha256_hex(secret))
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            let role: String = row.try_get("role")?;
            let role = KeyRole::read(&role).ok_or_else(|| StoreError::stored("key role", role))?;
            let expires_at: Option<i64> = row.try_get("expires_at")?;
            let instant = |us| Instant::from_timestamp_micros(us).ok_or_else(|| StoreError::stored("end of a key", us));
            let expires_at = expires_at.map(instant).transpose()?;
            Ok(ApiKey { role, name: row.try_get("name")?, scope: row.try_get("scope")?, expires_at })
        })
        .transpose()
    }
}

pub(crate) fn sha256_hex(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}
