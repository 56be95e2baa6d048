//! The lists that the programme works with, as the redemption platform and the province read them.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code};
use support::{SHANGYUN, Service, Site, http, shangyun, stdout};

/// A district of Guangzhou: what is Guangzhou's is its, too.
const TIANHE: &str = "440106";

fn voucher(register: Register, id: &str, enterprise: u32, more: Value) -> Register {
    let mut fields = json!({"period": "2019"});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    register.voucher(id, enterprise, "P-1", "10000.00", fields)
}

/// Two cities, a pilot that has done too little, one voucher with an objection, one that a reviewer has not passed yet.
fn world() -> Register {
    let mut register = Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 1, "A")
        .enterprise(1, TIANHE)
        .enterprise(2, FOSHAN)
        .row(
            "periods",
            json!({"id": "2019", "claim_from": "2019-07-01T10:00:00+08:00", "claim_to": "2019-12-31T17:00:00+08:00",
                "redeem_from": "2019-09-01T10:00:00+08:00", "redeem_to": "2020-03-31T17:00:00+08:00"}),
        )
        .row("pilots", json!({"id": "T-1", "members": ["S-1"], "enterprises": [credit_code(1)], "benchmark": "示范点"}))
        .row("pilots", json!({"id": "T-2", "members": ["S-1"], "enterprises": [credit_code(2)], "benchmark": "示范点"}));
    let redeem = |at: &str, status: &str| json!({"redeem_at": at, "status": status});
    register = voucher(register, "V-1", 1, redeem("2019-11-05T09:00:00+08:00", "approved"));
    register = voucher(register, "V-2", 2, redeem("2019-11-04T23:00:00+08:00", "approved"));
    register = voucher(register, "V-3", 1, redeem("2019-11-05T08:00:00+08:00", "redeeming"));
    let mut objected = redeem("2019-11-06T09:00:00+08:00", "approved");
    objected["objection"] = json!("没有交付");
    register = voucher(register, "V-4", 1, objected);
    let mut piloted = redeem("2019-11-07T09:00:00+08:00", "redeeming");
    piloted["pilot"] = json!("T-1");
    voucher(register, "V-5", 1, piloted)
}

fn column(answer: &Value, name: &str) -> Vec<String> {
    answer["items"].as_array().unwrap().iter().map(|item| item[name].to_string().replace('"', "")).collect()
}

#[test]
fn queues_public_list_pilots_and_counters_are_read_within_ones_scope() {
    let site = Site::new(world().file());
    let all = site.key("platform", None);
    let guangzhou = site.key("platform", Some(GUANGZHOU));
    let path = "/api/v1/queue?kind=redemption&period=2019";

    let now = site.get(path, &all).json();
    assert_eq!(column(&now, "voucher"), ["V-2", "V-3", "V-1", "V-4", "V-5"], "{now}");
    assert_eq!(column(&now, "reason")[4], "pilot_title_lost", "one enterprise served, ten were owed");
    let then = site.get(&format!("{path}&as_of=2019-11-08T00:00:00%2B08:00"), &all).json();
    assert_eq!(column(&then, "voucher"), ["V-5", "V-2", "V-3", "V-1", "V-4"]);
    assert_eq!(column(&then, "reason")[0], "pilot");
    let own = site.get(path, &guangzhou).json();
    assert_eq!(
        (column(&own, "voucher"), column(&own, "place")),
        (["V-3", "V-1", "V-4", "V-5"].map(String::from).into(), ["2", "3", "4", "5"].map(String::from).into())
    );
    assert_eq!(site.get("/api/v1/queue?kind=both&period=2019", &all).status, 400);
    assert_eq!(site.get("/api/v1/queue?kind=claim&period=2031", &all).status, 404);
    assert_eq!(site.get(path, &site.key("supplier", Some("S-1"))).status, 403);

    let public = site.get("/api/v1/publicity?period=2019", &all).json();
    assert_eq!(column(&public, "voucher"), ["V-2", "V-1", "V-4"], "{public}");
    assert_eq!(column(&public, "frozen"), ["false", "false", "true"], "an objection freezes one voucher alone");
    let first = &public["items"][0];
    assert_eq!((&first["enterprise_name"], &first["supplier_name"]), (&json!("第2机械厂"), &json!("供应商S-1")));
    assert_eq!((&first["product_name"], &first["amount"]), (&json!("产品P-1"), &json!("8000.00")));
    assert_eq!((&public["total"], &public["frozen"]), (&json!("24000.00"), &json!("8000.00")));
    assert_eq!(column(&site.get("/api/v1/publicity?period=2019&city=440600", &all).json(), "voucher"), ["V-2"]);
    assert_eq!(column(&site.get("/api/v1/publicity?period=2019", &guangzhou).json(), "voucher"), ["V-1", "V-4"]);

    let pilots = site.get("/api/v1/pilots?period=2019", &all).json();
    assert_eq!(column(&pilots, "title"), ["lost", "lost"]);
    assert_eq!(pilots["items"][0]["enterprises_served"], json!([credit_code(1)]));
    assert_eq!(pilots["suppliers_in_several_pilots"], json!([{"supplier": "S-1", "pilots": ["T-1", "T-2"], "rule": "R45"}]));
    assert_eq!(site.get("/api/v1/pilots?period=2019", &guangzhou).status, 403, "a pilot's enterprises are not of one city");

    let counters = site.get("/api/v1/counters", &all).json();
    assert_eq!(counters["enterprises"], json!({"with_voucher": 2, "paid": 0, "wanted": 10000}));
    assert_eq!(counters["suppliers"], json!({"registered": 1, "with_voucher": 1, "wanted": 200}));
}

