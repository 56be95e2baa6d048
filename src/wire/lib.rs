//! What machines, suppliers and carriers say: reports, topics, identities, limits and the reasons for refusing.
//! No I/O and no clock; knows nothing of vouchers.

pub mod carrier;
pub mod cbor;
pub mod cose;
mod cose_header;
pub mod credit_code;
pub mod fault;
pub mod identity;
pub mod json;
pub mod limits;
mod open;
mod public_key;
mod read;
pub mod report;
pub mod topic;

pub use fault::{Fault, FaultCode};
pub use open::{Format, Opened, Unverified, examine_report, open_report, reopen_report};
pub use public_key::PublicKey;
pub use read::{Admission, Door, Label, ReadContext, Readout, read_report};
pub use report::Report;
