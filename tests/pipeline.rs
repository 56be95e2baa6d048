//! The whole way: a machine's registers, the agent, MQTT, the log, the facts, the judgement, the page.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::Utc;
use drive::agent_setup::{AgentSetup, DeviceSetup, agent_config};
use drive::machines::{Machine, MachineKind};
use drive::modbus_server::serve;
use serde_json::{Value, json};
use support::history::{device_reports, effective_instants};
use support::register::{GUANGZHOU, Register, TOKEN, device_names};
use support::{Kept, Site, agent_program, drained, python, wait_for};

fn start_agent(site: &Site, name: &str, config: &str) -> Kept {
    let path = site.scratch().join(format!("{name}.toml"));
    std::fs::write(&path, config).unwrap();
    let mut child = Command::new(agent_program()).args(["run", "--config"]).arg(path).stderr(Stdio::piped()).spawn().unwrap();
    drained(child.stderr.take().unwrap());
    Kept(child)
}

fn setup(site: &Site, gateway: &str, devices: Vec<DeviceSetup>) -> AgentSetup {
    AgentSetup {
        gateway: gateway.into(),
        token: TOKEN.into(),
        enterprise: None,
        broker_url: format!("mqtt://{}", site.service.mqtt),
        spool_dir: site.scratch().join(format!("spool-{gateway}")).display().to_string(),
        report_every_s: 0.1,
        poll_ms: 100,
        devices,
    }
}

/// Simulated machines behind a real Modbus/TCP server.
fn machines(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let units = MachineKind::ALL.iter().zip(7..).map(|(kind, seed)| Machine::new(*kind, seed)).collect();
    runtime.spawn(serve(listener, units, Utc::now));
    address
}

/// The element of the page that begins with this, up to its end.
fn element<'p>(page: &'p str, begin: &str, end: &str) -> &'p str {
    let from = page.find(begin).unwrap_or_else(|| panic!("no {begin} in {page}"));
    &page[from..from + page[from..].find(end).unwrap()]
}

fn exclusion<'r>(result: &'r Value, device: &str) -> Option<&'r str> {
    result["devices"]["excluded"].as_array().unwrap().iter().find(|excluded| excluded["device"] == device)?["reason"].as_str()
}

