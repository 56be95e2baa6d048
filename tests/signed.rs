//! Signed reports through the real door, sealed by a client of other make: accepted and kept with their signature, or refused and why.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::Command;

use chrono::Utc;
use serde_json::{Value, json};
use store::{LogPosition, OsDisk, Vouched, scan};
use support::history::gateway_report;
use support::mqtt::{Mqtt, Packet, V5};
use support::register::{GUANGZHOU, Register, TOKEN, credit_code, device_names};
use support::{Site, python, rebuild_tally, shangyun, stderr, stdout};
use wire::identity::Sender;

/// RFC 8032, 7.1, tests 1 and 2: seeds and the public key of the first.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const OTHER_PUBLIC: &str = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";
const OTHER_SEED: &str = "TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=";

fn site() -> Site {
    let register = Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "3000.00", json!({}))
        .devices("V-1", &device_names("SN", 2))
        .gateway("plain", 1)
        .row("gateways", json!({"id": "signer", "enterprise": credit_code(1), "token": TOKEN, "public_key": PUBLIC}));
    Site::new(register.file())
}

/// Sealed and published by the client of other make; the reason code of each PUBACK, in order.
fn published(site: &Site, gateway: &str, seed: &str, reports: &[(&str, Value)]) -> Vec<u64> {
    let reports: Vec<_> = reports.iter().map(|(format, report)| json!({"format": format, "report": report})).collect();
    let told = json!({"gateway": gateway, "key": seed, "reports": reports, "host": site.service.mqtt.ip().to_string(),
        "port": site.service.mqtt.port(), "token": TOKEN});
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/cose_client.py");
    let output = Command::new(python()).args([script, &told.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let reasons: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    reasons.as_array().unwrap().iter().map(|reason| reason.as_u64().unwrap()).collect()
}

fn codes(site: &Site) -> Vec<String> {
    let items = site.get("/api/v1/quarantine?kind=gateway", &site.admin).json()["items"].clone();
    items.as_array().unwrap().iter().map(|item| item["faults"][0]["code"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_pack_holds_signed_reports_as_they_came_and_their_signatures_are_verified_once_more() {
    let site = site();
    let at = Utc::now();
    let reports = [("json", gateway_report("b1", 1, "SN-1", at)), ("cbor", gateway_report("b1", 2, "SN-2", at))];
    assert_eq!(published(&site, "signer", SEED, &reports), [0, 0]);
    assert_eq!(published(&site, "signer", SEED, &[("json", gateway_report("b2", 1, "SN-1", at))]), [0]);
    site.judge("V-1");
    let out = site.scratch().join("signed.pack.tar");
    let verified = || {
        let made = shangyun(&site.dir(), &["pack", "--voucher", "V-1", "--out", out.to_str().unwrap()]);
        assert!(made.status.success(), "{}", stderr(&made));
        stdout(&shangyun(&site.dir(), &["verify", out.to_str().unwrap()]))
    };
    let text = verified();
    assert!(
        text.contains("3 of them are signed by their gateways") && text.contains("核验通过") && !text.contains("more are signed"),
        "{text}"
    );
    let other = json!({"id": "signer", "enterprise": credit_code(1), "public_key": OTHER_PUBLIC});
    assert_eq!(site.post("/api/v1/register", &site.admin, &json!({"v": 1, "rulebook": "gd-2019", "gateways": [other]})).status, 200);
    let text = verified();
    assert!(text.contains("3 more are signed, but not by the keys registered") && text.contains("核验通过"), "{text}");
}

#[test]
fn signed_json_and_cbor_are_accepted_counted_once_and_kept_with_their_signature() {
    let site = site();
    let at = Utc::now();
    let reports = [("json", gateway_report("b1", 1, "SN-1", at)), ("cbor", gateway_report("b1", 2, "SN-2", at))];
    assert_eq!(published(&site, "signer", SEED, &reports), [0, 0]);
    // The other form of an equal report is the same report.
    let again = [("cbor", reports[0].1.clone()), ("json", reports[1].1.clone())];
    assert_eq!(published(&site, "signer", SEED, &again), [0, 0]);
    assert_eq!((site.service.reports("accepted"), site.service.reports("duplicate")), (2, 2));
    let (_dir, data) = site.kill();
    let mut kept = Vec::new();
    scan(&OsDisk, &data.join("log"), LogPosition::default(), None, |stretch| {
        let reports = stretch.records().filter(|(_, record)| matches!(record.sender, Sender::Gateway(_)));
        kept.extend(reports.map(|(_, record)| (record.vouched, record.body[0])));
    })
    .unwrap();
    assert_eq!(kept, [(Vouched::Signature, 0xD2), (Vouched::Signature, 0xD2)]);
    assert!(rebuild_tally(&data).0);
}

#[test]
fn what_is_not_signed_by_the_gateways_own_key_is_refused_and_nothing_of_it_is_counted() {
    let site = site();
    let report = |seq| gateway_report("b1", seq, "SN-1", Utc::now());
    assert_eq!(published(&site, "signer", OTHER_SEED, &[("json", report(1))]), [0x87]);
    assert_eq!(codes(&site), ["signature"]);
    assert_eq!(published(&site, "plain", SEED, &[("json", report(1))]), [0x87]);
    assert_eq!(codes(&site)[0], "no_public_key");
    let mut unsigned = Mqtt::connect(site.service.mqtt, V5, "signer");
    unsigned.publish("shangyun/v1/signer/report", 1, &report(1).to_string());
    assert_eq!(unsigned.read(), Some(Packet::Puback { id: 1, reason: 0x87 }));
    assert_eq!(codes(&site)[0], "unsigned");
    assert_eq!(published(&site, "signer", SEED, &[("json", json!({"v": 1, "boot": "b1", "seq": 1}))]), [0x99]);
    assert_eq!(codes(&site)[0], "empty");
    assert_eq!(site.service.reports("accepted"), 0);
    assert_eq!(published(&site, "signer", SEED, &[("json", report(1))]), [0], "none of these has taken its number");
}

#[test]
fn unsigned_cbor_is_read_like_json() {
    let site = site();
    let told =
        json!({"gateway": "plain", "key": SEED, "reports": [{"format": "cbor", "report": gateway_report("b1", 1, "SN-1", Utc::now())}]});
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/cose_client.py");
    let output = Command::new(python()).args([script, &told.to_string()]).output().unwrap();
    let sealed: Vec<String> = serde_json::from_str(stdout(&output).trim()).unwrap();
    let sealed: Vec<u8> = (0..sealed[0].len()).step_by(2).map(|at| u8::from_str_radix(&sealed[0][at..at + 2], 16).unwrap()).collect();
    let payload = wire::cose::Signed::read(&sealed).unwrap().payload.to_vec();
    assert!((0xA0..=0xBF).contains(&payload[0]));
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "plain");
    let mut body = support::mqtt::text("shangyun/v1/plain/report");
    body.extend([0, 9, 0]);
    body.extend(payload);
    mqtt.send(&support::mqtt::packet(0x32, &body));
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 9, reason: 0 }));
    assert_eq!(site.service.reports("accepted"), 1);
}
