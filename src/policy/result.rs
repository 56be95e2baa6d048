//! The monitoring result as the contract has it. All counts are integers, all money and shares text; no floats.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::by_channel::ByChannel;
use crate::calendar::{self, Day, Instant};
use crate::canonical::hash_of;
use crate::money::Yuan;
use crate::reasons::{ExclusionReason, FindingCode, Group, Outcome, Verdict};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitoringResult {
    pub v: u32,
    pub voucher: String,
    /// Filled when the result is stored, as are `supersedes`, `judged_at` and `evidence`.
    pub sequence: u64,
    pub supersedes: Option<u64>,
    #[serde(with = "calendar::instant")]
    pub judged_at: Instant,
    pub judgement_hash: String,
    pub rulebook: VersionRef,
    pub catalogue: VersionRef,
    pub register_hash: String,
    #[serde(with = "calendar::instant")]
    pub cut_off: Instant,
    pub window: WindowDays,
    pub verdict: Verdict,
    pub verdict_text: String,
    pub amount: AmountFigures,
    pub devices: Option<DeviceFigures>,
    pub usage: Option<UsageFigures>,
    pub channels: ChannelComparison,
    /// The interface's figures by each of its doors alone: connection days, and connected devices with enough effective days. Results of
    /// before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_channel: Option<ByChannel<ChannelFigures>>,
    pub checks: Vec<Check>,
    pub findings: Vec<Finding>,
    pub evidence: EvidenceRef,
}

/// Which rulebook or catalogue was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRef {
    pub id: String,
    pub hash: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowDays {
    pub from: Day,
    pub to: Day,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmountFigures {
    pub computed: Yuan,
    pub approved: Option<Yuan>,
    pub per_device: Option<Yuan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFigures {
    pub required: u64,
    pub connected: u64,
    pub decided: u64,
    pub declared: u64,
    pub undeclared: u64,
    pub excluded: Vec<ExcludedDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedDevice {
    pub device: String,
    pub reason: ExclusionReason,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageFigures {
    pub active_days: u64,
    pub users: u64,
    pub function_modules_used: u64,
    pub function_modules_contracted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelComparison {
    pub interface: ChannelFigures,
    pub carrier: Option<ChannelFigures>,
    /// Four places, rounded half up, only for showing.
    pub difference: Option<String>,
    pub agree: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFigures {
    pub days: u64,
    pub devices: Option<u64>,
}

/// One rule with its figures and one sentence for the city's reviewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub rule: String,
    pub clause: String,
    pub group: Group,
    pub outcome: Outcome,
    pub required: String,
    pub observed: String,
    pub text: String,
    /// True where a 平台参数 set the required figure.
    pub parameter: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub code: FindingCode,
    pub rule: String,
    pub text: String,
    /// Objects naming vouchers, enterprises and devices.
    pub evidence: Vec<Value>,
}

/// Where in the evidence log the judgement stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRef {
    pub log_size: u64,
    pub root: String,
    /// Where in the log that lies on which the findings rest, as far as it came from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingBlocks>,
}

/// Blocks that hold what a finding rests on, among what else was received on those days; first and last of each stretch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingBlocks {
    pub code: FindingCode,
    pub blocks: Vec<(u64, u64)>,
}

/// What the storing of a result adds; the judgement's hash leaves it out.
const STORED_KEYS: [&str; 5] = ["sequence", "supersedes", "judged_at", "judgement_hash", "evidence"];

impl MonitoringResult {
    fn judged(&self) -> Map<String, Value> {
        let value = serde_json::to_value(self).expect("a result has text keys only");
        let mut object = match value {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        STORED_KEYS.iter().for_each(|key| drop(object.remove(*key)));
        object
    }

    /// The same facts, register and rulebook give the same hash on any machine, at any time.
    pub fn judgement_hash(&self) -> String {
        hash_of(&self.judged())
    }

    /// Whether two results say the same but for the instant of the cut-off.
    pub fn same_but_for_cut_off(&self, other: &MonitoringResult) -> bool {
        let MonitoringResult { sequence, supersedes, judged_at, judgement_hash, evidence, cut_off, .. } = self.clone();
        *self == MonitoringResult { sequence, supersedes, judged_at, judgement_hash, evidence, cut_off, ..other.clone() }
    }
}

impl Check {
    pub fn new(group: Group, rule: &str, clause: &str, outcome: Outcome) -> Check {
        Check {
            rule: rule.to_string(),
            clause: clause.to_string(),
            group,
            outcome,
            required: String::new(),
            observed: String::new(),
            text: String::new(),
            parameter: false,
        }
    }

    pub fn figures(mut self, required: impl ToString, observed: impl ToString) -> Check {
        self.required = required.to_string();
        self.observed = observed.to_string();
        self
    }

    pub fn text(mut self, text: impl Into<String>) -> Check {
        self.text = text.into();
        self
    }

    /// The required figure comes from a 平台参数.
    pub fn by_parameter(mut self) -> Check {
        self.parameter = true;
        self
    }
}
