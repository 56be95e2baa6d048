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
    Connack {
        code: u8,
        present: bool,
    },
    /// With packet id 0 for QoS 0.
    Publish {
        topic: String,
        payload: String,
        retain: bool,
        id: u16,
        again: bool,
    },
    Puback {
        id: u16,
        reason: u8,
    },
    Suback(Vec<u8>),
    Unsuback(Vec<u8>),
    Pong,
    Disconnect(u8),
}

/// The fields of a CONNECT.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    pub version: u8,
    pub client_id: &'a str,
    /// Empty: neither user name nor password.
    pub user: &'a str,
    pub password: &'a str,
    pub keep_alive_s: u16,
    pub clean: bool,
    /// Properties of MQTT 5, as bytes.
    pub properties: &'a [u8],
    /// Topic and payload.
    pub will: Option<(&'a str, &'a str)>,
    /// QoS and retain, as the CONNECT's flags say them.
    pub will_flags: u8,
    pub will_properties: &'a [u8],
}

/// The flags of a will.
pub const WILL_QOS_1: u8 = 0x08;
pub const WILL_QOS_2: u8 = 0x10;
pub const WILL_RETAIN: u8 = 0x20;
/// Properties: a session that ends after an hour; one message at a time.
pub const EXPIRY_1_H: &[u8] = &[0x11, 0, 0, 0x0E, 0x10];
pub const RECEIVE_MAXIMUM_1: &[u8] = &[0x21, 0, 1];

impl<'a> Hello<'a> {
    pub fn of(version: u8, gateway: &'a str) -> Hello<'a> {
        Hello {
            version,
            client_id: gateway,
            user: gateway,
            password: TOKEN,
            keep_alive_s: 60,
            clean: true,
            properties: &[],
            will: None,
            will_flags: 0,
            will_properties: &[],
        }
    }

    /// With a session that outlives the connection.
    pub fn kept(version: u8, gateway: &'a str) -> Hello<'a> {
        Hello { clean: false, properties: if version == V5 { EXPIRY_1_H } else { &[] }, ..Hello::of(version, gateway) }
    }

    pub fn packet(&self) -> Vec<u8> {
        let properties = |properties: &[u8]| match self.version {
            V5 => [&[u8::try_from(properties.len()).unwrap()], properties].concat(),
            _ => Vec::new(),
        };
        let mut body = text("MQTT");
        let will = if self.will.is_some() { 0x04 | self.will_flags } else { 0 };
        let login = if self.user.is_empty() { 0 } else { 0xC0 };
        body.extend([self.version, login | if self.clean { 2 } else { 0 } | will]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.properties));
        body.extend(text(self.client_id));
        if let Some((topic, payload)) = self.will {
            body.extend(properties(self.will_properties));
            body.extend(text(topic));
            body.extend(text(payload));
        }
        if !self.user.is_empty() {
            body.extend(text(self.user));
            body.extend(text(self.password));
        }
        packet(0x10, &body)
    }
}

/// TCP, or TLS over it.
pub trait Transport: Read + Write + Send {}

impl<T: Read + Write + Send> Transport for T {}

pub struct Mqtt {
    stream: Box<dyn Transport>,
    version: u8,
    /// The CONNACK said that a session from before is present.
    pub present: bool,
    /// The last packet as it came, without its fixed header.
    pub raw: Vec<u8>,
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
    /// Over a stream that gives up waiting by itself.
    pub fn over(stream: impl Transport + 'static, version: u8) -> Mqtt {
        Mqtt { stream: Box::new(stream), version, present: false, raw: Vec::new() }
    }

    /// Connects, and gives the CONNACK's code.
    pub fn open(address: SocketAddr, hello: Hello<'_>) -> (Mqtt, u8) {
        Mqtt::open_and_go_on(address, hello, &[])
    }

    /// Connects, with more bytes sent in one piece with the CONNECT.
    pub fn open_and_go_on(address: SocketAddr, hello: Hello<'_>, more: &[u8]) -> (Mqtt, u8) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_nodelay(true).unwrap();
        Mqtt::over(stream, hello.version).say_and_go_on(hello, more).unwrap()
    }

    /// Connects to a service that may be killed meanwhile; `None` when it is gone.
    pub fn try_connect(address: SocketAddr, version: u8, gateway: &str) -> Option<Mqtt> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.set_nodelay(true).ok()?;
        let (mqtt, code) = Mqtt::over(stream, version).say(Hello::of(version, gateway)).ok()?;
        assert_eq!(code, 0, "CONNACK");
        Some(mqtt)
    }

