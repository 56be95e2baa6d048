//! What anybody needs to verify what the service has signed. Public: neither says anything of anyone.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::problem::Problem;
use crate::state::WebState;

/// The public keys, as a JWK set (RFC 7517).
pub async fn keys(State(state): State<WebState>) -> Json<Value> {
    Json(state.keys.public().jwks())
}

/// The newest signed head of the evidence log. Whoever keeps one can prove later that the log before it was never changed.
pub async fn head(State(state): State<WebState>) -> Result<impl IntoResponse, Problem> {
    let note = state.store.newest_head().await?.ok_or_else(|| Problem::not_found("no head has been signed yet"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note))
}
