//! Which runs there are. The list stands in the database and changes in the transaction that moves the checkpoint, so that facts and
//! position always belong together; a file that stands in no list is left over from something that did not end, and is removed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use sqlx::SqliteConnection;

use crate::run_file::{Run, RunError, RunPlan, RunWriter, Runs, at, remove, sync_dir};
use crate::sql::StoreError;

/// What a run holds; each family is merged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Facts,
    /// The index of identities.
    Claims,
}

impl Family {
    pub(crate) const ALL: [Family; 2] = [Family::Facts, Family::Claims];

    fn name(self) -> &'static str {
        match self {
            Family::Facts => "facts",
            Family::Claims => "claims",
        }
    }

    /// Facts are read by ranges, identities one by one.
    pub(crate) fn page_bytes(self) -> usize {
        match self {
            Family::Facts => 16 << 10,
            Family::Claims => 4 << 10,
        }
    }

    pub(crate) fn holds(self, name: &str) -> bool {
        name.starts_with(self.name())
    }
}

/// Filters of ids that are kept in memory, in all; those beyond are read from the disk, a block at a time.
const FILTERS_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Default)]
struct Known {
    /// As of the last look; `None` before the first.
    listed: Option<Vec<String>>,
    opened: HashMap<String, Arc<Run>>,
    /// Runs of a commit that failed, perhaps after it was written: they wait for a commit that has no doubt.
    doubtful: Vec<PathBuf>,
    /// While there are any, no other process may take them for left over.
    doubting: Option<Writing>,
}

#[derive(Debug)]
pub(crate) struct RunSet {
    dir: PathBuf,
    known: Mutex<Known>,
}

/// While it is held, nobody takes files away that stand in no list yet.
#[derive(Debug)]
pub(crate) struct Writing(#[allow(dead_code, reason = "the lock goes with it")] File);

impl RunSet {
    pub(crate) fn open(dir: PathBuf) -> Result<RunSet, RunError> {
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        Ok(RunSet { dir, known: Mutex::default() })
    }

    fn lock_file(&self) -> Result<File, RunError> {
        let path = self.dir.join(".lock");
        File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))
    }

    pub(crate) fn writing(&self) -> Result<Writing, RunError> {
        let file = self.lock_file()?;
        file.lock_shared().map_err(at(&self.dir))?;
        Ok(Writing(file))
    }

    /// Removes what stands in no list, unless somebody is writing now. `listed` is asked once nobody can begin to.
    pub(crate) async fn clean<F: Future<Output = Result<Vec<String>, StoreError>>>(
        &self,
        listed: impl FnOnce() -> F,
    ) -> Result<(), StoreError> {
        let file = self.lock_file()?;
        if file.try_lock().is_err() {
            return Ok(());
        }
        let listed = listed().await?;
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))?.flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".run") && !listed.iter().any(|listed| listed == name) {
                tracing::info!(path = %path.display(), "removing a run that was never finished or is no longer needed");
                remove(&path);
            }
        }
        Ok(())
    }

    pub(crate) fn writer(&self, family: Family, filter_bytes: u64) -> Result<RunWriter, RunError> {
        let name = format!("{}-{:016x}.run", family.name(), rand::random::<u64>());
        RunWriter::create(self.dir.join(name), RunPlan { page_bytes: family.page_bytes(), filter_bytes })
    }

    /// Ends a run and makes its name durable. It counts once it stands in the list.
    pub(crate) fn finish(&self, writer: RunWriter) -> Result<Arc<Run>, RunError> {
        let run = writer.finish()?;
        sync_dir(&self.dir)?;
        Ok(self.keep(&mut self.known(), run))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn keep(&self, known: &mut Known, mut run: Run) -> Arc<Run> {
        let in_memory = known.opened.values().map(|run| run.filter()).filter(|filter| filter.in_memory()).map(|filter| filter.bytes());
        if in_memory.sum::<u64>() + run.filter().bytes() <= FILTERS_BYTES_MAX
            && let Err(error) = run.load_filter()
        {
            tracing::warn!(%error, "a filter of ids stays on the disk");
        }
        let run = Arc::new(run);
        known.opened.insert(run.name().to_string(), run.clone());
        run
    }

    /// The runs of a list, opened; those that are open already stay so, those of the family that stand in it no more are closed.
    pub(crate) fn opened(&self, family: Family, listed: &[String]) -> Result<Runs, RunError> {
        let mut known = self.known();
        let known = &mut *known;
        known.opened.retain(|name, _| !family.holds(name) || listed.contains(name));
        let of_family = listed.iter().filter(|name| family.holds(name));
        of_family
            .map(|name| match known.opened.get(name) {
                Some(run) => Ok(run.clone()),
                None => Run::open(self.dir.join(name)).map(|run| self.keep(known, run)),
            })
            .collect()
    }

    /// Remembers the list as of a committed change.
    pub(crate) fn remember(&self, listed: Vec<String>) {
        self.known().listed = Some(listed);
    }

    pub(crate) fn forget_list(&self) {
        self.known().listed = None;
    }

    pub(crate) fn remembered(&self) -> Option<Vec<String>> {
        self.known().listed.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn doubt(&self, runs: &[Arc<Run>]) {
        let writing = self.writing().inspect_err(|error| tracing::warn!(%error, "runs in doubt cannot be kept from others")).ok();
        let mut known = self.known();
        known.doubting = known.doubting.take().or(writing);
        known.doubtful.extend(runs.iter().map(|run| run.path().to_path_buf()));
    }

    /// A commit has succeeded: what it does not list is not wanted.
    pub(crate) fn forget_doubtful(&self, listed: &[String]) {
        let mut known = self.known();
        let doubtful = std::mem::take(&mut known.doubtful);
        known.doubting = None;
        drop(known);
        let stands = |path: &Path| listed.iter().any(|name| path.ends_with(name));
        doubtful.iter().filter(|path| !stands(path)).for_each(|path| remove(path));
    }
}

pub(crate) async fn listed(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT name FROM run ORDER BY name").fetch_all(connection).await?)
}

/// Puts runs on the list and takes others off it, within a transaction.
pub(crate) async fn change_list(connection: &mut SqliteConnection, add: &[Arc<Run>], drop: &[String]) -> Result<(), StoreError> {
    for name in drop {
        sqlx::query("DELETE FROM run WHERE name = ?").bind(name).execute(&mut *connection).await?;
    }
    for run in add {
        sqlx::query("INSERT INTO run (name, bytes, records) VALUES (?, ?, ?)")
            .bind(run.name())
            .bind(run.bytes() as i64)
            .bind(run.records() as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
