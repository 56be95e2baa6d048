//! The one way in: the MQTT door and the HTTP push hand messages to the intake, which checks each whole, knows duplicates, appends
//! it to the evidence log, and answers only when that is durable.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod audit;
mod commit;
mod connected;
pub mod core;
mod feeds;
mod gateway_keys;
mod identities;
mod intake;
mod item;
mod ledger;
mod mqtt;
mod places;
mod quarantine_replay;
mod queue;
mod reading;
mod receipts;
mod replay;
mod upkeep;
mod whereabouts;

pub use connected::Connected;
pub use feeds::Feeds;
pub use gateway_keys::{GatewayKeys, OwnSignature};
pub use intake::{Busy, Intake, IntakeOptions, Unavailable};
pub use item::{Batch, Item, Outcome, RawMessage, Settled};
pub use ledger::Ledger;
pub use mqtt::{Door, DoorOptions, MqttDecoded, SessionOptions, Tls, TlsFiles, keep_tls_fresh, mqtt_decoded, show_tls};
pub use places::{Full, Place, Places};
pub use quarantine_replay::{ReplayError, replay_quarantined};
pub use receipts::Receipts;
pub use replay::{Replay, concerns};
pub use whereabouts::Whereabouts;
