//! A device on one day as bytes, one way only: equal facts give equal bytes. An hour with one pair that came within a day takes four
//! bytes or so, and five more where its values differ; two values are merged without being unfolded.

use litemap::LiteMap;
use policy::calendar::Day;
use policy::facts::{DeviceDay, GatewayMarks, HourFacts, QualityCounts, Seen, Sightings};
use policy::values_seen::ValuesSeen;

use crate::encode::DecodeError;
use crate::key::{channel, channel_code, day_number};
use crate::slot::{HOUR_US, Pair, hour_start_us};
use crate::varint;

// The first byte of an hour: five bits of clock hour, one of channel, two of shape.
const HOUR_AND_CHANNEL: u8 = 0b0011_1111;
const SHAPE: u8 = 0b1100_0000;
/// One pair of quality N, not a day late, and the count: the day late is the shape.
const PLAIN_ONE: u8 = 0b0000_0000;
const PLAIN_ZERO: u8 = 0b0100_0000;
/// Any pairs and counts.
const FULL: u8 = 0b1000_0000;

/// In the place of an hour: the gateways' marks.
pub(crate) const GATEWAYS: u8 = 31;

/// In the first byte of values: they differ, and no hash of them follows.
const VALUES_DIFFER: u8 = 0b100;
/// Counts go no further.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// Clock hour and channel as in the first byte.
pub(crate) fn hour_code(hour: u8, channel: policy::facts::Channel) -> u8 {
    hour | channel_code(channel) << 5
}

/// An hour, read as far as merging needs it.
#[derive(Clone, Copy)]
enum HourValue<'a> {
    Plain {
        first: Pair,
        count: u64,
        values: ValuesSeen,
    },
    /// The bytes after the first.
    Full(&'a [u8]),
}

pub(crate) fn put_plain(out: &mut Vec<u8>, code: u8, first: Pair, count: u64, values: ValuesSeen) {
    out.push(code | if first.days_late == 0 { PLAIN_ZERO } else { PLAIN_ONE });
    put_us(out, first.us);
    put_with_values(out, count, values, |_| {});
}

/// The hour begins at `start_us`.
pub(crate) fn put_hour(out: &mut Vec<u8>, code: u8, start_us: i64, facts: &HourFacts) {
    let normal = pairs(&facts.normal, start_us);
    if let [first @ Pair { days_late: 0..=1, .. }] = normal[..]
        && facts.other.is_empty()
        && facts.counts.all_normal()
    {
        return put_plain(out, code, first, facts.counts.get(0), facts.values);
    }
    out.push(code | FULL);
    put_with_values(out, normal.len() as u64, facts.values, |out| {
        put_pairs(out, &normal);
        let other = pairs(&facts.other, start_us);
        varint::put(out, other.len() as u64);
        put_pairs(out, &other);
        let counted = (0..QualityCounts::QUALITIES).filter(|at| facts.counts.get(*at) > 0);
        out.push(counted.clone().fold(0, |bits, at| bits | 1 << at));
        counted.for_each(|at| varint::put(out, facts.counts.get(at)));
    });
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[Pair]) {
    for pair in pairs {
        put_us(out, pair.us);
        varint::put(out, u64::from(pair.days_late));
    }
}

/// A number whose lowest bit says whether values follow what `between` writes.
fn put_with_values(out: &mut Vec<u8>, number: u64, values: ValuesSeen, between: impl FnOnce(&mut Vec<u8>)) {
    let any = values.said() > 0;
    varint::put(out, number.min(NUMBER_MAX) << 1 | u64::from(any));
    between(out);
    if any {
        let (packed, sum) = values.parts();
        let packed = packed.to_le_bytes();
        out.extend_from_slice(if values.differ() { &packed[..1] } else { &packed });
        out.extend_from_slice(&sum.to_le_bytes());
    }
}

#[inline]
fn take_values(bytes: &mut &[u8]) -> Result<ValuesSeen, DecodeError> {
    let first = *bytes.first().ok_or(DecodeError::Value)?;
    let length = if first & VALUES_DIFFER != 0 { 1 } else { 4 };
    let mut packed = [0; 4];
    packed[..length].copy_from_slice(bytes.get(..length).ok_or(DecodeError::Value)?);
    let (sum, rest) = bytes[length..].split_first_chunk::<4>().ok_or(DecodeError::Value)?;
    *bytes = rest;
    ValuesSeen::from_parts(u32::from_le_bytes(packed), u32::from_le_bytes(*sum)).ok_or(DecodeError::Value)
}

