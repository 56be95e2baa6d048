//! The agent can only read. Whatever it does, every request that leaves it is one of five: four that read values, one that asks who a
//! machine is. A tap between it and the machines sees them all.
#![allow(clippy::unwrap_used)]

#[path = "modbus/peers.rs"]
#[allow(dead_code)]
mod peers;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use edge::bus::Address;
use edge::device::Device;
use edge::template::TEMPLATES;
use peers::{Peer, devices_of, workspace};
use serde_json::Value as Json;
use support::tap::{Frames, Tap, functions};
use support::{AGENT, Agent, Kept, spooled_reports, wait_for};

/// Coils, discrete inputs, holding registers, input registers, device identification.
const READING: [&[u8]; 5] = [&[1], &[2], &[3], &[4], &[43, 14]];

fn only_reads() -> BTreeSet<Vec<u8>> {
    READING.map(<[u8]>::to_vec).into()
}

/// A gateway without a broker: everything stays in its spool.
fn config(dir: &Path, devices: &str) -> String {
    let spool = dir.join("spool");
    format!(
        "[gateway]\nid = \"g\"\ntoken = \"t\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\nconnect_timeout_s = 1\n[local]\nlisten = \"\"\n\
         [report]\nevery_s = 0.2\n[spool]\ndir = \"{}\"\n{devices}",
        spool.display()
    )
}

/// The devices of which readings are in the spool of an agent that has ended.
fn devices_read(dir: &Path) -> BTreeSet<String> {
    let reports = spooled_reports(&dir.join("spool"));
    let entries = reports.iter().flat_map(|report| report["devices"].as_array().into_iter().flatten());
    let with_readings = entries.filter(|entry| entry["readings"].is_object());
    with_readings.map(|entry| entry["device"].as_str().unwrap().to_string()).collect()
}

