//! Starts the service's parts in their order, and stops them in the reverse.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use ingest::{Door, DoorOptions, Feeds, Intake, IntakeOptions, Places, SessionOptions, Whereabouts};
use monitor::{Announce, EvidenceSource, FlushEvidence, FlushFailed, Monitor, MonitorParts};
use observe::{Clock, Health, Metrics};
use policy::in_force::Dated;
use policy::result::MonitoringResult;
use store::{Actor, LogOptions, QuarantineLimits, RegisterState, Scanned, Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use web::{RequestLimits, WebParts};
use wire::topic::{self, GatewayTopic};

use crate::config::Config;
use crate::housekeeping::keep_house;
use crate::http::{self, HttpBounds};
use crate::offline::open_store;
use crate::{descriptors, tls};

/// A running service.
pub struct Service {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub mqtt: SocketAddr,
    pub mqtt_tls: Option<SocketAddr>,
    pub store: Store,
    pub monitor: Monitor,
    intake: Intake,
    feeds: Feeds,
    /// Told to look at files that may have changed.
    reload: Arc<Notify>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Held as long as the service uses the directory.
    _lock: File,
}

impl Service {
    pub async fn start(config: &Config, clock: Clock) -> Result<Service> {
        let dir = config.path("data.dir");
        let store = open_store(config).await?;
        let lock = lock_dir(&dir)?;
        let keys = store.keys().clone();
        let http = bind(config, "http.listen").await?;
        let admin = bind(config, "admin.listen").await?;
        let mqtt = bind(config, "mqtt.listen").await?;
        let mqtt_tls = match config.listen_if_any("mqtt.tls.listen") {
            Some(_) => Some(bind(config, "mqtt.tls.listen").await?),
            None => None,
        };
        let (metrics, health) = (Metrics::new(), Health::default());
        let reload = Arc::new(Notify::new());
        let tls = tls::start(config, &clock, &metrics, reload.clone())?;
        let shares = descriptors::shares(config.size("mqtt.connections_max"), config.size("http.connections_max"));
        let actor = Actor::new("service", clock.now());
        store.record_policy(&actor, &policy_in_force(config)).await?;
        let register = RegisterState::load(store.clone()).await?;
        let options = IntakeOptions {
            future_skew_s_max: config.rulebooks.iter().map(|rulebook| rulebook.parameters.future_skew_s_max).min().unwrap_or(0),
            log: LogOptions { segment_bytes: config.count("log.segment_mib") << 20, grow_bytes: config.count("log.grow_mib") << 20 },
            free_bytes_min: config.count("disk.free_mib_min") << 20,
            group_delay: Duration::from_millis(config.count("log.group_delay_ms")),
            checkpoint_every: Duration::from_secs(config.count("tally.checkpoint_every_s")),
        };
        let (intake, scanned) =
            Intake::start(store.clone(), register.clone(), clock.clone(), metrics.clone(), health.clone(), keys.clone(), options).await?;
        tell_unreadable(&scanned);
        let feeds = Feeds::start(session_options(config), metrics.clone())?;
        feeds.say_state(true, clock.now());
        let (stop, stopping) = watch::channel(false);
        let whereabouts = Whereabouts::new(store.clone());
        let monitor = Monitor::new(MonitorParts {
            store: store.clone(),
            register: register.clone(),
            rulebooks: config.rulebooks.clone(),
            catalogues: config.catalogues.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            evidence: EvidenceSource::Live(Arc::new(Flusher { intake: intake.clone(), whereabouts: whereabouts.clone() })),
            announce: Some(Arc::new(FeedAnnouncer(feeds.clone()))),
            judging: Default::default(),
        });
        monitor.announce_newest().await?;
        let requests_per_s = u32::try_from(config.count("http.key_requests_per_s")).unwrap_or(u32::MAX);
        let addresses = (http.local_addr()?, admin.local_addr()?, mqtt.local_addr()?);
        let mqtt_tls_address = mqtt_tls.as_ref().map(TcpListener::local_addr).transpose()?;
        let pages = web::router(Arc::new(WebParts {
            store: store.clone(),
            register: register.clone(),
            intake: intake.clone(),
            monitor: monitor.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            clock: clock.clone(),
            gateway_mqtt_urls: config.urls("enrol.mqtt_urls"),
            quarantine_keep_days: config.count("quarantine.keep_days"),
            keys: keys.clone(),
            packing: Default::default(),
            importing: Default::default(),
            limits: RequestLimits::new(NonZeroU32::new(requests_per_s).unwrap_or(NonZeroU32::MAX)),
            loopback_only: addresses.0.ip().is_loopback(),
        }));
        let options = door_options(config, shares.mqtt);
        let door = Door::new(intake.clone(), &feeds, metrics.clone(), health.clone(), whereabouts.clone(), options, stopping.clone());
        let receipts = door.receipts(store.clone(), keys, config.seconds("mqtt.receipt_every_s"));
        let (http_bounds, admin_bounds) = (http_bounds(config, shares.http), http_bounds(config, shares.admin));
        let admin_router = web::admin_router(metrics.clone(), health);
        let mut tasks = vec![
            tokio::spawn(receipts.run(stopping.clone())),
            tokio::spawn(door.clone().listen(mqtt, None)),
            tokio::spawn(door.clone().tend_sessions()),
            tokio::spawn(http::serve(http, pages, http_bounds, metrics.clone(), stopping.clone())),
            tokio::spawn(keep_house(store.clone(), clock, metrics.clone(), quarantine_limits(config), stopping.clone())),
            tokio::spawn(http::serve(admin, admin_router, admin_bounds, metrics, stopping.clone())),
            tokio::spawn(keep_register_fresh(register, stopping.clone())),
            tokio::spawn(write_whereabouts(whereabouts, stopping.clone())),
        ];
        if let Some(listener) = mqtt_tls {
            tasks.push(tokio::spawn(door.listen(listener, tls)));
        }
        let every_s = config.count("monitor.every_s");
        if every_s > 0 {
            tasks.push(tokio::spawn(monitor::watch(monitor.clone(), Duration::from_secs(every_s), stopping)));
        }
        let (http, admin, mqtt) = addresses;
        Ok(Service { http, admin, mqtt, mqtt_tls: mqtt_tls_address, store, monitor, intake, feeds, reload, stop, tasks, _lock: lock })
    }

    /// Closes the doors, settles what is waiting, writes a last checkpoint.
    pub async fn stop(self) {
        self.feeds.say_state(false, self.intake.clock().now());
        self.stop.send_replace(true);
        for task in self.tasks {
            // Open requests get a moment; what has not ended by then is cut off unanswered, and its sender tries again.
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
        self.intake.stop().await;
        self.store.close().await;
    }
}

/// Rulebooks and catalogues, for the audit log.
pub fn policy_in_force(config: &Config) -> serde_json::Value {
    fn named<T: Dated>(versions: impl Iterator<Item = T>) -> serde_json::Map<String, serde_json::Value> {
        versions.map(|version| (version.id().to_string(), version.hash().into())).collect()
    }
    serde_json::json!({ "rulebooks": named(config.rulebooks.iter().cloned()), "catalogues": named(config.catalogues.iter().cloned()) })
}

/// What of the evidence log could not be read at the start.
fn tell_unreadable(scanned: &Scanned) {
    if let Some(torn) = &scanned.torn {
        let path = torn.path.display().to_string();
        tracing::warn!(path, byte = torn.byte, block = torn.block, fault = %torn.fault, "the torn tail of the evidence log was cut: a write that was under way when the service ended; a copy is kept in log/damaged");
    }
    for damaged in &scanned.damaged {
        let path = damaged.path.display().to_string();
        tracing::error!(path, byte = damaged.byte, blocks = ?damaged.blocks, fault = %damaged.fault, "blocks of the evidence log are damaged and not counted; a copy is kept in log/damaged: restore the file from a backup, then run shangyun tally rebuild");
    }
}

fn session_options(config: &Config) -> SessionOptions {
    SessionOptions {
        idle_max: config.size("mqtt.idle_sessions_max"),
        messages_max: config.size("mqtt.queue_messages_max"),
        bytes_max: config.size("mqtt.queue_kib_max") << 10,
        all_bytes_max: config.size("mqtt.queues_mib_max") << 20,
    }
}

fn door_options(config: &Config, connections_max: usize) -> DoorOptions {
    DoorOptions {
        connections_max,
        connections_of_address_max: config.size("mqtt.connections_per_address_max").min(connections_max),
        handshakes_max: config.size("mqtt.tls.handshakes_max"),
        handshake_timeout: config.seconds("mqtt.tls.handshake_timeout_s"),
        connect_timeout: config.seconds("mqtt.connect_timeout_s"),
        stall_timeout: config.seconds("mqtt.stall_timeout_s"),
        keep_alive_max_s: u16::try_from(config.count("mqtt.keep_alive_max_s")).unwrap_or(u16::MAX),
        session_expiry_max_s: u32::try_from(config.count("mqtt.session_expiry_max_s")).unwrap_or(u32::MAX),
        ..DoorOptions::default()
    }
}

fn quarantine_limits(config: &Config) -> QuarantineLimits {
    let keep = chrono::TimeDelta::days(config.count("quarantine.keep_days") as i64);
    QuarantineLimits { keep, bytes_max: config.count("quarantine.mib_max") << 20 }
}

fn http_bounds(config: &Config, connections_max: usize) -> HttpBounds {
    HttpBounds {
        places: Places::new(connections_max, config.size("http.connections_per_address_max").min(connections_max)),
        header_timeout: config.seconds("http.header_timeout_s"),
        body_timeout: config.seconds("http.body_timeout_s"),
        stall_timeout: config.seconds("http.stall_timeout_s"),
    }
}

/// One service per directory. The lock is the system's: it ends with the process, however that ends.
fn lock_dir(dir: &std::path::Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(|| format!("{}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("the data directory {} is in use by a running service: stop it first, or set another data.dir", dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => Err(anyhow!("{}: {error}", path.display())),
    }
}

async fn bind(config: &Config, name: &str) -> Result<TcpListener> {
    let address = config.listen(name);
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!("{name}: {address} is taken by another program: end it, or set {name} to another port"),
        std::io::ErrorKind::PermissionDenied => anyhow!("{name}: {address} is not allowed to this user: choose a port from 1024"),
        _ => anyhow!("{name}: cannot listen on {address}: {error}"),
    })
}

/// Commands change the register from outside: connected gateways should notice soon.
async fn keep_register_fresh(register: RegisterState, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        if let Err(error) = register.refresh().await {
            tracing::warn!(%error, "the register could not be read");
        }
    }
}

