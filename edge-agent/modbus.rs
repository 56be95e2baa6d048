//! Reading machines over Modbus, and nothing but reading: what may be asked is `ReadRequest`, and no other bytes ever go out.
//!
//! `Connection` is one connection or serial port: it asks, and takes nothing for an answer that does not fit what was asked.
//! `poll` is the owner of a bus: the devices of one address are asked one after another, each on its own grid of time.
//! tokio-modbus decodes what answers hold. Its client stays unused: it can write, waits for ever for what a corrupted length announces,
//! and takes a late RTU answer for that of the next request.

mod connection;
mod frame;
mod identify;
mod line;
mod overdue;
mod poll;
mod polled;
mod refused;
mod request;
mod state;
mod stream;
mod tls;
mod trouble;

pub use connection::Connection;
pub use poll::poll;
pub use request::{Answer, IdentityLevel, IdentityObjects, ReadRequest};
pub use state::{DeviceState, DeviceStates, MissingPoint};
pub use trouble::{ReadTrouble, Unreachable};
