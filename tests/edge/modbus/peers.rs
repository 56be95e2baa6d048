//! Servers to read from, and what reading them gives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge::bus::{Address, BusSettings};
use edge::modbus::{DeviceStates, poll};
use edge::report::{Entry, Event, Item};
use edge::{Config, SystemClock};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::support::{Kept, wait_for};

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A server in Python, and the lines that it prints.
pub struct Peer {
    _process: Kept,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    pub fn start(script: &str, arguments: &[&str]) -> Peer {
        let mut process = Kept::start(
            Command::new(workspace().join("target/test-venv/bin/python"))
                .arg(workspace().join("tests/edge").join(script))
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (heard, stdout) = (lines.clone(), process.0.stdout.take().unwrap());
        std::thread::spawn(move || BufReader::new(stdout).lines().for_each(|line| heard.lock().unwrap().push(line.unwrap())));
        Peer { _process: process, lines }
    }

    pub fn line(&self, index: usize) -> String {
        wait_for("the server's line", || self.lines.lock().unwrap().get(index).cloned())
    }

    pub fn port(&self) -> u16 {
        self.line(0).parse().unwrap()
    }

    /// What pymodbus says that it holds.
    pub fn points(&self) -> Vec<Json> {
        serde_json::from_str(&self.line(1)).unwrap()
    }

    /// What was asked: (unit id, function code, address, quantity). No request that does anything but read is ever among it.
    pub fn requests(&self) -> Vec<(u8, u8, u16, u16)> {
        let lines = self.lines.lock().unwrap();
        let requests: Vec<_> = lines[1..]
            .iter()
            .map(|line| {
                let mut words = line.split(' ').skip(1).map(|word| word.parse::<u16>().unwrap());
                let mut next = || words.next().unwrap();
                (next() as u8, next() as u8, next(), next())
            })
            .collect();
        let functions: Vec<u8> = requests.iter().map(|request| request.1).collect();
        assert!(functions.iter().all(|code| [1, 2, 3, 4, 43].contains(code)), "{functions:?}");
        requests
    }
}

pub const POINTS_MAX: usize = 40;

/// Devices of unit 1 with all these points: they are more than one device may have.
pub fn devices_of(points: &[Json]) -> String {
    let mut text = String::new();
    for (i, chunk) in points.chunks(POINTS_MAX).enumerate() {
        text += &format!("[[device]]\nname = \"SN-{i}\"\naddress = \"ADDRESS\"\npoll_ms = 500\n");
        for point in chunk {
            let keys = point.as_object().unwrap().iter().filter(|(key, _)| *key != "expected");
            text += &keys.fold("[[device.point]]\n".to_string(), |text, (key, value)| text + &format!("{key} = {value}\n"));
        }
    }
    text
}

/// The poller of one bus at work.
pub struct Polling {
    items: mpsc::Receiver<Item>,
    pub states: DeviceStates,
    pub events: Vec<Event>,
}

/// Polls the devices of a configuration, all at one address.
pub fn polling(address: &str, devices: &str, settings: BusSettings) -> Polling {
    let (sender, items) = mpsc::channel(1024);
    let states = DeviceStates::default();
    start_poller(address, devices, settings, &states, sender);
    Polling { items, states, events: Vec::new() }
}

/// The same with several pollers for one that takes what they read.
pub fn start_poller(address: &str, devices: &str, settings: BusSettings, states: &DeviceStates, sender: mpsc::Sender<Item>) {
    // The settings are given beside; the configuration wants to see that there are some.
    let bus = if address.starts_with("tls") { "[[bus]]\naddress = \"ADDRESS\"\nca_file = \"ca.pem\"\n" } else { "" };
    let text = format!("[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n{bus}{devices}").replace("ADDRESS", address);
    let devices = Config::read(&text, []).unwrap_or_else(|error| panic!("{error}")).devices;
    tokio::spawn(poll(Address::read(address).unwrap(), settings, devices, Arc::new(SystemClock::default()), states.clone(), sender));
}

impl Polling {
    /// The next entry of whichever device.
    pub async fn next(&mut self, until: Instant) -> Option<Entry> {
        loop {
            match timeout_at(until, self.items.recv()).await.ok()?? {
                Item::Device(entry) => return Some(entry),
                Item::Event(event) => self.events.push(event),
            }
        }
    }

    /// All entries of a time, by device.
    pub async fn collect(&mut self, duration: Duration) -> BTreeMap<String, Vec<Entry>> {
        let until = Instant::now() + duration;
        let mut entries: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        while let Some(entry) = self.next(until).await {
            entries.entry(entry.device.clone()).or_default().push(entry);
        }
        entries
    }

    /// The first entry of this device that is as wanted.
    pub async fn wait(&mut self, device: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        let until = Instant::now() + Duration::from_secs(20);
        while let Some(entry) = self.next(until).await {
            if entry.device == device && wanted(&entry) {
                return entry;
            }
        }
        panic!("no such entry of {device}: {:?}", self.states.snapshot().get(device));
    }
}
