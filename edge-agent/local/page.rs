//! The status page: server-made HTML for a technician with a browser, Chinese first.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use crate::status::words::{self, Words};
use crate::status::{BrokerState, DeviceStatus, Status};

pub(super) const STYLE: &str = include_str!("page.css");
const REFRESH_S: u32 = 10;

/// Text on its way into HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn both((zh, en): (&str, &str)) -> String {
    format!("{} <span lang=\"en\">{}</span>", escaped(zh), escaped(en))
}

pub(super) fn page(status: &Status) -> String {
    let gateway = escaped(&status.gateway);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"zh-CN\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{gateway} · 上云监测网关</title>\n\
         <link rel=\"stylesheet\" href=\"/page.css\">\n</head>\n<body>\n<header><h1>上云监测网关 <span lang=\"en\">edge gateway</span> <b>{gateway}</b></h1>\n\
         <p>{} {} · {}</p></header>\n<main>\n",
        both(("时钟", "clock")),
        words::time(status.at),
        both(words::clock(status.clock_synchronised)),
    );
    troubles(status, &mut out);
    out.push_str("<div class=\"cards\">\n");
    broker(status, &mut out);
    spool(status, &mut out);
    standing(status, &mut out);
    if status.usage.configured {
        usage(status, &mut out);
    }
    out.push_str("</div>\n");
    devices(status, &mut out);
    let _ = write!(
        out,
        "</main>\n<footer><p>{} {} · {} {} · <a href=\"/status.json\">status.json</a> · <a href=\"/metrics\">metrics</a></p></footer>\n</body>\n</html>\n",
        both(("软件版本", "version")),
        escaped(&status.version),
        both(("启动于", "started")),
        words::time(status.started_at),
    );
    out
}

fn troubles(status: &Status, out: &mut String) {
    if status.troubles.is_empty() {
        let _ = writeln!(out, "<section class=\"well\"><h2>{}</h2></section>", both(("一切正常", "all is well")));
        return;
    }
    let count = status.troubles.len();
    let _ = writeln!(out, "<section class=\"wrong\"><h2>有 {count} 个问题 <span lang=\"en\">{count} wrong</span></h2>\n<ul>");
    for trouble in &status.troubles {
        let place = if trouble.place.is_empty() { String::new() } else { format!("<b>{}</b> ", escaped(&trouble.place)) };
        let _ = writeln!(out, "<li>{place}{}<br><span lang=\"en\">{}</span></li>", escaped(&trouble.zh), escaped(&trouble.en));
    }
    out.push_str("</ul></section>\n");
}

/// A box with lines of label and text; the texts are HTML.
fn card(out: &mut String, title: Words, lines: &[(Words, String)]) {
    let _ = writeln!(out, "<section class=\"card\"><h2>{}</h2>\n<dl>", both(title));
    for (label, text) in lines {
        let _ = writeln!(out, "<dt>{}</dt><dd>{text}</dd>", both(*label));
    }
    out.push_str("</dl></section>\n");
}

fn moment(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let Some(at) = at else { return "—".into() };
    let (zh, en) = words::age(at, now);
    format!("{} <small>{}</small>", words::time(at), both((&zh, &en)))
}

fn broker(status: &Status, out: &mut String) {
    let broker = &status.broker;
    let class = if broker.state == BrokerState::Offline { "bad" } else { "good" };
    let mut lines = vec![
        (("状态", "state"), format!("<span class=\"{class}\">{}</span>", both(words::broker(broker.state)))),
        (("地址", "address"), escaped(broker.address.as_deref().unwrap_or("—"))),
        (("连接自", "connected since"), moment(broker.connected_since, status.at)),
        (("最近确认", "last acknowledged"), moment(broker.last_acknowledged_at, status.at)),
    ];
    if let Some(error) = &broker.last_error {
        lines.push((("最近错误", "last error"), format!("{}<br>{}", moment(error.at, status.at), both((&error.zh, &error.en)))));
    }
    card(out, ("监测平台连接", "broker"), &lines);
}

fn spool(status: &Status, out: &mut String) {
    let Some(spool) = &status.spool else {
        return card(
            out,
            ("本机暂存", "spool"),
            &[(("状态", "state"), format!("<span class=\"bad\">{}</span>", both(("读写失败", "disk errors"))))],
        );
    };
    let mut lines = vec![
        (("待发报告", "reports waiting"), spool.waiting.to_string()),
        (("可断网时间", "hours left"), words::hours(spool.hours_left)),
        (("占用", "used"), format!("{} / {}", words::bytes(spool.bytes), words::bytes(spool.bytes_max))),
        (("今日已确认", "acknowledged today"), spool.acknowledged_today.to_string()),
        (("留存备查", "kept as proof"), spool.kept.to_string()),
    ];
    if spool.waiting > 0 {
        lines.insert(1, (("最早一份", "oldest"), moment(spool.oldest_at, status.at)));
    }
    card(out, ("本机暂存", "spool"), &lines);
}

fn standing(status: &Status, out: &mut String) {
    let counted = status.standing.iter().map(|standing| {
        let class = if standing.connected >= standing.required { "good" } else { "short" };
        let text = format!(
            "<strong class=\"{class}\">{}/{}</strong> 台<br>{}",
            standing.connected,
            standing.required,
            moment(standing.as_of, status.at)
        );
        format!("<dt>服务券 <span lang=\"en\">voucher</span> {}</dt><dd>{text}</dd>\n", escaped(&standing.voucher))
    });
    let mut lines: String = counted.collect();
    if lines.is_empty() {
        lines = format!("<dt>{}</dt><dd>—</dd>", both(("平台尚未告知", "not yet said")));
    }
    let _ = writeln!(out, "<section class=\"card\"><h2>{}</h2>\n<dl>{lines}</dl></section>", both(("今日计入", "counted today")));
}

