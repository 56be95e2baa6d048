//! How far a gateway's clock can be trusted, as its reports of one day tell. It never changes what counts: device time is taken as
//! it was sent, and receipt decides what is late or in the future.

use crate::facts::ClockDay;
use crate::reasons::ClockFault;

/// What is wrong with the clock. `skew_s_max`: the rulebook's `future_skew_s_max`, in either direction.
pub fn faults_of_day(day: &ClockDay, skew_s_max: u32) -> Vec<ClockFault> {
    let skew_us = i64::from(skew_s_max) * 1_000_000;
    // Waiting makes an offset smaller, never greater: the greatest of a day is the closest to the truth.
    let offset_us = day.offset_us.map_or(0, |(_, greatest)| greatest);
    let found = [
        (ClockFault::Ahead, offset_us > skew_us),
        (ClockFault::Behind, offset_us < -skew_us),
        (ClockFault::Unsynchronised, day.unsynchronised > 0),
        (ClockFault::Jump, day.jumps > 0),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(fault, _)| fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(least_s: i64, greatest_s: i64) -> ClockDay {
        ClockDay { reports: 2, offset_us: Some((least_s * 1_000_000, greatest_s * 1_000_000)), ..ClockDay::default() }
    }

    #[test]
    fn the_skew_itself_is_allowed_in_either_direction_and_a_microsecond_more_is_not() {
        assert_eq!(faults_of_day(&offsets(0, 120), 120), []);
        assert_eq!(faults_of_day(&offsets(-120, -120), 120), []);
        let mut day = offsets(0, 120);
        day.offset_us = Some((0, 120_000_001));
        assert_eq!(faults_of_day(&day, 120), [ClockFault::Ahead]);
        day.offset_us = Some((-130_000_000, -120_000_001));
        assert_eq!(faults_of_day(&day, 120), [ClockFault::Behind]);
    }

    #[test]
    fn reports_that_waited_long_do_not_make_a_clock_slow_as_long_as_one_came_at_once() {
        assert_eq!(faults_of_day(&offsets(-86_400, -1), 120), []);
        assert_eq!(faults_of_day(&ClockDay::default(), 0), [], "without sent_at nothing is known");
    }

    #[test]
    fn what_a_gateway_says_of_itself_is_taken() {
        let day = ClockDay { unsynchronised: 1, jumps: 1, ..offsets(0, 0) };
        assert_eq!(faults_of_day(&day, 120), [ClockFault::Unsynchronised, ClockFault::Jump]);
    }
}
