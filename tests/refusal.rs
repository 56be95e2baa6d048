//! What is refused, and how it is told: every fault at once, nothing counted; and every status of the HTTP API.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::Write;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{device_reports, gateway_report, show};
use support::http::{self, Answer};
use support::mqtt::{Mqtt, Packet, V3, V5};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code, device_names};
use support::{Site, rebuild_tally};

fn site() -> Site {
    let register = Register::new()
        .supplier("S-1")
        .supplier("S-2")
        .product("P-1", "S-1", 5, "A")
        .product("P-2", "S-2", 12, "B")
        .enterprise(1, GUANGZHOU)
        .enterprise(2, FOSHAN)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .voucher("V-2", 2, "P-2", "10000.00", json!({}))
        .gateway("gw-1", 1);
    Site::new(register.file())
}

fn sound(id: &str) -> Value {
    device_reports(id, 1, &device_names("SN", 1), &[Utc::now()]).remove(0)
}

/// Quality, state, reading, future, actions: each in its place.
fn five_faults(mut report: Value) -> Value {
    let now = show(Utc::now());
    report["devices"] = json!([
        {"device": "SN-1", "at": now, "quality": "N"},
        {"device": "SN-2", "at": now, "quality": "X", "state": "asleep", "readings": {"功率/kw": "4.2"}},
        {"device": "SN-3", "at": show(Utc::now() + TimeDelta::minutes(5)), "quality": "N"},
    ]);
    report["usage"] = json!([{"product": "P-1", "function_module": "报警", "user": "7f3a", "at": now, "actions": 0}]);
    report
}

const FIVE: [(&str, &str); 5] = [
    ("quality", "/devices/1/quality"),
    ("state", "/devices/1/state"),
    ("reading", "/devices/1/readings/功率~1kw"),
    ("future", "/devices/2/at"),
    ("actions", "/usage/0/actions"),
];

fn assert_five(faults: &Value) {
    let faults = faults.as_array().unwrap();
    let told: Vec<_> = faults.iter().map(|fault| (fault["code"].as_str().unwrap(), fault["path"].as_str().unwrap())).collect();
    assert_eq!(told, FIVE);
    assert!(
        faults.iter().all(|fault| !fault["rule"].as_str().unwrap().is_empty() && !fault["detail"].as_str().unwrap().is_empty()),
        "{faults:?}"
    );
}

/// Nothing of what was refused may be found when the log is folded anew.
fn assert_nothing_counted(site: Site) {
    let (_dir, data) = site.stop();
    let (same, digest) = rebuild_tally(&data);
    assert!(same);
    let (_empty_dir, empty) = self::site().stop();
    assert_eq!((true, digest), rebuild_tally(&empty));
}

#[test]
fn a_report_with_five_faults_over_http_is_refused_with_all_five_and_nothing_is_counted() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let report = five_faults(json!({"v": 1, "id": "r-5", "enterprise": credit_code(1)}));
    let results = site.push(&key, std::slice::from_ref(&report));
    assert_eq!((&results[0]["status"], &results[0]["id"], &results[0]["index"]), (&json!("refused"), &json!("r-5"), &json!(0)));
    assert_five(&results[0]["faults"]);
    assert_eq!((site.service.reports("refused"), site.service.reports("accepted")), (1, 0));
    let kept = site.get("/api/v1/quarantine", &key).json();
    assert_five(&kept["items"][0]["faults"]);
    assert_eq!(serde_json::from_str::<Value>(kept["items"][0]["body"].as_str().unwrap()).unwrap(), report);
    assert_eq!(site.get("/api/v1/quarantine", &site.key("supplier", Some("S-2"))).json()["items"], json!([]), "others do not see it");
    assert_nothing_counted(site);
}

