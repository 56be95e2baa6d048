//! Judging: what it covers, that it is deterministic, the thresholds of the policy, all four verdicts from real input.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{device_reports, effective_instants, show, usage_report};
use support::register::{GUANGZHOU, MODULES, Register, credit_code, device_names};
use support::{Site, shangyun, stdout};

/// Usage of ten days cannot be fresh: this rulebook takes it all the same.
fn patient(dir: &std::path::Path) -> Vec<String> {
    let text = include_str!("../config/rulebook-2019.toml").replace("\nlate_days_max = 7\n", "\nlate_days_max = 40\n");
    let path = dir.join("rulebook.toml");
    std::fs::write(&path, text).unwrap();
    vec![format!("rulebook.file={}", path.display())]
}

fn check<'r>(result: &'r Value, rule: &str) -> &'r Value {
    let checks = result["checks"].as_array().unwrap();
    checks.iter().find(|check| check["rule"] == rule).unwrap_or_else(|| panic!("no {rule} in {result}"))
}

fn base() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .product("P-22", "S-1", 22, "A")
        .product("P-23", "S-1", 23, "A")
        .product("P-12", "S-1", 12, "A")
}

/// The policy's worked examples: row, contract, and how many devices are needed. One short fails, exactly enough passes.
#[test]
fn devices_decide_exactly_at_the_threshold_of_rows_5_22_and_23() {
    let cases = [
        ("P-5", "125000.00", "100000.00", 67),
        ("P-5", "100000.01", "80000.00", 54),
        ("P-22", "312500.00", "250000.00", 167),
        ("P-23", "125000.00", "100000.00", 125),
    ];
    let mut register = base();
    for (n, (product, contract, _, required)) in (1..).zip(cases) {
        for (voucher, enterprise, count) in [(format!("M-{n}"), n, required), (format!("N-{n}"), n + 10, required - 1)] {
            register = register
                .enterprise(enterprise, GUANGZHOU)
                .voucher(&voucher, enterprise, product, contract, json!({}))
                .devices(&voucher, &device_names("SN", count));
        }
    }
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let instants = effective_instants(Utc::now(), 7);
    for (n, (_, _, amount, required)) in (1..).zip(cases) {
        for (voucher, enterprise, count, verdict) in
            [(format!("M-{n}"), n, required, "met"), (format!("N-{n}"), n + 10, required - 1, "not_met")]
        {
            site.push_accepted(&key, &device_reports(&voucher, enterprise, &device_names("SN", count), &instants));
            let result = site.judge(&voucher);
            assert_eq!(result["verdict"], verdict, "{result}");
            assert_eq!(result["amount"]["computed"], amount);
            assert_eq!((&result["devices"]["required"], &result["devices"]["connected"]), (&json!(required), &json!(count)), "{voucher}");
            let r36 = check(&result, "R36");
            assert_eq!((&r36["required"], &r36["observed"]), (&json!(required.to_string()), &json!(count.to_string())));
        }
    }
}

