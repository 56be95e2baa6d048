//! Values of stored facts as bytes, one way only: equal facts give equal bytes on every machine. Devices have files of their own.

use chrono::DateTime;
use policy::facts::{CarrierDay, Seen, Sightings, UsageFacts};
use serde::{Deserialize, Serialize};

use crate::device_day::merge_device_days;
use crate::hours::merge_hours;
use crate::key::kind;
use crate::ranges::Ranges;

/// Stands first in every value, so that a later form can be told apart.
const FORM: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("facts of unknown form {0}")]
    Form(u8),
    #[error("damaged facts: {0}")]
    Damaged(#[from] postcard::Error),
    #[error("damaged facts: instant out of range")]
    Instant,
    #[error("damaged facts: a key cannot be read")]
    Key,
    #[error("damaged facts: a value cannot be read")]
    Value,
}

type Pairs = Vec<(i64, u32)>;

#[derive(Serialize, Deserialize)]
struct EncodedUsage {
    seen: Pairs,
    actions: u64,
    active_s: u64,
}

pub fn encode_usage(usage: &UsageFacts) -> Vec<u8> {
    encode(&EncodedUsage { seen: pairs(&usage.seen), actions: usage.actions, active_s: usage.active_s })
}

pub fn decode_usage(bytes: &[u8]) -> Result<UsageFacts, DecodeError> {
    let usage: EncodedUsage = decode(bytes)?;
    Ok(UsageFacts { seen: sightings(&usage.seen)?, actions: usage.actions, active_s: usage.active_s })
}

pub fn merge_usage(kept: &mut UsageFacts, other: &UsageFacts) {
    kept.seen.merge(&other.seen);
    kept.actions = kept.actions.saturating_add(other.actions);
    kept.active_s = kept.active_s.saturating_add(other.active_s);
}

pub fn encode_carrier(day: &CarrierDay) -> Vec<u8> {
    encode(&(day.sessions, day.bytes, day.devices))
}

pub fn decode_carrier(bytes: &[u8]) -> Result<CarrierDay, DecodeError> {
    let (sessions, bytes, devices) = decode(bytes)?;
    Ok(CarrierDay { sessions, bytes, devices })
}

/// Several records of one line, product and day add up; of devices the largest figure stays.
pub fn merge_carrier_day(kept: &mut CarrierDay, other: &CarrierDay) {
    kept.sessions = kept.sessions.saturating_add(other.sessions);
    kept.bytes = kept.bytes.saturating_add(other.bytes);
    kept.devices = kept.devices.max(other.devices);
}

pub fn encode_ranges(ranges: &Ranges) -> Vec<u8> {
    encode(&(ranges.floor(), ranges.held_to_floor(), ranges.as_slice()))
}

pub fn decode_ranges(bytes: &[u8]) -> Result<Ranges, DecodeError> {
    let (floor, held_to_floor, list): (u64, u64, Vec<(u64, u64)>) = decode(bytes)?;
    let mut below = floor;
    for (first, last) in &list {
        if *first <= below || last < first {
            return Err(DecodeError::Value);
        }
        below = *last;
    }
    Ok(Ranges::from_parts(floor, held_to_floor, &list))
}

/// Appends to `out` what two values of one key make together, whatever it is a key of. The order of the two does not matter.
pub fn merge_values(key: &[u8], kept: &[u8], more: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    match key.first() {
        Some(&kind::DEVICE_DAY) => merge_device_days(kept, more, out),
        Some(&kind::DEVICE_HOURS) => merge_hours(kept, more, out),
        Some(&kind::USAGE_DAY) => {
            let mut usage = decode_usage(kept)?;
            merge_usage(&mut usage, &decode_usage(more)?);
            out.extend(encode_usage(&usage));
            Ok(())
        }
        Some(&kind::CARRIER_DAY) => {
            let mut day = decode_carrier(kept)?;
            merge_carrier_day(&mut day, &decode_carrier(more)?);
            out.extend(encode_carrier(&day));
            Ok(())
        }
        // An identity is claimed once.
        _ => Err(DecodeError::Key),
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing plain numbers and lists to a growing vector has no way to fail.
    postcard::to_extend(value, vec![FORM]).expect("plain values encode")
}

pub(crate) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((&FORM, rest)) => Ok(postcard::from_bytes(rest)?),
        Some((&form, _)) => Err(DecodeError::Form(form)),
        None => Err(DecodeError::Form(0)),
    }
}

fn pairs(sightings: &Sightings) -> Pairs {
    sightings.as_slice().iter().map(|seen| (seen.occurred_us, seen.days_late)).collect()
}

fn sightings(pairs: &Pairs) -> Result<Sightings, DecodeError> {
    let mut sightings = Sightings::default();
    for (occurred_us, days_late) in pairs {
        DateTime::from_timestamp_micros(*occurred_us).ok_or(DecodeError::Instant)?;
        sightings.add(Seen { occurred_us: *occurred_us, days_late: *days_late });
    }
    Ok(sightings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(list: &[(i64, u32, u64)]) -> UsageFacts {
        let mut usage = UsageFacts::default();
        for (at_s, days_late, actions) in list {
            usage.seen.add(Seen { occurred_us: at_s * 1_000_000, days_late: *days_late });
            usage.actions += actions;
        }
        usage
    }

    proptest! {
        #[test]
        fn usage_and_carrier_days_come_back_as_written_and_merge_as_bytes_as_they_do_as_facts(
            first in prop::collection::vec((0i64..50, 0u32..5, 1u64..9), 1..8),
            second in prop::collection::vec((0i64..50, 0u32..5, 1u64..9), 1..8),
            devices in (prop::option::of(0u64..9), prop::option::of(0u64..9)),
        ) {
            let (mut kept, more) = (usage(&first), usage(&second));
            let mut merged = Vec::new();
            merge_values(&[kind::USAGE_DAY], &encode_usage(&kept), &encode_usage(&more), &mut merged).unwrap();
            merge_usage(&mut kept, &more);
            prop_assert_eq!(decode_usage(&merged).unwrap(), kept);
            let (mut kept, more) =
                (CarrierDay { sessions: 3, bytes: u64::MAX, devices: devices.0 }, CarrierDay { sessions: 4, bytes: 5, devices: devices.1 });
            let mut merged = Vec::new();
            merge_values(&[kind::CARRIER_DAY], &encode_carrier(&kept), &encode_carrier(&more), &mut merged).unwrap();
            merge_carrier_day(&mut kept, &more);
            prop_assert_eq!(decode_carrier(&merged).unwrap(), kept);
        }
    }

    #[test]
    fn ranges_come_back_as_they_were_written() {
        let mut ranges = Ranges::default();
        (1..=600).for_each(|n| ranges.insert(2 * n, 2 * n));
        assert_eq!(decode_ranges(&encode_ranges(&ranges)).unwrap(), ranges);
    }

    #[test]
    fn ranges_in_no_order_are_damaged() {
        for list in [vec![(3u64, 2u64)], vec![(1, 2)], vec![(7, 9), (9, 12)]] {
            assert_eq!(decode_ranges(&encode(&(5u64, 5u64, list))), Err(DecodeError::Value));
        }
    }

    #[test]
    fn damaged_and_foreign_bytes_are_errors() {
        assert_eq!(decode_usage(&[]), Err(DecodeError::Form(0)));
        assert_eq!(decode_usage(&[9, 1]), Err(DecodeError::Form(9)));
        assert!(matches!(decode_usage(&[FORM, 200]), Err(DecodeError::Damaged(_))));
        assert_eq!(merge_values(b"i123", &[], &[], &mut Vec::new()), Err(DecodeError::Key));
    }
}