pub fn encode_device_day(day: Day, facts: &DeviceDay) -> Vec<u8> {
    let mut out = Vec::new();
    // By channel, then hour: the order of the codes.
    let mut hours: Vec<_> = facts.hours.iter().map(|((hour, channel), facts)| (hour_code(*hour, *channel), facts)).collect();
    hours.sort_unstable_by_key(|(code, _)| *code);
    let of_gateways = hours.partition_point(|(code, _)| *code < GATEWAYS);
    for (code, facts) in &hours[..of_gateways] {
        put_hour(&mut out, *code, start_us(day, *code), facts);
    }
    if !facts.gateways.as_slice().is_empty() {
        put_gateways(&mut out, &facts.gateways);
    }
    for (code, facts) in &hours[of_gateways..] {
        put_hour(&mut out, *code, start_us(day, *code), facts);
    }
    out
}

pub(crate) fn put_gateways(out: &mut Vec<u8>, gateways: &GatewayMarks) {
    out.push(GATEWAYS);
    out.push(gateways.as_slice().len() as u8);
    gateways.as_slice().iter().for_each(|mark| out.extend_from_slice(&mark.to_le_bytes()));
}

/// What follows `GATEWAYS`.
fn take_gateways(bytes: &mut &[u8]) -> Result<GatewayMarks, DecodeError> {
    let mut marks = GatewayMarks::default();
    for _ in 0..varint::take_byte(bytes)? {
        let (mark, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Value)?;
        marks.add(u32::from_le_bytes(*mark));
        *bytes = rest;
    }
    Ok(marks)
}

/// Takes the gateways if they are next.
fn gateways_next(bytes: &mut &[u8]) -> Result<Option<GatewayMarks>, DecodeError> {
    if bytes.first() != Some(&GATEWAYS) {
        return Ok(None);
    }
    varint::take_byte(bytes)?;
    take_gateways(bytes).map(Some)
}

pub fn decode_device_day(day: Day, mut bytes: &[u8]) -> Result<DeviceDay, DecodeError> {
    // An hour takes three bytes at least, and mostly more.
    let mut hours = LiteMap::with_capacity((bytes.len() / 4 + 1).min(48));
    let midnight_us = start_us(day, 0);
    let mut gateways = GatewayMarks::default();
    while !bytes.is_empty() {
        if let Some(next) = gateways_next(&mut bytes)? {
            gateways = next;
            continue;
        }
        let (code, value) = take_hour(&mut bytes)?;
        let start_us = midnight_us + i64::from(code & 31) * HOUR_US;
        let (hour, facts) = ((code & 31, channel(code >> 5)?), value.unfold(start_us)?);
        // Mostly in order already.
        if let Some((hour, facts)) = hours.try_append(hour, facts) {
            hours.insert(hour, facts);
        }
    }
    Ok(DeviceDay { hours, gateways })
}

/// Appends what two values of one device and day make together.
pub(crate) fn merge_device_days(mut kept: &[u8], mut more: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    while let (Some(first), Some(second)) = (kept.first(), more.first()) {
        match (first & HOUR_AND_CHANNEL).cmp(&(second & HOUR_AND_CHANNEL)) {
            std::cmp::Ordering::Less => copy_hour(&mut kept, out)?,
            std::cmp::Ordering::Greater => copy_hour(&mut more, out)?,
            std::cmp::Ordering::Equal if *first == GATEWAYS => merge_gateways(&mut kept, &mut more, out)?,
            std::cmp::Ordering::Equal => merge_hours(take_hour(&mut kept)?, take_hour(&mut more)?.1, out)?,
        }
    }
    out.extend_from_slice(kept);
    out.extend_from_slice(more);
    Ok(())
}

fn merge_gateways(kept: &mut &[u8], more: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut marks = gateways_next(kept)?.unwrap_or_default();
    gateways_next(more)?.unwrap_or_default().as_slice().iter().for_each(|mark| marks.add(*mark));
    put_gateways(out, &marks);
    Ok(())
}

