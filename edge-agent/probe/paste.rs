//! What to paste into the configuration.

use std::fmt::Write;

use toml::Value;

use super::find::Found;
use super::score::Candidate;
use crate::bus::{Address, BusSettings, Parity};

/// The tables `[[device]]` and `[[bus]]` for what was found. `registers_max` says what one request may ask for, where that is less
/// than usual.
pub(super) fn toml(address: &Address, settings: &BusSettings, found: &[Found], registers_max: impl Fn(&Candidate) -> u16) -> String {
    let best: Vec<(&Found, &Candidate)> = found.iter().filter_map(|found| Some((found, &found.ranked.first()?.candidate))).collect();
    let mut unit_ids: Vec<u8> = best.iter().map(|(_, candidate)| candidate.unit_id).collect();
    unit_ids.sort_unstable();
    unit_ids.dedup();
    let mut out = String::new();
    for unit_id in unit_ids {
        let own = || best.iter().filter(|(_, candidate)| candidate.unit_id == unit_id);
        let name = format!("SN-{unit_id}");
        let _ = writeln!(out, "[[device]]\nname = {}   # 登记的设备编号 as declared for the voucher", quoted(&name));
        let _ = writeln!(out, "address = {}\nunit_id = {unit_id}", quoted(&address.to_string()));
        let most = own().map(|(_, candidate)| registers_max(candidate)).min().unwrap_or(125);
        if most < 125 {
            let _ = writeln!(out, "registers_max = {most}");
        }
        for (found, candidate) in own() {
            point(&mut out, &found.expected.name, candidate);
        }
    }
    if let Address::Rtu { .. } = address
        && *settings != BusSettings::default()
        && !best.is_empty()
    {
        let _ = writeln!(out, "\n[[bus]]\naddress = {}\nbaud = {}", quoted(&address.to_string()), settings.baud);
        let parity = Parity::ALL.iter().find(|(parity, _)| *parity == settings.parity).map_or("none", |(_, name)| name);
        let _ = writeln!(out, "parity = {}\nstop_bits = {}", quoted(parity), settings.stop_bits);
    }
    out
}

fn point(out: &mut String, name: &str, candidate: &Candidate) {
    let encoding = &candidate.encoding;
    let _ = writeln!(out, "\n[[device.point]]\nname = {}", quoted(name));
    let _ = writeln!(out, "table = {}\naddress = {}", quoted(candidate.table.name()), candidate.address);
    let _ = writeln!(out, "type = {}", quoted(encoding.value_type.name()));
    if encoding.multiword() || !encoding.bytes_usual() {
        let _ = writeln!(out, "word_order = {}", quoted(encoding.word_order.name()));
    }
    if encoding.scale.total_cmp(&1.0).is_ne() {
        let _ = writeln!(out, "scale = {}", encoding.scale);
    }
    if encoding.offset.total_cmp(&0.0).is_ne() {
        let _ = writeln!(out, "offset = {}", encoding.offset);
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_string()).to_string()
}
