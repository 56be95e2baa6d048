//! The monitoring window (R36: "在服务券申请兑现时").

use chrono::{DateTime, Days};
use serde::{Deserialize, Serialize};

use crate::calendar::{self, Day, Instant, day_of};
use crate::register::Voucher;
use crate::rulebook::Rulebook;

/// `window_days` calendar days in Asia/Shanghai ending with the cut-off's day; nothing after the cut-off instant is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Day,
    pub to: Day,
    #[serde(with = "calendar::instant")]
    pub cut_off: Instant,
}

pub fn window(voucher: &Voucher, rulebook: &Rulebook, as_of: Instant) -> Window {
    let cut_off = voucher.redeem_at.filter(|redeem_at| *redeem_at <= as_of).unwrap_or(as_of);
    // Kept to the microsecond, as everywhere.
    let cut_off = DateTime::from_timestamp_micros(cut_off.timestamp_micros()).unwrap_or(cut_off);
    let to = day_of(cut_off);
    let from = to.checked_sub_days(Days::new(u64::from(rulebook.parameters.window_days.saturating_sub(1)))).unwrap_or(Day::MIN);
    Window { from, to, cut_off }
}

impl Window {
    /// The cut-off in microseconds since the Unix epoch, as facts tell instants.
    pub fn cut_off_us(&self) -> i64 {
        self.cut_off.timestamp_micros()
    }

    pub fn contains(&self, day: Day) -> bool {
        self.from <= day && day <= self.to
    }

    /// The days of the window, oldest first.
    pub fn days(&self) -> impl Iterator<Item = Day> {
        let to = self.to;
        self.from.iter_days().take_while(move |day| *day <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_case::{at, day, voucher};

    #[test]
    fn the_window_is_thirty_days_ending_with_the_day_of_redemption() {
        let mut voucher = voucher("V-1", "P-5");
        voucher.redeem_at = Some(at("2019-11-05T09:00:00+08:00"));
        let window = window(&voucher, &Rulebook::default_2019(), at("2019-12-01T00:00:00+08:00"));
        assert_eq!((window.from, window.to), (day("2019-10-07"), day("2019-11-05")));
        assert_eq!(window.cut_off, at("2019-11-05T09:00:00+08:00"));
        assert_eq!(window.days().count(), 30);
        assert!(window.contains(day("2019-10-07")) && !window.contains(day("2019-10-06")) && !window.contains(day("2019-11-06")));
    }

    #[test]
    fn a_redemption_after_the_instant_asked_for_is_not_yet_known() {
        let mut voucher = voucher("V-1", "P-5");
        let as_of = at("2019-11-05T00:00:00+08:00");
        voucher.redeem_at = Some(at("2019-11-05T00:00:00.000001+08:00"));
        assert_eq!(window(&voucher, &Rulebook::default_2019(), as_of).cut_off, as_of);
        voucher.redeem_at = Some(as_of);
        assert_eq!(window(&voucher, &Rulebook::default_2019(), as_of).cut_off, as_of);
        voucher.redeem_at = None;
        let one_day = Rulebook::default_2019().with("window_days", "1").unwrap();
        let window = window(&voucher, &one_day, at("2019-11-04T23:59:59.999999+08:00"));
        assert_eq!((window.from, window.to), (day("2019-11-04"), day("2019-11-04")));
    }
}
