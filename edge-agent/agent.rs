//! Puts the parts together: pollers fill, the reporter builds and spools, the uplink delivers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Config;
use crate::device::Device;
use crate::modbus;
use crate::report::{Builder, ClockState, Entry, EventKind};
use crate::shared::SharedSpool;
use crate::spool::{DroppedRange, Spool};
use crate::uplink::Uplink;
use crate::watchdog::Watchdog;

const ENTRIES_WAITING_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the spool at {path} cannot be opened: {source}; check spool.dir and its permissions")]
    Spool { path: String, source: io::Error },
    #[error("the last report could not be spooled: {0}")]
    Unspooled(io::Error),
}

/// Polls the configured devices and reports until `shutdown` completes.
pub async fn run(config: Config, clock: Arc<dyn Clock>, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    run_watched(config, clock, Watchdog::default(), shutdown).await
}

/// `run`, for a service manager that wants to know whether the agent lives.
pub async fn run_watched(
    config: Config,
    clock: Arc<dyn Clock>,
    watchdog: Watchdog,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (sender, entries) = mpsc::channel(ENTRIES_WAITING_MAX);
    let mut connections: BTreeMap<(String, u16), Vec<Device>> = BTreeMap::new();
    for device in &config.devices {
        connections.entry((device.host.clone(), device.port)).or_default().push(device.clone());
    }
    // Dropping the set at the end stops the pollers.
    let mut pollers = JoinSet::new();
    for ((host, port), devices) in connections {
        pollers.spawn(modbus::poll(host, port, devices, clock.clone(), sender.clone()));
    }
    report_entries(config, clock, entries, watchdog, shutdown).await
}

/// Reports the entries that are given until `shutdown` completes; whatever was sent before it is spooled.
pub async fn run_with_entries(
    config: Config,
    clock: Arc<dyn Clock>,
    entries: mpsc::Receiver<Entry>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    report_entries(config, clock, entries, Watchdog::default(), shutdown).await
}

async fn report_entries(
    config: Config,
    clock: Arc<dyn Clock>,
    mut entries: mpsc::Receiver<Entry>,
    watchdog: Watchdog,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut reporter = Reporter::open(&config, clock).await?;
    let (finish, finishing) = watch::channel(false);
    let mut uplink = JoinSet::new();
    let mut heartbeat = watchdog.heartbeat();
    let pulse = heartbeat.pulse("reporter");
    uplink.spawn(Uplink::new(config.gateway, config.broker, reporter.spool.clone()).run(finishing, heartbeat.pulse("uplink")));
    watchdog.ready();
    let mut watching = JoinSet::new();
    watching.spawn(watchdog.clone().watch(heartbeat, reporter.spool.clone()));

    tokio::pin!(shutdown);
    let mut open = true;
    loop {
        pulse.beat();
        tokio::select! {
            entry = entries.recv(), if open => match entry {
                Some(entry) => reporter.builder.push(entry),
                None => open = false,
            },
            () = sleep_until(reporter.due) => reporter.due_reached(),
            () = pulse.due() => {}
            () = &mut shutdown => break,
        }
        reporter.spool_due().await;
    }
    watchdog.stopping();
    entries.close();
    while let Some(entry) = entries.recv().await {
        reporter.builder.push(entry);
    }
    let spooled = reporter.stop().await;
    finish.send_replace(true);
    while pulse.during(uplink.join_next()).await.is_some() {}
    spooled.map_err(RunError::Unspooled)
}

struct Reporter {
    builder: Builder,
    clock: Arc<dyn Clock>,
    spool: SharedSpool,
    every: Duration,
    due: Instant,
    /// Everything that waits is reported, not only full reports.
    flush: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// Dropped ranges that stand as events in the builder.
    dropped: Vec<DroppedRange>,
}

impl Reporter {
    async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Reporter, RunError> {
        let (dir, bytes_max) = (config.spool.dir.clone(), config.spool.bytes_max);
        let opened =
            tokio::task::spawn_blocking(move || Spool::open(&dir, bytes_max)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let spool = opened.map_err(|source| RunError::Spool { path: config.spool.dir.display().to_string(), source })?;
        let boot = format!("{:016x}", rand::random::<u64>());
        let mut builder = Builder::new(boot, config.gateway.enterprise.clone(), config.report.devices_max);
        builder.event(clock.now(), EventKind::Start, concat!("shangyun-edge ", env!("CARGO_PKG_VERSION")));
        if spool.unreadable_count() > 0 {
            builder.event(clock.now(), EventKind::Dropped, format!("unreadable:{}", spool.unreadable_count()));
        }
        tracing::info!(
            gateway = config.gateway.id,
            boot = builder.boot(),
            waiting = spool.unsettled_count(),
            devices = config.devices.len(),
            "started"
        );
        Ok(Reporter {
            builder,
            clock,
            spool: SharedSpool::new(spool),
            every: config.report.every,
            due: Instant::now() + config.report.every,
            flush: false,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            retry_at: None,
            dropped: Vec::new(),
        })
    }

    fn due_reached(&mut self) {
        self.flush = true;
        self.due = Instant::now() + self.every;
    }

    /// Spools what is due. A failure is said, and tried again later with the same number.
    async fn spool_due(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        while self.flush || self.builder.full() {
            match self.spool_next().await {
                Ok(true) => {
                    self.backoff.reset();
                    self.retry_at = None;
                }
                Ok(false) => self.flush = false,
                Err(error) => {
                    let wait = self.backoff.after_failure(rand::random());
                    self.retry_at = Some(Instant::now() + wait);
                    tracing::error!(%error, wait_ms = wait.as_millis(), "a report cannot be spooled; it is tried again");
                    return;
                }
            }
        }
    }

    async fn stop(&mut self) -> io::Result<()> {
        self.builder.event(self.clock.now(), EventKind::Stop, "");
        while self.spool_next().await? {}
        Ok(())
    }

    /// Builds and spools one report; `false` if there is nothing to say.
    async fn spool_next(&mut self) -> io::Result<bool> {
        let now = self.clock.now();
        if self.dropped.is_empty() {
            self.dropped = self.spool.with(|spool| Ok(spool.dropped().to_vec())).await?;
            self.builder.dropped(now, &self.dropped);
        }
        let state = ClockState { now, synchronised: self.clock.synchronised(), monotonic_ms: self.clock.monotonic_ms() };
        let Some(built) = self.builder.build(state)? else { return Ok(false) };
        let (key, body) = (built.key.clone(), built.body.clone());
        self.spool.with(move |spool| spool.append(&key, &body)).await?;
        self.builder.taken(&built);
        if !self.dropped.is_empty() && !self.builder.events_waiting() {
            let said = std::mem::take(&mut self.dropped);
            self.spool
                .with(move |spool| {
                    spool.dropped_said(&said);
                    Ok(())
                })
                .await?;
        }
        self.spool.fill_notify();
        Ok(true)
    }
}
