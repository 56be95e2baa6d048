//! What `simulate` prints: a configuration for the dry run, with all else as comments, so that the whole of it can be kept as a file.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use toml::{Table as TomlTable, Value as TomlValue};

use crate::bus::Address;
use crate::device::Device;
use crate::point::Point;
use crate::simulate::machine::Machine;
use crate::template::{TEMPLATES, Template};

pub fn list() -> String {
    let mut out = String::new();
    for (id, _) in TEMPLATES {
        let Ok(template) = Template::find(id) else { continue };
        let _ = writeln!(out, "{id:<24}{}  {}", template.name, template.english);
    }
    out
}

pub fn beginning(at: Option<DateTime<Utc>>) -> String {
    let mut out = String::from(
        "# 模拟设备。数值是编造的：只用于演练，绝不可上报为真实设备。按 Ctrl+C 结束。\n\
         # Simulated machines. Their values are invented: for dry runs, never to be reported as real. Ctrl+C ends them.\n\
         # 将以下全部内容存为 dry-run.toml，另开窗口执行 / keep all of this as dry-run.toml, and in another window:\n\
         #     shangyun-edge check --deep --config dry-run.toml\n\
         #\n",
    );
    if let Some(at) = at {
        let _ = writeln!(out, "# 时间停在 / the time stands still at {}", at.to_rfc3339());
    }
    out
}

/// Where a machine is served, and its points unless the machine before has the same.
pub fn device(address: &str, device: &Device, machine: &Machine, before: Option<&Device>) -> String {
    let mut out = String::new();
    let Device { name, unit_id, points, .. } = device;
    let (model, count) = (&machine.model, points.len());
    let _ = writeln!(out, "# {name}：{address}，单元号 / unit id {unit_id}，{model}，{count} 个采集点 / points");
    if matches!(device.address, Address::Tls { .. }) {
        let _ = writeln!(out, "#   此处不加密，证书须另行核对 / not encrypted here: certificates are another matter");
    }
    if before.is_some_and(|before| before.points == *points) {
        return out;
    }
    for Point { name, table, address, value_type, word_order, bit, unit, .. } in points {
        let what = match (table.holds_bits(), bit) {
            (true, _) => String::new(),
            (false, Some(bit)) => format!("bit {bit}"),
            (false, None) if value_type.quantity() == 1 => value_type.name().to_string(),
            (false, None) => format!("{} {}", value_type.name(), word_order.name()),
        };
        let unit = unit.as_ref().map(|unit| format!(" [{unit}]")).unwrap_or_default();
        let _ = writeln!(out, "#   {:<9}{address:>6}  {what:<12}{name}{unit}", table.name());
    }
    out
}

/// The last line of what is printed: from then on the machines answer.
pub const READY: &str = "# 已开始应答 / answering now\n";

/// Names no broker and no spool of a real installation: invented readings must not get there.
const SECTIONS: &str = r#"
[gateway]
id = "dry-run"
token = "dry-run"

[broker]
url = "mqtt://127.0.0.1:1883"

[spool]
dir = "/tmp/shangyun-edge-dry-run"

"#;

/// The configuration of a gateway that reads these devices, and the bus of a serial port whose speed is not the usual one.
pub fn config(device_tables: Vec<TomlTable>, bus: Option<TomlTable>) -> Result<String, toml::ser::Error> {
    let list = |tables: Vec<TomlTable>| TomlValue::Array(tables.into_iter().map(TomlValue::Table).collect());
    let mut root = TomlTable::new();
    root.insert("device".into(), list(device_tables));
    root.extend(bus.map(|bus| ("bus".to_string(), list(vec![bus]))));
    Ok(format!("{SECTIONS}{}", toml::to_string(&root)?))
}
