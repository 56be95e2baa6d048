//! `shangyun-edge simulate`: each template's machine is read by pymodbus and by the agent's own means, and both read what it means.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use edge::Config;
use edge::bus::{Address, BusSettings};
use edge::device::Device;
use edge::modbus::{Answer, Connection, ReadRequest};
use edge::point::{Point, Value, ValueType};
use edge::requests::requests;
use edge::simulate::{Machine, Phase};
use edge::template::{TEMPLATES, Template};
use serde_json::Value as Json;
use support::{AGENT, Kept, succeed, wait_for};
use tempfile::TempDir;

const SEED: u64 = 7;

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn python(script: &str) -> Command {
    let mut command = Command::new(workspace().join("target/test-venv/bin/python"));
    command.arg(workspace().join("tests/edge").join(script));
    command
}

/// The simulator, and what it has printed: a configuration.
struct Simulator {
    process: Kept,
    printed: String,
}

impl Simulator {
    fn start(arguments: &[&str]) -> Simulator {
        let mut process = Kept::start(Command::new(AGENT).arg("simulate").args(arguments).stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        while !printed.ends_with("answering now\n") {
            let line = lines.next().unwrap_or_else(|| panic!("{arguments:?} ended after: {printed}")).unwrap();
            printed += &format!("{line}\n");
        }
        Simulator { process, printed }
    }

    fn config(&self) -> Config {
        Config::read(&self.printed, []).unwrap()
    }

    fn keep(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, &self.printed).unwrap();
        path
    }
}

/// By device: the value of each point.
type Read = BTreeMap<String, BTreeMap<String, Json>>;

fn read_by_pymodbus(configs: &[PathBuf]) -> Vec<Read> {
    let templates = workspace().join("config/templates");
    serde_json::from_str(&succeed(python("read_points.py").arg(templates).args(configs))).unwrap()
}

/// As the agent asks and decodes.
fn read_by_agent(device: &Device) -> Vec<(Arc<str>, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(5);
        let mut connection = Connection::open(&device.address, &BusSettings::default(), limit).await.unwrap();
        let mut readings = vec![];
        for request in requests(&device.points, &device.limits) {
            let (table, address, quantity) = (request.table, request.address, request.quantity);
            let answer = connection.read(device.unit_id, &ReadRequest::Values { table, address, quantity }, limit).await.unwrap();
            let Answer::Block(block) = answer else { panic!("{answer:?}") };
            for (index, start) in request.points {
                let point = &device.points[index];
                readings.push((index, point.name.clone(), point.decode(&block, start).unwrap()));
            }
        }
        readings.sort_by_key(|(index, ..)| *index);
        readings.into_iter().map(|(_, name, value)| (name, value)).collect()
    })
}

/// Half of the smallest step of the registers, or what a 32-bit float leaves out.
fn tolerance(point: &Point, meant: f64) -> f64 {
    match point.value_type {
        ValueType::F32 => 1e-6 * meant.abs() + 1e-9,
        ValueType::F64 => 1e-9 * meant.abs(),
        _ => 0.5001 * point.scale.abs() + 1e-9 * meant.abs(),
    }
}

fn same(point: &Point, read: &Json, meant: Value, tolerance: f64) {
    match meant {
        Value::Flag(flag) => assert_eq!(read.as_bool(), Some(flag), "{}", point.name),
        number => {
            let (read, meant) = (read.as_f64().unwrap(), number.number().unwrap());
            assert!((read - meant).abs() <= tolerance, "{}: {read}, not {meant}", point.name);
        }
    }
}

/// An instant of each phase that the machine goes through.
fn instants(machine: &Machine) -> Vec<DateTime<Utc>> {
    let begin = "2026-03-02T08:00:00+08:00".parse::<DateTime<Utc>>().unwrap();
    let all = (0..machine.cycle_ms() / 1000).map(|second| begin + Duration::seconds(second) + Duration::milliseconds(250));
    let mut phases: Vec<Phase> = vec![];
    all.filter(|at| {
        let phase = machine.phase(*at);
        let new = !phases.contains(&phase);
        phases.extend(new.then_some(phase));
        new
    })
    .collect()
}

