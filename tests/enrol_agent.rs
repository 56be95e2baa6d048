//! Enrolment as the technician does it: `shangyun-edge enrol` against the service.
#![allow(clippy::unwrap_used)]

#[path = "support/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use certificates::{Authority, Identity};
use serde_json::{Value, json};
use support::enrolment::{OTHER_SEED, audit, gateway_row, keys, published, register};
use support::register::credit_code;
use support::{Kept, Site, agent_program, python, stderr, stdout};

/// A gateway's machine: a directory with the agent's configuration.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(gateway: &str) -> Machine {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        let token_file = machine.path("mqtt-token");
        let config = format!("[gateway]\nid = \"{gateway}\"\ntoken_file = \"{}\"\n", token_file.display());
        std::fs::write(machine.path("edge.toml"), config).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn enrol(&self, url: &str, key: &str, more: &[&str]) -> Output {
        let config = self.path("edge.toml");
        let mut command = Command::new(agent_program());
        command.args(["enrol", "--url", url, "--token", key, "--config", config.to_str().unwrap()]).args(more);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap().trim().to_string()
    }

    /// Every file with its mode and content.
    fn files(&self) -> BTreeMap<String, (u32, String)> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let named = entries.map(|path| {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            (path.file_name().unwrap().to_str().unwrap().to_string(), (mode, std::fs::read_to_string(&path).unwrap()))
        });
        named.collect()
    }

    /// The seed as other programs take it.
    fn seed_base64(&self) -> Value {
        json!({ "seed_base64": self.read("gateway.key") })
    }
}

/// All of this stands in what was said, in both languages.
fn assert_said(output: &Output, exit: i32, parts: &[&str]) {
    let said = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn the_agent_enrols_with_an_address_and_a_key_and_its_key_signs_what_is_accepted() {
    let site = Site::new(register().file());
    let machine = Machine::new("gw-1");
    let key = site.key("enrol", Some("gw-1"));
    let done = machine.enrol(&site.service.http, &key, &[]);
    assert_said(&done, 0, &["gw-1", &credit_code(1), "新建", "key_file = ", "[usage]", "shangyun-edge check --config"]);
    assert!(!stdout(&done).contains("token_file ="), "the configuration names it already: {}", stdout(&done));
    let files = machine.files();
    let modes: Vec<(&str, u32)> = files.iter().map(|(name, (mode, _))| (name.as_str(), *mode)).collect();
    let expected =
        [("edge.toml", 0o644), ("gateway.key", 0o600), ("mqtt-token", 0o600), ("pseudonym.key", 0o600), ("receipt-keys.json", 0o644)];
    assert_eq!(modes[1..], expected[1..]);
    let supplier = site.key("supplier", Some("S-1"));
    let of_supplier = site.get(&format!("/api/v1/enterprises/{}/pseudonym-key", credit_code(1)), &supplier).json();
    assert_eq!(of_supplier["pseudonym_key"], machine.read("pseudonym.key"));
    let receipt_keys: Value = serde_json::from_str(&machine.read("receipt-keys.json")).unwrap();
    assert_eq!(receipt_keys, site.get("/api/v1/keys", "").json());
    assert_eq!(published(&site, "gw-1", &machine.read("mqtt-token"), &machine.seed_base64(), &[1]), [0]);
    assert_eq!(published(&site, "gw-1", &machine.read("mqtt-token"), &keys(OTHER_SEED, "gw-1"), &[2]), [0x87]);
    // Once more: it is explained, and nothing changes anywhere.
    let before = audit(&site, "gateways/gw-1").len();
    assert_said(&machine.enrol(&site.service.http, &key, &[]), 0, &["had used the one-time key before", "未变"]);
    assert_eq!((machine.files(), audit(&site, "gateways/gw-1").len()), (files.clone(), before));
    // Another key of the gateway's own is another gateway's machine to the service.
    std::fs::remove_file(machine.path("gateway.key")).unwrap();
    assert_said(&machine.enrol(&site.service.http, &key, &[]), 1, &["409", "used up", "key create --role enrol --scope gw-1"]);
    assert_eq!(machine.files()["mqtt-token"], files["mqtt-token"]);
    let new_key = site.key("enrol", Some("gw-1"));
    assert_said(&machine.enrol(&site.service.http, &new_key, &[]), 0, &["替换"]);
    assert_eq!(published(&site, "gw-1", &machine.read("mqtt-token"), &machine.seed_base64(), &[2]), [0]);
}

/// Hands one request on to the service, and lets its answer get lost.
fn answer_lost(service: &str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, service) = (format!("http://{}", listener.local_addr().unwrap()), service.trim_start_matches("http://").to_string());
    let lost = std::thread::spawn(move || {
        let (mut gateway, _) = listener.accept().unwrap();
        let mut upstream = TcpStream::connect(service).unwrap();
        let (mut asked, mut answered) = (gateway.try_clone().unwrap(), upstream.try_clone().unwrap());
        // Ends when the gateway's connection does.
        std::thread::spawn(move || std::io::copy(&mut asked, &mut answered));
        let mut bytes = vec![0; 65536];
        let read = upstream.read(&mut bytes).unwrap();
        gateway.write_all(b"HTTP/1.1 2").unwrap();
        gateway.shutdown(Shutdown::Both).unwrap();
        String::from_utf8_lossy(&bytes[..read]).to_string()
    });
    (url, lost)
}

