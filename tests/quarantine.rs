//! The quarantine: kept for a time, told with what to do, replayed when the register is right, and counted once as of the receipt.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::Command;

use chrono::{DateTime, Days, Utc};
use serde_json::{Value, json};
use support::history::{device_reports, gateway_report, show};
use support::mqtt::{Mqtt, Packet, V3, V5};
use support::register::{GUANGZHOU, Register, credit_code, device_names};
use support::{SHANGYUN, Site, python, rebuild_tally, shangyun, stderr, stdout, wait_for};

fn register() -> Register {
    register_with(json!({}))
}

/// With these fields of the voucher V-1.
fn register_with(voucher: Value) -> Register {
    Register::new()
        .supplier("S-1")
        .supplier("S-2")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", voucher)
        .gateway("gw-1", 1)
        .row("carriers", json!({"id": "C-1", "name": "运营商"}))
}

fn site() -> Site {
    Site::new(register().file())
}

/// The register lacked a product; the voucher for it comes with it.
fn correct(site: &Site) {
    let more = Register::new().product("P-9", "S-1", 12, "A").voucher("V-9", 1, "P-9", "10000.00", json!({}));
    assert_eq!(site.post("/api/v1/register", &site.admin, more.file()).status, 200);
}

fn usage(id: &str, product: &str, at: DateTime<Utc>) -> Value {
    let entry = json!({"product": product, "function_module": "报警", "user": "7f3a", "at": show(at), "actions": 1});
    json!({"v": 1, "id": id, "enterprise": credit_code(1), "usage": [entry]})
}

fn refused(site: &Site, key: &str, reports: &[Value]) {
    for result in site.push(key, reports) {
        assert_eq!(result["status"], "refused", "{result}");
    }
}

fn entries(site: &Site, query: &str) -> Vec<Value> {
    site.get(&format!("/api/v1/quarantine{query}"), &site.admin).json()["items"].as_array().unwrap().clone()
}

fn entry(site: &Site, position: u64) -> Value {
    let answer = site.get(&format!("/api/v1/quarantine/{position}"), &site.admin);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn replay(site: &Site, position: u64) -> Value {
    let answer = site.post(&format!("/api/v1/quarantine/{position}/replay"), &site.admin, &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Status by position of everything that a replay of many did, batch after batch, and the number of batches.
fn replay_many(site: &Site, query: &str) -> (Vec<(u64, String)>, usize) {
    let (mut done, mut after, mut batches) = (Vec::new(), json!(0), 0);
    while !after.is_null() {
        let answer = site.post(&format!("/api/v1/quarantine/replay?after={after}{query}"), &site.admin, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let batch = answer.json();
        let results = batch["results"].as_array().unwrap();
        assert!(results.len() <= 100);
        done.extend(results.iter().map(|r| (r["position"].as_u64().unwrap(), r["status"].as_str().unwrap().to_string())));
        after = batch["next"].clone();
        batches += 1;
    }
    (done, batches)
}

/// As if days had passed since an entry came: nothing else can make them pass.
fn age(site: &Site, position: u64, days: u64) {
    let statement = format!("UPDATE quarantine SET received_at = received_at - {} WHERE position = {position}", days * 86_400_000_000);
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1], timeout=20) as db: assert db.execute(sys.argv[2]).rowcount == 1";
    let ran = Command::new(python()).args(["-c", script]).arg(site.dir().join("quarantine.db")).arg(statement).output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
}

#[test]
fn what_the_register_lacked_is_replayed_after_its_correction_and_counts_once_as_of_its_receipt() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    let now = Utc::now();
    let ago = |days: u64| now - Days::new(days);
    // Received ten days ago: the first in time, the second late already then, and late readings do not count.
    let (in_time, late) = (usage("r-1", "P-9", ago(12)), usage("r-2", "P-9", ago(20)));
    refused(&site, &key, &[in_time.clone(), late]);
    age(&site, 1, 10);
    age(&site, 2, 10);
    let lacking = entry(&site, 1);
    assert_eq!((&lacking["faults"][0]["code"], &lacking["remedy"]), (&json!("unknown_product"), &json!("register")));
    assert!(lacking["advice"].as_str().unwrap().contains("need not be sent again"), "{lacking}");
    let early = replay(&site, 1);
    assert_eq!((&early["outcome"], &early["faults"][0]["code"]), (&json!("refused"), &json!("unknown_product")));
    assert!(early["replayed_at"].is_string());

    correct(&site);
    let replayed = replay(&site, 1);
    assert_eq!((&replayed["outcome"], &replayed["remedy"]), (&json!("accepted"), &Value::Null), "{replayed}");
    assert_eq!(replayed["received_at"], lacking["received_at"]);
    assert_eq!(replay_many(&site, "").0, [(2, "accepted".to_string())]);
    let result = site.judge("V-9");
    assert_eq!(result["usage"]["active_days"], 1, "as of the receipt one report was in time and one was not: {result}");

    // Again, and sent again by its sender: nothing changes.
    assert_eq!(replay(&site, 1)["outcome"], "accepted");
    assert_eq!(replay_many(&site, "").0, []);
    assert_eq!(site.push(&key, &[in_time])[0]["status"], "duplicate");
    assert_eq!((site.service.reports("accepted"), site.service.reports("refused")), (2, 2));
    assert_eq!((entries(&site, "").len(), entries(&site, "?open=true").len()), (2, 0), "what is settled is kept, and told apart");
    assert_eq!(site.service.metric("shangyun_ingest_quarantine_replays_total{outcome=\"accepted\"}"), 2);
    let site = site.kill_and_restart();
    assert_eq!(site.judge("V-9")["judgement_hash"], result["judgement_hash"]);
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0, "the log holds the receipt too");
}

