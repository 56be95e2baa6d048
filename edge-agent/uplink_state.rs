//! What delivery looks like from outside: for the status page, the metrics and whoever asks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
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
    pub obstacles: Obstacles,
    /// What the service says that it counts today, as it came: the newest of each voucher.
    pub standing: Vec<Value>,
}

/// More vouchers than one gateway can have.
const STANDINGS_MAX: usize = 100;

impl UplinkState {
    /// The service speaks of one voucher at a time; a list is understood too. What names no voucher is left out.
    pub(crate) fn stand(&mut self, said: Value) {
        let said = if let Value::Array(list) = said { list } else { vec![said] };
        for standing in said.into_iter().filter(|standing| standing["voucher"].is_string()) {
            self.standing.retain(|other| other["voucher"] != standing["voucher"]);
            self.standing.push(standing);
        }
        let too_many = self.standing.len().saturating_sub(STANDINGS_MAX);
        self.standing.drain(..too_many);
    }
}

/// What keeps single reports, or what the service says, from getting through although there is a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Obstacles {
    /// Reports that the service refuses for who speaks. They wait, and one of them is tried again from time to time.
    pub doubted: u64,
    /// Why: the service's fault codes.
    pub doubts: BTreeSet<String>,
    /// Reports that are refused for good and could not be set aside: they wait too.
    pub unkept: u64,
    /// What the disk said to that.
    pub unkept_error: Option<String>,
    pub oversized: Option<Oversized>,
    /// What the broker said to the subscription that it refused.
    pub unheard: Option<String>,
}

/// Reports that are larger than the broker takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oversized {
    pub count: u64,
    /// Of the largest.
    pub bytes: u64,
    /// The largest packet that the broker takes.
    pub packet_bytes_max: u64,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vouchers(state: &UplinkState) -> Vec<&str> {
        state.standing.iter().filter_map(|standing| standing["voucher"].as_str()).collect()
    }

    #[test]
    fn each_voucher_has_the_standing_that_was_said_of_it_last_and_nonsense_changes_nothing() {
        let mut state = UplinkState::default();
        state.stand(json!({"voucher": "V-1", "connected": 1}));
        state.stand(json!([{"voucher": "V-2", "connected": 2}, {"voucher": 7}, 7]));
        state.stand(json!({"voucher": "V-1", "connected": 3}));
        state.stand(json!("x"));
        assert_eq!(state.standing, [json!({"voucher": "V-2", "connected": 2}), json!({"voucher": "V-1", "connected": 3})]);
    }

    #[test]
    fn of_too_many_vouchers_the_ones_heard_of_last_are_shown() {
        let mut state = UplinkState::default();
        (0..STANDINGS_MAX + 2).for_each(|n| state.stand(json!({"voucher": format!("V-{n}")})));
        assert_eq!((vouchers(&state).len(), vouchers(&state)[0]), (STANDINGS_MAX, "V-2"));
    }
}
