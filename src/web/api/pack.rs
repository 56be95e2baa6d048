//! Evidence packs on demand.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use proof::{PackError, make_pack};
use store::KeyRole;

use super::results::{Which, wanted};
use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

/// The pack of the newest result, or of the one asked for. It holds rows of other enterprises too where they bear on the result: not for
/// those who see one city alone. One is made at a time: each reads the evidence log once.
pub async fn pack(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Problem> {
    caller.must_be(&[KeyRole::Admin, KeyRole::Platform])?;
    let result = wanted(&state, &caller, &id, &which).await?;
    caller.must_see_all()?;
    let _one_at_a_time = state.packing.lock().await;
    let pack = make_pack(&state.store, &result, state.clock.now()).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar"), (header::CONTENT_DISPOSITION, "attachment; filename=\"evidence.pack.tar\"")], pack))
}

impl From<PackError> for Problem {
    fn from(error: PackError) -> Problem {
        match error {
            PackError::Store(error) => error.into(),
            error => {
                tracing::error!(%error, "an evidence pack cannot be made");
                if error.lasts() { Problem::conflict(error.to_string()) } else { Problem::unavailable(error.to_string()) }
            }
        }
    }
}
