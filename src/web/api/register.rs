//! The register over HTTP.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use policy::in_force::Dated;
use serde::Deserialize;
use serde_json::{Value, json};
use sheets::{FileKind, Reading};
use store::{ImportError, Imported, KeyRole};

use super::body;
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

#[derive(Deserialize)]
pub struct TableQuery {
    /// Which list a CSV file holds.
    list: Option<String>,
    /// The rulebook of a table that names none.
    rulebook: Option<String>,
}

pub async fn import(
    State(state): State<WebState>,
    caller: Caller,
    Query(query): Query<TableQuery>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let (kind, body) = body::read_register(&headers, request).await?;
    let rulebooks = &state.monitor.parts().rulebooks;
    let rulebook = query.rulebook.unwrap_or_else(|| rulebooks.newest().id().to_string());
    let _one_at_a_time = state.importing.lock().await;
    let reading = move || match kind {
        FileKind::Json => sheets::read_json(&body),
        FileKind::Csv | FileKind::Xlsx => Ok(sheets::read(kind, &body, &Reading { rulebook: &rulebook, list: query.list.as_deref() })),
    };
    let read = tokio::task::spawn_blocking(reading).await;
    let read = read.map_err(|error| Problem::unavailable(format!("the file could not be read: {error}")))?;
    let file = read.map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    match state.store.import_register(&[file], &|id| rulebooks.get(id).is_some(), &caller.actor(&state)).await {
        Ok(Imported { changed, warnings }) => {
            state.register.refresh().await?;
            Ok(Json(json!({ "changed": changed, "warnings": warnings })))
        }
        Err(error @ ImportError::Faults(_)) => {
            let detail = error.to_string();
            let ImportError::Faults(faults) = error else { return Err(Problem::bad_request(detail)) };
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).member("faults", json!(faults)))
        }
        Err(ImportError::Store(error)) => Err(error.into()),
    }
}

pub async fn list(State(state): State<WebState>, caller: Caller, Path(list): Path<String>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    match state.store.register_list(&list).await? {
        Some(rows) => Ok(Json(json!({ "items": rows }))),
        None => Err(Problem::not_found(format!("the register has no list {list:?}"))),
    }
}
