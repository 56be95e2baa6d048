//! `shangyun demo`: within a minute the page shows vouchers of every verdict; what it prints works; Ctrl-C ends everything.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(url: &str) -> String {
    ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
}

/// The verdict that the list shows for a voucher.
fn verdict_of(page: &str, voucher: &str) -> String {
    let row = page.split(&format!("data-voucher=\"{voucher}\"")).nth(1).unwrap();
    row.split("data-verdict=\"").nth(1).unwrap().split('"').next().unwrap().to_string()
}

fn shell(line: &str) -> String {
    let ran = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn within_a_minute_every_verdict_is_on_the_page_the_pasted_lines_work_and_ctrl_c_ends_everything() {
    let began = Instant::now();
    let any_port = |key: &str| format!("--set={key}=127.0.0.1:0");
    let child = Command::new(env!("CARGO_BIN_EXE_shangyun"))
        .args(["demo", &any_port("http.listen"), &any_port("admin.listen"), &any_port("mqtt.listen")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut demo = Demo(child);
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let link = lines.by_ref().find(|line| line.contains("http")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let link = link.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    let page = get(link);
    for (voucher, verdict) in [
        ("V-GZ-001", "met"),
        ("V-FS-001", "not_met"),
        ("V-DG-001", "conflicting"),
        ("V-DG-002", "conflicting"),
        ("V-ZS-001", "insufficient"),
        ("V-FS-002", "not_met"),
    ] {
        assert_eq!(verdict_of(&page, voucher), verdict, "{voucher}");
    }
    assert!(page.contains("67 / 67") && page.contains("66 / 67"));
    for honest in ["V-GZ-001", "V-FS-001", "V-ZS-002", "V-GZ-003", "V-GZ-002"] {
        assert!(!get(&format!("{link}/{honest}")).contains("outcome finding"), "{honest} has a finding");
    }
    let carrier = get(&format!("{link}/V-FS-002"));
    assert!(carrier.contains("以运营商"), "the carrier's figure decides and is said");

    let rest: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    let pasted = |start: &str| rest.iter().find(|line| line.contains(start)).unwrap().trim().to_string();
    shell(&pasted("mosquitto_pub "));
    let result: serde_json::Value = serde_json::from_str(&shell(&pasted("curl -sS"))).unwrap();
    assert_eq!((result["voucher"].as_str(), result["verdict"].as_str()), (Some("V-GZ-001"), Some("met")));
    // The report that was just published came from a device that no voucher declares.
    assert_eq!(result["devices"]["undeclared"], 1);
    let judge = pasted(" judge --voucher");
    assert!(shell(&judge).contains("数据冲突"));

    let data_dir = judge.split("data.dir=").nth(1).unwrap().trim().to_string();
    assert!(Path::new(&data_dir).exists());
    shell(&format!("kill -INT {}", demo.0.id()));
    let until = Instant::now() + Duration::from_secs(20);
    while demo.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "Ctrl-C does not end it");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!Path::new(&data_dir).exists(), "the temporary directory stays");
}
