//! An edge node of other make: `sparkplug_client.py`, told by lines what to do, telling by lines what happened.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::register::TOKEN;
use super::{Kept, python};

pub struct EdgeNode {
    child: Kept,
    events: Receiver<Value>,
}

impl EdgeNode {
    /// Connects, subscribes, and publishes its births; `more` adds to what it is told.
    pub fn start(broker: SocketAddr, group: &str, gateway: &str, devices: &[&str], more: Value) -> EdgeNode {
        let mut told = json!({"host": broker.ip().to_string(), "port": broker.port(), "gateway": gateway, "token": TOKEN, "group": group,
            "devices": devices});
        for (name, value) in more.as_object().into_iter().flatten() {
            told[name] = value.clone();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sparkplug_client.py");
        let mut child =
            Command::new(python()).args([script, &told.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, events) = channel();
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(serde_json::from_str(&line).unwrap()))));
        EdgeNode { child: Kept(child), events }
    }

    pub fn command(&mut self, line: &str) {
        writeln!(self.child.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next event of that name; those before it are passed over.
    pub fn event(&self, name: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("waited in vain: {name}"));
            if event["event"] == name {
                return event;
            }
        }
    }
}
