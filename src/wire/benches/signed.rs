//! How many reports of 20 devices one core reads a second, from the bytes that come in to the report: `cargo bench -p shangyun-wire`.
#![allow(clippy::unwrap_used)]

use chrono::DateTime;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use wire::cose::{Signed, SigningKey, seal};
use wire::json::Json;
use wire::{AdmittedBefore, Door, PublicKey, ReadContext, Report, open_report, read_report};

const GATEWAY: &str = "gw-1";

fn main() {
    divan::main();
}

fn json() -> Vec<u8> {
    let entry = |i: u16| {
        let power = f64::from(i) * 0.37 + 1.5;
        format!(
            r#"{{"device":"L-{i:04}","at":"2019-11-05T08:00:00.000Z","quality":"N","state":"running","readings":{{"kw":{power:.2},"on":true}}}}"#
        )
    };
    let entries: Vec<String> = (0..20).map(entry).collect();
    format!(r#"{{"v":1,"boot":"b7","seq":123456,"devices":[{}]}}"#, entries.join(",")).into_bytes()
}

fn cbor() -> Vec<u8> {
    Json::read(&json()).unwrap().to_cbor()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn read(body: &[u8]) -> Report {
    let received_at = DateTime::from_timestamp(1_572_940_800, 0).unwrap();
    let context = ReadContext { door: Door::Gateway, received_at, future_skew_s_max: 120, admission: &AdmittedBefore };
    read_report(body, &context).report.unwrap()
}

/// Each iteration is one report.
fn measure<R>(bencher: Bencher, body: &[u8], work: impl Fn(&[u8]) -> R) {
    bencher.counter(ItemsCount::new(1u8)).counter(BytesCount::of_slice(body)).bench_local(|| work(divan::black_box(body)));
}

#[divan::bench]
fn read_json(bencher: Bencher) {
    measure(bencher, &json(), read);
}

#[divan::bench]
fn read_cbor(bencher: Bencher) {
    measure(bencher, &cbor(), read);
}

#[divan::bench]
fn parse_envelope(bencher: Bencher) {
    measure(bencher, &seal(&cbor(), GATEWAY, &key()), |body| Signed::read(body).unwrap().kid.len());
}

#[divan::bench]
fn verify(bencher: Bencher) {
    let public_key = PublicKey::from(&key());
    measure(bencher, &seal(&cbor(), GATEWAY, &key()), |body| open_report(body, Some(&public_key), GATEWAY).unwrap().report.len());
}

#[divan::bench]
fn verify_and_read_signed_cbor(bencher: Bencher) {
    let public_key = PublicKey::from(&key());
    measure(bencher, &seal(&cbor(), GATEWAY, &key()), |body| read(open_report(body, Some(&public_key), GATEWAY).unwrap().report));
}

#[divan::bench]
fn verify_and_read_signed_json(bencher: Bencher) {
    let public_key = PublicKey::from(&key());
    measure(bencher, &seal(&json(), GATEWAY, &key()), |body| read(open_report(body, Some(&public_key), GATEWAY).unwrap().report));
}

#[divan::bench]
fn seal_cbor(bencher: Bencher) {
    let key = key();
    measure(bencher, &cbor(), |report| seal(report, GATEWAY, &key));
}
