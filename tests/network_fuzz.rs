//! Damaged MQTT and HTTP over real connections: whoever sends it is refused or cut off, everybody else goes on.
//!
//! `SHANGYUN_FUZZ=100000 cargo test --release --test network_fuzz` sends so many inputs.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/mutator.rs"]
mod mutator;
#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chrono::Utc;
use mutator::Mutator;
use serde_json::json;
use support::Site;
use support::history::gateway_report;
use support::http;
use support::mqtt::{Hello, Neighbour, V3, V5, packet, publish_packet, text};
use support::register::{GUANGZHOU, Register};

const INPUTS: u64 = 6_000;
const THREADS: u64 = 3;

/// A conversation that a gateway may have, in one piece.
fn conversation(version: u8) -> Vec<u8> {
    let report = gateway_report("b1", 1, "SN-1", Utc::now()).to_string();
    let mut subscribe = vec![0, 9];
    if version == V5 {
        subscribe.push(0);
    }
    subscribe.extend(text("shangyun/v1/gw-1/refused"));
    subscribe.push(1);
    let publish = publish_packet(version, "shangyun/v1/gw-1/report", 1, false, 7, &report);
    [Hello::of(version, "gw-1").packet(), packet(0x82, &subscribe), publish, vec![0xC0, 0], vec![0xE0, 0]].concat()
}

fn request() -> Vec<u8> {
    let body = json!({"v": 1, "id": "r-1", "devices": []}).to_string();
    let head = "POST /api/v1/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sy_0\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Sends it in one or two pieces, listens a moment, and goes without a word.
fn send(address: SocketAddr, input: &[u8], cut: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
    let (first, rest) = input.split_at(cut % (input.len() + 1));
    // The service may end the connection at any byte.
    let _ = stream.write_all(first).and_then(|()| stream.write_all(rest));
    let _ = stream.read(&mut [0; 4096]);
}

#[test]
fn damaged_bytes_end_their_own_connection_only_and_the_service_neither_panics_nor_stops() {
    let register = Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU);
    let site = Site::new(register.gateway("gw-1", 1).gateway("gw-2", 1).file());
    let neighbour = Neighbour::start(site.service.mqtt, "gw-2");
    let web: SocketAddr = site.service.http.trim_start_matches("http://").parse().unwrap();
    let inputs = std::env::var("SHANGYUN_FUZZ").ok().map_or(INPUTS, |text| text.parse().unwrap());
    let seeds = [conversation(V3), conversation(V5)];
    let requests = [request()];
    let words: [&[u8]; 4] = [b"shangyun/v1/", b"\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"\xff\xff\xff\x7f"];
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (mqtt, seeds, requests, words) = (site.service.mqtt, &seeds, &requests, &words);
            scope.spawn(move || {
                for n in 0..inputs / THREADS {
                    let seed = n * THREADS + thread;
                    let (address, seeds) = if seed.is_multiple_of(4) { (web, &requests[..]) } else { (mqtt, &seeds[..]) };
                    send(address, &Mutator::new(seed, seeds, words).input(), seed as usize * 31);
                }
            });
        }
    });
    neighbour.goes_on();
    assert!(neighbour.finish() > 10);
    let ready = http::get(&format!("{}/readyz", site.service.admin), "");
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert_eq!(site.service.metric("shangyun_ingest_panics_total{place=\"reading\"}"), 0);
    assert_eq!(site.service.metric("shangyun_ingest_panics_total{place=\"connection\"}"), 0);
    let log = site.service.stop();
    assert!(!log.contains("panicked"), "{log}");
}
