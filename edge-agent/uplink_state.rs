//! What delivery looks like from outside: for the status page, the metrics and whoever asks.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::delivery::State;
use crate::trouble::BrokerTrouble;

#[derive(Clone, Debug, Default, Serialize)]
pub struct UplinkState {
    pub state: State,
    /// The address in use.
    pub broker: Option<String>,
    pub connected_since: Option<DateTime<Utc>>,
    /// What ended the last connection, or kept one from being made.
    pub last_error: Option<LastError>,
    /// Since the agent's start.
    pub acknowledged_total: u64,
    pub refused_total: u64,
    pub resent_total: u64,
    pub receipts_ignored_total: u64,
    pub connections_total: u64,
    pub last_ack_at: Option<DateTime<Utc>>,
    /// What the service says that it counts today, as it came.
    pub standing: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    /// A name of `trouble::TroubleKind`.
    pub name: &'static str,
    pub zh: String,
    pub en: String,
    pub at: DateTime<Utc>,
}

/// The state as the uplink writes it and others read it.
#[derive(Clone, Default)]
pub struct SharedUplinkState(Arc<Mutex<UplinkState>>);

impl SharedUplinkState {
    pub fn read(&self) -> UplinkState {
        self.with(|state| state.clone())
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut UplinkState) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn failed(&self, trouble: &BrokerTrouble, at: DateTime<Utc>) {
        let error = LastError { name: trouble.name(), zh: trouble.zh(), en: trouble.to_string(), at };
        self.with(|state| state.last_error = Some(error));
    }
}