#[test]
fn a_report_with_five_faults_over_mqtt_is_refused_with_all_five_before_its_puback() {
    let site = site();
    for (seq, version, reason) in [(1, V3, 0), (2, V5, 0x99)] {
        let mut mqtt = Mqtt::connect(site.service.mqtt, version, "gw-1");
        assert_eq!(mqtt.subscribe(&["shangyun/v1/gw-1/refused"]), [1]);
        mqtt.publish("shangyun/v1/gw-1/report", 7, &five_faults(json!({"v": 1, "id": "r", "boot": "b1", "seq": seq})).to_string());
        let Some(Packet::Publish { topic, payload, .. }) = mqtt.read() else { panic!("the refusal comes first") };
        assert_eq!(topic, "shangyun/v1/gw-1/refused");
        let told: Value = serde_json::from_str(&payload).unwrap();
        assert_five(&told["faults"]);
        assert_eq!((&told["boot"], &told["seq"], &told["id"]), (&json!("b1"), &json!(seq), &json!("r")));
        assert_eq!(mqtt.read(), Some(Packet::Puback { id: 7, reason }));
    }
    assert_eq!((site.service.reports("refused"), site.service.reports("accepted")), (2, 0));
    let kept = site.get("/api/v1/quarantine?kind=gateway&sender=gw-1", &site.admin).json();
    assert_eq!(kept["items"].as_array().unwrap().len(), 2);
    assert_five(&kept["items"][1]["faults"]);
    assert_eq!(site.get("/api/v1/gateways/gw-1", &site.admin).json()["boots"], json!([]));
    assert_nothing_counted(site);
}

/// The same report is a duplicate whatever its sent_at and unknown fields; another report of the same identity is a conflict.
#[test]
fn a_repeat_is_a_duplicate_and_another_report_under_the_same_identity_is_refused() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let first = sound("r-1");
    let mut again = first.clone();
    again["sent_at"] = json!(show(Utc::now()));
    again["colour"] = json!("unknown fields are ignored");
    let mut other = first.clone();
    other["devices"][0]["readings"]["功率_kw"] = json!(4.3);
    let status = |site: &Site, report: &Value| site.push(&key, std::slice::from_ref(report))[0].clone();
    assert_eq!(status(&site, &first)["status"], "accepted");
    assert_eq!(status(&site, &again)["status"], "duplicate");
    let refused = status(&site, &other);
    assert_eq!(
        (&refused["status"], &refused["faults"][0]["code"], &refused["faults"][0]["path"]),
        (&json!("refused"), &json!("conflict"), &json!("/id"))
    );
    assert!(site.service.metric("shangyun_ingest_unknown_fields_total") >= 1);
    let site = site.kill_and_restart();
    assert_eq!(status(&site, &first)["status"], "duplicate", "also after a kill");
    assert_eq!(status(&site, &other)["status"], "refused");

    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let at = Utc::now();
    let topic = "shangyun/v1/gw-1/report";
    for (id, device, reason) in [(1, "SN-1", 0), (2, "SN-1", 0), (3, "SN-2", 0x99)] {
        mqtt.publish(topic, id, &gateway_report("b1", 1, device, at).to_string());
        assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason }));
    }
    let faults = site.get("/api/v1/quarantine?sender=gw-1", &site.admin).json()["items"][0]["faults"].clone();
    assert_eq!((&faults[0]["code"], &faults[0]["path"]), (&json!("conflict"), &json!("/seq")));
    assert_eq!(site.get("/api/v1/gateways/gw-1", &site.admin).json()["boots"][0]["accepted"], json!([[1, 1]]));
}

#[test]
fn a_refused_identity_stays_free_and_a_repeat_within_one_request_is_seen() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let mut faulty = sound("r-1");
    faulty["devices"][0]["quality"] = json!("?");
    let report = sound("r-1");
    let results = site.push(&key, &[faulty, report.clone(), report]);
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["refused", "accepted", "duplicate"]);
}

#[test]
fn a_dry_run_says_the_faults_and_changes_nothing() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let body = json!([sound("r-1"), five_faults(json!({"v": 1, "id": "r-2", "enterprise": credit_code(1)}))]);
    let results = site.post("/api/v1/reports?dry_run=true", &key, &body).json()["results"].clone();
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!("accepted"), &json!("refused")));
    assert_five(&results[1]["faults"]);
    assert_eq!(site.get("/api/v1/quarantine", &key).json()["items"], json!([]));
    assert_eq!(site.push(&key, &[sound("r-1")])[0]["status"], "accepted", "the dry run took nothing");
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(body, 0).unwrap(),
        _ => body.to_vec(),
    }
}

