//! Lists that the programme works with: queues, the public list, pilots, and the counters of the plan.

use axum::Json;
use axum::extract::State;
use policy::amount;
use policy::calendar::{Instant, show_instant};
use policy::money::Yuan;
use policy::reasons::QueueKind;
use policy::register::{IssuancePeriod, Register, Voucher};
use policy::rulebook::Parameters;
use policy::{consortium, publicity, queue};
use serde::Deserialize;
use serde_json::{Value, json};
use store::KeyRole;

use super::vouchers::AsOf;
use crate::problem::{Problem, Query};
use crate::state::{Caller, WebState};

const READERS: &[KeyRole] = &[KeyRole::Admin, KeyRole::Platform];

#[derive(Deserialize)]
pub struct QueueQuery {
    kind: String,
    period: String,
    as_of: Option<String>,
}

/// The order of issue or redemption within a period (R12, R13). Places are those of the whole queue, whatever the caller sees of it.
pub async fn queue(State(state): State<WebState>, caller: Caller, Query(query): Query<QueueQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    let kind = QueueKind::ALL.iter().find(|kind| kind.code() == query.kind).copied();
    let kind = kind.ok_or_else(|| Problem::bad_request(format!("kind {:?} is neither claim nor redemption", query.kind)))?;
    let as_of = instant(&state, query.as_of)?;
    let register = fresh(&state).await?;
    let period = found(&register, &query.period)?;
    let places = queue::queue(&register, parameters(&state, period), kind, period, as_of);
    let seen = places.iter().enumerate().filter(|(_, place)| caller.sees(&register, place.voucher));
    let items: Vec<Value> = seen
        .map(|(at, place)| {
            let mut item = line(&register, place.voucher, amount_of(&state, &register, place.voucher));
            item["place"] = json!(at + 1);
            item["at"] = json!(show_instant(place.at));
            item["day"] = json!(place.day);
            item["status"] = json!(place.voucher.status);
            item["reason"] = json!(place.reason.code());
            item["reason_text"] = json!(place.reason.text());
            item
        })
        .collect();
    Ok(Json(json!({ "kind": kind.code(), "period": period.id, "as_of": show_instant(as_of), "items": items })))
}

#[derive(Deserialize)]
pub struct PublicityQuery {
    period: String,
    #[serde(default)]
    city: String,
}

/// What a city publishes before it pays (R40): enterprise, supplier, product, amount.
pub async fn publicity(State(state): State<WebState>, caller: Caller, Query(query): Query<PublicityQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    let register = fresh(&state).await?;
    let period = found(&register, &query.period)?;
    let city = Some(query.city.as_str()).filter(|city| !city.is_empty());
    let lines = publicity::list(&register, &period.id, city, |voucher| amount_of(&state, &register, voucher));
    let seen: Vec<_> = lines.iter().filter(|line| caller.sees(&register, line.voucher)).collect();
    let items: Vec<Value> = seen
        .iter()
        .map(|public| {
            let mut item = line(&register, public.voucher, public.amount);
            item["frozen"] = json!(public.frozen);
            item
        })
        .collect();
    let total: Yuan = seen.iter().map(|line| line.amount).sum();
    let frozen: Yuan = seen.iter().filter(|line| line.frozen).map(|line| line.amount).sum();
    Ok(Json(json!({ "period": period.id, "items": items, "total": total, "frozen": frozen })))
}

#[derive(Deserialize)]
pub struct PilotsQuery {
    period: String,
    as_of: Option<String>,
}

