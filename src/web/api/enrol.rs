//! Gateways send in their public keys, and get what they need to report; suppliers read the key under which they write users.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Value, json};
use store::{EnrolError, Enrolling, KeyRole};
use wire::PublicKey;
use wire::enrolment::proven;

use super::body;
use crate::problem::{Path, Problem};
use crate::state::{Caller, WebState};

/// Answers with secrets are kept by nobody on the way.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

type Secret = ([(HeaderName, &'static str); 1], Json<Value>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    v: u64,
    /// Ed25519, 32 bytes in base64.
    public_key: String,
    /// That it is the one that the caller means; it must be the key's.
    gateway: Option<String>,
    /// A signature by the key (`wire::enrolment`).
    proof: Option<String>,
    /// Give a new token for MQTT.
    #[serde(default)]
    token: bool,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Asked, Problem> {
        let asked: Asked = serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => unprocessable(format!("the body is not what enrolment takes: {error}")),
            _ => Problem::bad_request(format!("the body is no JSON: {error}")),
        })?;
        if asked.v == 1 { Ok(asked) } else { Err(unprocessable(format!("v is {}: this service knows 1", asked.v))) }
    }
}

pub async fn enrol(State(state): State<WebState>, caller: Caller, headers: HeaderMap, request: Body) -> Result<Secret, Problem> {
    caller.must_be(&[KeyRole::Enrol])?;
    let gateway = caller.scope().ok_or_else(|| Problem::forbidden("the key names no gateway: make one with --scope"))?;
    let asked = Asked::read(&body::read(&headers, request).await?)?;
    if let Some(other) = asked.gateway.as_deref().filter(|named| *named != gateway) {
        return Err(Problem::forbidden(format!("the key is of gateway {gateway:?}, and {other:?} asks: use the key that was made for it")));
    }
    let public_key = PublicKey::read(&asked.public_key)
        .map_err(|fault| unprocessable(format!("public_key: {fault}; send the 32 bytes of an Ed25519 public key in base64")))?;
    if asked.proof.as_deref().is_some_and(|proof| !proven(gateway, &public_key, proof)) {
        return Err(unprocessable(format!("proof: it is no signature of shangyun-enrol-v1:{gateway} by this public_key")));
    }
    let enrolling =
        Enrolling { secret: caller.secret(), gateway, public_key: &public_key, proven: asked.proof.is_some(), token: asked.token };
    let enrolled = state.store.enrol(&enrolling, &caller.actor(&state)).await?;
    state.register.refresh().await?;
    tracing::info!(gateway, repeated = enrolled.repeated, token = enrolled.token.is_some(), "a gateway was enrolled");
    let mut answer = json!({
        "v": 1, "gateway": gateway, "enterprise": enrolled.enterprise, "pseudonym_key": enrolled.pseudonym_key.hex(),
        "receipt_keys": state.keys.public().jwks(), "repeated": enrolled.repeated,
    });
    if let Some(token) = enrolled.token {
        answer["token"] = json!(token);
    }
    if !state.gateway_mqtt_urls.is_empty() {
        answer["mqtt"] = json!({ "urls": state.gateway_mqtt_urls });
    }
    Ok((NO_STORE, Json(answer)))
}

fn unprocessable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

impl From<EnrolError> for Problem {
    fn from(error: EnrolError) -> Problem {
        match error {
            EnrolError::UnknownGateway(_) => Problem::not_found(error.to_string()),
            EnrolError::Used(_) | EnrolError::Overtaken(_) | EnrolError::KeyOfAnother => Problem::conflict(error.to_string()),
            EnrolError::Store(error) => error.into(),
        }
    }
}

/// For suppliers of which the enterprise has a voucher.
pub async fn pseudonym_key(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Secret, Problem> {
    caller.must_be(&[KeyRole::Admin, KeyRole::Supplier])?;
    state.register.refresh().await?;
    let register = state.register.register();
    let served = || register.vouchers.values().any(|voucher| voucher.enterprise == id && caller.sees(&register, voucher));
    if !register.enterprises.contains_key(&id) || !(caller.role() == KeyRole::Admin || served()) {
        return Err(Problem::not_found(format!("there is no enterprise {id:?} within your scope")));
    }
    let key = state.store.read_pseudonym_key(&id, caller.secret(), &caller.actor(&state)).await?;
    Ok((NO_STORE, Json(json!({ "v": 1, "enterprise": id, "pseudonym_key": key.hex() }))))
}