fn read_alike(id: &str) {
    let template = Template::find(id).unwrap();
    let plain = format!(
        "gateway = {{ id = \"g\", token = \"t\" }}\nbroker = {{ url = \"mqtt://h\" }}\nspool = {{ dir = \"/tmp\" }}\n[[device]]\nname = \"SIM-0001\"\naddress = \"tcp://h\"\ntemplate = \"{id}\""
    );
    let device = Config::read(&plain, []).unwrap().devices.remove(0);
    let machine = Machine::new(&device, template.simulation.as_ref(), id, SEED);
    let instants = instants(&machine);
    assert!(instants.len() > 2, "{id}");

    let dir = tempfile::tempdir().unwrap();
    let simulators: Vec<Simulator> = instants
        .iter()
        .map(|at| {
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            Simulator::start(&["--template", id, "--listen", "tcp://127.0.0.1:0", "--seed", &SEED.to_string(), "--at", &at])
        })
        .collect();
    let configs: Vec<PathBuf> = (0..).zip(&simulators).map(|(n, simulator)| simulator.keep(dir.path(), &format!("{n}.toml"))).collect();
    let by_pymodbus = read_by_pymodbus(&configs);

    let mut states = BTreeSet::new();
    for ((at, simulator), read) in instants.iter().zip(&simulators).zip(&by_pymodbus) {
        let served = simulator.config().devices.remove(0);
        assert_eq!(served.points, device.points);
        let by_agent = read_by_agent(&served);
        let read = &read["SIM-0001"];
        assert_eq!(read.len(), device.points.len(), "{id}");
        for ((point, (_, meant)), (_, agent)) in device.points.iter().zip(machine.values(*at)).zip(&by_agent) {
            let read = &read[&*point.name];
            same(point, read, meant, tolerance(point, meant.number().unwrap_or_default()));
            same(point, read, *agent, 1e-7 * agent.number().unwrap_or_default().abs() + 1e-9);
        }
        assert_eq!(served.state(&by_agent), device.state(&machine.values(*at)), "{id} {at}");
        states.insert(format!("{:?}", served.state(&by_agent)));
    }
    assert_eq!(states.len(), device.rules.len() + 1, "{id}: {states:?}");
}

macro_rules! each_template {
    ($($test:ident = $id:literal,)*) => {
        $(
            #[test]
            fn $test() {
                read_alike($id);
            }
        )*

        #[test]
        fn no_template_is_without_its_test() {
            assert_eq!(TEMPLATES.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [$($id),*]);
        }
    };
}

each_template! {
    the_air_compressor_is_read_alike = "air-compressor",
    the_boiler_is_read_alike = "boiler",
    the_ceramic_kiln_is_read_alike = "ceramic-kiln",
    the_chiller_is_read_alike = "chiller",
    the_cnc_gateway_is_read_alike = "cnc-gateway",
    the_die_casting_machine_is_read_alike = "die-casting",
    the_dust_collector_is_read_alike = "dust-collector",
    the_energy_meter_is_read_alike = "energy-meter",
    the_energy_meter_behind_transformers_is_read_alike = "energy-meter-ct",
    the_flow_meter_is_read_alike = "flow-meter",
    the_injection_moulding_machine_is_read_alike = "injection-moulding",
    the_inverter_is_read_alike = "inverter",
    the_laser_cutter_is_read_alike = "laser-cutter",
    the_plc_with_delta_addresses_is_read_alike = "plc-delta-dvp",
    the_plc_with_mitsubishi_addresses_is_read_alike = "plc-mitsubishi-fx5",
    the_plc_of_the_s7_kind_is_read_alike = "plc-s7-1200",
    the_printing_press_is_read_alike = "printing-press",
    the_robot_cell_is_read_alike = "robot-cell",
    the_smt_line_is_read_alike = "smt-line",
    the_stamping_press_is_read_alike = "stamping-press",
    the_temperature_controller_is_read_alike = "temperature-controller",
    the_water_meter_is_read_alike = "water-meter",
}

