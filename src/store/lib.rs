#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Everything that lasts: the evidence log, the facts with their checkpoint, the register, results, keys and the quarantine.
//! The embedded store: log segments and SQLite (WAL, synchronous FULL) in one directory.

mod audit;
mod audit_verify;
mod block;
mod block_rows;
mod checkpoint;
mod claims_index;
mod connected;
mod directory;
mod disk;
mod enrolment;
mod facts_many;
mod facts_read;
mod filter;
mod gateway_rows;
mod heads;
mod kept;
mod keys;
mod log;
mod merkle;
mod page;
mod place_rows;
mod pseudonym_keys;
mod public_keys;
mod quarantine;
mod rebuild;
mod receipt_rows;
mod refusal_facts;
mod register_audit;
mod register_faults;
mod register_import;
mod register_rows;
mod result_seals;
mod results;
mod rows;
mod run_file;
mod run_merge;
mod run_scan;
mod run_set;
mod run_tiers;
mod scan;
mod seal;
mod sealed;
mod segments;
mod sequence_rows;
mod signing;
mod spot_checks;
mod sql;
mod touched;
mod verify;
mod week_rows;

#[cfg(test)]
mod fact_tests;
#[cfg(test)]
mod run_tests;

pub use audit::{AUDIT_PAGE, Act, Actor, AuditDraft, AuditEntry, AuditPlace, PendingAudit};
pub use block::{
    BlockBuilder, BlockError, FinishedBlock, HEADER_FIELDS_BYTES, Record, Vouched, block_at, block_number, is_whole, leaf as block_leaf,
    leaf_of_records, record_count, record_of, records_with_bytes,
};
pub use checkpoint::Checkpoint;
pub use connected::Countable;
pub use directory::{Directory, GatewayEntry, ProductEntry, RegisterState};
pub use disk::{Disk, DiskFile, OsDisk};
pub use enrolment::{EnrolError, Enrolled, Enrolling};
pub use facts_many::{FactsOfMany, FactsReader, Wanted};
pub use facts_read::{FactsDigest, Tail};
pub use gateway_rows::{GapTotals, GatewaySummary};
pub use heads::{HeadError, SignedHead};
pub use kept::Kept;
pub use keys::{ApiKey, KeyRole};
pub use log::{Log, LogError, LogOptions, LogPosition, prepare_segment};
pub use merkle::{Frontier, Hash, leaf_hash, node_hash};
pub use place_rows::{AddressesIgnored, PlaceNote};
pub use pseudonym_keys::PseudonymKey;
pub use public_keys::{JwsError, PublicKey, PublicKeys, VerifiedJws};
pub use quarantine::{
    ACCEPTED, DUPLICATE, Pruned, QUARANTINE_PAGE, QuarantineEntry, QuarantineFilter, QuarantineLimits, QuarantinePage, REFUSED,
    RefusedMessage, Replayed,
};
pub use rebuild::Rebuild;
pub use receipt_rows::ReceiptBoot;
pub use refusal_facts::{Conflict, RefusalRevision};
pub use register_import::{Changes as RegisterChanges, Correction, RowMap, SoundDraft, check as check_register};
pub use register_rows::{ImportError, Imported};
pub use result_seals::{ResultFinding, ResultGrounds, ResultsEnd};
pub use results::{NewResult, ResultFilter, ResultSummary, StoredResult};
pub use run_file::RunError;
pub use scan::{DamagedBlocks, Scanned, Stretch, TornTail, scan, scan_tree};
pub use seal::{SealError, SealedSegment, seal_next};
pub use sequence_rows::GatewaySequences;
pub use sheets::{RegisterFault, RegisterFile};
pub use signing::{KeyError, ServiceKeys, protected_header, with_payload};
pub use spot_checks::{CorrectionFault, NewOutcome};
pub use sql::{Store, StoreError};
pub use verify::{Finding, Verified, verify_log};
