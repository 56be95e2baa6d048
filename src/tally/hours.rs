//! In which clock hours of which days a device had readings of quality N, and how late the least late of each hour was: what
//! decides about effective days, in a few bytes. A value covers a stretch of 32 days.

use crate::encode::DecodeError;
use crate::varint;

pub const STRETCH_DAYS: i32 = 32;
const ALL_HOURS: u32 = (1 << 24) - 1;

// The first byte of an entry: five bits of day, then what follows.
const DAY: u8 = 31;
/// The days late follow; else it is one.
const LATE: u8 = 32;
/// The number of days follows, all alike; else it is one.
const DAYS: u8 = 64;

/// Hours of some days on end, by clock hour from the lowest bit, whose least late reading was so late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoursOfDays {
    /// Within the stretch.
    pub day: u8,
    pub days: u8,
    pub days_late: u32,
    pub hours: u32,
}

/// The stretch in which a day lies, and its place there.
pub fn stretch_of(day: i32) -> (i32, u8) {
    (day.div_euclid(STRETCH_DAYS), day.rem_euclid(STRETCH_DAYS) as u8)
}

pub fn decode_hours(mut bytes: &[u8]) -> impl Iterator<Item = Result<HoursOfDays, DecodeError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let entry = take(&mut bytes);
        if entry.is_err() {
            bytes = &[];
        }
        Some(entry)
    })
}

fn take(bytes: &mut &[u8]) -> Result<HoursOfDays, DecodeError> {
    let byte = varint::take_byte(bytes)?;
    let days_late = if byte & LATE != 0 { varint::take_u32(bytes)? } else { 1 };
    let days = if byte & DAYS != 0 { varint::take_byte(bytes)? } else { 1 };
    let (hours, rest) = bytes.split_first_chunk::<3>().ok_or(DecodeError::Value)?;
    *bytes = rest;
    let hours = u32::from_le_bytes([hours[0], hours[1], hours[2], 0]);
    let day = byte & DAY;
    let sound = byte & !(DAY | LATE | DAYS) == 0 && days > 0 && i32::from(day) + i32::from(days) <= STRETCH_DAYS;
    if sound { Ok(HoursOfDays { day, days, days_late, hours }) } else { Err(DecodeError::Value) }
}

fn put(out: &mut Vec<u8>, entry: HoursOfDays) {
    let HoursOfDays { day, days, days_late, hours } = entry;
    out.push(day | if days_late == 1 { 0 } else { LATE } | if days == 1 { 0 } else { DAYS });
    if days_late != 1 {
        varint::put(out, u64::from(days_late));
    }
    if days != 1 {
        out.push(days);
    }
    out.extend_from_slice(&hours.to_le_bytes()[..3]);
}

/// Hours are gathered here, in any order, and written in one: by day, then by days late, an hour only under the least.
#[derive(Debug, Default)]
pub(crate) struct HoursGathered {
    /// Sorted by day and days late when they are written.
    list: Vec<HoursOfDays>,
}

impl HoursGathered {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn add(&mut self, entry: HoursOfDays) {
        // Mostly it is the day and the lateness of the one before.
        if let Some(last) = self.list.last_mut()
            && (last.day, last.days, last.days_late) == (entry.day, entry.days, entry.days_late)
        {
            last.hours |= entry.hours;
            return;
        }
        self.list.push(entry);
    }

    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        if let [entry] = self.list[..] {
            return put(out, entry);
        }
        let single = |entry: &HoursOfDays| {
            let entry = *entry;
            (0..entry.days).map(move |more| HoursOfDays { day: entry.day + more, days: 1, ..entry })
        };
        let mut list: Vec<_> = self.list.iter().flat_map(single).collect();
        list.sort_unstable_by_key(|entry| (entry.day, entry.days_late));
        let mut alike: Option<HoursOfDays> = None;
        for of_day in list.chunk_by(|a, b| a.day == b.day) {
            let entries = by_lateness(of_day);
            let lone = if let [entry] = entries[..] { Some(entry) } else { None };
            if let (Some(alike), Some(entry)) = (&mut alike, lone)
                && *alike == (HoursOfDays { day: alike.day, days: alike.days, ..entry })
                && alike.day + alike.days == entry.day
            {
                alike.days += 1;
                continue;
            }
            alike.take().into_iter().for_each(|entry| put(out, entry));
            match lone {
                Some(entry) => alike = Some(entry),
                None => entries.into_iter().for_each(|entry| put(out, entry)),
            }
        }
        alike.into_iter().for_each(|entry| put(out, entry));
    }
}

/// Of one day, sorted: an hour stays only where it is least late.
fn by_lateness(of_day: &[HoursOfDays]) -> Vec<HoursOfDays> {
    let mut free = ALL_HOURS;
    let joined = of_day.chunk_by(|a, b| a.days_late == b.days_late).map(|alike| {
        let hours = alike.iter().fold(0, |hours, entry| hours | entry.hours) & free;
        free &= !hours;
        HoursOfDays { hours, ..alike[0] }
    });
    joined.filter(|entry| entry.hours != 0).collect()
}

/// Appends what two values of one device and stretch make together.
pub(crate) fn merge_hours(kept: &[u8], more: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut gathered = HoursGathered::default();
    for entry in decode_hours(kept).chain(decode_hours(more)) {
        gathered.add(entry?);
    }
    gathered.write(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// By day and hour: the least days late.
    type Table = BTreeMap<(u8, u8), u32>;

    fn written(list: &[(u8, u8, u32)]) -> Vec<u8> {
        let (mut gathered, mut out) = (HoursGathered::default(), Vec::new());
        list.iter()
            .for_each(|(day, hour, days_late)| gathered.add(HoursOfDays { day: *day, days: 1, days_late: *days_late, hours: 1 << hour }));
        gathered.write(&mut out);
        out
    }

    fn table(bytes: &[u8]) -> Table {
        let mut table = Table::new();
        for entry in decode_hours(bytes).map(Result::unwrap) {
            for day in entry.day..entry.day + entry.days {
                for hour in (0..24).filter(|hour| entry.hours & 1 << hour != 0) {
                    assert_eq!(table.insert((day, hour), entry.days_late), None, "an hour stands once");
                }
            }
        }
        table
    }

    proptest! {
        #[test]
        fn the_least_late_of_every_hour_is_kept_in_one_form_however_it_comes_together(
            list in prop::collection::vec((0u8..32, 0u8..24, 0u32..3), 1..80),
            cut in 0usize..80,
        ) {
            let mut expected = Table::new();
            for (day, hour, days_late) in &list {
                let kept = expected.entry((*day, *hour)).or_insert(*days_late);
                *kept = (*kept).min(*days_late);
            }
            let whole = written(&list);
            prop_assert_eq!(table(&whole), expected);
            let cut = cut.min(list.len());
            let mut merged = Vec::new();
            merge_hours(&written(&list[cut..]), &written(&list[..cut]), &mut merged).unwrap();
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = merge_hours(&bytes, &bytes, &mut Vec::new());
        }
    }

    #[test]
    fn a_month_of_equal_days_takes_five_bytes() {
        let list: Vec<_> = (0..30).flat_map(|day| (8..18).map(move |hour| (day, hour, 1))).collect();
        assert_eq!(written(&list), [DAYS, 30, 0, 0xff, 0x03]);
        assert_eq!(written(&list[..10]).len(), 4);
    }
}
