//! How many devices of each voucher are connected, without judging anything.

use axum::Json;
use axum::extract::State;
use policy::calendar::show_instant;
use serde_json::{Value, json};
use store::KeyRole;

use super::vouchers::AsOf;
use crate::problem::{Problem, Query};
use crate::state::{Caller, WebState};

/// Goes through the facts of all enterprises: not for everybody.
const READERS: &[KeyRole] = &[KeyRole::Admin, KeyRole::Platform];

/// Of every voucher within the caller's scope, in order of their id.
pub async fn list(State(state): State<WebState>, caller: Caller, Query(as_of): Query<AsOf>) -> Result<Json<Value>, Problem> {
    caller.must_be(READERS)?;
    let as_of = as_of.past(state.clock.now())?;
    let all = state.monitor.connected_devices(as_of).await?;
    let register = state.register.register();
    let seen = all.iter().filter(|one| register.vouchers.get(&one.voucher).is_some_and(|voucher| caller.sees(&register, voucher)));
    let items: Vec<_> = seen
        .map(|one| {
            json!({
                "voucher": one.voucher, "cut_off": show_instant(one.window.cut_off), "declared": one.declared, "connected": one.connected,
            })
        })
        .collect();
    Ok(Json(json!({ "items": items })))
}
