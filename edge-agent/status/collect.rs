//! Gathers the status from those who know its parts.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::clock::Clock;
use crate::delivery;
use crate::modbus::{self, DeviceState, DeviceStates};
use crate::shared::SharedSpool;
use crate::spool::SpoolFigures;
use crate::status::{
    BrokerState, BrokerStatus, DeviceStatus, LastError, MissingPoint, SpoolStatus, Standing, Status, UsageStatus, WritingStatus, trouble,
};
use crate::uplink_state::{SharedUplinkState, UplinkState};
use crate::usage::{LineOutcome, UsageCounts};
use crate::writing::{SharedWriting, Writing};

#[derive(Clone)]
pub(crate) struct Sources {
    pub gateway: String,
    pub boot: String,
    pub started_at: DateTime<Utc>,
    pub clock: Arc<dyn Clock>,
    pub spool: SharedSpool,
    pub uplink: SharedUplinkState,
    pub writing: SharedWriting,
    pub devices: DeviceStates,
    pub usage: UsageCounts,
    pub usage_configured: bool,
    pub logs: Vec<String>,
    /// Why no log is followed.
    pub places_unreadable: Option<String>,
}

impl Sources {
    pub async fn status(&self) -> Status {
        let spool = match self.spool.with(|spool| spool.figures()).await {
            Ok(figures) => Some(spool_status(&figures)),
            Err(error) => {
                tracing::warn!(%error, "the spool does not say how it is");
                None
            }
        };
        let uplink = self.uplink.read();
        let lines_total = LineOutcome::ALL.iter().map(|(outcome, name)| ((*name).to_string(), self.usage.lines(*outcome))).collect();
        let mut status = Status {
            v: 1,
            gateway: self.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot: self.boot.clone(),
            at: self.clock.now(),
            started_at: self.started_at,
            clock_synchronised: self.clock.synchronised(),
            standing: standings(&uplink.standing),
            broker: broker_status(uplink),
            spool,
            writing: writing_status(self.writing.read()),
            devices: self.devices.snapshot().into_iter().map(device_status).collect(),
            usage: UsageStatus {
                configured: self.usage_configured,
                logs: self.logs.clone(),
                posted_total: self.usage.posted(),
                lines_total,
                logs_waiting: self.usage.waiting_logs(),
                files_lost_total: self.usage.lost_files(),
                places_unreadable: self.places_unreadable.clone(),
            },
            troubles: Vec::new(),
        };
        status.troubles = trouble::troubles(&status);
        status
    }
}

fn spool_status(figures: &SpoolFigures) -> SpoolStatus {
    SpoolStatus {
        waiting: figures.waiting,
        bytes: figures.bytes,
        bytes_max: figures.bytes_max,
        oldest_at: figures.oldest_at_ms.and_then(|ms| DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)),
        hours_left: figures.hours_left,
        acknowledged_today: figures.acknowledged_today,
        kept: figures.kept,
        dropped: figures.dropped,
        unreadable: figures.unreadable,
    }
}

fn writing_status(Writing { failing, entries_dropped_total }: Writing) -> WritingStatus {
    let (failing_since, error) = failing.map(|failure| (failure.since, failure.error)).unzip();
    WritingStatus { failing_since, error, entries_dropped_total }
}

fn broker_status(uplink: UplinkState) -> BrokerStatus {
    BrokerStatus {
        state: match uplink.state {
            delivery::State::Live => BrokerState::Live,
            delivery::State::Backlog => BrokerState::Backlog,
            delivery::State::Offline => BrokerState::Offline,
        },
        address: uplink.broker,
        connected_since: uplink.connected_since,
        last_error: uplink.last_error.map(|error| LastError { zh: error.zh, en: error.en, at: Some(error.at) }),
        last_acknowledged_at: uplink.last_ack_at,
        acknowledged_total: uplink.acknowledged_total,
        refused_total: uplink.refused_total,
        resent_total: uplink.resent_total,
        receipts_ignored_total: uplink.receipts_ignored_total,
        connections_total: uplink.connections_total,
        obstacles: uplink.obstacles,
    }
}

/// By voucher. What is no standing is left out.
fn standings(said: &[Value]) -> Vec<Standing> {
    let mut standings: Vec<Standing> = said.iter().filter_map(|said| serde_json::from_value(said.clone()).ok()).collect();
    standings.sort_by(|a, b| a.voucher.cmp(&b.voucher));
    standings
}

fn device_status((name, device): (String, DeviceState)) -> DeviceStatus {
    let said = !device.last_error_en.is_empty();
    DeviceStatus {
        name,
        address: device.address.to_string(),
        unit_id: device.unit_id,
        last_read_at: device.last_read_at,
        quality: device.quality.map(|quality| quality.as_str().to_string()),
        state: device.state.map(|state| state.as_str().to_string()),
        failing: device.failing,
        last_error: said.then_some(LastError { zh: device.last_error_zh, en: device.last_error_en, at: device.last_error_at }),
        read_total: device.read_count,
        error_total: device.error_count,
        skipped_total: device.skipped_count,
        behind: device.behind,
        poll_ms: u64::try_from(device.poll.as_millis()).unwrap_or(u64::MAX),
        latency_ms: device.latency_ms,
        refused_points: device.missing_points.iter().filter(|point| point.refused()).map(|point| point.name.to_string()).collect(),
        missing_points: device.missing_points.iter().map(missing_point).collect(),
    }
}

fn missing_point(point: &modbus::MissingPoint) -> MissingPoint {
    MissingPoint {
        name: point.name.to_string(),
        table: point.table.name().to_string(),
        address: point.address,
        refused: point.refused(),
        zh: point.why.zh(),
        en: point.why.en(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn standings_are_shown_by_voucher_and_nonsense_left_out() {
        let said = [
            json!({"voucher": "V-2", "required": 3, "connected": 0}),
            json!({"voucher": "V-1", "required": 67, "connected": 41, "as_of": "2019-11-05T08:00:00+08:00", "more": 1}),
            json!({"voucher": "V-3", "required": "x"}),
        ];
        let shown = standings(&said);
        assert_eq!(shown.iter().map(|standing| (&*standing.voucher, standing.connected)).collect::<Vec<_>>(), [("V-1", 41), ("V-2", 0)]);
    }
}
