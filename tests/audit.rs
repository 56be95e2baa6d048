//! The audit log: every administrative act exactly once in the evidence log, however the service ends, and nothing secret in it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::register::{FOSHAN, GUANGZHOU, Register, TOKEN, credit_code, device_names};
use support::{Site, shangyun, stderr, stdout, wait_for};

fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .devices("V-1", &device_names("SN", 2))
        .gateway("gw-1", 1)
}

fn entries(site: &Site, query: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = site.get(&format!("/api/v1/audit?after={after}{query}"), &site.admin).json();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_i64() {
            Some(next) => after = next,
            None => return all,
        }
    }
}

/// Waits until every entry is known to stand in the log, and gives them.
fn settled(site: &Site) -> Vec<Value> {
    wait_for("every act stands in the log", || {
        let all = entries(site, "");
        all.iter().all(|entry| entry["block"].is_u64()).then_some(all)
    })
}

/// What `log verify` says of a directory that is whole.
fn whole(dir: &std::path::Path) -> String {
    let output = shangyun(dir, &["log", "verify"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn import(site: &Site, register: &Register) {
    let path = site.scratch().join("register.json");
    std::fs::write(&path, register.file().to_string()).unwrap();
    let output = shangyun(&site.dir(), &["import", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn acts_over_http_and_by_command_are_written_down_with_who_before_and_after() {
    let site = Site::new(register().file());
    import(&site, &Register::new().row("suppliers", json!({"id": "S-1", "name": "改名", "city": FOSHAN})));
    site.judge("V-1");
    let all = settled(&site);
    let acts: Vec<&str> = all.iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    assert_eq!(acts.iter().filter(|act| **act == "policy_changed").count(), 1, "{acts:?}");
    assert!(["key_created", "register_changed", "judging_asked"].iter().all(|act| acts.contains(act)), "{acts:?}");
    let of_supplier = entries(&site, "&subject=suppliers/S-1");
    let [made, renamed] = &of_supplier[..] else { panic!("{of_supplier:?}") };
    assert_eq!((&made["who"], &made["changes"][0]["before"]), (&json!("key:admin:test"), &Value::Null));
    assert!(renamed["who"].as_str().unwrap().starts_with("command:"), "{renamed}");
    assert_eq!((&renamed["changes"][0]["before"]["name"], &renamed["changes"][0]["after"]["name"]), (&json!("供应商S-1"), &json!("改名")));
    // Two keys may have one name.
    let created = all.iter().find(|entry| entry["act"] == "key_created" && entry["detail"]["name"] == "test").unwrap();
    assert!(created["detail"]["sha256"].as_str().unwrap().starts_with(made["key"].as_str().unwrap()), "{created} {made}");
    let of_voucher = entries(&site, "&subject=vouchers/V-1");
    assert_eq!(of_voucher[0]["changes"].as_array().unwrap().len(), 3, "a voucher's devices belong to it: {of_voucher:?}");
    assert_eq!(of_voucher.last().unwrap()["act"], "judging_asked");
    let text = stdout(&shangyun(&site.dir(), &["audit", "--subject", "suppliers/"]));
    assert!(text.contains("suppliers/S-1") && !text.contains("vouchers/V-1"), "{text}");
    let text = stdout(&shangyun(&site.dir(), &["audit", "--subject", "suppliers/S-1"]));
    assert!(text.contains("changed suppliers S-1: city: \"440100\" → \"440600\"; name: ") && !text.contains("id: "), "{text}");
    let text = stdout(&shangyun(&site.dir(), &["audit", "--json"]));
    assert!(
        !text.contains(TOKEN) && !text.contains(&site.admin) && !text.contains("token_sha256") && text.contains("\"token\":\"set\""),
        "{text}"
    );
    import(&site, &Register::new().row("gateways", json!({"id": "gw-1", "enterprise": credit_code(1), "token": "another-secret"})));
    let of_gateway = entries(&site, "&subject=gateways/gw-1");
    let change = &of_gateway.last().unwrap()["changes"][0];
    assert_eq!((&change["before"]["token"], &change["after"]["token"]), (&json!("set"), &json!("changed")));
    let supplier = site.key("supplier", Some("S-1"));
    assert_eq!(site.get("/api/v1/audit", &supplier).status, 403);
}

#[test]
fn acts_of_commands_say_what_they_were_done_with() {
    let site = Site::new(register().file());
    assert!(shangyun(&site.dir(), &["judge", "--voucher", "V-404"]).status.code() != Some(0));
    assert_eq!(entries(&site, "&subject=vouchers/V-404"), Vec::<Value>::new(), "there is no such voucher");
    assert!(shangyun(&site.dir(), &["judge", "--voucher", "V-1"]).status.success());
    let asked = entries(&site, "&subject=vouchers/V-1").pop().unwrap();
    assert_eq!((&asked["act"], asked["detail"]["policy"]["rulebooks"]["gd-2019"].is_string()), (&json!("judging_asked"), true), "{asked}");
    let rotated = shangyun(&site.dir(), &["key", "rotate"]);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    let keys = site.get("/api/v1/keys", "").json();
    let said = entries(&site, "&subject=keys/signing").pop().unwrap();
    assert_eq!(said["act"], "key_rotated");
    assert_eq!(said["detail"], json!({"before": keys["keys"][0]["kid"], "after": keys["keys"][1]["kid"]}));
    assert_eq!(said["detail"]["after"], stdout(&rotated).trim());
}

#[test]
fn a_state_correction_is_written_down_with_its_reason_and_not_stored() {
    let voucher = |more: Value| Register::new().voucher("V-1", 1, "P-1", "10000.00", more);
    let site = Site::new(register().file());
    let post = |register: &Register| site.post("/api/v1/register", &site.admin, register.file());
    assert_eq!(post(&voucher(json!({"status": "paid"}))).status, 200);
    let refused = post(&voucher(json!({"status": "issued"})));
    assert_eq!((refused.status, &refused.json()["faults"][0]["code"]), (422, &json!("state")));
    assert!(refused.json()["faults"][0]["detail"].as_str().unwrap().contains("paid → issued"), "{}", refused.body);
    assert_eq!(post(&voucher(json!({"status": "issued", "correction": "误操作"}))).status, 200);
    let corrected: Vec<Value> =
        entries(&site, "&subject=vouchers/V-1").into_iter().filter(|entry| entry["act"] == "state_corrected").collect();
    assert_eq!(corrected.len(), 1);
    assert_eq!(corrected[0]["detail"], json!({"from": "paid", "to": "issued", "why": "误操作"}));
    assert!(!site.get("/api/v1/register/vouchers", &site.admin).body.contains("correction"));
}

#[test]
fn every_act_stands_in_the_log_exactly_once_however_the_service_ends() {
    let mut site = Site::new(register().file());
    for round in 0..4 {
        import(&site, &Register::new().supplier(&format!("S-running-{round}")));
        // Sometimes before the entry is carried over, sometimes after, sometimes after a checkpoint.
        std::thread::sleep(std::time::Duration::from_millis([0, 300, 600, 1500][round]));
        site = site.kill_and_restart();
    }
    let before = settled(&site).len();
    let (dir, data) = site.kill();
    let path = dir.path().join("more.json");
    std::fs::write(&path, Register::new().supplier("S-stopped").file().to_string()).unwrap();
    assert!(shangyun(&data, &["import", path.to_str().unwrap()]).status.success());
    assert!(whole(&data).contains("waiting 1"), "{}", whole(&data));
    let service = support::Service::start(&data, &[]);
    let text = wait_for("the act is carried over", || Some(whole(&data)).filter(|text| text.contains("waiting 0")));
    assert!(text.contains(&format!("audit entries {}", before + 1)), "{text}");
    service.stop();
    let output = shangyun(&data, &["audit", "--json"]);
    let listed: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<i64> = listed.iter().map(|entry| entry["id"].as_i64().unwrap()).collect();
    assert_eq!((ids.len(), listed.len()), (before + 1, before + 1));
    for supplier in ["S-running-0", "S-running-1", "S-running-2", "S-running-3", "S-stopped"] {
        assert_eq!(listed.iter().filter(|entry| entry["subject"] == format!("suppliers/{supplier}")).count(), 1, "{supplier}");
    }
    whole(&data);
}