#[test]
fn one_report_an_array_and_ndjson_are_taken_plain_gzipped_and_with_zstd() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let url = format!("{}/api/v1/reports", site.service.http);
    for name in ["identity", "gzip", "zstd"] {
        let ndjson = format!("{}\n{}\n", sound(&format!("{name}-3")), sound(&format!("{name}-4")));
        let bodies = [
            (sound(&format!("{name}-0")).to_string(), "application/json", 1),
            (json!([sound(&format!("{name}-1")), sound(&format!("{name}-2"))]).to_string(), "application/json; charset=utf-8", 2),
            (ndjson, "application/x-ndjson", 2),
        ];
        for (body, content_type, count) in bodies {
            let mut headers = vec![("Content-Type", content_type)];
            if name != "identity" {
                headers.push(("Content-Encoding", name));
            }
            let answer = http::post(&url, &key, &encoded(name, body.as_bytes()), &headers);
            let results = answer.json()["results"].as_array().unwrap_or_else(|| panic!("{name}: {}", answer.body)).clone();
            assert_eq!(results.len(), count);
            assert!(results.iter().all(|result| result["status"] == "accepted"), "{results:?}");
        }
    }
    assert_eq!(site.service.reports("accepted"), 15);
}

fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.json()["status"], status);
}

#[test]
fn errors_are_problem_details_with_a_request_id() {
    let site = site();
    let (supplier, platform, carrier) = (site.key("supplier", Some("S-1")), site.key("platform", None), site.key("carrier", Some("C-1")));
    let reports = format!("{}/api/v1/reports", site.service.http);
    let push = |key: &str, body: &[u8], headers: &[(&str, &str)]| http::post(&reports, key, body, headers);
    let report = sound("r-1").to_string();
    assert_problem(&push(&supplier, b"{\"v\":1,", &[]), 400);
    assert_problem(&push(&supplier, b"[]", &[]), 400);
    assert_problem(&push(&supplier, b"not gzip", &[("Content-Encoding", "gzip")]), 400);
    assert_problem(&push("", report.as_bytes(), &[]), 401);
    assert_problem(&push("sy_wrong", report.as_bytes(), &[]), 401);
    for key in [&platform, &carrier, &site.admin] {
        assert_problem(&push(key, report.as_bytes(), &[]), 403);
    }
    assert_problem(&site.post("/api/v1/register", &supplier, &json!({"v": 1})), 403);
    assert_problem(&site.post("/api/v1/vouchers/V-1/judge", &supplier, &Value::Null), 403);
    assert_problem(&site.get("/api/v1/vouchers", &carrier), 403);
    assert_problem(&site.get("/api/v1/vouchers/V-404", &site.admin), 404);
    assert_problem(&site.get("/api/v1/no-such-thing", &site.admin), 404);
    assert_problem(&site.get("/api/v1/reports", &supplier), 405);
    assert_problem(&push(&supplier, &vec![b' '; (8 << 20) + 1], &[]), 413);
    let bomb = encoded("zstd", &vec![b' '; 64 << 20]);
    assert_problem(&push(&supplier, &bomb, &[("Content-Encoding", "zstd")]), 413);
    assert_problem(&push(&supplier, format!("[{}{report}]", format!("{report},").repeat(1000)).as_bytes(), &[]), 413);
    assert_problem(&push(&supplier, report.as_bytes(), &[("Content-Type", "text/xml")]), 415);
    assert_problem(&site.post("/api/v1/register", &site.admin, &json!({"v": 2})), 422);
    let answer = site.get("/api/v1/vouchers", &site.admin);
    assert!(answer.status == 200 && !answer.header("x-request-id").is_empty());
    assert_eq!(site.service.reports("accepted"), 0);
}

