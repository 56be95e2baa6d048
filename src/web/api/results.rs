//! Results: the newest, the one in force at an instant, all of a voucher, and the feed of all.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use policy::regions::same_city;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{KeyRole, ResultFilter, StoreError, StoredResult};

use super::vouchers::{AsOf, visible};
use crate::known::Known;
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

const FEED_PAGE: i64 = 500;

pub async fn newest(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Problem> {
    Ok(([(header::CONTENT_TYPE, "application/json")], wanted(&state, &caller, &id, &which).await?.body))
}

/// The same as a compact JWS over exactly those bytes.
pub async fn jws(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Problem> {
    let result = wanted(&state, &caller, &id, &which).await?;
    Ok(([(header::CONTENT_TYPE, "application/jose")], state.store.result_jws(&result).await?))
}

/// Which result of a voucher is asked for: the one in force at an instant, the one of a number, or the newest.
#[derive(Deserialize)]
pub struct Which {
    #[serde(flatten)]
    as_of: AsOf,
    #[serde(default)]
    sequence: String,
}

/// The result asked for, of a voucher within the caller's scope.
pub async fn wanted(state: &WebState, caller: &Caller, id: &str, which: &Which) -> Result<StoredResult, Problem> {
    visible(state, caller, id).await?;
    let result = match (which.as_of.read()?, which.sequence.as_str()) {
        (Some(_), sequence) if !sequence.is_empty() => return Err(Problem::bad_request("as_of or sequence, not both")),
        (Some(as_of), _) => state.store.result_as_of(id, as_of).await?,
        (None, "") => state.store.newest_result(id).await?,
        (None, number) => {
            let number = number.parse().map_err(|_| Problem::bad_request(format!("sequence {number:?} is no number")))?;
            state.store.result(id, number).await?
        }
    };
    result.ok_or_else(|| Problem::not_found(format!("voucher {id:?} has no such result")))
}

#[derive(Serialize)]
pub struct Items {
    items: Vec<Box<RawValue>>,
}

pub async fn of_voucher(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Items>, Problem> {
    visible(&state, &caller, &id).await?;
    let items = state.store.results_of(&id).await?.into_iter().map(raw).collect::<Result<_, _>>()?;
    Ok(Json(Items { items }))
}

/// One result by its number.
pub async fn numbered(
    State(state): State<WebState>,
    caller: Caller,
    Path((id, sequence)): Path<(String, i64)>,
) -> Result<impl IntoResponse, Problem> {
    visible(&state, &caller, &id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], found(&state, &id, sequence).await?.body))
}

#[derive(Deserialize)]
pub struct DiffQuery {
    from: Option<i64>,
}

/// What has changed since an older result: since the one that it supersedes, if none is named.
pub async fn diff(
    State(state): State<WebState>,
    caller: Caller,
    Path((id, sequence)): Path<(String, i64)>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Value>, Problem> {
    visible(&state, &caller, &id).await?;
    let after = Known::read(&found(&state, &id, sequence).await?)?;
    let from = query.from.map_or(after.result.supersedes.map(u64::cast_signed), Some);
    let changes = match from {
        Some(from) => after.changes_since(&Known::read(&found(&state, &id, from).await?)?),
        None => Vec::new(),
    };
    Ok(Json(json!({ "voucher": id, "from": from, "to": sequence, "changes": changes })))
}

async fn found(state: &WebState, voucher: &str, sequence: i64) -> Result<StoredResult, Problem> {
    let result = state.store.result(voucher, sequence).await?;
    result.ok_or_else(|| Problem::not_found(format!("voucher {voucher:?} has no result {sequence}")))
}

#[derive(Deserialize)]
pub struct FeedQuery {
    #[serde(default)]
    after: String,
    #[serde(default)]
    city: String,
}

#[derive(Serialize)]
pub struct FeedPage {
    items: Vec<Box<RawValue>>,
    /// Give it as `after` next time; it moves on even where nothing of the page is within the caller's scope.
    cursor: String,
}

pub async fn feed(State(state): State<WebState>, caller: Caller, Query(query): Query<FeedQuery>) -> Result<Json<FeedPage>, Problem> {
    caller.must_be(&[KeyRole::Admin, KeyRole::Platform, KeyRole::Supplier])?;
    let after = match query.after.as_str() {
        "" => 0,
        cursor => cursor.parse().map_err(|_| Problem::bad_request(format!("{cursor:?} is no cursor of this feed")))?,
    };
    state.register.refresh().await?;
    let register = state.register.register();
    let results = state.store.results_after(&ResultFilter { after, limit: FEED_PAGE }).await?;
    let cursor = results.last().map_or(after, |result| result.position).to_string();
    let wanted = |result: &StoredResult| match register.vouchers.get(&result.voucher) {
        Some(voucher) => {
            let city = register.enterprises.get(&voucher.enterprise).map(|enterprise| enterprise.city.as_str());
            caller.sees(&register, voucher) && (query.city.is_empty() || city.is_some_and(|city| same_city(city, &query.city)))
        }
        // A voucher that has left the register belongs to no city any more, but its results stay in the feed of those who see all.
        None => caller.scope().is_none() && query.city.is_empty(),
    };
    let items = results.into_iter().filter(wanted).map(raw).collect::<Result<_, _>>()?;
    Ok(Json(FeedPage { items, cursor }))
}

fn raw(result: StoredResult) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(result.body).map_err(|error| StoreError::Stored { what: "result", detail: error.to_string() })
}