const AT: &str = "2026-03-02T08:00:00.25+08:00";

#[test]
fn the_same_machine_is_read_over_rtu_over_tcp_and_over_a_serial_line() {
    let dir = tempfile::tempdir().unwrap();
    let given = ["--template", "flow-meter", "--at", AT, "--unit-id", "17"];
    let start = |listen: &str| Simulator::start(&[&given[..], &["--listen", listen]].concat());
    let plain = start("tcp://127.0.0.1:0");
    let framed = start("rtu+tcp://127.0.0.1:0");
    assert!(matches!(framed.config().devices[0].address, Address::RtuOverTcp { .. }), "{}", framed.printed);
    assert_eq!(read_by_agent(&framed.config().devices[0]), read_by_agent(&plain.config().devices[0]));

    let (line, port) = (dir.path().join("line"), free_port());
    let ends = [format!("PTY,link={},raw,echo=0", line.display()), format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr")];
    let _socat = Kept::start(Command::new("socat").args(ends));
    wait_for("the line", || line.exists().then_some(()));
    let serial = start(&format!("rtu://{}", line.display()));
    assert!(matches!(serial.config().devices[0].address, Address::Rtu { .. }));
    let behind_the_line = dir.path().join("serial.toml");
    let address = format!("rtu://{}", line.display());
    std::fs::write(&behind_the_line, serial.printed.replace(&address, &format!("rtu+tcp://127.0.0.1:{port}"))).unwrap();

    let configs = [plain.keep(dir.path(), "plain.toml"), framed.keep(dir.path(), "framed.toml"), behind_the_line];
    let read = read_by_pymodbus(&configs);
    assert_eq!(read[0]["SIM-0001"].len(), 7);
    assert_eq!((&read[1], &read[2]), (&read[0], &read[0]));
}

/// A port that was free just now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn many_machines_of_a_template_answer_by_unit_id_and_each_does_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let simulator =
        Simulator::start(&["--template", "energy-meter", "--listen", "tcp://127.0.0.1:0", "--devices", "5", "--unit-id", "20", "--at", AT]);
    assert_eq!(simulator.config().devices.iter().map(|device| device.unit_id).collect::<Vec<_>>(), [20, 21, 22, 23, 24]);
    let read = read_by_pymodbus(&[simulator.keep(dir.path(), "five.toml")]).remove(0);
    let different: BTreeSet<String> = read.values().map(|readings| format!("{readings:?}")).collect();
    assert_eq!(different.len(), 5);
}

#[test]
fn what_is_not_there_or_would_change_something_is_refused_as_machines_refuse_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("two.toml");
    let two = r#"
        gateway = { id = "gw-1", token = "secret" }
        broker = { url = "mqtt://broker.example" }
        spool = { dir = "/var/lib/x" }
        device = [
            { name = "A", address = "tcp://192.0.2.1", unit_id = 1, template = "inverter" },
            { name = "B", address = "tcp://192.0.2.1", unit_id = 2, template = "robot-cell" },
        ]"#;
    std::fs::write(&config, two).unwrap();
    let simulator = Simulator::start(&["--config", config.to_str().unwrap(), "--listen", "tcp://127.0.0.1:0"]);
    let Address::Tcp { host, port } = simulator.config().devices[0].address.clone() else { panic!() };
    let answered: Json = serde_json::from_str(&succeed(python("ask_refused.py").args([host, port.to_string()]))).unwrap();
    for (asked, code) in [
        ("beyond", 2),
        ("across", 2),
        ("other table", 2),
        ("too many", 3),
        ("other unit", 11),
        ("write register", 1),
        ("write registers", 1),
        ("write coil", 1),
        ("mask", 1),
        ("identity where none", 1),
    ] {
        assert_eq!(answered[asked], code, "{asked}");
    }
    let simulated = "SHANGYUN SIMULATOR";
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(answered["basic"], serde_json::json!({ "0": simulated, "1": "robot-cell", "2": version }));
    assert_eq!(answered["regular"].as_object().unwrap().len(), 5);
    assert_eq!(answered["extended"]["128"], "SIM00002");
    assert_eq!(answered["specific"], serde_json::json!({ "5": "robot-cell" }));
}

