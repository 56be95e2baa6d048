//! An edge node of other make, over a broker of other make: its messages become reports, and it is born again when asked.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use support::register::credit_code;
use support::sparkplug::EdgeNode;
use support::{Kept, wait_for};
use wire::report::{Quality, State};
use wire::sparkplug::{Applied, Change, Session, command_topic, rebirth_request};
use wire::{AdmittedBefore, Door, FaultCode, ReadContext, Report, read_report};

/// Mosquitto, and everything that is published below `spBv1.0/`.
struct Broker {
    address: SocketAddr,
    messages: Receiver<(String, Vec<u8>)>,
    _kept: [Kept; 2],
    _dir: tempfile::TempDir,
}

impl Broker {
    fn start() -> Broker {
        let dir = tempfile::tempdir().unwrap();
        // Free a moment ago; nobody else on this machine asks for that very port.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = dir.path().join("mosquitto.conf");
        std::fs::write(&configuration, format!("listener {} {}\nallow_anonymous true\n", address.port(), address.ip())).unwrap();
        let broker = Kept(Command::new("mosquitto").arg("-c").arg(&configuration).stderr(Stdio::null()).spawn().unwrap());
        wait_for("mosquitto listens", || TcpStream::connect(address).ok());
        // Through stdbuf, for it holds lines back from a pipe.
        let mut subscriber = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", &address.port().to_string(), "-t", "spBv1.0/#", "-F", "> %t %x"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("Subscribed")));
        let (sender, messages) = channel();
        std::thread::spawn(move || lines.filter_map(|line| message(&line)).for_each(|message| drop(sender.send(message))));
        Broker { address, messages, _kept: [broker, Kept(subscriber)], _dir: dir }
    }

    fn publish(&self, topic: &str, payload: &[u8]) {
        let mut publisher = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string(), "-t", topic, "-s"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        publisher.stdin.take().unwrap().write_all(payload).unwrap();
        assert!(publisher.wait().unwrap().success());
    }
}

fn message(line: &str) -> Option<(String, Vec<u8>)> {
    let (topic, hex) = line.strip_prefix("> ")?.split_once(' ')?;
    Some((topic.to_string(), hex::decode(hex).unwrap()))
}

/// A host application that follows one edge node.
struct Host<'b> {
    broker: &'b Broker,
    enterprise: String,
    session: Session,
}

impl Host<'_> {
    /// Takes the next message; answers it as the session says.
    fn next(&mut self, kind: &str) -> (Applied, Option<Report>) {
        loop {
            let (topic, payload) = self.broker.messages.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("no {kind}"));
            if topic.contains("/NCMD/") {
                continue;
            }
            assert!(topic.contains(&format!("/{kind}/")), "expected {kind}, found {topic}");
            let now = Utc::now();
            let applied = self.session.apply(&topic, &payload, now);
            if applied.rebirth {
                self.broker.publish(&command_topic(&self.enterprise, "gw-1"), &rebirth_request(now));
            }
            let context = ReadContext { door: Door::Gateway, received_at: now, future_skew_s_max: 120, admission: &AdmittedBefore };
            let report = applied.report.as_ref().map(|report| read_report(report, &context).report.unwrap());
            return (applied, report);
        }
    }

    fn report(&mut self, kind: &str) -> Report {
        let (applied, report) = self.next(kind);
        assert_eq!(applied.faults, []);
        report.unwrap()
    }
}

#[test]
fn births_data_and_deaths_of_another_implementation_become_reports_and_it_is_born_again_when_asked() {
    let broker = Broker::start();
    let enterprise = credit_code(1);
    let mut edge_node = EdgeNode::start(broker.address, &enterprise, "gw-1", &["机床-1", "机床-2"], json!({"data": 2, "bd_seq": 9}));
    let mut host = Host { broker: &broker, session: Session::new(&enterprise, "gw-1", 120, None), enterprise };

    let birth = host.report("NBIRTH");
    let boot = birth.boot.unwrap();
    assert_eq!((birth.seq, birth.events[0].event.as_str()), (Some(1), "start"));
    for (seq, kind, device) in
        [(2, "DBIRTH", "机床-1"), (3, "DBIRTH", "机床-2"), (4, "DDATA", "机床-1"), (5, "DDATA", "机床-2"), (6, "DDATA", "机床-1")]
    {
        let report = host.report(kind);
        let [entry] = &report.devices[..] else { panic!("{report:?}") };
        assert_eq!((report.boot.as_ref(), report.seq, entry.device.as_str()), (Some(&boot), Some(seq), device));
        let mut names: Vec<_> = report.readings.of(entry.readings).map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!((names, entry.quality), (vec!["功率_kw", "温差", "运行", "零件数"], Quality::Normal));
    }
    host.report("DDATA");

    edge_node.command("skip");
    edge_node.command("data");
    let (gap, _) = host.next("DDATA");
    assert_eq!((gap.faults[0].code, gap.rebirth, gap.report), (FaultCode::SparkplugSeq, true, None));
    let (after, _) = host.next("DDATA");
    assert_eq!((after.faults[0].code, after.rebirth, after.report), (FaultCode::BirthMissing, false, None));
    assert_eq!(edge_node.event("received")["metrics"], json!({"Node Control/Rebirth": true}));
    let again = host.report("NBIRTH");
    assert_eq!((again.seq, again.events[1].event.as_str()), (Some(1), "dropped"));
    assert_ne!(again.boot.as_ref(), Some(&boot));
    host.report("DBIRTH");
    host.report("DBIRTH");

    edge_node.command("death 机床-1");
    let death = host.report("DDEATH");
    assert_eq!((death.devices[0].device.as_str(), death.devices[0].state), ("机床-1", Some(State::Offline)));
    edge_node.command("abort");
    let (will, report) = host.next("NDEATH");
    let report = report.unwrap();
    let offline: Vec<_> = report.devices.iter().map(|entry| (entry.device.as_str(), entry.quality, entry.state)).collect();
    assert_eq!((will.change, offline), (Some(Change::NodeDied), vec![("机床-2", Quality::Communication, Some(State::Offline))]));
}

#[test]
fn a_host_that_starts_late_asks_for_births_and_sees_the_end() {
    let broker = Broker::start();
    let enterprise = credit_code(1);
    let mut edge_node = EdgeNode::start(broker.address, &enterprise, "gw-1", &["机床-1"], Value::Null);
    for _ in 0..2 {
        broker.messages.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let mut host = Host { broker: &broker, session: Session::new(&enterprise, "gw-1", 120, None), enterprise };
    edge_node.command("data");
    let (early, _) = host.next("DDATA");
    assert_eq!((early.faults[0].code, early.rebirth), (FaultCode::BirthMissing, true));
    host.report("NBIRTH");
    assert_eq!(host.report("DBIRTH").seq, Some(2));
    edge_node.command("again");
    assert_eq!(host.next("DBIRTH").0.faults[0].code, FaultCode::SparkplugSeq);
    edge_node.command("end");
    assert_eq!(host.report("NDEATH").events[0].event, "stop");
}
