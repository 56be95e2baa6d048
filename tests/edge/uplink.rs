//! The agent and Mosquitto, a broker of others: TLS, certificates, tokens, a broker that stops, and receipts.
#![allow(clippy::unwrap_used)]

#[path = "../support/certificates.rs"]
#[allow(dead_code)]
mod certificates;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use certificates::{Authority, Identity, Wanted};
use support::mosquitto::{Mosquitto, free_port};
use support::{AGENT, Agent, Kept, wait_for};

fn tls_lines(server: &Identity) -> String {
    format!("certfile {}\nkeyfile {}\n", server.cert.display(), server.key.display())
}

fn config(dir: &Path, broker: &str) -> String {
    format!(
        r#"
        [gateway]
        id = "gw-1"
        token = "secret"
        [broker]
        retry_s_max = 0.5
        connect_timeout_s = 3
        {broker}
        [spool]
        dir = "{}"
        [report]
        every_s = 0.2
        [[device]]
        name = "SN-1"
        address = "tcp://127.0.0.1:1"
        poll_ms = 200
        [[device.point]]
        name = "n"
        table = "holding"
        address = 0
        "#,
        dir.join("spool").display()
    )
}

fn trouble(text: &str) -> Result<(), &'static str> {
    let config = edge::Config::read(text, []).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(edge::try_address(&config.broker, &config.broker.addresses[0], &config.gateway)).map_err(|trouble| trouble.name())
}

#[test]
fn what_keeps_a_gateway_from_its_broker_is_told_by_name() {
    let (ours, other) = (Authority::new("Ours"), Authority::new("Other"));
    let files = tempfile::tempdir().unwrap();
    let dir = files.path();
    let (ca, other_ca) = (ours.write(&dir.join("ca.pem")), other.write(&dir.join("other.pem")));
    let sound = Mosquitto::start(|dir| tls_lines(&ours.server(dir, "server", 1)));
    let expired = Mosquitto::start(|dir| tls_lines(&ours.server_of(dir, "server", 2, (2019, 2020))));
    let early = Mosquitto::start(|dir| tls_lines(&ours.server_of(dir, "server", 3, (2038, 2039))));
    let elsewhere = Mosquitto::start(|dir| {
        let wanted = Wanted { common_name: "elsewhere", dns: &["elsewhere.example"], serial: 4, years: (2019, 2039) };
        tls_lines(&ours.server_named(dir, "server", wanted))
    });
    let certified = Mosquitto::start(|dir| {
        let ca = ours.write(&dir.join("ca.pem"));
        format!("{}cafile {}\nrequire_certificate true\n", tls_lines(&ours.server(dir, "server", 5)), ca.display())
    });
    let plain = Mosquitto::start(|_| String::new());
    let vacant = free_port();
    let client = |authority: &Authority, serial| {
        let identity = authority.client(dir, Wanted::client("gw-1", serial));
        format!("client_cert_file = \"{}\"\nclient_key_file = \"{}\"", identity.cert.display(), identity.key.display())
    };
    let tls = |broker: &Mosquitto, ca: &Path, more: &str| {
        config(dir, &format!("url = \"mqtts://127.0.0.1:{}\"\nca_file = \"{}\"\n{more}", broker.port, ca.display()))
    };
    let url = |url: String| config(dir, &format!("url = \"{url}\""));
    for (case, text, expected) in [
        ("sound", tls(&sound, &ca, ""), Ok(())),
        ("with its certificate", tls(&certified, &ca, &client(&ours, 11)), Ok(())),
        ("plain", url(format!("mqtt://127.0.0.1:{}", plain.port)), Ok(())),
        ("another authority", tls(&sound, &other_ca, ""), Err("broker_ca_unknown")),
        ("expired", tls(&expired, &ca, ""), Err("broker_certificate_expired")),
        ("not yet valid", tls(&early, &ca, ""), Err("broker_certificate_not_yet_valid")),
        ("another name", tls(&elsewhere, &ca, ""), Err("broker_name_mismatch")),
        ("without a certificate", tls(&certified, &ca, ""), Err("client_certificate_refused")),
        ("with another's certificate", tls(&certified, &ca, &client(&other, 12)), Err("client_certificate_refused")),
        ("no such file", tls(&sound, &dir.join("absent.pem"), ""), Err("broker_file_unusable")),
        ("TLS to a plain port", tls(&plain, &ca, ""), Err("broker_not_tls")),
        ("plain to a TLS port", url(format!("mqtt://127.0.0.1:{}", sound.port)), Err("broker_closed")),
        ("nobody there", url(format!("mqtt://127.0.0.1:{vacant}")), Err("broker_connection_refused")),
        ("no such name", url("mqtt://no-such-host.invalid".into()), Err("broker_name_unknown")),
        ("wrong token", url(format!("mqtt://127.0.0.1:{}", plain.port)).replace("\"secret\"", "\"guess\""), Err("broker_not_admitted")),
    ] {
        assert_eq!(trouble(&text), expected, "{case}");
    }
}

