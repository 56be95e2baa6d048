//! The few packets that a sender needs, as bytes: MQTT 3.1.1 and 5.

use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// MQTT 3.1.1
    #[value(name = "3")]
    V3,
    /// MQTT 5
    #[value(name = "5")]
    V5,
}

const KEEP_ALIVE_S: u16 = 600;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// A packet's type and flags, its length, and the rest.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = rest.len();
    loop {
        let more = length > 127;
        out.push((length % 128) as u8 | u8::from(more) << 7);
        length /= 128;
        if !more {
            break;
        }
    }
    out.extend(rest);
    out
}

impl Protocol {
    /// Where version 5 has properties, we send none.
    fn no_properties(self, out: &mut Vec<u8>) {
        if self == Protocol::V5 {
            out.push(0);
        }
    }

    pub(super) fn connect(self, client_id: &str, user: &str, password: &str) -> Vec<u8> {
        let mut rest = Vec::new();
        text(&mut rest, "MQTT");
        rest.push(if self == Protocol::V5 { 5 } else { 4 });
        // User name, password, clean start.
        rest.push(0b1100_0010);
        rest.extend(KEEP_ALIVE_S.to_be_bytes());
        self.no_properties(&mut rest);
        [client_id, user, password].iter().for_each(|field| text(&mut rest, field));
        packet(0x10, &rest)
    }

    /// With QoS 1; and where in it the packet id stands.
    pub(super) fn publish(self, topic: &str, payload: &[u8]) -> (Vec<u8>, usize) {
        let mut rest = Vec::with_capacity(payload.len() + topic.len() + 8);
        text(&mut rest, topic);
        rest.extend([0, 0]);
        self.no_properties(&mut rest);
        rest.extend(payload);
        let whole = packet(0x32, &rest);
        let id_at = whole.len() - rest.len() + 2 + topic.len();
        (whole, id_at)
    }

    /// With QoS 0.
    pub(super) fn subscribe(self, filter: &str) -> Vec<u8> {
        let mut rest = vec![0, 1];
        self.no_properties(&mut rest);
        text(&mut rest, filter);
        rest.push(0);
        packet(0x82, &rest)
    }
}

/// Where a packet's rest begins, and the packet ends; `None` while that is not known.
fn bounds(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in input.iter().enumerate().skip(1).take(4) {
        length += usize::from(byte & 127) << (7 * (at - 1));
        if byte & 128 == 0 {
            return Some((at + 1, at + 1 + length));
        }
    }
    None
}

/// The first packet of `input` as its first byte and its rest, and how long it is.
pub(super) fn first_packet(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (rest, end) = bounds(input)?;
    Some((*input.first()?, input.get(rest..end)?, end))
}

/// Is this the answer that lets us in?
pub(super) fn connected(first: u8, rest: &[u8]) -> io::Result<()> {
    match (first, rest) {
        (0x20, [_, 0, ..]) => Ok(()),
        (0x20, [_, code, ..]) => Err(io::Error::other(format!("the connection was refused with code {code:#04x}"))),
        _ => Err(io::Error::other(format!("a packet of type {first:#04x} came instead of CONNACK"))),
    }
}

/// What a publish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) packet_id: u16,
    pub(super) accepted: bool,
}

/// Reads all whole packets; gives how many bytes they are.
pub(super) fn answers(input: &[u8], mut each: impl FnMut(Answer)) -> io::Result<usize> {
    let mut at = 0;
    while let Some((first, rest, length)) = first_packet(&input[at..]) {
        match (first, rest) {
            (0x40, [high, low, reason @ ..]) => {
                let accepted = reason.first().is_none_or(|reason| *reason < 0x80);
                each(Answer { packet_id: u16::from_be_bytes([*high, *low]), accepted });
            }
            (0xE0, reason) => return Err(io::Error::other(format!("the door ended the connection with reason {:#04x?}", reason.first()))),
            _ => {}
        }
        at += length;
    }
    Ok(at)
}

