//! What the service does beside its doors, a bounded piece at a time: prunes the quarantine, and keeps totals at hand.

use std::time::Duration;

use observe::{Clock, Metrics};
use store::{QuarantineLimits, Store, StoreError};
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);
/// Between two turns while there is more to remove: refusals come first.
const MORE_SOON: Duration = Duration::from_millis(10);
const AFTER_A_FAULT: Duration = Duration::from_secs(10);

pub async fn keep_house(store: Store, clock: Clock, metrics: Metrics, limits: QuarantineLimits, mut stopping: watch::Receiver<bool>) {
    loop {
        let wait = match turn(&store, &clock, &metrics, &limits).await {
            Ok(true) => MORE_SOON,
            Ok(false) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "the quarantine could not be pruned; it is tried again");
                AFTER_A_FAULT
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Gives whether anything was removed: then there may be more.
async fn turn(store: &Store, clock: &Clock, metrics: &Metrics, limits: &QuarantineLimits) -> Result<bool, StoreError> {
    let pruned = store.prune_quarantine(limits, clock.now()).await?;
    for (reason, count) in [("age", pruned.by_age), ("size", pruned.by_size)] {
        metrics.quarantine_removed.with_label_values(&[reason]).inc_by(count);
    }
    metrics.quarantine_entries.set(gauge(pruned.entries));
    metrics.quarantine_bytes.set(gauge(pruned.bytes));
    let gaps = store.gap_totals().await?;
    metrics.gap_reports.set(gauge(gaps.reports));
    metrics.gap_boots.set(gauge(gaps.boots));
    Ok(pruned.by_age + pruned.by_size > 0)
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
