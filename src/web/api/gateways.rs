//! Gateways: what they have sent, what is missing, and how their clocks stand.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use policy::calendar::{Day, show_instant};
use policy::clock::faults_of_day;
use policy::facts::ClockDay;
use policy::reasons::ClockFault;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{GatewaySequences, GatewaySummary, KeyRole};

use crate::problem::{Path, Problem, Query};
use crate::state::{Caller, WebState};

const PAGE: usize = 100;
/// Ranges and gaps shown of one boot.
const RANGES_SHOWN: usize = 1_000;

#[derive(Deserialize)]
pub struct GatewayQuery {
    /// Only this enterprise's.
    enterprise: Option<String>,
    /// `next` of the page before.
    #[serde(default)]
    after: String,
}

pub async fn list(State(state): State<WebState>, caller: Caller, Query(query): Query<GatewayQuery>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    state.register.refresh().await?;
    let register = state.register.register();
    let mut wanted = register
        .gateways
        .values()
        .filter(|gateway| gateway.id > query.after)
        .filter(|gateway| query.enterprise.as_ref().is_none_or(|enterprise| gateway.enterprise == *enterprise));
    let page: Vec<_> = wanted.by_ref().take(PAGE).collect();
    let next = wanted.next().and(page.last()).map(|gateway| &gateway.id);
    state.intake.flush().await?;
    let ids: Vec<&str> = page.iter().map(|gateway| gateway.id.as_str()).collect();
    let summaries = state.store.gateway_summaries(&ids).await?;
    let refused = state.store.newest_future_refusals(&ids).await?;
    let skew_s_max = state.intake.future_skew_s_max();
    let items: Vec<Value> = page
        .iter()
        .map(|gateway| {
            let summary = summaries.get(&gateway.id).cloned().unwrap_or_default();
            summarised(&gateway.id, &gateway.enterprise, &summary, refused.get(&gateway.id).copied(), skew_s_max)
        })
        .collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

pub async fn one(State(state): State<WebState>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    caller.must_be(&[KeyRole::Admin])?;
    state.register.refresh().await?;
    let register = state.register.register();
    let gateway = register.gateways.get(&id).ok_or_else(|| Problem::not_found(format!("there is no gateway {id:?} in the register")))?;
    state.intake.flush().await?;
    let summary = state.store.gateway_summaries(&[&id]).await?.remove(&id).unwrap_or_default();
    let refused = state.store.newest_future_refusals(&[&id]).await?.remove(&id);
    let boots = state.store.gateway_sequences(&id).await?;
    let mut shown = summarised(&id, &gateway.enterprise, &summary, refused, state.intake.future_skew_s_max());
    shown["boots"] = boots.iter().map(boot).collect();
    if gateway.sparkplug {
        let connected = state.intake.connected().devices(&id);
        shown["sparkplug"] = json!({ "born": connected.is_some(), "devices": connected.unwrap_or_default() });
    }
    Ok(Json(shown))
}

fn summarised(id: &str, enterprise: &str, summary: &GatewaySummary, refused: Option<Day>, skew_s_max: u32) -> Value {
    json!({
        "id": id, "enterprise": enterprise, "last_seen_at": summary.last_at.map(show_instant), "missing": summary.missing,
        // Every number up to the highest was accepted; of one that never reported nothing is missing.
        "complete": summary.missing == 0,
        "clock": clock(summary.clock.as_ref(), refused, skew_s_max),
    })
}

/// The newest day of receipt decides; a refusal for the future counts if it is not older.
fn clock(newest: Option<&(Day, ClockDay)>, refused: Option<Day>, skew_s_max: u32) -> Value {
    let day = newest.map(|(day, _)| *day).max(refused);
    let mut faults: BTreeSet<ClockFault> = newest
        .filter(|(on, _)| Some(*on) == day)
        .map(|(_, clock)| faults_of_day(clock, skew_s_max).into_iter().collect())
        .unwrap_or_default();
    if refused.is_some() && refused == day {
        faults.insert(ClockFault::Future);
    }
    let reading = newest.and_then(|(_, clock)| clock.newest);
    json!({
        "flagged": !faults.is_empty(), "faults": faults.iter().map(|fault| fault.code()).collect::<Vec<_>>(), "day": day,
        // The closest to the truth of that day: what came at once, not what had waited.
        "offset_s": newest.and_then(|(_, clock)| clock.offset_us).map(|(_, greatest)| seconds(greatest)),
        "last_offset_s": reading.and_then(|reading| reading.offset_us).map(seconds),
        "synchronised": reading.and_then(|reading| reading.synchronised),
        "last_at": reading.map(|reading| show_instant(reading.received_at)),
    })
}

/// Whole milliseconds are exact enough to show.
fn seconds(us: i64) -> f64 {
    (us / 1_000) as f64 / 1_000.0
}

fn boot(boot: &GatewaySequences) -> Value {
    let (accepted, gaps) = (boot.ranges.as_slice(), boot.ranges.gaps());
    let some = |list: &[(u64, u64)]| json!(&list[..list.len().min(RANGES_SHOWN)]);
    json!({
        "boot": boot.boot, "accepted": some(accepted), "gaps": some(&gaps), "gaps_omitted": gaps.len().saturating_sub(RANGES_SHOWN),
        "missing": boot.ranges.missing(), "last_seen_at": boot.last_at.map(show_instant),
    })
}
