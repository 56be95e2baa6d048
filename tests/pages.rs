//! The pages in a real browser, and what protects them.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use chrono::Utc;
use serde_json::json;
use support::history::{device_reports, effective_instants};
use support::http;
use support::register::{FOSHAN, GUANGZHOU, Register, device_names};
use support::{Site, stderr, stdout};

/// An id that a careless page would stumble over.
const ODD: &str = "券/1 <b>&\"'";
const ODD_PATH: &str = "%E5%88%B8%2F1%20%3Cb%3E%26%22%27";

fn site() -> Site {
    let register = Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .product("P-12", "S-1", 12, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({"amount": "9000.00"}))
        .devices("V-1", &device_names("SN", 6))
        .enterprise(2, FOSHAN)
        .voucher("V-2", 2, "P-12", "10000.00", json!({}))
        .row("suppliers", json!({"id": "S-2", "name": "<script>document.title='x'</script>", "city": FOSHAN}))
        .product("P-2", "S-2", 5, "B")
        .voucher(ODD, 2, "P-2", "10000.00", json!({}));
    let site = Site::new(register.file());
    let key = site.key("supplier", Some("S-1"));
    site.push_accepted(&key, &device_reports("r", 1, &device_names("SN", 6), &effective_instants(Utc::now(), 7)));
    assert_eq!(site.judge("V-1")["verdict"], "met");
    assert_eq!(site.judge("V-2")["verdict"], "insufficient");
    site
}

/// The document as Chromium has it after loading. Whatever the browser complains of fails the test.
fn browse(site: &Site, path: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("{}{path}", site.service.http))
        .output()
        .unwrap();
    let (page, said) = (stdout(&output), stderr(&output));
    assert!(output.status.success() && page.contains("</html>"), "{said}");
    let complaints: Vec<_> = said.lines().filter(|line| line.contains("CONSOLE") || line.contains("Content Security Policy")).collect();
    assert!(complaints.is_empty(), "{path}: {complaints:#?}");
    page
}

/// Text as it stands in HTML, whichever way the writer chose.
fn plain(html: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&#60;", "<"),
        ("&gt;", ">"),
        ("&#62;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    named.iter().fold(html.to_string(), |text, (name, letter)| text.replace(name, letter))
}

/// Vouchers and verdicts of the rows of a list.
fn rows(page: &str) -> Vec<(String, String)> {
    let value = |row: &str, name: &str| plain(row.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap());
    page.split("<tr ")
        .filter(|row| row.contains("data-voucher="))
        .map(|row| (value(row, "data-voucher"), value(row, "data-verdict")))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(voucher, verdict)| (voucher.to_string(), verdict.to_string())).collect()
}

#[test]
fn the_list_and_a_voucher_open_in_a_browser_without_a_complaint() {
    let site = site();
    let list = browse(&site, "/");
    assert_eq!(rows(&list), pairs(&[("V-1", "met"), ("V-2", "insufficient"), (ODD, "none")]));
    assert!(list.contains("达标") && list.contains("证据不足") && list.contains("尚未判定"));
    assert!(list.contains("&lt;script&gt;") && !list.contains("<title>x</title>"), "names are text");
    let voucher = browse(&site, "/vouchers/V-1");
    assert_eq!(voucher.matches("data-counted=\"true\"").count(), 6);
    let door = |name: &str| voucher.split(&format!("data-channel=\"{name}\"")).nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(door("supplier").contains(">7</td>") && door("supplier").contains(">6</td>"), "{}", door("supplier"));
    assert!(door("gateway").matches(">0</td>").count() == 2, "{}", door("gateway"));
    let hash = site.judge("V-1")["judgement_hash"].as_str().unwrap().to_string();
    assert!(
        voucher.contains(&hash) && voucher.contains("<svg") && voucher.contains("data-rule=\"R36\" data-outcome=\"pass\""),
        "{voucher}"
    );
}

#[test]
fn filter_search_and_links_work_without_javascript() {
    let site = site();
    // A client that knows no script at all sends the form by hand.
    let list = site.get("/vouchers", "").body;
    let form = &list[list.find("<form").unwrap()..list.find("</form>").unwrap()];
    for part in ["method=\"get\"", "action=\"/vouchers\"", "name=\"city\"", "name=\"verdict\"", "name=\"q\"", "type=\"submit\""] {
        assert!(form.contains(part), "{part}: {form}");
    }
    let filtered = format!("/vouchers?city={FOSHAN}&verdict=&q=");
    let expected = pairs(&[("V-2", "insufficient"), (ODD, "none")]);
    assert_eq!(rows(&site.get(&filtered, "").body), expected);
    assert_eq!(rows(&browse(&site, &filtered)), expected);
    let page = |query: &str| rows(&site.get(&format!("/vouchers?{query}"), "").body).into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(page("verdict=met"), ["V-1"]);
    assert_eq!(page("q=v-2"), ["V-2"]);
    // 第1机械厂
    assert_eq!(page("q=%E7%AC%AC1%E6%9C%BA"), ["V-1"]);
    assert_eq!(page("q=nothing"), [""; 0]);
    assert_eq!(page(&format!("city={GUANGZHOU}&verdict=insufficient")), [""; 0]);
    // The odd voucher opens by the link that the list has for it.
    let link = list.split("href=\"/vouchers/").find(|part| part.starts_with("%E5%88%B8")).unwrap().split('"').next().unwrap();
    let odd = browse(&site, &format!("/vouchers/{link}"));
    assert!(plain(&odd).contains(&format!("<title>服务券 {ODD}")), "{odd}");
}

