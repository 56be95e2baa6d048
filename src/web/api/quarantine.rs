//! The quarantine: refused messages with their faults, what can be done about them, and replaying them once the register is right.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ingest::{Outcome, replay_quarantined};
use policy::calendar::show_instant;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{Act, AuditDraft, KeyRole, QuarantineEntry, QuarantineFilter};
use wire::{FaultCode, Remedy};

use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

const READERS: &[KeyRole] = &[KeyRole::Admin, KeyRole::Supplier, KeyRole::Carrier];

#[derive(Deserialize)]
pub struct QuarantineQuery {
    /// For admins: `gateway`, `supplier` or `carrier`.
    kind: Option<String>,
    /// For admins: of one sender only.
    sender: Option<String>,
    /// Only with a fault of this code.
    code: Option<String>,
    /// Only what is not settled by a replay.
    #[serde(default)]
    open: bool,
    /// `next` of the page before, newest first.
    before: Option<i64>,
    /// `next` of the batch before, oldest first.
    after: Option<i64>,
}

impl QuarantineQuery {
    fn filter(self, caller: &Caller) -> Result<QuarantineFilter, Problem> {
        if let Some(code) = self.code.as_deref().filter(|code| FaultCode::read(code).is_none()) {
            let known: Vec<_> = FaultCode::ALL.iter().map(|code| code.as_str()).collect();
            return Err(Problem::bad_request(format!("there is no fault code {code:?}; the codes are {}", known.join(", "))));
        }
        let (sender_kind, sender) = match caller.role() {
            KeyRole::Admin => (self.kind, self.sender),
            role => (Some(role.as_str().to_string()), caller.scope().map(str::to_string)),
        };
        Ok(QuarantineFilter { sender_kind, sender, code: self.code, open: self.open })
    }
}

pub async fn list(State(state): State<WebState>, caller: Caller, Query(query): Query<QuarantineQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    let before = query.before;
    let page = state.store.quarantined(&query.filter(&caller)?, before).await?;
    let items: Vec<Value> = page.entries.iter().map(item).collect();
    Ok(Json(json!({ "items": items, "next": page.next, "keep_days": state.quarantine_keep_days })))
}

pub async fn one(State(state): State<WebState>, caller: Caller, Path(position): Path<i64>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    Ok(Json(item(&find(&state, &caller, position).await?)))
}

