//! Gateways and their keys, made and used by programs of other make.

use std::process::Command;

use chrono::Utc;
use serde_json::{Value, json};

use super::history::gateway_report;
use super::register::{FOSHAN, GUANGZHOU, Register, device_names};
use super::{Site, python, stderr, stdout};

pub const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub const OTHER_SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";

pub fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .supplier("S-2")
        .product("P-1", "S-1", 5, "A")
        .product("P-2", "S-2", 5, "A")
        .enterprise(1, GUANGZHOU)
        .enterprise(2, FOSHAN)
        .voucher("V-1", 1, "P-1", "3000.00", json!({}))
        .voucher("V-2", 2, "P-2", "3000.00", json!({}))
        .devices("V-1", &device_names("SN", 2))
        .gateway("gw-1", 1)
        .gateway("gw-2", 1)
}

pub fn by_python(told: Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/gateway_keys.py");
    let output = Command::new(python()).args([script, &told.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Public key and proof of a gateway of other make.
pub fn keys(seed: &str, gateway: &str) -> Value {
    by_python(json!({ "seed": seed, "gateway": gateway }))
}

pub fn audit(site: &Site, subject: &str) -> Vec<Value> {
    let answer = site.get(&format!("/api/v1/audit?subject={subject}"), &site.admin).json();
    answer["items"].as_array().unwrap().clone()
}

pub fn gateway_row(site: &Site, id: &str) -> Value {
    let rows = site.get("/api/v1/register/gateways", &site.admin).json()["items"].clone();
    rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
}

/// Seals reports with cwt and publishes them with Paho; the reason code of each PUBACK.
pub fn published(site: &Site, gateway: &str, token: &str, keys: &Value, seqs: &[u64]) -> Vec<u64> {
    let reports: Vec<_> =
        seqs.iter().map(|seq| json!({"format": "json", "report": gateway_report("b1", *seq, "SN-001", Utc::now())})).collect();
    let told = json!({"gateway": gateway, "key": keys["seed_base64"], "reports": reports, "host": site.service.mqtt.ip().to_string(),
        "port": site.service.mqtt.port(), "token": token});
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/cose_client.py");
    let output = Command::new(python()).args([script, &told.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap()
}
