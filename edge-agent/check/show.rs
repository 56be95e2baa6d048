//! What `check` prints: Chinese first, English below, and what each point says now.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::{Finding, Findings};

pub(super) fn text(found: &Findings, deep: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (device, points) in by_device(found) {
        let _ = writeln!(out, "{device}");
        for (name, value, unit, place) in points {
            let _ = writeln!(out, "  {}{}{}{place}", padded(name, 20), padded(value, 16), padded(unit, 8));
        }
    }
    let (warnings, faults): (Vec<&Finding>, Vec<&Finding>) = found.findings.iter().partition(|finding| finding.warning);
    for (sign, findings) in [("✗", &faults), ("!", &warnings)] {
        for finding in findings {
            let _ = writeln!(out, "{sign} {}  [{}]\n    {}\n    {}", finding.place, finding.name, finding.zh, finding.en);
        }
    }
    for place in &found.untried {
        let _ = writeln!(out, "· {place}\n    未试：先解决上面的问题\n    not tried: mend what stands above first");
    }
    let _ = match (faults.len(), warnings.len()) {
        (0, 0) if deep => {
            writeln!(out, "✓ 一切正常：服务器可达，全部采集点可读\n  all is well: the broker is reachable, every point can be read")
        }
        (0, 0) => writeln!(
            out,
            "✓ 未发现问题；加 --deep 可试连服务器并逐点读取\n  no fault found; --deep also tries the broker and reads each point"
        ),
        (faults, warnings) => writeln!(out, "{faults} 个问题，{warnings} 个提醒 · faults: {faults}, warnings: {warnings}"),
    };
    out
}

type Row<'f> = (&'f str, &'f str, &'f str, String);

fn by_device(found: &Findings) -> Vec<(&str, Vec<Row<'_>>)> {
    let mut out: Vec<(&str, Vec<Row<'_>>)> = Vec::new();
    for point in &found.points {
        let row = (
            point.point.as_str(),
            point.value.as_deref().unwrap_or("—"),
            point.unit.as_deref().unwrap_or(""),
            format!("{} ({})", point.address, point.reference),
        );
        match out.last_mut() {
            Some((device, rows)) if *device == point.device => rows.push(row),
            _ => out.push((&point.device, vec![row])),
        }
    }
    out
}

/// Chinese characters take two columns of a terminal.
fn padded(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(text.width()).max(1);
    format!("{text}{}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_in_chinese_and_in_latin_letters() {
        assert_eq!(padded("功率_kw", 10), "功率_kw   ");
        assert_eq!(padded("power_kw", 10), "power_kw  ");
        assert_eq!(padded("a-name-that-is-too-long", 10), "a-name-that-is-too-long ");
    }
}