/// Gone through together or read one by one, every voucher has as many connected devices as its judgement counts.
#[test]
fn connected_devices_of_all_vouchers_are_those_that_each_judgement_counts() {
    let (mut register, mut reports) = (base(), Vec::new());
    let mut vouchers = Vec::new();
    let now = Utc::now();
    for n in 0..60u32 {
        let (voucher, enterprise) = (format!("V-{n:02}"), n / 2 + 1);
        let devices = device_names(&format!("SN-{}", n % 4), 3);
        // Every fourth enterprise has two vouchers that declare the same devices; row 5 wants them in the province.
        let declared = if n % 8 == 1 { device_names("SN-0", 2) } else { devices.clone() };
        let product = ["P-5", "P-23", "P-22"][(n % 3) as usize];
        if n % 2 == 0 {
            register = register.enterprise(enterprise, GUANGZHOU);
        }
        // The last ones are asked for at another moment, and so looked at one by one.
        let more = if n >= 55 { json!({"redeem_at": show(now - TimeDelta::hours(30))}) } else { json!({}) };
        register = register.voucher(&voucher, enterprise, product, "10000.00", more).devices(&voucher, &declared[..2]);
        if let Some(third) = declared.get(2) {
            let province = if n % 6 == 3 { "43" } else { "44" };
            register = register.row("devices", json!({"voucher": voucher, "device": third, "province": province}));
        }
        for (at, device) in devices.iter().enumerate() {
            let days = [7, 7 - usize::from(n % 7 == 3), 6 + usize::from(n % 6 == 3 || n % 9 == 4)][at] - usize::from(n % 5 == 0);
            reports.extend(device_reports(
                &format!("{voucher}-{at}"),
                enterprise,
                std::slice::from_ref(device),
                &effective_instants(now, days),
            ));
        }
        vouchers.push(voucher);
    }
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    reports.chunks(100).for_each(|some| site.push_accepted(&key, some));
    let as_of = show(Utc::now());
    let answer = site.get(&format!("/api/v1/connected-devices?as_of={}", as_of.replace('+', "%2B")), &site.admin);
    let list: Vec<_> = answer.json()["items"].as_array().unwrap().clone();
    assert_eq!(list.iter().map(|one| one["voucher"].as_str().unwrap()).collect::<Vec<_>>(), vouchers);
    let mut seen = std::collections::BTreeSet::new();
    for one in list {
        let voucher = one["voucher"].as_str().unwrap();
        let path = format!("/api/v1/vouchers/{voucher}/judge?as_of={}", as_of.replace('+', "%2B"));
        let result = site.post(&path, &site.admin, &Value::Null).json();
        assert_eq!((&one["connected"], &one["declared"]), (&result["devices"]["connected"], &result["devices"]["declared"]), "{voucher}");
        seen.insert(one["connected"].as_u64().unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "not all alike");
    assert_eq!(site.get("/api/v1/connected-devices", &key).status, 403, "goes through everybody's facts");
    assert_eq!(site.get("/api/v1/connected-devices?as_of=2999-01-01T00:00:00Z", &site.admin).status, 400);
}

#[test]
fn the_second_voucher_is_cut_to_what_the_enterprise_cap_leaves_and_needs_fewer_devices() {
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-22", "312500.00", json!({"applied_at": "2019-09-01T09:00:00+08:00"}))
        .voucher("V-2", 1, "P-5", "125000.00", json!({"applied_at": "2019-09-02T09:00:00+08:00"}))
        .devices("V-2", &device_names("SN", 34));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &device_reports("r", 1, &device_names("SN", 34), &effective_instants(Utc::now(), 7)));
    let result = site.judge("V-2");
    assert_eq!(
        (&result["amount"]["computed"], &result["devices"]["required"], &result["verdict"]),
        (&json!("50000.00"), &json!(34), &json!("met"))
    );
}

#[test]
fn all_four_verdicts_are_reached_by_real_input() {
    let now = Utc::now();
    let small = json!({"amount": "3000.00"});
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-met", 1, "P-12", "10000.00", json!({}))
        .enterprise(2, GUANGZHOU)
        .voucher("V-few-users", 2, "P-12", "10000.00", json!({}))
        .enterprise(3, GUANGZHOU)
        .voucher("V-silent", 3, "P-12", "10000.00", json!({}))
        .enterprise(4, GUANGZHOU)
        .voucher("V-claimed", 4, "P-5", "10000.00", small.clone())
        .voucher("V-claimed-too", 4, "P-23", "10000.00", json!({"amount": "800.00"}))
        .devices("V-claimed", &device_names("SN", 2))
        .devices("V-claimed-too", &device_names("SN", 1))
        .enterprise(5, GUANGZHOU)
        .voucher("V-days", 5, "P-12", "10000.00", json!({}));
    let site = Site::with(register.file(), patient);
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &[usage_report("u-1", 1, "P-12", &MODULES[..3], 2, 10, now)]);
    site.push_accepted(&key, &[usage_report("u-2", 2, "P-12", &MODULES, 1, 12, now)]);
    site.push_accepted(&key, &[usage_report("u-5", 5, "P-12", &MODULES, 3, 9, now)]);
    site.push_accepted(&key, &device_reports("d", 4, &device_names("SN", 2), &effective_instants(now, 7)));
    for (voucher, verdict, text) in [
        ("V-met", "met", "达标"),
        ("V-few-users", "not_met", "不达标"),
        ("V-days", "not_met", "不达标"),
        ("V-silent", "insufficient", "证据不足"),
        ("V-claimed", "conflicting", "数据冲突"),
    ] {
        let result = site.judge(voucher);
        assert_eq!((&result["verdict"], &result["verdict_text"]), (&json!(verdict), &json!(text)), "{voucher}: {result}");
    }
    let met = site.get("/api/v1/vouchers/V-met/result", &site.admin).json();
    assert_eq!(met["usage"], json!({"active_days": 10, "users": 2, "function_modules_used": 3, "function_modules_contracted": 5}));
    assert_eq!(met["devices"], Value::Null);
    let listed = site.get("/api/v1/vouchers?verdict=not_met", &site.admin).json();
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["V-days", "V-few-users"]);
}

