//! rumqttc as a gateway, with 3.1.1 or 5, in the same words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::mqtt::V5;
use super::register::TOKEN;

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Connected {
        present: bool,
    },
    Granted(u8),
    /// With the reason, of which 3.1.1 has none.
    Puback(u8),
    Message {
        qos: u8,
        payload: String,
    },
    /// What the client says of its connection's end.
    Ended(String),
}

pub struct Opening<'a> {
    pub version: u8,
    pub client_id: &'a str,
    pub kept: bool,
    pub will: Option<(&'a str, &'a str)>,
    pub keep_alive_s: u64,
}

enum Handle {
    Three(rumqttc::Client),
    Five(rumqttc::v5::Client),
}

pub struct Client {
    handle: Handle,
    seen: Receiver<Seen>,
    vanishing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Both event loops have the same shape and no trait in common.
macro_rules! follow {
    ($timeout:path, $connection:ident, $vanishing:ident, $out:ident, $seen:expr) => {
        std::thread::spawn(move || {
            while !$vanishing.load(Ordering::Relaxed) {
                match $connection.recv_timeout(Duration::from_millis(20)) {
                    Ok(Ok(event)) => {
                        if let Some(seen) = $seen(event) {
                            let _ = $out.send(seen);
                        }
                    }
                    Ok(Err(error)) => {
                        let _ = $out.send(Seen::Ended(format!("{error:?}")));
                        return;
                    }
                    Err($timeout) => {}
                    Err(_) => return,
                }
            }
        })
    };
}

impl Client {
    pub fn open(address: SocketAddr, opening: &Opening<'_>) -> Client {
        let (out, seen) = channel();
        let vanishing = Arc::new(AtomicBool::new(false));
        let (handle, thread) = match opening.version {
            V5 => five(address, opening, vanishing.clone(), out),
            _ => three(address, opening, vanishing.clone(), out),
        };
        Client { handle, seen, vanishing, thread: Some(thread) }
    }

    /// The next thing that it is told.
    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    pub fn nothing_yet(&self) -> bool {
        self.seen.try_recv().is_err()
    }

    pub fn subscribe(&self, topic: &str) {
        match &self.handle {
            Handle::Three(client) => client.subscribe(topic, rumqttc::QoS::AtLeastOnce).unwrap(),
            Handle::Five(client) => client.subscribe(topic, rumqttc::v5::mqttbytes::QoS::AtLeastOnce).unwrap(),
        }
    }

    pub fn publish(&self, topic: &str, payload: &str) {
        match &self.handle {
            Handle::Three(client) => client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).unwrap(),
            Handle::Five(client) => client.publish(topic, rumqttc::v5::mqttbytes::QoS::AtLeastOnce, false, payload.to_string()).unwrap(),
        }
    }

    /// Says goodbye.
    pub fn leave(mut self) {
        match &self.handle {
            Handle::Three(client) => client.disconnect().unwrap(),
            Handle::Five(client) => client.disconnect().unwrap(),
        }
        self.thread.take().unwrap().join().unwrap();
    }

    /// The network is gone without a goodbye.
    pub fn vanish(mut self) {
        self.vanishing.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn three(address: SocketAddr, opening: &Opening<'_>, vanishing: Arc<AtomicBool>, out: Sender<Seen>) -> (Handle, JoinHandle<()>) {
    use rumqttc::{Event, LastWill, Packet, QoS, SubscribeReasonCode};
    let mut options = rumqttc::MqttOptions::new(opening.client_id, address.ip().to_string(), address.port());
    options.set_credentials("gw-1", TOKEN).set_clean_session(!opening.kept);
    options.set_keep_alive(Duration::from_secs(opening.keep_alive_s));
    if let Some((topic, payload)) = opening.will {
        options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
    }
    let (client, mut connection) = rumqttc::Client::new(options, 16);
    let seen = |event| match event {
        Event::Incoming(Packet::ConnAck(connack)) => Some(Seen::Connected { present: connack.session_present }),
        Event::Incoming(Packet::SubAck(suback)) => Some(Seen::Granted(match suback.return_codes[0] {
            SubscribeReasonCode::Success(qos) => qos as u8,
            SubscribeReasonCode::Failure => 0x80,
        })),
        Event::Incoming(Packet::PubAck(_)) => Some(Seen::Puback(0)),
        Event::Incoming(Packet::Publish(publish)) => {
            Some(Seen::Message { qos: publish.qos as u8, payload: String::from_utf8_lossy(&publish.payload).into() })
        }
        _ => None,
    };
    let thread = follow!(rumqttc::RecvTimeoutError::Timeout, connection, vanishing, out, seen);
    (Handle::Three(client), thread)
}

fn five(address: SocketAddr, opening: &Opening<'_>, vanishing: Arc<AtomicBool>, out: Sender<Seen>) -> (Handle, JoinHandle<()>) {
    use rumqttc::v5::Event;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason, SubscribeReasonCode};
    let mut options = rumqttc::v5::MqttOptions::new(opening.client_id, address.ip().to_string(), address.port());
    options.set_credentials("gw-1", TOKEN).set_clean_start(!opening.kept);
    options.set_session_expiry_interval(opening.kept.then_some(3600)).set_keep_alive(Duration::from_secs(opening.keep_alive_s));
    if let Some((topic, payload)) = opening.will {
        options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false, None));
    }
    let (client, mut connection) = rumqttc::v5::Client::new(options, 16);
    let seen = |event| match event {
        Event::Incoming(Packet::ConnAck(connack)) => Some(Seen::Connected { present: connack.session_present }),
        Event::Incoming(Packet::SubAck(suback)) => Some(Seen::Granted(match suback.return_codes[0] {
            SubscribeReasonCode::Success(qos) => qos as u8,
            _ => 0x80,
        })),
        Event::Incoming(Packet::PubAck(puback)) => Some(Seen::Puback(match puback.reason {
            PubAckReason::Success => 0,
            PubAckReason::PayloadFormatInvalid => 0x99,
            _ => 0x80,
        })),
        Event::Incoming(Packet::Publish(publish)) => {
            Some(Seen::Message { qos: publish.qos as u8, payload: String::from_utf8_lossy(&publish.payload).into() })
        }
        _ => None,
    };
    let thread = follow!(rumqttc::v5::RecvTimeoutError::Timeout, connection, vanishing, out, seen);
    (Handle::Five(client), thread)
}