/// What each earlier voucher takes is reckoned under its own rulebook (R26), in the lists as in the judgement.
#[test]
fn lists_show_the_amount_that_judging_has_also_across_rulebooks() {
    let mut register = Register::new().supplier("S-1").product("P-1", "S-1", 1, "A").enterprise(1, GUANGZHOU).row(
        "periods",
        json!({"id": "2019", "claim_from": "2019-07-01T10:00:00+08:00", "claim_to": "2019-12-31T17:00:00+08:00",
                "redeem_from": "2019-09-01T10:00:00+08:00", "redeem_to": "2020-03-31T17:00:00+08:00"}),
    );
    let applied = |at: &str| json!({"applied_at": at, "redeem_at": "2019-11-05T09:00:00+08:00", "status": "approved"});
    register = voucher(register, "V-1", 1, applied("2019-07-02T09:00:00+08:00"));
    register = voucher(register, "V-2", 1, applied("2019-10-02T09:00:00+08:00"));
    let dir = tempfile::tempdir().unwrap();
    let text = include_str!("../config/rulebook-2019.toml");
    let later = text
        .replace("id = \"gd-2019\"", "id = \"gd-later\"")
        .replace("valid_from = \"2018-03-20\"", "valid_from = \"2019-09-01\"")
        .replace("rate_a = \"0.8\"", "rate_a = \"0.5\"")
        .replace("enterprise_cap = \"300000.00\"", "enterprise_cap = \"10000.00\"");
    let put = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let paths = [put("first.toml", text), put("later.toml", &later)];
    let config = put("shangyun.toml", &format!("[rulebook]\nfile = {paths:?}\n"));
    let data = dir.path().join("data");
    let service = Service::start_by(Command::new(SHANGYUN).arg("--config").arg(config), &data, &[]);
    let key = stdout(&shangyun(&data, &["key", "create", "--role", "admin", "--name", "test"])).trim().to_string();
    let url = |path: &str| format!("{}{path}", service.http);
    let taken = http::post(&url("/api/v1/register"), &key, register.file().to_string().as_bytes(), &[]);
    assert_eq!(taken.status, 200, "{}", taken.body);
    let judge = |id: &str| http::post(&url(&format!("/api/v1/vouchers/{id}/judge")), &key, b"", &[]).json();
    let judged = ["V-1", "V-2"].map(|id| judge(id)["amount"]["computed"].as_str().unwrap().to_string());
    assert_eq!(judged, ["8000.00", "2000.00"], "the cap of 10,000 less the 8,000 of the first rulebook");
    for path in ["/api/v1/queue?kind=claim&period=2019", "/api/v1/queue?kind=redemption&period=2019", "/api/v1/publicity?period=2019"] {
        let list = http::get(&url(path), &key).json();
        assert_eq!((column(&list, "voucher"), column(&list, "amount")), (vec!["V-1".into(), "V-2".into()], judged.to_vec()), "{list}");
    }
}