/// What every pilot's consortium owes and has done in a period (R44), and suppliers in several pilots (R45).
pub async fn pilots(State(state): State<WebState>, caller: Caller, Query(query): Query<PilotsQuery>) -> Result<Json<Value>, Problem> {
    everything(&caller)?;
    let as_of = instant(&state, query.as_of)?;
    let register = fresh(&state).await?;
    let period = found(&register, &query.period)?;
    let parameters = parameters(&state, period);
    let items: Vec<Value> = register
        .pilots
        .values()
        .map(|pilot| {
            let standing = consortium::stand(&register, parameters, pilot, period, as_of);
            json!({
                "pilot": pilot.id, "rule": "R44", "title": standing.title.code(), "title_text": standing.title.text(),
                "enterprises_served": standing.enterprises_served, "enterprises_required": parameters.pilot_enterprises_min,
                "enterprises_served_jointly": standing.enterprises_served_jointly,
                "enterprises_jointly_required": parameters.pilot_joint_enterprises_min,
                "benchmark": pilot.benchmark, "benchmark_named": standing.benchmark_named,
            })
        })
        .collect();
    let several: Vec<Value> = consortium::in_several_pilots(&register)
        .into_iter()
        .map(|(supplier, pilots)| json!({ "supplier": supplier, "pilots": pilots, "rule": "R45" }))
        .collect();
    Ok(Json(json!({ "period": period.id, "as_of": show_instant(as_of), "items": items, "suppliers_in_several_pilots": several })))
}

/// How far the plan has come (R46). The register does not tell platforms from other suppliers.
pub async fn counters(State(state): State<WebState>, caller: Caller) -> Result<Json<Value>, Problem> {
    everything(&caller)?;
    let counters = publicity::counters(&*fresh(&state).await?);
    Ok(Json(json!({
        "rule": "R46",
        "enterprises": { "with_voucher": counters.enterprises_with_voucher, "paid": counters.enterprises_paid, "wanted": publicity::ENTERPRISES_WANTED },
        "suppliers": { "registered": counters.suppliers_registered, "with_voucher": counters.suppliers_with_voucher, "wanted": publicity::SUPPLIERS_WANTED },
        "platforms": { "known": null, "wanted": publicity::PLATFORMS_WANTED },
    })))
}

/// For who sees the whole province.
fn everything(caller: &Caller) -> Result<(), Problem> {
    caller.must_be(READERS)?;
    match (caller.role(), caller.scope()) {
        (KeyRole::Platform, Some(_)) => Err(Problem::forbidden("this is about the whole province: a key without a scope may read it")),
        _ => Ok(()),
    }
}

fn instant(state: &WebState, as_of: Option<String>) -> Result<Instant, Problem> {
    let now = state.clock.now();
    Ok(AsOf { as_of }.past(now)?.unwrap_or(now))
}

async fn fresh(state: &WebState) -> Result<std::sync::Arc<Register>, Problem> {
    state.register.refresh().await?;
    Ok(state.register.register())
}

fn found<'r>(register: &'r Register, period: &str) -> Result<&'r IssuancePeriod, Problem> {
    register.periods.get(period).ok_or_else(|| Problem::not_found(format!("the register has no period {period:?}")))
}

/// Those in force when the period's claiming began.
fn parameters<'s>(state: &'s WebState, period: &IssuancePeriod) -> &'s Parameters {
    &state.monitor.parts().rulebooks.in_force(period.claim_from).parameters
}

/// The approved amount, else the computed one.
fn amount_of(state: &WebState, register: &Register, voucher: &Voucher) -> Yuan {
    let parts = state.monitor.parts();
    let (rulebook, catalogue) = (parts.rulebooks.in_force(voucher.applied_at), parts.catalogues.in_force(voucher.applied_at));
    let worked = || amount::work_out(register, rulebook, catalogue, voucher).map(|amount| amount.computed);
    voucher.amount.or_else(worked).unwrap_or_default()
}

fn line(register: &Register, voucher: &Voucher, amount: Yuan) -> Value {
    let enterprise = register.enterprises.get(&voucher.enterprise);
    let product = register.products.get(&voucher.product);
    let supplier = product.and_then(|product| register.suppliers.get(&product.supplier));
    json!({
        "voucher": voucher.id, "enterprise": voucher.enterprise, "enterprise_name": enterprise.map(|row| &row.name),
        "city": enterprise.map(|row| &row.city), "supplier": supplier.map(|row| &row.id), "supplier_name": supplier.map(|row| &row.name),
        "product": voucher.product, "product_name": product.map(|row| &row.name), "amount": amount,
    })
}