#[test]
fn a_list_of_more_than_a_page_is_walked_by_its_links() {
    let register = (1..=250).fold(Register::new().supplier("S-1").product("P-12", "S-1", 12, "A"), |register, n| {
        register.enterprise(n, GUANGZHOU).voucher(&format!("V-{n:03}"), n, "P-12", "10000.00", json!({}))
    });
    let site = Site::new(register.file());
    let (mut path, mut seen) = ("/vouchers?city=440100".to_string(), Vec::new());
    loop {
        let page = site.get(&path, "").body;
        seen.extend(rows(&page).into_iter().map(|row| row.0));
        let Some(next) = page.split("class=\"next\" href=\"").nth(1) else { break };
        path = plain(next.split('"').next().unwrap());
    }
    assert_eq!(seen, (1..=250).map(|n| format!("V-{n:03}")).collect::<Vec<_>>());
}

#[test]
fn every_page_forbids_scripts_that_are_not_ours() {
    let site = site();
    for (path, status) in
        [("/vouchers", 200), ("/vouchers/V-1", 200), ("/vouchers/V-404", 404), ("/no-such-page", 404), ("/static/style.css", 200)]
    {
        let answer = site.get(path, "");
        assert_eq!(answer.status, status, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self'") && policy.contains("default-src 'none'") && !policy.contains("unsafe-"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

/// A request with headers of our choice; gives the status line.
fn status_of(site: &Site, request: &str) -> String {
    let address = site.service.http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.replace("ADDRESS", address).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_string()
}

/// A page elsewhere on the web may have its name resolved to this machine.
#[test]
fn pages_are_shown_under_a_loopback_name_only() {
    let site = site();
    let get = |host: &str| status_of(&site, &format!("GET /vouchers HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    for host in ["evil.example", "evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example"] {
        assert_eq!(get(host), "HTTP/1.1 403 Forbidden", "{host}");
    }
    for host in ["ADDRESS", "localhost", "[::1]:80"] {
        assert_eq!(get(host), "HTTP/1.1 200 OK", "{host}");
    }
}

#[test]
fn a_result_can_be_handed_on_from_its_page_and_an_older_one_is_not_taken_for_the_newest() {
    let site = site();
    let change = json!({"v": 1, "rulebook": "gd-2019", "devices": [{"voucher": "V-1", "device": "NEW-1", "province": "44"}]});
    assert_eq!(site.post("/api/v1/register", &site.admin, &change).status, 200);
    assert_eq!(site.judge("V-1")["sequence"], 2);
    let (newest, older) = (site.get("/vouchers/V-1", "").body, site.get("/vouchers/V-1/results/1", "").body);
    assert!(newest.contains("重新判定") && !newest.contains("历史结果"), "{newest}");
    assert!(older.contains("第 1 次结果（历史）") && older.contains("已被第 2 次结果取代") && !older.contains("重新判定"), "{older}");
    for (sequence, page) in [(2, &newest), (1, &older)] {
        let command = format!("shangyun pack --voucher V-1 --sequence {sequence} --out evidence.pack.tar");
        for part in [command.as_str(), "shangyun verify result.jws --keys keys.json", "href=\"/api/v1/keys\""] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let link = format!("/vouchers/V%2D1/results/{sequence}/result.jws");
        assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        let signed = site.get(&format!("/api/v1/vouchers/V-1/result.jws?sequence={sequence}"), &site.admin).body;
        assert_eq!(site.get(&link, "").body, signed);
    }
    assert_eq!(site.get("/vouchers/V%2D1/results/3/result.jws", "").status, 404);
    site.judge(ODD_PATH);
    let odd = plain(&site.get(&format!("/vouchers/{ODD_PATH}"), "").body);
    assert!(odd.contains(r#"--voucher '券/1 <b>&"'\''' --sequence 1"#), "a shell takes it as one word: {odd}");
}

#[test]
fn the_button_judges_from_our_page_and_not_from_a_page_elsewhere() {
    let site = site();
    let url = format!("{}/vouchers/{}/judge", site.service.http, ODD_PATH);
    let press = |headers: &[(&str, &str)]| http::post(&url, "", b"", headers);
    for headers in [[("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")], [("Origin", "https://evil.example")]] {
        assert_eq!(press(&headers).status, 403, "{headers:?}");
    }
    let results = |site: &Site| site.get("/api/v1/results", &site.admin).json()["items"].as_array().unwrap().len();
    assert_eq!(results(&site), 2);
    let answer = press(&[("Sec-Fetch-Site", "same-origin")]);
    assert_eq!(answer.status, 303);
    assert_eq!(results(&site), 3);
    let shown = site.get(answer.header("location"), "");
    assert!(shown.status == 200 && shown.body.contains("证据不足"), "{}", shown.body);
}
