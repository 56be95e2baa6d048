//! Device templates: the points and rules of common kinds of machines, so that a configuration names only what is its own.

use toml::{Table as TomlTable, Value as TomlValue};

use crate::device::{self, Device};
use crate::fault::{Fault, FaultCode};
use crate::simulate::Simulation;
use crate::table::Reader;

macro_rules! built_in {
    ($($id:literal,)*) => {
        /// The templates that come with the agent: their ids and texts.
        pub const TEMPLATES: &[(&str, &str)] = &[$(($id, include_str!(concat!("../config/templates/", $id, ".toml"))),)*];
    };
}

built_in! {
    "air-compressor",
    "boiler",
    "ceramic-kiln",
    "chiller",
    "cnc-gateway",
    "die-casting",
    "dust-collector",
    "energy-meter",
    "energy-meter-ct",
    "flow-meter",
    "injection-moulding",
    "inverter",
    "laser-cutter",
    "plc-delta-dvp",
    "plc-mitsubishi-fx5",
    "plc-s7-1200",
    "printing-press",
    "robot-cell",
    "smt-line",
    "stamping-press",
    "temperature-controller",
    "water-meter",
}

/// What only the configuration can say of a machine.
const KEYS_OF_THE_MACHINE: [&str; 4] = ["name", "address", "unit_id", "template"];

#[derive(Clone, Debug)]
pub struct Template {
    pub id: String,
    pub name: String,
    pub english: String,
    pub note: String,
    /// The keys of a `[[device]]`, without those that only the configuration can say.
    pub device: TomlTable,
    /// How the simulator moves the points; without it, it finds values by the rules.
    pub simulation: Option<Simulation>,
}

impl Template {
    /// The template of this id, or in the file of this path; a path contains a slash.
    pub fn find(named: &str) -> Result<Template, Vec<Fault>> {
        if let Some((_, text)) = TEMPLATES.iter().find(|(id, _)| *id == named) {
            return Template::read(named, text);
        }
        if !named.contains('/') {
            let known = TEMPLATES.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(", ");
            return Err(vec![Fault::new(
                FaultCode::TemplateUnknown,
                "template",
                format!("没有模板“{named}”；可用：{known}，或自己的模板文件的路径"),
                format!("there is no template `{named}`; known: {known}, or the path of a template file of your own"),
            )]);
        }
        let text = std::fs::read_to_string(named)
            .map_err(|error| vec![invalid(named, &format!("读不到文件：{error}"), &format!("cannot be read: {error}"))])?;
        Template::read(named, &text)
    }

    fn read(named: &str, text: &str) -> Result<Template, Vec<Fault>> {
        let table: TomlTable = text.parse().map_err(|error: toml::de::Error| {
            vec![invalid(named, &format!("不符合 TOML 语法：{error}"), &format!("not valid TOML: {error}"))]
        })?;
        let mut faults = Vec::new();
        let mut root = Reader::new("", table, &mut faults);
        let about = root.section("template").unwrap_or_default();
        let device = root.section("device").unwrap_or_default();
        let simulate = root.section("simulate");
        root.finish();
        let mut reader = Reader::new("template", about, &mut faults);
        let id = reader.required_text("id", "模板编号，如 energy-meter", "the id of the template, such as energy-meter");
        let name = reader.required_text("name", "中文名称", "the name in Chinese");
        let english = reader.required_text("english", "英文名称", "the name in English");
        let note = reader.text("note").unwrap_or_default();
        reader.finish();
        for key in KEYS_OF_THE_MACHINE.into_iter().filter(|key| device.contains_key(*key)) {
            faults.push(Fault::new(
                FaultCode::KeysConflict,
                format!("device.{key}"),
                "每台机器各不相同，只能写在配置的 [[device]] 中",
                "differs from machine to machine; it belongs in the [[device]] of the configuration",
            ));
        }
        let device_read = as_device(device.clone(), &mut faults);
        let simulation = simulate.and_then(|table| match table.try_into::<Simulation>() {
            Ok(simulation) => Some(simulation),
            Err(error) => {
                faults.push(Fault::new(FaultCode::ValueType, "simulate", error.to_string(), error.to_string()));
                None
            }
        });
        if let (Some(device), Some(simulation)) = (device_read, &simulation) {
            faults.extend(simulation.faults(&device.points));
        }
        if !faults.is_empty() {
            return Err(faults.iter().map(|fault| within(named, fault)).collect());
        }
        Ok(Template { id, name, english, note, device, simulation })
    }
}

/// Reads the template's device as if a configuration had named nothing else.
fn as_device(mut table: TomlTable, faults: &mut Vec<Fault>) -> Option<Device> {
    for key in KEYS_OF_THE_MACHINE {
        table.remove(key);
    }
    table.insert("name".into(), "SIM".into());
    table.insert("address".into(), "tcp://127.0.0.1".into());
    let mut found = Vec::new();
    let device = device::read(0, table, &mut found);
    faults.extend(found.into_iter().map(|fault| Fault { place: fault.place.replacen("device[0] (SIM)", "device", 1), ..fault }));
    device
}

fn invalid(named: &str, zh: &str, en: &str) -> Fault {
    Fault::new(FaultCode::TemplateInvalid, "template", format!("模板“{named}”：{zh}"), format!("the template `{named}`: {en}"))
}

fn within(named: &str, fault: &Fault) -> Fault {
    let Fault { code, place, zh, en } = fault;
    let code = code.name();
    invalid(named, &format!("{place} [{code}]：{zh}"), &format!("{place} [{code}]: {en}"))
}

/// Puts the template that a device names under it: the device's own keys go first, its own points stand beside the template's and
/// take the place of those of the same name.
pub(crate) fn apply(place: &str, mut device: TomlTable, faults: &mut Vec<Fault>) -> TomlTable {
    let Some(TomlValue::String(named)) = device.remove("template") else { return device };
    let template = match Template::find(&named) {
        Ok(template) => template,
        Err(found) => {
            faults.extend(found.into_iter().map(|fault| Fault { place: format!("{place}.{}", fault.place), ..fault }));
            return device;
        }
    };
    for (key, value) in template.device {
        match (device.get_mut(&key), value) {
            (Some(TomlValue::Array(own)), TomlValue::Array(given)) if key == "point" => {
                let mut points: Vec<TomlValue> = given.into_iter().filter(|point| !own.iter().any(|own| same_name(own, point))).collect();
                points.append(own);
                *own = points;
            }
            (Some(_), _) => {}
            (None, value) => {
                device.insert(key, value);
            }
        }
    }
    device
}

fn same_name(one: &TomlValue, other: &TomlValue) -> bool {
    let name = |point: &TomlValue| point.get("name").and_then(TomlValue::as_str).map(str::to_string);
    name(one) == name(other)
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
