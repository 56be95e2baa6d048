//! Decides when to judge, keeps every result, and tells of new ones. What a verdict is stands in `policy`.

mod connected;
mod evidence;
mod run;
mod schedule;

pub use connected::ConnectedDevices;
pub use evidence::{Announce, EvidenceSource, FlushEvidence, FlushFailed};
pub use run::{JudgeError, Judged, Monitor, MonitorParts};
pub use schedule::watch;
