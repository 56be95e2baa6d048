//! The edge agent: reads machines over Modbus/TCP, spools reports on disk and delivers them over MQTT.
//!
//! `run` is the whole agent, `run_watched` the same under a service manager; `run_with_entries` is the agent without the polling, for entries that come from elsewhere.
//! The deciding parts (`point`, `report`, `spool`, `delivery`) know no runtime and are given the time.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod backoff;
pub mod broker;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod device;
pub mod key;
mod modbus;
pub mod point;
pub mod report;
mod segment;
mod shared;
pub mod spool;
mod table;
mod uplink;
pub mod watchdog;

pub use agent::{RunError, run, run_watched, run_with_entries};
pub use clock::{Clock, SystemClock};
pub use config::{Config, ConfigError};
pub use watchdog::Watchdog;
