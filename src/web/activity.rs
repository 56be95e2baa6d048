//! The picture of the window's days, drawn here as SVG; the page shows the same figures as a table.

use charts_rs::{BarChart, Series};
use policy::judge::DayPicture;

/// The same two stand in the style sheet, for the legend.
const COLOURS: [&str; 2] = ["#5b8fd0", "#14703f"];
/// Steps of the axis; each stands for a whole number.
const AXIS_STEPS: u32 = 5;
const FONTS: &str = "Noto Sans SC, Noto Sans CJK SC, PingFang SC, Microsoft YaHei, sans-serif";

/// What the two bars of a day show, first and second: devices where the row counts devices, otherwise people and function modules.
pub fn legend(per_device: bool) -> [&'static str; 2] {
    if per_device { ["有计入读数的设备", "有效日的设备"] } else { ["使用人数", "使用的功能模块"] }
}

pub fn svg(days: &[DayPicture], per_device: bool) -> Option<String> {
    let figures: [fn(&DayPicture) -> u32; 2] =
        if per_device { [|day| day.devices_counting, |day| day.devices_effective] } else { [|day| day.users, |day| day.function_modules] };
    let series = legend(per_device)
        .into_iter()
        .zip(figures)
        .map(|(name, figure)| Series::new(name.into(), days.iter().map(|day| figure(day) as f32).collect()))
        .collect();
    let mut chart = BarChart::new(series, days.iter().map(|day| day.day.format("%m-%d").to_string()).collect());
    chart.width = 960.0;
    chart.height = 280.0;
    chart.font_family = FONTS.into();
    // The page writes the legend: the library cannot measure Chinese text.
    chart.legend.show = Some(false);
    chart.margin.top = 12.0;
    let unit = days.iter().flat_map(|day| figures.map(|figure| figure(day))).max().unwrap_or(0).div_ceil(AXIS_STEPS).max(1);
    for axis in &mut chart.y_axis_configs {
        (axis.min, axis.max, axis.split_number) = (Some(0.0), Some((unit * AXIS_STEPS) as f32), AXIS_STEPS as usize);
    }
    chart.series.colors = COLOURS.iter().map(|colour| (*colour).into()).collect();
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
