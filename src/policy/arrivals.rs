//! How regularly a gateway's reports arrive. Machines, networks and queues never keep time to the millisecond; a program that makes
//! data up may. Within a clock hour the times of arrival are held against the straight line over the reports' numbers: sums suffice
//! for that, and sums do not depend on the order in which anything is read.

use serde::{Deserialize, Serialize};

/// Numbers beyond this begin anew: an hour in which that happens is not regular.
const NUMBERS: u64 = 1 << 20;
/// More a second than this is no rhythm but a backlog.
const REPORTS_MAX: u64 = 3_600;

/// Of the reports that came within one clock hour of receipt (Asia/Shanghai). Merging adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalHour {
    pub hour: u8,
    pub reports: u64,
    // Of the reports' numbers, their milliseconds within the hour, their squares and products.
    number: u64,
    number_squared: u64,
    ms: u64,
    ms_squared: u64,
    number_ms: u64,
}

impl ArrivalHour {
    pub fn of(hour: u8, number: u64, ms: u32) -> ArrivalHour {
        let (number, ms) = (number % NUMBERS, u64::from(ms));
        ArrivalHour { hour, reports: 1, number, number_squared: number * number, ms, ms_squared: ms * ms, number_ms: number * ms }
    }

    /// Another of the same hour.
    fn add(&mut self, other: &ArrivalHour) {
        let ArrivalHour { hour: _, reports, number, number_squared, ms, ms_squared, number_ms } = other;
        // What goes on for so long that it stays at the greatest is far from any line.
        self.reports = self.reports.saturating_add(*reports);
        self.number = self.number.saturating_add(*number);
        self.number_squared = self.number_squared.saturating_add(*number_squared);
        self.ms = self.ms.saturating_add(*ms);
        self.ms_squared = self.ms_squared.saturating_add(*ms_squared);
        self.number_ms = self.number_ms.saturating_add(*number_ms);
    }

    /// Whether it can be told of this hour: enough reports, and no more than one a second.
    pub fn comparable(&self, reports_min: u32) -> bool {
        self.reports >= u64::from(reports_min) && self.reports <= REPORTS_MAX
    }

    /// Whether the reports came at equal intervals of a second or more, half a millisecond off on average (root mean square).
    pub fn regular(&self) -> bool {
        self.line().is_some_and(|(numbers, times, both, reports)| {
            let apart = both >= numbers.saturating_mul(1_000);
            // Times less what the line explains, times four, against one: without a division.
            let unexplained = numbers.checked_mul(times).and_then(|all| all.checked_sub(both.checked_mul(both)?)?.checked_mul(4));
            apart && numbers > 0 && unexplained.is_some_and(|unexplained| unexplained <= reports * reports * numbers)
        })
    }

    /// Sums of squares about the means, each times the number of reports.
    fn line(&self) -> Option<(i128, i128, i128, i128)> {
        if self.reports > REPORTS_MAX {
            return None;
        }
        let n = i128::from(self.reports);
        let about = |products: u64, one: u64, other: u64| n * i128::from(products) - i128::from(one) * i128::from(other);
        let numbers = about(self.number_squared, self.number, self.number);
        Some((numbers, about(self.ms_squared, self.ms, self.ms), about(self.number_ms, self.number, self.ms), n))
    }
}

/// Adds to a day's hours, which stand in their order.
pub fn add_arrivals(kept: &mut Vec<ArrivalHour>, more: &[ArrivalHour]) {
    for hour in more {
        match kept.binary_search_by_key(&hour.hour, |kept| kept.hour) {
            Ok(at) => kept[at].add(hour),
            Err(at) => kept.insert(at, *hour),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hour(arrivals: impl IntoIterator<Item = (u64, u32)>) -> ArrivalHour {
        let mut kept = Vec::new();
        arrivals.into_iter().for_each(|(number, ms)| add_arrivals(&mut kept, &[ArrivalHour::of(9, number, ms)]));
        assert_eq!(kept.len(), 1);
        kept[0]
    }

    #[test]
    fn equal_intervals_are_regular_in_any_order_and_with_reports_left_out_and_jitter_is_not() {
        let every_minute = |jitter: fn(u64) -> u32| hour((0..60).map(move |n| (n + 700, n as u32 * 60_000 + 17 + jitter(n))));
        assert!(every_minute(|_| 0).regular() && every_minute(|_| 0).comparable(12));
        assert!(hour((0..60).rev().map(|n| (n, n as u32 * 59_999))).regular());
        assert!(hour((0..60).filter(|n| n % 7 != 0).map(|n| (n, n as u32 * 60_000))).regular());
        assert!(every_minute(|n| (n % 2) as u32).regular(), "a millisecond is what rounding takes");
        assert!(!every_minute(|n| (n % 2) as u32 * 2).regular());
        assert!(!every_minute(|n| (n * 7 % 11) as u32).regular());
        assert!(!every_minute(|n| if n == 30 { 40 } else { 0 }).regular(), "one that waited");
    }

    #[test]
    fn backlogs_restarts_and_few_reports_are_not_regular() {
        assert!(!hour((0..60).map(|n| (n, 5_000))).regular(), "all at once");
        assert!(!hour((0..60).map(|n| (n, n as u32 * 999))).regular(), "less than a second apart");
        assert!(hour((0..60).map(|n| (n, n as u32 * 1_000))).regular());
        assert!(!hour((0..60).map(|n| (n % 30, n as u32 * 60_000))).regular(), "numbers begin anew");
        assert!(!hour([(5, 1_000)]).regular());
        assert!(!hour((0..11).map(|n| (n, n as u32 * 60_000))).comparable(12));
        assert!(!hour((0..3_601).map(|n| (n, (n as u32 * 999) % 3_600_000))).comparable(12));
        assert!(!hour((0..9_000).map(|n| (n << 19, 3_599_999))).regular(), "however great the sums");
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order_or_on_how_they_are_cut(list in prop::collection::vec((0u8..24, any::<u64>(), 0u32..3_600_000), 0..60), cut in 0usize..60) {
            let add = |kept: &mut Vec<ArrivalHour>, (hour, number, ms): &(u8, u64, u32)| add_arrivals(kept, &[ArrivalHour::of(*hour, *number, *ms)]);
            let (mut whole, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
            list.iter().for_each(|one| add(&mut whole, one));
            let cut = cut.min(list.len());
            list[..cut].iter().for_each(|one| add(&mut first, one));
            list[cut..].iter().rev().for_each(|one| add(&mut second, one));
            add_arrivals(&mut second, &first);
            prop_assert_eq!(second, whole);
        }
    }
}
