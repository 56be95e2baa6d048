//! A factory in which nothing is wrong: brokers, machines, and gateways to be spoilt.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::key::{FileKey, Signer};
use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::{Authority, Identity, Wanted};
use crate::support::{AGENT, Kept, succeed, wait_for};

pub struct Factory {
    pub authority: Authority,
    pub dir: TempDir,
    pub broker: Broker,
    machines_port: u16,
    _machines: Kept,
}

pub struct Broker {
    pub port: u16,
    _process: Kept,
}

pub fn vacant_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Factory {
    pub fn new() -> Factory {
        let (authority, dir) = (Authority::new("Factory"), tempfile::tempdir().unwrap());
        let server = authority.server(dir.path(), "server", 1);
        let broker = Broker::start(dir.path(), "sound", &tls_lines(&authority, dir.path(), &server));
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut machines = Kept::start(
            Command::new(workspace.join("target/test-venv/bin/python"))
                .arg(workspace.join("tests/edge/check_machines.py"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut line = String::new();
        BufReader::new(machines.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Factory { authority, dir, broker, machines_port: line.trim().parse().unwrap(), _machines: machines }
    }

    /// A broker with a certificate of its own.
    pub fn broker_of(&self, name: &str, serial: u64, years: (i32, i32), dns: &[&str]) -> Broker {
        let wanted = Wanted { common_name: name, dns, serial, years };
        let server = self.authority.server_named(self.dir.path(), name, wanted);
        Broker::start(self.dir.path(), name, &tls_lines(&self.authority, self.dir.path(), &server))
    }

    /// A gateway that is configured without a fault.
    pub fn gateway(&self) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("token"), "secret\n").unwrap();
        fs::set_permissions(at("token"), fs::Permissions::from_mode(0o600)).unwrap();
        let key = FileKey::create(&at("gateway.key"), "gw-1").unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key());
        fs::write(at("keys.json"), format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"{x}"}}]}}"#)).unwrap();
        self.authority.write(&at("ca.pem"));
        fs::create_dir(at("spool")).unwrap();
        let client = self.authority.client(dir.path(), Wanted::client("gw-1", 10));
        fs::create_dir(at("bin")).unwrap();
        let config = format!(
            r#"[gateway]
id = "gw-1"
token_file = "{dir}/token"
key_file = "{dir}/gateway.key"
enterprise = "91440300708461136T"

[broker]
url = "mqtts://127.0.0.1:{broker}"
ca_file = "{dir}/ca.pem"
client_cert_file = "{cert}"
client_key_file = "{key}"
connect_timeout_s = 3

[delivery]
confirm = "receipt"
receipt_keys_file = "{dir}/keys.json"

[spool]
dir = "{dir}/spool"
bytes_max = 268435456

[local]
listen = ""

[report]
every_s = 60

[[device]]
name = "SN-1"
address = "tcp://127.0.0.1:{machines}"
unit_id = 1
timeout_ms = 300
retries = 2
identity = {{ serial = "SN-1" }}

[[device.point]]
name = "电压_v"
table = "holding"
address = 0
type = "f32"
unit = "V"
min = 0
max = 400

[[device.point]]
name = "temperature_c"
table = "holding"
address = 2
type = "i16"
scale = 0.1

[[device]]
name = "SN-2"
address = "tcp://127.0.0.1:{machines}"
unit_id = 2
timeout_ms = 300

[[device.point]]
name = "功率_kw"
table = "holding"
address = 2
"#,
            dir = dir.path().display(),
            broker = self.broker.port,
            machines = self.machines_port,
            cert = client.cert.display(),
            key = client.key.display(),
        );
        let gateway = Gateway { dir, config, machines_port: self.machines_port, broker_port: self.broker.port };
        gateway.clock_says("yes");
        gateway
    }
}

fn tls_lines(authority: &Authority, dir: &Path, server: &Identity) -> String {
    let ca = authority.write(&dir.join("ca.pem"));
    let (cert, key) = (server.cert.display(), server.key.display());
    format!("certfile {cert}\nkeyfile {key}\ncafile {}\nrequire_certificate true\n", ca.display())
}

impl Broker {
    /// Mosquitto that knows one gateway.
    pub fn start(dir: &Path, name: &str, lines: &str) -> Broker {
        let (port, passwords, config) = (vacant_port(), dir.join(format!("{name}.passwords")), dir.join(format!("{name}.conf")));
        succeed(Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["gw-1", "secret"]));
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nuser root\n{lines}", passwords.display());
        fs::write(&config, text).unwrap();
        let mut command = Command::new("mosquitto");
        let process = Kept::start(command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_for("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
        Broker { port, _process: process }
    }
}

pub struct Gateway {
    dir: TempDir,
    pub config: String,
    machines_port: u16,
    broker_port: u16,
}

/// What `check` says as JSON.
pub struct Said {
    pub exit_code: i32,
    pub json: Value,
}

impl Said {
    pub fn names(&self) -> BTreeSet<String> {
        let findings = self.json["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["name"].as_str().unwrap().to_string()).collect()
    }

    pub fn only_warnings(&self) -> bool {
        self.json["findings"].as_array().unwrap().iter().all(|finding| finding["warning"] == true)
    }
}

impl Gateway {
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn replace(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replacen(from, to, 1);
    }

    /// In the last device: SN-2.
    pub fn replace_last(&mut self, from: &str, to: &str) {
        let (before, after) = self.config.rsplit_once(from).unwrap();
        self.config = format!("{before}{to}{after}");
    }

    pub fn second_machine_at(&mut self, address: &str) {
        self.replace_last(&self.machines_address(), address);
    }

    pub fn machines_address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.machines_port)
    }

    pub fn broker_at(&mut self, url: &str) {
        self.replace(&format!("mqtts://127.0.0.1:{}", self.broker_port), url);
    }

    /// What `timedatectl` answers on this gateway.
    pub fn clock_says(&self, said: &str) {
        let program = self.file("bin/timedatectl");
        fs::write(&program, format!("#!/bin/sh\necho {said}\n")).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn command(&self) -> Command {
        let config = self.file("config.toml");
        let made = !config.exists();
        fs::write(&config, &self.config).unwrap();
        if made {
            fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut command = Command::new(AGENT);
        let path = format!("{}:{}", self.file("bin").display(), std::env::var("PATH").unwrap());
        command.args(["check", "--deep", "--config"]).arg(config).env("PATH", path);
        command
    }

    pub fn check(&self) -> Said {
        said(&mut self.command())
    }
}

pub fn said(command: &mut Command) -> Said {
    let output = command.arg("--json").output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Said { exit_code: output.status.code().unwrap(), json }
}
