//! What is told to the technician: Chinese first, then English.

use std::fmt::Write;
use std::ops::Range;

use super::expected::Expected;
use super::find::{Found, Ranked};
use super::scan::{Stop, TableScan};
use super::survey::{Survey, cut_short};
use crate::modbus::ReadTrouble;

/// So many registers stand on a line, and so many lines are shown of a table.
const ON_A_LINE: u32 = 8;
const LINES_MAX: usize = 60;

pub(super) fn map(survey: &Survey) -> String {
    let mut out = String::new();
    let units = &survey.units;
    if units.any {
        let _ = writeln!(out, "任何单元号都得到同样的应答；以下按单元号 {} 读取", units.present[0]);
        let _ = writeln!(out, "every unit id is answered alike; unit id {} is read below", units.present[0]);
    } else {
        let ids: Vec<String> = units.present.iter().map(u8::to_string).collect();
        let _ = writeln!(out, "应答的单元号 unit ids that answer: {}", ids.join(", "));
    }
    for &unit_id in &units.present {
        let scans: Vec<&TableScan> = survey.scans.iter().filter(|scan| scan.unit_id == unit_id).collect();
        let _ = writeln!(out, "\n单元号 unit id {unit_id}");
        if let Some((_, objects)) = survey.identities.iter().find(|(identified, _)| *identified == unit_id) {
            let texts: Vec<String> = objects.iter().filter(|(_, text)| !text.is_empty()).map(|(_, text)| text.clone()).collect();
            let _ = writeln!(out, "  身份 identity (43/14): {}", texts.join(" · "));
        }
        for scan in scans {
            table(&mut out, scan);
        }
    }
    match cut_short(&survey.scans) {
        Some(Stop::Spent) => {
            out += "\n已到请求次数或时间的上限，可能还有未找到的范围；用 --unit-id、--table、--from、--to 缩小范围\n";
            out += "the limit of requests or time was reached, ranges may be missing; narrow the search with --unit-id, --table, --from, --to\n";
        }
        Some(Stop::Unreachable(why)) => {
            let why = ReadTrouble::from(why.clone());
            let _ = writeln!(out, "\n设备中途不再接受连接：{}\nthe device stopped accepting connections: {}", why.zh(), why.en());
        }
        _ if survey.settled => {
            out += "\n期望值均已找到，未再查找其余地址\nall expected values are found; the remaining addresses were not searched\n";
        }
        _ => {}
    }
    out
}

fn table(out: &mut String, scan: &TableScan) {
    let ranges = scan.ranges();
    let name = scan.table.name();
    if ranges.is_empty() {
        let (zh, en) = if scan.stop == Some(Stop::NoTable) {
            ("不支持此表", "not supported")
        } else {
            ("未找到可读地址", "nothing readable found")
        };
        let _ = writeln!(out, "  {name}: {zh} {en}");
        return;
    }
    let _ = write!(out, "  {name}:");
    for range in &ranges {
        let last = range.end - 1;
        let _ = write!(out, " {}–{last} ({}–{})", range.start, scan.table.reference(range.start), scan.table.reference(last));
    }
    out.push('\n');
    if scan.limited {
        let most = scan.quantity_max();
        let _ = writeln!(out, "    一次最多读 {most} 个 at most {most} in one request");
    }
    let lines: Vec<Range<u32>> = ranges.iter().flat_map(|range| lines(scan, range)).collect();
    for line in lines.iter().take(LINES_MAX) {
        let words: Vec<String> = scan.words(line.clone()).iter().map(u16::to_string).collect();
        let _ = writeln!(out, "    {:>5} ({:>6}): {}", line.start, scan.table.reference(line.start), words.join(" "));
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        let _ = writeln!(out, "    …另有 {more} 行 and {more} more lines");
    }
}

/// Lines of the range that hold anything but zeros.
fn lines(scan: &TableScan, range: &Range<u32>) -> Vec<Range<u32>> {
    let starts = range.clone().step_by(ON_A_LINE as usize);
    let line = |start: u32| start..(start + ON_A_LINE).min(range.end);
    starts.map(line).filter(|line| scan.words(line.clone()).iter().any(|word| *word != 0)).collect()
}

pub(super) fn found(found: &Found) -> String {
    let Expected { name, value, decimals } = &found.expected;
    let mut out = format!("\n{name} = {value:.*}\n", usize::from(*decimals));
    if found.expected.digits() < 3 {
        out +=
            "  位数太少，容易巧合；请给出至少三位数字的值 few digits are easily met by chance; give a value with three digits at least\n";
    }
    let Some(best) = found.ranked.first() else {
        out += "  没有可信的位置；再看一次显示值，或放宽 --tolerance\n";
        out += "  no plausible place; read the display again, or widen --tolerance\n";
        return out;
    };
    for (place, ranked) in found.ranked.iter().enumerate() {
        let same = place > 0 && best.candidate.reads_the_same_as(&ranked.candidate);
        let mark = if same { " 现在相同 same now" } else { "" };
        let _ = writeln!(out, "  {}. {}{mark}", place + 1, candidate(ranked));
    }
    if let Some(signed) = best.candidate.signed_alike {
        let (plain, signed) = (best.candidate.encoding.value_type.name(), signed.name());
        let _ = writeln!(out, "  值为正，分不清 {plain} 与 {signed}；可能为负时请写 {signed}");
        let _ = writeln!(out, "  {plain} and {signed} read alike while the value is positive; write {signed} if it can be negative");
    }
    if found.ranked[1..].iter().any(|other| best.candidate.reads_the_same_as(&other.candidate)) {
        out += "  标有“现在相同”的写法只在空寄存器上不同；值变大后请再核对一次\n";
        out += "  what is marked `same now` differs in empty registers only; check again when the value has grown\n";
    }
    out
}

fn candidate(ranked: &Ranked) -> String {
    let candidate = &ranked.candidate;
    let encoding = &candidate.encoding;
    let mut out = format!(
        "单元 unit {} {} {} ({}) {}",
        candidate.unit_id,
        candidate.table.name(),
        candidate.address,
        candidate.table.reference(candidate.address),
        encoding.value_type.name(),
    );
    if encoding.multiword() || !encoding.bytes_usual() {
        let _ = write!(out, " {}", encoding.word_order.name());
    }
    if encoding.scale.total_cmp(&1.0).is_ne() {
        let _ = write!(out, " ×{}", encoding.scale);
    }
    if encoding.offset.total_cmp(&0.0).is_ne() {
        let _ = write!(out, " {:+}", encoding.offset);
    }
    let _ = write!(out, " = {}", rounded(candidate.value));
    let _ = write!(out, "  [{:.0} %]", 100.0 * ranked.share);
    let evidence = &candidate.evidence;
    let mut why: Vec<&str> = Vec::new();
    if evidence.structure > -0.7 {
        why.push("相邻寄存器相符 neighbours fit");
    }
    if evidence.moved {
        why.push("在变动 moves");
    }
    if evidence.later < -2.0 {
        why.push("随后偏离 leaves the value");
    }
    if !why.is_empty() {
        let _ = write!(out, " {}", why.join(", "));
    }
    out
}

/// Without the digits that binary fractions add.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}
