use super::*;
use crate::point::{Point, Table, ValueType, WordOrder};
use crate::report::State;
use crate::rule::{Rule, Test};

const SMALL: &str = r#"
[gateway]
id = "gw-1"
token = "secret"
[spool]
dir = "/tmp/spool"
"#;

/// Each as its place and what it says in English.
fn faults(text: &str) -> Vec<String> {
    let faults = Config::read(text, []).unwrap_err().faults;
    faults.iter().map(|fault| format!("{}: {}", fault.place, fault.en)).collect()
}

#[test]
fn the_example_file_is_loaded_and_shows_the_defaults() {
    let config = Config::read(include_str!("example.toml"), []).unwrap();
    assert_eq!(config.gateway.id, "gw-0001");
    assert_eq!(config.broker.addresses[0].to_string(), "mqtt://127.0.0.1:1883");
    assert_eq!(config.devices.len(), 2);
    let press = &config.devices[0];
    assert_eq!((press.address.to_string().as_str(), press.unit_id), ("tcp://192.168.1.20:502", 1));
    assert_eq!(
        press.points[0],
        Point {
            word_order: WordOrder::Cdab,
            unit: Some("kW".into()),
            min: Some(0.0),
            max: Some(200.0),
            ..Point::new("功率_kw", Table::Holding, 0, ValueType::F32)
        }
    );
    assert_eq!(press.rules, [(State::Running, Rule { point: "功率_kw".into(), test: Test::Above(0.5) })]);
    let small = Config::read(SMALL, []).unwrap();
    assert_eq!(format!("{:?} {:?}", config.broker, config.report), format!("{:?} {:?}", small.broker, small.report));
    assert_eq!(config.spool.bytes_max, small.spool.bytes_max);
}

#[test]
fn all_faults_are_found_at_once_and_say_what_to_do() {
    let found = faults(
        r#"
        colour = "red"
        [gateway]
        id = "gw 1"
        enterprise = "9144030070846113XX"
        [broker]
        url = "http://x"
        in_flight = 3
        [spool]
        bytes_max = "lots"
        [[device]]
        name = "SN-1"
        address = "192.168.1.20"
        running_when = { point = "kw", above = 1 }
        [[device.point]]
        name = "n"
        table = "register"
        address = 70000
        "#,
    );
    for expected in [
        "colour: this key is not known; known here: broker, bus, delivery, device, gateway, local, report, spool, usage",
        "gateway.id: `gw 1` must have",
        "gateway.token: is missing; set token",
        "gateway.enterprise: is not a unified social credit code",
        "broker.url: `http://x` must look like mqtt://HOST:PORT",
        "broker.in_flight: this key is not known; known here: acknowledge_timeout_s, ca_file,",
        "spool.dir: is missing; set it to",
        "spool.bytes_max: must be a whole number from 1048576",
        "device[0] (SN-1).address: `192.168.1.20` must look like tcp://HOST:PORT, rtu+tcp",
        "device[0] (SN-1).point[0].table: `register` is not known; write one of coil, discrete, input, holding",
        "device[0] (SN-1).point[0].address: must be a whole number from 0 to 65535",
        "device[0] (SN-1).running_when.point: `kw` is not a point of this device",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}\n in {found:#?}");
    }
}

#[test]
fn points_that_make_no_sense_are_refused() {
    let point = |lines: &str| {
        let text = format!("{SMALL}\n[[device]]\nname = \"SN-1\"\naddress = \"tcp://h\"\n[[device.point]]\nname = \"n\"\n{lines}");
        Config::read(&text, []).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(point("reference = \"40001\"\ntype = \"f32\"\nscale = 0.1"), Ok(()));
    for (lines, expected) in [
        ("table = \"coil\"\naddress = 1\ntype = \"u16\"", "holds one bit"),
        ("table = \"holding\"\naddress = 1\ntype = \"u16\"\nword_order = \"cdab\"", "there is one register only"),
        ("table = \"holding\"\naddress = 65535\ntype = \"u32\"", "no room for the other registers"),
        ("table = \"holding\"\naddress = 1\nreference = \"40001\"", "keep one of the two ways"),
        ("table = \"holding\"", "give either table and address"),
        ("reference = \"40001\"\nscale = 0", "would make every reading the same"),
    ] {
        let faults = point(lines).unwrap_err();
        assert!(faults.contains(expected), "{lines}: {faults}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_a_wrong_key_in_it_is_refused() {
    let env = |name: &str, value: &str| [(name.to_string(), value.to_string())];
    let config = Config::read(SMALL, env("SHANGYUN__REPORT__EVERY_S", "2.5")).unwrap();
    assert_eq!(config.report.every, Duration::from_millis(2500));
    assert_eq!(Config::read(SMALL, env("SHANGYUN__GATEWAY__TOKEN", "123456")).unwrap().gateway.token, Secret("123456".into()));
    assert!(Config::read(SMALL, env("SHANGYUN__GATEWAY__TOKENS", "1")).is_err());
    assert!(Config::read(SMALL, env("SHANGYUN__HTTP__LISTEN", "127.0.0.1:1")).is_ok());
}

#[test]
fn the_token_is_never_shown() {
    assert!(!format!("{:?}", Config::read(SMALL, []).unwrap()).contains("secret\""));
}

#[test]
fn relative_paths_are_those_of_the_configurations_directory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    std::fs::write(dir.path().join("keys/token"), "secret\n").unwrap();
    let template = crate::template::TEMPLATES.iter().find(|(id, _)| *id == "energy-meter").unwrap().1;
    std::fs::write(dir.path().join("own.toml"), template).unwrap();
    let text = "[gateway]\nid = \"g\"\ntoken_file = \"keys/token\"\nkey_file = \"/etc/k\"\n[broker]\nurl = \"mqtts://h\"\nca_file = \"ca.pem\"\n\
        [spool]\ndir = \"spool\"\n[[device]]\nname = \"a\"\naddress = \"tls://h:802\"\ntemplate = \"./own.toml\"\n\
        [[device]]\nname = \"b\"\naddress = \"tcp://h:502\"\ntemplate = \"energy-meter\"\n[[bus]]\naddress = \"tls://h:802\"\nca_file = \"bus.pem\"\n";
    let path = dir.path().join("edge.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.gateway.token.0, "secret");
    assert_eq!(config.gateway.key_file, Some("/etc/k".into()));
    assert_eq!((config.spool.dir, config.broker.ca_file), (dir.path().join("spool"), Some(dir.path().join("ca.pem"))));
    assert_eq!(config.buses.into_values().next().unwrap().ca_file, Some(dir.path().join("bus.pem")));
    assert_eq!(config.devices[0].points.len(), config.devices[1].points.len());
}
