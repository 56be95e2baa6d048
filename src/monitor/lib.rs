//! Decides when to judge, keeps every result, and tells of new ones. What a verdict is stands in `policy`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod concerned;
mod connected;
mod every_core;
mod evidence;
mod inspect;
mod log_places;
mod outlook;
mod run;
mod schedule;
mod sensitivity;
mod watch;

pub use batch::Round;
pub use connected::ConnectedDevices;
pub use evidence::{Announce, EvidenceSource, FlushEvidence, FlushFailed};
pub use inspect::{QualityOfSuppliers, SpotCheckAsked};
pub use run::{JudgeError, Judged, Monitor, MonitorParts, RegisterIndex};
pub use schedule::{Effect, Event, Schedule};
pub use sensitivity::{Flip, Sensitivity};
pub use watch::watch;
