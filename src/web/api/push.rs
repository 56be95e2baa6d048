//! What suppliers and carriers push.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ingest::{Outcome, RawMessage, Settled};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{KeyRole, Vouched};
use wire::identity::Sender;

use super::body;
use crate::problem::{Problem, Query};
use crate::state::{Caller, WebState};

#[derive(Deserialize)]
pub struct PushQuery {
    #[serde(default)]
    dry_run: bool,
}

pub async fn reports(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<PushQuery>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Supplier])?;
    let sender = Sender::Supplier(caller.sender()?.into());
    push(&state, sender, &query, &headers, request).await
}

pub async fn carrier_records(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<PushQuery>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Carrier])?;
    let sender = Sender::Carrier(caller.sender()?.into());
    push(&state, sender, &query, &headers, request).await
}

async fn push(state: &WebState, sender: Sender, query: &PushQuery, headers: &HeaderMap, request: Body) -> Result<Json<Value>, Problem> {
    let received_at = state.clock.now();
    let messages = body::reports(&body::read(headers, request).await?)?.into_iter().map(RawMessage::of).collect();
    state.register.refresh().await?;
    let settled = if query.dry_run {
        state.intake.try_out(sender, Vouched::Key, received_at, messages)
    } else {
        state.intake.settle_now(sender, Vouched::Key, received_at, messages).await??
    };
    answer(settled)
}

/// One status per message, in order.
fn answer(settled: Vec<Settled>) -> Result<Json<Value>, Problem> {
    let mut results = Vec::with_capacity(settled.len());
    for (index, Settled { label, outcome }) in settled.into_iter().enumerate() {
        let (status, faults) = match outcome {
            Outcome::Accepted => ("accepted", Vec::new()),
            Outcome::Duplicate => ("duplicate", Vec::new()),
            Outcome::Refused(faults) => ("refused", faults),
            Outcome::Unavailable(why) => return Err(Problem::unavailable(format!("{why}; send the whole request again"))),
            Outcome::DiskFull => {
                return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "the disk is full; send the whole request again later"));
            }
        };
        results.push(json!({ "index": index, "id": label.id, "status": status, "faults": faults }));
    }
    Ok(Json(json!({ "results": results })))
}
