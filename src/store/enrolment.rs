//! A gateway's one-time key becomes its public key in the register, in one transaction. Whoever has lost the answer may ask again with the
//! same keys, and must then show that the private one is theirs: a one-time key that was found later is worth nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};
use wire::PublicKey;

use crate::audit::{Act, Actor, AuditDraft, put_audit};
use crate::keys::sha256_hex;
use crate::pseudonym_keys::{PseudonymKey, pseudonym_key};
use crate::register_import::{Changes, ENROLLED, Needed, PUBLIC_KEY, RowId, TOKEN_SHA256};
use crate::register_rows::{Planned, read_needed, revision_risen};
use crate::sql::{Store, StoreError};

/// What a gateway asks for.
#[derive(Clone, Copy, Debug)]
pub struct Enrolling<'a> {
    /// The one-time key.
    pub secret: &'a str,
    pub gateway: &'a str,
    pub public_key: &'a PublicKey,
    /// It has signed that it is enrolled.
    pub proven: bool,
    /// It wants a token for MQTT in the place of the one that it has.
    pub token: bool,
}

#[derive(Debug)]
pub struct Enrolled {
    pub enterprise: String,
    pub pseudonym_key: PseudonymKey,
    pub token: Option<String>,
    /// Nothing was changed: the answer of before, once more.
    pub repeated: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(
        "gateway {0:?} is not in the register: have it imported (list gateways), then send the same again; the one-time key is not used up"
    )]
    UnknownGateway(String),
    #[error("the one-time key is used up: have a new one made (shangyun key create --role enrol --scope {0})")]
    Used(String),
    #[error(
        "gateway {0:?} was enrolled with this key, but its row in the register was changed since: have a new one-time key made, and enrol again"
    )]
    Overtaken(String),
    #[error(
        "another gateway of the register has this public key: a key belongs to one gateway. Let this one make its own (remove the copied key file), and enrol again; the one-time key is not used up"
    )]
    KeyOfAnother,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for EnrolError {
    fn from(error: sqlx::Error) -> EnrolError {
        EnrolError::Store(error.into())
    }
}

impl Store {
    /// Puts the gateway's public key into its row of the register, or gives the answer of before once more.
    pub async fn enrol(&self, asked: &Enrolling<'_>, actor: &Actor) -> Result<Enrolled, EnrolError> {
        let mut writing = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let earlier = sqlx::query("SELECT public_key, token_salt FROM enrolment WHERE key_sha256 = ?")
            .bind(sha256_hex(asked.secret))
            .fetch_optional(&mut *writing)
            .await?;
        let earlier = earlier
            .map(|row| Ok::<_, StoreError>(Earlier { public_key: row.try_get("public_key")?, token_salt: row.try_get("token_salt")? }))
            .transpose()?;
        if let Some(earlier) = &earlier
            && !earlier.same(asked)
        {
            return Err(EnrolError::Used(asked.gateway.into()));
        }
        let id: RowId = ("gateways", asked.gateway.into());
        let needed = Needed { rows: [id.clone()].into(), ..Needed::default() };
        let (_, current) = read_needed(&mut writing, &needed).await?;
        let before = current.get(&id).ok_or_else(|| EnrolError::UnknownGateway(asked.gateway.into()))?;
        let enterprise = before.get("enterprise").and_then(Value::as_str).unwrap_or_default().to_string();
        if let Some(earlier) = earlier {
            let token = earlier.token_salt.map(|salt| token_of(&salt, asked.secret));
            if !stands(before, asked.public_key, token.as_deref()) {
                return Err(EnrolError::Overtaken(asked.gateway.into()));
            }
            let (pseudonym_key, _) = pseudonym_key(&mut writing, &enterprise, actor).await?;
            // The enterprise may be another one by now, whose key is made only here.
            writing.commit().await?;
            return Ok(Enrolled { enterprise, pseudonym_key, token, repeated: true });
        }
        if key_of_another(&mut writing, asked).await? {
            return Err(EnrolError::KeyOfAnother);
        }
        let salt = asked.token.then(rand::random::<[u8; 32]>);
        let token = salt.map(|salt| token_of(&salt, asked.secret));
        let mut after = before.clone();
        after.insert(PUBLIC_KEY.into(), json!(asked.public_key.to_string()));
        after.insert(ENROLLED.into(), json!(true));
        if let Some(token) = &token {
            after.insert(TOKEN_SHA256.into(), json!(sha256_hex(token)));
        }
        let changes = Changes::from([(id, Some(after))]);
        let planned = Planned::of(&changes, &current, &BTreeMap::new())?;
        planned.write(&mut writing).await?;
        revision_risen(&mut writing).await?;
        let (pseudonym_key, made) = pseudonym_key(&mut writing, &enterprise, actor).await?;
        sqlx::query("INSERT INTO enrolment (key_sha256, gateway, public_key, token_salt, at) VALUES (?, ?, ?, ?, ?)")
            .bind(sha256_hex(asked.secret))
            .bind(asked.gateway)
            .bind(asked.public_key.to_string())
            .bind(salt.as_ref().map(|salt| &salt[..]))
            .bind(actor.at.timestamp_micros())
            .execute(&mut *writing)
            .await?;
        let replaced = before.get(PUBLIC_KEY).filter(|key| **key != json!(asked.public_key.to_string()));
        let detail = json!({
            "public_key": asked.public_key.to_string(), "replaced": replaced, "proven": asked.proven, "token": token.is_some(),
            "pseudonym_key_made": made,
        });
        let draft = AuditDraft::of(Act::GatewayEnrolled, format!("gateways/{}", asked.gateway), detail);
        let draft = AuditDraft { changes: planned.into_changes(), ..draft };
        put_audit(&mut writing, actor, [draft]).await?;
        writing.commit().await?;
        Ok(Enrolled { enterprise, pseudonym_key, token, repeated: false })
    }
}

/// What a one-time key was used for.
struct Earlier {
    public_key: String,
    token_salt: Option<Vec<u8>>,
}

impl Earlier {
    /// Asked again by whom it was used, and for the same.
    fn same(&self, asked: &Enrolling<'_>) -> bool {
        asked.proven && self.public_key == asked.public_key.to_string() && self.token_salt.is_some() == asked.token
    }
}

/// Both parts are random and of one length.
fn token_of(salt: &[u8], secret: &str) -> String {
    let hash = Sha256::new().chain_update("shangyun-gateway-token-v1").chain_update(salt).chain_update(secret);
    format!("gt_{}", hex::encode(hash.finalize()))
}

/// Is the row still what the enrolment made it?
fn stands(row: &Map<String, Value>, public_key: &PublicKey, token: Option<&str>) -> bool {
    row.get(PUBLIC_KEY) == Some(&json!(public_key.to_string()))
        && token.is_none_or(|token| row.get(TOKEN_SHA256) == Some(&json!(sha256_hex(token))))
}

async fn key_of_another(connection: &mut SqliteConnection, asked: &Enrolling<'_>) -> Result<bool, StoreError> {
    let found = "SELECT EXISTS (SELECT 1 FROM register_row WHERE list = 'gateways' AND key <> ? AND row ->> 'public_key' = ?)";
    Ok(sqlx::query_scalar(found).bind(asked.gateway).bind(asked.public_key.to_string()).fetch_one(connection).await?)
}
