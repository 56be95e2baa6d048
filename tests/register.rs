//! Register files: refused whole with every fault, or taken in and seen at once.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};
use support::mqtt::{Hello, Mqtt, V5};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code, device_names};
use support::{Site, shangyun, stderr, stdout};

fn sound() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .devices("V-1", &device_names("SN", 2))
}

/// Faults of many kinds in several lists, between rows that are sound.
fn faulty() -> Register {
    Register::new()
        .supplier("S-2")
        .row("suppliers", json!({"id": "S-3", "name": "供应商", "city": "44010", "phone": "020"}))
        .enterprise(2, GUANGZHOU)
        .row("enterprises", json!({"id": "91440101MA50000020", "name": "厂", "city": GUANGZHOU, "kind": "bank"}))
        .product("P-2", "S-404", 26, "C")
        .voucher("V-2", 2, "P-404", "10,000", json!({"contract_signed_on": "2019-6-1", "applied_at": "2019-09-02 09:00"}))
        .row("devices", json!({"voucher": "V-2"}))
        .row("gadgets", json!({}))
}

fn faults_of(site: &Site, register: &Register) -> Vec<Value> {
    let answer = site.post("/api/v1/register", &site.admin, register.file());
    assert_eq!((answer.status, answer.header("content-type")), (422, "application/problem+json"), "{}", answer.body);
    answer.json()["faults"].as_array().unwrap().clone()
}

fn rows(site: &Site, list: &str) -> Vec<Value> {
    site.get(&format!("/api/v1/register/{list}"), &site.admin).json()["items"].as_array().unwrap().clone()
}

