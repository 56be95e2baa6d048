//! What the contract says of a result holds for whoever has nothing but the contract: its hash, what it covers, which one is in force.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{device_reports, effective_instants, show, usage_report};
use support::register::{FOSHAN, GUANGZHOU, MODULES, Register, credit_code, device_names};
use support::{Site, python, stderr, stdout};

/// Names that are written in more than one way in JSON, and the one beyond the first plane.
const ODD: [&str; 4] = ["机床 \"一\"", "a\\b/c", "𠮷-9", "é-ﬀ<&>"];

fn register(redeem_at: DateTime<Utc>) -> Register {
    let at = json!({"redeem_at": show(redeem_at)});
    Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .product("P-12", "S-1", 12, "B")
        .enterprise(1, GUANGZHOU)
        .enterprise(2, FOSHAN)
        .voucher("V-1", 1, "P-5", "10000.00", at.clone())
        .voucher("V-2", 1, "P-12", "10000.00", at.clone())
        .voucher("V-3", 2, "P-5", "5000.01", at)
        .devices("V-1", &device_names("SN", 6))
        .devices("V-1", &ODD.map(String::from))
        .devices("V-3", &device_names("SN", 2))
        .row("carriers", json!({"id": "C-1", "name": "运营商"}))
}

/// The hash that somebody computes from the answer's bytes without any of our code.
fn outsiders_hash(body: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/outsider.py");
    let mut child = Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).trim().to_string()
}

#[test]
fn an_outsider_recomputes_the_hash_from_the_bytes_of_the_result_alone() {
    let redeem_at = Utc::now() - TimeDelta::minutes(5);
    let site = Site::new(register(redeem_at).file());
    let (key, carrier) = (site.key("supplier", Some("S-1")), site.key("carrier", Some("C-1")));
    let devices: Vec<String> = device_names("SN", 6).into_iter().chain(ODD.map(String::from)).collect();
    site.push_accepted(&key, &device_reports("r", 1, &devices, &effective_instants(redeem_at, 7)));
    site.push_accepted(&key, &[usage_report("u", 1, "P-12", &MODULES[..3], 3, 5, redeem_at)]);
    let record = json!({"enterprise": credit_code(1), "line": "线路-1", "product": "P-5", "day": &show(redeem_at)[..10], "sessions": 3, "bytes": 1, "devices": 4});
    let answer = site.post("/api/v1/carrier-records", &carrier, &json!({"v": 1, "id": "c-1", "records": [record]}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut hashes = Vec::new();
    for voucher in ["V-1", "V-2", "V-3"] {
        site.judge(voucher);
        let body = site.get(&format!("/api/v1/vouchers/{voucher}/result"), &site.admin).body;
        let result: Value = serde_json::from_str(&body).unwrap();
        let hash = result["judgement_hash"].as_str().unwrap().to_string();
        assert_eq!(outsiders_hash(&body), hash, "{body}");
        // What the storing adds is no part of it; every figure is.
        let stored_otherwise =
            json!({"sequence": 99, "supersedes": 98, "judged_at": "2030-01-01T00:00:00+08:00", "judgement_hash": "", "evidence": {}});
        let (mut same, mut other) = (result.clone(), result);
        same.as_object_mut().unwrap().extend(stored_otherwise.as_object().unwrap().clone());
        other["channels"]["interface"]["days"] = json!(77);
        assert_eq!(outsiders_hash(&same.to_string()), hash);
        assert_ne!(outsiders_hash(&other.to_string()), hash);
        hashes.push(hash);
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
}

#[test]
fn a_judgement_covers_every_register_change_answered_before_it_and_no_change_elsewhere_adds_a_result() {
    let redeem_at = Utc::now() - TimeDelta::minutes(5);
    let site = Site::new(register(redeem_at).file());
    let mut sequence = site.judge("V-1")["sequence"].as_u64().unwrap();
    let change = |list: &str, row: Value| {
        let answer = site.post("/api/v1/register", &site.admin, &json!({"v": 1, "rulebook": "gd-2019", list: [row]}));
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    for n in 1..=10 {
        change("devices", json!({"voucher": "V-1", "device": format!("NEW-{n}"), "province": "44"}));
        let result = site.judge("V-1");
        sequence += 1;
        assert_eq!((&result["devices"]["declared"], result["sequence"].as_u64().unwrap()), (&json!(10 + n), sequence), "{result}");
        assert_eq!(result["supersedes"], sequence - 1);
        change("devices", json!({"voucher": "V-3", "device": format!("OTHER-{n}"), "province": "44"}));
        assert_eq!(site.judge("V-1"), result, "a device of another enterprise is no ground of this voucher");
    }
}

#[test]
fn of_many_results_the_one_in_force_at_any_instant_is_given_and_the_feed_has_all_in_order() {
    // Only what is asked for is judged.
    let by_itself_never = |_: &_| vec!["monitor.every_s=0".to_string()];
    let site = Site::with(register(Utc::now() - TimeDelta::minutes(5)).file(), by_itself_never);
    let mut told = vec![site.judge("V-3"), site.judge("V-1")];
    for n in 1..=4 {
        let row = json!({"voucher": "V-1", "device": format!("NEW-{n}"), "province": "44"});
        let answer = site.post("/api/v1/register", &site.admin, &json!({"v": 1, "rulebook": "gd-2019", "devices": [row]}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        told.push(site.judge("V-1"));
        site.judge("V-3");
    }
    let at = |result: &Value| DateTime::parse_from_rfc3339(result["judged_at"].as_str().unwrap()).unwrap().to_utc();
    let of_v1 = &told[1..];
    for pair in of_v1.windows(2) {
        for (instant, in_force) in
            [(at(&pair[0]), &pair[0]), (at(&pair[1]) - TimeDelta::microseconds(1), &pair[0]), (at(&pair[1]), &pair[1])]
        {
            let path = format!("/api/v1/vouchers/V-1/result?as_of={}", show(instant).replace('+', "%2B"));
            assert_eq!(site.get(&path, &site.admin).json(), *in_force, "{instant}");
        }
    }
    // The feed, page by page from wherever its reader stands, also after a crash.
    let platform = site.key("platform", None);
    let feed = |site: &Site, cursor: &str| site.get(&format!("/api/v1/results?after={cursor}"), &platform).json();
    let whole = feed(&site, "");
    assert_eq!(whole["items"], json!(told));
    let site = site.kill_and_restart();
    assert_eq!(feed(&site, ""), whole);
    let cursor = whole["cursor"].as_str().unwrap();
    assert_eq!(feed(&site, cursor), json!({"items": [], "cursor": cursor}));
    assert_eq!(site.judge("V-1"), told[5], "after a restart, too, nothing has changed");
    assert_eq!(feed(&site, cursor)["items"], json!([]));
}
