#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Everything that lasts: the evidence log, the facts with their checkpoint, the register, results, keys and the quarantine.
//! The embedded store: log segments and SQLite (WAL, synchronous FULL) in one directory.

mod block;
mod directory;
mod disk;
mod gateway_rows;
mod heads;
mod keys;
mod log;
mod merkle;
mod quarantine;
mod receipt_rows;
mod refusal_facts;
mod register_import;
mod register_rows;
mod results;
mod rows;
mod scan;
mod seal;
mod sealed;
mod segments;
mod signing;
mod sql;
mod tally_rows;
mod verify;

pub use block::{BlockBuilder, BlockError, Record, Vouched};
pub use directory::{Directory, GatewayEntry, ProductEntry, RegisterState};
pub use disk::{Disk, DiskFile, OsDisk};
pub use gateway_rows::{GapTotals, GatewaySummary};
pub use heads::{HeadError, SignedHead};
pub use keys::{ApiKey, KeyRole};
pub use log::{Log, LogError, LogOptions, LogPosition, prepare_segment};
pub use merkle::{Frontier, Hash};
pub use quarantine::{
    ACCEPTED, DUPLICATE, Pruned, QUARANTINE_PAGE, QuarantineEntry, QuarantineFilter, QuarantineLimits, QuarantinePage, REFUSED,
    RefusedMessage, Replayed,
};
pub use receipt_rows::ReceiptBoot;
pub use refusal_facts::Conflict;
pub use register_import::{Changes as RegisterChanges, RegisterFault, RowMap, check as check_register};
pub use register_rows::ImportError;
pub use results::{NewResult, ResultFilter, ResultSummary, StoredResult};
pub use scan::{DamagedBlocks, Scanned, Stretch, TornTail, scan};
pub use seal::{SealError, SealedSegment, seal_next};
pub use signing::{KeyError, ServiceKeys};
pub use sql::{Store, StoreError};
pub use tally_rows::{Checkpoint, FactsDigest, GatewaySequences};
pub use verify::{Finding, Verified, verify_log};