fn write(site: &Site, name: &str, content: &Value) -> PathBuf {
    let path = site.scratch().join(name);
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

fn import(site: &Site, files: &[&PathBuf]) -> Output {
    let mut args = vec!["import"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    shangyun(&site.dir(), &args)
}

#[test]
fn a_register_with_faults_is_refused_whole_with_list_row_column_and_rule_of_each() {
    let site = Site::new(sound().file());
    let lists = ["enterprises", "suppliers", "products", "vouchers", "devices"];
    let before = lists.map(|list| rows(&site, list));
    let faults = faults_of(&site, &faulty());
    let mut told: Vec<(String, u64, String)> = faults
        .iter()
        .filter(|fault| fault["list"].is_string())
        .map(|fault| {
            (fault["list"].as_str().unwrap().into(), fault["row"].as_u64().unwrap(), fault["column"].as_str().unwrap_or("").into())
        })
        .collect();
    told.sort();
    let expected = [
        ("devices", 1, "device"),
        ("enterprises", 2, "id"),
        ("enterprises", 2, "kind"),
        ("products", 1, "class"),
        ("products", 1, "row"),
        ("products", 1, "supplier"),
        ("suppliers", 2, "city"),
        ("suppliers", 2, "phone"),
        ("vouchers", 1, "applied_at"),
        ("vouchers", 1, "contract_amount"),
        ("vouchers", 1, "contract_signed_on"),
        ("vouchers", 1, "contract_total"),
        ("vouchers", 1, "product"),
    ];
    assert_eq!(told, expected.map(|(list, row, column)| (list.to_string(), row, column.to_string())));
    assert!(faults.iter().any(|fault| fault["path"] == "/gadgets"), "a list that there is not");
    assert!(faults.iter().all(|fault| ["code", "path", "rule", "detail"].iter().all(|name| fault[name].is_string())), "{faults:?}");
    assert_eq!(lists.map(|list| rows(&site, list)), before, "nothing of it was taken in");
}

#[test]
fn the_import_command_says_every_fault_and_exits_with_1() {
    let site = Site::new(sound().file());
    let (good, bad) = (write(&site, "good.json", Register::new().enterprise(7, FOSHAN).file()), write(&site, "bad.json", faulty().file()));
    let output = import(&site, &[&good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for place in [
        "suppliers row 2, column city",
        "enterprises row 2, column id",
        "products row 1, column row",
        "vouchers row 1, column contract_amount",
        "devices row 1, column device",
        "/gadgets",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(bad.to_str().unwrap()) && line.contains(place) && line.contains("rule:")),
            "{place}: {text}"
        );
    }
    assert!(!rows(&site, "enterprises").iter().any(|row| row["id"] == credit_code(7)), "nor the sound file of the two");
    let output = import(&site, &[&write(&site, "none.json", &json!("{"))]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let missing = site.scratch().join("missing.json");
    let output = import(&site, &[&missing]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.json"), "{}", stderr(&output));
}

#[test]
fn an_import_while_the_service_runs_is_seen_at_once() {
    let site = Site::new(sound().file());
    assert_eq!(site.judge("V-1")["devices"]["declared"], 2);
    let (_, code) = Mqtt::open(site.service.mqtt, Hello::of(V5, "gw-new"));
    assert_eq!(code, 0x86);
    let more = Register::new().devices("V-1", &["SN-777".to_string()]).gateway("gw-new", 1);
    let output = import(&site, &[&write(&site, "more.json", more.file())]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(site.judge("V-1")["devices"]["declared"], 3);
    Mqtt::connect(site.service.mqtt, V5, "gw-new");
}

#[test]
fn files_given_together_may_refer_to_each_other_in_any_order() {
    let site = Site::new(Register::new().file());
    let vouchers = write(&site, "a.json", Register::new().voucher("V-1", 1, "P-1", "10000.00", json!({})).file());
    let rest = write(&site, "b.json", Register::new().enterprise(1, GUANGZHOU).supplier("S-1").product("P-1", "S-1", 5, "A").file());
    assert_eq!(import(&site, &[&vouchers]).status.code(), Some(1));
    let output = import(&site, &[&vouchers, &rest]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_eq!(site.get("/api/v1/vouchers/V-1", &site.admin).status, 200);
}

#[test]
fn rows_are_replaced_by_their_key_and_removed_when_asked() {
    let site = Site::new(sound().file());
    let changed = |register: &Register| site.post("/api/v1/register", &site.admin, register.file()).json()["changed"].clone();
    assert_eq!(changed(&sound()), 0, "the same again changes nothing");
    let renamed = json!({"id": "S-1", "name": "改名的供应商", "city": FOSHAN});
    assert_eq!(changed(&Register::new().row("suppliers", renamed.clone())), 1);
    assert_eq!(rows(&site, "suppliers"), [renamed]);
    let retired = |list: &str, row: Value| Register::new().row(list, row);
    let refused = faults_of(&site, &retired("suppliers", json!({"id": "S-1", "removed": true})));
    assert!(refused.iter().all(|fault| fault["code"] == "reference"), "products refer to it: {refused:?}");
    assert_eq!(changed(&retired("devices", json!({"voucher": "V-1", "device": "SN-001", "removed": true}))), 1);
    assert_eq!(site.judge("V-1")["devices"]["declared"], 1);
}

#[test]
fn tokens_are_never_given_back() {
    let site = Site::new(sound().gateway("gw-1", 1).file());
    let shown = site.get("/api/v1/register/gateways", &site.admin).body;
    assert!(shown.contains("gw-1") && !shown.contains(support::register::TOKEN), "{shown}");
}

#[test]
fn removing_a_gateway_ends_its_connection_and_its_right_to_come_back() {
    let site = Site::new(sound().gateway("gw-1", 1).file());
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    let answer = site.post("/api/v1/register", &site.admin, Register::new().row("gateways", json!({"id": "gw-1", "removed": true})).file());
    assert_eq!(answer.status, 200, "{}", answer.body);
    mqtt.publish("shangyun/v1/gw-1/report", 1, "{}");
    assert_eq!(mqtt.rest(), [support::mqtt::Packet::Disconnect(0x87)]);
    assert_eq!(Mqtt::open(site.service.mqtt, Hello::of(V5, "gw-1")).1, 0x86);
    assert_eq!(site.service.reports("accepted"), 0);
}
