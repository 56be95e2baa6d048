//! Inspections against the real service: weekly data quality, spot-check lists, their outcomes, and the credit they make.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use chrono::{Days, TimeDelta, Utc};
use policy::calendar::{day_of, day_start};
use policy::week::Week;
use serde_json::{Value, json};
use support::history::{device_reports, gateway_report, show};
use support::mqtt::{Mqtt, Packet, V5};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code, device_names};
use support::{Site, http, shangyun, stderr, stdout};

/// Two suppliers: S-1 with devices at enterprise 1 and a usage product at 2, S-2 with devices at enterprise 3.
fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .supplier("S-2")
        .supplier("S-3")
        .product("P-5", "S-1", 5, "A")
        .product("P-12", "S-1", 12, "A")
        .product("P-22", "S-2", 22, "A")
        .row("periods", period("2019-1"))
        .row("periods", period("2019-2"))
        .enterprise(1, GUANGZHOU)
        .enterprise(2, FOSHAN)
        .enterprise(3, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"period": "2019-1"}))
        .devices("V-1", &device_names("SN", 2))
        .voucher("V-2", 2, "P-12", "100000.00", json!({"period": "2019-1"}))
        .voucher("V-3", 3, "P-22", "50000.00", json!({"period": "2019-2", "amount": "30000.00"}))
        .devices("V-3", &device_names("CN", 1))
        .gateway("G-1", 1)
}

fn period(id: &str) -> Value {
    json!({"id": id, "claim_from": "2019-06-01T00:00:00+08:00", "claim_to": "2019-12-31T23:59:59+08:00",
           "redeem_from": "2019-09-01T00:00:00+08:00", "redeem_to": "2020-03-31T23:59:59+08:00"})
}

/// The last whole week before this one.
fn last_week() -> Week {
    Week::of(day_of(Utc::now())).before(1)
}