#[test]
fn many_are_replayed_in_bounded_batches_whoever_sent_them() {
    let site = site();
    let (key, carrier) = (site.key("supplier", Some("S-1")), site.key("carrier", Some("C-1")));
    let reports: Vec<Value> = (0..230).map(|n| usage(&format!("r-{n}"), "P-9", Utc::now())).collect();
    refused(&site, &key, &reports);
    let day = &show(Utc::now())[..10];
    let record = json!({"enterprise": credit_code(1), "line": "L-1", "product": "P-9", "day": day, "sessions": 3, "bytes": 10});
    let answer = site.post("/api/v1/carrier-records", &carrier, &json!({"v": 1, "id": "c-1", "records": [record]}));
    assert_eq!(answer.json()["results"][0]["status"], "refused");
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let mut from_gateway = usage("label", "P-9", Utc::now());
    (from_gateway["boot"], from_gateway["seq"]) = (json!("b1"), json!(7));
    mqtt.publish("shangyun/v1/gw-1/report", 1, &from_gateway.to_string());
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0x99 }));
    let mut wrong = usage("r-wrong", "P-1", Utc::now());
    wrong["usage"][0]["actions"] = json!(0);
    refused(&site, &key, &[wrong]);
    let kept = &entries(&site, "?kind=gateway")[0];
    assert_eq!((&kept["id"], &kept["boot"], &kept["seq"]), (&json!("label"), &json!("b1"), &json!(7)));

    correct(&site);
    let (done, batches) = replay_many(&site, "&kind=supplier&sender=S-1&code=unknown_product");
    assert_eq!((done.len(), batches), (230, 3));
    assert!(done.iter().all(|(_, status)| status == "accepted"));
    let (done, _) = replay_many(&site, "");
    assert_eq!(done, [(231, "accepted".to_string()), (232, "accepted".to_string()), (233, "refused".to_string())]);
    assert_eq!(site.get("/api/v1/gateways/gw-1", &site.admin).json()["boots"][0]["accepted"], json!([[7, 7]]));
    assert_eq!(site.service.metric("shangyun_ingest_carrier_messages_total{outcome=\"accepted\"}"), 1);
    assert_eq!((site.service.reports("accepted"), site.service.reports("refused")), (231, 232));
}

