//! Facts as bytes, one way only: equal facts give equal bytes on every machine.

use chrono::DateTime;
use policy::facts::{Channel, DeviceDay, HourFacts, Seen, Sightings, UsageFacts};
use serde::{Deserialize, Serialize};

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
    #[error("damaged facts: unknown channel {0}")]
    Channel(u8),
}

type Pairs = Vec<(i64, u32)>;

#[derive(Serialize, Deserialize)]
struct EncodedHour {
    hour: u8,
    channel: u8,
    normal: Pairs,
    other: Pairs,
    counts: [u64; 8],
}

#[derive(Serialize, Deserialize)]
struct EncodedUsage {
    seen: Pairs,
    actions: u64,
    active_s: u64,
}

pub fn encode_device_day(day: &DeviceDay) -> Vec<u8> {
    let hours: Vec<_> = day
        .hours
        .iter()
        .map(|((hour, channel), facts)| EncodedHour {
            hour: *hour,
            channel: channel_code(*channel),
            normal: pairs(&facts.normal),
            other: pairs(&facts.other),
            counts: facts.counts,
        })
        .collect();
    encode(&hours)
}

pub fn decode_device_day(bytes: &[u8]) -> Result<DeviceDay, DecodeError> {
    let hours: Vec<EncodedHour> = decode(bytes)?;
    let mut day = DeviceDay::default();
    for hour in hours {
        let facts = HourFacts { normal: sightings(&hour.normal)?, other: sightings(&hour.other)?, counts: hour.counts };
        day.hours.insert((hour.hour, channel(hour.channel)?), facts);
    }
    Ok(day)
}

pub fn encode_usage(usage: &UsageFacts) -> Vec<u8> {
    encode(&EncodedUsage { seen: pairs(&usage.seen), actions: usage.actions, active_s: usage.active_s })
}

pub fn decode_usage(bytes: &[u8]) -> Result<UsageFacts, DecodeError> {
    let usage: EncodedUsage = decode(bytes)?;
    Ok(UsageFacts { seen: sightings(&usage.seen)?, actions: usage.actions, active_s: usage.active_s })
}

pub fn encode_ranges(ranges: &Ranges) -> Vec<u8> {
    encode(&ranges.as_slice())
}

pub fn decode_ranges(bytes: &[u8]) -> Result<Ranges, DecodeError> {
    let list: Vec<(u64, u64)> = decode(bytes)?;
    let mut ranges = Ranges::default();
    list.into_iter().for_each(|(first, last)| ranges.insert(first, last));
    Ok(ranges)
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
    sightings.as_slice().iter().map(|seen| (seen.occurred_at.timestamp_micros(), seen.days_late)).collect()
}

fn sightings(pairs: &Pairs) -> Result<Sightings, DecodeError> {
    let mut sightings = Sightings::default();
    for (occurred_us, days_late) in pairs {
        let occurred_at = DateTime::from_timestamp_micros(*occurred_us).ok_or(DecodeError::Instant)?;
        sightings.add(Seen { occurred_at, days_late: *days_late });
    }
    Ok(sightings)
}

/// Channels as stored; also used for the rows of usage facts.
fn channel_code(channel: Channel) -> u8 {
    match channel {
        Channel::Gateway => 1,
        Channel::Supplier => 2,
    }
}

fn channel(code: u8) -> Result<Channel, DecodeError> {
    match code {
        1 => Ok(Channel::Gateway),
        2 => Ok(Channel::Supplier),
        other => Err(DecodeError::Channel(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_as_they_were_written() {
        let mut day = DeviceDay::default();
        let at = DateTime::from_timestamp_micros(1_572_940_800_123_456).unwrap();
        let facts = day.hours.entry((8, Channel::Gateway)).or_default();
        facts.normal.add(Seen { occurred_at: at, days_late: 3 });
        facts.normal.add(Seen { occurred_at: at + chrono::TimeDelta::minutes(1), days_late: 1 });
        facts.counts[0] = 2;
        day.hours.entry((9, Channel::Supplier)).or_default().other.add(Seen { occurred_at: at, days_late: 0 });
        assert_eq!(decode_device_day(&encode_device_day(&day)).unwrap(), day);
        let usage = UsageFacts { seen: facts_seen(&day), actions: 7, active_s: 0 };
        assert_eq!(decode_usage(&encode_usage(&usage)).unwrap(), usage);
        let mut ranges = Ranges::default();
        ranges.insert(4, 9);
        assert_eq!(decode_ranges(&encode_ranges(&ranges)).unwrap(), ranges);
    }

    fn facts_seen(day: &DeviceDay) -> Sightings {
        day.hours[&(8, Channel::Gateway)].normal.clone()
    }

    #[test]
    fn damaged_and_foreign_bytes_are_errors() {
        assert_eq!(decode_usage(&[]), Err(DecodeError::Form(0)));
        assert_eq!(decode_usage(&[9, 1]), Err(DecodeError::Form(9)));
        assert!(matches!(decode_usage(&[FORM, 200]), Err(DecodeError::Damaged(_))));
    }
}
