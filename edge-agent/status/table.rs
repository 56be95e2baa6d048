//! The status as text: Chinese and English, in columns that stand straight though Chinese characters are twice as wide.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::status::words::{self, Words};
use crate::status::{DeviceStatus, Status};

const LABEL_WIDTH: usize = 32;
const GAP: usize = 2;

pub(super) fn table(status: &Status) -> String {
    let mut out = String::new();
    head(status, &mut out);
    devices(status, &mut out);
    if status.troubles.is_empty() {
        out.push_str("\n一切正常  all is well\n");
    } else {
        let _ = writeln!(out, "\n有 {} 个问题  wrong: {}", status.troubles.len(), status.troubles.len());
        for trouble in &status.troubles {
            let place = if trouble.place.is_empty() { String::new() } else { format!("{} ", trouble.place) };
            let _ = writeln!(out, "- {place}[{}]\n    {}\n    {}", trouble.code, trouble.zh, trouble.en);
        }
    }
    out
}

fn head(status: &Status, out: &mut String) {
    let broker = &status.broker;
    line(out, ("网关", "gateway"), &status.gateway);
    line(out, ("软件版本", "version"), &status.version);
    let since = words::age(status.started_at, status.at);
    line(out, ("启动时间", "started"), &format!("{}（{}, {}）", words::time(status.started_at), since.0, since.1));
    line(out, ("时钟", "clock"), &format!("{}  {}", words::time(status.at), both(words::clock(status.clock_synchronised))));
    let address = broker.address.as_deref().unwrap_or("—");
    let since = broker.connected_since.map(|at| format!("  自 since {}", words::time(at))).unwrap_or_default();
    line(out, ("监测平台", "broker"), &format!("{}  {address}{since}", both(words::broker(broker.state))));
    if let Some(error) = &broker.last_error {
        let at = error.at.map(|at| format!("{}  ", words::time(at))).unwrap_or_default();
        line(out, ("最近连接错误", "last error"), &format!("{at}{}", error.zh));
        line(out, ("", ""), &error.en);
    }
    if let Some(spool) = &status.spool {
        let used = format!("{} / {}", words::bytes(spool.bytes), words::bytes(spool.bytes_max));
        line(out, ("待发报告", "reports waiting"), &format!("{}  {used}", spool.waiting));
        line(out, ("可断网时间", "hours left"), &words::hours(spool.hours_left));
        line(out, ("今日已确认", "acknowledged today"), &spool.acknowledged_today.to_string());
    }
    for standing in &status.standing {
        let as_of = standing.as_of.map_or_else(|| "—".into(), words::time);
        let counted = format!("{}/{} 台  {}  截至 as of {as_of}", standing.connected, standing.required, standing.voucher);
        line(out, ("今日计入", "counted today"), &counted);
    }
    if status.usage.configured {
        let counted = status.usage.lines_total.get("counted").copied().unwrap_or(0);
        let lines: u64 = status.usage.lines_total.values().sum();
        let future = status.usage.lines_total.get("future").copied().unwrap_or(0);
        let later = if future > 0 { format!("  晚于现在 of a time to come {future}") } else { String::new() };
        let taken = format!("POST {}  日志 log lines {counted}/{lines}{later}", status.usage.posted_total);
        line(out, ("产品使用", "product usage"), &taken);
    }
}

fn line(out: &mut String, label: Words, text: &str) {
    let label = if label.0.is_empty() { String::new() } else { both(label) };
    let _ = writeln!(out, "{}{text}", pad(&label, LABEL_WIDTH));
}

fn both((zh, en): Words) -> String {
    format!("{zh} {en}")
}

fn devices(status: &Status, out: &mut String) {
    let headers = ["设备 device", "最近读数 last read", "质量 quality", "状态 state", "耗时 ms", "错误 error"].map(str::to_string);
    let rows: Vec<[String; 6]> = std::iter::once(headers).chain(status.devices.iter().map(|device| row(device, status))).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    out.push('\n');
    for row in rows {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| pad(cell, width + GAP)).collect();
        out.push_str(cells.trim_end());
        out.push('\n');
    }
}

fn row(device: &DeviceStatus, status: &Status) -> [String; 6] {
    let none = || "—".to_string();
    let error = match &device.last_error {
        Some(error) if device.failing => format!("{} / {}", error.zh, error.en),
        _ if device.missing_points.is_empty() => String::new(),
        _ => {
            let (zh, en) = words::missing(&device.missing_points);
            format!("{zh} / {en}")
        }
    };
    [
        device.name.clone(),
        device.last_read_at.map_or_else(none, |at| format!("{} ({})", words::time(at), words::age(at, status.at).1)),
        words::device_quality(device).map_or_else(none, |(code, said)| format!("{code} {}", both(said))),
        device.state.as_ref().map_or_else(none, |word| both(words::state(word))),
        device.latency_ms.map_or_else(none, |ms| ms.to_string()),
        error,
    ]
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(crate) mod tests;