#[test]
fn what_the_register_cannot_cure_is_told_and_what_came_the_wrong_way_is_not_replayed() {
    let site = site();
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let report = gateway_report("b1", 1, "SN-1", Utc::now()).to_string();
    mqtt.publish("shangyun/v1/gw-1/report", 0, &report);
    mqtt.publish("shangyun/v1/gw-1/elsewhere", 2, &report);
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 2, reason: 0x87 }));
    mqtt.publish("shangyun/v1/gw-1/report", 3, "{\"v\":1,");
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 3, reason: 0x99 }));
    let key = site.key("supplier", Some("S-1"));
    let mut large = usage("r-2", "P-1", Utc::now());
    large["padding"] = json!("x".repeat(256 << 10));
    refused(&site, &key, &[large]);

    for (position, code, remedy, advice) in
        [(1, "qos0", "door", "QoS 1"), (2, "not_authorised", "door", "own topic"), (3, "json", "message", "correct it and send it again")]
    {
        let kept = entry(&site, position);
        assert_eq!((&kept["faults"][0]["code"], &kept["remedy"]), (&json!(code), &json!(remedy)));
        assert!(kept["advice"].as_str().unwrap().contains(advice), "{kept}");
    }
    assert_eq!(entry(&site, 2)["topic"], "shangyun/v1/gw-1/elsewhere");
    for position in [1, 2] {
        let answer = site.post(&format!("/api/v1/quarantine/{position}/replay"), &site.admin, &Value::Null);
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains("cannot be replayed"), "{}", answer.body);
    }
    assert_eq!(replay_many(&site, "").0, [(3, "refused".to_string()), (4, "refused".to_string())]);
    assert_eq!((&replay(&site, 4)["faults"][0]["code"], &entry(&site, 4)["remedy"]), (&json!("size"), &json!("message")));
    assert_eq!(site.service.reports("accepted"), 0);
}

#[test]
fn a_replayed_report_whose_identity_was_taken_meanwhile_is_a_conflict_and_stays_one_entry() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    refused(&site, &key, &[usage("r-1", "P-9", Utc::now())]);
    site.push_accepted(&key, &[usage("r-1", "P-1", Utc::now())]);
    correct(&site);
    let replayed = replay(&site, 1);
    assert_eq!((&replayed["outcome"], &replayed["faults"][0]["code"]), (&json!("refused"), &json!("conflict")));
    assert!(replayed["advice"].as_str().unwrap().contains("under a new one"), "{replayed}");
    assert_eq!(entries(&site, "").len(), 1);
    let finding = site.judge("V-1")["findings"][0].clone();
    assert_eq!((&finding["code"], &finding["evidence"][0]["contents"]), (&json!("identity_conflict"), &json!(1)));
    assert_eq!(site.service.reports("refused"), 1, "it was counted when it came");
}

#[test]
fn a_gateway_that_left_the_register_is_told_and_its_reports_wait_for_its_return() {
    let site = site();
    let mut mqtt = Mqtt::connect(site.service.mqtt, V3, "gw-1");
    mqtt.publish(
        "shangyun/v1/gw-1/report",
        1,
        &json!({"v": 1, "boot": "b1", "seq": 1, "usage": usage("", "P-9", Utc::now())["usage"]}).to_string(),
    );
    assert_eq!(mqtt.read(), Some(Packet::Puback { id: 1, reason: 0 }));
    let gateway = |removed: bool| {
        let mut file = Register::new().gateway("gw-1", 1).file().clone();
        if removed {
            file["gateways"] = json!([{"id": "gw-1", "removed": true}]);
        }
        assert_eq!(site.post("/api/v1/register", &site.admin, &file).status, 200);
    };
    gateway(true);
    correct(&site);
    let gone = replay(&site, 1);
    assert_eq!((&gone["faults"][0]["code"], &gone["remedy"]), (&json!("unknown_gateway"), &json!("register")));
    gateway(false);
    assert_eq!(replay(&site, 1)["outcome"], "accepted");
}