/// What a technician does before the machines are wired: the own configuration, at addresses of this computer.
#[test]
fn a_configuration_is_served_whole_and_nothing_real_stands_in_what_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("site.toml");
    let site = r#"
        gateway = { id = "gw-0815", token = "real-token" }
        broker = { url = "mqtt://monitor.example:1883" }
        spool = { dir = "/var/lib/shangyun-edge/spool" }
        [[device]]
        name = "空压机-1"
        address = "rtu:///dev/ttyUSB0"
        unit_id = 3
        template = "air-compressor"
        [[device]]
        name = "电表-1"
        address = "rtu:///dev/ttyUSB0"
        unit_id = 4
        template = "energy-meter-ct"
        [[device.point]]
        name = "A相电流_a"
        table = "holding"
        address = 40
        scale = 0.02
        [[device]]
        name = "专机"
        address = "tcp://192.0.2.9:502"
        fault_when = { point = "报警", is = true }
        running_when = { point = "速度", above = 10 }
        point = [{ name = "速度", table = "input", address = 5, type = "f32", word_order = "dcba" }, { name = "报警", table = "coil", address = 2 }]
        [[bus]]
        address = "rtu:///dev/ttyUSB0"
        baud = 19200"#;
    std::fs::write(&config, site).unwrap();
    let simulator = Simulator::start(&["--config", config.to_str().unwrap(), "--listen", "tcp://127.0.0.1:0"]);
    for real in ["gw-0815", "real-token", "monitor.example", "/var/lib", "ttyUSB0", "192.0.2.9"] {
        assert!(!simulator.printed.contains(real), "{real}: {}", simulator.printed);
    }
    let served = simulator.config();
    let (devices, site) = (served.devices, Config::read(site, []).unwrap().devices);
    for (served, own) in devices.iter().zip(&site) {
        assert_eq!((&served.name, served.unit_id, &served.points, &served.rules), (&own.name, own.unit_id, &own.points, &own.rules));
        assert_eq!(served.address.rtu_frames(), own.address.rtu_frames());
    }
    assert!(devices[0].address == devices[1].address && devices[0].address != devices[2].address);
    let read = read_by_pymodbus(&[simulator.keep(dir.path(), "dry-run.toml")]).remove(0);
    for device in &devices {
        assert_eq!(read[&device.name].len(), device.points.len());
    }
}

#[test]
fn it_ends_well_when_asked_to_and_says_what_was_wrong_otherwise() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let mut simulator = Simulator::start(&["--template", "boiler", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(simulator.process.terminate().code(), Some(0));
    let fails = |arguments: &[&str]| {
        let output = Command::new(AGENT).arg("simulate").args(arguments).output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let own = dir.path().join("own.toml");
    std::fs::write(
        &own,
        "[template]\nid = \"x\"\nname = \"x\"\nenglish = \"x\"\n[device]\npoint = [{ name = \"x\", table = \"inputs\", address = 1 }]\n",
    )
    .unwrap();
    let (code, said) = fails(&["--template", own.to_str().unwrap()]);
    assert!(code == 2 && said.contains("template_invalid") && said.contains("device.point[0].table [value_word]"), "{said}");
    assert_eq!(fails(&["--template", "toaster"]).0, 2);
    assert_eq!(fails(&["--template", "boiler", "--unit-id", "240", "--devices", "9"]).0, 2);
    assert_eq!(fails(&["--template", "boiler", "--listen", "udp://127.0.0.1:1"]).0, 2);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = fails(&["--template", "boiler", "--listen", &format!("tcp://{}", taken.local_addr().unwrap())]);
    assert!(code == 1 && said.contains("cannot be served"), "{said}");
}

#[test]
fn the_list_shows_every_template_in_both_languages() {
    let list = succeed(Command::new(AGENT).args(["simulate", "--list"]));
    for (id, _) in TEMPLATES {
        let template = Template::find(id).unwrap();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap();
        assert!(line.contains(&template.name) && line.contains(&template.english), "{line}");
    }
}
