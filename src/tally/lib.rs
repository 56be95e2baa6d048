//! Folds accepted reports into exact facts, and tells a repeat from a new report. Pure: no I/O, no clock. Never sees a voucher.
//!
//! Every merge is commutative, associative and (for what must not count twice) guarded by the dedup window, so that the order of
//! arrival never shows in the facts.

mod clock;
mod dedup;
mod dropped;
mod encode;
mod fold;
mod ranges;

pub use clock::{ClockKey, Clocks, decode_clock_day, encode_clock_day, merge_clock_day};
pub use dedup::{Novelty, RecentIdentities};
pub use dropped::{Dropped, merge_dropped_ranges};
pub use encode::{DecodeError, decode_device_day, decode_ranges, decode_usage, encode_device_day, encode_ranges, encode_usage};
pub use fold::{CarrierKey, DeviceDayKey, Facts, Origin, SequenceKey, UsageOwner, merge_carrier_day, merge_device_day, merge_usage};
pub use ranges::Ranges;
