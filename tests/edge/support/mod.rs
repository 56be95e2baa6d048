//! What tests of the agent's own process share.
#![allow(dead_code)]

pub mod mosquitto;
pub mod proxy;
pub mod tap;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use edge::spool::Spool;
use serde_json::Value;

pub const AGENT: &str = env!("CARGO_BIN_EXE_shangyun-edge");

/// A process that does not outlive its test.
pub struct Kept(pub Child);

impl Kept {
    pub fn start(command: &mut Command) -> Kept {
        Kept(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let killed = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.0.wait().unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again until there is an answer; says what was awaited if there is none for too long.
pub fn wait_for<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{awaited} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The output of a command that must succeed.
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A CA, and certificates of it for the machine and for the gateway.
pub fn certificates(dir: &Path) {
    let openssl = |arguments: &[&str]| succeed(Command::new("openssl").args(arguments).current_dir(dir));
    let new = |name: &str, subject: &str, more: &[&str]| {
        let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
        let base = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        openssl(&[&base[..], &["-keyout", &key, "-out", &cert, "-subj", subject], more].concat());
    };
    new("ca", "/CN=factory", &["-addext", "basicConstraints=critical,CA:TRUE"]);
    let leaf = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
    new("machine", "/CN=press-3", &[&leaf[..], &["-addext", "subjectAltName=DNS:press-3"]].concat());
    new("gateway", "/CN=gateway", &leaf);
    new("stranger", "/CN=stranger", &["-addext", "basicConstraints=critical,CA:TRUE"]);
}

/// The agent as it runs, with what it says in a file.
pub struct Agent {
    process: Kept,
    log: PathBuf,
}

impl Agent {
    pub fn start(dir: &Path, config: &str) -> Agent {
        let (file, log) = (dir.join("edge.toml"), dir.join("edge.log"));
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(AGENT);
        let process = Kept::start(command.args(["run", "--config"]).arg(&file).stderr(File::create(&log).unwrap()));
        Agent { process, log }
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// How often it has said this.
    pub fn said(&self, text: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap().lines().filter(|line| line.contains(text)).count()
    }

    pub fn terminate(&mut self) {
        let status = self.process.terminate();
        assert!(status.success(), "{status}: {}", std::fs::read_to_string(&self.log).unwrap());
    }

    /// Gives it no time to do anything more.
    pub fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

/// The reports that an agent, ended since, has left in its spool.
pub fn spooled_reports(dir: &Path) -> Vec<Value> {
    let mut spool = Spool::open(dir, 256 << 20).unwrap();
    let positions = spool.unsettled(0, usize::MAX);
    positions.into_iter().map(|position| serde_json::from_slice(&spool.read(position).unwrap().unwrap().body).unwrap()).collect()
}

/// What the agent's page says at this port, if it answers.
pub fn page(port: u16, path: &str) -> Option<String> {
    ureq::get(format!("http://127.0.0.1:{port}{path}")).call().ok()?.body_mut().read_to_string().ok()
}

/// A configuration with one device that is always off: it gives a report each time. `more`: keys of [broker], and further sections.
pub fn config(dir: &Path, broker_port: u16, more: &str) -> String {
    format!(
        r#"
        [[device]]
        name = "SN-1"
        address = "tcp://127.0.0.1:1"
        poll_ms = 100
        [[device.point]]
        name = "n"
        table = "holding"
        address = 0
        [spool]
        dir = "{}"
        [local]
        listen = ""
        [gateway]
        id = "gw-1"
        token = "secret"
        [broker]
        url = "mqtt://127.0.0.1:{broker_port}"
        retry_s_max = 0.5
        connect_timeout_s = 1
        {more}
        "#,
        dir.join("spool").display()
    )
}
