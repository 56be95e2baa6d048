//! Device templates: the points and rules of common kinds of machines, so that a configuration names only what is its own.

use toml::{Table as TomlTable, Value as TomlValue};

use crate::fault::{Fault, FaultCode};

/// The templates that come with the agent: their ids and texts.
pub const TEMPLATES: &[(&str, &str)] = &[("energy-meter", include_str!("../config/templates/energy-meter.toml"))];

/// What a template says of a device, if there is one of this id.
pub fn device_of(id: &str) -> Option<TomlTable> {
    let (_, text) = TEMPLATES.iter().find(|(known, _)| *known == id)?;
    let table: TomlTable = text.parse().ok()?;
    table.get("device")?.as_table().cloned()
}

/// Puts the template that a device names under it: the device's own keys go first, its own points stand beside the template's and
/// take the place of those of the same name.
pub(crate) fn apply(place: &str, mut device: TomlTable, faults: &mut Vec<Fault>) -> TomlTable {
    let Some(TomlValue::String(id)) = device.remove("template") else { return device };
    let Some(template) = device_of(&id) else {
        let known = TEMPLATES.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(", ");
        faults.push(Fault::new(
            FaultCode::TemplateUnknown,
            format!("{place}.template"),
            format!("没有模板“{id}”；可用：{known}"),
            format!("there is no template `{id}`; known: {known}"),
        ));
        return device;
    };
    for (key, value) in template {
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
mod tests {
    use super::*;

    fn device(text: &str) -> crate::device::Device {
        let mut faults = vec![];
        let device = crate::device::read(0, text.parse().unwrap(), &mut faults);
        assert_eq!(faults, []);
        device.unwrap()
    }

    #[test]
    fn every_template_makes_a_device_without_a_fault() {
        for (id, text) in TEMPLATES {
            assert!(text.contains(&format!("id = \"{id}\"")), "{id}");
            let device = device(&format!("name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"{id}\""));
            assert!(!device.points.is_empty() && !device.rules.is_empty(), "{id}");
        }
    }

    #[test]
    fn what_the_device_says_itself_goes_before_the_template() {
        let own = device(
            "name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"energy-meter\"\npoll_ms = 500\n[[point]]\nname = \"功率_kw\"\ntable = \"holding\"\naddress = 7",
        );
        let plain = device("name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"energy-meter\"");
        assert_eq!(own.poll.as_millis(), 500);
        assert_eq!(own.points.len(), plain.points.len());
        let power: Vec<u16> = own.points.iter().filter(|point| &*point.name == "功率_kw").map(|point| point.address).collect();
        assert_eq!(power, [7]);
    }
}