    /// Sends the CONNECT and gives the CONNACK's code, if one comes.
    pub fn say(self, hello: Hello<'_>) -> Result<(Mqtt, u8), String> {
        self.say_and_go_on(hello, &[])
    }

    fn say_and_go_on(mut self, hello: Hello<'_>, more: &[u8]) -> Result<(Mqtt, u8), String> {
        self.send(&[&hello.packet(), more].concat());
        match self.read() {
            Some(Packet::Connack { code, present }) => {
                self.present = present;
                Ok((self, code))
            }
            other => Err(format!("no CONNACK: {other:?}")),
        }
    }

    pub fn connect(address: SocketAddr, version: u8, gateway: &str) -> Mqtt {
        let (mqtt, code) = Mqtt::open(address, Hello::of(version, gateway));
        assert_eq!(code, 0, "CONNACK");
        mqtt
    }

    /// What is sent to a connection that the service has ended is lost, as it should be.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// Sends over and over until the service takes no more.
    pub fn send_until_full(&mut self, bytes: &[u8]) {
        while self.stream.write_all(bytes).is_ok() {}
    }

    /// With packet id 0 as QoS 0.
    pub fn publish(&mut self, topic: &str, id: u16, payload: &str) {
        self.publish_as(topic, if id == 0 { 0 } else { 1 }, false, id, payload);
    }

    pub fn publish_as(&mut self, topic: &str, qos: u8, retain: bool, id: u16, payload: &str) {
        self.send(&publish_packet(self.version, topic, qos, retain, id, payload));
    }

    pub fn puback(&mut self, id: u16) {
        self.send(&packet(0x40, &id.to_be_bytes()));
    }

    /// Subscribes with QoS 1 and gives the SUBACK's codes; nothing else may come meanwhile.
    pub fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        self.subscribe_as(filters, 1, &[])
    }

    /// With the options of the subscriptions and properties of the packet as bytes.
    pub fn subscribe_as(&mut self, filters: &[&str], options: u8, properties: &[u8]) -> Vec<u8> {
        let mut body = vec![0x7F, 0xFF];
        if self.version == V5 {
            body.push(u8::try_from(properties.len()).unwrap());
            body.extend(properties);
        }
        for filter in filters {
            body.extend(text(filter));
            body.push(options);
        }
        self.send(&packet(0x82, &body));
        match self.read() {
            Some(Packet::Suback(codes)) => codes,
            other => panic!("no SUBACK: {other:?}"),
        }
    }

    /// Takes a subscription back and gives the UNSUBACK's codes, of which MQTT 3.1.1 has none.
    pub fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        let mut body = vec![0x7F, 0xFE];
        if self.version == V5 {
            body.push(0);
        }
        body.extend(text(filter));
        self.send(&packet(0xA2, &body));
        match self.read() {
            Some(Packet::Unsuback(codes)) => codes,
            other => panic!("no UNSUBACK: {other:?}"),
        }
    }

    /// Says goodbye, and waits until the service has heard it.
    pub fn goodbye(mut self) {
        self.send(&[0xE0, 0]);
        assert_eq!(self.rest(), []);
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
        // Properties of the service's acknowledgements are short, or none.
        let codes = |at: usize| body[at + if self.version == V5 { 1 + usize::from(body[at]) } else { 0 }..].to_vec();
        let packet = match first >> 4 {
            2 => Packet::Connack { code: body[1], present: body[0] == 1 },
            3 => {
                let topic_end = 2 + usize::from(two(0));
                let qos = first >> 1 & 3;
                let id = if qos > 0 { two(topic_end) } else { 0 };
                let properties = topic_end + if qos > 0 { 2 } else { 0 };
                let payload = properties + if self.version == V5 { 1 + usize::from(body[properties]) } else { 0 };
                let of = |range: &[u8]| String::from_utf8(range.to_vec()).unwrap();
                let (topic, payload) = (of(&body[2..topic_end]), of(&body[payload..]));
                Packet::Publish { topic, payload, retain: first & 1 == 1, id, again: first & 8 == 8 }
            }
            4 => Packet::Puback { id: two(0), reason: body.get(2).copied().unwrap_or(0) },
            9 => Packet::Suback(codes(2)),
            11 => Packet::Unsuback(if self.version == V5 { codes(2) } else { Vec::new() }),
            13 => Packet::Pong,
            14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
            other => panic!("packet type {other}"),
        };
        self.raw = body;
        Some(packet)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.fill(&mut byte).map(|()| byte[0])
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            // Over TLS: no goodbye, or an alert.
            Err(error) if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::InvalidData].contains(&error.kind()) => None,
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
