//! Mosquitto, a broker of others, and what a subscriber of it sees.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Kept, succeed, wait_for};

/// Mosquitto on a port of its own, with one gateway that it knows.
pub struct Mosquitto {
    pub dir: tempfile::TempDir,
    pub port: u16,
    process: Option<Kept>,
}

impl Mosquitto {
    pub fn start(lines: impl FnOnce(&Path) -> String) -> Mosquitto {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let passwords = dir.path().join("passwords");
        succeed(Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["gw-1", "secret"]));
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nuser root\npersistence true\npersistence_location {}/\n{}",
            passwords.display(),
            dir.path().display(),
            lines(dir.path())
        );
        std::fs::write(dir.path().join("mosquitto.conf"), text).unwrap();
        let mut broker = Mosquitto { dir, port, process: None };
        broker.resume();
        broker
    }

    pub fn plain() -> Mosquitto {
        Mosquitto::start(|_| String::new())
    }

    pub fn resume(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let mut command = Command::new("mosquitto");
        self.process = Some(Kept::start(command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null())));
        let port = self.port;
        wait_for("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Ends as a service manager ends it: what is queued for subscribers is kept.
    pub fn stop(&mut self) {
        self.process.take().unwrap().terminate();
    }

    /// Makes it read its access list anew.
    pub fn reload(&self) {
        let pid = self.process.as_ref().unwrap().0.id().to_string();
        succeed(Command::new("kill").args(["-HUP", &pid]));
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything on one of the gateway's topics from now on, also from when the broker was away.
    pub fn subscribe(&self, topic: &str) -> Subscriber {
        let path = self.file("seen");
        let command = || {
            let mut command = self.client("mosquitto_sub");
            command.args(["-i", "collector", "-c", "-q", "1", "-F", "%U %x", "-t", topic]);
            command
        };
        succeed(command().arg("-E"));
        let process = Kept::start(command().stdout(File::create(&path).unwrap()).stderr(Stdio::null()));
        Subscriber { path, _process: process }
    }

    pub fn publish(&self, topic: &str, payload: &str) {
        succeed(self.client("mosquitto_pub").args(["-q", "1", "-t", topic, "-m", payload]));
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-u", "gw-1", "-P", "secret"]);
        command
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Subscriber {
    path: PathBuf,
    _process: Kept,
}

/// A message as the subscriber got it.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at_s: f64,
    pub hex: String,
}

impl Arrival {
    pub fn report(&self) -> Value {
        let bytes: Vec<u8> =
            (0..self.hex.len() / 2).map(|index| u8::from_str_radix(&self.hex[2 * index..2 * index + 2], 16).unwrap()).collect();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub fn seq(&self) -> u64 {
        self.report()["seq"].as_u64().unwrap()
    }
}

impl Subscriber {
    /// Everything so far, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        // The last line may be half written.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.split_once(' '));
        lines.map(|(at, hex)| Arrival { at_s: at.parse().unwrap(), hex: hex.to_string() }).collect()
    }

    /// The reports' numbers of one boot, in the order in which they came.
    pub fn numbers(&self, boot: &str) -> Vec<u64> {
        let reports = self.arrivals().into_iter().map(|arrival| arrival.report());
        reports.filter(|report| report["boot"] == boot).map(|report| report["seq"].as_u64().unwrap()).collect()
    }

    /// The boot of the newest report.
    pub fn boot(&self) -> String {
        let last = wait_for("a report", || self.arrivals().pop());
        last.report()["boot"].as_str().unwrap().to_string()
    }

    pub fn until_number(&self, boot: &str, seq: u64) {
        wait_for(&format!("report {seq}"), || self.numbers(boot).contains(&seq).then_some(()));
    }
}

/// Which numbers up to the highest are missing.
pub fn gaps(numbers: &[u64]) -> Vec<u64> {
    let last = *numbers.iter().max().unwrap();
    (1..=last).filter(|seq| !numbers.contains(seq)).collect()
}
