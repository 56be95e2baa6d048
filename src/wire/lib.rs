//! What machines, suppliers and carriers say: reports, topics, identities, limits and the reasons for refusing.
//! No I/O and no clock; knows nothing of vouchers.

mod admitted_before;
pub mod carrier;
pub mod cbor;
mod content;
pub mod cose;
mod cose_header;
pub mod credit_code;
pub mod enrolment;
pub mod fault;
mod fields;
pub mod identity;
mod instant;
pub mod json;
pub mod limits;
mod open;
mod pattern;
mod public_key;
mod read;
mod read_fast;
mod read_fast_devices;
mod read_fast_usage;
mod readings;
pub mod report;
mod scan;
pub mod sparkplug;
#[cfg(test)]
mod test_reports;
pub mod topic;

pub use admitted_before::AdmittedBefore;
pub use fault::{Fault, FaultCode, Remedy};
pub use open::{Format, Opened, Unverified, examine_report, open_report, reopen_report};
pub use public_key::PublicKey;
pub use read::{Admission, Door, Label, ReadContext, Readout, read_report};
pub use report::Report;
