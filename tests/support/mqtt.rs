//! MQTT 3.1.1 and 5 byte by byte, so that a test can also send what no client library would.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::Utc;

use super::history::gateway_report;
use super::register::TOKEN;
use super::wait_for;

pub const V3: u8 = 4;
pub const V5: u8 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connack(u8),
    Publish { topic: String, payload: String, retain: bool },
    Puback { id: u16, reason: u8 },
    Suback(Vec<u8>),
    Pong,
    Disconnect(u8),
}

/// The fields of a CONNECT.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    pub version: u8,
    pub client_id: &'a str,
    pub user: &'a str,
    pub password: &'a str,
    pub keep_alive_s: u16,
    /// Topic and payload.
    pub will: Option<(&'a str, &'a str)>,
}

impl<'a> Hello<'a> {
    pub fn of(version: u8, gateway: &'a str) -> Hello<'a> {
        Hello { version, client_id: gateway, user: gateway, password: TOKEN, keep_alive_s: 60, will: None }
    }
}

pub struct Mqtt {
    stream: TcpStream,
    version: u8,
}

pub fn text(text: &str) -> Vec<u8> {
    let mut out = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

/// A packet: first byte, remaining length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let more = length >= 128;
        out.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            break;
        }
    }
    out.extend(body);
    out
}

pub fn publish_packet(version: u8, topic: &str, qos: u8, retain: bool, id: u16, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == V5 {
        body.push(0);
    }
    body.extend(payload.as_bytes());
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

impl Mqtt {
    /// Connects, and gives the CONNACK's code.
    pub fn open(address: SocketAddr, hello: Hello<'_>) -> (Mqtt, u8) {
        Mqtt::open_and_go_on(address, hello, &[])
    }

    /// Connects, with more bytes sent in one piece with the CONNECT.
    pub fn open_and_go_on(address: SocketAddr, hello: Hello<'_>, more: &[u8]) -> (Mqtt, u8) {
        let mut mqtt = Mqtt { stream: TcpStream::connect(address).unwrap(), version: hello.version };
        mqtt.greet(hello, more);
        match mqtt.read() {
            Some(Packet::Connack(code)) => (mqtt, code),
            other => panic!("no CONNACK: {other:?}"),
        }
    }

    /// Connects to a service that may be killed meanwhile; `None` when it is gone.
    pub fn try_connect(address: SocketAddr, version: u8, gateway: &str) -> Option<Mqtt> {
        let mut mqtt = Mqtt { stream: TcpStream::connect(address).ok()?, version };
        mqtt.greet(Hello::of(version, gateway), &[]);
        let answer = mqtt.read()?;
        assert_eq!(answer, Packet::Connack(0));
        Some(mqtt)
    }

    fn greet(&mut self, hello: Hello<'_>, more: &[u8]) {
        self.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.stream.set_nodelay(true).unwrap();
        let no_properties: &[u8] = if hello.version == V5 { &[0] } else { &[] };
        let mut body = text("MQTT");
        body.extend([hello.version, 0xC2 | if hello.will.is_some() { 0x04 } else { 0 }]);
        body.extend(hello.keep_alive_s.to_be_bytes());
        body.extend(no_properties);
        body.extend(text(hello.client_id));
        if let Some((topic, payload)) = hello.will {
            body.extend(no_properties);
            body.extend(text(topic));
            body.extend(text(payload));
        }
        body.extend(text(hello.user));
        body.extend(text(hello.password));
        self.send(&[&packet(0x10, &body), more].concat());
    }

    pub fn connect(address: SocketAddr, version: u8, gateway: &str) -> Mqtt {
        let (mqtt, code) = Mqtt::open(address, Hello::of(version, gateway));
        assert_eq!(code, 0, "CONNACK");
        mqtt
    }

    /// What is sent to a connection that the service has ended is lost, as it should be.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// With packet id 0 as QoS 0.
    pub fn publish(&mut self, topic: &str, id: u16, payload: &str) {
        self.publish_as(topic, if id == 0 { 0 } else { 1 }, false, id, payload);
    }

    pub fn publish_as(&mut self, topic: &str, qos: u8, retain: bool, id: u16, payload: &str) {
        self.send(&publish_packet(self.version, topic, qos, retain, id, payload));
    }

    /// Subscribes with QoS 1 and gives the SUBACK's codes; nothing else may come meanwhile.
    pub fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let mut body = vec![0x7F, 0xFF];
        if self.version == V5 {
            body.push(0);
        }
        for filter in filters {
            body.extend(text(filter));
            body.push(1);
        }
        self.send(&packet(0x82, &body));
        match self.read() {
            Some(Packet::Suback(codes)) => codes,
            other => panic!("no SUBACK: {other:?}"),
        }
    }

    pub fn ping(&mut self) -> bool {
        self.send(&[0xC0, 0]);
        self.read() == Some(Packet::Pong)
    }

    /// The next packet; `None` when the connection has ended.
    pub fn read(&mut self) -> Option<Packet> {
        let first = self.byte()?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        let two = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        Some(match first >> 4 {
            2 => Packet::Connack(body[1]),
            3 => {
                let topic_end = 2 + usize::from(two(0));
                // Properties of the service's own publishes are short, or none.
                let payload = topic_end + if self.version == V5 { 1 + usize::from(body[topic_end]) } else { 0 };
                let of = |range: &[u8]| String::from_utf8(range.to_vec()).unwrap();
                Packet::Publish { topic: of(&body[2..topic_end]), payload: of(&body[payload..]), retain: first & 1 == 1 }
            }
            4 => Packet::Puback { id: two(0), reason: body.get(2).copied().unwrap_or(0) },
            9 => Packet::Suback(body[if self.version == V5 { 3 } else { 2 }..].to_vec()),
            13 => Packet::Pong,
            14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
            other => panic!("packet type {other}"),
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.fill(&mut byte).map(|()| byte[0])
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    /// Reads to the end of the connection and gives what came before it.
    pub fn rest(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.read()).collect()
    }
}

/// A well-behaved gateway that reports all the while.
pub struct Neighbour {
    acknowledged: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    pub fn start(address: SocketAddr, gateway: &'static str) -> Neighbour {
        let (acknowledged, stopping) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (acknowledged.clone(), stopping.clone());
        let mut mqtt = Mqtt::connect(address, V5, gateway);
        let thread = std::thread::spawn(move || {
            for seq in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let report = gateway_report("neighbour", seq, "邻居-1", Utc::now()).to_string();
                let id = (seq % 60_000) as u16 + 1;
                mqtt.publish(&format!("shangyun/v1/{gateway}/report"), id, &report);
                assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason: 0 }));
                count.store(seq, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Neighbour { acknowledged, stopping, thread: Some(thread) }
    }

    /// It must be acknowledged now, on the connection it had from the start.
    pub fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait_for("the neighbour is acknowledged", || (self.acknowledged.load(Ordering::Relaxed) > before + 2).then_some(()));
    }

    /// Stops and gives how many reports were acknowledged.
    pub fn finish(mut self) -> u64 {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