/// Other content under identities that stand for accepted reports, from a gateway and a supplier; the gateway's twice over.
fn make_conflicts(site: &Site) {
    let key = site.key("supplier", Some("S-1"));
    let report = |power: f64| {
        let mut report = device_reports("r-1", 1, &device_names("SN", 1), &[DateTime::from_timestamp(1_700_000_000, 0).unwrap()]).remove(0);
        report["devices"][0]["readings"]["功率_kw"] = json!(power);
        report
    };
    site.push_accepted(&key, &[report(1.0)]);
    refused(site, &key, &[report(2.0), report(2.0)]);
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    for (id, device, reason) in [(1, "SN-1", 0), (2, "SN-2", 0x99), (3, "SN-3", 0x99)] {
        mqtt.publish("shangyun/v1/gw-1/report", id, &gateway_report("b1", 1, device, at).to_string());
        assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason }));
    }
}

#[test]
fn conflicts_are_a_finding_of_the_enterprises_vouchers_and_never_decide() {
    // Both services judge as of one instant.
    let redeemed = register_with(json!({"redeem_at": show(Utc::now())}));
    let site = Site::new(redeemed.file());
    let before = site.judge("V-1");
    assert_eq!(before["findings"], json!([]));
    make_conflicts(&site);
    let result = site.judge("V-1");
    assert_eq!(result["verdict"], before["verdict"]);
    assert_eq!(result["findings"].as_array().unwrap().len(), 1);
    let finding = &result["findings"][0];
    assert_eq!((&finding["code"], &finding["rule"]), (&json!("identity_conflict"), &json!("R42")));
    let of = |kind: &str, id: &str, contents: u64, some: &str| json!({"sender": {"kind": kind, "id": id}, "identities": 1, "contents": contents, "days": 1, "some": [some]});
    assert_eq!(finding["evidence"], json!([of("gateway", "gw-1", 2, "boot \"b1\", seq 1"), of("supplier", "S-1", 1, "id \"r-1-0\"")]));
    let page = site.get("/vouchers/V-1", "").body;
    for part in ["identity_conflict", "发送方 网关 gw-1", "2 个发送方，2 个编号，3 份不同内容", "隔离区第 4、3、1 号条目"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Elsewhere, where other things lie in the quarantine, the same evidence gives the same judgement.
    let elsewhere = Site::new(redeemed.file());
    refused(&elsewhere, &elsewhere.key("supplier", Some("S-2")), &[json!({"v": 2}), json!({"v": 3})]);
    make_conflicts(&elsewhere);
    assert_eq!(elsewhere.judge("V-1")["judgement_hash"], result["judgement_hash"]);
}

#[test]
fn entries_go_when_they_are_too_old_and_the_finding_stays() {
    let site = Site::with(register().file(), |_| vec!["quarantine.keep_days=30".into()]);
    make_conflicts(&site);
    let result = site.judge("V-1");
    assert_eq!(entries(&site, "").len(), 4);
    assert_eq!(site.get("/api/v1/quarantine", &site.admin).json()["keep_days"], 30);
    (1..=3).for_each(|position| age(&site, position, 31));
    age(&site, 4, 29);
    wait_for("the old ones are removed", || (entries(&site, "").len() == 1).then_some(()));
    let removed = |reason: &str| site.service.metric(&format!("shangyun_store_quarantine_removed_entries_total{{reason=\"{reason}\"}}"));
    wait_for("they are counted", || (removed("age") == 3).then_some(()));
    assert_eq!((removed("size"), site.service.metric("shangyun_store_quarantine_entries")), (0, 1));
    assert_eq!(site.get("/api/v1/quarantine/1", &site.admin).status, 404);
    assert_eq!(site.judge("V-1")["judgement_hash"], result["judgement_hash"], "what the finding rests on is kept for good");
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0);
    let again = shangyun(&data, &["judge", "--voucher", "V-1", "--json"]);
    let again: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(again["findings"], result["findings"], "also after the facts were read from the log anew");
}

