//! The picture of the window's days, drawn here as SVG; the page shows the same figures as a table.

use charts_rs::{BarChart, Series};
use policy::judge::DayPicture;

const FONTS: &str = "Noto Sans SC, Noto Sans CJK SC, PingFang SC, Microsoft YaHei, sans-serif";

/// What the bars show: devices where the row counts devices, otherwise people and function modules.
pub fn svg(days: &[DayPicture], per_device: bool) -> Option<String> {
    let figures =
        |name: &str, figure: fn(&DayPicture) -> u32| Series::new(name.into(), days.iter().map(|day| figure(day) as f32).collect());
    let series = if per_device {
        vec![figures("有计入读数的设备", |day| day.devices_counting), figures("有效日的设备", |day| day.devices_effective)]
    } else {
        vec![figures("使用人数", |day| day.users), figures("使用的功能模块", |day| day.function_modules)]
    };
    let mut chart = BarChart::new(series, days.iter().map(|day| day.day.format("%m-%d").to_string()).collect());
    chart.width = 960.0;
    chart.height = 280.0;
    chart.font_family = FONTS.into();
    // The chart's library fails only on fonts that it does not know how to measure; then the table alone is shown.
    let drawn = chart.svg().ok()?;
    Some(drawn.replacen("<svg ", "<svg role=\"img\" aria-labelledby=\"activity-title\" ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    #[test]
    fn the_drawing_needs_nothing_that_the_content_security_policy_forbids() {
        let day = NaiveDate::from_ymd_opt(2019, 11, 5).expect("a day");
        let picture = DayPicture {
            day,
            devices_counting: 3,
            devices_effective: 2,
            users: 0,
            function_modules: 0,
            connected: true,
            carrier_sessions: None,
        };
        let drawn = svg(&[picture], true).expect("a drawing");
        assert!(drawn.starts_with("<svg role=\"img\""));
        for forbidden in ["style=", "<style", "<script", "href", "url("] {
            assert!(!drawn.contains(forbidden), "{forbidden}");
        }
        assert!(drawn.contains("11-05"));
    }
}
