//! The register over HTTP.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use store::{ImportError, KeyRole};

use super::body;
use crate::problem::{Path, Problem};
use crate::state::{Caller, WebState};

pub async fn import(State(state): State<WebState>, caller: Caller, headers: HeaderMap, request: Body) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    let body = body::read(&headers, request).await?;
    let file: Value = serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    let rulebooks = &state.monitor.parts().rulebooks;
    match state.store.import_register(std::slice::from_ref(&file), &|id| rulebooks.get(id).is_some()).await {
        Ok(changed) => {
            state.register.refresh().await?;
            Ok(Json(json!({ "changed": changed })))
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