#[test]
fn a_token_that_is_renewed_in_its_file_is_used_without_a_restart() {
    let broker = Mosquitto::plain();
    let token = broker.file("token");
    std::fs::write(&token, "guess\n").unwrap();
    let text = config(broker.dir.path(), &format!("url = \"mqtt://127.0.0.1:{}\"", broker.port));
    let text = text.replace("token = \"secret\"", &format!("token_file = \"{}\"", token.display()));
    let subscriber = broker.subscribe("shangyun/v1/gw-1/report");
    let mut agent = Agent::start(broker.dir.path(), &text);
    wait_for("a refusal", || (agent.said("broker_not_admitted") > 0).then_some(()));
    // In between there may be none.
    std::fs::remove_file(&token).unwrap();
    wait_for("a word about it", || (agent.said("the token's file cannot be read") > 0).then_some(()));
    std::fs::write(&token, "secret\n").unwrap();
    let boot = subscriber.boot();
    subscriber.until_number(&boot, 1);
    agent.terminate();
}

/// The numbers of the reports in what a subscriber wrote, one boot's.
fn numbers(path: &Path) -> BTreeSet<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let reports = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    reports.filter_map(|report| report["seq"].as_u64()).collect()
}

#[test]
fn nothing_is_lost_over_tls_with_the_first_broker_dead_and_the_second_restarted() {
    let ours = Authority::new("Ours");
    let mut broker = Mosquitto::start(|dir| tls_lines(&ours.server(dir, "server", 1)));
    let ca = ours.write(&broker.file("ca.pem"));
    let vacant = free_port();
    let seen = broker.file("seen");
    let port = broker.port.to_string();
    let mut subscriber = Command::new("mosquitto_sub");
    subscriber.args(["-h", "127.0.0.1", "-p", &port, "--cafile"]).arg(&ca).args(["-u", "gw-1", "-P", "secret", "-i", "collector"]);
    subscriber.args(["-c", "-q", "1", "-t", "shangyun/v1/gw-1/report"]).stdout(std::fs::File::create(&seen).unwrap());
    let _subscriber = Kept::start(&mut subscriber);
    let urls = format!("urls = [\"mqtts://127.0.0.1:{vacant}\", \"mqtts://127.0.0.1:{port}\"]\nca_file = \"{}\"", ca.display());
    let file = broker.file("edge.toml");
    std::fs::write(&file, config(broker.dir.path(), &urls)).unwrap();
    let mut agent = Kept::start(Command::new(AGENT).args(["run", "--config"]).arg(&file).stderr(Stdio::null()));
    let reached = |count: usize| wait_for("more reports", || (numbers(&seen).len() >= count).then_some(()));
    reached(3);
    for _ in 0..2 {
        let before = numbers(&seen).len();
        broker.stop();
        // Time in which reports can only be spooled.
        std::thread::sleep(std::time::Duration::from_secs(1));
        broker.resume();
        reached(before + 5);
    }
    assert!(agent.terminate().success());
    let last = *numbers(&seen).last().unwrap();
    wait_for("every number", || (numbers(&seen).len() as u64 >= last).then_some(()));
    let gaps: Vec<u64> = (1..=last).filter(|seq| !numbers(&seen).contains(seq)).collect();
    assert_eq!(gaps, [0; 0]);
}
