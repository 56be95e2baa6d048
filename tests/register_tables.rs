//! Registers as XLSX and CSV: taken in whole or refused whole, each fault where the sheet shows it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::path::PathBuf;

use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};
use support::http::{self, Answer};
use support::register::{GUANGZHOU, MODULES, Register, credit_code};
use support::{Site, shangyun, stderr, stdout};

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

fn site() -> Site {
    Site::new(Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU).file())
}

fn rows(site: &Site, list: &str) -> Vec<Value> {
    site.get(&format!("/api/v1/register/{list}"), &site.admin).json()["items"].as_array().unwrap().clone()
}

fn workbook(sheets: &[(&str, Vec<Vec<String>>)]) -> Vec<u8> {
    let mut workbook = Workbook::new();
    for (name, rows) in sheets {
        let sheet = workbook.add_worksheet().set_name(*name).unwrap();
        for (at, row) in (0..).zip(rows) {
            for (column, cell) in (0..).zip(row) {
                sheet.write(at, column, cell.as_str()).unwrap();
            }
        }
    }
    workbook.save_to_buffer().unwrap()
}

fn line(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

fn vouchers(ids: &[&str]) -> Vec<Vec<String>> {
    let mut rows = vec![line(&[
        "服务券编号",
        "enterprise",
        "product",
        "合同编号",
        "contract_signed_on",
        "contract_total",
        "合同额 contract_amount *",
        "contract_modules",
        "applied_at",
        "cost_lines",
    ])];
    rows.extend(ids.iter().map(|id| {
        line(&[
            id,
            &credit_code(1),
            "P-1",
            "C-1",
            "2019-06-01",
            "10000.00",
            "10000",
            &MODULES.join("；"),
            "2019-09-02T09:00:00+08:00",
            "软件:10000",
        ])
    }));
    rows
}

fn devices(voucher: &str, count: usize) -> Vec<Vec<String>> {
    let mut rows = vec![line(&["voucher", "device", "province"])];
    rows.extend((0..count).map(|n| line(&[voucher, &format!("SN-{n:06}"), "44"])));
    rows
}

fn write(site: &Site, name: &str, content: &[u8]) -> PathBuf {
    let path = site.scratch().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn post(site: &Site, path: &str, media_type: &str, content: &[u8]) -> Answer {
    http::post(&format!("{}{path}", site.service.http), &site.admin, content, &[("Content-Type", media_type)])
}

#[test]
fn files_of_every_kind_are_taken_in_together_and_say_the_same_as_json() {
    let site = site();
    let book = write(&site, "a.xlsx", &workbook(&[("服务券", vouchers(&["V-1"])), ("devices", devices("V-1", 2))]));
    let csv = write(&site, "suppliers.csv", "\u{FEFF}供应商编号,供应商名称,地市代码\nS-2,\"第一行\",440600\n".as_bytes());
    let json = write(&site, "c.json", Register::new().supplier("S-3").file().to_string().as_bytes());
    let output = shangyun(&site.dir(), &["import", book.to_str().unwrap(), csv.to_str().unwrap(), json.to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("5 rows changed"), "{}", stdout(&output));
    let more = json!({"cost_lines": [{"kind": "软件", "amount": "10000.00"}], "contract_no": "C-1"});
    let same = Register::new().voucher("V-1", 1, "P-1", "10000.00", more);
    assert_eq!(site.post("/api/v1/register", &site.admin, same.file()).json()["changed"], 0, "{:?}", rows(&site, "vouchers"));
}

#[test]
fn every_fault_of_every_file_is_told_where_the_sheet_shows_it_and_nothing_is_taken_in() {
    let site = site();
    let before = rows(&site, "suppliers");
    let mut sheet = vouchers(&["V-1", "V-1", "V-3"]);
    sheet[2][6] = "-1.00".into();
    sheet[3][5] = "1.005".into();
    let mut twice = devices("V-1", 2);
    twice.push(twice[1].clone());
    let book = write(&site, "a.xlsx", &workbook(&[("服务券", sheet), ("设备", twice)]));
    let csv = write(&site, "b.csv", "id,name,city\nS-2,好,440600\n\nS-3,坏,449900\n".as_bytes());
    let args = ["import", "--list", "suppliers", book.to_str().unwrap(), csv.to_str().unwrap()];
    let output = shangyun(&site.dir(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    for (file, place, chinese) in [
        (&book, "sheet 服务券 (vouchers) row 3, column contract_amount", "“服务券”第 3 行“合同额”"),
        (&book, "sheet 服务券 (vouchers) row 4, column contract_total", "至多两位小数"),
        (&book, "sheet 服务券 (vouchers) row 3: ", "出现了两次"),
        (&book, "sheet 设备 (devices) row 4: ", "出现了两次"),
        (&csv, "suppliers row 4, column city", "地市代码"),
    ] {
        let told = |line: &&str| {
            line.starts_with(file.to_str().unwrap()) && line.contains(place) && line.contains("rule:") && line.contains(chinese)
        };
        assert!(text.lines().any(|line| told(&line)), "{place}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("rule:")).count(), 5, "{text}");
    assert_eq!(rows(&site, "suppliers"), before);
}

#[test]
fn tables_are_taken_over_http_by_their_media_type() {
    let site = site();
    let csv = post(&site, "/api/v1/register?list=suppliers", "text/csv; charset=utf-8", "id,name,city\nS-2,好,440600\n".as_bytes());
    assert_eq!((csv.status, &csv.json()["changed"]), (200, &json!(1)), "{}", csv.body);
    assert_eq!(post(&site, "/api/v1/register", "text/csv", b"id\n").status, 422);
    let book = workbook(&[("vouchers", vouchers(&["V-1"]))]);
    let taken = post(&site, "/api/v1/register", XLSX, &book);
    assert_eq!((taken.status, &taken.json()["changed"]), (200, &json!(1)), "{}", taken.body);
    let refused = post(&site, "/api/v1/register", XLSX, &book[..book.len() / 2]);
    assert_eq!((refused.status, &refused.json()["faults"][0]["code"]), (422, &json!("unreadable")), "{}", refused.body);
    assert_eq!(post(&site, "/api/v1/register", "application/pdf", &book).status, 415);
}

#[test]
fn a_voucher_before_its_contract_and_a_doubtful_organisation_code_are_warned_of_and_taken_in() {
    let site = site();
    let mut sheet = vouchers(&["V-1"]);
    sheet[1][4] = "2019-10-01".into();
    let taken = post(&site, "/api/v1/register", XLSX, &workbook(&[("vouchers", sheet)])).json();
    assert_eq!(
        (&taken["changed"], &taken["warnings"][0]["code"], &taken["warnings"][0]["row"]),
        (&json!(1), &json!("voucher_before_contract"), &json!(2))
    );
    let wrong = json!({"id": "91440300708461136U", "name": "厂", "city": GUANGZHOU, "kind": "manufacturer"});
    let refused = site.post("/api/v1/register", &site.admin, Register::new().row("enterprises", wrong).file());
    assert_eq!((refused.status, &refused.json()["faults"][0]["code"]), (422, &json!("credit_code")));
    let taken = site.post("/api/v1/register", &site.admin, Register::new().enterprise(5, GUANGZHOU).file()).json();
    assert_eq!((&taken["changed"], &taken["warnings"][0]["code"]), (&json!(1), &json!("organisation_code")));
}

#[test]
fn templates_can_be_taken_in_as_they_are() {
    let site = site();
    for (name, list) in [("t.xlsx", None), ("t.json", None), ("devices.csv", Some("devices"))] {
        let path = site.scratch().join(name);
        let mut args = vec!["import", "--template", path.to_str().unwrap()];
        args.extend(list.iter().flat_map(|list| ["--list", list]));
        let written = shangyun(&site.dir(), &args);
        assert!(written.status.success(), "{}", stderr(&written));
        let kept = std::fs::read(&path).unwrap();
        let again = shangyun(&site.dir(), &args);
        assert!(again.status.code() == Some(2) && stderr(&again).contains("is there already"), "{}", stderr(&again));
        assert_eq!(std::fs::read(&path).unwrap(), kept);
        let output = shangyun(&site.dir(), &["import", path.to_str().unwrap()]);
        assert!(output.status.success() && stdout(&output).contains("0 rows changed"), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(stdout(&output).contains("[example]"), name != "t.json", "{}", stdout(&output));
    }
    assert_eq!(shangyun(&site.dir(), &["import", "--template", "t.csv"]).status.code(), Some(2));
    assert_eq!(shangyun(&site.dir(), &["import"]).status.code(), Some(2));
}

#[test]
fn what_would_be_taken_in_by_half_is_refused_whole() {
    let site = site();
    let before = rows(&site, "suppliers");
    let open = post(&site, "/api/v1/register?list=suppliers", "text/csv", "id,name,city\nS-2,\"好,440600\nS-3,好,440600\n".as_bytes());
    assert_eq!((open.status, &open.json()["faults"][0]["code"]), (422, &json!("unreadable")), "{}", open.body);
    let twice = r#"{"v":1,"rulebook":"gd-2019","suppliers":[{"id":"S-2","name":"a","city":"440100"}],"suppliers":[]}"#;
    let refused = post(&site, "/api/v1/register", "application/json", twice.as_bytes());
    let fault = &refused.json()["faults"][0];
    assert_eq!(
        (refused.status, &fault["code"], &fault["path"]),
        (422, &json!("duplicate_field"), &json!("/suppliers")),
        "{}",
        refused.body
    );
    assert_eq!(post(&site, "/api/v1/register", "application/json", b"{\"v\":1,}").status, 400);
    assert_eq!(rows(&site, "suppliers"), before);
}

#[test]
fn a_hundred_thousand_rows_are_taken_in_whole() {
    let site = site();
    let book = write(&site, "large.xlsx", &workbook(&[("vouchers", vouchers(&["V-1"])), ("devices", devices("V-1", 100_000))]));
    let output = shangyun(&site.dir(), &["import", book.to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("100001 rows changed"), "{}", stdout(&output));
}
