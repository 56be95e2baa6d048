//! Connections are bounded, in number and in every kind of waiting; whoever is in goes on.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use support::mqtt::{Hello, Mqtt, Packet, V5};
use support::street::Street;
use support::{SHANGYUN, Service, http, wait_for};

fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything until the service closes; a reset is an end too.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).to_string()
}

fn http_ended(street: &Street, reason: &str) -> u64 {
    street.site.service.metric(&format!("shangyun_web_connections_ended_total{{reason=\"{reason}\"}}"))
}

fn await_http_ended(street: &Street, reason: &str, count: u64) {
    wait_for("the ending is counted", || (http_ended(street, reason) == count).then_some(()));
}

/// GET on a connection that is kept, with the answer's status.
fn get(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).lines().next().unwrap_or("").to_string()
}

#[test]
fn mqtt_connections_of_one_address_are_bounded_and_strangers_take_at_most_half_of_them() {
    let street = Street::with(|_| vec!["mqtt.connections_per_address_max=6".into(), "mqtt.connect_timeout_s=2".into()]);
    let address = street.site.service.mqtt.to_string();
    // The neighbour is in; three may wait for their CONNECT.
    let mut waiting: Vec<TcpStream> = (0..3).map(|_| tcp(&address)).collect();
    wait_for("they are accepted", || (street.site.service.metric("shangyun_ingest_mqtt_connections") == 4).then_some(()));
    assert_eq!(rest(&mut tcp(&address)), "");
    street.await_ended("too_many_openings", 1);
    waiting.iter_mut().for_each(|stream| assert_eq!(rest(stream), ""));
    street.await_ended("connect_timeout", 3);
    let clients: Vec<String> = (0..5).map(|n| format!("gw-1/{n}")).collect();
    let mut inside: Vec<Mqtt> =
        clients.iter().map(|client_id| Mqtt::open(street.site.service.mqtt, Hello { client_id, ..Hello::of(V5, "gw-1") }).0).collect();
    assert_eq!(rest(&mut tcp(&address)), "");
    street.await_ended("too_many_of_address", 1);
    assert!(inside.iter_mut().all(Mqtt::ping));
    inside.pop().unwrap().goodbye();
    wait_for("a place is free again", || (street.site.service.metric("shangyun_ingest_mqtt_connections") == 5).then_some(()));
    inside.push(street.connect(V5));
    drop(inside);
    street.all_well(0);
}

#[test]
fn mqtt_connections_are_bounded_in_all() {
    let street = Street::with(|_| vec!["mqtt.connections_max=3".into()]);
    let mut inside: Vec<Mqtt> = ["gw-1/a", "gw-1/b"]
        .iter()
        .map(|client_id| Mqtt::open(street.site.service.mqtt, Hello { client_id, ..Hello::of(V5, "gw-1") }).0)
        .collect();
    assert_eq!(rest(&mut tcp(&street.site.service.mqtt.to_string())), "");
    street.await_ended("too_many", 1);
    assert!(inside.iter_mut().all(Mqtt::ping));
    drop(inside);
    street.all_well(0);
}

#[test]
fn a_thousand_connections_that_say_nothing_hold_up_nobody() {
    let street = Street::with(|_| vec!["mqtt.connect_timeout_s=3".into()]);
    let address = street.site.service.mqtt.to_string();
    let mut silent: Vec<TcpStream> = (0..1000).map(|_| tcp(&address)).collect();
    // One byte is no CONNECT either.
    silent.iter_mut().step_by(2).for_each(|stream| stream.write_all(&[0x10]).unwrap());
    let mut mqtt = street.connect(V5);
    assert!(mqtt.ping());
    silent.iter_mut().for_each(|stream| assert_eq!(rest(stream), ""));
    street.await_ended("connect_timeout", 1000);
    assert!(mqtt.ping());
    drop(mqtt);
    street.all_well(0);
}

#[test]
fn whoever_sends_the_header_of_a_request_too_slowly_is_cut_off_and_the_others_go_on() {
    let street = Street::with(|_| vec!["http.header_timeout_s=2".into()]);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| tcp(&street.site.service.http)).collect();
    let mut slow_admin = tcp(&street.site.service.admin);
    for byte in b"GET / HTT" {
        slow.iter_mut().chain([&mut slow_admin]).for_each(|stream| drop(stream.write_all(&[*byte])));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(http::get(&format!("{}/healthz", street.site.service.admin), "").status, 200);
        assert_eq!(http::get(&format!("{}/api/v1/vouchers", street.site.service.http), &street.site.admin).status, 200);
    }
    slow.iter_mut().chain([&mut slow_admin]).for_each(|stream| assert_eq!(rest(stream), ""));
    await_http_ended(&street, "header_timeout", 21);
    // A connection that is kept and says nothing more is not late, only idle.
    let mut kept = tcp(&street.site.service.admin);
    assert!(get(&mut kept, "/healthz").contains("200"));
    let before = http_ended(&street, "idle");
    rest(&mut kept);
    wait_for("the ending is counted", || (http_ended(&street, "idle") > before).then_some(()));
    street.all_well(0);
}

