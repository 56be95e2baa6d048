//! What to paste into the configuration.

use std::fmt::Write;
use std::path::PathBuf;

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
    if !best.is_empty() {
        bus(&mut out, address, settings);
    }
    out
}

/// What the connection needs beyond its address.
fn bus(out: &mut String, address: &Address, settings: &BusSettings) {
    let mut lines: Vec<String> = Vec::new();
    match address {
        Address::Rtu { .. } if *settings != BusSettings::default() => {
            let parity = Parity::ALL.iter().find(|(parity, _)| *parity == settings.parity).map_or("none", |(_, name)| name);
            lines.extend([
                format!("baud = {}", settings.baud),
                format!("parity = {}", quoted(parity)),
                format!("stop_bits = {}", settings.stop_bits),
            ]);
        }
        Address::Tls { .. } => {
            // The agent works in another directory than whoever probes.
            let file = |key: &str, path: &Option<PathBuf>| {
                let path = path.as_ref()?;
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                Some(format!("{key} = {}", quoted(&path.display().to_string())))
            };
            lines.extend(file("ca_file", &settings.ca_file));
            lines.extend(file("client_cert_file", &settings.client_cert_file));
            lines.extend(file("client_key_file", &settings.client_key_file));
            lines.extend(settings.server_name.as_ref().map(|name| format!("server_name = {}", quoted(name))));
        }
        _ => {}
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "\n[[bus]]\naddress = {}\n{}", quoted(&address.to_string()), lines.join("\n"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::point::Table;
    use crate::probe::expected::Expected;
    use crate::probe::find;
    use crate::probe::region::Region;

    /// What is printed for a machine of unit 0 that shows 230.1, as a configuration reads it.
    fn pasted(address: &str, settings: &BusSettings) -> Config {
        let region = Region::new(0, Table::Holding, 10, vec![0, 2301, 0]);
        let found = find::find(&[Expected::read("电压", "230.1").unwrap()], 0.005, &[region]);
        let printed = toml(&Address::read(address).unwrap(), settings, &found, |_| 125);
        let config = Config::read(&format!("[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n{printed}"), []);
        config.unwrap_or_else(|error| panic!("{error}\n{printed}"))
    }

    #[test]
    fn what_is_printed_for_unit_0_and_for_tls_is_a_configuration() {
        assert_eq!(pasted("tcp://h:502", &BusSettings::default()).devices[0].unit_id, 0);
        let settings = BusSettings { ca_file: Some("ca.pem".into()), ..BusSettings::default() };
        let config = pasted("tls://h:802", &settings);
        let ca_file = config.bus(&config.devices[0].address).ca_file;
        assert_eq!(ca_file, Some(std::env::current_dir().unwrap().join("ca.pem")), "as the agent finds it from elsewhere");
    }
}