fn get(site: &Site, path: &str, key: &str) -> Value {
    let answer = site.get(path, key);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn record(site: &Site, voucher: &str, body: Value) -> http::Answer {
    site.post(&format!("/api/v1/spot-checks/{voucher}/outcome"), &site.admin, &body)
}

#[test]
fn a_week_of_a_supplier_is_counted_from_what_was_accepted_and_refused() {
    let site = Site::new(register().file());
    let week = last_week();
    let key = site.key("supplier", Some("S-1"));
    // Two hours of one device on the week's last day, one hour of the other on its first.
    let noon = |day| day_start(day) + TimeDelta::hours(12);
    site.push_accepted(&key, &device_reports("a", 1, &device_names("SN", 1), &[noon(week.to()), noon(week.to()) + TimeDelta::hours(1)]));
    site.push_accepted(&key, &device_reports("b", 1, &device_names("SN", 2)[1..], &[noon(week.from())]));
    let used = json!({"v": 1, "id": "u", "enterprise": credit_code(2), "usage": [
        {"product": "P-12", "function_module": "报警", "user": "aa", "at": show(noon(week.to())), "actions": 3}]});
    site.push_accepted(&key, &[used]);
    let quality = get(&site, &format!("/api/v1/suppliers/S-1/quality?week={week}"), &key);
    assert_eq!((&quality["week"], &quality["from"], &quality["to"]), (&json!(week), &json!(week.from()), &json!(week.to())));
    assert_eq!((&quality["vouchers"], &quality["devices"]), (&json!(2), &json!(2)));
    assert_eq!((&quality["device_days"], &quality["device_days_expected"]), (&json!(2), &json!(14)));
    assert_eq!((&quality["device_hours"], &quality["device_hours_expected"]), (&json!(3), &json!(336)));
    assert_eq!((&quality["device_days_from_supplier"], &quality["device_days_from_gateways"]), (&json!(2), &json!(0)));
    assert_eq!((&quality["usage_days"], &quality["usage_days_expected"]), (&json!(1), &json!(7)));
    assert_eq!(quality["completeness"], "0.1429", "3 of 21");
    // What came later than seven days after it was read.
    let days_late = |at: chrono::DateTime<Utc>| (Utc::now() - at).num_seconds().div_euclid(86_400) + 1;
    let late = [noon(week.to()), noon(week.to()) + TimeDelta::hours(1), noon(week.from()), noon(week.to())];
    assert_eq!(quality["late"], json!(late.iter().filter(|at| days_late(**at) > 7).count()), "{quality}");
    // All suppliers of the week: each has its own figures and nobody else's.
    let all = get(&site, &format!("/api/v1/quality?week={week}"), &site.admin);
    let of = |id: &str| all["items"].as_array().unwrap().iter().find(|item| item["supplier"] == id).unwrap().clone();
    assert_eq!(of("S-1"), quality);
    assert_eq!((&of("S-2")["device_days_expected"], &of("S-2")["device_days"]), (&json!(7), &json!(0)));
    assert_eq!((&of("S-3")["vouchers"], &of("S-3")["completeness"]), (&json!(0), &Value::Null));
}

#[test]
fn refused_pushes_and_missing_numbers_stand_in_the_week_of_their_receipt() {
    let site = Site::new(register().file());
    let key = site.key("supplier", Some("S-1"));
    let bad = json!({"v": 1, "id": "x", "enterprise": credit_code(1), "devices": [{"device": "SN-1", "at": "yesterday", "quality": "N"}]});
    assert_eq!(site.push(&key, &[bad])[0]["status"], "refused");
    let mut gateway = Mqtt::connect(site.service.mqtt, V5, "G-1");
    for (packet, seq) in [(1, 1), (2, 4)] {
        gateway.publish("shangyun/v1/G-1/report", packet, &gateway_report("b1", seq, "SN-1", Utc::now()).to_string());
        assert!(matches!(gateway.read(), Some(Packet::Puback { reason: 0, .. })));
    }
    let this = Week::of(day_of(Utc::now()));
    let of_week = |week: Week| get(&site, &format!("/api/v1/suppliers/S-1/quality?week={week}"), &key);
    let quality = of_week(this);
    assert_eq!((&quality["refused_of_supplier"], &quality["refused_of_gateways"]), (&json!(1), &json!(0)));
    assert_eq!((&quality["missing_numbers"], &quality["missing_boots"]), (&json!(2), &json!(1)));
    let before = of_week(this.before(1));
    assert_eq!((&before["refused_of_supplier"], &before["missing_numbers"]), (&json!(0), &json!(0)));
    let other = get(&site, &format!("/api/v1/suppliers/S-2/quality?week={this}"), &site.admin);
    assert_eq!((&other["refused_of_supplier"], &other["missing_numbers"]), (&json!(0), &json!(0)));
}

#[test]
fn only_the_province_and_the_supplier_itself_see_its_record() {
    let site = Site::new(register().file());
    let (own, other) = (site.key("supplier", Some("S-1")), site.key("supplier", Some("S-2")));
    let (platform, city) = (site.key("platform", None), site.key("platform", Some(GUANGZHOU)));
    let carrier = site.key("carrier", Some("C-1"));
    for path in ["/api/v1/suppliers/S-1/quality", "/api/v1/suppliers/S-1/credit"] {
        for (key, status) in [(&site.admin, 200), (&platform, 200), (&own, 200), (&other, 404), (&city, 403), (&carrier, 403)] {
            assert_eq!(site.get(path, key).status, status, "{path}");
        }
    }
    for path in ["/api/v1/quality", "/api/v1/spot-checks?seed=s&count=1"] {
        for (key, status) in [(&site.admin, 200), (&platform, 200), (&own, 403), (&city, 403)] {
            assert_eq!(site.get(path, key).status, status, "{path}");
        }
    }
    assert_eq!(site.get("/api/v1/suppliers/S-404/credit", &site.admin).status, 404);
    let body = json!({"outcome": "fraud", "note": "x", "on": day_of(Utc::now())});
    assert_eq!(site.post("/api/v1/spot-checks/V-1/outcome", &platform, &body).status, 403);
    let next = Week::of(day_of(Utc::now())).after();
    for query in ["week=2019-45".to_string(), "week=2019-W60".to_string(), format!("week={next}")] {
        assert_eq!(site.get(&format!("/api/v1/quality?{query}"), &site.admin).status, 400, "{query}");
    }
    for query in ["seed=&count=1", "seed=s&count=0", "seed=s&count=10001", "seed=s", "seed=s&count=1&period=2018"] {
        assert_eq!(site.get(&format!("/api/v1/spot-checks?{query}"), &site.admin).status, 400, "{query}");
    }
}

fn vouchers(list: &Value) -> Vec<&str> {
    list["places"].as_array().unwrap().iter().map(|place| place["voucher"].as_str().unwrap()).collect()
}

#[test]
fn the_list_is_the_same_by_the_service_and_by_the_command_and_says_why() {
    let site = Site::new(register().file());
    let path = "/api/v1/spot-checks?seed=%E7%A7%8D%E5%AD%90&count=3";
    let list = get(&site, path, &site.admin);
    // 0.8 × the contract, or what was approved: V-2 has 80,000.00, at most row 12's cap; V-3 30,000.00; V-1 8,000.00.
    assert_eq!(vouchers(&list), ["V-2", "V-3", "V-1"]);
    assert_eq!(list["places"][1]["by"], "risk_amount");
    assert_eq!(list["places"][1]["amount"], "30000.00");
    assert_eq!(list["places"][2]["by"], "random");
    for place in list["places"].as_array().unwrap() {
        assert!(!place["why"].as_array().unwrap().is_empty(), "{place}");
    }
    let again = get(&site, path, &site.admin);
    assert_eq!((&list["places"], &list["candidates_hash"]), (&again["places"], &again["candidates_hash"]));
    let output = shangyun(&site.dir(), &["spot-check", "--seed", "种子", "--count", "3", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let by_command: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&by_command["places"], &by_command["candidates_hash"]), (&list["places"], &list["candidates_hash"]));
    let of_period = get(&site, "/api/v1/spot-checks?seed=s&count=9&period=2019-2", &site.admin);
    assert_eq!((vouchers(&of_period), &of_period["period"]), (vec!["V-3"], &json!("2019-2")));
    let text = stdout(&shangyun(&site.dir(), &["spot-check", "--seed", "s", "--count", "1", "--period", "2019-2"]));
    assert!(text.contains("V-3") && text.contains("随机抽取"), "{text}");
    // Nobody can try seeds unseen: what was drawn, by whom, is in the audit log, each list once.
    site.get("/spot-checks?seed=again&count=3&period=", "");
    let lured = http::get_from_elsewhere(&format!("{}/spot-checks?seed=lure&count=3&period=", site.service.http));
    assert_eq!(lured.status, 403, "no page elsewhere draws in the operator's name");
    let acts = get(&site, "/api/v1/audit?subject=spot-checks/", &site.admin)["items"].as_array().unwrap().clone();
    let drawn: Vec<_> =
        acts.iter().map(|act| (act["act"].as_str().unwrap(), act["subject"].as_str().unwrap(), &act["detail"]["seed"])).collect();
    let (all, period) = ("spot-checks/all", "spot-checks/period/2019-2");
    let act = "spot_check_drawn";
    assert_eq!(
        drawn,
        [(act, all, &json!("种子")), (act, period, &json!("s")), (act, period, &json!("s")), (act, all, &json!("again"))],
        "the second of the period has one place"
    );
    assert_eq!(acts[0]["detail"]["vouchers"], json!(["V-2", "V-3", "V-1"]));
    assert_eq!((&acts[0]["who"], &acts[3]["who"]), (&json!("key:admin:test"), &json!("page:loopback")));
    assert!(acts[2]["who"].as_str().unwrap().starts_with("command:"), "{}", acts[2]);
    for wrong in [&["--seed", "", "--count", "1"][..], &["--seed", "s", "--count", "0"], &["--seed", "s", "--count", "1", "--period", "x"]]
    {
        let args: Vec<&str> = ["spot-check"].into_iter().chain(wrong.iter().copied()).collect();
        assert_eq!(shangyun(&site.dir(), &args).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn outcomes_are_kept_corrected_by_new_rows_and_make_the_credit_that_weighs_the_list() {
    let site = Site::new(register().file());
    let verdict = site.judge("V-3");
    let start = get(&site, "/api/v1/suppliers/S-2/credit", &site.admin);
    let weeks = start["addends"].as_array().unwrap().len() as i64;
    assert_eq!(start["points"], json!(100 - weeks), "{start}");
    let today = day_of(Utc::now());
    let fraud = record(&site, "V-3", json!({"outcome": "fraud", "note": "设备不在现场", "on": today}));
    assert_eq!(fraud.status, 201, "{}", fraud.body);
    let number = fraud.json()["number"].clone();
    assert_eq!((&fraud.json()["supplier"], &fraud.json()["recorded_by"]), (&json!("S-2"), &json!("key:admin:test")));
    let credit = get(&site, "/api/v1/suppliers/S-2/credit", &site.admin);
    assert_eq!(credit["points"], json!(100 - weeks - 50));
    let addends = credit["addends"].as_array().unwrap();
    let sum: i64 = addends.iter().map(|addend| addend["points"].as_i64().unwrap()).sum();
    assert_eq!(credit["start"].as_i64().unwrap() + sum, credit["points"].as_i64().unwrap());
    assert!(addends.iter().any(|addend| addend["outcome"] == number && addend["parameter"] == "credit_fraud_points"));
    // 30,000.00 × (1 + ⌊(50 + weeks) ÷ 10⌋ + …) goes before 80,000.00 × 1.
    let list = get(&site, "/api/v1/spot-checks?seed=s&count=2", &site.admin);
    assert_eq!((list["places"][0]["voucher"].as_str(), list["places"][0]["risk_points"].as_u64()), (Some("V-3"), Some(6)), "{list}");
    assert!(list["places"][0]["why"].to_string().contains("供应商信用"));
    assert_eq!(get(&site, "/api/v1/suppliers/S-1/credit", &site.admin)["addends"].to_string().matches("outcome").count(), 0);
    // The correction stands from then on, and what it corrects stays to be read.
    let corrected = record(&site, "V-3", json!({"outcome": "confirmed", "note": "设备在另一车间", "on": today, "corrects": number}));
    assert_eq!(corrected.status, 201, "{}", corrected.body);
    assert_eq!(get(&site, "/api/v1/suppliers/S-2/credit", &site.admin)["points"], json!(100 - weeks + 2));
    let site = site.kill_and_restart();
    let kept = get(&site, "/api/v1/spot-checks/V-3/outcomes", &site.admin);
    let kept = kept["items"].as_array().unwrap();
    assert_eq!(kept.iter().map(|row| row["outcome"].as_str().unwrap()).collect::<Vec<_>>(), ["fraud", "confirmed"]);
    assert_eq!(kept[1]["corrects"], number);
    let acts = get(&site, "/api/v1/audit?subject=vouchers/V-3", &site.admin)["items"].as_array().unwrap().clone();
    let recorded: Vec<_> = acts.iter().filter(|act| act["act"] == "spot_check_recorded").collect();
    assert_eq!(recorded.iter().map(|act| &act["detail"]["outcome"]).collect::<Vec<_>>(), [&json!("fraud"), &json!("confirmed")]);
    // No outcome touches a verdict.
    assert_eq!(site.judge("V-3")["judgement_hash"], verdict["judgement_hash"]);
}

#[test]
fn an_outcome_with_faults_is_refused_with_all_of_them_and_leaves_nothing() {
    let site = Site::new(register().file());
    let today = day_of(Utc::now());
    let worst = record(&site, "V-1", json!({"outcome": "ok", "note": "", "on": today + Days::new(1), "corrects": "x", "by": "me"}));
    assert_eq!(worst.status, 422);
    let codes = |answer: &http::Answer| {
        let faults = answer.json()["faults"].as_array().unwrap().clone();
        faults.iter().map(|fault| fault["code"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&worst), ["unknown_field", "outcome", "note", "on", "corrects"]);
    assert_eq!(record(&site, "V-404", json!({})).status, 404);
    let sound = |corrects: Value| json!({"outcome": "deviating", "note": "x", "on": today, "corrects": corrects});
    assert_eq!(codes(&record(&site, "V-1", sound(json!(1)))), ["corrects"], "there is none yet");
    assert_eq!(get(&site, "/api/v1/spot-checks/V-1/outcomes", &site.admin)["items"], json!([]));
    let first = record(&site, "V-1", sound(Value::Null)).json()["number"].clone();
    assert_eq!(codes(&record(&site, "V-2", sound(first.clone()))), ["corrects"], "of another voucher");
    assert_eq!(record(&site, "V-1", sound(first.clone())).status, 201);
    assert_eq!(codes(&record(&site, "V-1", sound(first))), ["corrects"], "corrected already");
}

#[test]
fn the_pages_show_the_week_the_credit_and_the_list() {
    let site = Site::new(register().file());
    record(&site, "V-3", json!({"outcome": "deviating", "note": "少 1 台", "on": day_of(Utc::now())}));
    let page = |path: &str| {
        let answer = site.get(path, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    };
    let week = last_week();
    let quality = page(&format!("/quality?week={week}"));
    assert_eq!(quality.matches("data-supplier=").count(), 3);
    assert!(quality.contains(&week.to_string()) && quality.contains("0.00%") && quality.contains("href=\"/suppliers/S-1/credit\""));
    let credit = page("/suppliers/S-2/credit");
    assert!(credit.contains("对服务券 V-3 的抽查：有出入") && credit.contains("credit_deviating_points"), "{credit}");
    assert!(!page("/spot-checks").contains("data-voucher"));
    let list = page("/spot-checks?seed=s&count=3&period=");
    assert_eq!(list.matches("data-voucher=").count(), 3);
    assert!(list.contains("风险×金额") && list.contains("随机抽取") && list.contains("有出入") && list.contains("href=\"/vouchers/V-3\""));
    assert!(page("/spot-checks?seed=&count=3").contains("请填写种子"));
    assert_eq!(site.get("/quality?week=2019", "").status, 400);
    assert_eq!(site.get("/suppliers/S-404/credit", "").status, 404);
    assert!(page("/vouchers").contains("href=\"/quality\""));
    assert!(list.contains("href=\"/spot-checks/V%2D3\""), "{list}");
}

#[test]
fn an_outcome_is_recorded_by_a_plain_form_of_our_own_page() {
    let site = Site::new(register().file());
    let today = day_of(Utc::now()).to_string();
    let page = site.get("/spot-checks/V-3", "");
    for part in ["method=\"post\"", "action=\"/spot-checks/V%2D3\"", "value=\"deviating\"", "name=\"on\"", "name=\"note\"", &today] {
        assert!(page.status == 200 && page.body.contains(part), "{part}: {}", page.body);
    }
    let url = format!("{}/spot-checks/V-3", site.service.http);
    let send = |body: &str, from: &str| {
        http::post(&url, "", body.as_bytes(), &[("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", from)])
    };
    let sound = format!("outcome=deviating&on={today}&note=%E5%B0%91+1+%E5%8F%B0%0D%0A%E5%85%B6%E4%BD%99%E5%B1%9E%E5%AE%9E&corrects=");
    assert_eq!(send(&sound, "cross-site").status, 403);
    let faulty = send(&format!("outcome=&on={today}&note=%3Cb%3E"), "same-origin");
    assert_eq!(faulty.status, 422);
    assert!(faulty.body.contains("结论应为") && !faulty.body.contains("<b>") && !faulty.body.contains("情况说明应为"), "{}", faulty.body);
    assert_eq!(get(&site, "/api/v1/spot-checks/V-3/outcomes", &site.admin)["items"], json!([]), "nothing was recorded");
    let answer = send(&sound, "same-origin");
    assert_eq!((answer.status, answer.header("location")), (303, "/spot-checks/V%2D3"));
    let kept = get(&site, "/api/v1/spot-checks/V-3/outcomes", &site.admin)["items"][0].clone();
    assert_eq!(
        (&kept["outcome"], &kept["note"], &kept["recorded_by"]),
        (&json!("deviating"), &json!("少 1 台\n其余属实"), &json!("page:loopback"))
    );
    let correction = format!("outcome=confirmed&on={today}&note=x&corrects={}", kept["number"]);
    assert_eq!(send(&correction, "same-origin").status, 303);
    let shown = site.get("/spot-checks/V-3", "").body;
    assert!(shown.contains("已被更正") && shown.contains("data-outcome=\"confirmed\""), "{shown}");
    assert_eq!(send(&correction, "same-origin").status, 422, "corrected already");
    let acts = get(&site, "/api/v1/audit?subject=vouchers/V-3", &site.admin)["items"].as_array().unwrap().clone();
    assert_eq!(acts.iter().filter(|act| act["act"] == "spot_check_recorded").count(), 2);
    assert_eq!(site.get("/spot-checks/V-404", "").status, 404);
}
