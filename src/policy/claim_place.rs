//! First come, first served (R12, R13): the order in which vouchers are issued and redeemed.

use crate::calendar::{Day, Instant, day_of};
use crate::register::{Voucher, VoucherStatus};

/// Where a voucher stands among the claims of its period: what has been issued keeps its place by application; of those that wait,
/// pilots come first. Within each: server date, then instant, then id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPlace {
    pub waits: bool,
    /// Waits without a pilot's priority.
    pub ordinary: bool,
    pub day: Day,
    pub at: Instant,
    pub id: String,
}

impl ClaimPlace {
    pub fn of(voucher: &Voucher) -> ClaimPlace {
        let waits = voucher.status == VoucherStatus::Applied;
        ClaimPlace {
            waits,
            ordinary: waits && voucher.pilot.is_none(),
            day: day_of(voucher.applied_at),
            at: voucher.applied_at,
            id: voucher.id.clone(),
        }
    }
}
