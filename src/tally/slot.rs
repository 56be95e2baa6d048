//! What a device said within one clock hour, as small as the common case allows: 48 bytes.

use policy::calendar::Instant;
use policy::facts::Seen;
use policy::values_seen::ValuesSeen;
use wire::report::Quality;

pub(crate) const HOUR_US: i64 = 3_600_000_000;
pub(crate) const SHANGHAI_AHEAD_US: i64 = 8 * HOUR_US;
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// Clock hours in Asia/Shanghai since the beginning of 1970: the years of this programme fit with room to spare.
pub(crate) type HourNumber = i32;

/// A place in a list of slots, or none.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// One reading, as far as the facts want it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) hour: HourNumber,
    pub(crate) seen: Pair,
    pub(crate) quality: Quality,
    pub(crate) values: ValuesSeen,
}

/// When within the hour, and how many started days it took to reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) us: u32,
    pub(crate) days_late: u32,
}

impl Pair {
    /// No hour is so long.
    const NONE: Pair = Pair { us: u32::MAX, days_late: u32::MAX };

    /// Nothing that counts the other does not count this one too.
    fn covers(self, other: Pair) -> bool {
        self.us <= other.us && self.days_late <= other.days_late
    }

    /// Keeps one of the two if it covers the other. `NONE` is covered by everything.
    fn take(&mut self, other: Pair) -> bool {
        if other.covers(*self) {
            *self = other;
            return true;
        }
        self.covers(other)
    }

    pub(crate) fn get(self) -> Option<Pair> {
        (self != Pair::NONE).then_some(self)
    }
}

/// At most one pair of each kind. What does not fit goes to a second slot of the same hour; `older` leads to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) hour: HourNumber,
    pub(crate) older: u32,
    pub(crate) normal: Pair,
    pub(crate) other: Pair,
    pub(crate) counts: [u16; 8],
    pub(crate) values: ValuesSeen,
}

impl Slot {
    pub(crate) fn of(sighting: Sighting, older: u32) -> Slot {
        let mut slot =
            Slot { hour: sighting.hour, older, normal: Pair::NONE, other: Pair::NONE, counts: [0; 8], values: ValuesSeen::default() };
        slot.absorb(sighting);
        slot
    }

    /// Takes the reading in, unless it needs a slot of its own.
    pub(crate) fn absorb(&mut self, sighting: Sighting) -> bool {
        let count = &mut self.counts[sighting.quality as usize];
        if self.hour != sighting.hour || *count == u16::MAX {
            return false;
        }
        let pair = if sighting.quality == Quality::Normal { &mut self.normal } else { &mut self.other };
        let taken = pair.take(sighting.seen);
        *count += u16::from(taken);
        if taken {
            self.values.merge(sighting.values);
        }
        taken
    }

    /// Takes in all of another slot, or nothing.
    pub(crate) fn absorb_slot(&mut self, other: &Slot) -> bool {
        let mut joined = *self;
        let fits = self.hour == other.hour && joined.normal.take(other.normal) && joined.other.take(other.other);
        let counted = joined.counts.iter_mut().zip(other.counts).all(|(kept, more)| match kept.checked_add(more) {
            Some(sum) => {
                *kept = sum;
                true
            }
            None => false,
        });
        if fits && counted {
            joined.values.merge(other.values);
            *self = joined;
        }
        fits && counted
    }
}

/// Hour and place within it of an instant.
pub(crate) fn hour_and_us(at: Instant) -> (HourNumber, u32) {
    let us = at.timestamp_micros() + SHANGHAI_AHEAD_US;
    // Years from 1970 to 9998 are all that is read.
    (us.div_euclid(HOUR_US) as HourNumber, us.rem_euclid(HOUR_US) as u32)
}

/// The first microsecond of an hour, since the beginning of 1970 UTC.
pub(crate) fn hour_start_us(hour: HourNumber) -> i64 {
    i64::from(hour) * HOUR_US - SHANGHAI_AHEAD_US
}

/// Started days of 24 h from occurrence to receipt: "received more than L days after it occurred" is exactly `days_late > L`.
pub(crate) fn days_late(occurred_at: Instant, received_at: Instant) -> u32 {
    let delay_us = received_at.timestamp_micros() - occurred_at.timestamp_micros();
    if (1..=DAY_US).contains(&delay_us) {
        return 1;
    }
    let delay_us = delay_us.max(0);
    u32::try_from(delay_us / DAY_US + i64::from(delay_us % DAY_US != 0)).unwrap_or(u32::MAX)
}

/// As the rules see it.
pub(crate) fn seen(occurred_at: Instant, received_at: Instant) -> Seen {
    Seen::new(occurred_at, days_late(occurred_at, received_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use policy::calendar::{day_of, hour_of};
    use proptest::prelude::*;

    #[test]
    fn exactly_seven_days_is_seven_days_late_and_a_microsecond_more_is_eight() {
        let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap();
        assert_eq!(days_late(received_at - TimeDelta::days(7), received_at), 7);
        assert_eq!(days_late(received_at - TimeDelta::days(7) - TimeDelta::microseconds(1), received_at), 8);
        assert_eq!(days_late(received_at - TimeDelta::days(1), received_at), 1);
        assert_eq!(days_late(received_at, received_at), 0);
        assert_eq!(days_late(received_at + TimeDelta::seconds(60), received_at), 0);
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    proptest! {
        #[test]
        fn hours_are_those_of_the_calendar(us in -8 * HOUR_US..253_000_000_000 * 1_000_000i64) {
            let at = DateTime::from_timestamp_micros(us).unwrap();
            let (hour, within) = hour_and_us(at);
            prop_assert_eq!(hour.rem_euclid(24) as u8, hour_of(at));
            prop_assert_eq!(i64::from(hour.div_euclid(24)), i64::from((day_of(at) - chrono::NaiveDate::default()).num_days() as i32));
            prop_assert_eq!(hour_start_us(hour) + i64::from(within), us);
        }
    }
}
