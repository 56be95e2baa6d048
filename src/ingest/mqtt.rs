//! The MQTT door: accepts, knows who speaks, decodes strictly, hands reports to the intake and answers in order after the sync.

mod connection;
mod door;
mod packet;
mod sessions;

pub use door::{Door, DoorOptions};
pub(crate) use sessions::Sessions;