fn check(dir: &Path, config: &str, more: &[&str]) -> Json {
    let file = dir.join("check.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(AGENT).args(["check", "--json", "--config"]).arg(file).args(more).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A machine of each template, all at one address, by the agent's own simulator.
fn every_template(dir: &Path) -> (Kept, Vec<Device>, String) {
    let file = dir.join("all.toml");
    let devices: String = (1..)
        .zip(TEMPLATES)
        .map(|(unit, (id, _))| {
            // `check` asks who a machine is where its serial number is configured.
            format!(
                "[[device]]\nname = \"{id}\"\naddress = \"tcp://192.0.2.1\"\nunit_id = {unit}\npoll_ms = 200\ntemplate = \"{id}\"\nidentity = {{ serial = \"SN-{unit}\" }}\n"
            )
        })
        .collect();
    std::fs::write(&file, config(dir, &devices)).unwrap();
    let mut simulate = Command::new(AGENT);
    simulate.args(["simulate", "--listen", "tcp://127.0.0.1:0", "--config"]).arg(&file).stdout(Stdio::piped());
    let mut simulator = Kept::start(&mut simulate);
    let lines = BufReader::new(simulator.0.stdout.take().unwrap()).lines();
    let printed: String = lines.map_while(Result::ok).take_while(|line| !line.ends_with("answering now")).map(|line| line + "\n").collect();
    let served = edge::Config::read(&printed, []).unwrap().devices;
    assert_eq!(served.len(), TEMPLATES.len());
    (simulator, served, devices)
}

#[test]
fn over_every_template_the_agent_and_check_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let (_simulator, served, devices) = every_template(dir.path());
    let Address::Tcp { port, .. } = served[0].address else { panic!("{:?}", served[0]) };
    let tap = Tap::start(Frames::Tcp, port);
    let config = config(dir.path(), &devices.replace("192.0.2.1", &format!("127.0.0.1:{}", tap.port)));

    let mut agent = Agent::start(dir.path(), &config);
    wait_for("each machine's values, and who it is where it can say", || {
        let counts = tap.counts();
        let asked_for_values = |unit: u8| counts.iter().any(|((of, function), count)| *of == unit && function[0] != 43 && *count > 2);
        let asked =
            |device: &Device| asked_for_values(device.unit_id) && device.identify == counts.contains_key(&(device.unit_id, vec![43, 14]));
        served.iter().all(asked).then_some(())
    });
    agent.terminate();
    assert_eq!(functions(&tap.take()), only_reads());
    assert_eq!(devices_read(dir.path()), TEMPLATES.iter().map(|(id, _)| id.to_string()).collect());

    let said = check(dir.path(), &config, &["--deep"]);
    assert_eq!(functions(&tap.take()), only_reads(), "{said:#}");
    check(dir.path(), &config, &[]);
    assert!(functions(&tap.take()).is_subset(&only_reads()));
}

#[test]
fn of_a_server_of_others_the_agent_only_reads_in_both_kinds_of_frames() {
    for (kind, scheme, frames) in [("socket", "tcp", Frames::Tcp), ("rtu", "rtu+tcp", Frames::Rtu)] {
        let (dir, peer) = (tempfile::tempdir().unwrap(), Peer::start("modbus_pymodbus.py", &[kind]));
        let tap = Tap::start(frames, peer.port());
        let devices = devices_of(&peer.points()).replace("ADDRESS", &format!("{scheme}://127.0.0.1:{}", tap.port));
        let mut agent = Agent::start(dir.path(), &config(dir.path(), &devices));
        wait_for("several polls", || (tap.counts().get(&(1, vec![3])) > Some(&12)).then_some(()));
        agent.terminate();
        assert_eq!(functions(&tap.take()), only_reads(), "{scheme}");
        assert_eq!(devices_read(dir.path()), ["SN-0", "SN-1", "SN-2"].map(String::from).into(), "{scheme}");
    }
}

#[test]
fn probe_only_reads_whether_it_draws_a_map_or_looks_for_values() {
    for (kind, scheme, frames) in [("socket", "tcp", Frames::Tcp), ("rtu", "rtu+tcp", Frames::Rtu)] {
        let peer = Peer::start("modbus_pymodbus.py", &[kind]);
        let tap = Tap::start(frames, peer.port());
        let address = format!("{scheme}://127.0.0.1:{}", tap.port);
        let probe = |more: &[&str]| {
            let output = Command::new(AGENT).args(["probe", &address, "--to", "40", "--unit-id", "1"]).args(more).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            functions(&tap.take())
        };
        assert_eq!(probe(&[]), only_reads(), "{scheme}");
        let looking = probe(&["--table", "holding,input,coil,discrete", "--expect", "230.125"]);
        assert!(looking.is_subset(&only_reads()) && looking.contains(&vec![3]), "{scheme}: {looking:?}");
    }
    // All unit ids, as without --unit-id.
    let peer = Peer::start("modbus_pymodbus.py", &["socket"]);
    let tap = Tap::start(Frames::Tcp, peer.port());
    let output =
        Command::new(AGENT).args(["probe", &format!("tcp://127.0.0.1:{}", tap.port), "--to", "40", "--timeout-ms", "50"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let requests = tap.take();
    assert_eq!(functions(&requests), only_reads());
    assert!(requests.iter().map(|request| request.unit_id).collect::<BTreeSet<_>>().len() > 100);
}

/// What a tap does not see proves nothing.
#[test]
fn a_tap_sees_whoever_writes() {
    let peer = Peer::start("modbus_pymodbus.py", &["socket"]);
    let tap = Tap::start(Frames::Tcp, peer.port());
    let mut write = Command::new(workspace().join("target/test-venv/bin/python"));
    write.arg(workspace().join("tests/edge/write.py")).args(["socket", &tap.port.to_string()]);
    support::succeed(&mut write);
    let writing: BTreeSet<Vec<u8>> = [vec![5], vec![6], vec![15], vec![16], vec![22], vec![23]].into();
    assert_eq!(functions(&tap.take()), writing);

    let peer = Peer::start("modbus_pymodbus.py", &["rtu"]);
    let tap = Tap::start(Frames::Rtu, peer.port());
    let mut write = Command::new(workspace().join("target/test-venv/bin/python"));
    write.arg(workspace().join("tests/edge/write.py")).args(["rtu", &tap.port.to_string()]);
    support::succeed(&mut write);
    assert_eq!(functions(&tap.take()), writing);
}