fn usage(status: &Status, out: &mut String) {
    let usage = &status.usage;
    let line = |outcome: &str| usage.lines_total.get(outcome).copied().unwrap_or(0);
    let all: u64 = usage.lines_total.values().sum();
    let lines = [
        (("提交的记录", "posted entries"), usage.posted_total.to_string()),
        (("日志行", "log lines"), format!("{} / {all}", line("counted"))),
        (("不匹配的行", "not matching"), line("unmatched").to_string()),
        (("未识别的模块", "unknown modules"), line("unknown_module").to_string()),
        (("时间晚于现在的行", "of a time to come"), line("future").to_string()),
        (("日志", "logs"), usage.logs.iter().map(|log| escaped(log)).collect::<Vec<_>>().join("<br>")),
    ];
    card(out, ("产品使用", "product usage"), &lines);
}

fn devices(status: &Status, out: &mut String) {
    let failing = status.devices.iter().filter(|device| device.failing).count();
    let incomplete = status.devices.iter().filter(|device| device.incomplete()).count();
    let reading = status.devices.iter().filter(|device| !device.failing && device.last_read_at.is_some()).count() - incomplete;
    let all = status.devices.len();
    let _ = writeln!(
        out,
        "<section><h2>{} {all}：<span class=\"good\">{reading} {}</span>，<span class=\"{}\">{incomplete} {}</span>，<span class=\"{}\">{failing} {}</span></h2>\n<div class=\"wide\"><table>\n<thead><tr>",
        both(("设备", "devices")),
        both(("有数据", "reading")),
        if incomplete > 0 { "short" } else { "none" },
        both(("缺采集点", "points missing")),
        if failing > 0 { "bad" } else { "none" },
        both(("无数据", "failing")),
    );
    let headers = [
        ("设备", "device"),
        ("最近读数", "last read"),
        ("质量", "quality"),
        ("状态", "state"),
        ("耗时", "latency"),
        ("地址", "address"),
        ("错误", "error"),
    ];
    for header in headers {
        let _ = write!(out, "<th scope=\"col\">{}</th>", both(header));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    // What needs a technician comes first.
    let mut devices: Vec<&DeviceStatus> = status.devices.iter().collect();
    devices.sort_by_key(|device| (!device.failing, !device.incomplete()));
    devices.into_iter().for_each(|device| row(device, status.at, out));
    out.push_str("</tbody>\n</table></div></section>\n");
}

fn row(device: &DeviceStatus, now: DateTime<Utc>, out: &mut String) {
    let quality = words::device_quality(device).map_or("—".into(), |(code, said)| format!("{} {}", escaped(code), both(said)));
    let class = if device.failing {
        "bad"
    } else if device.incomplete() {
        "short"
    } else if device.quality.as_deref() == Some("N") {
        "good"
    } else {
        "none"
    };
    let state = device.state.as_deref().map_or("—".into(), |word| both(words::state(word)));
    let error = match &device.last_error {
        Some(error) if device.failing => format!("{}<br><span lang=\"en\">{}</span>", escaped(&error.zh), escaped(&error.en)),
        _ if device.incomplete() => {
            let (zh, en) = words::missing(&device.missing_points);
            format!("{}<br><span lang=\"en\">{}</span>", escaped(&zh), escaped(&en))
        }
        Some(error) => format!("<small>{}：{}</small>", both(("已恢复", "over")), both((&error.zh, &error.en))),
        None => String::new(),
    };
    let _ = writeln!(
        out,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"{class}\">{quality}</td><td>{state}</td><td>{}</td><td>{} <small>单元 <span lang=\"en\">unit</span> {}</small></td><td>{error}</td></tr>",
        escaped(&device.name),
        moment(device.last_read_at, now),
        device.latency_ms.map_or("—".into(), |ms| format!("{ms} ms")),
        escaped(&device.address),
        device.unit_id,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{point_missing, well};

    #[test]
    fn what_names_hold_is_text_and_no_markup() {
        let mut status = well();
        status.gateway = "<script>".into();
        status.devices[0].name = "<img src=x onerror=alert(1)>\"'&".into();
        status.devices[0].failing = true;
        let page = page(&status);
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"));
    }

    #[test]
    fn failing_devices_come_first_and_say_why() {
        let mut status = well();
        status.devices[1].failing = true;
        status.devices[1].last_error = Some(crate::status::LastError { zh: "没有应答".into(), en: "no answer".into(), at: None });
        let page = page(&status);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("注塑机-2") < at("SN-0001"));
        assert!(page.contains("没有应答<br><span lang=\"en\">no answer</span>"));
        assert!(page.contains("<strong class=\"short\">41/67</strong> 台"));
    }

    #[test]
    fn a_missing_point_is_named_and_an_error_that_is_over_is_not_its_cause() {
        let mut status = point_missing();
        status.devices[0].last_error = Some(crate::status::LastError { zh: "没有应答".into(), en: "no answer".into(), at: None });
        let page = page(&status);
        assert!(page.contains("<td class=\"short\">D 缺采集点"), "{page}");
        assert!(page.contains("<td>功率_kw (holding 101)：设备答复异常码 2：地址不存在<br>"), "{page}");
        assert!(!page.contains("没有应答"), "{page}");
        assert!(page.contains("<span class=\"short\">1 缺采集点"), "{page}");
    }
}
