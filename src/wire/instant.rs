//! Instants as they are written: RFC 3339, kept to the microsecond.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate};

use crate::report::Instant;

/// Years (UTC) that are written with four digits in every zone.
pub(crate) const YEARS: RangeInclusive<i32> = 1970..=9998;

pub(crate) fn read_instant(text: &str) -> Option<Instant> {
    let any = || DateTime::from_timestamp_micros(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros());
    plain(text.as_bytes()).or_else(any).filter(|at| YEARS.contains(&at.year()))
}

/// Only the plain form, for which the text need not be known to be UTF-8.
pub(crate) fn read_plain_instant(text: &[u8]) -> Option<Instant> {
    plain(text).filter(|at| YEARS.contains(&at.year()))
}

/// `YYYY-MM-DDTHH:MM:SS`, then up to nine decimal places, then `Z` or `±HH:MM`: what nearly everybody writes.
fn plain(text: &[u8]) -> Option<Instant> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = *fixed else { return None };
    let (micros, zone) = match rest {
        [b'.', rest @ ..] => decimals(rest)?,
        rest => (0, rest),
    };
    let east_s = match *zone {
        [b'Z'] => 0,
        [b'+', h1, h2, b':', m1, m2] => offset_s([h1, h2], [m1, m2])?,
        [b'-', h1, h2, b':', m1, m2] => -offset_s([h1, h2], [m1, m2])?,
        _ => return None,
    };
    let year = number([y1, y2])? * 100 + number([y3, y4])?;
    let date = NaiveDate::from_ymd_opt(year as i32, number([m1, m2])?, number([d1, d2])?)?;
    let local = date.and_hms_micro_opt(number([h1, h2])?, number([n1, n2])?, number([s1, s2])?, micros)?;
    Some(local.checked_sub_offset(FixedOffset::east_opt(east_s)?)?.and_utc())
}

fn number(digits: [u8; 2]) -> Option<u32> {
    let [tens, ones] = digits.map(|digit| u32::from(digit.wrapping_sub(b'0')));
    (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
}

fn offset_s(hours: [u8; 2], minutes: [u8; 2]) -> Option<i32> {
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes <= 59).then_some((hours * 3600 + minutes * 60) as i32)
}

/// Microseconds of one to nine decimal places (cut, not rounded), and what follows them.
fn decimals(text: &[u8]) -> Option<(u32, &[u8])> {
    let count = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(count);
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digits.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    (1..=9).contains(&count).then_some((micros, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_chrono(text: &str) -> Option<Instant> {
        let at = DateTime::parse_from_rfc3339(text).ok()?;
        DateTime::from_timestamp_micros(at.timestamp_micros()).filter(|at| YEARS.contains(&at.year()))
    }

    #[test]
    fn what_senders_write_is_read_as_plain() {
        for text in [
            "2019-11-05T08:01:02+08:00",
            "2019-11-05T08:01:02.5-03:30",
            "2020-02-29T00:00:00Z",
            "2019-11-05T00:00:00.123456789Z",
            "2019-12-31T23:59:59.999999+00:00",
        ] {
            assert!(plain(text.as_bytes()).is_some(), "{text}");
            assert_eq!(plain(text.as_bytes()), by_chrono(text), "{text}");
        }
    }

    #[test]
    fn other_forms_of_rfc_3339_are_read_too_and_nothing_else() {
        for text in ["2016-12-31T23:59:60Z", "2019-11-05 08:01:02z", "2019-11-05t08:01:02.1234567890123Z"] {
            assert_eq!(plain(text.as_bytes()), None, "{text}");
            assert!(read_instant(text).is_some(), "{text}");
            assert_eq!(read_instant(text), by_chrono(text), "{text}");
        }
        for text in ["2019-02-29T00:00:00Z", "2019-11-05T24:00:00Z", "2019-11-05T08:01:02", "1969-12-31T23:59:59Z", "2019-11-05T08:01:02.Z"]
        {
            assert_eq!(read_instant(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_is_read_as_chrono_reads_it(
            text in "(19|20|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,11})?(Z|[+-][0-2][0-9]:[0-6][0-9])",
            damage in prop::option::weighted(0.3, (0usize..30, any::<char>())),
        ) {
            let mut text = text;
            if let Some((at, character)) = damage.filter(|(at, _)| *at < text.len()) {
                text.replace_range(at..=at, character.encode_utf8(&mut [0; 4]));
            }
            prop_assert_eq!(read_instant(&text), by_chrono(&text));
            prop_assert!(read_plain_instant(text.as_bytes()).is_none_or(|at| Some(at) == by_chrono(&text)));
        }
    }
}
