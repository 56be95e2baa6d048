//! Judging by itself: after new evidence, after a change of the register, and when a day ends.

use std::time::Duration;

use policy::calendar::{Day, day_of};
use store::LogPosition;
use tokio::sync::watch as channel;

use crate::run::{JudgeError, Monitor};

/// What the last round of judging stood on.
#[derive(PartialEq)]
struct Grounds {
    position: LogPosition,
    refusals_revision: i64,
    register_revision: i64,
    day: Day,
}

/// Judges all vouchers whenever evidence, what findings know of refusals, register or day have changed since the last round, at most
/// every `every`.
pub async fn watch(monitor: Monitor, every: Duration, mut stopping: channel::Receiver<bool>) {
    let mut judged_on = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        match round(&monitor, &judged_on).await {
            Ok(grounds) => judged_on = Some(grounds),
            Err(error) => tracing::warn!(%error, "vouchers could not be judged; it is tried again"),
        }
    }
}

async fn round(monitor: &Monitor, judged_on: &Option<Grounds>) -> Result<Grounds, JudgeError> {
    let parts = monitor.parts();
    let grounds = Grounds {
        position: parts.store.checkpoint_position().await?,
        refusals_revision: parts.store.refusal_facts_revision().await?,
        register_revision: parts.store.register_revision().await?,
        day: day_of(parts.clock.now()),
    };
    if judged_on.as_ref() != Some(&grounds) {
        let new = monitor.judge_all(None).await?.iter().filter(|judged| judged.new).count();
        tracing::info!(new, "vouchers judged");
    }
    Ok(grounds)
}
