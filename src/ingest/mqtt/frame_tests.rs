//! Bytes that the codec lets pass, and how they arrive.

use bytes::BytesMut;

use super::codec::Codec;
use super::ending::Ending;
use super::frame::{Frame, Version};
use super::packet::{ConnectRefusal, Inbound};

const BYTES_MAX: usize = 1_000;

fn decode(version_5: bool, bytes: &[u8]) -> Result<Option<Inbound>, Ending> {
    let mut codec = if version_5 { Codec::v5(BYTES_MAX) } else { Codec::v3(BYTES_MAX) };
    codec.decode(&mut BytesMut::from(bytes))
}

fn connect(version_5: bool, bytes: &[u8]) -> Result<super::packet::Connect, ConnectRefusal> {
    let mut codec = if version_5 { Codec::v5(BYTES_MAX) } else { Codec::v3(BYTES_MAX) };
    codec.decode_connect(&mut BytesMut::from(bytes))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

#[test]
fn a_packet_is_found_wherever_the_bytes_are_cut() {
    let whole = [0x30, 0x80, 0x01].iter().copied().chain(std::iter::repeat_n(7, 128)).collect::<Vec<u8>>();
    for cut in 0..whole.len() {
        assert_eq!(Frame::at_front(&whole[..cut], BYTES_MAX), Ok(None), "{cut}");
    }
    assert!(Frame::at_front(&whole, BYTES_MAX).unwrap().is_some());
    assert!(Frame::at_front(&whole, whole.len()).unwrap().is_some());
    assert_eq!(Frame::at_front(&whole[..3], whole.len() - 1), Err(Ending::PacketTooLarge), "before it has come");
    assert_eq!(Frame::at_front(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], usize::MAX), Err(Ending::Malformed));
    assert_eq!(Frame::at_front(&[0x30, 0xFF, 0xFF, 0xFF], usize::MAX), Ok(None));
}

