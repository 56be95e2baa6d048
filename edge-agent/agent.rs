//! Puts the parts together: pollers fill, the reporter builds and spools, the uplink delivers.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::beside::Beside;
use crate::bus::Address;
use crate::clock::Clock;
use crate::config::Config;
use crate::device::Device;
use crate::kept::kept_going;
use crate::key::{FileKey, KeyError, Signer};
use crate::modbus::{self, DeviceStates};
use crate::report::{Builder, Built, ClockState, EventKind, Item};
use crate::shared::SharedSpool;
use crate::spool::{DroppedRange, ReportKey, Spool};
use crate::status::Sources;
use crate::tail::{LogMark, LogMarks};
use crate::uplink::Uplink;
use crate::uplink_state::SharedUplinkState;
use crate::usage::{Batch, UsageCounts};
use crate::watchdog::Watchdog;
use crate::writing::SharedWriting;

const ITEMS_WAITING_MAX: usize = 1024;
const USAGE_WAITING_MAX: usize = 8;
/// Flash wears by writing: whatever is due within this time is written and synced together.
const SPOOL_EVERY: Duration = Duration::from_secs(1);
const SPOOL_CLOCK_EVERY: Duration = Duration::from_secs(5);
/// The first readings are reported after this time, so that the one who installs the agent sees them come.
const FIRST_REPORT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "暂存目录 {path} 打不开，请检查 spool.dir 及其权限 / the spool at {path} cannot be opened: {source}; check spool.dir and its permissions"
    )]
    Spool { path: String, source: io::Error },
    #[error("gateway.key_file：私钥不可用 / {0}")]
    Key(#[from] KeyError),
    #[error("最后的报告没能写入磁盘 / the last report could not be spooled: {0}")]
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
    let (sender, items) = mpsc::channel(ITEMS_WAITING_MAX);
    let mut buses: BTreeMap<Address, Vec<Device>> = BTreeMap::new();
    for device in &config.devices {
        buses.entry(device.address.clone()).or_default().push(device.clone());
    }
    let states = DeviceStates::default();
    // Dropping the set at the end stops the pollers.
    let mut pollers = JoinSet::new();
    for (address, devices) in buses {
        let settings = config.bus(&address);
        let (clock, states, sender) = (clock.clone(), states.clone(), sender.clone());
        pollers.spawn(kept_going(format!("polling {address}"), move || {
            modbus::poll(address.clone(), settings.clone(), devices.clone(), clock.clone(), states.clone(), sender.clone())
        }));
    }
    report_items(config, clock, items, states, watchdog, shutdown).await
}

/// Reports the items that are given until `shutdown` completes; whatever was sent before it is spooled.
pub async fn run_with_items(
    config: Config,
    clock: Arc<dyn Clock>,
    items: mpsc::Receiver<Item>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    report_items(config, clock, items, DeviceStates::default(), Watchdog::default(), shutdown).await
}

async fn report_items(
    config: Config,
    clock: Arc<dyn Clock>,
    mut items: mpsc::Receiver<Item>,
    devices: DeviceStates,
    watchdog: Watchdog,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut reporter = Reporter::open(&config, clock).await?;
    let uplink_state = SharedUplinkState::default();
    let sources = reporter.sources(&config, devices, uplink_state.clone());
    let mut beside = Beside::start(&config, sources, &reporter.log_marks);
    let (finish, finishing) = watch::channel(false);
    let mut uplink = JoinSet::new();
    let mut heartbeat = watchdog.heartbeat();
    let pulse = heartbeat.pulse("reporter");
    uplink.spawn(
        Uplink::new(config.gateway, config.broker, config.delivery, reporter.spool.clone(), reporter.clock.clone(), uplink_state)
            .run(finishing, heartbeat.pulse("uplink")),
    );
    watchdog.ready();
    let mut watching = JoinSet::new();
    watching.spawn(watchdog.clone().watch(heartbeat, reporter.spool.clone()));
    watching.spawn(tell_time(reporter.spool.clone(), reporter.clock.clone()));

    tokio::pin!(shutdown);
    let mut open = true;
    loop {
        pulse.beat();
        tokio::select! {
            item = items.recv(), if open => match item {
                Some(item) => reporter.builder.push(item),
                None => open = false,
            },
            Some(batch) = beside.batches.recv(), if reporter.takes_usage() => reporter.take_usage(batch),
            () = sleep_until(reporter.wakes_at()) => reporter.wake().await,
            () = pulse.due() => {}
            () = &mut shutdown => break,
        }
    }
    watchdog.stopping();
    items.close();
    while let Some(item) = items.recv().await {
        reporter.builder.push(item);
    }
    beside.batches.close();
    while let Some(batch) = beside.batches.recv().await {
        reporter.take_usage(batch);
    }
    let spooled = reporter.stop().await;
    finish.send_replace(true);
    while pulse.during(uplink.join_next()).await.is_some() {}
    spooled.map_err(RunError::Unspooled)
}

