//! Every type in every order, over every way to a bus, from a server that is not ours.

use std::process::{Command, Stdio};
use std::time::Duration;

use edge::bus::BusSettings;
use edge::point::Value;
use edge::report::Quality;
use serde_json::Value as Json;

use crate::peers::{POINTS_MAX, Peer, devices_of, polling};
use crate::support::{Kept, certificates, wait_for};

/// Reads everything that the server says it has, and compares.
async fn reads_everything(address: &str, peer: &Peer, settings: BusSettings) {
    let points = peer.points();
    assert_eq!(points.len(), 90);
    let mut polling = polling(address, &devices_of(&points), settings);
    let entries = polling.collect(Duration::from_secs(2)).await;
    for (i, chunk) in points.chunks(POINTS_MAX).enumerate() {
        let [entry, again, ..] = &entries[&format!("SN-{i}")][..] else { panic!("too few entries: {entries:?}") };
        assert_eq!(entry.quality, Quality::Normal, "{address}: {:?}", polling.states.snapshot());
        assert_eq!(entry.readings.len(), chunk.len());
        for (point, (name, value)) in chunk.iter().zip(&entry.readings) {
            assert_eq!(&point["name"], &**name);
            let expected = match &point["expected"] {
                Json::Bool(flag) => Value::Flag(*flag),
                number => Value::Number(number.as_f64().unwrap()),
            };
            assert_eq!(*value, expected, "{name} over {address}");
        }
        let identity = &entry.identity;
        assert_eq!((identity.vendor.as_deref(), identity.model.as_deref()), (Some("Haitian"), Some("MA1600")), "{address}");
        assert_eq!((again.quality, &again.identity), (Quality::Normal, &Default::default()), "the identity is told once");
    }
    assert_eq!(polling.events, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_and_order_is_read_over_tcp() {
    let peer = Peer::start("modbus_pymodbus.py", &["socket"]);
    reads_everything(&format!("tcp://127.0.0.1:{}", peer.port()), &peer, BusSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_and_order_is_read_in_rtu_frames_over_tcp() {
    let peer = Peer::start("modbus_pymodbus.py", &["rtu"]);
    reads_everything(&format!("rtu+tcp://127.0.0.1:{}", peer.port()), &peer, BusSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_and_order_is_read_over_a_serial_port() {
    let peer = Peer::start("modbus_pymodbus.py", &["rtu"]);
    let dir = tempfile::tempdir().unwrap();
    let port = dir.path().join("ttyUSB0");
    let _bridge = Kept::start(
        Command::new("socat")
            .arg(format!("PTY,link={},rawer", port.display()))
            .arg(format!("TCP:127.0.0.1:{}", peer.port()))
            .stdout(Stdio::null()),
    );
    wait_for("the serial port", || port.exists().then_some(()));
    let settings = BusSettings { baud: 115_200, ..BusSettings::default() };
    reads_everything(&format!("rtu://{}", port.display()), &peer, settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_and_order_is_read_over_tls_and_only_from_the_right_machine() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    let shown = |name: &str| file(name).display().to_string();
    let peer = Peer::start("modbus_pymodbus.py", &["tls", &shown("machine.pem"), &shown("machine.key"), &shown("ca.pem")]);
    let address = format!("tls://127.0.0.1:{}", peer.port());
    let settings = BusSettings {
        ca_file: Some(file("ca.pem")),
        client_cert_file: Some(file("gateway.pem")),
        client_key_file: Some(file("gateway.key")),
        server_name: Some("press-3".into()),
        ..BusSettings::default()
    };
    reads_everything(&address, &peer, settings.clone()).await;

    let device =
        "[[device]]\nname = \"SN\"\naddress = \"ADDRESS\"\npoll_ms = 100\n[[device.point]]\nname = \"p\"\ntable = \"holding\"\naddress = 0";
    for (wrong, said) in [
        (BusSettings { server_name: Some("press-4".into()), ..settings.clone() }, "not valid for name"),
        (BusSettings { ca_file: Some(file("stranger.pem")), ..settings.clone() }, "UnknownIssuer"),
        (BusSettings { ca_file: Some(file("nowhere.pem")), ..settings.clone() }, "nowhere.pem"),
    ] {
        let mut polling = polling(&address, device, wrong);
        let entry = polling.wait("SN", |_| true).await;
        assert_eq!((entry.quality, entry.readings.len()), (Quality::Communication, 0));
        let state = &polling.states.snapshot()["SN"];
        assert!(state.last_error_en.starts_with("TLS failed") && state.last_error_en.contains(said), "{state:?}");
    }
    let unknown = BusSettings { client_cert_file: None, client_key_file: None, ..settings };
    let mut polling = polling(&address, device, unknown);
    assert_eq!(polling.wait("SN", |_| true).await.quality, Quality::Communication, "the machine wants to know who asks");
}
