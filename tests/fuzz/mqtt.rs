//! A client's MQTT bytes: the first byte of an input says the version and how the others are cut into pieces.

use ingest::mqtt_decoded;

use super::Target;

pub(crate) const TARGET: Target = Target { name: "mqtt", run, seeds, words: WORDS };

const BYTES_MAX: usize = 64 << 10;

/// However the bytes are cut, they are the same packets and end for the same reason.
pub(crate) fn run(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    let (version_5, piece_bytes) = (first & 1 != 0, 2 + usize::from(first >> 1));
    let whole = mqtt_decoded(version_5, BYTES_MAX, [bytes]);
    // Every packet has at least two bytes.
    assert!(whole.packets.len() <= bytes.len() / 2, "{} packets of {} bytes", whole.packets.len(), bytes.len());
    for length in [1, piece_bytes] {
        assert_eq!(mqtt_decoded(version_5, BYTES_MAX, bytes.chunks(length)), whole);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let v3: [&[u8]; 7] = [
        b"\x00",
        b"\x10\x17\x00\x04MQTT\x04\xC2\x00\x3C\x00\x04gw-1\x00\x01u\x00\x02pw",
        b"\x82\x08\x00\x01\x00\x03a/b\x01",
        b"\x32\x09\x00\x03a/b\x00\x02{}",
        b"\xA2\x07\x00\x03\x00\x03a/b",
        b"\xC0\x00",
        b"\xE0\x00",
    ];
    let v5: [&[u8]; 7] = [
        b"\x07",
        b"\x10\x17\x00\x04MQTT\x05\x02\x00\x3C\x05\x11\x00\x00\x00\x3C\x00\x05gw-15",
        b"\x82\x09\x00\x01\x00\x00\x03a/b\x01",
        b"\x32\x0C\x00\x03a/b\x00\x02\x02\x01\x01{}",
        b"\x40\x02\x00\x02",
        b"\xC0\x00",
        b"\xE0\x02\x04\x00",
    ];
    vec![v3.concat(), v5.concat()]
}

const WORDS: &[&[u8]] = &[
    b"\x00\x04MQTT\x05",
    b"\x30\x05\x00\x03a/b",
    b"\xFF\xFF\xFF\x7F",
    b"\xFF\xFF\xFF\xFF\x01",
    b"\x40\x02\x00\x01",
    b"\x50\x02\x00\x01",
    b"\xC0\x00",
    b"\xE0\x00",
    b"\xF0\x00",
    b"\x23\x00\x01",
    b"\x26\x00\x01a\x00\x01b",
    b"\x00\x01#",
];