#[test]
fn every_declared_device_that_does_not_count_is_given_with_its_reason() {
    let now = Utc::now();
    let reasons = ["claimed_elsewhere", "location", "not_seen", "quality", "late", "effective_days"];
    let mut register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({}))
        .voucher("V-2", 1, "P-23", "10000.00", json!({}))
        .row("devices", json!({"voucher": "V-2", "device": "claimed_elsewhere"}))
        .devices("V-1", &["counted".to_string()]);
    for reason in reasons {
        let province = if reason == "location" { "43" } else { "44" };
        register = register.row("devices", json!({"voucher": "V-1", "device": reason, "province": province}));
    }
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let good = effective_instants(now, 7);
    let late: Vec<_> = good.iter().map(|at| *at - TimeDelta::days(8)).collect();
    let push = |device: &str, instants: &[DateTime<Utc>], quality: &str| {
        let mut reports = device_reports(device, 1, &[device.to_string()], instants);
        reports[0]["devices"].as_array_mut().unwrap().iter_mut().for_each(|entry| entry["quality"] = json!(quality));
        site.push_accepted(&key, &reports);
    };
    ["counted", "claimed_elsewhere", "location"].iter().for_each(|device| push(device, &good, "N"));
    push("quality", &good, "D");
    push("late", &late, "N");
    // Six days, and a seventh in three clock hours only.
    push("effective_days", &good[..27], "N");
    let result = site.judge("V-1");
    let excluded: Vec<_> =
        result["devices"]["excluded"].as_array().unwrap().iter().map(|excluded| (&excluded["device"], &excluded["reason"])).collect();
    assert_eq!(excluded.len(), 6, "{excluded:?}");
    assert!(excluded.iter().all(|(device, reason)| device == reason), "{excluded:?}");
    assert_eq!((&result["devices"]["connected"], &result["devices"]["declared"]), (&json!(1), &json!(7)));
    let checks = result["checks"].as_array().unwrap();
    for rule in ["R4", "R5", "R6", "R7", "R15", "R17", "R22", "R24", "R30", "R36"] {
        assert!(checks.iter().any(|check| check["rule"] == rule), "{rule} is not among the checks (R41)");
    }
}

#[test]
fn carrier_records_are_compared_and_decide_beyond_the_tolerance() {
    let devices = device_names("SN", 4);
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"amount": "6000.00"}))
        .devices("V-1", &devices)
        .row("carriers", json!({"id": "C-1", "name": "运营商"}))
        .row("lines", json!({"enterprise": credit_code(1), "line": "113.1.2.3", "kind": "ip"}));
    let site = Site::new(register.file());
    let (supplier, carrier) = (site.key("supplier", Some("S-1")), site.key("carrier", Some("C-1")));
    let instants = effective_instants(Utc::now(), 7);
    site.push_accepted(&supplier, &device_reports("r", 1, &devices, &instants));
    let before = site.judge("V-1");
    assert_eq!((&before["verdict"], &before["channels"]["carrier"]), (&json!("met"), &Value::Null));
    let mut days: Vec<String> = instants.iter().map(|at| show(*at)[..10].to_string()).collect();
    days.dedup();
    let record = |day: &String, devices: u32| json!({"enterprise": credit_code(1), "line": "113.1.2.3", "product": "P-5", "day": day, "sessions": 9, "bytes": 1, "devices": devices});
    let message =
        |id: &str, devices: u32| json!({"v": 1, "id": id, "records": days.iter().map(|day| record(day, devices)).collect::<Vec<_>>()});
    let push = |message: &Value| site.post("/api/v1/carrier-records", &carrier, message).json()["results"][0]["status"].clone();
    assert_eq!(push(&message("c-1", 3)), "accepted");
    assert_eq!(push(&message("c-1", 3)), "duplicate");
    assert_eq!(push(&message("c-1", 4)), "refused");
    let result = site.judge("V-1");
    assert_eq!(
        (&result["verdict"], &result["devices"]["connected"], &result["devices"]["decided"]),
        (&json!("not_met"), &json!(4), &json!(3)),
        "{result}"
    );
    assert_eq!(
        result["channels"],
        json!({"interface": {"days": 7, "devices": 4}, "carrier": {"days": 7, "devices": 3}, "difference": "0.2500", "agree": false})
    );
}

#[test]
fn a_judgement_covers_every_report_accepted_before_it() {
    let register = base().enterprise(1, GUANGZHOU).voucher("V-1", 1, "P-5", "10000.00", json!({})).devices("V-1", &device_names("SN", 20));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let instants = effective_instants(Utc::now(), 7);
    for (connected, device) in (1..).zip(device_names("SN", 20)) {
        site.push_accepted(&key, &device_reports(&device, 1, std::slice::from_ref(&device), &instants));
        assert_eq!(site.judge("V-1")["devices"]["connected"], connected);
    }
}