#[test]
fn only_a_connect_of_a_known_protocol_opens() {
    let version = |bytes: &[u8]| Frame::at_front(bytes, BYTES_MAX).unwrap().unwrap().version(bytes);
    assert_eq!(version(&packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01x")), Ok(Version::V3));
    assert_eq!(version(&packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x01x")), Ok(Version::V5));
    assert_eq!(version(&packet(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\x01x")), Ok(Version::Other));
    assert_eq!(version(&packet(0x10, b"\0\x04MQTT\x06\x02\0\0\0\x01x")), Ok(Version::Other));
    assert_eq!(version(&packet(0x10, b"\0\x04HTTP\x04\x02\0\0\0\x01x")), Err(Ending::Malformed));
    assert_eq!(version(&packet(0xC0, b"")), Err(Ending::Protocol));
}

#[test]
fn what_the_standard_reserves_is_malformed() {
    let cases: [(&str, bool, Vec<u8>); 16] = [
        ("a PINGREQ with a body", false, packet(0xC0, b"x")),
        ("a PINGREQ with a body", true, packet(0xC0, b"x")),
        ("a PINGREQ with flags", false, packet(0xC1, b"")),
        ("a DISCONNECT with a body", false, packet(0xE0, b"\0")),
        ("a PUBLISH of QoS 3", false, packet(0x36, b"\0\x01t\0\x01{}")),
        ("a PUBLISH of QoS 0 sent twice", false, packet(0x38, b"\0\x01t{}")),
        ("a PUBLISH of QoS 0 sent twice", true, packet(0x38, b"\0\x01t\0{}")),
        ("a PUBLISH with packet id 0", false, packet(0x32, b"\0\x01t\0\0{}")),
        ("a PUBLISH that is no UTF-8", false, packet(0x30, b"\0\x02\xC3\x28{}")),
        ("a SUBSCRIBE with flags", false, packet(0x80, b"\0\x01\0\x01t\x01")),
        ("a SUBSCRIBE with packet id 0", true, packet(0x82, b"\0\0\0\0\x01t\x01")),
        ("a SUBSCRIBE with reserved bits", false, packet(0x82, b"\0\x01\0\x01t\x05")),
        ("a SUBSCRIBE with reserved bits", true, packet(0x82, b"\0\x01\0\0\x01t\x41")),
        ("a SUBSCRIBE of QoS 3", true, packet(0x82, b"\0\x01\0\0\x01t\x03")),
        ("an UNSUBSCRIBE cut short", false, packet(0xA2, b"\0\x01\0\x05t")),
        ("a PUBACK with more behind it", false, packet(0x40, b"\0\x01x")),
    ];
    for (what, version_5, bytes) in cases {
        assert!(matches!(decode(version_5, &bytes), Err(Ending::Malformed)), "{what}: {:?}", decode(version_5, &bytes));
    }
}

#[test]
fn what_the_standard_calls_an_error_of_protocol_is_one() {
    let cases: [(&str, bool, Vec<u8>); 6] = [
        ("a SUBSCRIBE without filters", false, packet(0x82, b"\0\x01")),
        ("a SUBSCRIBE without filters", true, packet(0x82, b"\0\x01\0")),
        ("an UNSUBSCRIBE without filters", false, packet(0xA2, b"\0\x01")),
        ("an UNSUBSCRIBE without filters", true, packet(0xA2, b"\0\x01\0")),
        ("a PUBLISH with a subscription identifier", true, packet(0x30, b"\0\x01t\x02\x0B\x01{}")),
        ("a PUBLISH answered everywhere", true, packet(0x30, b"\0\x01t\x04\x08\0\x01#{}")),
    ];
    for (what, version_5, bytes) in cases {
        assert!(matches!(decode(version_5, &bytes), Err(Ending::Protocol)), "{what}: {:?}", decode(version_5, &bytes));
    }
    assert!(matches!(decode(false, &packet(0x30, b"\0\0{}")), Err(Ending::TopicInvalid)), "an empty topic");
    assert!(matches!(decode(true, &packet(0x20, b"\0\0\0")), Ok(Some(Inbound::Unexpected(_)))), "CONNACK");
    assert!(matches!(decode(true, &packet(0xF0, b"")), Ok(Some(Inbound::Unexpected(_)))), "AUTH");
    assert!(matches!(decode(false, &packet(0x62, b"\0\x01")), Ok(Some(Inbound::Unexpected(_)))), "PUBREL");
}

#[test]
fn a_connect_is_whole_and_nothing_more() {
    let sound: [(bool, &[u8]); 5] = [
        (false, b"\0\x04MQTT\x04\x02\0\x3C\0\x01x"),
        (false, b"\0\x04MQTT\x04\xCE\0\x3C\0\x01x\0\x01t\0\x01\0\0\x01u\0\x01p"),
        (true, b"\0\x04MQTT\x05\x02\0\x3C\0\0\x01x"),
        (true, b"\0\x04MQTT\x05\x42\0\x3C\0\0\x01x\0\x01p"),
        (true, b"\0\x04MQTT\x05\xCE\0\x3C\x05\x11\0\0\0\x09\0\x01x\x05\x18\0\0\0\x05\0\x01t\0\x01\0\0\x01u\0\x01p"),
    ];
    for (version_5, body) in sound {
        assert!(connect(version_5, &packet(0x10, body)).is_ok(), "{body:?}");
        let more = connect(version_5, &packet(0x10, &[body, b"z"].concat()));
        assert_eq!(more.err(), Some(ConnectRefusal::Malformed), "{body:?} and more");
        let less = connect(version_5, &packet(0x10, &body[..body.len() - 1]));
        assert_eq!(less.err(), Some(ConnectRefusal::Malformed), "{body:?} and less");
    }
    let faulty: [(&str, bool, &[u8]); 8] = [
        ("reserved flag", false, b"\0\x04MQTT\x04\x03\0\x3C\0\x01x"),
        ("reserved flag", true, b"\0\x04MQTT\x05\x03\0\x3C\0\0\x01x"),
        ("will QoS without a will", false, b"\0\x04MQTT\x04\x0A\0\x3C\0\x01x"),
        ("will retain without a will", true, b"\0\x04MQTT\x05\x22\0\x3C\0\0\x01x"),
        ("will of QoS 3", true, b"\0\x04MQTT\x05\x1E\0\x3C\0\0\x01x\0\0\x01t\0\x01m"),
        ("a password without a user name", false, b"\0\x04MQTT\x04\x42\0\x3C\0\x01x\0\x01p"),
        ("a NUL in the client id", false, b"\0\x04MQTT\x04\x02\0\x3C\0\x01\0"),
        ("receive maximum 0", true, b"\0\x04MQTT\x05\x02\0\x3C\x03\x21\0\0\0\x01x"),
    ];
    for (what, version_5, body) in faulty {
        assert_eq!(connect(version_5, &packet(0x10, body)).err(), Some(ConnectRefusal::Malformed), "{what}");
    }
    for (version_5, body) in [(false, &b"\0\x04MQTT\x04\0\0\x3C\0\0"[..]), (true, &b"\0\x04MQTT\x05\0\0\x3C\0\0\0"[..])] {
        assert_eq!(connect(version_5, &packet(0x10, body)).err(), Some(ConnectRefusal::ClientId), "no client id, no clean start");
    }
}
