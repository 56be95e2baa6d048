//! How the agent is doing, as one value: the page, `/status.json`, the metrics and `shangyun-edge status` all show it.

mod collect;
pub mod command;
mod obstacles;
mod table;
mod trouble;
pub(crate) mod words;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::uplink_state::Obstacles;

pub(crate) use collect::Sources;
pub use trouble::Trouble;

#[cfg(test)]
pub(crate) use table::tests::{point_missing, well};

/// The names stay; new ones may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub v: u8,
    pub gateway: String,
    pub version: String,
    pub boot: String,
    pub at: DateTime<Utc>,
    pub started_at: DateTime<Utc>,
    /// Whether the clock follows a time server; absent where nobody can say.
    pub clock_synchronised: Option<bool>,
    pub broker: BrokerStatus,
    /// Absent while the spool's disk gives no answer.
    pub spool: Option<SpoolStatus>,
    #[serde(default)]
    pub writing: WritingStatus,
    pub standing: Vec<Standing>,
    /// By name.
    pub devices: Vec<DeviceStatus>,
    pub usage: UsageStatus,
    /// Everything that is wrong; empty if all is well.
    pub troubles: Vec<Trouble>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerState {
    /// Reports go out as they come.
    Live,
    /// Connected, and older reports still wait.
    Backlog,
    Offline,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerStatus {
    pub state: BrokerState,
    /// The one in use, or tried last.
    pub address: Option<String>,
    pub connected_since: Option<DateTime<Utc>>,
    pub last_error: Option<LastError>,
    pub last_acknowledged_at: Option<DateTime<Utc>>,
    /// Since the start.
    pub acknowledged_total: u64,
    pub refused_total: u64,
    pub resent_total: u64,
    /// Receipts that the service did not sign for this gateway.
    #[serde(default)]
    pub receipts_ignored_total: u64,
    #[serde(default)]
    pub connections_total: u64,
    #[serde(default)]
    pub obstacles: Obstacles,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    pub zh: String,
    pub en: String,
    pub at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Reports that wait for their acknowledgement.
    pub waiting: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    /// When the one that waits longest was spooled.
    pub oldest_at: Option<DateTime<Utc>>,
    /// How long an outage may last before reports are dropped.
    pub hours_left: Option<f64>,
    /// Since midnight in Shanghai.
    pub acknowledged_today: u64,
    /// Acknowledged, and kept as proof.
    pub kept: u64,
    /// Since the start.
    pub dropped: u64,
    pub unreadable: u64,
}

/// Whether what was read reaches the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritingStatus {
    /// While nothing can be written, so that readings wait in memory.
    pub failing_since: Option<DateTime<Utc>>,
    pub error: Option<String>,
    /// Entries for which there was no room in memory, since the start.
    pub entries_dropped_total: u64,
}

/// What the service says that it counts today, of one voucher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub voucher: String,
    pub required: u64,
    pub connected: u64,
    #[serde(default)]
    pub as_of: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    pub name: String,
    pub address: String,
    pub unit_id: u8,
    /// When there were readings last.
    pub last_read_at: Option<DateTime<Utc>>,
    /// Of the last entry: one of N F M S D C T B.
    pub quality: Option<String>,
    pub state: Option<String>,
    pub failing: bool,
    /// The reason while it fails; later what the reason was last.
    pub last_error: Option<LastError>,
    pub read_total: u64,
    pub error_total: u64,
    /// Polls that were left out: the one before was still under way, or nobody took the readings.
    pub skipped_total: u64,
    /// There were such polls just now.
    #[serde(default)]
    pub behind: bool,
    #[serde(default)]
    pub poll_ms: u64,
    /// From the first request of the last good poll to its last answer: its readings are not apart by more.
    pub latency_ms: Option<u64>,
    /// Points that the machine refuses to give.
    pub refused_points: Vec<String>,
    /// These and all others that the last reading lacks.
    #[serde(default)]
    pub missing_points: Vec<MissingPoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPoint {
    pub name: String,
    pub table: String,
    /// Zero-based.
    pub address: u16,
    pub refused: bool,
    pub zh: String,
    pub en: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStatus {
    /// The enterprise's key is there, so usage can be taken.
    pub configured: bool,
    pub logs: Vec<String>,
    /// Entries taken by POST /usage since the start.
    pub posted_total: u64,
    /// Lines of logs since the start, by what became of them.
    pub lines_total: std::collections::BTreeMap<String, u64>,
    /// Logs whose next line is of a time to come: they wait for the clock.
    #[serde(default)]
    pub logs_waiting: u64,
    /// Files of logs, or rests of them, that were gone before they were read.
    #[serde(default)]
    pub files_lost_total: u64,
    /// Why no log is followed.
    #[serde(default)]
    pub places_unreadable: Option<String>,
}

impl DeviceStatus {
    /// It gives readings, and not of all points.
    pub(crate) fn incomplete(&self) -> bool {
        !self.failing && !self.missing_points.is_empty()
    }
}
