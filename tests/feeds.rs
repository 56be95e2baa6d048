//! How results are told: the redemption platform's feed, the verdict feed, the standing that is kept for a gateway.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::register::{FOSHAN, GUANGZHOU, Register, TOKEN, device_names};
use support::{Kept, Site, drained};

fn base() -> Register {
    Register::new().supplier("S-1").product("P-5", "S-1", 5, "A").product("P-12", "S-1", 12, "A")
}

#[test]
fn the_feed_gives_every_result_once_and_in_order_to_each_within_its_city() {
    let mut register = base();
    for n in 1..=12 {
        let city = if n % 3 == 0 { FOSHAN } else { GUANGZHOU };
        register = register.enterprise(n, city).voucher(&format!("V-{n:02}"), n, "P-12", "10000.00", json!({}));
    }
    let site = Site::new(register.file());
    let (platform, foshan) = (site.key("platform", None), site.key("platform", Some(FOSHAN)));
    let mut cursor = String::new();
    let mut seen = Vec::new();
    for n in 1..=12 {
        site.judge(&format!("V-{n:02}"));
        let page = site.get(&format!("/api/v1/results?after={cursor}"), &platform).json();
        cursor = page["cursor"].as_str().unwrap().to_string();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["voucher"].as_str().unwrap().to_string()));
    }
    let all: Vec<String> = (1..=12).map(|n| format!("V-{n:02}")).collect();
    assert_eq!(seen, all);
    assert_eq!(site.get(&format!("/api/v1/results?after={cursor}"), &platform).json(), json!({"items": [], "cursor": cursor}));
    let theirs = site.get("/api/v1/results", &foshan).json();
    let vouchers: Vec<_> = theirs["items"].as_array().unwrap().iter().map(|item| item["voucher"].as_str().unwrap()).collect();
    assert_eq!(vouchers, ["V-03", "V-06", "V-09", "V-12"]);
    assert_eq!(theirs["cursor"], cursor);
}

/// mosquitto_sub, an independent client, ends with the n-th message.
fn subscriber(site: &Site, client: &str, topic: &str, count: u32) -> Kept {
    let address = site.service.mqtt;
    let (host, port, count) = (address.ip().to_string(), address.port().to_string(), count.to_string());
    // Through stdbuf, for it holds lines back from a pipe.
    let child = Command::new("stdbuf")
        .args([
            "-oL",
            "mosquitto_sub",
            "-h",
            &host,
            "-p",
            &port,
            "-u",
            "gw-1",
            "-P",
            TOKEN,
            "-i",
            client,
            "-t",
            topic,
            "-C",
            &count,
            "-W",
            "30",
            "-F",
            "%r %q %t %p",
            "-q",
            "1",
            "-d",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Kept(child.unwrap())
}

#[test]
fn a_judgement_is_announced_on_the_verdict_feed_and_kept_as_standing_for_the_gateway() {
    let register = base()
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({}))
        .devices("V-1", &device_names("SN", 6))
        .gateway("gw-1", 1);
    let site = Site::new(register.file());
    let mut feed = subscriber(&site, "gw-1/feed", &format!("shangyun/v1/verdicts/{GUANGZHOU}"), 1);
    let mut lines = BufReader::new(feed.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("Subscribed")));
    site.judge("V-1");
    let text: String = lines.collect();
    assert!(text.contains(&format!("0 1 shangyun/v1/verdicts/{GUANGZHOU} {{")) && text.contains("\"verdict\":\"insufficient\""), "{text}");
    let mut late = subscriber(&site, "gw-1/late", "shangyun/v1/gw-1/standing", 1);
    let text = drained(late.0.stdout.take().unwrap()).join().unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("1 1 shangyun/v1/gw-1/standing ")).unwrap_or_else(|| panic!("not retained: {text}"));
    let standing: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&standing["voucher"], &standing["required"], &standing["connected"]), (&json!("V-1"), &json!(6), &json!(0)));
    assert!(standing["as_of"].is_string());
}