/// Reads one entry anew. One that is settled already stays as it is.
pub async fn replay(State(state): State<WebState>, caller: Caller, Path(position): Path<i64>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let entry = find(&state, &caller, position).await?;
    if !entry.replayable {
        let detail =
            format!("entry {position} was refused for the way it came and cannot be replayed: {}", advice(remedy(&entry), &codes(&entry)));
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    if !entry.settled() {
        written_down(&state, &caller, &[position]).await?;
        replayed(&state, vec![entry]).await?;
    }
    Ok(Json(item(&find(&state, &caller, position).await?)))
}

/// Reads a bounded batch of entries anew, the oldest first. To go on, give `next` as `after`.
pub async fn replay_many(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let after = query.after.unwrap_or(0);
    let batch = state.store.quarantined_to_replay(&query.filter(&caller)?, after).await?;
    let named: Vec<Value> = batch.entries.iter().map(name).collect();
    let positions: Vec<i64> = batch.entries.iter().map(|entry| entry.position).collect();
    if !positions.is_empty() {
        written_down(&state, &caller, &positions).await?;
    }
    let outcomes = replayed(&state, batch.entries).await?;
    let results: Vec<Value> = named.into_iter().zip(outcomes).map(|(name, outcome)| result(name, outcome)).collect();
    Ok(Json(json!({ "results": results, "next": batch.next })))
}

/// Before it is done, so that nothing is done that is not written down.
async fn written_down(state: &WebState, caller: &Caller, positions: &[i64]) -> Result<(), Problem> {
    let draft = AuditDraft::of(Act::QuarantineReplayed, "quarantine", json!({ "positions": positions }));
    Ok(state.store.record_act(&caller.actor(state), draft).await?)
}

/// Against the register as it is now. Gives one settled outcome per entry, in their order.
async fn replayed(state: &WebState, entries: Vec<QuarantineEntry>) -> Result<Vec<Outcome>, Problem> {
    state.register.refresh().await?;
    let outcomes = replay_quarantined(&state.store, &state.intake, &state.metrics, entries).await?;
    for (_, outcome) in &outcomes {
        match outcome {
            Outcome::Unavailable(why) => return Err(Problem::unavailable(format!("{why}; replay again, what is settled stays so"))),
            Outcome::DiskFull => {
                return Err(Problem::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "the disk is full; replay again later, what is settled stays so",
                ));
            }
            Outcome::Accepted | Outcome::Duplicate | Outcome::Refused(_) => {}
        }
    }
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn result(mut name: Value, outcome: Outcome) -> Value {
    let (status, faults) = match outcome {
        Outcome::Accepted => ("accepted", Vec::new()),
        Outcome::Duplicate => ("duplicate", Vec::new()),
        Outcome::Refused(faults) => ("refused", faults),
        Outcome::Unavailable(_) | Outcome::DiskFull => ("unavailable", Vec::new()),
    };
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    let remedy = codes.iter().map(|code| code.remedy()).max();
    name["status"] = json!(status);
    name["faults"] = json!(faults);
    name["remedy"] = json!(remedy.map(Remedy::as_str));
    name["advice"] = json!(advice(remedy, &codes));
    name
}

/// The entry, if it is there and within the caller's scope.
async fn find(state: &WebState, caller: &Caller, position: i64) -> Result<QuarantineEntry, Problem> {
    let entry = state.store.quarantine_entry(position).await?;
    let visible = |entry: &QuarantineEntry| {
        caller.role() == KeyRole::Admin
            || (entry.sender_kind == caller.role().as_str() && caller.scope().is_none_or(|scope| scope == entry.sender))
    };
    let gone = || Problem::not_found(format!("the quarantine has no entry {position} within your scope; old ones are removed"));
    entry.filter(visible).ok_or_else(gone)
}

fn name(entry: &QuarantineEntry) -> Value {
    json!({
        "position": entry.position, "received_at": show_instant(entry.received_at),
        "sender": { "kind": entry.sender_kind, "id": entry.sender },
        "id": entry.label, "boot": entry.boot, "seq": entry.seq,
    })
}

fn item(entry: &QuarantineEntry) -> Value {
    let faults: Option<&RawValue> = serde_json::from_str(&entry.faults).ok();
    let text = std::str::from_utf8(&entry.body).ok();
    let mut item = name(entry);
    item["topic"] = json!(entry.topic);
    item["faults"] = json!(faults);
    item["remedy"] = json!(remedy(entry).map(Remedy::as_str));
    item["advice"] = json!(advice(remedy(entry), &codes(entry)));
    item["replayed_at"] = json!(entry.replayed_at.map(show_instant));
    item["outcome"] = json!(entry.outcome);
    item["body"] = json!(text);
    if text.is_none() {
        item["body_hex"] = json!(hex::encode(&entry.body));
    }
    item["body_bytes"] = json!(entry.body.len());
    item
}

/// Who has to do something about it; nobody if it is settled.
fn remedy(entry: &QuarantineEntry) -> Option<Remedy> {
    let worst = || codes(entry).into_iter().map(FaultCode::remedy).max().unwrap_or(Remedy::Message);
    (!entry.settled()).then(worst)
}

/// The codes of its faults, as far as this version knows them.
fn codes(entry: &QuarantineEntry) -> Vec<FaultCode> {
    let faults: Vec<Value> = serde_json::from_str(&entry.faults).unwrap_or_default();
    faults.iter().filter_map(|fault| FaultCode::read(fault["code"].as_str()?)).collect()
}

const CORRECT_THE_REGISTER: &str = "the register lacks or misnames something: ask an administrator to correct it";

/// What to do about it, in one sentence.
fn advice(remedy: Option<Remedy>, codes: &[FaultCode]) -> String {
    let has = |code: FaultCode| codes.contains(&code);
    let advice = match remedy {
        None => "nothing: the report is in the evidence log and counts as of its receipt",
        Some(Remedy::Register) => {
            return format!("{CORRECT_THE_REGISTER} and to replay this entry; the report need not be sent again");
        }
        Some(Remedy::Door) if has(FaultCode::Qos0) => "send it again with QoS 1",
        Some(Remedy::Door) => "send it again on the gateway's own topic shangyun/v1/<gateway>/report",
        Some(Remedy::Message) if has(FaultCode::Conflict) => {
            "this identity stands for another accepted report: send the new content under a new one (suppliers: id; gateways: boot and seq)"
        }
        Some(Remedy::Message) if has(FaultCode::Future) => {
            "times lie in the future: set the sender's clock right and send the report again with right times"
        }
        Some(Remedy::Message) => "the report itself is at fault: correct it and send it again; a refused report leaves its identity free",
    };
    let register_too = codes.iter().any(|code| code.remedy() == Remedy::Register);
    if register_too { format!("{advice}; also, {CORRECT_THE_REGISTER} first") } else { advice.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_who_has_to_do_what() {
        let of = |codes: &[FaultCode]| advice(codes.iter().map(|code| code.remedy()).max(), codes);
        for (codes, parts) in [
            (&[FaultCode::UnknownProduct][..], &["administrator", "need not be sent again"][..]),
            (&[FaultCode::UnknownProduct, FaultCode::Actions], &["correct it and send it again", "also, the register", "first"]),
            (&[FaultCode::Actions], &["leaves its identity free"]),
            (&[FaultCode::Future, FaultCode::Actions], &["clock"]),
            (&[FaultCode::Conflict], &["under a new one"]),
            (&[FaultCode::Qos0], &["QoS 1"]),
            (&[FaultCode::NotAuthorised], &["own topic"]),
            (&[], &["nothing"]),
        ] {
            let told = of(codes);
            assert!(parts.iter().all(|part| told.contains(part)), "{codes:?}: {told}");
        }
    }
}