/// The spool has no clock of its own: ages, and when marks are written, go by what it is told.
async fn tell_time(spool: SharedSpool, clock: Arc<dyn Clock>) {
    let mut every = tokio::time::interval(SPOOL_CLOCK_EVERY);
    loop {
        every.tick().await;
        let now_ms = now_ms(&*clock);
        if let Err(error) = spool.with(move |spool| spool.tick(now_ms)).await {
            tracing::warn!(%error, "the spool cannot be tidied; it is tried again");
        }
    }
}

/// Milliseconds since the epoch; 0 before it.
fn now_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().timestamp_millis()).unwrap_or(0)
}

/// Writes down which places in logs are reached with which of the reports that come next.
fn intend(log_marks: &LogMarks, spool: &Spool, marks: Vec<(usize, LogMark)>) -> io::Result<()> {
    if marks.is_empty() {
        return log_marks.settle();
    }
    let next = spool.next_position();
    let marks: Vec<_> = marks.into_iter().map(|(index, mark)| (next + index as u64, mark)).collect();
    log_marks.intend(next, &marks)
}

struct Reporter {
    builder: Builder,
    signer: Option<Box<dyn Signer>>,
    clock: Arc<dyn Clock>,
    spool: SharedSpool,
    every: Duration,
    /// When everything that waits is reported; before that, only full reports are.
    due: Instant,
    /// The next write to the spool comes at this time or later.
    spool_at: Instant,
    backoff: Backoff,
    /// Built, and not yet in the spool. A report is never built twice.
    unspooled: Vec<(ReportKey, Vec<u8>)>,
    /// No more than about so many bytes are written in one piece: the spool takes whole pieces only.
    piece_bytes_max: u64,
    /// More was due than fits into one piece.
    more: bool,
    /// Usage that waits for its reports.
    usage: VecDeque<Batch>,
    /// Usage in `unspooled`, each with its reports there: they are taken together, and the place in a log with the last of them.
    spooling: Vec<(Range<usize>, Batch)>,
    log_marks: LogMarks,
    /// Dropped ranges that stand as events in the builder or in `unspooled`.
    dropped: Vec<DroppedRange>,
    writing: SharedWriting,
}

