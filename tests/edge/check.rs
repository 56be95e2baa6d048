//! `shangyun-edge check`: each seeded fault is found by its name, and nothing else is blamed for it.
#![allow(clippy::unwrap_used)]

#[path = "../support/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "check/factory.rs"]
mod factory;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use certificates::{Authority, Wanted};
use edge::spool::{ReportKey, Spool};
use factory::{Broker, Factory, Gateway, vacant_port};

const MIB: u64 = 1 << 20;

/// Every seeded fault: its name, and what is spoilt.
type Cases<'a> = Vec<(&'static str, Box<dyn Fn(&mut Gateway) + 'a>)>;

fn case<'a>(cases: &mut Cases<'a>, name: &'static str, spoil: impl Fn(&mut Gateway) + 'a) {
    cases.push((name, Box::new(spoil)));
}

/// Each case leads to its own finding and to no other, and to the exit code that belongs to it.
fn each_is_found_alone(factory: &Factory, cases: Cases<'_>) {
    let base = factory.gateway().check();
    assert!(base.only_warnings() && base.exit_code == 0, "{:#}", base.json);
    let mut wrong = String::new();
    for (index, (name, spoil)) in cases.into_iter().enumerate() {
        let mut gateway = factory.gateway();
        spoil(&mut gateway);
        let said = gateway.check();
        let found: BTreeSet<String> = said.names().difference(&base.names()).cloned().collect();
        let exit_code = if name == "config_syntax" { 2 } else { i32::from(!said.only_warnings()) };
        let speaks = said.json["findings"].as_array().unwrap().iter().all(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap().to_string();
            !text("zh").is_ascii() && !text("en").is_empty() && !text("place").is_empty()
        });
        if found != BTreeSet::from([name.to_string()]) || said.exit_code != exit_code || !speaks {
            wrong.push_str(&format!("{index} {name}: exit code {}, found {found:?}\n", said.exit_code));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn faults_of_the_configuration() {
    let factory = Factory::new();
    let mut cases = Cases::new();
    for (name, from, to) in [
        ("config_syntax", "[gateway]", "[gateway"),
        ("key_unknown", "every_s = 60", "every_s = 60\nevry_s = 60"),
        ("key_unknown", "[[device]]", "[[devices]]\n[[device]]"),
        ("key_missing", "id = \"gw-1\"", ""),
        ("key_missing", "name = \"SN-1\"", ""),
        ("value_type", "id = \"gw-1\"", "id = 1"),
        ("value_range", "unit_id = 1", "unit_id = 256"),
        ("value_range", "bytes_max = 268435456", "bytes_max = 1"),
        ("value_range", "min = 0", "min = 500"),
        ("value_word", "type = \"f32\"", "type = \"float\""),
        ("keys_conflict", "table = \"holding\"\naddress = 0", "table = \"holding\"\naddress = 0\nreference = \"40001\""),
        ("keys_conflict", "token_file", "token = \"secret\"\ntoken_file"),
        ("name_invalid", "name = \"SN-1\"", "name = \"\""),
        ("gateway_id_invalid", "id = \"gw-1\"", "id = \"网关 1\""),
        ("enterprise_invalid", "91440300708461136T", "91440300708461136X"),
        ("placeholder_left", "id = \"gw-1\"", "id = \"change-me\""),
        ("file_unreadable", "/token\"", "/tokens\""),
        ("address_invalid", "mqtts://", "https://"),
        ("address_invalid", "tcp://", "udp://"),
        ("reference_invalid", "table = \"holding\"\naddress = 0", "reference = \"90001\""),
        ("register_beyond_end", "address = 0", "address = 65535"),
        ("points_overlap", "address = 2", "address = 1"),
        ("point_twice", "temperature_c", "电压_v"),
        ("point_unknown", "retries = 2", "retries = 2\nrunning_when = { point = \"功率\", above = 1 }"),
        ("scale_zero", "scale = 0.1", "scale = 0"),
        ("device_twice", "name = \"SN-2\"", "name = \"SN-1\""),
        ("template_unknown", "retries = 2", "retries = 2\ntemplate = \"no-such\""),
        ("bus_unused", "[[device]]", "[[bus]]\naddress = \"rtu+tcp://127.0.0.1:1\"\n[[device]]"),
    ] {
        case(&mut cases, name, move |gateway| gateway.replace(from, to));
    }
    case(&mut cases, "token_missing", |gateway| {
        let lines = gateway.config.lines().filter(|line| !line.starts_with("token_file") && !line.starts_with("client_"));
        gateway.config = lines.map(|line| format!("{line}\n")).collect();
    });
    case(&mut cases, "devices_missing", |gateway| gateway.config.truncate(gateway.config.find("[[device]]").unwrap()));
    case(&mut cases, "points_missing", |gateway| gateway.config.truncate(gateway.config.rfind("[[device.point]]").unwrap()));
    case(&mut cases, "points_too_many", |gateway| {
        for i in 0..300 {
            gateway.config.push_str(&format!("[[device.point]]\nname = \"p{i}\"\ntable = \"holding\"\naddress = {}\n", 100 + i));
        }
    });
    case(&mut cases, "unit_twice", |gateway| {
        gateway.replace_last("unit_id = 2", "unit_id = 1");
        gateway.replace_last(
            "address = 2\n",
            "address = 0\ntype = \"f32\"\n[[device.point]]\nname = \"t\"\ntable = \"holding\"\naddress = 2\n",
        );
    });
    case(&mut cases, "listen_not_loopback", |gateway| gateway.replace("listen = \"\"", "listen = \"0.0.0.0:8089\""));
    case(&mut cases, "template_unknown", |gateway| {
        gateway.config.truncate(gateway.config.rfind("[[device.point]]").unwrap());
        gateway.replace_last("unit_id = 2", "template = \"no-such\"");
    });
    case(&mut cases, "bus_twice", |gateway| {
        let bus = format!("[[bus]]\naddress = \"{}\"\n", gateway.machines_address());
        gateway.config.push_str(&bus);
        gateway.config.push_str(&bus);
    });
    each_is_found_alone(&factory, cases);
}

/// Three reports, spooled at this time.
fn fill(dir: &Path, now_ms: u64) {
    let mut spool = Spool::open(dir, 64 * MIB).unwrap();
    spool.tick(now_ms).unwrap();
    for seq in 1..=3 {
        let key = ReportKey { boot: "b1".into(), seq };
        let body = (0..400_u64).map(|i| (i * i * seq % 251) as u8).collect();
        spool.append_all(&[(key, body)]).unwrap();
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Turns a bit of the first report around.
fn damage_first_report(dir: &Path) {
    let segment = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "spool"));
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(segment, bytes).unwrap();
}

#[test]
fn faults_of_the_gateway_itself() {
    let factory = Factory::new();
    let mut cases = Cases::new();
    let mode = |gateway: &Gateway, name: &str, mode| fs::set_permissions(gateway.file(name), fs::Permissions::from_mode(mode)).unwrap();
    case(&mut cases, "key_file_open", move |gateway| mode(gateway, "gateway.key", 0o644));
    case(&mut cases, "token_open", move |gateway| mode(gateway, "token", 0o604));
    case(&mut cases, "token_open", move |gateway| {
        let file = format!("token_file = \"{}\"", gateway.file("token").display());
        gateway.replace(&file, "token = \"secret\"");
        fs::write(gateway.file("config.toml"), "").unwrap();
        mode(gateway, "config.toml", 0o644);
    });
    case(&mut cases, "key_file_invalid", |gateway| fs::write(gateway.file("gateway.key"), "garbage").unwrap());
    case(&mut cases, "file_unreadable", |gateway| fs::remove_file(gateway.file("gateway.key")).unwrap());
    case(&mut cases, "receipt_keys_invalid", |gateway| fs::write(gateway.file("keys.json"), "{}").unwrap());
    case(&mut cases, "certificate_invalid", |gateway| fs::write(gateway.file("ca.pem"), "not PEM").unwrap());
    let client = |serial, name: &'static str, years| {
        let authority = &factory.authority;
        move |gateway: &mut Gateway| {
            let wanted = Wanted { common_name: name, dns: &[], serial, years };
            let identity = authority.client(&gateway.file(""), wanted);
            for ending in ["pem", "key"] {
                fs::rename(identity.cert.with_extension(ending), gateway.file(&format!("client-10.{ending}"))).unwrap();
            }
        }
    };
    case(&mut cases, "certificate_expired", client(11, "gw-1", (2018, 2019)));
    case(&mut cases, "certificate_not_yet_valid", client(12, "gw-1", (2048, 2049)));
    case(&mut cases, "certificate_other_gateway", client(13, "gw-2", (2019, 2039)));
    case(&mut cases, "certificate_key_mismatch", |gateway| {
        let other = factory.authority.client(&gateway.file(""), Wanted::client("gw-1", 14));
        fs::rename(other.key, gateway.file("client-10.key")).unwrap();
    });
    case(&mut cases, "key_file_invalid", |gateway| fs::write(gateway.file("client-10.key"), "not PEM").unwrap());
    case(&mut cases, "token_missing", |gateway| {
        fs::write(gateway.file("token"), "\n").unwrap();
        let lines = gateway.config.lines().filter(|line| !line.starts_with("client_"));
        gateway.config = lines.map(|line| format!("{line}\n")).collect();
    });
    case(&mut cases, "spool_unusable", |gateway| {
        fs::remove_dir(gateway.file("spool")).unwrap();
        fs::write(gateway.file("spool"), "").unwrap();
    });
    case(&mut cases, "spool_damaged", |gateway| {
        fill(&gateway.file("spool"), now_ms());
        damage_first_report(&gateway.file("spool"));
    });
    case(&mut cases, "spool_marks_damaged", |gateway| {
        fill(&gateway.file("spool"), now_ms());
        fs::write(gateway.file("spool/marks.a"), "garbage").unwrap();
        fs::write(gateway.file("spool/marks.b"), "garbage").unwrap();
    });
    case(&mut cases, "reports_refused", |gateway| {
        fs::create_dir(gateway.file("spool/refused")).unwrap();
        fs::write(gateway.file("spool/refused/1.json"), "{}").unwrap();
    });
    case(&mut cases, "disk_space_short", |gateway| gateway.replace("268435456", "1099511627776"));
    case(&mut cases, "spool_small", |gateway| gateway.replace("268435456", "1048576"));
    case(&mut cases, "clock_wrong", |gateway| fill(&gateway.file("spool"), now_ms() + 3_600_000));
    if !Path::new("/run/systemd/timesync/synchronized").exists() {
        case(&mut cases, "clock_unsynchronised", |gateway| gateway.clock_says("no"));
        case(&mut cases, "clock_unknown", |gateway| gateway.clock_says("what?"));
    }
    case(&mut cases, "serial_port_missing", |gateway| gateway.second_machine_at("rtu:///dev/ttyUSB-absent"));
    case(&mut cases, "serial_port_unusable", |gateway| gateway.second_machine_at("rtu:///dev"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    case(&mut cases, "listen_taken", move |gateway| gateway.replace("listen = \"\"", &listen));
    case(&mut cases, "log_unreadable", |gateway| {
        fs::write(gateway.file("pseudonym.key"), "0123456789abcdef".repeat(4)).unwrap();
        mode(gateway, "pseudonym.key", 0o600);
        let (key, log) = (gateway.file("pseudonym.key"), gateway.file("absent.log"));
        gateway.config.push_str(&format!(
            "[usage]\npseudonym_key_file = \"{}\"\nproduct = \"P-1\"\n[[usage.log]]\nfile = \"{}\"\n\
             pattern = '^(?<at>\\S+) (?<user>\\S+) (?<function_module>\\S+)$'\n",
            key.display(),
            log.display()
        ));
    });
    each_is_found_alone(&factory, cases);
}

#[test]
fn faults_of_machines() {
    let factory = Factory::new();
    let mut cases = Cases::new();
    case(&mut cases, "device_unreachable", |gateway| gateway.second_machine_at(&format!("tcp://127.0.0.1:{}", vacant_port())));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    case(&mut cases, "device_silent", move |gateway| gateway.second_machine_at(&format!("tcp://127.0.0.1:{silent_port}")));
    let babbling = TcpListener::bind("127.0.0.1:0").unwrap();
    let babbling_port = babbling.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in babbling.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    case(&mut cases, "answer_wrong", move |gateway| gateway.second_machine_at(&format!("tcp://127.0.0.1:{babbling_port}")));
    case(&mut cases, "unit_silent", |gateway| gateway.replace_last("unit_id = 2", "unit_id = 9"));
    case(&mut cases, "unit_silent", |gateway| {
        gateway.replace("unit_id = 1", "unit_id = 8");
        gateway.replace("unit_id = 2", "unit_id = 9");
    });
    for (name, from, to) in [
        ("address_illegal", "address = 2", "address = 60"),
        ("function_illegal", "table = \"holding\"", "table = \"input\""),
        ("device_exception", "address = 2", "address = 40"),
        ("value_not_a_number", "address = 2", "address = 4\ntype = \"f32\""),
        ("word_order_doubtful", "address = 2", "address = 6\ntype = \"f32\""),
        ("value_out_of_range", "address = 2", "address = 2\nmax = 100"),
        ("values_all_zero", "address = 2", "address = 10\n[[device.point]]\nname = \"n\"\ntable = \"holding\"\naddress = 11"),
        ("device_slow", "unit_id = 2", "unit_id = 3\npoll_ms = 50"),
        ("serial_unconfirmed", "unit_id = 2", "unit_id = 2\nidentity = { serial = \"SN-2\" }"),
        (
            "serial_differs",
            "unit_id = 2",
            "unit_id = 2\nidentity = { serial = \"SN-2\" }\n\
             identity_point = [{ field = \"serial\", table = \"holding\", address = 20, quantity = 2 }]",
        ),
    ] {
        case(&mut cases, name, move |gateway| gateway.replace_last(from, to));
    }
    each_is_found_alone(&factory, cases);
}

#[test]
fn faults_on_the_way_to_the_broker() {
    let factory = Factory::new();
    let url = |port: u16| format!("mqtts://127.0.0.1:{port}");
    let expired = factory.broker_of("expired", 2, (2018, 2019), &["127.0.0.1"]);
    let early = factory.broker_of("early", 3, (2048, 2049), &["127.0.0.1"]);
    let elsewhere = factory.broker_of("elsewhere", 4, (2019, 2039), &["elsewhere.example"]);
    let plain = Broker::start(factory.dir.path(), "plain", "");
    let other = Authority::new("Other");
    let mut cases = Cases::new();
    case(&mut cases, "broker_not_admitted", |gateway| fs::write(gateway.file("token"), "guess").unwrap());
    case(&mut cases, "broker_connection_refused", |gateway| gateway.broker_at(&url(vacant_port())));
    case(&mut cases, "broker_name_unknown", |gateway| gateway.broker_at("mqtts://no-such-host.invalid"));
    case(&mut cases, "broker_ca_unknown", |gateway| {
        other.write(&gateway.file("ca.pem"));
    });
    case(&mut cases, "broker_certificate_expired", |gateway| gateway.broker_at(&url(expired.port)));
    case(&mut cases, "broker_certificate_not_yet_valid", |gateway| gateway.broker_at(&url(early.port)));
    case(&mut cases, "broker_name_mismatch", |gateway| gateway.broker_at(&url(elsewhere.port)));
    case(&mut cases, "broker_not_tls", |gateway| gateway.broker_at(&url(plain.port)));
    case(&mut cases, "client_certificate_refused", |gateway| {
        let lines = gateway.config.lines().filter(|line| !line.starts_with("client_"));
        gateway.config = lines.map(|line| format!("{line}\n")).collect();
    });
    each_is_found_alone(&factory, cases);
}

#[test]
fn everything_is_said_at_once() {
    let factory = Factory::new();
    let mut gateway = factory.gateway();
    fs::write(gateway.file("gateway.key"), "garbage").unwrap();
    fs::write(gateway.file("token"), "guess").unwrap();
    gateway.replace("every_s = 60", "evry_s = 60");
    gateway.replace("91440300708461136T", "91440300708461136X");
    gateway.replace("268435456", "1099511627776");
    gateway.replace("type = \"f32\"", "type = \"float\"");
    gateway.replace_last("address = 2\n", "address = 60\n");
    gateway.config.push_str(&format!(
        "[[device]]\nname = \"SN-3\"\naddress = \"tcp://127.0.0.1:{}\"\n[[device.point]]\nname = \"n\"\ntable = \"holding\"\naddress = 0\n",
        vacant_port()
    ));
    let said = gateway.check();
    let expected = [
        "address_illegal",
        "broker_not_admitted",
        "device_unreachable",
        "disk_space_short",
        "enterprise_invalid",
        "key_file_invalid",
        "key_unknown",
        "value_word",
    ];
    assert_eq!(said.names(), expected.map(String::from).into(), "{:#}", said.json);
    assert_eq!(said.exit_code, 1);
}

#[test]
fn a_technician_reads_values_in_columns_and_faults_in_two_languages() {
    let factory = Factory::new();
    let mut gateway = factory.gateway();
    let text = |gateway: &Gateway| String::from_utf8(gateway.command().output().unwrap().stdout).unwrap();
    let sound = text(&gateway);
    let values = "SN-1\n  电压_v              230.1           V       holding 0 (40001)\n  temperature_c       21.5                    holding 2 (40003)\nSN-2\n  功率_kw             215                     holding 2 (40003)\n";
    assert!(sound.starts_with(values), "{sound}");
    gateway.replace_last("address = 2", "address = 60");
    let spoilt = text(&gateway);
    let fault = "✗ device (SN-2).point (功率_kw)  [address_illegal]\n    设备没有 holding 地址 60（40061）；请核对地址是从 0 还是从 1 起\n    the device has no holding address 60 (40061); check whether addresses count from 0 or 1\n";
    assert!(spoilt.contains(fault) && spoilt.contains("功率_kw             —"), "{spoilt}");
    assert!(spoilt.lines().last().unwrap().starts_with("1 个问题"), "{spoilt}");
}

#[test]
fn without_a_configuration_there_is_nothing_to_check() {
    let factory = Factory::new();
    let gateway = factory.gateway();
    let mut command = gateway.command();
    fs::remove_file(gateway.file("config.toml")).unwrap();
    let said = factory::said(&mut command);
    assert_eq!((said.exit_code, said.names()), (2, BTreeSet::from(["config_unreadable".to_string()])));
}

#[test]
fn checking_changes_nothing() {
    let factory = Factory::new();
    let mut gateway = factory.gateway();
    fs::remove_dir(gateway.file("spool")).unwrap();
    assert_eq!(gateway.check().exit_code, 0);
    assert!(!gateway.file("spool").exists(), "it would be of the user who checks, and not of the agent's");
    let mut spool = Spool::open(&gateway.file("spool"), 64 * MIB).unwrap();
    spool.append_all(&[(ReportKey { boot: "b1".into(), seq: 1 }, b"{}".to_vec())]).unwrap();
    let files = |gateway: &Gateway| {
        let dir = fs::read_dir(gateway.file("spool")).unwrap().map(|entry| entry.unwrap());
        dir.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect::<BTreeSet<_>>()
    };
    let before = files(&gateway);
    gateway.second_machine_at("rtu:///dev/ttyUSB-absent");
    let said = gateway.check();
    assert_eq!(
        (said.exit_code, said.names().contains("agent_running")),
        (0, true),
        "serial ports are the running agent's: {:#}",
        said.json
    );
    assert_eq!(files(&gateway), before);
    assert!(spool.read(0).unwrap().is_some());
    drop(spool);
    assert!(gateway.check().names().contains("serial_port_missing"));
}

#[test]
fn a_machine_that_refuses_beside_a_running_agent_may_have_only_the_one_connection() {
    let factory = Factory::new();
    let mut gateway = factory.gateway();
    gateway.second_machine_at(&format!("tcp://127.0.0.1:{}", vacant_port()));
    let says_so = |gateway: &Gateway| {
        let said = gateway.check();
        assert!(said.names().contains("device_unreachable"), "{:#}", said.json);
        said.json.to_string().contains("the device may admit one connection only")
    };
    assert!(!says_so(&gateway));
    let running = Spool::open(&gateway.file("spool"), 64 * MIB).unwrap();
    assert!(says_so(&gateway));
    drop(running);
    assert!(!says_so(&gateway));
}
