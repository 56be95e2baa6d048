//! `shangyun log verify` and signed heads: whatever was changed, cut or damaged since is found and named.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::device_reports;
use support::register::{GUANGZHOU, Register, device_names};
use support::{Site, shangyun, stderr, stdout};

fn site() -> Site {
    Site::new(Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU).file())
}

/// A number that `log verify` says. Beside reports, acts of the audit log stand in blocks of their own.
fn said(text: &str, name: &str) -> u64 {
    let rest = text.split(&format!("{name} ")).nth(1).unwrap_or_else(|| panic!("{name}: {text}"));
    rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Records of the log that are reports.
fn reports(text: &str) -> u64 {
    said(text, "records") - said(text, "audit entries")
}

/// Pushes that many reports, each in a block of its own.
fn push(site: &Site, from: usize, count: usize) {
    let key = site.key("supplier", Some("S-1"));
    let at = Utc::now() - TimeDelta::hours(2);
    for n in from..from + count {
        site.push_accepted(&key, &device_reports(&format!("r{n}"), 1, &device_names("SN", 3), &[at]));
    }
}

/// A stopped service's data with ten blocks and a signed head over them.
fn stopped() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let site = site();
    push(&site, 0, 10);
    let (dir, data) = site.stop();
    let segment = data.join("log/00000000000000000000.seg");
    (dir, data, segment)
}

fn verify(data: &std::path::Path, more: &[&str]) -> (bool, String) {
    let output = shangyun(data, &[&["log", "verify"], more].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
    (output.status.success(), stdout(&output))
}

#[test]
fn a_whole_log_is_verified_stopped_and_while_the_service_runs() {
    let site = site();
    push(&site, 0, 5);
    let (whole, text) = verify(&site.dir(), &[]);
    assert!(whole && reports(&text) == 5 && said(&text, "blocks") >= 5, "{text}");
    push(&site, 5, 5);
    let (_dir, data) = site.stop();
    let (whole, text) = verify(&data, &[]);
    assert!(whole && reports(&text) == 10 && text.contains("the log is whole"), "{text}");
    assert!(!text.contains("signed heads 0"), "{text}");
}

#[test]
fn a_flipped_bit_is_named_with_its_file_and_block() {
    let (_dir, data, segment) = stopped();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[700] ^= 8;
    std::fs::write(&segment, bytes).unwrap();
    let (whole, text) = verify(&data, &[]);
    assert!(!whole && text.contains(segment.to_str().unwrap()) && text.contains("damaged"), "{text}");
    assert!(text.contains("the log is NOT whole"), "{text}");
}

#[test]
fn a_log_cut_back_to_an_earlier_state_is_found_by_the_heads_kept_and_by_one_handed_out() {
    let site = site();
    push(&site, 0, 5);
    let (_dir, data) = site.stop();
    let copy = std::fs::read(data.join("log/00000000000000000000.seg")).unwrap();
    let service = support::Service::start(&data, &[]);
    let key = stdout(&shangyun(&data, &["key", "create", "--role", "supplier", "--name", "t", "--scope", "S-1"]));
    let report = device_reports("later", 1, &device_names("SN", 1), &[Utc::now()]);
    let answer = support::http::post(&format!("{}/api/v1/reports", service.http), key.trim(), json!(report).to_string().as_bytes(), &[]);
    assert_eq!(answer.json()["results"][0]["status"], "accepted");
    service.stop();
    let head = shangyun(&data, &["log", "head"]);
    assert!(head.status.success());
    let kept = data.join("head.txt");
    std::fs::write(&kept, &head.stdout).unwrap();
    assert!(verify(&data, &["--since", kept.to_str().unwrap()]).0);
    std::fs::write(data.join("log/00000000000000000000.seg"), copy).unwrap();
    let (whole, text) = verify(&data, &["--since", kept.to_str().unwrap()]);
    assert!(!whole && text.contains("it was cut"), "{text}");
    let size = format!("\n{}\n", stdout(&head).lines().nth(1).unwrap());
    std::fs::write(&kept, stdout(&head).replacen(&size, "\n999\n", 1)).unwrap();
    assert!(verify(&data, &["--since", kept.to_str().unwrap()]).1.contains("by no key of this service"));
}

#[test]
fn the_public_keys_and_the_newest_head_are_handed_out() {
    let site = site();
    push(&site, 0, 1);
    assert_eq!(site.post("/api/v1/vouchers/none/judge", &site.admin, &Value::Null).status, 404);
    let keys = site.get("/api/v1/keys", "").json();
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]), (&json!("OKP"), &json!("EdDSA")));
    let (_dir, data) = site.stop();
    let note = stdout(&shangyun(&data, &["log", "head"]));
    let lines: Vec<_> = note.lines().collect();
    assert_eq!((lines[0], lines[5]), ("shangyun-monitor/evidence-log", ""));
    assert!(lines[4].starts_with("results 0 "), "{note}");
}

#[test]
fn a_result_is_handed_out_signed_over_its_bytes_by_the_key_of_its_time() {
    let site = Site::new(
        Register::new()
            .supplier("S-1")
            .product("P-1", "S-1", 5, "A")
            .enterprise(1, GUANGZHOU)
            .voucher("V-1", 1, "P-1", "1000.00", json!({}))
            .file(),
    );
    let path = "/api/v1/vouchers/V-1/result";
    assert_eq!(site.get(&format!("{path}.jws"), &site.admin).status, 404, "before the first");
    let first = site.judge("V-1");
    let rotated = shangyun(&site.dir(), &["key", "rotate"]);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    push(&site, 0, 1);
    let second = site.judge("V-1");
    assert_eq!((&first["sequence"], &second["sequence"]), (&json!(1), &json!(2)));
    let keys = site.get("/api/v1/keys", "").json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "a running service takes the new key up: {keys}");
    assert_eq!(keys["keys"][1]["kid"], stdout(&rotated).trim());
    let key_of = |query: &str| {
        let (jws, body) = (site.get(&format!("{path}.jws{query}"), &site.admin), site.get(&format!("{path}{query}"), &site.admin));
        assert_eq!((jws.status, jws.header("content-type")), (200, "application/jose"), "{}", jws.body);
        let verified = store::PublicKeys::read(&keys.to_string()).unwrap().verify_jws(&jws.body).unwrap();
        assert_eq!(verified.payload, body.body.as_bytes());
        verified.key.id()
    };
    let between = second["judged_at"].as_str().unwrap().replace('+', "%2B");
    for (query, key) in [("", 1), ("?sequence=1", 0), ("?sequence=2", 1), (&format!("?as_of={between}"), 1)] {
        assert_eq!(key_of(query), keys["keys"][key]["kid"].as_str().unwrap(), "{query}");
    }
    assert_eq!(site.get(&format!("{path}.jws?sequence=3"), &site.admin).status, 404);
    assert_eq!(site.get(&format!("{path}.jws?sequence=x"), &site.admin).status, 400);
    assert_eq!(site.get(&format!("{path}.jws"), "").status, 401);
    let (_dir, data) = site.stop();
    let (whole, text) = verify(&data, &[]);
    assert!(whole && text.contains("results 2") && text.contains("the results are whole"), "{text}");
}
