//! Reading machines: held against servers that are not ours, well-behaved ones (pymodbus) and one that misbehaves as it is told.
#![allow(clippy::unwrap_used)]

#[path = "modbus/faults.rs"]
mod faults;
#[path = "modbus/peers.rs"]
mod peers;
#[path = "modbus/types.rs"]
mod types;

mod support;
