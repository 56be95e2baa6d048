//! What machines, suppliers and carriers say: reports, topics, identities, limits and the reasons for refusing.
//! No I/O and no clock; knows nothing of vouchers.

pub mod carrier;
pub mod credit_code;
pub mod fault;
pub mod identity;
pub mod json;
pub mod limits;
mod read;
pub mod report;
pub mod topic;

pub use fault::{Fault, FaultCode, Remedy};
pub use read::{Admission, Door, Label, ReadContext, Readout, read_report};
pub use report::Report;