#[test]
fn the_oldest_entries_go_when_it_is_too_much() {
    let site = Site::with(register().file(), |_| vec!["quarantine.mib_max=1".into()]);
    let key = site.key("supplier", Some("S-1"));
    for n in 0..12 {
        let mut large = usage(&format!("r-{n}"), "P-9", Utc::now());
        large["padding"] = json!("x".repeat(200 << 10));
        refused(&site, &key, &[large]);
    }
    let bytes = || site.service.metric("shangyun_store_quarantine_bytes");
    wait_for("it is within its bound", || (bytes() > 0 && bytes() <= 1 << 20 && entries(&site, "").len() == 5).then_some(()));
    let left: Vec<_> = entries(&site, "").iter().map(|entry| entry["id"].as_str().unwrap().to_string()).collect();
    assert_eq!(left, ["r-11", "r-10", "r-9", "r-8", "r-7"]);
    assert_eq!(site.service.metric("shangyun_store_quarantine_removed_entries_total{reason=\"size\"}"), 7);
    assert_eq!(site.service.metric("shangyun_store_quarantine_removed_entries_total{reason=\"age\"}"), 0);
}

#[test]
fn senders_see_their_own_entries_and_only_admins_replay() {
    let site = site();
    let (own, other) = (site.key("supplier", Some("S-1")), site.key("supplier", Some("S-2")));
    refused(&site, &own, &[usage("r-1", "P-9", Utc::now())]);
    assert_eq!(site.get("/api/v1/quarantine/1", &own).json()["id"], "r-1");
    assert_eq!(site.get("/api/v1/quarantine/1", &other).status, 404);
    assert_eq!(site.get("/api/v1/quarantine?kind=supplier&sender=S-1", &other).json()["items"], json!([]));
    for path in ["/api/v1/quarantine/1/replay", "/api/v1/quarantine/replay"] {
        assert_eq!(site.post(path, &own, &Value::Null).status, 403, "{path}");
    }
    assert_eq!(site.post("/api/v1/quarantine/2/replay", &site.admin, &Value::Null).status, 404);
    let answer = site.get("/api/v1/quarantine?code=unknown_produkt", &own);
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().unwrap().contains("unknown_product"), "the codes are told: {}", answer.body);
}

#[test]
fn the_command_lists_and_replays_what_the_running_service_holds() {
    let site = site();
    let key = site.key("supplier", Some("S-1"));
    refused(&site, &key, &[usage("r-1", "P-9", Utc::now()), json!({"v": 1, "id": "r-2"})]);
    let run = |key: &str, args: &[&str]| {
        let output =
            Command::new(SHANGYUN).arg("quarantine").args(args).args(["--url", &site.service.http]).env("SHANGYUN_KEY", key).output();
        let output = output.unwrap();
        (output.status.code().unwrap(), stdout(&output), stderr(&output))
    };
    let (code, listed, _) = run(&key, &["list", "--code", "unknown_product"]);
    assert_eq!(code, 0);
    for part in
        ["supplier S-1", "id r-1", "unknown_product /usage/0/product: \"P-9\" is not in the register", "what to do: the register lacks"]
    {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert!(!listed.contains("r-2"));
    let (code, _, said) = run(&key, &["replay"]);
    assert!(code == 2 && said.contains("403") && said.contains("admin may"), "{said}");
    correct(&site);
    let (code, told, _) = run(&site.admin, &["replay"]);
    assert_eq!(code, 1, "one stays refused");
    assert!(told.ends_with("accepted 1, duplicate 0, still refused 1\n") && told.contains("id r-2"), "{told}");
    let (code, told, _) = run(&site.admin, &["replay", "--position", "1"]);
    assert!(code == 0 && told.contains("accepted"), "{told}");
    let (_, listed, _) = run(&site.admin, &["list", "--open", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["id"]), (1, &json!("r-2")));
    let nobody = Command::new(SHANGYUN).args(["quarantine", "list", "--url", "http://127.0.0.1:1", "--key", "k"]).output().unwrap();
    assert!(nobody.status.code() == Some(2) && stderr(&nobody).contains("is it running?"), "{}", stderr(&nobody));
}