/// 67 of 67 and 66 of 67. What the agent reads at the machine is the difference between never seen and seen too few days.
#[test]
fn registers_read_by_the_agent_are_judged_and_shown_exactly_at_the_threshold_and_one_short() {
    let devices = device_names("SN", 67);
    let register = Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-met", 1, "P-5", "125000.00", json!({}))
        .devices("V-met", &devices)
        .gateway("gw-1", 1)
        .enterprise(2, GUANGZHOU)
        .voucher("V-short", 2, "P-5", "125000.00", json!({}))
        .devices("V-short", &devices)
        .gateway("gw-2", 2);
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let instants = effective_instants(Utc::now(), 7);
    // The last device of the second enterprise has no history; in the first it does.
    site.push_accepted(&key, &device_reports("h1", 1, &devices, &instants));
    site.push_accepted(&key, &device_reports("h2", 2, &devices[..66], &instants));
    let before = site.judge("V-short");
    assert_eq!((&before["verdict"], exclusion(&before, "SN-067")), (&json!("not_met"), Some("not_seen")));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = machines(&runtime);
    let kinds = || (1..).zip(MachineKind::ALL);
    let live = |names: [&str; 4]| {
        kinds().zip(names).map(|((unit_id, kind), name)| DeviceSetup { name: name.into(), address, unit_id, kind }).collect()
    };
    let names = ["SN-067", "SN-066", "没有申报-1", "没有申报-2"];
    let agents = ["gw-1", "gw-2"].map(|gateway| start_agent(&site, gateway, &agent_config(&setup(&site, gateway, live(names)))));
    for voucher in ["V-met", "V-short"] {
        wait_for("the undeclared machines are seen", || (site.judge(voucher)["devices"]["undeclared"] == 2).then_some(()));
    }
    drop(agents);

    let met = site.judge("V-met");
    assert_eq!(
        (&met["verdict"], &met["devices"]["required"], &met["devices"]["connected"]),
        (&json!("met"), &json!(67), &json!(67)),
        "{met}"
    );
    let short = site.judge("V-short");
    assert_eq!(
        (&short["verdict"], &short["devices"]["required"], &short["devices"]["connected"]),
        (&json!("not_met"), &json!(67), &json!(66))
    );
    assert_eq!(exclusion(&short, "SN-067"), Some("effective_days"), "the agent's readings are there, but of one day only");

    let list = site.get("/vouchers", "").body;
    assert!(
        list.contains(r#"data-voucher="V-met" data-verdict="met""#) && list.contains(r#"data-voucher="V-short" data-verdict="not_met""#),
        "{list}"
    );
    let page = site.get("/vouchers/V-met", "").body;
    assert!(element(&page, "<h1", "</h1>").contains("达标"));
    assert!(element(&page, r#"<tr data-device="SN-067""#, "</tr>").contains(r#"data-counted="true""#));
    let page = site.get("/vouchers/V-short", "").body;
    let row = element(&page, r#"<tr data-device="SN-067""#, "</tr>");
    assert!(row.contains(r#"data-counted="false""#) && row.contains("effective_days"), "{row}");
    assert!(element(&page, r#"<tr data-rule="R36""#, "</tr>").contains("67"));
    assert_eq!(site.service.reports("refused"), 0);
}

/// The values of the registers of tests/support/modbus_server.py, in every type and word order.
const POINTS: &[(&str, &str, u16, &str, &str, &str)] = &[
    ("功率_kw", "holding", 0, "f32", "abcd", "12.5"),
    ("功率_交换", "holding", 2, "f32", "cdab", "12.5"),
    ("计数", "holding", 4, "u32", "abcd", "305419896"),
    ("计数_badc", "holding", 6, "u32", "badc", "305419896"),
    ("计数_dcba", "holding", 8, "u32", "dcba", "305419896"),
    ("温度", "input", 0, "i16", "", "-123"),
    ("转速", "input", 1, "u16", "", "65000"),
    ("余量", "input", 2, "i32", "abcd", "-70000"),
    ("运行", "coil", 3, "bool", "", "true"),
    ("报警", "discrete", 5, "bool", "", "true"),
];

/// Log files, one after the other: reports lie in them byte for byte.
fn log_bytes(data: &Path) -> String {
    let files = std::fs::read_dir(data.join("log")).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    String::from_utf8_lossy(&files.collect::<Vec<_>>().concat()).to_string()
}

#[test]
fn a_modbus_server_of_other_make_is_read_right_in_every_type_and_word_order() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/modbus_server.py");
    let mut server = Kept(Command::new(python()).arg(script).stdout(Stdio::piped()).spawn().unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let register = Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({}))
        .devices("V-1", &["注塑机-1".to_string()])
        .gateway("gw-1", 1);
    let site = Site::new(register.file());
    assert_eq!(site.judge("V-1")["verdict"], "insufficient");
    let mut config = agent_config(&setup(&site, "gw-1", Vec::new()));
    config += &format!("[[device]]\nname = \"注塑机-1\"\naddress = \"tcp://127.0.0.1:{}\"\nunit_id = 1\npoll_ms = 100\n", port.trim());
    config += "running_when = { point = \"运行\", is = true }\n";
    for (name, table, address, value_type, word_order, _) in POINTS {
        config += &format!("[[device.point]]\nname = \"{name}\"\ntable = \"{table}\"\naddress = {address}\ntype = \"{value_type}\"\n");
        if !word_order.is_empty() {
            config += &format!("word_order = \"{word_order}\"\n");
        }
    }
    let _agent = start_agent(&site, "gw-1", &config);
    let result = wait_for("the machine is seen", || Some(site.judge("V-1")).filter(|result| result["verdict"] == "not_met"));
    assert_eq!(exclusion(&result, "注塑机-1"), Some("effective_days"));
    let log = log_bytes(&site.dir());
    for (name, .., value) in POINTS {
        let written = [
            format!("\"{name}\":{value},"),
            format!("\"{name}\":{value}}}"),
            format!("\"{name}\":{value}.0,"),
            format!("\"{name}\":{value}.0}}"),
        ];
        assert!(written.iter().any(|written| log.contains(written)), "{name}: {:?}", log.find(name).map(|at| &log[at..at + 60]));
    }
    assert!(log.contains("\"state\":\"running\""));
}
