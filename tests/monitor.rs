//! When vouchers are judged, many of them together, differences between results, and how much verdicts hang on parameters.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{device_reports, effective_instants, show, usage_report};
use support::register::{GUANGZHOU, MODULES, Register, device_names};
use support::{Site, shangyun, stderr, stdout, wait_for};

fn base() -> Register {
    Register::new().supplier("S-1").product("P-5", "S-1", 5, "A").product("P-23", "S-1", 23, "A").product("P-12", "S-1", 12, "A")
}

/// What storing adds.
const STORED: [&str; 4] = ["sequence", "supersedes", "judged_at", "evidence"];

fn without_stored(results: &str) -> BTreeMap<String, Value> {
    let results: Vec<Value> = serde_json::from_str(results).unwrap();
    let plain = results.into_iter().map(|mut result| {
        STORED.iter().for_each(|key| drop(result.as_object_mut().unwrap().remove(*key)));
        (result["voucher"].as_str().unwrap().to_string(), result)
    });
    plain.collect()
}

/// Six enterprises with devices, usage, shared and foreign devices, so that every kind of fact and finding is among them.
fn street() -> (Site, String) {
    let now = Utc::now();
    let mut register = base();
    for n in 1..=6u32 {
        let count = 2 + n as usize % 3;
        register = register
            .enterprise(n, GUANGZHOU)
            .voucher(&format!("D-{n}"), n, ["P-5", "P-23"][n as usize % 2], "3000.00", json!({}))
            .devices(&format!("D-{n}"), &device_names("SN", count))
            .voucher(&format!("U-{n}"), n, "P-12", "10000.00", json!({"redeem_at": show(now - TimeDelta::minutes(i64::from(n)))}));
        if n == 2 {
            register = register.row("devices", json!({"voucher": "U-2", "device": "SN-0000", "province": "44"}));
        }
    }
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    for n in 1..=6u32 {
        let days = if n == 4 { 6 } else { 7 };
        site.push_accepted(&key, &device_reports(&format!("d{n}"), n, &device_names("SN", 2), &effective_instants(now, days)));
        site.push_accepted(&key, &[usage_report(&format!("u{n}"), n, "P-12", &MODULES[..n as usize % 5 + 1], 2, 5, now)]);
    }
    (site, show(Utc::now()))
}

#[test]
fn many_vouchers_judged_together_get_the_results_of_each_judged_alone() {
    let (site, as_of) = street();
    let rulebook = site.scratch().join("same.toml");
    std::fs::write(&rulebook, include_str!("../config/rulebook-2019.toml")).unwrap();
    // With a rulebook each is tried out by itself, and nothing is stored.
    let alone = shangyun(&site.dir(), &["judge", "--as-of", &as_of, "--json", "--rulebook", rulebook.to_str().unwrap()]);
    assert!(site.get("/api/v1/results", &site.admin).json()["items"].as_array().unwrap().is_empty());
    let together = shangyun(&site.dir(), &["judge", "--as-of", &as_of, "--json"]);
    let (alone, together) = (without_stored(&stdout(&alone)), without_stored(&stdout(&together)));
    assert_eq!(alone.len(), 12);
    assert_eq!(together, alone);
    let feed = site.get("/api/v1/results", &site.admin).json();
    assert_eq!(feed["items"].as_array().unwrap().len(), 12, "every result is stored once");
    assert!(feed["items"].as_array().unwrap().iter().all(|result| result["sequence"] == 1 && result["supersedes"].is_null()));
    let verdicts: std::collections::BTreeSet<_> = together.values().map(|result| result["verdict"].as_str().unwrap()).collect();
    assert!(verdicts.len() > 1, "{verdicts:?}");
}

