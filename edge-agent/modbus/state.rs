//! How each device is doing: what the status page, the metrics and `status` show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::trouble::ReadTrouble;
use crate::bus::Address;
use crate::device::Device;
use crate::point::Table;
use crate::report::{Quality, State};

#[derive(Clone, Debug, PartialEq)]
pub struct DeviceState {
    pub address: Address,
    pub unit_id: u8,
    /// When there were readings last.
    pub last_read_at: Option<DateTime<Utc>>,
    /// There are none at present; what was the reason last stays with `last_error_at`.
    pub failing: bool,
    pub last_error_zh: String,
    pub last_error_en: String,
    pub last_error_at: Option<DateTime<Utc>>,
    /// Of the last entry; `None` before the first.
    pub quality: Option<Quality>,
    pub state: Option<State>,
    /// Polls that gave readings, and polls that gave none.
    pub read_count: u64,
    pub error_count: u64,
    /// Polls whose time came while the one before was still under way, or while nobody took the readings.
    pub skipped_count: u64,
    /// There were such polls just now.
    pub behind: bool,
    pub poll: Duration,
    /// From the first request of the last good poll to its last answer.
    pub latency_ms: Option<u64>,
    /// Points of which the last poll that gave readings gave none, and why.
    pub missing_points: Vec<MissingPoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MissingPoint {
    pub name: Arc<str>,
    pub table: Table,
    pub address: u16,
    pub why: ReadTrouble,
}

impl MissingPoint {
    /// The machine says that it has no such point.
    pub fn refused(&self) -> bool {
        matches!(self.why, ReadTrouble::Exception(2 | 3))
    }
}

impl DeviceState {
    fn new(device: &Device) -> DeviceState {
        DeviceState {
            address: device.address.clone(),
            unit_id: device.unit_id,
            last_read_at: None,
            failing: false,
            last_error_zh: String::new(),
            last_error_en: String::new(),
            last_error_at: None,
            quality: None,
            state: None,
            read_count: 0,
            error_count: 0,
            skipped_count: 0,
            behind: false,
            poll: device.poll,
            latency_ms: None,
            missing_points: Vec::new(),
        }
    }

    pub(crate) fn fail(&mut self, trouble: &ReadTrouble, at: DateTime<Utc>) {
        self.last_error_zh = trouble.zh();
        self.last_error_en = trouble.en();
        self.last_error_at = Some(at);
    }
}

/// The states of all devices, by name; shared between the pollers and those who show them.
#[derive(Clone, Default)]
pub struct DeviceStates(Arc<Mutex<BTreeMap<String, DeviceState>>>);

impl DeviceStates {
    pub fn snapshot(&self) -> BTreeMap<String, DeviceState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add(&self, device: &Device) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(device.name.clone(), DeviceState::new(device));
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut DeviceState)) {
        if let Some(state) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
            change(state);
        }
    }
}
