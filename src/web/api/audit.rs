//! The audit log: who has done what, and where it stands in the evidence log.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use store::KeyRole;

use crate::problem::{Problem, Query};
use crate::state::{Caller, WebState};

#[derive(Deserialize)]
pub struct AuditQuery {
    /// `next` of the page before, the oldest first.
    #[serde(default)]
    after: i64,
    /// Of this subject; with a stroke at its end, of all below it (`vouchers/`).
    subject: Option<String>,
}

pub async fn list(State(state): State<WebState>, caller: Caller, Query(query): Query<AuditQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let (entries, next) = state.store.audit_entries(query.after, query.subject.as_deref()).await?;
    Ok(Json(json!({ "items": entries, "next": next })))
}