#[test]
fn a_body_that_does_not_come_in_time_is_refused_and_its_connection_ends() {
    let street = Street::with(|_| vec!["http.body_timeout_s=1".into()]);
    let mut slow = tcp(&street.site.service.http);
    let key = &street.site.admin;
    let head = format!(
        "POST /api/v1/register HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).unwrap();
    for _ in 0..8 {
        let _ = slow.write_all(b" ");
        std::thread::sleep(Duration::from_millis(250));
    }
    let answer = rest(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("it did not come in time"), "{answer}");
    await_http_ended(&street, "body_timeout", 1);
    street.all_well(0);
}

#[test]
fn whoever_takes_no_answers_is_cut_off() {
    let street = Street::with(|_| vec!["http.stall_timeout_s=1".into()]);
    let mut deaf = tcp(&street.site.service.admin);
    deaf.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    // Answers of several KiB each, until neither side takes any more.
    while deaf.write_all("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100).as_bytes()).is_ok() {}
    await_http_ended(&street, "slow_reader", 1);
    street.all_well(0);
}

#[test]
fn http_connections_are_bounded_for_one_address_and_each_listener_has_its_own_bound() {
    let street = Street::with(|_| vec!["http.connections_per_address_max=3".into()]);
    let mut kept: Vec<TcpStream> = (0..3).map(|_| tcp(&street.site.service.http)).collect();
    kept.iter_mut().for_each(|stream| assert!(get(stream, "/api/v1/results").contains("401")));
    assert_eq!(rest(&mut tcp(&street.site.service.http)), "");
    await_http_ended(&street, "too_many_of_address", 1);
    kept.iter_mut().for_each(|stream| assert!(get(stream, "/api/v1/results").contains("401")));
    kept.pop();
    let again = || http::get(&format!("{}/api/v1/results", street.site.service.http), "");
    wait_for("a place is free again", || (http_ended(&street, "closed") >= 1).then_some(()));
    assert_eq!(again().status, 401);
    drop(kept);
    street.all_well(0);
}

#[test]
fn the_limit_of_open_files_is_raised_and_where_it_is_too_low_that_is_said_and_connections_are_refused() {
    let start = |limits: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), SHANGYUN]);
        (Service::start_by(&mut shell, dir.path(), &[]), dir)
    };
    let (service, _dir) = start("ulimit -Sn 64");
    let many: Vec<TcpStream> = (0..200).map(|_| tcp(&service.mqtt.to_string())).collect();
    wait_for("all are in", || (service.metric("shangyun_ingest_mqtt_connections") == 200).then_some(()));
    drop(many);
    // Of 256 the log and the store keep their share; strangers get half of the rest.
    let (service, _dir) = start("ulimit -Sn 256 && ulimit -Hn 256");
    wait_for("it is said", || {
        let log = service.log();
        (log.contains("the system allows too few open files") && log.contains("mqtt=132")).then_some(())
    });
    let _many: Vec<TcpStream> = (0..100).map(|_| tcp(&service.mqtt.to_string())).collect();
    let refused = "shangyun_ingest_mqtt_connections_ended_total{reason=\"too_many_openings\"}";
    wait_for("the rest is refused", || (service.metric(refused) == 34).then_some(()));
    assert_eq!(http::get(&format!("{}/readyz", service.admin), "").status, 200);
}

#[test]
fn an_open_request_is_answered_when_the_service_stops() {
    let street = Street::new();
    let mut mqtt = street.connect(V5);
    let mut idle = tcp(&street.site.service.http);
    let mut open = tcp(&street.site.service.http);
    let key = street.site.admin.clone();
    let body = r#"{"v":1,"rulebook":"gd-2019"}"#;
    let head = format!(
        "POST /api/v1/register HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    open.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let stopping = std::thread::spawn(move || street.site.stop());
    assert_eq!(mqtt.rest(), [Packet::Disconnect(0x8B)]);
    open.write_all(body.as_bytes()).unwrap();
    let answer = rest(&mut open);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(rest(&mut idle), "");
    stopping.join().unwrap();
}
