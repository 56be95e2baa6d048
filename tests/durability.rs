//! kill -9 with a real agent at the other end: what the service has not acknowledged lies in the spool and comes again.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chrono::Utc;
use drive::agent_setup::{AgentSetup, DeviceSetup, agent_config};
use drive::machines::{Machine, MachineKind};
use drive::modbus_server::serve;
use serde_json::json;
use support::register::{GUANGZHOU, Register, TOKEN};
use support::{Kept, Site, agent_program, drained, rebuild_tally, wait_for};

fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .gateway("gw-1", 1)
}

fn accepted_ranges(site: &Site, boot: &str) -> Vec<(u64, u64)> {
    let gateway = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    let boots = gateway["boots"].as_array().unwrap();
    let ranges = boots.iter().find(|known| known["boot"] == boot).map(|known| known["accepted"].clone());
    ranges.map(|ranges| serde_json::from_value(ranges).unwrap()).unwrap_or_default()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_agent(config: &Path) -> Kept {
    let mut child: Child = Command::new(agent_program()).args(["run", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
    drained(child.stderr.take().unwrap());
    Kept(child)
}

/// The boot that the agent has now, and the highest number accepted of it.
fn newest_boot(site: &Site, known: &[String]) -> Option<(String, u64)> {
    let gateway = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    let boot =
        gateway["boots"].as_array().unwrap().iter().find(|boot| !known.contains(&boot["boot"].as_str().unwrap().to_string()))?.clone();
    Some((boot["boot"].as_str()?.to_string(), boot["accepted"].as_array()?.last()?[1].as_u64()?))
}

#[test]
fn the_agent_keeps_what_was_not_acknowledged_and_resends_it_when_the_service_is_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, vec![Machine::new(MachineKind::EnergyMeter, 7)], Utc::now));
    let port = free_port();
    let site = Site::with(register().file(), |_| vec![format!("mqtt.listen=127.0.0.1:{port}")]);
    let setup = AgentSetup {
        gateway: "gw-1".into(),
        token: TOKEN.into(),
        enterprise: None,
        broker_url: format!("mqtt://127.0.0.1:{port}"),
        spool_dir: site.scratch().join("spool").display().to_string(),
        report_every_s: 0.1,
        poll_ms: 100,
        devices: vec![DeviceSetup { name: "SN-1".into(), address, unit_id: 1, kind: MachineKind::EnergyMeter }],
    };
    let config = site.scratch().join("agent.toml");
    std::fs::write(&config, agent_config(&setup)).unwrap();
    let agent = start_agent(&config);
    let (boot, before) = wait_for("the agent reports", || newest_boot(&site, &[]).filter(|(_, highest)| *highest >= 5));
    let site = site.kill_and_restart();
    let through =
        |least: u64| wait_for("the agent resends", || matches!(accepted_ranges(&site, &boot)[..], [(1, to)] if to >= least).then_some(()));
    through(before + 10);
    // The agent is killed while the service is away: its next life delivers what lies in the spool.
    let site = site.kill_and_restart();
    drop(agent);
    let spooled = accepted_ranges(&site, &boot);
    let agent = start_agent(&config);
    let (second, _) = wait_for("the agent's second life reports", || {
        newest_boot(&site, std::slice::from_ref(&boot)).filter(|(_, highest)| *highest >= 3)
    });
    let ended = Command::new("kill").args(["-TERM", &agent.0.id().to_string()]).status().unwrap();
    assert!(ended.success());
    let mut agent = agent;
    assert!(wait_for("the agent ends in good order", || agent.0.try_wait().unwrap()).success());
    assert!(matches!(accepted_ranges(&site, &boot)[..], [(1, to)] if to >= spooled.last().map_or(1, |range| range.1)));
    assert!(matches!(accepted_ranges(&site, &second)[..], [(1, _)]), "no gap");
    assert_eq!(site.service.reports("refused"), 0);
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0);
}
