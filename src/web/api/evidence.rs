//! What became of evidence: the quarantine, and what a gateway has sent.

use axum::Json;
use axum::extract::State;
use policy::calendar::show_instant;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{KeyRole, QUARANTINE_PAGE, QuarantineEntry, QuarantineFilter};

use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

#[derive(Deserialize)]
pub struct QuarantineQuery {
    /// For admins: `gateway`, `supplier` or `carrier`.
    kind: Option<String>,
    /// For admins: of one sender only.
    sender: Option<String>,
    /// `next` of the page before.
    before: Option<i64>,
}

pub async fn quarantine(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin, KeyRole::Supplier, KeyRole::Carrier])?;
    let filter = match caller.role() {
        KeyRole::Admin => QuarantineFilter { sender_kind: query.kind, sender: query.sender, before: query.before },
        role => QuarantineFilter {
            sender_kind: Some(role.as_str().to_string()),
            sender: caller.scope().map(str::to_string),
            before: query.before,
        },
    };
    let entries = state.store.quarantined(&filter).await?;
    let next = (entries.len() as i64 == QUARANTINE_PAGE).then(|| entries.last().map(|entry| entry.position)).flatten();
    Ok(Json(json!({ "items": entries.iter().map(item).collect::<Vec<_>>(), "next": next })))
}

fn item(entry: &QuarantineEntry) -> Value {
    let faults: Option<&RawValue> = serde_json::from_str(&entry.faults).ok();
    json!({
        "position": entry.position, "received_at": show_instant(entry.received_at),
        "sender": { "kind": entry.sender_kind, "id": entry.sender }, "id": entry.label, "faults": faults,
        "body": String::from_utf8_lossy(&entry.body), "body_bytes": entry.body.len(),
    })
}

pub async fn gateway(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    state.register.refresh().await?;
    let register = state.register.register();
    let gateway = register.gateways.get(&id).ok_or_else(|| Problem::not_found(format!("there is no gateway {id:?} in the register")))?;
    state.intake.flush().await?;
    let boots = state.store.gateway_sequences(&id).await?;
    let last_seen_at = boots.iter().filter_map(|boot| boot.last_at).max();
    let shown: Vec<Value> = boots
        .iter()
        .map(|boot| {
            json!({
                "boot": boot.boot, "accepted": boot.ranges.as_slice(), "gaps": boot.ranges.gaps(),
                "last_seen_at": boot.last_at.map(show_instant),
            })
        })
        .collect();
    let connected = state.intake.connected().devices(&id);
    let sparkplug = gateway.sparkplug.then(|| json!({ "born": connected.is_some(), "devices": connected.unwrap_or_default() }));
    Ok(Json(
        json!({ "id": id, "enterprise": gateway.enterprise, "sparkplug": sparkplug, "last_seen_at": last_seen_at.map(show_instant), "boots": shown }),
    ))
}