fn merge_hours((code, kept): (u8, HourValue<'_>), more: HourValue<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if let HourValue::Plain { first, count, mut values } = kept
        && let HourValue::Plain { first: other, count: others, values: more } = more
        && first.days_late == other.days_late
    {
        values.merge(more);
        put_plain(out, code, Pair { us: first.us.min(other.us), ..first }, count.saturating_add(others), values);
        return Ok(());
    }
    let mut joined = kept.unfold(0)?;
    merge_hour(&mut joined, &more.unfold(0)?);
    put_hour(out, code, 0, &joined);
    Ok(())
}

pub(crate) fn merge_hour(kept: &mut HourFacts, more: &HourFacts) {
    kept.normal.merge(&more.normal);
    kept.other.merge(&more.other);
    kept.values.merge(more.values);
    kept.counts.merge(&more.counts);
}

pub fn merge_device_day(kept: &mut DeviceDay, other: &DeviceDay) {
    other.gateways.as_slice().iter().for_each(|mark| kept.gateways.add(*mark));
    other.hours.iter().for_each(|(key, facts)| merge_hour(kept.hours.entry(*key).or_default(), facts));
}

fn copy_hour(from: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let before = *from;
    if gateways_next(from)?.is_none() {
        take_hour(from)?;
    }
    out.extend_from_slice(&before[..before.len() - from.len()]);
    Ok(())
}

#[inline]
fn take_hour<'a>(bytes: &mut &'a [u8]) -> Result<(u8, HourValue<'a>), DecodeError> {
    let byte = varint::take_byte(bytes)?;
    let code = byte & HOUR_AND_CHANNEL;
    if code & 31 > 23 {
        return Err(DecodeError::Value);
    }
    let days_late = match byte & SHAPE {
        PLAIN_ZERO => 0,
        PLAIN_ONE => 1,
        FULL => return Ok((code, HourValue::Full(take_full(bytes)?))),
        _ => return Err(DecodeError::Value),
    };
    let us = take_us(bytes)?;
    let number = varint::take(bytes)?;
    let values = if number & 1 != 0 { take_values(bytes)? } else { ValuesSeen::default() };
    Ok((code, HourValue::Plain { first: Pair { us, days_late }, count: number >> 1, values }))
}

/// The bytes of a full hour, which are read over once.
fn take_full<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let before = *bytes;
    let number = varint::take(bytes)?;
    skip_pairs(bytes, number >> 1)?;
    let others = varint::take(bytes)?;
    skip_pairs(bytes, others)?;
    for _ in 0..varint::take_byte(bytes)?.count_ones() {
        varint::take(bytes)?;
    }
    if number & 1 != 0 {
        take_values(bytes)?;
    }
    Ok(&before[..before.len() - bytes.len()])
}

fn skip_pairs(bytes: &mut &[u8], count: u64) -> Result<(), DecodeError> {
    for _ in 0..count {
        take_us(bytes)?;
        varint::take_u32(bytes)?;
    }
    Ok(())
}

impl HourValue<'_> {
    #[inline]
    fn unfold(self, start_us: i64) -> Result<HourFacts, DecodeError> {
        match self {
            HourValue::Plain { first, count, values } => {
                let normal = seen(first, start_us).into();
                Ok(HourFacts { normal, other: Sightings::default(), counts: QualityCounts::normal(count), values })
            }
            HourValue::Full(bytes) => unfold_full(bytes, start_us),
        }
    }
}

fn unfold_full(mut bytes: &[u8], start_us: i64) -> Result<HourFacts, DecodeError> {
    let mut facts = HourFacts::default();
    let number = varint::take(&mut bytes)?;
    for (sightings, count) in [(&mut facts.normal, Some(number >> 1)), (&mut facts.other, None)] {
        let count = count.map_or_else(|| varint::take(&mut bytes), Ok)?;
        for _ in 0..count {
            let us = take_us(&mut bytes)?;
            sightings.add(seen(Pair { us, days_late: varint::take_u32(&mut bytes)? }, start_us));
        }
    }
    let counted = varint::take_byte(&mut bytes)?;
    for at in (0..QualityCounts::QUALITIES).filter(|at| counted & 1 << at != 0) {
        facts.counts.add(at, varint::take(&mut bytes)?);
    }
    if number & 1 != 0 {
        facts.values = take_values(&mut bytes)?;
    }
    Ok(facts)
}

/// Whole seconds and milliseconds take less room; the two lowest bits say which.
fn put_us(out: &mut Vec<u8>, us: u32) {
    let (places, unit) = if us.is_multiple_of(1_000_000) {
        (us / 1_000_000, 0)
    } else if us.is_multiple_of(1_000) {
        (us / 1_000, 1)
    } else {
        (us, 2)
    };
    varint::put(out, u64::from(places) << 2 | unit);
}