/// What fails before any handler of ours sees it, is told in the same form.
#[test]
fn unreadable_paths_queries_and_encodings_are_problem_details_too() {
    let site = site();
    let supplier = site.key("supplier", Some("S-1"));
    let faults = [
        site.post("/api/v1/reports?dry_run=perhaps", &supplier, &sound("r-1")),
        site.get("/api/v1/quarantine?before=yesterday", &supplier),
        site.get("/api/v1/vouchers/%FF", &site.admin),
    ];
    faults.iter().for_each(|answer| assert_problem(answer, 400));
    let url = format!("{}/api/v1/reports", site.service.http);
    assert_problem(&http::post(&url, &supplier, b"{}", &[("Content-Encoding", "br")]), 415);
}

#[test]
fn a_report_of_more_than_256_kib_is_refused_and_its_neighbours_in_the_request_are_not() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let mut large = sound("r-2");
    large["padding"] = json!("x".repeat(256 << 10));
    let results = site.push(&key, &[sound("r-1"), large, sound("r-3")]);
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["accepted", "refused", "accepted"]);
    assert_eq!(results[1]["faults"][0]["code"], "size");
}

#[test]
fn suppliers_and_platforms_see_only_what_is_theirs() {
    let site = site();
    let (supplier, foshan, everywhere) =
        (site.key("supplier", Some("S-1")), site.key("platform", Some(FOSHAN)), site.key("platform", None));
    site.judge("V-1");
    site.judge("V-2");
    for (key, visible, hidden) in [(&supplier, "V-1", "V-2"), (&foshan, "V-2", "V-1")] {
        let listed = site.get("/api/v1/vouchers", key).json();
        let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [visible]);
        for tail in ["", "/result", "/results"] {
            assert_eq!(site.get(&format!("/api/v1/vouchers/{visible}{tail}"), key).status, 200);
            assert_problem(&site.get(&format!("/api/v1/vouchers/{hidden}{tail}"), key), 404);
        }
        let feed = site.get("/api/v1/results", key).json();
        assert_eq!((feed["items"].as_array().unwrap().len(), &feed["items"][0]["voucher"]), (1, &json!(visible)));
    }
    assert_problem(&site.post("/api/v1/vouchers/V-1/judge", &foshan, &Value::Null), 404);
    assert_eq!(site.post("/api/v1/vouchers/V-2/judge", &foshan, &Value::Null).status, 200);
    assert_eq!(site.get("/api/v1/vouchers", &everywhere).json()["items"].as_array().unwrap().len(), 2);
    assert_problem(&site.get("/api/v1/gateways/gw-1", &everywhere), 403);
}

#[test]
fn a_reading_may_lie_two_minutes_ahead_and_no_further() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let ahead =
        |id: &str, seconds: i64| device_reports(id, 1, &device_names("SN", 1), &[Utc::now() + TimeDelta::seconds(seconds)]).remove(0);
    let results = site.push(&key, &[ahead("near", 100), ahead("far", 140)]);
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!("accepted"), &json!("refused")));
    assert_eq!((&results[1]["faults"][0]["code"], &results[1]["faults"][0]["path"]), (&json!("future"), &json!("/devices/0/at")));
}

/// A report about another supplier's product, or of an unknown enterprise, is refused.
#[test]
fn foreign_products_and_unknown_enterprises_are_refused() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let usage = |id: &str, enterprise: u32, product: &str, module: &str| {
        let entry = json!({"product": product, "function_module": module, "user": "7f3a", "at": show(Utc::now()), "actions": 1});
        json!({"v": 1, "id": id, "enterprise": credit_code(enterprise), "usage": [entry]})
    };
    let reports =
        [usage("1", 1, "P-2", "报警"), usage("2", 1, "P-9", "报警"), usage("3", 9, "P-1", "报警"), usage("4", 1, "P-1", "没有的模块")];
    let codes: Vec<_> = site.push(&key, &reports).iter().map(|result| result["faults"][0]["code"].as_str().unwrap().to_string()).collect();
    assert_eq!(codes, ["foreign_product", "unknown_product", "unknown_enterprise", "function_module"]);
}
