//! The edge agent: reads machines over Modbus, spools reports on disk and delivers them over MQTT.
//!
//! `run` is the whole agent, `run_watched` the same under a service manager; `run_with_items` is the agent without the polling, for items that come from elsewhere.
//! The deciding parts (`point`, `report`, `spool`, `delivery`) know no runtime and are given the time.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod backoff;
mod beside;
pub mod broker;
pub mod bus;
pub mod check;
pub mod clock;
pub mod config;
mod connect;
pub mod delivery;
pub mod device;
pub mod enrol;
pub mod fault;
mod held;
pub mod identity;
mod kept;
pub mod key;
mod local;
pub mod modbus;
mod pace;
mod place;
pub mod point;
pub mod probe;
pub mod receipt;
mod refusals;
pub mod report;
pub mod requests;
pub mod rule;
mod segment;
mod shared;
pub mod simulate;
pub mod spool;
mod spool_bounds;
pub mod spool_command;
mod spool_figures;
mod spool_frame;
mod spool_inspect;
mod spool_marks;
mod spool_ranges;
mod spool_refused;
#[cfg(test)]
mod spool_sample;
mod spool_scan;
pub mod status;
mod table;
mod tail;
pub mod template;
pub mod trouble;
mod uplink;
pub mod uplink_state;
pub mod usage;
pub mod watchdog;
mod writing;

pub use agent::{RunError, run, run_watched, run_with_items};
pub use clock::{Clock, SystemClock};
pub use config::{Config, ConfigError};
pub use connect::try_address;
pub use fault::{Fault, FaultCode};
pub use watchdog::Watchdog;
