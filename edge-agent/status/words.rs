//! The words of the page and the table, Chinese first.

use chrono::{DateTime, FixedOffset, Utc};

use crate::status::{BrokerState, DeviceStatus, MissingPoint};

/// In Chinese and in English.
pub(crate) type Words = (&'static str, &'static str);

/// Of a device's last entry. D may come from its own alarm, or from points that are missing: an address to correct is no fault of it.
pub(crate) fn device_quality(device: &DeviceStatus) -> Option<(&str, Words)> {
    let code = device.quality.as_deref()?;
    let points_missing = code == "D" && !device.missing_points.is_empty();
    Some((code, if points_missing { ("缺采集点", "points missing") } else { quality(code) }))
}

/// Which points are missing and why, those with the same cause together; in Chinese and in English.
pub(crate) fn missing<'p>(points: impl IntoIterator<Item = &'p MissingPoint>) -> (String, String) {
    let mut rest: Vec<&MissingPoint> = points.into_iter().collect();
    let (mut zh, mut en) = (Vec::new(), Vec::new());
    while let Some(first) = rest.first().copied() {
        let (alike, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|point| point.en == first.en);
        let places: Vec<String> = alike.iter().map(|point| format!("{} ({} {})", point.name, point.table, point.address)).collect();
        zh.push(format!("{}：{}", places.join("、"), first.zh));
        en.push(format!("{}: {}", places.join(", "), first.en));
        rest = others;
    }
    (zh.join("。"), en.join(". "))
}

pub(crate) fn quality(code: &str) -> Words {
    match code {
        "N" => ("正常", "normal"),
        "F" => ("停运", "stopped"),
        "M" => ("检修", "maintenance"),
        "S" => ("手工", "by hand"),
        "D" => ("故障", "fault"),
        "C" => ("校准", "calibration"),
        "T" => ("超限", "out of range"),
        "B" => ("通信故障", "no readings"),
        _ => ("未知", "unknown"),
    }
}

pub(crate) fn state(word: &str) -> Words {
    match word {
        "running" => ("运行", "running"),
        "idle" => ("空闲", "idle"),
        "stopped" => ("停机", "stopped"),
        "fault" => ("故障", "fault"),
        "offline" => ("离线", "offline"),
        _ => ("未知", "unknown"),
    }
}

pub(crate) fn broker(state: BrokerState) -> Words {
    match state {
        BrokerState::Live => ("在线", "live"),
        BrokerState::Backlog => ("在线，补传中", "live, catching up"),
        BrokerState::Offline => ("离线", "offline"),
    }
}

pub(crate) fn clock(synchronised: Option<bool>) -> Words {
    match synchronised {
        Some(true) => ("已同步", "synchronised"),
        Some(false) => ("未同步", "not synchronised"),
        None => ("无法判断是否同步", "cannot tell if synchronised"),
    }
}

/// As a clock on the factory's wall shows it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    match FixedOffset::east_opt(8 * 3600) {
        Some(shanghai) => at.with_timezone(&shanghai).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
    }
}

/// How long ago, in the largest unit that is no less than two of its kind.
pub(crate) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> (String, String) {
    let seconds = (now - at).num_seconds().max(0);
    let (count, zh, en) = match seconds {
        0..120 => (seconds, "秒", "s"),
        120..7_200 => (seconds / 60, "分钟", "min"),
        7_200..172_800 => (seconds / 3_600, "小时", "h"),
        _ => (seconds / 86_400, "天", "days"),
    };
    (format!("{count} {zh}前"), format!("{count} {en} ago"))
}

pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Beyond that nobody counts.
const HOURS_SHOWN_MAX: f64 = 9_999.0;

pub(crate) fn hours(hours: Option<f64>) -> String {
    match hours {
        None => "—".into(),
        Some(hours) if hours > HOURS_SHOWN_MAX => format!("> {HOURS_SHOWN_MAX:.0} h"),
        Some(hours) if hours < 10.0 => format!("{hours:.1} h"),
        Some(hours) => format!("{hours:.0} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::report::{Quality, State};

    #[test]
    fn every_quality_and_state_has_its_words() {
        assert!(Quality::ALL.iter().all(|code| quality(code.as_str()).0 != "未知"));
        assert!(State::ALL.iter().all(|word| state(word.as_str()).0 != "未知"));
    }

    #[test]
    fn times_are_those_of_the_factory_and_ages_are_short() {
        let at: DateTime<Utc> = "2019-11-04T23:59:00Z".parse().unwrap();
        assert_eq!(time(at), "2019-11-05 07:59:00");
        let ages = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|s| age(at, at + chrono::Duration::seconds(s)).1);
        assert_eq!(ages, ["0 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "47 h ago", "2 days ago"]);
        assert_eq!(age(at, at - chrono::Duration::seconds(5)).0, "0 秒前");
    }

    #[test]
    fn figures_are_shown_in_the_unit_that_fits() {
        assert_eq!([1023, 1024, 1_572_864].map(bytes), ["1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!([None, Some(9.94), Some(96.4), Some(1e6)].map(hours), ["—", "9.9 h", "96 h", "> 9999 h"]);
    }
}
