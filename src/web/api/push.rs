//! What suppliers and carriers push.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use ingest::{Intake, Item, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};
use store::KeyRole;

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
    push(&state, caller.sender()?, Intake::read_from_supplier, &query, &headers, request).await
}

pub async fn carrier_records(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<PushQuery>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Carrier])?;
    push(&state, caller.sender()?, Intake::read_from_carrier, &query, &headers, request).await
}

async fn push(
    state: &WebState,
    sender: &str,
    read: fn(&Intake, &str, DateTime<Utc>, Bytes) -> Item,
    query: &PushQuery,
    headers: &HeaderMap,
    request: Body,
) -> Result<Json<Value>, Problem> {
    let received_at = state.clock.now();
    let messages = body::reports(&body::read(headers, request).await?)?;
    state.register.refresh().await?;
    let items = messages.into_iter().map(|message| read(&state.intake, sender, received_at, message)).collect();
    answer(state, items, query.dry_run).await
}

/// One status per message, in order, once each is settled.
async fn answer(state: &WebState, items: Vec<Item>, dry_run: bool) -> Result<Json<Value>, Problem> {
    let ids: Vec<_> = items.iter().map(|item| item.label().id.clone()).collect();
    let outcomes = if dry_run { items.iter().map(tried).collect() } else { state.intake.settle(items).await? };
    let mut results = Vec::with_capacity(outcomes.len());
    for (index, (id, outcome)) in ids.into_iter().zip(outcomes).enumerate() {
        let (status, faults) = match outcome {
            Outcome::Accepted => ("accepted", Vec::new()),
            Outcome::Duplicate => ("duplicate", Vec::new()),
            Outcome::Refused(faults) => ("refused", faults),
            Outcome::Unavailable(why) => return Err(Problem::unavailable(format!("{why}; send the whole request again"))),
            Outcome::DiskFull => {
                return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "the disk is full; send the whole request again later"));
            }
        };
        results.push(json!({ "index": index, "id": id, "status": status, "faults": faults }));
    }
    Ok(Json(json!({ "results": results })))
}

/// What would become of a message, as far as it can be told without its identity.
fn tried(item: &Item) -> Outcome {
    if item.faults().is_empty() { Outcome::Accepted } else { Outcome::Refused(item.faults().to_vec()) }
}
