//! The status as Prometheus metrics. No device is a label: their number has no bound that a time series database would like.

use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::status::{BrokerState, Status};

pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

const BROKER_STATES: [(BrokerState, &str); 3] =
    [(BrokerState::Live, "live"), (BrokerState::Backlog, "backlog"), (BrokerState::Offline, "offline")];

pub(super) fn text(status: &Status) -> Result<Vec<u8>, prometheus::Error> {
    let figures = Figures(Registry::new());
    agent(status, &figures)?;
    devices(status, &figures)?;
    broker(status, &figures)?;
    spool(status, &figures)?;
    writing(status, &figures)?;
    usage(status, &figures)?;
    let mut out = Vec::new();
    TextEncoder::new().encode(&figures.0.gather(), &mut out)?;
    Ok(out)
}

/// The status is a snapshot, so each answer has its own registry.
struct Figures(Registry);

impl Figures {
    fn gauge(&self, name: &str, help: &str, value: f64) -> Result<(), prometheus::Error> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    fn count(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(Box::new(gauge))
    }

    fn counts<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<(), prometheus::Error> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            gauges.with_label_values(&[value]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.register(Box::new(gauges))
    }

    fn total(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    fn totals<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<(), prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counters.with_label_values(&[value]).inc_by(count);
        }
        self.0.register(Box::new(counters))
    }
}

fn agent(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    figures.counts("shangyun_edge_version_info", "The agent's version.", "version", [(status.version.as_str(), 1)])?;
    let started_s = u64::try_from(status.started_at.timestamp()).unwrap_or(0);
    figures.count("shangyun_edge_start_time_seconds", "When the agent started, in seconds since 1970.", started_s)?;
    let (name, help) = ("shangyun_edge_clock_synchronised", "1 if the clock follows a time server, 0 if not; absent if nobody can say.");
    status.clock_synchronised.map_or(Ok(()), |yes| figures.count(name, help, u64::from(yes)))?;
    figures.count("shangyun_edge_current_troubles", "What the status page says is wrong now.", status.troubles.len() as u64)
}

fn devices(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    let qualities = wire::report::Quality::ALL.iter().map(|quality| {
        let count = status.devices.iter().filter(|device| device.quality.as_deref() == Some(quality.as_str())).count();
        (quality.as_str(), count as u64)
    });
    figures.counts("shangyun_edge_quality_devices", "Devices by the quality of their last entry.", "quality", qualities)?;
    let failing = status.devices.iter().filter(|device| device.failing).count() as u64;
    figures.count("shangyun_edge_failing_devices", "Devices that give no readings now.", failing)?;
    let incomplete = status.devices.iter().filter(|device| device.incomplete()).count() as u64;
    figures.count("shangyun_edge_incomplete_devices", "Devices that give readings now, but not of all points.", incomplete)?;
    figures.count("shangyun_edge_configured_devices", "Devices of the configuration.", status.devices.len() as u64)?;
    let behind = status.devices.iter().filter(|device| device.behind).count() as u64;
    figures.count("shangyun_edge_behind_devices", "Devices of which polls were left out just now.", behind)?;
    let slowest_ms = status.devices.iter().filter_map(|device| device.latency_ms).max().unwrap_or(0);
    let help = "How long the last good poll of the device that took longest took, from its first request to its last answer.";
    figures.gauge("shangyun_edge_slowest_read_seconds", help, slowest_ms as f64 / 1000.0)?;
    let polls = [
        ("read", status.devices.iter().map(|device| device.read_total).sum()),
        ("failed", status.devices.iter().map(|device| device.error_total).sum()),
        ("skipped", status.devices.iter().map(|device| device.skipped_total).sum()),
    ];
    figures.totals(
        "shangyun_edge_polls_total",
        "Polls by outcome; skipped: the poll before was still under way, or nobody took the readings.",
        "outcome",
        polls,
    )
}

fn broker(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    let broker = &status.broker;
    let states = BROKER_STATES.map(|(state, name)| (name, u64::from(state == broker.state)));
    figures.counts("shangyun_edge_broker_state", "1 for the state of the way to the broker.", "state", states)?;
    figures.total("shangyun_edge_acknowledged_reports_total", "Reports that the service has acknowledged.", broker.acknowledged_total)?;
    figures.total("shangyun_edge_refused_reports_total", "Reports that the service has refused.", broker.refused_total)?;
    figures.total("shangyun_edge_resent_reports_total", "Reports that were sent again.", broker.resent_total)?;
    figures.total(
        "shangyun_edge_ignored_receipts_total",
        "Receipts that the service did not sign for this gateway.",
        broker.receipts_ignored_total,
    )?;
    figures.total("shangyun_edge_broker_connections_total", "Connections to the broker.", broker.connections_total)?;
    let obstacles = &broker.obstacles;
    let held = [
        ("doubted", obstacles.doubted),
        ("unkept", obstacles.unkept),
        ("oversized", obstacles.oversized.map_or(0, |oversized| oversized.count)),
    ];
    let help = "Reports that wait though there is a connection: the service doubts who speaks, or they are refused and the disk does not take them, or they are larger than the broker takes.";
    figures.counts("shangyun_edge_held_reports", help, "reason", held)
}

fn spool(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    let Some(spool) = &status.spool else { return Ok(()) };
    figures.count("shangyun_edge_spool_waiting_reports", "Reports that wait for their acknowledgement.", spool.waiting)?;
    figures.count("shangyun_edge_spool_size_bytes", "What the spool takes on disk.", spool.bytes)?;
    figures.count("shangyun_edge_spool_limit_bytes", "What the spool may take (spool.bytes_max).", spool.bytes_max)?;
    let oldest_s = spool.oldest_at.map_or(0.0, |at| (status.at - at).as_seconds_f64().max(0.0));
    figures.gauge("shangyun_edge_spool_oldest_age_seconds", "How long the oldest report waits; 0 if none waits.", oldest_s)?;
    let (name, help) = ("shangyun_edge_spool_left_hours", "How long an outage may last before reports are dropped.");
    spool.hours_left.map_or(Ok(()), |hours| figures.gauge(name, help, hours))?;
    figures.total(
        "shangyun_edge_spool_dropped_reports_total",
        "Reports dropped because the spool was full or they were too old.",
        spool.dropped,
    )?;
    figures.total("shangyun_edge_spool_unreadable_reports_total", "Reports that damage of the disk made unreadable.", spool.unreadable)
}

fn writing(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    let writing = &status.writing;
    let failing = u64::from(writing.failing_since.is_some());
    figures.count("shangyun_edge_spool_write_failing", "1 while reports cannot be written to the disk.", failing)?;
    figures.total(
        "shangyun_edge_dropped_entries_total",
        "Entries for which there was no room in memory while nothing could be written.",
        writing.entries_dropped_total,
    )
}

fn usage(status: &Status, figures: &Figures) -> Result<(), prometheus::Error> {
    figures.total("shangyun_edge_usage_posted_entries_total", "Usage entries taken by POST /usage.", status.usage.posted_total)?;
    let lines = status.usage.lines_total.iter().map(|(outcome, count)| (outcome.as_str(), *count));
    figures.totals("shangyun_edge_usage_lines_total", "Lines of followed logs by outcome.", "outcome", lines)?;
    let (name, help) = ("shangyun_edge_usage_waiting_logs", "Logs whose next line is of a time to come: they wait for the clock.");
    figures.count(name, help, status.usage.logs_waiting)?;
    let (name, help) = ("shangyun_edge_usage_lost_files_total", "Files of logs, or rests of them, that were gone before they were read.");
    figures.total(name, help, status.usage.files_lost_total)
}
