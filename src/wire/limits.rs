//! A bound on everything that comes in.

/// A report, in bytes as received (after transport decompression).
pub const REPORT_BYTES_MAX: usize = 256 * 1024;
/// What a signature may add to a report.
pub const ENVELOPE_BYTES_MAX: usize = 1024;
/// Lists and objects within one another: as deep as `serde_json` reads.
pub const DEPTH_MAX: usize = 127;
/// Entries of `devices`, and of `usage`.
pub const ENTRIES_MAX: usize = 1000;
pub const EVENTS_MAX: usize = 1000;
/// Faults listed of one report; more are counted.
pub const FAULTS_MAX: usize = 1000;
pub const READINGS_MAX: usize = 64;
/// Characters of a device, point, user, product or module name, a `boot` or an `id`.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of free text: event details, identity fields.
pub const TEXT_CHARS_MAX: usize = 256;
pub const ACTIONS_MAX: u64 = 100_000;
pub const ACTIVE_S_MAX: u64 = 86_400;
/// One HTTP request, decompressed.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
pub const REQUEST_REPORTS_MAX: usize = 1000;
/// Records of one carrier message.
pub const CARRIER_RECORDS_MAX: usize = 1000;