/// From where gateways connect is written every few seconds, and when the service stops.
async fn write_whereabouts(whereabouts: Whereabouts, mut stopping: watch::Receiver<bool>) {
    loop {
        let stop = tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(5)) => false,
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        tell_unwritten(whereabouts.write().await);
        if stop {
            return;
        }
    }
}

fn tell_unwritten(written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "from where gateways connect could not be written; it is tried again");
    }
}

struct Flusher {
    intake: Intake,
    whereabouts: Whereabouts,
}

impl FlushEvidence for Flusher {
    fn flush(&self) -> BoxFuture<'_, Result<(), FlushFailed>> {
        async {
            // No verdict rests on it: judging goes on without what cannot be written.
            tell_unwritten(self.whereabouts.write().await);
            self.intake.flush().await.map_err(|_| FlushFailed)
        }
        .boxed()
    }
}

struct FeedAnnouncer(Feeds);

impl Announce for FeedAnnouncer {
    fn result(&self, result: &MonitoringResult, gateways: &[String], city: &str) {
        let as_of = policy::calendar::show_instant(result.judged_at);
        let verdict = serde_json::json!({
            "voucher": result.voucher, "verdict": result.verdict.code(), "verdict_text": result.verdict_text,
            "sequence": result.sequence, "judged_at": as_of,
        });
        self.0.publish(&topic::verdicts(city), verdict.to_string().into_bytes());
        let Some(devices) = &result.devices else { return };
        let standing =
            serde_json::json!({ "voucher": result.voucher, "required": devices.required, "connected": devices.connected, "as_of": as_of });
        for gateway in gateways {
            self.0.publish_retained(&GatewayTopic::Standing.of(gateway), standing.to_string().into_bytes());
        }
    }
}

/// `shangyun serve`: runs until it is told to stop.
pub async fn run(config: &Config) -> Result<()> {
    let service = Service::start(config, Clock::system()).await?;
    let addresses = format!(
        "pages and API  http://{}/\nmetrics        http://{}/metrics\nMQTT           mqtt://{}\n",
        service.http, service.admin, service.mqtt
    );
    let tls_address = service.mqtt_tls.map(|address| format!("MQTT over TLS  mqtts://{address}\n")).unwrap_or_default();
    // Whoever started it may not be reading; that is no reason not to serve.
    let _ = std::io::stdout().write_all((addresses + &tls_address).as_bytes());
    if !service.http.ip().is_loopback() {
        tracing::warn!("pages are shown on loopback only until there is a login; the API is open to keys");
    }
    tokio::spawn(reload_on_hangup(service.reload.clone()));
    stop_asked().await?;
    tracing::info!("stopping");
    service.stop().await;
    Ok(())
}

/// SIGHUP, as a service manager asks for it.
async fn reload_on_hangup(reload: Arc<Notify>) -> Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    while hangup.recv().await.is_some() {
        reload.notify_one();
    }
    Ok(())
}

/// Ends at Ctrl-C or SIGTERM.
pub async fn stop_asked() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