#[inline]
fn take_us(bytes: &mut &[u8]) -> Result<u32, DecodeError> {
    let number = varint::take(bytes)?;
    let unit = match number & 3 {
        0 => 1_000_000,
        1 => 1_000,
        2 => 1,
        _ => return Err(DecodeError::Value),
    };
    let us = (number >> 2).checked_mul(unit).filter(|us| *us < HOUR_US as u64).ok_or(DecodeError::Value)?;
    Ok(us as u32)
}

fn start_us(day: Day, code: u8) -> i64 {
    hour_start_us(day_number(day) * 24 + i32::from(code & 31))
}

fn pairs(sightings: &Sightings, start_us: i64) -> Vec<Pair> {
    // Every reading of an hour lies within it.
    let pair = |seen: &Seen| Pair { us: (seen.occurred_us - start_us) as u32, days_late: seen.days_late };
    sightings.as_slice().iter().map(pair).collect()
}

fn seen(pair: Pair, start_us: i64) -> Seen {
    Seen { occurred_us: start_us + i64::from(pair.us), days_late: pair.days_late }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use policy::calendar::{day_of, day_start, read_day};
    use policy::facts::Channel;
    use proptest::prelude::*;

    fn day() -> Day {
        read_day("2019-11-05").unwrap()
    }

    type Reading = (u8, bool, u32, u32, usize);

    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        prop::collection::vec((0u8..24, any::<bool>(), 0u32..40, 0u32..4, 0usize..8), 0..60)
    }

    /// Coarse and fine places within the hour, so that all units occur.
    fn device_day(readings: &[Reading]) -> DeviceDay {
        let mut facts = DeviceDay::default();
        for (hour, supplier, place, days_late, quality) in readings {
            let channel = if *supplier { Channel::Supplier } else { Channel::Gateway };
            if !*supplier && place % 2 == 0 {
                facts.gateways.add(place % 14);
            }
            let within_us = i64::from(*place) * [1_000_000, 1_000, 1, 90_000_000][*place as usize % 4];
            let occurred_at = day_start(day()) + TimeDelta::hours(i64::from(*hour)) + TimeDelta::microseconds(within_us);
            assert_eq!(day_of(occurred_at), day());
            let hour = facts.hours.entry((*hour, channel)).or_default();
            let sightings = if *quality == 0 { &mut hour.normal } else { &mut hour.other };
            sightings.add(Seen::new(occurred_at, *days_late));
            hour.counts.add(*quality, 1);
            if *quality == 0 && *place > 4 {
                hour.values.merge(ValuesSeen::of([f64::from(*place % 3)]).unwrap());
            }
        }
        facts
    }

    proptest! {
        #[test]
        fn facts_come_back_as_they_were_written_and_bytes_merge_as_facts_do(first in readings(), second in readings()) {
            let (mut kept, more) = (device_day(&first), device_day(&second));
            let (kept_bytes, more_bytes) = (encode_device_day(day(), &kept), encode_device_day(day(), &more));
            prop_assert_eq!(&decode_device_day(day(), &kept_bytes).unwrap(), &kept);
            let mut merged = Vec::new();
            merge_device_days(&kept_bytes, &more_bytes, &mut merged).unwrap();
            merge_device_day(&mut kept, &more);
            prop_assert_eq!(merged, encode_device_day(day(), &kept));
        }

        #[test]
        fn damaged_bytes_are_errors_or_other_facts_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), first in readings()) {
            let _ = decode_device_day(day(), &bytes);
            let _ = merge_device_days(&bytes, &encode_device_day(day(), &device_day(&first)), &mut Vec::new());
        }
    }

    #[test]
    fn an_hour_of_timely_readings_takes_three_bytes_and_values_that_differ_five_more() {
        let mut facts = device_day(&[(8, false, 4, 1, 0)]);
        facts.gateways = GatewayMarks::default();
        facts.hours.get_mut(&(8, Channel::Gateway)).unwrap().counts.add(0, 59);
        assert_eq!(encode_device_day(day(), &facts).len(), 3);
        let hour = facts.hours.get_mut(&(8, Channel::Gateway)).unwrap();
        (0..3).for_each(|n| hour.values.merge(ValuesSeen::of([f64::from(n)]).unwrap()));
        assert_eq!(encode_device_day(day(), &facts).len(), 8);
    }
}
