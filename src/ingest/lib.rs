//! The one way in: the MQTT door and the HTTP push hand messages to the intake, which checks each whole, knows duplicates, appends
//! it to the evidence log, and answers only when that is durable.

mod admission;
mod commit;
mod feeds;
mod intake;
mod item;
mod mqtt;
mod quarantine_replay;
mod replay;

pub use feeds::Feeds;
pub use intake::{Intake, IntakeOptions, Unavailable};
pub use item::{Item, Outcome};
pub use mqtt::{Door, DoorOptions};
pub use quarantine_replay::{ReplayError, replay_quarantined};
pub use replay::Replay;
