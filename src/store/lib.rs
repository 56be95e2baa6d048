#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Everything that lasts: the evidence log, the facts with their checkpoint, the register, results, keys and the quarantine.
//! The embedded store: log segments and SQLite (WAL, synchronous FULL) in one directory.

mod block;
mod checkpoint;
mod claims_index;
mod connected;
mod directory;
mod facts_read;
mod filter;
mod keys;
mod log;
mod merkle;
mod page;
mod quarantine;
mod rebuild;
mod register_import;
mod register_rows;
mod results;
mod rows;
mod run_file;
mod run_merge;
mod run_scan;
mod run_set;
mod run_tiers;
mod sequence_rows;
mod sql;

#[cfg(test)]
mod fact_tests;
#[cfg(test)]
mod run_tests;

pub use block::{BlockBuilder, Record, Vouched};
pub use checkpoint::Checkpoint;
pub use directory::{Directory, GatewayEntry, ProductEntry, RegisterState};
pub use facts_read::{FactsDigest, Tail};
pub use keys::{ApiKey, KeyRole};
pub use log::{Log, LogError, LogOptions, LogPosition, TornTail, read_from};
pub use merkle::{Frontier, Hash};
pub use quarantine::{QUARANTINE_PAGE, QuarantineEntry, QuarantineFilter, RefusedMessage};
pub use rebuild::Rebuild;
pub use register_import::RegisterFault;
pub use register_rows::ImportError;
pub use results::{NewResult, ResultFilter, ResultSummary, StoredResult};
pub use run_file::RunError;
pub use sequence_rows::GatewaySequences;
pub use sql::{Store, StoreError};
