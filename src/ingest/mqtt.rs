//! The MQTT door: accepts, knows who speaks, decodes strictly, hands reports to the intake and answers in order after the sync.

mod certificate;
mod codec;
mod connection;
mod decoded;
mod door;
mod edge_node;
mod ending;
mod frame;
mod handshake;
mod inbound;
mod membership;
mod opening;
mod packet;
mod reports;
mod room;
mod session;
mod sessions;
mod stream;
mod tls;
mod watch;
mod will;

#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod sessions_tests;

pub use decoded::{MqttDecoded, mqtt_decoded};
pub use door::{Door, DoorOptions};
pub use sessions::SessionOptions;
pub(crate) use sessions::Sessions;
pub use tls::{Tls, TlsFiles, keep_tls_fresh, show as show_tls};
