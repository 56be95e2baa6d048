//! The one way in: the MQTT door and the HTTP push hand messages to the intake, which checks each whole, knows duplicates, appends
//! it to the evidence log, and answers only when that is durable.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod commit;
mod feeds;
mod intake;
mod item;
mod mqtt;
mod places;
mod replay;

pub use feeds::Feeds;
pub use intake::{Intake, IntakeOptions, Unavailable};
pub use item::{Item, Outcome};
pub use mqtt::{Door, DoorOptions, SessionOptions, Tls, TlsFiles, keep_tls_fresh, show_tls};
pub use places::{Full, Place, Places};
pub use replay::Replay;
