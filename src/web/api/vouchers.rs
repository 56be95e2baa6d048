//! Vouchers, and judging on demand.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use policy::calendar::{Instant, read_instant, show_instant};
use policy::reasons::Verdict;
use policy::register::{Register, Voucher};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Act, AuditDraft, KeyRole};

use crate::listing::{VoucherLine, VoucherQuery, vouchers};
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

const READERS: &[KeyRole] = &[KeyRole::Admin, KeyRole::Platform, KeyRole::Supplier];

pub async fn list(State(state): State<WebState>, caller: Caller, Query(query): Query<VoucherQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    state.register.refresh().await?;
    let register = state.register.register();
    let page = vouchers(&state.store, &register, &query, |voucher| caller.sees(&register, voucher)).await?;
    Ok(Json(json!({ "items": page.lines.iter().map(item).collect::<Vec<_>>(), "next": page.next })))
}

fn item(line: &VoucherLine) -> Value {
    json!({
        "id": line.id, "enterprise": line.enterprise, "enterprise_name": line.enterprise_name, "city": line.city,
        "product": line.product, "product_name": line.product_name, "supplier": line.supplier, "supplier_name": line.supplier_name,
        "status": line.status, "amount": line.amount, "verdict": line.verdict.map(Verdict::code),
        "verdict_text": line.verdict.map(Verdict::text),
        "judged_at": line.result.as_ref().map(|result| show_instant(result.judged_at)),
    })
}

pub async fn one(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let register = visible(&state, &caller, &id).await?;
    let voucher = found(&register, &id)?;
    let newest = state.store.newest_result(&id).await?;
    Ok(Json(json!({
        "voucher": voucher,
        "enterprise": register.enterprises.get(&voucher.enterprise),
        "product": register.products.get(&voucher.product),
        "devices": register.devices_of(&voucher.id).collect::<Vec<_>>(),
        "verdict": newest.as_ref().map(|result| &result.verdict),
        "sequence": newest.as_ref().map(|result| result.sequence),
        "judged_at": newest.as_ref().map(|result| show_instant(result.judged_at)),
    })))
}

#[derive(Deserialize)]
pub struct AsOf {
    pub as_of: Option<String>,
}

impl AsOf {
    /// An instant that has come.
    pub fn past(&self, now: Instant) -> Result<Option<Instant>, Problem> {
        let as_of = self.read()?;
        if as_of.is_some_and(|as_of| as_of > now) {
            return Err(Problem::bad_request("as_of lies in the future: nothing can be judged as of then"));
        }
        Ok(as_of)
    }

    pub fn read(&self) -> Result<Option<Instant>, Problem> {
        let Some(text) = &self.as_of else { return Ok(None) };
        match read_instant(text) {
            Some(at) => Ok(Some(at)),
            None => {
                Err(Problem::bad_request(format!("as_of {text:?} is no RFC 3339 instant with an offset (in a query, + is written %2B)")))
            }
        }
    }
}

pub async fn judge(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(as_of): Query<AsOf>,
) -> Result<impl IntoResponse, Problem> {
    caller.must_be(&[KeyRole::Admin, KeyRole::Platform])?;
    visible(&state, &caller, &id).await?;
    let as_of = as_of.past(state.clock.now())?;
    let detail = json!({ "as_of": as_of.map(show_instant) });
    state.store.record_act(&caller.actor(&state), AuditDraft::of(Act::JudgingAsked, format!("vouchers/{id}"), detail)).await?;
    let judged = state.monitor.judge_voucher(&id, as_of).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], judged.stored.body))
}

/// The register, if the voucher is in it and within the caller's scope.
pub async fn visible(state: &WebState, caller: &Caller, id: &str) -> Result<std::sync::Arc<Register>, Problem> {
    caller.must_be(READERS)?;
    state.register.refresh().await?;
    let register = state.register.register();
    let voucher = found(&register, id)?;
    if !caller.sees(&register, voucher) {
        return Err(unknown(id));
    }
    Ok(register)
}

fn found<'r>(register: &'r Register, id: &str) -> Result<&'r Voucher, Problem> {
    register.vouchers.get(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no voucher {id:?} within your scope"))
}
