//! Signed reports: the envelope, and who may open it.

use wire::cose::{Signed, SigningKey, seal};
use wire::json::Json;
use wire::{Fault, FaultCode, PublicKey, examine_report, open_report, reopen_report};

use super::{Target, report};

pub(crate) const TARGET: Target = Target { name: "cose", run, seeds, words: WORDS };

const GATEWAY: &str = "gw-1";

fn own() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn foreign() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// Nothing was ever signed with this one.
fn unused() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// What has been signed with the gateway's own key.
fn signed_payloads() -> Vec<Vec<u8>> {
    let texts = report::texts();
    let cbor = Json::read(texts[1].as_bytes()).unwrap().to_cbor();
    texts.into_iter().map(String::into_bytes).chain([cbor, b"neither".to_vec()]).collect()
}

pub(crate) fn run(body: &[u8]) {
    match Signed::read(body) {
        Ok(signed) => reassembles(body, &signed),
        Err(error) => assert!(error.at <= body.len() && !error.found.is_empty() && error.found.len() < 256, "{error:?}"),
    }
    let opened = reopen_report(body);
    if let Err(fault) = &opened {
        told(fault, &[FaultCode::Format, FaultCode::Cose, FaultCode::Size]);
    }
    admits_only_its_own(body);
}

/// The parts lie in the body in their order, and an envelope of them and nothing else reads the same.
fn reassembles(body: &[u8], signed: &Signed<'_>) {
    let place = |part: &[u8]| part.as_ptr() as usize - body.as_ptr() as usize..part.as_ptr() as usize - body.as_ptr() as usize + part.len();
    let (kid, payload, signature) = (place(signed.kid), place(signed.payload), place(signed.signature));
    assert!(kid.end <= payload.start && payload.end <= signature.start && signature.end == body.len());
    let to_be_signed = signed.to_be_signed();
    let rest = to_be_signed.strip_prefix(b"\x84\x6aSignature1").unwrap();
    let tail = [&byte_string(b"")[..], &byte_string(signed.payload)].concat();
    let protected = rest.strip_suffix(&tail[..]).unwrap();
    let assembled = [&b"\xd2\x84"[..], protected, b"\xa0", &byte_string(signed.payload), &byte_string(signed.signature)].concat();
    let again = Signed::read(&assembled).unwrap();
    assert_eq!((again.kid, again.payload, again.signature), (signed.kid, signed.payload, signed.signature));
    assert_eq!(again.to_be_signed(), to_be_signed);
    // As short as it can be, it can be written in one way only.
    assert!(assembled.len() < body.len() || assembled == body);
}

/// Only what the own key has signed, under the own name, is opened; another key opens nothing.
fn admits_only_its_own(body: &[u8]) {
    let (own, unused) = (PublicKey::from(&own()), PublicKey::from(&unused()));
    let expected = [FaultCode::Format, FaultCode::Cose, FaultCode::Size, FaultCode::Kid, FaultCode::Signature, FaultCode::Unsigned];
    told(&open_report(body, Some(&unused), GATEWAY).unwrap_err(), &expected);
    match open_report(body, Some(&own), GATEWAY) {
        Ok(opened) => assert!(opened.signed.is_some() && signed_payloads().iter().any(|payload| payload == opened.report)),
        Err(fault) => told(&fault, &expected),
    }
    match open_report(body, None, GATEWAY) {
        Ok(opened) => assert!(opened.signed.is_none() && opened.report == body),
        Err(fault) => told(&fault, &[FaultCode::Format, FaultCode::Cose, FaultCode::Size, FaultCode::Kid, FaultCode::NoPublicKey]),
    }
    if let Ok(examined) = examine_report(body, Some(&own), GATEWAY) {
        assert!(examined.signed());
    }
}

fn told(fault: &Fault, expected: &[FaultCode]) {
    assert!(expected.contains(&fault.code) && fault.path.is_empty() && fault.detail.len() <= 1024, "{fault:?}");
}

/// In CBOR, as short as it can be.
fn byte_string(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u64;
    let head = match length {
        0..24 => vec![0x40 | length as u8],
        24..0x100 => vec![0x58, length as u8],
        0x100..0x1_0000 => [&[0x59][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0x5a][..], &(length as u32).to_be_bytes()].concat(),
    };
    [&head, bytes].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let payloads = signed_payloads();
    let mut seeds: Vec<_> = payloads.iter().map(|payload| seal(payload, GATEWAY, &own())).collect();
    seeds.push(seal(&payloads[1], GATEWAY, &foreign()));
    seeds.push(seal(&payloads[1], "gw-2", &own()));
    let sealed = &seeds[1];
    // The same with something in the unprotected header, which is anybody's: {"x": [1, h'02'], 5: 1(2)}
    let at = sealed.iter().position(|byte| *byte == 0xa0).unwrap();
    let with_more = [&sealed[..at], b"\xa2\x61x\x82\x01\x41\x02\x05\xc1\x02", &sealed[at + 1..]].concat();
    seeds.push(with_more);
    seeds.extend(payloads);
    seeds
}

const WORDS: &[&[u8]] = &[
    b"\xd2\x84",
    b"\xd8\x12\x84",
    b"\xa2\x01\x27\x04\x44gw-1",
    b"\xa1\x01\x27",
    b"\x04\x44gw-2",
    b"\x02\x81\x01",
    b"\xa0",
    b"\xa1\x01\x27",
    b"\xf6",
    b"\x40",
    b"\x58\x40",
    b"\x5f\x41a\xff",
    b"\xbf\xff",
    b"\x18\x01",
    b"\x38\x07",
    b"\x61x\x82",
    b"\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1",
];
