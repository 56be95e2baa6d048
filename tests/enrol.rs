//! Enrolment: a one-time key puts a gateway's public key into the register, once, and gives the gateway what it needs to report.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::enrolment::{OTHER_SEED, SEED, audit, by_python, gateway_row, keys, published, register};
use support::http::Answer;
use support::mqtt::{Hello, Mqtt, V5};
use support::register::{TOKEN, credit_code};
use support::{Service, Site, python, shangyun, stderr, stdout};

fn body(keys: &Value) -> Value {
    json!({ "v": 1, "public_key": keys["public_key"] })
}

fn with_proof(keys: &Value) -> Value {
    json!({ "v": 1, "public_key": keys["public_key"], "proof": keys["proof"], "token": true })
}

fn enrol(site: &Site, key: &str, body: &Value) -> Answer {
    site.post("/api/v1/enrol", key, body)
}

fn import(site: &Site, gateways: Value) {
    let file = json!({ "v": 1, "rulebook": "gd-2019", "gateways": gateways });
    let answer = site.post("/api/v1/register", &site.admin, &file);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Statements on the database of a data directory, by a program of other make.
fn sqlite(data: &Path, statements: &str) -> Output {
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    Command::new(python()).args(["-c", script, data.join("shangyun.db").to_str().unwrap(), statements]).output().unwrap()
}

#[test]
fn an_enrolled_gateways_signed_reports_count_and_others_do_not() {
    let site = Site::new(register().file());
    let (own, other) = (keys(SEED, "gw-1"), keys(OTHER_SEED, "gw-1"));
    let answer = enrol(&site, &site.key("enrol", Some("gw-1")), &with_proof(&own));
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    let given = answer.json();
    assert_eq!((&given["v"], &given["gateway"], &given["enterprise"]), (&json!(1), &json!("gw-1"), &json!(credit_code(1))));
    assert_eq!(given["receipt_keys"], site.get("/api/v1/keys", "").json());
    assert_eq!((given.get("mqtt"), &given["repeated"]), (None, &json!(false)), "no address is configured");
    let pseudonym_key = given["pseudonym_key"].as_str().unwrap();
    assert!(pseudonym_key.len() == 64 && pseudonym_key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{pseudonym_key}");
    assert_eq!(gateway_row(&site, "gw-1")["public_key"], own["public_key"]);
    let token = given["token"].as_str().unwrap();
    assert_eq!(published(&site, "gw-1", token, &own, &[1, 2]), [0, 0]);
    assert_eq!(published(&site, "gw-1", token, &other, &[3]), [0x87]);
    assert_eq!((site.service.reports("accepted"), site.service.reports("refused")), (2, 1));
    // The token of before is none any more; that of another gateway is what it was.
    let connack = |gateway| Mqtt::open(site.service.mqtt, Hello::of(V5, gateway)).1;
    assert_eq!((connack("gw-1"), connack("gw-2")), (0x86, 0));
    site.judge("V-1");
}

#[test]
fn without_a_token_asked_for_the_one_of_the_register_stays() {
    let site = Site::with(register().file(), |_| vec!["enrol.mqtt_urls=mqtts://mqtt.example.cn:8883, mqtt://10.0.0.1".into()]);
    let own = keys(SEED, "gw-1");
    let given = enrol(&site, &site.key("enrol", Some("gw-1")), &body(&own)).json();
    assert_eq!(given.get("token"), None);
    assert_eq!(given["mqtt"], json!({"urls": ["mqtts://mqtt.example.cn:8883", "mqtt://10.0.0.1"]}));
    assert_eq!(published(&site, "gw-1", TOKEN, &own, &[1]), [0]);
}

#[test]
fn a_key_enrols_once_and_the_lost_answer_is_told_again_to_whom_it_belongs() {
    let site = Site::new(register().file());
    let (own, other) = (keys(SEED, "gw-1"), keys(OTHER_SEED, "gw-1"));
    let key = site.key("enrol", Some("gw-1"));
    let first = enrol(&site, &key, &with_proof(&own)).json();
    let mut again = enrol(&site, &key, &with_proof(&own)).json();
    assert_eq!(again["repeated"], json!(true));
    again["repeated"] = json!(false);
    assert_eq!(again, first);
    let not_shown = json!({ "v": 1, "public_key": own["public_key"], "token": true });
    let without_token = json!({ "v": 1, "public_key": own["public_key"], "proof": own["proof"] });
    for body in [with_proof(&other), not_shown, body(&own), body(&other), without_token] {
        let refused = enrol(&site, &key, &body);
        assert_eq!(refused.status, 409, "{body} {}", refused.body);
        assert!(refused.json()["detail"].as_str().unwrap().contains("key create --role enrol --scope gw-1"), "{}", refused.body);
    }
    assert_eq!(gateway_row(&site, "gw-1")["public_key"], own["public_key"]);
    assert_eq!(published(&site, "gw-1", again["token"].as_str().unwrap(), &own, &[1]), [0], "the token told again is the one in force");
    // Another one-time key puts another public key in its place, and the first answer stands no more.
    let second = enrol(&site, &site.key("enrol", Some("gw-1")), &with_proof(&other)).json();
    assert_eq!(second["pseudonym_key"], first["pseudonym_key"]);
    assert_ne!(second["token"], first["token"]);
    assert_eq!(enrol(&site, &key, &with_proof(&own)).status, 409);
    let acts = audit(&site, "gateways/gw-1");
    let enrolled: Vec<_> = acts.iter().filter(|entry| entry["act"] == "gateway_enrolled").collect();
    assert_eq!(enrolled.len(), 2, "what was only told again, or refused, changes nothing: {acts:?}");
    assert_eq!((&enrolled[0]["who"], &enrolled[0]["detail"]["replaced"]), (&json!("key:enrol:test"), &Value::Null));
    let change = &enrolled[1]["changes"][0];
    assert_eq!((&change["before"]["public_key"], &change["after"]["public_key"]), (&own["public_key"], &other["public_key"]));
    assert_eq!(enrolled[1]["detail"]["replaced"], own["public_key"]);
    let all = stdout(&shangyun(&site.dir(), &["audit", "--json"]));
    for secret in [&key, first["token"].as_str().unwrap(), first["pseudonym_key"].as_str().unwrap(), "token_sha256"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn a_repeated_answer_gives_the_pseudonym_key_that_the_gateways_enterprise_keeps_though_it_is_another_by_now() {
    let site = Site::new(register().file());
    let (own, key) = (with_proof(&keys(SEED, "gw-1")), site.key("enrol", Some("gw-1")));
    let first = enrol(&site, &key, &own).json();
    import(&site, json!([{ "id": "gw-1", "enterprise": credit_code(2) }]));
    let again = enrol(&site, &key, &own).json();
    assert_eq!((&again["enterprise"], &again["repeated"]), (&json!(credit_code(2)), &json!(true)));
    assert_ne!(again["pseudonym_key"], first["pseudonym_key"]);
    assert_eq!(enrol(&site, &key, &own).json()["pseudonym_key"], again["pseudonym_key"]);
    let of_supplier = site.get(&format!("/api/v1/enterprises/{}/pseudonym-key", credit_code(2)), &site.key("supplier", Some("S-2")));
    assert_eq!(of_supplier.json()["pseudonym_key"], again["pseudonym_key"]);
}

#[test]
fn of_many_that_enrol_at_once_with_one_key_one_wins() {
    let site = Site::new(register().file());
    let key = site.key("enrol", Some("gw-1"));
    let bodies: Vec<Value> = (1..=8u8).map(|n| with_proof(&keys(&hex::encode([n; 32]), "gw-1"))).collect();
    let (site, key) = (&site, &key);
    let mut answers: Vec<(u16, &Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> = bodies.iter().map(|body| scope.spawn(move || (enrol(site, key, body).status, body))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(gateway_row(site, "gw-1")["public_key"], answers[0].1["public_key"]);
}

#[test]
fn a_key_ends_after_its_days_and_does_nothing_else_meanwhile() {
    let site = Site::new(register().file());
    let key = site.key("enrol", Some("gw-1"));
    for path in ["register/gateways", "audit", "vouchers", "vouchers/V-1", "results", "quarantine", "gateways", "quality", "counters"] {
        assert_eq!(site.get(&format!("/api/v1/{path}"), &key).status, 403, "{path}");
    }
    for path in ["reports", "carrier-records", "register", "vouchers/V-1/judge", "quarantine/1/replay"] {
        assert_eq!(site.post(&format!("/api/v1/{path}"), &key, &json!({})).status, 403, "{path}");
    }
    assert_eq!(site.get(&format!("/api/v1/enterprises/{}/pseudonym-key", credit_code(1)), &key).status, 403);
    for role in ["admin", "supplier", "carrier", "platform"] {
        let other = site.key(role, Some("gw-1"));
        assert_eq!(enrol(&site, &other, &body(&keys(SEED, "gw-1"))).status, 403, "{role}");
    }
    assert_eq!(enrol(&site, "", &body(&keys(SEED, "gw-1"))).status, 401);
    let days = |entry: &Value| {
        let end = DateTime::parse_from_rfc3339(entry["detail"]["expires_at"].as_str().unwrap()).unwrap();
        (end.to_utc() - Utc::now() + TimeDelta::hours(1)).num_days()
    };
    let short =
        shangyun(&site.dir(), &["key", "create", "--role", "enrol", "--scope", "gw-1", "--name", "short", "--set=enrol.key_days=2"]);
    assert_eq!((stdout(&short).lines().count(), short.status.code()), (1, Some(0)));
    let made = audit(&site, "keys/test");
    let by_default = made.iter().find(|entry| entry["detail"]["role"] == "enrol").unwrap();
    assert_eq!((days(by_default), days(&audit(&site, "keys/short")[0])), (7, 2));
    assert!(made.iter().all(|entry| entry["detail"]["role"] == "enrol" || entry["detail"].get("expires_at").is_none()), "{made:?}");
    assert!(sqlite(&site.dir(), "UPDATE api_key SET expires_at = 1 WHERE role = 'enrol' AND name = 'test'").status.success());
    let expired = enrol(&site, &key, &body(&keys(SEED, "gw-1")));
    assert_eq!((expired.status, expired.body.contains("expired")), (401, true), "{}", expired.body);
    assert_eq!(enrol(&site, stdout(&short).trim(), &body(&keys(SEED, "gw-1"))).status, 200);
}

#[test]
fn the_command_refuses_a_one_time_key_of_no_gateway() {
    let dir = tempfile::tempdir().unwrap();
    for (args, said) in [(&["--name", "x"][..], "--scope"), (&["--name", "x", "--scope", "no gateway"], "no gateway has this id")] {
        let output = shangyun(dir.path(), &[&["key", "create", "--role", "enrol"], args].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(said) && stdout(&output).is_empty(), "{}", stderr(&output));
    }
}

#[test]
fn what_is_wrong_is_told_and_uses_nothing_up() {
    let site = Site::new(register().file());
    let (own, of_gw_2) = (keys(SEED, "gw-1"), keys(SEED, "gw-2"));
    let public = own["public_key"].as_str().unwrap();
    let key = site.key("enrol", Some("gw-1"));
    let weak = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (status, said, wrong) in [
        (422, "missing field", json!({ "public_key": public })),
        (422, "v is 2", json!({ "v": 2, "public_key": public })),
        (422, "missing field", json!({ "v": 1 })),
        (422, "unknown field", json!({ "v": 1, "public_key": public, "publik_key": public })),
        (422, "a string", json!({ "v": 1, "public_key": 7 })),
        (422, "32 bytes", json!({ "v": 1, "public_key": &public[..40] })),
        (422, "weak", json!({ "v": 1, "public_key": weak })),
        (403, "gw-2", json!({ "v": 1, "public_key": public, "gateway": "gw-2" })),
        (422, "proof", json!({ "v": 1, "public_key": public, "proof": of_gw_2["proof"] })),
        (422, "proof", json!({ "v": 1, "public_key": public, "proof": "" })),
        (422, "proof", json!({ "v": 1, "public_key": keys(OTHER_SEED, "gw-1")["public_key"], "proof": own["proof"] })),
        (422, "", json!([])),
    ] {
        let answer = enrol(&site, &key, &wrong);
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{wrong} {}", answer.body);
        assert!(answer.body.contains(said), "{wrong} {}", answer.body);
    }
    let url = format!("{}/api/v1/enrol", site.service.http);
    assert_eq!(support::http::post(&url, &key, b"{\"v\":1,", &[]).status, 400);
    assert_eq!(support::http::post(&url, &key, b"v=1", &[("Content-Type", "application/x-www-form-urlencoded")]).status, 415);
    assert_eq!(gateway_row(&site, "gw-1").get("public_key"), None);
    assert_eq!(enrol(&site, &key, &json!({ "v": 1, "public_key": public, "gateway": "gw-1" })).status, 200);
}

#[test]
fn a_gateway_that_is_not_registered_yet_is_told_so_and_enrols_later_with_the_same_key() {
    let site = Site::new(register().file());
    let (key, own) = (site.key("enrol", Some("gw-9")), keys(SEED, "gw-9"));
    let answer = enrol(&site, &key, &with_proof(&own));
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("not in the register") && answer.body.contains("not used up"), "{}", answer.body);
    import(&site, json!([{ "id": "gw-9", "enterprise": credit_code(2) }]));
    let given = enrol(&site, &key, &with_proof(&own)).json();
    assert_eq!(given["enterprise"], json!(credit_code(2)));
    import(&site, json!([{ "id": "gw-9", "removed": true }]));
    assert_eq!(enrol(&site, &key, &with_proof(&own)).status, 404);
}

#[test]
fn a_key_that_another_gateway_has_is_refused_and_nothing_used_up() {
    let site = Site::new(register().file());
    assert_eq!(enrol(&site, &site.key("enrol", Some("gw-1")), &body(&keys(SEED, "gw-1"))).status, 200);
    let key = site.key("enrol", Some("gw-2"));
    let copied = enrol(&site, &key, &with_proof(&keys(SEED, "gw-2")));
    assert_eq!((copied.status, copied.body.contains("another gateway")), (409, true), "{}", copied.body);
    assert_eq!(enrol(&site, &key, &with_proof(&keys(OTHER_SEED, "gw-2"))).status, 200);
}

#[test]
fn an_import_without_the_enrolled_key_keeps_it_and_one_with_another_replaces_it() {
    let site = Site::new(register().file());
    let (own, other) = (keys(SEED, "gw-1"), keys(OTHER_SEED, "gw-1"));
    enrol(&site, &site.key("enrol", Some("gw-1")), &body(&own));
    let row = |more: Value| {
        let mut row = json!({ "id": "gw-1", "enterprise": credit_code(1) });
        for (name, value) in more.as_object().unwrap() {
            row[name] = value.clone();
        }
        json!([row])
    };
    for same in [json!({}), json!({ "sparkplug": false }), json!({ "public_key": own["public_key"] }), json!({ "token": "another-token" })]
    {
        import(&site, row(same.clone()));
        assert_eq!(gateway_row(&site, "gw-1")["public_key"], own["public_key"], "{same}");
    }
    assert_eq!(gateway_row(&site, "gw-1").get("enrolled"), None, "rows can be sent back as they were read");
    import(&site, row(json!({ "public_key": other["public_key"] })));
    assert_eq!(gateway_row(&site, "gw-1")["public_key"], other["public_key"]);
    import(&site, row(json!({})));
    assert_eq!(gateway_row(&site, "gw-1").get("public_key"), None, "what an import has put there, an import takes away");
}

#[test]
fn gateway_and_supplier_write_a_user_the_same() {
    let site = Site::new(register().file());
    let path = |n: u32| format!("/api/v1/enterprises/{}/pseudonym-key", credit_code(n));
    let given = enrol(&site, &site.key("enrol", Some("gw-1")), &body(&keys(SEED, "gw-1"))).json();
    let supplier = site.key("supplier", Some("S-1"));
    let answer = site.get(&path(1), &supplier);
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    let read = answer.json();
    assert_eq!(read, json!({ "v": 1, "enterprise": credit_code(1), "pseudonym_key": given["pseudonym_key"] }));
    let user = |key: &Value| by_python(json!({ "pseudonym_key": key, "user": "张三" }))["user"].clone();
    assert_eq!(user(&given["pseudonym_key"]), user(&read["pseudonym_key"]));
    assert_eq!(site.get(&path(1), &site.admin).json()["pseudonym_key"], read["pseudonym_key"]);
    let second = enrol(&site, &site.key("enrol", Some("gw-2")), &body(&keys(OTHER_SEED, "gw-2"))).json();
    assert_eq!(second["pseudonym_key"], given["pseudonym_key"], "one key for the enterprise");
    // Another enterprise has another, whoever asks first.
    let of_other = site.get(&path(2), &site.key("supplier", Some("S-2"))).json();
    assert_ne!(of_other["pseudonym_key"], read["pseudonym_key"]);
    for (status, role, scope, enterprise) in [
        (404, "supplier", Some("S-2"), 1),
        (404, "supplier", Some("S-1"), 2),
        (404, "admin", None, 3),
        (403, "platform", None, 1),
        (403, "carrier", Some("C-1"), 1),
    ] {
        assert_eq!(site.get(&path(enterprise), &site.key(role, scope)).status, status, "{role} {scope:?} {enterprise}");
    }
    for _ in 0..3 {
        site.get(&path(1), &supplier);
    }
    let read_by = |n: u32| -> Vec<String> {
        let acts = audit(&site, &format!("enterprises/{}", credit_code(n)));
        acts.iter().filter(|entry| entry["act"] == "pseudonym_key_read").map(|entry| entry["who"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(read_by(1), ["key:supplier:test", "key:admin:test"], "each key once");
    assert_eq!(read_by(2), ["key:supplier:test"]);
    for change in ["UPDATE pseudonym_key SET key = zeroblob(32)", "DELETE FROM pseudonym_key"] {
        let output = sqlite(&site.dir(), change);
        assert!(!output.status.success() && stderr(&output).contains("a pseudonym key is never"), "{}", stderr(&output));
    }
    let site = site.kill_and_restart();
    assert_eq!(site.get(&path(1), &supplier).json(), read);
}

/// What there was before enrolment.
const BEFORE: &str = "DROP TABLE enrolment; DROP TABLE pseudonym_key; DROP TABLE pseudonym_key_reader;
    ALTER TABLE api_key DROP COLUMN expires_at; PRAGMA user_version = 12;";

#[test]
fn a_directory_from_before_opens_and_its_keys_are_good() {
    let site = Site::new(register().file());
    let admin = site.admin.clone();
    let (_dir, data) = site.stop();
    let output = sqlite(&data, BEFORE);
    assert!(output.status.success(), "{}", stderr(&output));
    let service = Service::start(&data, &[]);
    let url = |path: &str| format!("{}{path}", service.http);
    assert_eq!(support::http::get(&url("/api/v1/register/gateways"), &admin).status, 200);
    let created = shangyun(&data, &["key", "create", "--role", "enrol", "--name", "x", "--scope", "gw-1"]);
    let own = body(&keys(SEED, "gw-1")).to_string();
    assert_eq!(support::http::post(&url("/api/v1/enrol"), stdout(&created).trim(), own.as_bytes(), &[]).status, 200);
}
