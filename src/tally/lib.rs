//! Folds accepted reports into exact facts, and tells a repeat from a new report. Pure: no I/O, no clock. Never sees a voucher.
//!
//! Every merge is commutative, associative and (for what must not count twice) guarded by the dedup window, so that the order of
//! arrival never shows in the facts.

mod block_days;
mod claims;
mod clock;
mod dedup;
mod device_day;
mod devices;
mod dropped;
mod encode;
mod fold;
#[cfg(test)]
mod fold_model;
mod hours;
mod key;
mod ranges;
mod records;
mod slot;
pub mod varint;

pub use block_days::{BlockDays, BlockRange};
pub use claims::{Boot, BootClaims, Claim, Claims, SequenceKey, claim_records, id_key, read_id_claim, read_number_claim, sequence_key};
pub use clock::{ClockKey, Clocks, decode_clock_day, encode_clock_day, merge_clock_day, merge_clocks};
pub use dedup::{Novelty, RecentIdentities};
pub use device_day::{decode_device_day, encode_device_day, merge_device_day};
pub use dropped::{Dropped, merge_dropped, merge_dropped_ranges};
pub use encode::{
    DecodeError, decode_carrier, decode_ranges, decode_usage, encode_ranges, encode_usage, merge_carrier_day, merge_usage, merge_values,
};
pub use fold::{Facts, Origin};
pub use hours::{HoursOfDays, STRETCH_DAYS, decode_hours, stretch_of};
pub use key::{Key, KeyParts, day_number, kind, numbered_day, read_usage_key};
pub use ranges::Ranges;
pub use records::PutRecord;