#[test]
fn sensitivity_says_which_verdicts_hang_on_which_parameter_and_stores_nothing() {
    let (site, as_of) = street();
    let output = shangyun(&site.dir(), &["judge", "--sensitivity", "--as-of", &as_of, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(table["vouchers"], 12);
    let rows = table["parameters"].as_array().unwrap();
    let others = table["not_deciding"].as_array().unwrap();
    assert!(others.contains(&json!("credit_start")) && rows.iter().all(|row| !others.contains(&row["parameter"])), "{others:?}");
    let row = |parameter: &str, percent: i64| {
        rows.iter().find(|row| row["parameter"] == parameter && row["percent"] == percent).unwrap_or_else(|| panic!("{parameter}"))
    };
    let stricter = row("device_effective_days_min", 10);
    assert_eq!((&stricter["value"], &stricter["tried"]), (&json!("7"), &json!("8")));
    let base = without_stored(&stdout(&shangyun(&site.dir(), &["judge", "--as-of", &as_of, "--json"])));
    let met: Vec<_> = base.iter().filter(|(id, result)| id.starts_with('D') && result["verdict"] == "met").map(|(id, _)| id).collect();
    let flipped: Vec<_> = stricter["flips"].as_array().unwrap().iter().map(|flip| flip["voucher"].as_str().unwrap()).collect();
    assert!(!met.is_empty());
    assert_eq!(flipped, met, "nobody has eight effective days");
    assert!(stricter["flips"].as_array().unwrap().iter().all(|flip| flip["from"] == "met" && flip["to"] == "not_met"));
    // A rulebook with that very change gives the same verdicts.
    let changed = site.scratch().join("changed.toml");
    let text = include_str!("../config/rulebook-2019.toml").replace("\nusage_active_days_min = 10\n", "\nusage_active_days_min = 7\n");
    std::fs::write(&changed, text).unwrap();
    let tried = shangyun(&site.dir(), &["judge", "--as-of", &as_of, "--json", "--rulebook", changed.to_str().unwrap()]);
    let tried = without_stored(&stdout(&tried));
    let differ: Vec<_> = tried.iter().filter(|(id, result)| base[*id]["verdict"] != result["verdict"]).map(|(id, _)| id).collect();
    let flips = row("usage_active_days_min", -25);
    assert_eq!(flips["tried"], "7");
    assert_eq!(flips["flips"].as_array().unwrap().iter().map(|flip| flip["voucher"].as_str().unwrap()).collect::<Vec<_>>(), differ);
    let results = |site: &Site| site.get("/api/v1/results", &site.admin).json()["items"].as_array().unwrap().len();
    assert_eq!(results(&site), 12, "only what was judged is stored");
    let words = stdout(&shangyun(&site.dir(), &["judge", "--sensitivity", "--voucher", "D-1", "--as-of", &as_of]));
    assert!(words.contains("共 1 张服务券") && words.contains("device_effective_days_min = 7"), "{words}");
    assert!(words.contains("不进入判定") && !words.contains("credit_start ="), "{words}");
}

#[test]
fn a_voucher_that_is_not_there_or_an_instant_to_come_is_wrong_use_and_said() {
    let (site, _) = street();
    let tomorrow = show(Utc::now() + TimeDelta::days(1));
    for (args, said) in [
        (vec!["judge", "--voucher", "V-404"], "there is no voucher \"V-404\""),
        (vec!["judge", "--sensitivity", "--voucher", "V-404"], "there is no voucher \"V-404\""),
        (vec!["judge", "--as-of", tomorrow.as_str()], "lies in the future"),
        (vec!["judge", "--as-of", "yesterday"], "no RFC 3339 instant"),
        (vec!["judge", "--rulebook", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let output = shangyun(&site.dir(), &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_service_judges_by_itself_after_evidence_a_register_change_and_a_cut_off_that_comes() {
    // To the second, as it is written.
    let redeem_at = DateTime::from_timestamp(Utc::now().timestamp() + 8, 0).unwrap();
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-23", "2000.00", json!({"redeem_at": show(redeem_at)}))
        .devices("V-1", &device_names("SN", 2))
        .enterprise(2, GUANGZHOU)
        .voucher("V-2", 2, "P-23", "2000.00", json!({}));
    let site = Site::with(register.file(), |_| vec!["monitor.every_s=1".into(), "tally.checkpoint_every_s=1".into()]);
    let newest = |voucher: &str| {
        let answer = site.get(&format!("/api/v1/vouchers/{voucher}/result"), &site.admin);
        (answer.status == 200).then(|| answer.json())
    };
    wait_for("everything is judged at the start", || newest("V-1").and(newest("V-2")));
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &device_reports("d", 1, &device_names("SN", 2), &effective_instants(Utc::now() - TimeDelta::minutes(5), 7)));
    wait_for("new evidence is judged", || newest("V-1").filter(|result| result["verdict"] == "met"));
    let change = Register::new().row("devices", json!({"voucher": "V-2", "device": "X-1", "province": "44"}));
    assert_eq!(site.post("/api/v1/register", &site.admin, change.file()).status, 200);
    wait_for("a register change is judged", || newest("V-2").filter(|result| result["devices"]["declared"] == 1));
    let at_cut_off = wait_for("the cut-off is judged", || newest("V-1").filter(|result| result["cut_off"] == show(redeem_at)));
    assert_eq!(at_cut_off["verdict"], "met");
}

#[test]
fn the_difference_between_two_results_is_told_in_sentences() {
    let redeem_at = show(Utc::now() - TimeDelta::minutes(5));
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-23", "2000.00", json!({"redeem_at": redeem_at}))
        .devices("V-1", &device_names("SN", 2));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let push = |names: &[String]| {
        let instants = effective_instants(Utc::now() - TimeDelta::minutes(5), 7);
        site.push_accepted(&key, &device_reports(&names[0], 1, names, &instants));
        site.judge("V-1")
    };
    let names = device_names("SN", 2);
    site.judge("V-1");
    push(&names[..1]);
    assert_eq!(push(&names[1..])["sequence"], 3);
    let diff = |path: &str| site.get(&format!("/api/v1/vouchers/V-1/results/{path}"), &site.admin);
    let texts = |answer: &Value| {
        answer["changes"].as_array().unwrap().iter().map(|change| change["text"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let last = diff("3/diff").json();
    assert_eq!((&last["from"], &last["to"]), (&json!(2), &json!(3)));
    let said = texts(&last);
    assert_eq!(said[0], "监测结果由 “不达标” 变为 “达标”。", "{said:#?}");
    assert!(said.iter().any(|text| text.starts_with(&format!("设备 {} 现在计入", names[1]))), "{said:#?}");
    let whole = diff("3/diff?from=1").json();
    assert_eq!(texts(&whole)[0], "监测结果由 “证据不足” 变为 “达标”。");
    assert_eq!(diff("1/diff").json(), json!({"voucher": "V-1", "from": null, "to": 1, "changes": []}));
    assert_eq!(diff("2").json()["sequence"], 2);
    for (path, status) in [("4/diff", 404), ("0", 404), ("3/diff?from=9", 404), ("3/diff?from=x", 400), ("x/diff", 400)] {
        assert_eq!(diff(path).status, status, "{path}");
    }
    let stranger = site.key("supplier", Some("S-2"));
    assert_eq!(site.get("/api/v1/vouchers/V-1/results/3/diff", &stranger).status, 404);
    let page = site.get("/vouchers/V-1", "").body;
    assert!(page.contains("现在计入") && page.contains("/vouchers/V%2D1/results/2"), "{page}");
    let older = site.get("/vouchers/V-1/results/2", "").body;
    assert!(older.contains("已被第 3 次结果取代") && older.contains("不达标"), "{older}");
    assert_eq!(site.get("/vouchers/V-1/results/9", "").status, 404);
}

#[test]
fn an_outlook_says_what_is_missing_and_whether_the_pace_will_do_and_is_no_result() {
    let now = Utc::now();
    let period = json!({"id": "2019", "claim_from": "2019-06-01T00:00:00+08:00", "claim_to": "2019-12-31T23:59:00+08:00",
        "redeem_from": "2019-08-01T00:00:00+08:00", "redeem_to": show(now + TimeDelta::days(20))});
    let of_period = json!({"period": "2019"});
    let register = base()
        .row("periods", period)
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-23", "2000.00", of_period.clone())
        .devices("V-1", &device_names("SN", 2))
        .enterprise(2, support::register::FOSHAN)
        .voucher("V-2", 2, "P-23", "2000.00", of_period)
        .devices("V-2", &device_names("SN", 2))
        .enterprise(3, GUANGZHOU)
        .voucher("V-3", 3, "P-23", "2000.00", json!({"redeem_at": show(now - TimeDelta::days(1))}));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &device_reports("d", 1, &device_names("SN", 2), &effective_instants(now, 6)));
    let one = site.get("/api/v1/vouchers/V-1/outlook", &site.admin).json();
    assert_eq!(
        (&one["verdict_today"], &one["kind"], &one["forecast"]["on_track"]),
        (&json!("not_met"), &json!("forecast"), &json!(true)),
        "{one}"
    );
    assert_eq!(one["forecast"]["figures"], json!([{"name": "devices", "required": 2, "today": 0, "expected": 2}]));
    assert!(one["missing"][0]["text"].as_str().unwrap().contains("少 2 台"), "{one}");
    assert!(one["notice"].as_str().unwrap().contains("不是监测结果"));
    let listed = |query: &str| -> Vec<(String, bool)> {
        let list = site.get(&format!("/api/v1/outlooks{query}"), &site.admin).json();
        let told = |item: &Value| (item["voucher"].as_str().unwrap().to_string(), item["forecast"]["on_track"].as_bool().unwrap());
        list["items"].as_array().unwrap().iter().map(told).collect()
    };
    assert_eq!(listed(""), [("V-1".to_string(), true), ("V-2".to_string(), false)]);
    assert_eq!(listed(&format!("?city={}", support::register::FOSHAN)), [("V-2".to_string(), false)]);
    assert_eq!(site.get("/api/v1/vouchers/V-3/outlook", &site.admin).status, 409, "its cut-off has come");
    assert_eq!(site.get("/api/v1/vouchers/V-404/outlook", &site.admin).status, 404);
    assert_eq!(site.get("/api/v1/outlooks", &key).status, 403);
    assert!(site.get("/api/v1/results", &site.admin).json()["items"].as_array().unwrap().is_empty(), "nothing is stored");
    let page = site.get("/outlooks", "").body;
    let at = |voucher: &str| page.find(&format!("data-voucher=\"{voucher}\"")).unwrap_or_else(|| panic!("{page}"));
    assert!(at("V-2") < at("V-1"), "those behind come first");
    assert!(site.get("/vouchers/V-1", "").body.contains("推算，不是监测结果"));
}
