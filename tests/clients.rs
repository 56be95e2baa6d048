//! MQTT clients of other make at the door: Mosquitto's and Paho's, with 3.1.1 and 5.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::{Command, Output};

use chrono::Utc;
use serde_json::{Value, json};
use support::history::gateway_report;
use support::register::{GUANGZHOU, Register, TOKEN};
use support::{Site, python, stderr, stdout};

const REPORT: &str = "shangyun/v1/gw-1/report";

fn site() -> Site {
    Site::new(Register::new().enterprise(1, GUANGZHOU).gateway("gw-1", 1).enterprise(2, GUANGZHOU).gateway("gw-2", 2).file())
}

fn mosquitto(site: &Site, program: &str, args: &[&str]) -> Output {
    let (host, port) = (site.service.mqtt.ip().to_string(), site.service.mqtt.port().to_string());
    Command::new(program).args(["-h", &host, "-p", &port, "-u", "gw-1", "-i", "gw-1"]).args(args).output().unwrap()
}

#[test]
fn mosquitto_pub_delivers_with_either_version_and_is_told_what_is_wrong() {
    let site = site();
    for (seq, version) in [(1, "mqttv311"), (2, "mqttv5")] {
        let report = gateway_report("b1", seq, "机床-1", Utc::now()).to_string();
        let publish = |topic: &str, token: &str, qos: &str| {
            mosquitto(&site, "mosquitto_pub", &["-V", version, "-P", token, "-q", qos, "-t", topic, "-m", &report])
        };
        let output = publish(REPORT, TOKEN, "1");
        assert!(output.status.success(), "{}", stderr(&output));
        let output = publish(REPORT, "wrong-token", "1");
        assert!(!output.status.success());
        assert!(stderr(&output).to_lowercase().contains("bad user name or password"), "{}", stderr(&output));
        publish("shangyun/v1/gw-2/report", TOKEN, "1");
    }
    assert_eq!((site.service.reports("accepted"), site.service.reports("refused")), (2, 2));
    assert_eq!(site.get("/api/v1/gateways/gw-1", &site.admin).json()["boots"][0]["accepted"], json!([[1, 2]]));
}

#[test]
fn mosquitto_sub_is_denied_what_is_not_its_own() {
    let site = site();
    for version in ["mqttv311", "mqttv5"] {
        let output = mosquitto(&site, "mosquitto_sub", &["-V", version, "-P", TOKEN, "-t", "#", "-W", "5"]);
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains("denied"), "{said}");
    }
    assert_eq!(site.service.metric("shangyun_ingest_mqtt_subscriptions_refused_total"), 2);
}

#[test]
fn paho_publishes_a_hundred_in_flight_and_reads_reasons_limits_and_refusals() {
    let site = site();
    for version in [4, 5] {
        let (boot, at) = (format!("b{version}"), Utc::now());
        let mut reports: Vec<String> = (1..=100).map(|seq| gateway_report(&boot, seq, "机床-1", at).to_string()).collect();
        reports.push("{}".into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/paho_client.py");
        let told = json!({"host": site.service.mqtt.ip().to_string(), "port": site.service.mqtt.port(), "version": version,
            "gateway": "gw-1", "token": TOKEN, "reports": reports});
        let output = Command::new(python()).args([script, &told.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let seen: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(seen["suback"], json!([0, if version == 5 { 0x87 } else { 0x80 }]));
        assert_eq!(seen["acknowledged"], 101);
        assert_eq!(seen["refusals"].as_array().unwrap().len(), 1);
        if version == 5 {
            assert_eq!(seen["failures"], json!([0x99]));
            assert_eq!((&seen["limits"]["MaximumQoS"], &seen["limits"]["RetainAvailable"]), (&json!(1), &json!(0)), "{seen}");
            assert!(
                seen["limits"]["ReceiveMaximum"].as_u64().unwrap() >= 100
                    && seen["limits"]["MaximumPacketSize"].as_u64().unwrap() >= 256 << 10
            );
        }
    }
    assert_eq!((site.service.reports("accepted"), site.service.reports("refused")), (200, 2));
}