#[test]
fn results_have_a_first_are_not_repeated_and_can_be_asked_for_as_of_an_instant() {
    let redeem_at = show(Utc::now() - TimeDelta::minutes(5));
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"redeem_at": redeem_at}))
        .devices("V-1", &device_names("SN", 6));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    let path = "/api/v1/vouchers/V-1/result";
    assert_eq!(site.get(path, &site.admin).status, 404);
    let first = site.judge("V-1");
    assert_eq!((&first["sequence"], &first["supersedes"], &first["verdict"]), (&json!(1), &Value::Null, &json!("insufficient")));
    assert_eq!(site.judge("V-1"), first, "judging again adds nothing");
    let between = Utc::now();
    site.push_accepted(&key, &device_reports("r", 1, &device_names("SN", 6), &effective_instants(Utc::now() - TimeDelta::minutes(5), 7)));
    let second = site.judge("V-1");
    assert_eq!((&second["sequence"], &second["supersedes"], &second["verdict"]), (&json!(2), &json!(1), &json!("met")), "{second}");
    assert_eq!(site.get(path, &site.admin).json(), second);
    let as_of = |at: DateTime<Utc>| site.get(&format!("{path}?as_of={}", show(at).replace('+', "%2B")), &site.admin);
    assert_eq!(as_of(between).json(), first);
    assert_eq!(as_of(Utc::now()).json(), second);
    assert_eq!(as_of(between - TimeDelta::hours(1)).status, 404);
    assert_eq!(site.get(&format!("{path}s"), &site.admin).json(), json!({"items": [second, first]}));
    assert_eq!(site.get(&format!("{path}?as_of=yesterday"), &site.admin).status, 400);
}

#[test]
fn the_same_evidence_in_another_order_elsewhere_gives_the_same_hash() {
    let now = Utc::now() - TimeDelta::minutes(5);
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"redeem_at": show(now)}))
        .voucher("V-2", 1, "P-12", "10000.00", json!({"redeem_at": show(now)}))
        .devices("V-1", &device_names("SN", 6));
    let mut reports: Vec<Value> = device_names("SN", 6)
        .iter()
        .flat_map(|device| device_reports(device, 1, std::slice::from_ref(device), &effective_instants(now, 7)))
        .collect();
    reports.extend((1..=3).map(|user| usage_report(&format!("u-{user}"), 1, "P-12", &MODULES[..user], user, 5, now)));
    let judged = |reports: &[Value]| {
        let site = Site::new(register.file());
        let key = site.key("supplier", Some("S-1"));
        reports.chunks(2).for_each(|some| site.push_accepted(&key, some));
        ["V-1", "V-2"].map(|voucher| site.judge(voucher)["judgement_hash"].clone())
    };
    let forwards = judged(&reports);
    reports.reverse();
    assert_eq!(judged(&reports), forwards);
    reports.pop();
    assert_ne!(judged(&reports), forwards, "other facts, another hash");
}

#[test]
fn the_command_line_judges_the_same_evidence_while_the_service_runs() {
    let redeem_at = show(Utc::now() - TimeDelta::minutes(5));
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"redeem_at": redeem_at}))
        .devices("V-1", &device_names("SN", 6));
    let site = Site::with(register.file(), |_| vec!["tally.checkpoint_every_s=3600".into()]);
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &device_reports("r", 1, &device_names("SN", 6), &effective_instants(Utc::now() - TimeDelta::minutes(5), 7)));
    let output = shangyun(&site.dir(), &["judge", "--voucher", "V-1", "--json"]);
    let offline: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(offline["verdict"], "met", "{offline}");
    assert_eq!(site.judge("V-1"), offline, "the service adds no second result");
    let strict = site.scratch().join("strict.toml");
    std::fs::write(
        &strict,
        include_str!("../config/rulebook-2019.toml").replace("\ndevice_effective_days_min = 7\n", "\ndevice_effective_days_min = 8\n"),
    )
    .unwrap();
    let tried = shangyun(&site.dir(), &["judge", "--voucher", "V-1", "--json", "--rulebook", strict.to_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&stdout(&tried)).unwrap()["verdict"], "not_met");
    assert_eq!(
        site.get("/api/v1/vouchers/V-1/results", &site.admin).json()["items"].as_array().unwrap().len(),
        1,
        "a trial stores nothing"
    );
}
