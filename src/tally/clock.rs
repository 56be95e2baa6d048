//! What gateways say of their clocks, by gateway and day of receipt. A fold of its own: it depends on when reports came, so it is
//! no part of the facts that count.

use std::collections::HashMap;

use chrono::DateTime;
use compact_str::CompactString;
use policy::arrivals::{ArrivalHour, add_arrivals};
use policy::calendar::{Day, day_of};
use policy::facts::{ClockDay, ClockReading};
use serde::{Deserialize, Serialize};
use wire::Report;
use wire::identity::Sender;

use crate::encode::{DecodeError, decode, encode};
use crate::fold::Origin;
use crate::slot::hour_and_us;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockKey {
    pub gateway: CompactString,
    /// The day of receipt.
    pub day: Day,
    pub enterprise: CompactString,
}

pub type Clocks = HashMap<ClockKey, ClockDay>;

pub(crate) fn apply_clock(clocks: &mut Clocks, origin: &Origin, report: &Report) {
    let Sender::Gateway(gateway) = &origin.sender else { return };
    let key = ClockKey { gateway: gateway.clone(), day: day_of(origin.received_at), enterprise: origin.enterprise.clone() };
    let day = clocks.entry(key).or_default();
    merge_clock_day(day, &said(origin, report));
    if let Some(seq) = report.seq {
        let (hour, us) = hour_and_us(origin.received_at);
        add_arrivals(&mut day.arrivals, &[ArrivalHour::of(hour.rem_euclid(24) as u8, seq, us / 1_000)]);
    }
}

fn said(origin: &Origin, report: &Report) -> ClockDay {
    let offset_us = report.sent_at.and_then(|sent_at| (sent_at - origin.received_at).num_microseconds());
    let synchronised = report.clock.as_ref().and_then(|clock| clock.synchronised);
    ClockDay {
        reports: 1,
        offset_us: offset_us.map(|offset_us| (offset_us, offset_us)),
        unsynchronised: u64::from(synchronised == Some(false)),
        jumps: report.events.iter().filter(|event| event.event == "clock_jump").count() as u64,
        newest: Some(ClockReading { received_at: origin.received_at, offset_us, synchronised }),
        arrivals: Vec::new(),
    }
}

/// Commutative and associative: the order of arrival within the log never shows.
pub fn merge_clock_day(kept: &mut ClockDay, other: &ClockDay) {
    kept.reports += other.reports;
    kept.offset_us = match (kept.offset_us, other.offset_us) {
        (Some(kept), Some(other)) => Some((kept.0.min(other.0), kept.1.max(other.1))),
        (kept, other) => kept.or(other),
    };
    kept.unsynchronised += other.unsynchronised;
    kept.jumps += other.jumps;
    kept.newest = kept.newest.max(other.newest);
    add_arrivals(&mut kept.arrivals, &other.arrivals);
}

pub fn merge_clocks(kept: &mut Clocks, other: &Clocks) {
    for (key, day) in other {
        merge_clock_day(kept.entry(key.clone()).or_default(), day);
    }
}

#[derive(Serialize, Deserialize)]
struct EncodedClock {
    reports: u64,
    offset_us: Option<(i64, i64)>,
    unsynchronised: u64,
    jumps: u64,
    newest: Option<(i64, Option<i64>, Option<bool>)>,
    arrivals: Vec<ArrivalHour>,
}

pub fn encode_clock_day(day: &ClockDay) -> Vec<u8> {
    let newest = day.newest.map(|newest| (newest.received_at.timestamp_micros(), newest.offset_us, newest.synchronised));
    let ClockDay { reports, offset_us, unsynchronised, jumps, .. } = *day;
    encode(&EncodedClock { reports, offset_us, unsynchronised, jumps, newest, arrivals: day.arrivals.clone() })
}

pub fn decode_clock_day(bytes: &[u8]) -> Result<ClockDay, DecodeError> {
    let EncodedClock { reports, offset_us, unsynchronised, jumps, newest, arrivals } = decode(bytes)?;
    let newest = newest.map(|(received_us, offset_us, synchronised)| {
        let received_at = DateTime::from_timestamp_micros(received_us).ok_or(DecodeError::Instant)?;
        Ok::<_, DecodeError>(ClockReading { received_at, offset_us, synchronised })
    });
    Ok(ClockDay { reports, offset_us, unsynchronised, jumps, newest: newest.transpose()?, arrivals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use wire::report::{Clock, Event};

    fn origin(received_s: i64) -> Origin {
        let received_at = DateTime::from_timestamp(received_s, 0).unwrap();
        Origin { sender: Sender::Gateway("g".into()), enterprise: "e".into(), received_at }
    }

    fn report(received_s: i64, offset_s: Option<i64>, synchronised: Option<bool>, jumps: usize) -> Report {
        let at = DateTime::from_timestamp(received_s, 0).unwrap();
        let event = Event { at, event: "clock_jump".into(), detail: None };
        Report {
            sent_at: offset_s.map(|offset_s| at + TimeDelta::seconds(offset_s)),
            seq: Some(received_s.unsigned_abs()),
            clock: Some(Clock { synchronised, monotonic_ms: None }),
            events: vec![event; jumps],
            ..Report::default()
        }
    }

    #[test]
    fn a_report_without_sent_at_tells_only_that_it_came() {
        let mut clocks = Clocks::new();
        apply_clock(&mut clocks, &origin(100), &report(100, None, None, 0));
        let day = clocks.values().next().unwrap();
        assert_eq!((day.reports, day.offset_us, day.unsynchronised, day.jumps), (1, None, 0, 0));
        let supplier = Origin { sender: Sender::Supplier("s".into()), ..origin(100) };
        apply_clock(&mut clocks, &supplier, &report(100, Some(900), Some(false), 1));
        assert_eq!(clocks.len(), 1, "suppliers have no clock of ours to watch");
    }

    proptest! {
        #[test]
        fn clocks_do_not_depend_on_order_or_on_how_the_log_is_cut_and_come_back_as_written(
            list in prop::collection::vec((0i64..200_000, prop::option::of(-900i64..900), prop::option::of(any::<bool>()), 0usize..2), 1..40),
            cut in 0usize..40,
        ) {
            let apply = |clocks: &mut Clocks, (at, offset, synchronised, jumps): &(i64, Option<i64>, Option<bool>, usize)| {
                apply_clock(clocks, &origin(*at), &report(*at, *offset, *synchronised, *jumps));
            };
            let (mut forward, mut first, mut second) = (Clocks::new(), Clocks::new(), Clocks::new());
            list.iter().for_each(|one| apply(&mut forward, one));
            let cut = cut.min(list.len());
            list[cut..].iter().rev().for_each(|one| apply(&mut first, one));
            list[..cut].iter().rev().for_each(|one| apply(&mut second, one));
            merge_clocks(&mut first, &second);
            prop_assert_eq!(&forward, &first);
            for day in forward.values() {
                prop_assert_eq!(&decode_clock_day(&encode_clock_day(day)).unwrap(), day);
            }
        }
    }
}
