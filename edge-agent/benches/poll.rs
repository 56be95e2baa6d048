//! What polling costs: `cargo bench -p shangyun-edge --bench poll`. Needs cc, libmodbus-dev, mosquitto and its clients, and pymodbus in
//! target/test-venv (tests/run makes it). Everything runs on this machine, servers and broker included, so the figures are of it all.
//!
//! Points a second are counted where readings reach the reporter; the whole agent is the release binary with spool, broker and uplink, or
//! the one that SHANGYUN_EDGE names, such as what deploy/build-static has built. `-- polling` and `-- agent` measure one of the two.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::bus::{Address, BusSettings};
use edge::modbus::{DeviceStates, poll};
use edge::report::{Item, Quality};
use edge::{Config, SystemClock};
use tokio::sync::mpsc;

const SERVER_MACHINES: usize = 200;
const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 5;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |what: &str| asked.is_empty() || asked.iter().any(|argument| argument == what);
    if wanted("polling") {
        polling(dir.path());
    }
    if wanted("agent") {
        for machines in [200, 1000] {
            whole_agent(dir.path(), machines);
        }
    }
}

fn polling(dir: &Path) {
    for (machines, servers, points) in [(200, 1, 64), (1000, 5, 64), (200, 1, 20)] {
        let servers: Vec<Peer> = (0..servers).map(|_| libmodbus(dir)).collect();
        let ports: Vec<u16> = servers.iter().flat_map(|server| server.ports.clone()).take(machines).collect();
        flat_out(&format!("libmodbus, {machines} machines × {points} points"), &ports, points, &servers);
    }
    let servers: Vec<Peer> = (0..2).map(|_| pymodbus()).collect();
    let ports: Vec<u16> = servers.iter().cycle().take(100).map(|server| server.ports[0]).collect();
    flat_out("pymodbus, 100 connections × 64 points", &ports, 64, &servers);
}

/// A process that does not outlive the measurement.
struct Peer {
    process: Child,
    ports: Vec<u16>,
    /// Kept open: what else the process has to say disturbs nobody.
    _said: BufReader<ChildStdout>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn start(command: &mut Command, port_count: usize) -> Peer {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap());
    let ports = said.by_ref().lines().take(port_count).map(|line| line.unwrap().parse().unwrap()).collect();
    Peer { process, ports, _said: said }
}

fn libmodbus(dir: &Path) -> Peer {
    let program = dir.join("modbus_server");
    if !program.exists() {
        let source = workspace().join("tests/edge/modbus_server.c");
        let built = Command::new("sh")
            .arg("-c")
            .arg(format!("cc -O2 -o {} {} $(pkg-config --cflags --libs libmodbus)", program.display(), source.display()))
            .status();
        assert!(built.unwrap().success());
    }
    start(Command::new(program).arg(SERVER_MACHINES.to_string()), SERVER_MACHINES)
}

fn pymodbus() -> Peer {
    let script = workspace().join("tests/edge/modbus_pymodbus.py");
    start(Command::new(workspace().join("target/test-venv/bin/python")).arg(script).arg("socket"), 1)
}

/// Not asked who they are: libmodbus pauses half a second, for all of its connections, at a function that it does not know.
fn device(i: usize, port: u16, poll_ms: u32, points: usize) -> String {
    let mut text = format!(
        "[[device]]\nname = \"SN-{i:04}\"\naddress = \"tcp://127.0.0.1:{port}\"\npoll_ms = {poll_ms}\nidentify = false\nrunning_when = {{ point = \"p0\", above = 0.5 }}\n"
    );
    for p in 0..points {
        text += &format!("[[device.point]]\nname = \"p{p}\"\ntable = \"holding\"\naddress = {p}\nscale = 0.1\n");
    }
    text
}

/// User and system time of a process.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Duration::from_millis(10 * fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>())
}

fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Polls as often as a configuration can ask for, each machine on a connection of its own.
fn flat_out(what: &str, ports: &[u16], points: usize, servers: &[Peer]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (rates, own, theirs) = runtime.block_on(async {
        let (sender, mut items) = mpsc::channel(1024);
        for (i, &port) in ports.iter().enumerate() {
            let text = format!("[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n{}", device(i, port, 50, points));
            let devices = Config::read(&text, []).unwrap().devices;
            let address: Address = devices[0].address.clone();
            let clock = Arc::new(SystemClock::default());
            tokio::spawn(poll(address, BusSettings::default(), devices, clock, DeviceStates::default(), sender.clone()));
        }
        let cpu_all = || (cpu(std::process::id()), servers.iter().map(|server| cpu(server.process.id())).sum::<Duration>());
        let mut rates = Vec::new();
        let mut before = (Duration::ZERO, Duration::ZERO);
        // The first window warms up.
        for window in 0..=WINDOWS {
            let begun = Instant::now();
            let until = tokio::time::Instant::now() + WINDOW;
            let mut count = 0;
            while let Ok(Some(item)) = tokio::time::timeout_at(until, items.recv()).await {
                if let Item::Device(entry) = item
                    && entry.quality == Quality::Normal
                {
                    count += entry.readings.len();
                }
            }
            if window == 0 {
                before = cpu_all();
            } else {
                rates.push(count as f64 / begun.elapsed().as_secs_f64());
            }
        }
        let after = cpu_all();
        let share = |after: Duration, before: Duration| (after - before).as_secs_f64() / (WINDOW * WINDOWS as u32).as_secs_f64();
        (rates, share(after.0, before.0), share(after.1, before.1))
    });
    println!("{what}: {:.0} points/s (agent's polling {own:.2} cores, servers {theirs:.2} cores)", median(rates));
}

/// The agent as it is installed: 20 points of each machine a second, to a broker on this machine.
fn whole_agent(dir: &Path, machines: usize) {
    let servers: Vec<Peer> = (0..machines.div_ceil(SERVER_MACHINES)).map(|_| libmodbus(dir)).collect();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker_config = dir.join("mosquitto.conf");
    std::fs::write(&broker_config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let _broker = start(Command::new("mosquitto").arg("-c").arg(&broker_config).stderr(Stdio::null()), 0);
    let spool = tempfile::tempdir_in(dir).unwrap();
    let mut text = format!(
        "[gateway]\nid = \"gw-1\"\ntoken = \"t\"\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n[spool]\ndir = \"{}\"\n[report]\nevery_s = 60\ndevices_max = 50\n",
        spool.path().display()
    );
    for (i, port) in servers.iter().flat_map(|server| server.ports.clone()).take(machines).enumerate() {
        text += &device(i, port, 1000, 20);
    }
    let config = dir.join("agent.toml");
    std::fs::write(&config, text).unwrap();
    let program = std::env::var("SHANGYUN_EDGE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_shangyun-edge").to_string());
    // Until the broker listens, the subscriber would end.
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut subscriber = Command::new("mosquitto_sub")
        .args(["-p", &port.to_string(), "-t", "shangyun/v1/gw-1/report", "-q", "1", "-C", "1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    // One connection for each machine, beside the files.
    let agent = start(
        Command::new("sh")
            .arg("-c")
            .arg("ulimit -n 4096; exec \"$@\"")
            .arg("sh")
            .args([&program, "run", "--config"])
            .arg(&config)
            .stderr(Stdio::null()),
        0,
    );
    assert!(subscriber.wait().unwrap().success());
    let first = begun.elapsed();
    let pid = agent.process.id();
    // What starting costs is over by then.
    std::thread::sleep(Duration::from_secs(10));
    let (mut shares, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..WINDOWS {
        let before = cpu(pid);
        std::thread::sleep(WINDOW);
        shares.push((cpu(pid) - before).as_secs_f64() / WINDOW.as_secs_f64());
        memory.push(memory_kib(pid) as f64 / 1024.0);
    }
    println!(
        "whole agent, {machines} machines × 20 points × 1 s: {:.1} % of a core, {:.1} MiB resident, first report at the broker after {:.1} s",
        100.0 * median(shares),
        median(memory),
        first.as_secs_f64()
    );
}