/// Counts the publishes of a stream that comes in any pieces, without looking at them.
#[derive(Default)]
pub(super) struct Publishes {
    pub(super) count: u64,
    /// Of the packet that is coming.
    left: usize,
    /// The beginning of a packet whose length is not known yet.
    head: Vec<u8>,
}

impl Publishes {
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            while self.left == 0
                && let Some((byte, after)) = bytes.split_first()
            {
                self.head.push(*byte);
                bytes = after;
                if let Some((rest, end)) = bounds(&self.head) {
                    self.left = end - rest;
                    self.count += u64::from(self.head[0] >> 4 == 3);
                    self.head.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use rmqtt_codec::{v3, v5};
    use tokio_util::codec::Decoder;

    #[test]
    fn another_make_reads_our_packets() {
        let (publish, id_at) = Protocol::V5.publish("a/b", &[b'x'; 300]);
        assert_eq!(publish[id_at..id_at + 2], [0, 0]);
        let with_id = |mut publish: Vec<u8>, id_at: usize| {
            publish[id_at + 1] = 9;
            publish
        };
        let mut input = BytesMut::from(&Protocol::V5.connect("g/1", "g", "secret")[..]);
        input.extend_from_slice(&with_id(publish, id_at));
        input.extend_from_slice(&Protocol::V5.subscribe("a/+"));
        let mut codec = v5::Codec::default();
        let Some((v5::Packet::Connect(connect), _)) = codec.decode(&mut input).unwrap() else { panic!("no CONNECT") };
        assert_eq!((&*connect.client_id, connect.username.as_deref()), ("g/1", Some("g")));
        let Some((v5::Packet::Publish(publish), _)) = codec.decode(&mut input).unwrap() else { panic!("no PUBLISH") };
        assert_eq!((&*publish.topic, publish.packet_id.map(u16::from), publish.payload.len()), ("a/b", Some(9), 300));
        assert!(matches!(codec.decode(&mut input).unwrap(), Some((v5::Packet::Subscribe(_), _))));

        let (publish, id_at) = Protocol::V3.publish("a/b", b"{}");
        let mut input = BytesMut::from(&Protocol::V3.connect("g", "g", "secret")[..]);
        input.extend_from_slice(&with_id(publish, id_at));
        let mut codec = v3::Codec::default();
        assert!(matches!(codec.decode(&mut input).unwrap(), Some((v3::Packet::Connect(_), _))));
        let Some((v3::Packet::Publish(publish), _)) = codec.decode(&mut input).unwrap() else { panic!("no PUBLISH") };
        assert_eq!((publish.packet_id.map(u16::from), &*publish.payload), (Some(9), &b"{}"[..]));
    }

    #[test]
    fn answers_of_both_versions_are_read_and_a_cut_one_waits() {
        let input = [0x40, 2, 0, 7, 0xD0, 0, 0x40, 4, 1, 0, 0x99, 0, 0x40, 2, 0];
        let mut all = Vec::new();
        let read = answers(&input, |answer| all.push(answer)).unwrap();
        assert_eq!(read, 12);
        assert_eq!(all, [Answer { packet_id: 7, accepted: true }, Answer { packet_id: 256, accepted: false }]);
        assert!(answers(&[0xE0, 1, 0x89], |_| {}).is_err());
    }

    #[test]
    fn publishes_are_counted_however_the_stream_is_cut() {
        let mut stream = vec![0x90, 3, 0, 1, 0];
        for length in [0, 1, 127, 128, 5000] {
            stream.extend(packet(0x30, &vec![0x30; length]));
        }
        for piece in [1, 2, 3, 7, 100, stream.len()] {
            let mut publishes = Publishes::default();
            stream.chunks(piece).for_each(|bytes| publishes.take(bytes));
            assert_eq!(publishes.count, 5, "pieces of {piece}");
        }
    }
}
