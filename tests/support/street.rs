//! The MQTT door with a well-behaved gateway at work, whatever the others do.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::mqtt::{Hello, Mqtt, Neighbour, Packet, V3};
use super::register::{GUANGZHOU, Register};
use super::{Site, wait_for};

/// A service with a neighbour who must go on whatever the others do.
pub struct Street {
    pub site: Site,
    neighbour: Neighbour,
}

impl Street {
    pub fn new() -> Street {
        Street::with(|_| Vec::new())
    }

    /// With settings that may refer to files made in the directory given.
    pub fn with(settings: impl FnOnce(&Path) -> Vec<String>) -> Street {
        let register = ["gw-1", "gw-2", "gw-n"]
            .iter()
            .zip(1..)
            .fold(Register::new(), |register, (gateway, n)| register.enterprise(n, GUANGZHOU).gateway(gateway, n));
        let site = Site::with(register.file(), settings);
        let neighbour = Neighbour::start(site.service.mqtt, "gw-n");
        Street { site, neighbour }
    }

    pub fn connect(&self, version: u8) -> Mqtt {
        Mqtt::connect(self.site.service.mqtt, version, "gw-1")
    }

    pub fn hello(&self, hello: Hello<'_>) -> u8 {
        Mqtt::open(self.site.service.mqtt, hello).1
    }

    /// Sends bytes on a connection of their own and gives every answer.
    pub fn raw(&self, bytes: &[u8]) -> Vec<Packet> {
        let mut stream = TcpStream::connect(self.site.service.mqtt).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        Mqtt::over(stream, V3).rest()
    }

    /// Waits until no more than the neighbour and this many others are connected.
    pub fn await_closed(&self, open: u64) {
        wait_for("connections are closed", || (self.site.service.metric("shangyun_ingest_mqtt_connections") <= open).then_some(()));
    }

    /// Connections that ended for this reason.
    pub fn ended(&self, reason: &str) -> u64 {
        self.site.service.metric(&format!("shangyun_ingest_mqtt_connections_ended_total{{reason=\"{reason}\"}}"))
    }

    pub fn await_ended(&self, reason: &str, count: u64) {
        wait_for("the ending is counted", || (self.ended(reason) == count).then_some(()));
    }

    /// Codes of the newest refusals of this gateway, the newest first.
    pub fn quarantined(&self, gateway: &str) -> Vec<String> {
        let items = self.site.get(&format!("/api/v1/quarantine?kind=gateway&sender={gateway}"), &self.site.admin).json()["items"].clone();
        items.as_array().unwrap().iter().map(|item| item["faults"][0]["code"].as_str().unwrap().to_string()).collect()
    }

    pub fn boots(&self, gateway: &str) -> Value {
        self.site.get(&format!("/api/v1/gateways/{gateway}"), &self.site.admin).json()["boots"].clone()
    }

    /// The neighbour is answered now, and every report of it was accepted; nobody else's was but `others`.
    pub fn all_well(self, others: u64) {
        self.neighbour.goes_on();
        let theirs = self.neighbour.finish();
        assert_eq!(self.site.service.reports("accepted"), theirs + others);
        wait_for("no connection is left behind", || (self.site.service.metric("shangyun_ingest_mqtt_connections") == 0).then_some(()));
    }
}
