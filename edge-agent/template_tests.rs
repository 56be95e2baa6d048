use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};

use super::*;
use crate::point::{ValueType, WordOrder};
use crate::report::{Quality, State};
use crate::simulate::{Machine, Phase};

fn device(text: &str) -> Device {
    let mut faults = vec![];
    let device = device::read(0, text.parse().unwrap(), &mut faults);
    assert_eq!(faults, []);
    device.unwrap()
}

fn named(id: &str) -> Device {
    device(&format!("name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"{id}\""))
}

fn begin() -> DateTime<Utc> {
    "2026-01-05T08:00:00+08:00".parse().unwrap()
}

#[test]
fn every_template_makes_a_device_without_a_fault_and_says_what_it_is() {
    for (id, _) in TEMPLATES {
        let template = Template::find(id).unwrap_or_else(|faults| panic!("{id}: {faults:?}"));
        assert_eq!(template.id, *id);
        assert!(!template.name.is_ascii() && template.english.is_ascii() && !template.note.is_ascii(), "{id}");
        let device = named(id);
        assert!(!device.points.is_empty() && !device.rules.is_empty() && template.simulation.is_some(), "{id}");
        for point in &device.points {
            let simulation = template.simulation.as_ref().unwrap();
            assert!(simulation.points.contains_key(&*point.name), "{id}: nothing moves {}", point.name);
        }
    }
}

#[test]
fn every_file_of_the_directory_is_a_template() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/templates");
    let files: BTreeSet<String> =
        std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, TEMPLATES.iter().map(|(id, _)| format!("{id}.toml")).collect::<BTreeSet<_>>());
}

#[test]
fn all_templates_together_use_every_type_and_word_order() {
    let points: Vec<_> = TEMPLATES.iter().flat_map(|(id, _)| named(id).points).collect();
    for (value_type, name) in ValueType::ALL {
        assert!(points.iter().any(|point| point.value_type == value_type), "{name}");
    }
    for (order, name) in WordOrder::ALL {
        assert!(points.iter().any(|point| point.word_order == order && point.value_type.quantity() > 1), "{name}");
    }
    for (table, name) in crate::point::Table::ALL {
        assert!(points.iter().any(|point| point.table == table), "{name}");
    }
}

/// Over one cycle a simulated machine is in every state that its rules know, and has the quality that belongs to each phase.
#[test]
fn over_a_cycle_every_state_and_quality_that_a_template_knows_occurs() {
    for (id, _) in TEMPLATES {
        let device = named(id);
        let template = Template::find(id).unwrap();
        let machine = Machine::new(&device, template.simulation.as_ref(), id, 3);
        let (mut states, mut qualities) = (BTreeSet::new(), BTreeSet::new());
        for second in 0..machine.cycle_ms() / 1000 {
            let at = begin() + Duration::seconds(second);
            let (values, phase) = (machine.values(at), machine.phase(at));
            let (state, quality) = (device.state(&values).unwrap(), device.quality(&values));
            let expected = Phase::STATES.into_iter().find(|(of, _)| *of == phase);
            if let Some((_, expected)) = expected {
                assert_eq!((state, quality), (expected, Quality::Normal), "{id} {phase:?} {at}: {values:?}");
            }
            states.insert(format!("{state:?}"));
            qualities.insert(format!("{quality:?}"));
        }
        let mut known: BTreeSet<String> = device.rules.iter().map(|(state, _)| format!("{state:?}")).collect();
        known.insert(format!("{:?}", State::Idle));
        assert_eq!(states, known, "{id}");
        let mut known: BTreeSet<String> = device.quality_rules.iter().map(|(quality, _)| format!("{quality:?}")).collect();
        known.insert(format!("{:?}", Quality::Normal));
        assert_eq!(qualities, known, "{id}");
    }
}

#[test]
fn what_the_device_says_itself_goes_before_the_template() {
    let own = device(
        "name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"energy-meter\"\npoll_ms = 500\n[[point]]\nname = \"功率_kw\"\ntable = \"holding\"\naddress = 7",
    );
    let plain = named("energy-meter");
    assert_eq!(own.poll.as_millis(), 500);
    assert_eq!(own.points.len(), plain.points.len());
    let power: Vec<u16> = own.points.iter().filter(|point| &*point.name == "功率_kw").map(|point| point.address).collect();
    assert_eq!(power, [7]);
}

#[test]
fn a_template_of_ones_own_stands_in_a_file_that_the_device_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let own = r#"
        template = { id = "oven", name = "烘箱", english = "oven" }
        device = { running_when = { point = "温度", above = 80 }, point = [{ name = "温度", table = "input", address = 3 }] }"#;
    std::fs::write(&file, own).unwrap();
    let device = named(file.path().to_str().unwrap());
    assert_eq!((&*device.points[0].name, device.points[0].address), ("温度", 3));
}

/// (what is changed in a sound template, what the fault says)
const WRONG: &[(&str, &str, &str)] = &[
    ("name = \"烘箱\"", "", "template.name [key_missing]"),
    ("address = 3", "adress = 3", "device.point[0].adress [key_unknown]"),
    ("point = \"温度\", above", "point = \"湿度\", above", "device.running_when.point [point_unknown]"),
    ("[device]", "[device]\nunit_id = 7", "device.unit_id [keys_conflict]"),
    ("[device]", "[devices]", "devices [key_unknown]"),
    ("[[device.point]]", "[[device.point]]\n\n", "not valid TOML"),
    ("s = 60", "s = 0", "simulate.cycle [value_range]"),
    ("running = [70, 90]", "runing = [70, 90]", "simulate [value_type]"),
    ("running = [70, 90]", "true_in = [\"running\"]", "simulate.points.温度 [value_range]"),
    ("\"温度\" = { running", "\"湿度\" = { running", "simulate.points.湿度 [value_range]"),
];

const SOUND: &str = r#"
[template]
id = "oven"
name = "烘箱"
english = "oven"
[device]
running_when = { point = "温度", above = 60 }
[[device.point]]
name = "温度"
table = "input"
address = 3
[simulate]
cycle = [{ phase = "running", s = 60 }, { phase = "idle", s = 30 }]
points = { "温度" = { running = [70, 90], otherwise = 20 } }
"#;

#[test]
fn faults_of_a_template_are_told_with_their_place_in_it() {
    assert!(Template::read("oven.toml", SOUND).is_ok());
    for (from, to, said) in WRONG {
        let text = if *said == "not valid TOML" { SOUND.replace(from, "[[device.point") } else { SOUND.replace(from, to) };
        assert_ne!(text, SOUND, "{from}");
        let faults = Template::read("oven.toml", &text).unwrap_err();
        assert!(faults.iter().all(|fault| fault.code == FaultCode::TemplateInvalid), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.en.contains(said) && fault.zh.contains("oven.toml")), "{said}: {faults:?}");
    }
}

#[test]
fn a_template_that_is_not_there_is_named_at_the_device() {
    let fault = |named: &str| {
        let mut faults = vec![];
        device::read(4, format!("name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"{named}\"").parse().unwrap(), &mut faults);
        faults.into_iter().find(|fault| fault.place == "device[4] (SN-1).template").unwrap().code
    };
    assert_eq!(fault("energy-metre"), FaultCode::TemplateUnknown);
    assert_eq!(fault("/nowhere/oven.toml"), FaultCode::TemplateInvalid);
}
