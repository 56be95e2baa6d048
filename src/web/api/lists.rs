//! Lists that the programme works with: queues, the public list, pilots, and the counters of the plan.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use monitor::RegisterIndex;
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
    let index = fresh(&state).await?;
    on_a_thread(move || {
        let register = index.register();
        let period = found(register, &query.period)?;
        let places = queue::queue(register, parameters(&state, period), kind, period, as_of);
        let seen = places.iter().enumerate().filter(|(_, place)| caller.sees(register, place.voucher));
        let items: Vec<Value> = seen
            .map(|(at, place)| {
                let mut item = line(register, place.voucher, amount_of(&state, &index, place.voucher));
                item["place"] = json!(at + 1);
                item["at"] = json!(show_instant(place.at));
                item["day"] = json!(place.day);
                item["status"] = json!(place.voucher.status);
                item["reason"] = json!(place.reason.code());
                item["reason_text"] = json!(place.reason.text());
                item
            })
            .collect();
        Ok(json!({ "kind": kind.code(), "period": period.id, "as_of": show_instant(as_of), "items": items }))
    })
    .await
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
    let index = fresh(&state).await?;
    on_a_thread(move || {
        let register = index.register();
        let period = found(register, &query.period)?;
        let city = Some(query.city.as_str()).filter(|city| !city.is_empty());
        let lines = publicity::list(register, &period.id, city, |voucher| amount_of(&state, &index, voucher));
        let seen: Vec<_> = lines.iter().filter(|line| caller.sees(register, line.voucher)).collect();
        let items: Vec<Value> = seen
            .iter()
            .map(|public| {
                let mut item = line(register, public.voucher, public.amount);
                item["frozen"] = json!(public.frozen);
                item
            })
            .collect();
        let total: Yuan = seen.iter().map(|line| line.amount).sum();
        let frozen: Yuan = seen.iter().filter(|line| line.frozen).map(|line| line.amount).sum();
        Ok(json!({ "period": period.id, "items": items, "total": total, "frozen": frozen }))
    })
    .await
}

#[derive(Deserialize)]
pub struct PilotsQuery {
    period: String,
    as_of: Option<String>,
}

/// What every pilot's consortium owes and has done in a period (R44), and suppliers in several pilots (R45).
pub async fn pilots(State(state): State<WebState>, caller: Caller, Query(query): Query<PilotsQuery>) -> Result<Json<Value>, Problem> {
    caller.must_see_all()?;
    let as_of = instant(&state, query.as_of)?;
    let index = fresh(&state).await?;
    on_a_thread(move || {
        let register = index.register();
        let period = found(register, &query.period)?;
        let parameters = parameters(&state, period);
        let items: Vec<Value> = register
            .pilots
            .values()
            .map(|pilot| {
                let standing = consortium::stand(register, parameters, pilot, period, as_of);
                json!({
                    "pilot": pilot.id, "rule": "R44", "title": standing.title.code(), "title_text": standing.title.text(),
                    "enterprises_served": standing.enterprises_served, "enterprises_required": parameters.pilot_enterprises_min,
                    "enterprises_served_jointly": standing.enterprises_served_jointly,
                    "enterprises_jointly_required": parameters.pilot_joint_enterprises_min,
                    "benchmark": pilot.benchmark, "benchmark_named": standing.benchmark_named,
                })
            })
            .collect();
        let several: Vec<Value> = consortium::in_several_pilots(register)
            .into_iter()
            .map(|(supplier, pilots)| json!({ "supplier": supplier, "pilots": pilots, "rule": "R45" }))
            .collect();
        Ok(json!({ "period": period.id, "as_of": show_instant(as_of), "items": items, "suppliers_in_several_pilots": several }))
    })
    .await
}

/// How far the plan has come (R46). The register does not tell platforms from other suppliers.
pub async fn counters(State(state): State<WebState>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.must_see_all()?;
    let index = fresh(&state).await?;
    let counters = publicity::counters(index.register());
    Ok(Json(json!({
        "rule": "R46",
        "enterprises": { "with_voucher": counters.enterprises_with_voucher, "paid": counters.enterprises_paid, "wanted": publicity::ENTERPRISES_WANTED },
        "suppliers": { "registered": counters.suppliers_registered, "with_voucher": counters.suppliers_with_voucher, "wanted": publicity::SUPPLIERS_WANTED },
        "platforms": { "known": null, "wanted": publicity::PLATFORMS_WANTED },
    })))
}

fn instant(state: &WebState, as_of: Option<String>) -> Result<Instant, Problem> {
    let now = state.clock.now();
    Ok(AsOf { as_of }.past(now)?.unwrap_or(now))
}

async fn fresh(state: &WebState) -> Result<Arc<RegisterIndex>, Problem> {
    state.register.refresh().await?;
    Ok(state.monitor.index_of(&state.register.register()).await?)
}

/// Going through a whole register takes its time: other requests do not wait for it.
async fn on_a_thread(work: impl FnOnce() -> Result<Value, Problem> + Send + 'static) -> Result<Json<Value>, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::unavailable("the list could not be made"))?.map(Json)
}

fn found<'r>(register: &'r Register, period: &str) -> Result<&'r IssuancePeriod, Problem> {
    register.periods.get(period).ok_or_else(|| Problem::not_found(format!("the register has no period {period:?}")))
}

/// Those in force when the period's claiming began.
fn parameters<'s>(state: &'s WebState, period: &IssuancePeriod) -> &'s Parameters {
    &state.monitor.parts().rulebooks.in_force(period.claim_from).parameters
}

/// The approved amount, else the computed one, as judging has it: each earlier voucher takes under its own rulebook (R26).
fn amount_of(state: &WebState, index: &RegisterIndex, voucher: &Voucher) -> Yuan {
    if voucher.amount.is_some() || voucher.status.takes_from_cap() {
        return voucher.amount.unwrap_or_else(|| index.takes(&voucher.id));
    }
    // Of one that was given up: what it would be.
    let parts = state.monitor.parts();
    let (rulebook, catalogue) = (parts.rulebooks.in_force(voucher.applied_at), parts.catalogues.in_force(voucher.applied_at));
    amount::work_out(&index.slice(voucher), rulebook, catalogue, voucher).map(|amount| amount.computed).unwrap_or_default()
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
