//! Sparkplug B 3.0: existing gateways report in it, and each of their messages becomes one report of version 1.
//!
//! The protobuf messages are written by hand (`payload.rs`), with the field numbers of the published schema: three small messages need
//! no compiler of schemas at build time. What we do not read (data sets, templates, metadata, bodies) is skipped as unknown fields.
//!
//! [`Session`] follows one edge node over one MQTT connection, without I/O and clock. What it does, message by message:
//!
//! * **NBIRTH** starts a session: its metrics, aliases and `seq` (any value from 0 to 255) replace everything known before, also that
//!   of the devices. Its timestamp names the `boot`; a second birth of the same millisecond goes on counting. Event `start`.
//! * **NDATA, DBIRTH, DDATA, DDEATH** need an NBIRTH and the next `seq`. A gap, or a `seq` that is missing, means that something was
//!   lost, perhaps a birth: that message and all after it are refused (`sparkplug_seq`, then `birth_missing`) until the next NBIRTH,
//!   which is asked for. A message that comes again shows as such a gap. There is no reordering: one connection keeps the order.
//! * **DBIRTH** lists the metrics of a device; **DDATA** and **DDEATH** of a device without one are refused and a rebirth is asked for.
//! * **DDEATH** says the device is offline (quality `B`, at the payload's timestamp). **NDEATH** says so of every born device (at
//!   receipt: the will was written when the connection began), with event `stop`; it must carry the birth's `bdSeq`, else it is of
//!   another connection and ignored. It is believed also after a gap. Nothing but an NBIRTH is believed after it.
//! * A rebirth is asked for at once, then at most every [`REBIRTH_WAIT_S_MIN`] seconds, and ever more rarely while it does not help.
//! * After a restart of the service there is no session: the first message of a connection that is still open in an external broker is
//!   refused and asks for a rebirth, whose timestamp begins a new `boot`.
//!
//! What becomes of metrics:
//!
//! * Numbers and booleans become readings, at the metric's timestamp, else at the payload's; one entry per device, time and quality, and
//!   more where a point comes twice or more than 64 would stand in one. `is_historical` needs nothing more: entries say when they were.
//! * Property `Quality`: absent or 192 is `N`; anything else (0 bad, 500 stale) is `B`.
//! * Metrics of the edge node itself are those of a device with the gateway's id, since a machine may speak Sparkplug without devices
//!   below it; without `bdSeq` and what lies below `Node Control/` or `Device Control/`.
//! * Other types, nulls (unless of bad quality: those give an entry without a reading), what is not finite, and names that are no point
//!   names are left out and counted in [`Ignored`]. A metric that was not born is left out, and a rebirth is asked for.
//! * A message is refused whole if one of its times is in the future, or if it makes more than 1000 entries. If the report would be
//!   larger than allowed, its readings are left out (and counted), since the message itself stands in the report; a message of more
//!   than about 190 KiB does not fit even so, and is refused.
//!
//! `seq` of the report counts the session's messages that had something to report, refused ones among them: a gap in the evidence is a
//! message that did not become evidence.

mod births;
mod host;
mod payload;
mod report;
mod session;
mod topic;

#[cfg(test)]
mod golden;

pub use host::{HOST_ID, rebirth_request, state};
pub use report::Ignored;
pub use session::{Applied, Change, REBIRTH_WAIT_S_MAX, REBIRTH_WAIT_S_MIN, Session};
pub use topic::{Kind, Place, command_topic, publish_allowed, state_topic, subscription_allowed, will_allowed};
