//! What machines, suppliers and carriers say: reports, topics, identities, limits and the reasons for refusing.
//! No I/O and no clock; knows nothing of vouchers.

pub mod carrier;
mod content;
pub mod credit_code;
pub mod fault;
mod fields;
pub mod identity;
mod instant;
pub mod json;
pub mod limits;
mod pattern;
mod read;
mod read_fast;
mod read_fast_devices;
mod read_fast_usage;
mod readings;
pub mod report;
mod scan;
#[cfg(test)]
mod test_reports;
pub mod topic;

pub use fault::{Fault, FaultCode};
pub use read::{Admission, Door, Label, ReadContext, Readout, read_report};
pub use report::Report;