impl Reporter {
    async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Reporter, RunError> {
        let gateway = &config.gateway;
        let signer = match &gateway.key_file {
            Some(path) => Some(Box::new(FileKey::load(path, &gateway.id)?) as Box<dyn Signer>),
            None => None,
        };
        let (dir, bounds, now_ms) = (config.spool.dir.clone(), config.spool.bounds(), now_ms(&*clock));
        let opened = tokio::task::spawn_blocking(move || {
            let mut spool = Spool::open(&dir, bounds)?;
            spool.tick(now_ms)?;
            Ok(spool)
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
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
        let now = Instant::now();
        Ok(Reporter {
            builder,
            signer,
            clock,
            every: config.report.every,
            due: now + config.report.every.min(FIRST_REPORT),
            spool_at: now,
            backoff: Backoff::new(SPOOL_EVERY, Duration::from_secs(60)),
            unspooled: Vec::new(),
            piece_bytes_max: config.spool.bytes_max / 4,
            more: false,
            usage: VecDeque::new(),
            spooling: Vec::new(),
            // Before anything is spooled: the spool says which places in logs were reached.
            log_marks: LogMarks::open(&config.spool.dir, spool.next_position()),
            spool: SharedSpool::new(spool),
            dropped: Vec::new(),
            writing: SharedWriting::default(),
        })
    }

    /// What the status is gathered from.
    fn sources(&self, config: &Config, devices: DeviceStates, uplink: SharedUplinkState) -> Sources {
        Sources {
            gateway: config.gateway.id.clone(),
            boot: self.builder.boot().to_string(),
            started_at: self.clock.now(),
            clock: self.clock.clone(),
            spool: self.spool.clone(),
            uplink,
            writing: self.writing.clone(),
            devices,
            usage: UsageCounts::default(),
            usage_configured: config.usage.pseudonyms.is_some(),
            logs: config.usage.logs.iter().map(|log| log.file.display().to_string()).collect(),
            places_unreadable: self.log_marks.unreadable().map(str::to_string),
        }
    }

    /// While the spool takes nothing, usage stays with those who have it.
    fn takes_usage(&self) -> bool {
        self.unspooled.is_empty() && self.usage.len() < USAGE_WAITING_MAX
    }

    fn take_usage(&mut self, batch: Batch) {
        if batch.claim() {
            self.usage.push_back(batch);
        }
    }

    fn wakes_at(&self) -> Instant {
        if self.more || self.builder.full() || !self.unspooled.is_empty() || !self.usage.is_empty() {
            self.spool_at
        } else {
            self.due.max(self.spool_at)
        }
    }

    /// Spools what is due. A failure is said, and the same reports are tried again later.
    async fn wake(&mut self) {
        let now = Instant::now();
        let all = now >= self.due || self.more;
        if now >= self.due {
            self.due = now + self.every;
        }
        self.spool_at = now + SPOOL_EVERY.min(self.every);
        self.writing.dropped(self.builder.entries_dropped_total());
        match self.spool(all).await {
            Ok(()) => {
                self.backoff.reset();
                self.writing.done();
            }
            Err(error) => {
                self.writing.failed(&error, self.clock.now());
                let wait = self.backoff.after_failure(rand::random());
                self.spool_at = now + wait;
                tracing::error!(%error, wait_ms = wait.as_millis(), "reports cannot be spooled; they are tried again");
            }
        }
    }

    async fn stop(&mut self) -> io::Result<()> {
        self.builder.event(self.clock.now(), EventKind::Stop, "");
        // What could not be written before goes first; the rest is built behind it.
        while !self.unspooled.is_empty() || !self.builder.empty() || !self.usage.is_empty() {
            self.spool(true).await?;
        }
        Ok(())
    }

    /// Builds what is due, full reports or everything, and spools it with one sync.
    async fn spool(&mut self, all: bool) -> io::Result<()> {
        if self.unspooled.is_empty() {
            self.build(all).await?;
        }
        if self.unspooled.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.unspooled);
        let log_marks = self.log_marks.clone();
        let marks = self.spooling.iter().filter_map(|(reports, usage)| Some((reports.end.checked_sub(1)?, usage.mark.clone()?))).collect();
        let groups: Vec<Range<usize>> = self.spooling.iter().map(|(reports, _)| reports.clone()).collect();
        let (batch, spooled) = self
            .spool
            .with(move |spool| {
                let spooled = intend(&log_marks, spool, marks).and_then(|()| spool.append_groups(&batch, &groups));
                Ok((batch, spooled))
            })
            .await?;
        if let Err(error) = spooled {
            self.unspooled = batch;
            return Err(error);
        }
        self.spooling.drain(..).for_each(|(_, usage)| usage.say_spooled());
        self.spool.fill_notify();
        if !self.dropped.is_empty() && !self.builder.events_waiting() {
            let said = std::mem::take(&mut self.dropped);
            self.spool
                .with(move |spool| {
                    spool.dropped_said(&said);
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    async fn build(&mut self, all: bool) -> io::Result<()> {
        let now = self.clock.now();
        if self.dropped.is_empty() {
            self.dropped = self.spool.with(|spool| Ok(spool.dropped().to_vec())).await?;
            self.builder.dropped(now, &self.dropped);
        }
        let clock = ClockState { now, synchronised: self.clock.synchronised(), monotonic_ms: self.clock.monotonic_ms() };
        while (all || self.builder.full()) && self.piece_has_room() {
            let Some(built) = self.builder.build(clock)? else { break };
            self.sealed(built)?;
        }
        self.more = all && !self.builder.empty();
        while self.piece_has_room()
            && let Some(mut batch) = self.usage.pop_front()
        {
            let first = self.unspooled.len();
            if let Err(error) = self.build_usage(clock, &mut batch) {
                self.usage.push_front(batch);
                return Err(error);
            }
            self.spooling.push((first..self.unspooled.len(), batch));
        }
        Ok(())
    }

    fn piece_has_room(&self) -> bool {
        self.unspooled.iter().map(|(_, body)| body.len() as u64).sum::<u64>() < self.piece_bytes_max
    }

    /// What stands in a report is no longer in the batch.
    fn build_usage(&mut self, clock: ClockState, batch: &mut Batch) -> io::Result<()> {
        while !batch.entries.is_empty() {
            let count = batch.next_report();
            let built = self.builder.build_usage(clock, &batch.entries[..count])?;
            self.sealed(built)?;
            batch.entries.drain(..count);
        }
        Ok(())
    }

    fn sealed(&mut self, built: Built) -> io::Result<()> {
        let body = match &self.signer {
            Some(signer) => signer.seal(&built.body).map_err(io::Error::other)?,
            None => built.body.clone(),
        };
        self.builder.taken(&built);
        self.unspooled.push((built.key, body));
        Ok(())
    }
}
