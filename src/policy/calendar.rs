//! Instants and days. A day is a calendar day in Asia/Shanghai, which has kept UTC+08:00 without summer time since 1991.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serializer};

pub type Instant = DateTime<Utc>;
pub type Day = NaiveDate;

const SHANGHAI_OFFSET_S: i32 = 8 * 3600;

pub fn shanghai() -> FixedOffset {
    FixedOffset::east_opt(SHANGHAI_OFFSET_S).expect("eight hours is a valid offset")
}

pub fn day_of(at: Instant) -> Day {
    at.with_timezone(&shanghai()).date_naive()
}

/// The clock hour 0..=23 in Asia/Shanghai.
pub fn hour_of(at: Instant) -> u8 {
    at.with_timezone(&shanghai()).hour() as u8
}

/// The first instant of a day.
pub fn day_start(day: Day) -> Instant {
    day.and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::seconds(i64::from(SHANGHAI_OFFSET_S))
}

/// The last instant of its minute: what is announced to the minute includes that minute (R9).
pub fn minute_end(at: Instant) -> Instant {
    let minute = at.timestamp_micros().div_euclid(60_000_000);
    DateTime::from_timestamp_micros(minute * 60_000_000 + 59_999_999).unwrap_or(at)
}

/// RFC 3339 with the offset `+08:00`, seconds, and as many places as needed.
pub fn show_instant(at: Instant) -> String {
    at.with_timezone(&shanghai()).to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// For sentences: `北京时间 2019-11-05 09:00:00`, with as many places as needed.
pub fn said_instant(at: Instant) -> String {
    format!("北京时间 {}", clock_of(at))
}

/// From one to the other, for sentences.
pub fn said_span(from: Instant, to: Instant) -> String {
    format!("北京时间 {} 至 {}", clock_of(from), clock_of(to))
}

fn clock_of(at: Instant) -> impl std::fmt::Display {
    at.with_timezone(&shanghai()).format("%Y-%m-%d %H:%M:%S%.f")
}

/// Years that are written with four digits in every zone; nothing outside is an instant or day of this programme.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// RFC 3339 with an offset, kept to the microsecond.
pub fn read_instant(text: &str) -> Option<Instant> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    DateTime::from_timestamp_micros(at.timestamp_micros()).filter(|at| YEARS.contains(&day_of(*at).year()))
}

/// `YYYY-MM-DD`, digits only.
pub fn read_day(text: &str) -> Option<Day> {
    let shaped = text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|day| shaped && YEARS.contains(&day.year()))
}

/// For `#[serde(with = "calendar::instant")]`.
pub mod instant {
    use super::*;

    pub fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_instant(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        let text = String::deserialize(deserializer)?;
        read_instant(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant with an offset"))
    }
}

/// For `#[serde(with = "calendar::instant_option")]`; the field also needs `default`.
pub mod instant_option {
    use super::*;

    pub fn serialize<S: Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => instant::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| read_instant(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant with an offset"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_shanghai() {
        let before = read_instant("2019-11-05T23:59:59.999999+08:00").unwrap();
        let after = read_instant("2019-11-05T16:00:00Z").unwrap();
        assert_eq!(day_of(before), read_day("2019-11-05").unwrap());
        assert_eq!(day_of(after), read_day("2019-11-06").unwrap());
        assert_eq!(hour_of(before), 23);
        assert_eq!(day_start(read_day("2019-11-06").unwrap()), after);
        assert_eq!(show_instant(after), "2019-11-06T00:00:00+08:00");
        assert_eq!(said_instant(after), "北京时间 2019-11-06 00:00:00");
        assert_eq!(said_span(before, after), "北京时间 2019-11-05 23:59:59.999999 至 2019-11-06 00:00:00");
    }

    #[test]
    fn what_could_not_be_written_with_four_digits_is_no_instant() {
        for text in ["9999-12-31T23:59:59Z", "9999-01-01T00:00:00+08:00", "0000-01-01T00:00:00Z", "1969-12-31T15:59:59Z"] {
            assert_eq!(read_instant(text), None, "{text}");
        }
        for text in ["9998-12-31T23:59:59+08:00", "1970-01-01T00:00:00+08:00"] {
            assert_eq!(show_instant(read_instant(text).unwrap()), text);
        }
    }

    #[test]
    fn a_day_is_written_in_ten_characters_only() {
        for text in ["2019-1-05", "9999-01-01", "+2019-11-05", "2019-02-29", "20191105", "2019-11-05 "] {
            assert_eq!(read_day(text), None, "{text}");
        }
    }
}
