//! First come, first served (R12, R13): the order in which vouchers are issued and redeemed.

use crate::calendar::{Day, Instant, day_of};
use crate::register::{Voucher, VoucherStatus};

/// Where a voucher stands among the claims of its period, for queue (R12) and quotas (R28) alike: what has been issued keeps its place by
/// application; of those that wait, pilots come first that have not lost their title (R13, R44). Within each: server date, then
/// instant, then id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPlace {
    pub waits: bool,
    /// Waits without priority.
    pub ordinary: bool,
    pub day: Day,
    pub at: Instant,
    pub id: String,
}

impl ClaimPlace {
    /// `priority`: it is a pilot's, whose title is not lost.
    pub fn of(voucher: &Voucher, priority: bool) -> ClaimPlace {
        let waits = voucher.status == VoucherStatus::Applied;
        ClaimPlace { waits, ordinary: waits && !priority, day: day_of(voucher.applied_at), at: voucher.applied_at, id: voucher.id.clone() }
    }
}
