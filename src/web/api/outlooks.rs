//! Early warning: forecasts, never verdicts.

use axum::Json;
use axum::extract::State;
use policy::outlook::Outlook;
use policy::regions::same_city;
use policy::register::Register;
use serde::Deserialize;
use serde_json::{Value, json};
use store::KeyRole;

use super::vouchers::visible;
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

/// Goes through the facts of many enterprises: not for everybody.
const READERS_OF_ALL: &[KeyRole] = &[KeyRole::Admin, KeyRole::Platform];

/// Of one voucher; 409 where it is no longer open.
pub async fn one(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let register = visible(&state, &caller, &id).await?;
    match state.monitor.outlooks(&[&id]).await?.first() {
        Some(outlook) => Ok(Json(item(&register, outlook))),
        None => Err(Problem::conflict(format!("voucher {id:?} is no longer open: there is nothing to look ahead to"))),
    }
}

#[derive(Deserialize)]
pub struct OutlookQuery {
    #[serde(default)]
    city: String,
}

/// Of every open voucher within the caller's scope, in order of their id.
pub async fn list(State(state): State<WebState>, caller: Caller, Query(query): Query<OutlookQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS_OF_ALL)?;
    state.register.refresh().await?;
    let register = state.register.register();
    let wanted = register.vouchers.values().filter(|voucher| caller.sees(&register, voucher));
    let wanted =
        wanted.filter(|voucher| query.city.is_empty() || city_of(&register, &voucher.id).is_some_and(|city| same_city(city, &query.city)));
    let wanted: Vec<&str> = wanted.map(|voucher| voucher.id.as_str()).collect();
    let outlooks = state.monitor.outlooks(&wanted).await?;
    Ok(Json(json!({ "items": outlooks.iter().map(|outlook| item(&register, outlook)).collect::<Vec<_>>() })))
}

fn city_of<'r>(register: &'r Register, voucher: &str) -> Option<&'r str> {
    let voucher = register.vouchers.get(voucher)?;
    register.enterprises.get(&voucher.enterprise).map(|enterprise| enterprise.city.as_str())
}

fn item(register: &Register, outlook: &Outlook) -> Value {
    let mut item = json!(outlook);
    item["city"] = json!(city_of(register, &outlook.voucher));
    // Said with every answer, so that nobody takes it for a result.
    item["kind"] = json!("forecast");
    item["notice"] = json!("这是按目前进度的推算，不是监测结果，不作为审核依据。");
    item
}