#[test]
fn a_lost_answer_leaves_nothing_half_written_and_is_told_again() {
    let site = Site::new(register().file());
    let machine = Machine::new("gw-1");
    let key = site.key("enrol", Some("gw-1"));
    let (url, lost) = answer_lost(&site.service.http);
    assert_said(&machine.enrol(&url, &key, &[]), 1, &["with the same one-time key"]);
    assert!(lost.join().unwrap().starts_with("HTTP/1.1 200"), "the service has enrolled it");
    assert_eq!(machine.files().into_keys().collect::<Vec<_>>(), ["edge.toml", "gateway.key"]);
    assert_said(&machine.enrol(&site.service.http, &key, &[]), 0, &["had used the one-time key before", "新建"]);
    assert_eq!(published(&site, "gw-1", &machine.read("mqtt-token"), &machine.seed_base64(), &[1]), [0]);
}

#[test]
fn what_stands_in_the_way_is_told_in_both_languages_and_uses_nothing_up() {
    let site = Site::new(register().file());
    let machine = Machine::new("gw-1");
    let (url, key) = (&site.service.http, site.key("enrol", Some("gw-1")));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, key, exit, parts) in [
        (url.as_str(), "sy_0000", 1, &["401", "key create --role enrol --scope gw-1"][..]),
        (url, &site.key("enrol", Some("gw-2")), 1, &["403", "gw-2"]),
        (url, &site.admin, 1, &["403"]),
        (&format!("http://{closed}"), &key, 1, &["connection refused"]),
        (&format!("https://{}", url.trim_start_matches("http://")), &key, 1, &["no TLS"]),
        (&site.service.admin, &key, 1, &["does not look like the service"]),
        ("http://nowhere.invalid", &key, 1, &["no such host"]),
        ("nowhere", &key, 2, &["--url"]),
        (url, "two words", 2, &["--token"]),
    ] {
        assert_said(&machine.enrol(url, key, &[]), exit, parts);
    }
    std::fs::write(machine.path("pseudonym.key"), "kept").unwrap();
    let nowhere = machine.path("nowhere/token");
    std::fs::write(machine.path("edge.toml"), format!("[gateway]\nid = \"gw-1\"\ntoken_file = \"{}\"\n", nowhere.display())).unwrap();
    assert_said(&machine.enrol(url, &key, &[]), 2, &["nowhere/token"]);
    assert_eq!(machine.read("pseudonym.key"), "kept");
    assert_eq!(audit(&site, "gateways/gw-1").iter().filter(|entry| entry["act"] == "gateway_enrolled").count(), 0);
    let other = Machine::new("gw-9");
    assert_said(&other.enrol(url, &site.key("enrol", Some("gw-9")), &[]), 1, &["404", "not in the register"]);
}

#[test]
fn over_tls_the_services_certificate_must_be_of_a_known_ca_and_of_its_host() {
    let site = Site::new(register().file());
    let machine = Machine::new("gw-1");
    let (key, dir) = (site.key("enrol", Some("gw-1")), site.scratch());
    let authority = Authority::new("A private CA");
    let ca = authority.write(&dir.join("ca.pem"));
    let port = site.service.http.rsplit(':').next().unwrap().to_string();
    let front = |identity: &Identity| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls_front.py");
        let mut child = Command::new(python())
            .args([script, identity.cert.to_str().unwrap(), identity.key.to_str().unwrap(), &port])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Kept(child), line.trim().to_string())
    };
    let (_good, good) = front(&authority.server(dir, "good", 1));
    let (_old, old) = front(&authority.server_of(dir, "old", 2, (2018, 2019)));
    let (_early, early) = front(&authority.server_of(dir, "early", 3, (2037, 2039)));
    let with_ca = ["--ca-file", ca.to_str().unwrap()];
    for (host, port, more, parts) in [
        ("127.0.0.1", &good, &[][..], &["--ca-file"][..]),
        ("127.0.0.2", &good, &with_ca, &["not of this host"]),
        ("127.0.0.1", &old, &with_ca, &["has expired", "clock"]),
        ("127.0.0.1", &early, &with_ca, &["not valid yet", "clock"]),
    ] {
        assert_said(&machine.enrol(&format!("https://{host}:{port}"), &key, more), 1, parts);
    }
    assert_eq!(gateway_row(&site, "gw-1").get("public_key"), None);
    assert_said(&machine.enrol(&format!("https://localhost:{good}"), &key, &with_ca), 0, &["gw-1"]);
    assert!(gateway_row(&site, "gw-1")["public_key"].is_string());
}
