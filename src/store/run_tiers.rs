//! Merging runs beside everything else: runs of about the same size are made one, so that there are never many, and no record is
//! written again more often than the size has tiers.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::JoinHandle;

use crate::run_file::{Run, RunError, Runs, remove};
use crate::run_merge::Merged;
use crate::run_scan::Scan;
use crate::run_set::{Family, listed};
use crate::sql::{Store, StoreError};

/// So many runs of a tier are made one.
const MERGED_TOGETHER: usize = 8;
/// Runs below eight times this size are in the lowest tier; each next one reaches eight times as far.
const LOWEST_TIER_BYTES: u64 = 1 << 20;
/// With more runs of a family than this, a checkpoint waits for merges.
const RUNS_MAX: usize = 64;
const READ_AHEAD_BYTES: usize = 256 << 10;
/// How often a merge looks whether it is to stop.
const RECORDS_BETWEEN_LOOKS: u32 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Merges {
    running: Mutex<HashMap<(Family, u32), JoinHandle<()>>>,
    stopping: AtomicBool,
    /// Runs that could not be read: they are left out, so that the others are merged all the same.
    unreadable: Mutex<HashSet<String>>,
    /// Held while the list of runs changes.
    pub(crate) list: tokio::sync::Mutex<()>,
}

impl Merges {
    fn unreadable(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unreadable.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What an error says of the runs of a merge.
    fn leave_out(&self, error: &StoreError, runs: &[Arc<Run>]) {
        let mut unreadable = self.unreadable();
        match error {
            StoreError::Run(RunError::Damaged { path, .. } | RunError::Gone(path)) => {
                unreadable.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_string));
            }
            StoreError::Run(RunError::Facts(_)) => unreadable.extend(runs.iter().map(|run| run.name().to_string())),
            _ => {}
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(Family, u32), JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub(crate) fn tier(run: &Run) -> u32 {
    (run.bytes() / LOWEST_TIER_BYTES).max(1).ilog(MERGED_TOGETHER as u64)
}

/// Runs of one tier that are enough to be merged, the smallest tier first.
pub(crate) fn due(runs: &[Arc<Run>]) -> Option<(u32, Runs)> {
    let mut tiers: BTreeMap<u32, Runs> = BTreeMap::new();
    runs.iter().for_each(|run| tiers.entry(tier(run)).or_default().push(run.clone()));
    tiers.into_iter().find(|(_, runs)| runs.len() >= MERGED_TOGETHER)
}

impl Store {
    /// Begins what merges are due, unless they are running.
    pub(crate) fn begin_merges(&self) {
        if self.merges.stopping.load(Ordering::Relaxed) {
            return;
        }
        for family in Family::ALL {
            let due = match self.known_runs(family) {
                Ok(runs) => due(&runs),
                Err(error) => {
                    tracing::error!(%error, "a run of facts cannot be opened; the others are merged without it");
                    self.merges.leave_out(&error.into(), &[]);
                    continue;
                }
            };
            let Some((tier, runs)) = due else { continue };
            let mut running = self.merges.running();
            running.retain(|_, merge| !merge.is_finished());
            if let Entry::Vacant(free) = running.entry((family, tier)) {
                let store = self.clone();
                free.insert(tokio::spawn(async move {
                    match store.merge(family, runs.clone()).await {
                        // Its own task is still running: the next tier may be due now.
                        Ok(()) => store.begin_merges(),
                        Err(StoreError::Run(RunError::Stopped)) => {}
                        Err(error) => {
                            tracing::error!(%error, "runs of facts could not be merged; they are merged later, without what cannot be read");
                            store.merges.leave_out(&error, &runs);
                        }
                    }
                }));
            }
        }
    }

    /// The runs that can be read, as of the last change of the list by this process.
    fn known_runs(&self, family: Family) -> Result<Runs, RunError> {
        let mut listed = self.runs.remembered().unwrap_or_default();
        listed.retain(|name| !self.merges.unreadable().contains(name));
        self.runs.opened(family, &listed)
    }

    async fn merge(&self, family: Family, runs: Runs) -> Result<(), StoreError> {
        let _writing = self.runs.writing()?;
        let (store, inputs) = (self.clone(), runs.clone());
        let merged = tokio::task::spawn_blocking(move || store.merged(family, &inputs)).await.map_err(|_| RunError::Stopped)??;
        let merged = [merged];
        let names: Vec<String> = runs.iter().map(|run| run.name().to_string()).collect();
        let committed = self.commit_runs(&merged, async |connection| {
            let listed = listed(connection).await?;
            // Else all facts were replaced meanwhile.
            Ok(names.iter().all(|name| listed.contains(name)).then(|| names.clone()))
        });
        match committed.await? {
            Some(_) => runs.iter().for_each(|run| remove(run.path())),
            None => remove(merged[0].path()),
        }
        Ok(())
    }

    /// One run that holds what all of these hold.
    pub(crate) fn merged(&self, family: Family, runs: &[Arc<Run>]) -> Result<Arc<Run>, RunError> {
        let filter_bytes = runs.iter().map(|run| run.filter().bytes()).sum();
        let scans = runs.iter().map(|run| Scan::new(run, &[], &[u8::MAX], READ_AHEAD_BYTES)).collect::<Result<_, _>>()?;
        let mut records = Merged::new(scans)?;
        self.write_run(family, filter_bytes, |put| {
            let mut until_look = RECORDS_BETWEEN_LOOKS;
            while records.next()? {
                put(records.key(), records.value())?;
                until_look -= 1;
                if until_look == 0 {
                    until_look = RECORDS_BETWEEN_LOOKS;
                    if self.merges.stopping.load(Ordering::Relaxed) {
                        return Err(RunError::Stopped);
                    }
                }
            }
            Ok(())
        })
    }

    /// Where there are too many runs, waits until those that are being merged are fewer.
    pub(crate) async fn wait_for_merges(&self) {
        let many = |family| self.known_runs(family).is_ok_and(|runs| runs.len() >= RUNS_MAX);
        if Family::ALL.into_iter().any(many) {
            let running: Vec<_> = self.merges.running().drain().collect();
            for (_, merge) in running {
                // A merge that failed has said so.
                let _ = merge.await;
            }
        }
    }

    /// Ends merges that are running; they are begun anew another time.
    pub(crate) async fn stop_merges(&self) {
        self.merges.stopping.store(true, Ordering::Relaxed);
        let running: Vec<_> = self.merges.running().drain().collect();
        for (_, merge) in running {
            let _ = merge.await;
        }
    }
}
