//! How the agent reaches a gateway: the static binary, its unit and its Debian package.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Kept, succeed, wait_for};
use tokio_modbus::prelude::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_modbus::server::tcp::Server;

const UNIT: &str = "deploy/shangyun-edge.service";
const BINARY_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Out of 10, less is better; what is left is the network, the serial ports and the log files of others.
const EXPOSURE_MAX_TENTHS: u32 = 16;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Runs a script of deploy/; what it printed last is the path of what it built.
fn built(script: &str, arguments: &[&str]) -> PathBuf {
    let output = succeed(Command::new(workspace().join("deploy").join(script)).args(arguments));
    workspace().join(output.lines().last().unwrap_or_else(|| panic!("{script} printed no path")))
}

/// As root, directly or by sudo.
fn as_root(program: &str) -> Command {
    if succeed(Command::new("id").arg("-u")).trim() == "0" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A machine whose registers all hold 7.
async fn serve_machine(listener: tokio::net::TcpListener) {
    struct Sevens;
    impl tokio_modbus::server::Service for Sevens {
        type Request = SlaveRequest<'static>;
        type Response = Response;
        type Exception = ExceptionCode;
        type Future = std::future::Ready<Result<Response, ExceptionCode>>;
        fn call(&self, request: Self::Request) -> Self::Future {
            std::future::ready(match request.request {
                Request::ReadHoldingRegisters(_, quantity) => Ok(Response::ReadHoldingRegisters(vec![7; usize::from(quantity)])),
                _ => Err(ExceptionCode::IllegalFunction),
            })
        }
    }
    let accept = |stream, _: SocketAddr| async move { Ok(Some((Sevens, stream))) };
    Server::new(listener).serve(&accept, |_| {}).await.unwrap();
}

fn config(machine: SocketAddr, broker: &str, spool: &str) -> String {
    format!(
        r#"
        gateway = {{ id = "gw-1", token = "secret" }}
        broker = {{ url = "mqtt://{broker}" }}
        spool = {{ dir = "{spool}" }}
        report = {{ every_s = 0.2 }}

        [[device]]
        name = "press"
        address = "tcp://{machine}"
        poll_ms = 200
        [[device.point]]
        name = "sevens"
        table = "holding"
        address = 0
        "#
    )
}

/// An agent at work: a machine, a broker and somebody who listens for its report.
struct Surroundings {
    machine: SocketAddr,
    broker_port: u16,
    _broker: Kept,
    _runtime: tokio::runtime::Runtime,
}

impl Surroundings {
    fn start(dir: &Path) -> Surroundings {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let machine = listener.local_addr().unwrap();
        runtime.spawn(serve_machine(listener));
        let broker_port = free_port();
        let broker_config = dir.join("mosquitto.conf");
        std::fs::write(&broker_config, format!("listener {broker_port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
        let broker = Kept::start(Command::new(mosquitto()).arg("-c").arg(&broker_config).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_for("the broker", || std::net::TcpStream::connect(("127.0.0.1", broker_port)).ok());
        Surroundings { machine, broker_port, _broker: broker, _runtime: runtime }
    }

    /// A report of the machine's reading, as the broker hands it on.
    fn report(&self) -> String {
        let port = self.broker_port.to_string();
        // The agent's first report tells of its start alone.
        let reports = succeed(Command::new("mosquitto_sub").args(["-p", &port, "-t", "shangyun/v1/gw-1/report", "-C", "5", "-W", "30"]));
        let with_reading = reports.lines().find(|report| report.contains("sevens"));
        with_reading.unwrap_or_else(|| panic!("no reading in {reports}")).to_string()
    }
}

fn mosquitto() -> &'static str {
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

#[test]
fn the_static_agent_is_small_and_works_where_there_is_no_other_file_also_with_host_names() {
    let binary = built("build-static", &[]);
    let size = binary.metadata().unwrap().len();
    assert!(size <= BINARY_BYTES_MAX, "{size} bytes");

    let root = tempfile::tempdir().unwrap();
    let surroundings = Surroundings::start(root.path());
    std::fs::copy(&binary, root.path().join("shangyun-edge")).unwrap();
    let chroot = |arguments: &[&str]| {
        let mut command = as_root("chroot");
        command.arg(root.path()).args(arguments);
        command
    };
    assert!(succeed(&mut chroot(&["/shangyun-edge", "--version"])).starts_with("shangyun-edge "));

    let broker = format!("broker.factory:{}", surroundings.broker_port);
    std::fs::write(root.path().join("config.toml"), config(surroundings.machine, &broker, "/spool")).unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/hosts"), "127.0.0.1 broker.factory\n").unwrap();
    let mut agent = Kept::start(chroot(&["/shangyun-edge", "run", "--config", "/config.toml"]).stderr(Stdio::null()));
    assert!(surroundings.report().contains(r#""sevens":7"#));
    assert!(agent.terminate().success());
}

#[test]
fn the_unit_is_valid_and_leaves_the_agent_little_to_do_harm_with() {
    let unit = std::fs::read_to_string(workspace().join(UNIT)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // On this machine the program lies elsewhere, and its documentation nowhere.
    let here = unit.replace("/usr/bin/shangyun-edge", support::AGENT).replace("Documentation=", "#");
    let path = dir.path().join("shangyun-edge.service");
    std::fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("shangyun-edge")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
    let threshold = format!("--threshold={EXPOSURE_MAX_TENTHS}");
    succeed(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", &threshold]).arg(&path));
}

#[test]
fn the_unit_names_documentation_that_the_package_brings() {
    let unit = std::fs::read_to_string(workspace().join(UNIT)).unwrap();
    let manifest: toml::Table = std::fs::read_to_string(workspace().join("edge-agent/Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap().iter().map(|asset| {
        let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let name = if to.ends_with('/') { from.rsplit('/').next().unwrap() } else { "" };
        (format!("/{to}{name}"), from.to_string())
    });
    let assets: std::collections::BTreeMap<String, String> = assets.collect();
    let named: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("Documentation=file://")).collect();
    assert_eq!(named.iter().map(|path| assets[*path].as_str()).collect::<Vec<_>>(), ["README.md"], "the technician's half hour");
    // What it refers to beside it is there too.
    for name in ["example.toml", "packaging.md"] {
        assert!(assets.contains_key(&format!("/usr/share/doc/shangyun-edge/{name}")), "{name} in {assets:?}");
    }
}

/// The system calls in a set such as `@system-service`, the sets within it resolved.
fn set_of_system_calls(name: &str) -> BTreeSet<String> {
    let listed = succeed(Command::new("systemd-analyze").args(["syscall-filter", name]));
    let names = listed.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    names.flat_map(|name| if name.starts_with('@') { set_of_system_calls(name) } else { BTreeSet::from([name.to_string()]) }).collect()
}

/// What the unit's lines allow, the later ones over the earlier.
fn allowed_system_calls() -> BTreeSet<String> {
    let unit = std::fs::read_to_string(workspace().join(UNIT)).unwrap();
    // A process may always do these, to be started and to end.
    let mut allowed = set_of_system_calls("@default");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (taken_away, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for name in names.split_whitespace() {
            let set = if name.starts_with('@') { set_of_system_calls(name) } else { BTreeSet::from([name.to_string()]) };
            for name in set {
                if taken_away {
                    allowed.remove(&name)
                } else {
                    allowed.insert(name)
                };
            }
        }
    }
    allowed
}

#[test]
fn the_unit_allows_every_system_call_that_the_agent_makes() {
    let binary = built("build-static", &[]);
    let dir = tempfile::tempdir().unwrap();
    let surroundings = Surroundings::start(dir.path());
    let (config_path, trace) = (dir.path().join("config.toml"), dir.path().join("trace"));
    let broker = format!("localhost:{}", surroundings.broker_port);
    std::fs::write(&config_path, config(surroundings.machine, &broker, dir.path().join("spool").to_str().unwrap())).unwrap();
    // Without sudo: a process of one's own may be traced.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-o"]).arg(&trace).arg(&binary).args(["run", "--config"]).arg(&config_path).stderr(Stdio::null());
    let traced = Kept::start(&mut strace);
    assert!(surroundings.report().contains(r#""sevens":7"#));
    let agent = succeed(Command::new("pgrep").args(["-P", &traced.0.id().to_string()]));
    succeed(Command::new("kill").arg(agent.trim()));
    let trace = wait_for("the agent's end", || {
        std::fs::read_to_string(&trace).ok().filter(|trace| trace.lines().any(|line| line.contains("+++ exited with 0")))
    });

    let made: BTreeSet<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(').map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(made.contains("connect") && made.contains("fdatasync"), "the trace shows the agent at work: {made:?}");
    let allowed = allowed_system_calls();
    let refused: Vec<_> = made.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(refused.is_empty(), "{UNIT} refuses {refused:?}");
}

#[test]
fn the_package_installs_runs_upgrades_with_its_spool_and_purges_without_a_trace() {
    let older = built("build-deb", &["x86_64-unknown-linux-musl", "0.0.1"]);
    let newer = built("build-deb", &["x86_64-unknown-linux-musl", "999.0.0"]);
    succeed(Command::new(workspace().join("deploy/test-deb")).args([older, newer]));
}
