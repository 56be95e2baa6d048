//! CBOR as another writing of JSON.

use wire::json::Json;

use super::{Target, report, written};

pub(crate) const TARGET: Target = Target { name: "cbor", run, seeds, words: WORDS };

pub(crate) fn run(input: &[u8]) {
    match Json::read_cbor(input) {
        Ok(json) => {
            let again = json.to_cbor();
            let read = Json::read_cbor(&again).unwrap();
            // Compared as written: what is no number equals nothing.
            assert_eq!(read.to_cbor(), again);
            if let Some(text) = written::json_text(&json) {
                assert_eq!(read, json);
                assert_eq!(Json::read(text.as_bytes()).ok(), Some(json));
            }
        }
        Err(error) => assert!(error.at <= input.len() && !error.found.is_empty() && error.found.len() < 256, "{error:?}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = report::texts().iter().map(|text| Json::read(text.as_bytes()).unwrap().to_cbor()).collect();
    // RFC 8949, appendix A.
    for example in [
        &b"\xbf\x63Fun\xf5\x63Amt\x21\xff"[..],
        b"\x9f\x01\x82\x02\x03\x9f\x04\x05\xff\xff",
        b"\x7f\x65strea\x64ming\xff",
        b"\x83\x01\x82\x02\x03\x82\x04\x05",
        b"\xa2\x61a\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x61b\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a",
        b"\x84\xf9\x00\x01\xfa\x7f\x80\x00\x00\xf9\x7e\x00\x3b\x7f\xff\xff\xff\xff\xff\xff\xff",
    ] {
        seeds.push(example.to_vec());
    }
    seeds
}

const WORDS: &[&[u8]] = &[
    b"\xa1\x61a",
    b"\x81",
    b"\x9f",
    b"\xbf",
    b"\xff",
    b"\x7f\x61a\xff",
    b"\x5f\x41a\xff",
    b"\xd2",
    b"\xc0",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xf8\x20",
    b"\xf7",
    b"\xf6",
    b"\xf9\x7c\x00",
    b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x01",
    b"\x62\xc3\x28",
];
