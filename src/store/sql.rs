//! Opening the embedded store.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Executor, SqlitePool};

use crate::kept::Remembered;
use crate::place_rows::AddressesIgnored;
use crate::run_file::RunError;
use crate::run_set::{RunSet, listed};
use crate::run_tiers::Merges;
use crate::signing::{KeyError, ServiceKeys};
use crate::touched::Touched;

/// The schema, one step a version; `PRAGMA user_version` says how many are done.
const MAIN_STEPS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_heads.sql"),
    include_str!("schema_gateways.sql"),
    include_str!("schema_receipts.sql"),
    include_str!("schema_runs.sql"),
    include_str!("schema_results.sql"),
    include_str!("schema_block_days.sql"),
    include_str!("schema_seals.sql"),
    include_str!("schema_spot_checks.sql"),
    include_str!("schema_audit.sql"),
    include_str!("schema_values.sql"),
    include_str!("schema_audit_kept.sql"),
    include_str!("schema_enrolment.sql"),
];
const QUARANTINE_STEPS: &[&str] = &[
    include_str!("quarantine.sql"),
    include_str!("quarantine_replay.sql"),
    include_str!("quarantine_receipts.sql"),
    include_str!("quarantine_places.sql"),
];

const READERS_MAX: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the data directory {}: {source}; set data.dir to a directory that this user may write to", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the data in {} is of version {found}, this program knows up to {known}: use the newer program", path.display())]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("no space left for the database")]
    Full,
    #[error("database: {0}")]
    Sql(sqlx::Error),
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    #[error(transparent)]
    Run(RunError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("stored facts: {0}")]
    Facts(#[from] tally::DecodeError),
    #[error("result {sequence} of voucher {voucher} has lost its signature, and is given no other (shangyun log verify says more)")]
    Unsealed { voucher: String, sequence: i64 },
    #[error("stored {what}: {detail}")]
    Stored { what: &'static str, detail: String },
}

impl StoreError {
    pub(crate) fn stored(what: &'static str, detail: impl ToString) -> StoreError {
        StoreError::Stored { what, detail: detail.to_string() }
    }
}

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some(SQLITE_FULL) { StoreError::Full } else { StoreError::Sql(error) }
    }
}

impl From<RunError> for StoreError {
    fn from(error: RunError) -> StoreError {
        if let RunError::Full = error { StoreError::Full } else { StoreError::Run(error) }
    }
}

/// The embedded store. Cheap to clone; several processes may open it, one of them the service.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    pub(crate) readers: SqlitePool,
    /// One connection: SQLite has one writer.
    pub(crate) writer: SqlitePool,
    /// A file of its own, so that refusals never wait for a checkpoint.
    pub(crate) quarantine: SqlitePool,
    pub(crate) quarantine_readers: SqlitePool,
    /// Facts and the index of identities.
    pub(crate) runs: Arc<RunSet>,
    pub(crate) merges: Arc<Merges>,
    pub(crate) touched: Arc<Touched>,
    keys: ServiceKeys,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) addresses_ignored: AddressesIgnored,
}

impl Store {
    /// Opens the store in `dir`, making it if it is not there.
    pub async fn open(dir: &Path) -> Result<Store, StoreError> {
        let unusable = |source| StoreError::Directory { path: dir.to_path_buf(), source };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        tempfile_probe(dir).map_err(unusable)?;
        let main = dir.join("shangyun.db");
        let writer = connect(&main, 1).await?;
        migrate(&writer, &main, MAIN_STEPS).await?;
        let readers = connect(&main, READERS_MAX).await?;
        let quarantine_path = dir.join("quarantine.db");
        let quarantine = connect(&quarantine_path, 1).await?;
        migrate(&quarantine, &quarantine_path, QUARANTINE_STEPS).await?;
        let quarantine_readers = connect(&quarantine_path, READERS_MAX).await?;
        let runs = RunSet::open(dir.join("facts"))?;
        runs.clean(async || listed(&mut *readers.acquire().await?).await).await?;
        let (runs, merges, touched) = (Arc::new(runs), Arc::default(), Arc::default());
        let keys = ServiceKeys::open(dir)?;
        Ok(Store {
            dir: dir.to_path_buf(),
            readers,
            writer,
            quarantine,
            quarantine_readers,
            runs,
            merges,
            touched,
            keys,
            remembered: Arc::default(),
            addresses_ignored: AddressesIgnored::default(),
        })
    }

    /// The same store with other addresses that tell nothing of where a gateway is.
    pub fn ignoring(self, addresses: AddressesIgnored) -> Store {
        Store { addresses_ignored: addresses, ..self }
    }

    /// With which the service signs.
    pub fn keys(&self) -> &ServiceKeys {
        &self.keys
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub fn closed(&self) -> bool {
        self.readers.is_closed()
    }

    pub async fn close(&self) {
        self.stop_merges().await;
        self.readers.close().await;
        self.quarantine_readers.close().await;
        self.quarantine.close().await;
        self.writer.close().await;
    }
}

/// SQLite's own message for an unwritable directory does not name it: try first.
fn tempfile_probe(dir: &Path) -> std::io::Result<()> {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

async fn connect(path: &Path, connections_max: u32) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    // When a COMMIT fails, SQLite takes the transaction back by itself, and sqlx counts it as open for ever: such a connection would
    // begin none any more.
    let pool = SqlitePoolOptions::new().max_connections(connections_max);
    let pool = pool.before_acquire(|connection, _| Box::pin(ready(Ok(!connection.is_in_transaction()))));
    pool.connect_with(options).await
}

async fn migrate(pool: &SqlitePool, path: &Path, steps: &[&'static str]) -> Result<(), StoreError> {
    // Mostly there is nothing to do, and then nobody need wait for the writer.
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await?;
    if usize::try_from(found) == Ok(steps.len()) {
        return Ok(());
    }
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > steps.len() {
        return Err(StoreError::Newer { path: path.to_path_buf(), found, known: steps.len() });
    }
    for step in &steps[done..] {
        transaction.execute(sqlx::raw_sql(*step)).await?;
    }
    // A pragma takes no bound value; the number is ours.
    transaction.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", steps.len())))).await?;
    transaction.commit().await?;
    Ok(())
}
