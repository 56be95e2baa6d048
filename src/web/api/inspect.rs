//! Inspections: weekly data quality and credit of suppliers, the spot-check list, and what spot checks found.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use monitor::SpotCheckAsked;
use policy::calendar::{day_of, show_instant};
use policy::credit::OutcomeRow;
use policy::outcome::{OutcomeFault, read_outcome};
use policy::quality::{WeekQuality, share};
use policy::reasons::OutcomeFaultCode;
use policy::register::{Register, Voucher};
use policy::spot_check::check_asked;
use policy::week::Week;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Actor, KeyRole, NewOutcome};

use super::{body, vouchers};
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

#[derive(Deserialize)]
pub struct WeekQuery {
    week: Option<String>,
}

impl WeekQuery {
    /// The week asked for, else the last whole one; nothing is known of one that has not begun.
    pub fn read(&self, state: &WebState) -> Result<Week, Problem> {
        let this = Week::of(day_of(state.clock.now()));
        let Some(text) = self.week.as_ref().filter(|text| !text.is_empty()) else { return Ok(this.before(1)) };
        let week = Week::read(text).ok_or_else(|| Problem::bad_request(format!("week {text:?} is no ISO week such as 2019-W45")))?;
        if week > this {
            return Err(Problem::bad_request(format!("week {week} has not begun")));
        }
        Ok(week)
    }
}

pub async fn quality_of_all(State(state): State<WebState>, caller: Caller, Query(query): Query<WeekQuery>) -> Result<Json<Value>, Problem> {
    caller.must_see_all()?;
    let week = query.read(&state)?;
    let all = state.monitor.quality(&[week], None).await?;
    let register = state.register.register();
    let items: Vec<Value> =
        all.iter().filter_map(|(supplier, weeks)| Some(shown_quality(&state, &register, supplier, week, weeks.get(&week)?))).collect();
    Ok(Json(json!({ "week": week, "from": week.from(), "to": week.to(), "items": items })))
}

pub async fn quality_of_one(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<WeekQuery>,
) -> Result<Json<Value>, Problem> {
    let register = visible(&state, &caller, &id).await?;
    let week = query.read(&state)?;
    let quality = state.monitor.quality(&[week], Some(&id)).await?.remove(&id).and_then(|mut weeks| weeks.remove(&week));
    Ok(Json(shown_quality(&state, &register, &id, week, &quality.unwrap_or_default())))
}

/// The figures with the shares that follow from them.
fn shown_quality(state: &WebState, register: &Register, supplier: &str, week: Week, quality: &WeekQuality) -> Value {
    let mut shown = json!(quality);
    let late_days_max = state.monitor.inspection_rulebook().parameters.late_days_max;
    let late = quality.figures.late(late_days_max);
    shown["supplier"] = json!(supplier);
    shown["supplier_name"] = json!(register.suppliers.get(supplier).map(|row| &row.name));
    shown["week"] = json!(week);
    shown["from"] = json!(week.from());
    shown["to"] = json!(week.to());
    shown["completeness"] = json!(share(quality.figures.complete()));
    shown["late"] = json!(late.0);
    shown["late_share"] = json!(share(late));
    shown["late_days_max"] = json!(late_days_max);
    shown
}

pub async fn credit(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    visible(&state, &caller, &id).await?;
    let record = state.monitor.credit(Some(&id)).await?.remove(&id).ok_or_else(|| unknown(&id))?;
    let mut shown = json!(record);
    let rulebook = state.monitor.inspection_rulebook();
    shown["rulebook"] = json!({ "id": rulebook.id, "hash": rulebook.hash() });
    shown["as_of"] = json!(show_instant(state.clock.now()));
    Ok(Json(shown))
}

#[derive(Deserialize)]
pub struct SpotCheckQuery {
    pub seed: String,
    pub count: u64,
    pub period: Option<String>,
}

impl SpotCheckQuery {
    pub fn asked(self, register: &Register) -> Result<SpotCheckAsked, Problem> {
        let SpotCheckQuery { seed, count, period } = self;
        let period = period.filter(|period| !period.is_empty());
        check_asked(&seed, count).map_err(Problem::bad_request)?;
        if let Some(period) = period.as_ref().filter(|period| !register.periods.contains_key(*period)) {
            return Err(Problem::bad_request(format!("there is no period {period:?} in the register")));
        }
        Ok(SpotCheckAsked { seed, period, count })
    }
}

pub async fn spot_checks(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<SpotCheckQuery>,
) -> Result<Json<Value>, Problem> {
    caller.must_see_all()?;
    state.register.refresh().await?;
    let asked = query.asked(&state.register.register())?;
    let drawn = state.monitor.spot_checks(&asked).await?;
    state.store.record_draw(&drawn, &caller.actor(&state)).await?;
    let mut list = json!(drawn);
    let rulebook = state.monitor.inspection_rulebook();
    list["rulebook"] = json!({ "id": rulebook.id, "hash": rulebook.hash() });
    list["as_of"] = json!(show_instant(state.clock.now()));
    Ok(Json(list))
}

pub async fn outcomes(State(state): State<WebState>, caller: Caller, Path(voucher): Path<String>) -> Result<Json<Value>, Problem> {
    caller.must_see_all()?;
    vouchers::visible(&state, &caller, &voucher).await?;
    Ok(Json(json!({ "items": state.store.outcomes(Some(&voucher)).await? })))
}

pub async fn record_outcome(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let register = vouchers::visible(&state, &caller, &id).await?;
    let body = body::read(&headers, request).await?;
    let said: Value = serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    match record(&state, &register.vouchers[&id], &said, &caller.actor(&state)).await? {
        Ok(row) => Ok((StatusCode::CREATED, Json(json!(row)))),
        Err(faults) => Err(refused(faults)),
    }
}

/// Records what a spot check of a voucher found, if nothing is wrong with it.
pub async fn record(
    state: &WebState,
    voucher: &Voucher,
    said: &Value,
    by: &Actor,
) -> Result<Result<OutcomeRow, Vec<OutcomeFault>>, Problem> {
    let said = match read_outcome(said, voucher, day_of(state.clock.now())) {
        Ok(said) => said,
        Err(faults) => return Ok(Err(faults)),
    };
    let register = state.register.register();
    let supplier = register.products.get(&voucher.product).map(|product| product.supplier.clone()).unwrap_or_default();
    let new =
        NewOutcome { voucher: voucher.id.clone(), supplier, outcome: said.outcome, note: said.note, on: said.on, corrects: said.corrects };
    let added = state.store.add_outcome(&new, by).await?;
    Ok(added.map_err(|fault| vec![OutcomeFault::new(OutcomeFaultCode::Corrects, "corrects", fault.to_string())]))
}

fn refused(faults: Vec<OutcomeFault>) -> Problem {
    let detail = format!("{} faults; nothing was recorded", faults.len());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).member("faults", json!(faults))
}

/// The register, if the supplier is in it and the caller may see its record.
async fn visible(state: &WebState, caller: &Caller, supplier: &str) -> Result<Arc<Register>, Problem> {
    if caller.role() != KeyRole::Supplier {
        caller.must_see_all()?;
    }
    state.register.refresh().await?;
    let register = state.register.register();
    let own = caller.role() != KeyRole::Supplier || caller.scope().is_none_or(|scope| scope == supplier);
    if !own || !register.suppliers.contains_key(supplier) {
        return Err(unknown(supplier));
    }
    Ok(register)
}

fn unknown(supplier: &str) -> Problem {
    Problem::not_found(format!("there is no supplier {supplier:?} within your scope"))
}
