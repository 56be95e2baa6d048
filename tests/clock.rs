//! Gateways whose clocks are off are flagged and told as a finding; device time and receipt are both kept, and neither is moved.
//! What is missing of a gateway's numbers is told too.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{gateway_report, show};
use support::mqtt::{Mqtt, Packet, V5};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code};
use support::{Site, rebuild_tally, wait_for};

fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "10000.00", json!({}))
        .devices("V-1", &["SN-1".to_string()])
        .enterprise(2, FOSHAN)
        .voucher("V-2", 2, "P-1", "10000.00", json!({}))
        .gateway("gw-1", 1)
        .gateway("gw-2", 1)
        .gateway("gw-3", 2)
}

struct Gateway<'s> {
    id: &'static str,
    site: &'s Site,
    mqtt: Mqtt,
    packet: u16,
}

impl<'s> Gateway<'s> {
    fn connect(site: &'s Site, id: &'static str) -> Gateway<'s> {
        Gateway { id, site, mqtt: Mqtt::connect(site.service.mqtt, V5, id), packet: 0 }
    }

    /// Sends a report and gives the PUBACK's reason.
    fn send(&mut self, report: &Value) -> u8 {
        self.packet += 1;
        self.mqtt.publish(&format!("shangyun/v1/{}/report", self.id), self.packet, &report.to_string());
        match self.mqtt.read() {
            Some(Packet::Puback { id, reason }) if id == self.packet => reason,
            other => panic!("no PUBACK: {other:?}"),
        }
    }

    /// A report that says that it was sent so many seconds after now.
    fn sent(&mut self, seq: u64, offset_s: i64, more: Value) {
        let mut report = gateway_report("b1", seq, "SN-1", Utc::now());
        report["sent_at"] = json!(show(Utc::now() + TimeDelta::seconds(offset_s)));
        for (name, value) in more.as_object().into_iter().flatten() {
            report[name] = value.clone();
        }
        assert_eq!(self.send(&report), 0);
    }

    fn shown(&self) -> Value {
        self.site.get(&format!("/api/v1/gateways/{}", self.id), &self.site.admin).json()
    }

    fn faults(&self) -> Value {
        let clock = self.shown()["clock"].clone();
        assert_eq!(clock["flagged"], !clock["faults"].as_array().unwrap().is_empty());
        clock["faults"].clone()
    }
}

fn days_by_fault(site: &Site, voucher: &str) -> Value {
    let result = site.judge(voucher);
    let findings = result["findings"].as_array().unwrap().clone();
    let clock = findings.iter().find(|finding| finding["code"] == "gateway_clock");
    clock.map_or(Value::Null, |finding| finding["evidence"].clone())
}

#[test]
fn a_clock_that_is_ahead_is_flagged_and_told_and_changes_no_figure() {
    let site = Site::new(register().file());
    let mut gateway = Gateway::connect(&site, "gw-1");
    gateway.sent(1, 60, json!({}));
    let within = site.judge("V-1");
    assert_eq!((gateway.faults(), &within["findings"]), (json!([]), &json!([])));
    gateway.sent(2, 600, json!({}));
    assert_eq!(gateway.faults(), json!(["ahead"]));
    let clock = gateway.shown()["clock"].clone();
    assert!((590.0..610.0).contains(&clock["offset_s"].as_f64().unwrap()), "{clock}");
    assert_eq!(clock["last_offset_s"], clock["offset_s"]);
    let after = site.judge("V-1");
    assert_eq!((&after["verdict"], &after["devices"]), (&within["verdict"], &within["devices"]));
    let finding = &after["findings"][0];
    assert_eq!((&finding["code"], &finding["rule"]), (&json!("gateway_clock"), &json!("R42")));
    assert_eq!(finding["evidence"], json!([{"gateway": "gw-1", "days": 1, "days_by_fault": {"ahead": 1}}]));
    let last = after["evidence"]["log_size"].as_u64().unwrap() - 1;
    let found = &after["evidence"]["findings"][0];
    // Between the reports stand acts of the audit log, whose blocks are none of the gateway's.
    let (first, end) = (found["blocks"][0][0].as_u64().unwrap(), found["blocks"][0][1].as_u64().unwrap());
    assert!(found["code"] == "gateway_clock" && first < end && end <= last, "{found}");
    assert_eq!(within["evidence"].get("findings"), None);
    let page = site.get("/vouchers/V-1", "").body;
    assert!(page.contains(&format!("证据日志第 {first}–{end} 区块")), "{page}");
    assert!(page.contains("网关 gw-1，天数 1，按情形 时钟偏快 1"), "{page}");
    assert_eq!(site.judge("V-2")["findings"], json!([]), "another enterprise has nothing to do with it");
}

#[test]
fn a_slow_clock_is_told_from_reports_that_waited() {
    let site = Site::new(register().file());
    let mut waited = Gateway::connect(&site, "gw-1");
    waited.sent(1, -7200, json!({}));
    waited.sent(2, 0, json!({}));
    waited.sent(3, -7200, json!({}));
    assert_eq!(waited.faults(), json!([]), "one that came at once shows that the clock is right");
    let mut slow = Gateway::connect(&site, "gw-2");
    slow.sent(1, -7200, json!({}));
    slow.sent(2, -7100, json!({}));
    assert_eq!(slow.faults(), json!(["behind"]));
    assert_eq!(days_by_fault(&site, "V-1"), json!([{"gateway": "gw-2", "days": 1, "days_by_fault": {"behind": 1}}]));
}

#[test]
fn what_a_gateway_says_of_its_clock_and_what_was_refused_for_it_are_told() {
    let site = Site::new(register().file());
    let mut gateway = Gateway::connect(&site, "gw-1");
    gateway.sent(1, 0, json!({"clock": {"synchronised": false, "monotonic_ms": 1}}));
    assert_eq!(gateway.faults(), json!(["unsynchronised"]));
    assert_eq!(gateway.shown()["clock"]["synchronised"], false);
    gateway.sent(2, 0, json!({"clock": {"synchronised": true}, "events": [{"at": show(Utc::now()), "event": "clock_jump"}]}));
    assert_eq!(gateway.shown()["clock"]["synchronised"], true);
    let mut ahead = Gateway::connect(&site, "gw-2");
    assert_eq!(ahead.send(&gateway_report("b1", 1, "SN-1", Utc::now() + TimeDelta::hours(1))), 0x99);
    assert_eq!((gateway.faults(), ahead.faults()), (json!(["unsynchronised", "jump"]), json!(["future"])));
    let expected = json!([
        {"gateway": "gw-1", "days": 1, "days_by_fault": {"unsynchronised": 1, "jump": 1}},
        {"gateway": "gw-2", "days": 1, "days_by_fault": {"future": 1}},
    ]);
    assert_eq!(days_by_fault(&site, "V-1"), expected);
    // In the log and beside it: after a kill, and when the facts are read anew, it is all there.
    let before = site.judge("V-1");
    let site = site.kill_and_restart();
    assert_eq!(site.judge("V-1")["judgement_hash"], before["judgement_hash"]);
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0);
    let again = support::shangyun(&data, &["judge", "--voucher", "V-1", "--json"]);
    let again: Value = serde_json::from_str(&support::stdout(&again)).unwrap();
    assert_eq!(again["findings"], before["findings"]);
    assert_eq!(again["evidence"]["findings"], before["evidence"]["findings"]);
}

/// Offline judging reads clocks from the log behind the checkpoint too.
#[test]
fn the_command_sees_clocks_that_no_checkpoint_holds_yet() {
    let site = Site::with(register().file(), |_| vec!["tally.checkpoint_every_s=3600".into()]);
    Gateway::connect(&site, "gw-1").sent(1, 600, json!({}));
    let (_dir, data) = site.kill();
    let judged = support::shangyun(&data, &["judge", "--voucher", "V-1", "--json"]);
    let judged: Value = serde_json::from_str(&support::stdout(&judged)).unwrap();
    assert_eq!(judged["findings"][0]["evidence"], json!([{"gateway": "gw-1", "days": 1, "days_by_fault": {"ahead": 1}}]));
}

#[test]
fn what_is_missing_of_each_gateway_is_listed_and_totalled() {
    let site = Site::new(register().file());
    let at = Utc::now();
    let send = |gateway: &'static str, numbers: &[(&str, u64)]| {
        let mut gateway = Gateway::connect(&site, gateway);
        for (boot, seq) in numbers {
            assert_eq!(gateway.send(&gateway_report(boot, *seq, "SN-1", at)), 0);
        }
    };
    send("gw-1", &[("b1", 1), ("b1", 2), ("b1", 5), ("b2", 3)]);
    send("gw-3", &[("b1", 2), ("b1", 1)]);
    let one = site.get("/api/v1/gateways/gw-1", &site.admin).json();
    assert_eq!((&one["missing"], &one["complete"]), (&json!(4), &json!(false)));
    let boots = one["boots"].as_array().unwrap();
    let b1 = boots.iter().find(|boot| boot["boot"] == "b1").unwrap();
    assert_eq!((&b1["gaps"], &b1["missing"], &b1["gaps_omitted"]), (&json!([[3, 4]]), &json!(2), &json!(0)));

    let list = |query: &str| site.get(&format!("/api/v1/gateways{query}"), &site.admin).json();
    let all = list("");
    let short: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap(), item["missing"].as_u64().unwrap(), item["complete"].as_bool().unwrap()))
        .collect();
    assert_eq!((short, &all["next"]), (vec![("gw-1", 4, false), ("gw-2", 0, true), ("gw-3", 0, true)], &Value::Null));
    assert_eq!(all["items"][1]["last_seen_at"], Value::Null);
    assert_eq!(all["items"][0]["clock"]["flagged"], false);
    assert_eq!(list(&format!("?enterprise={}", credit_code(2)))["items"][0]["id"], "gw-3");
    assert_eq!(list("?after=gw-2")["items"].as_array().unwrap().len(), 1);
    let total = || (site.service.metric("shangyun_ingest_gap_reports"), site.service.metric("shangyun_ingest_gap_boots"));
    wait_for("the total is told", || (total() == (4, 2)).then_some(()));
    send("gw-1", &[("b1", 3), ("b1", 4)]);
    assert_eq!(site.get("/api/v1/gateways/gw-1", &site.admin).json()["missing"], 2);
    wait_for("what came late is no gap", || (total() == (2, 1)).then_some(()));
    assert_eq!(site.get("/api/v1/gateways", &site.key("supplier", Some("S-1"))).status, 403);
}

#[test]
fn many_gateways_are_listed_page_by_page() {
    let register = (0..230).fold(Register::new().enterprise(1, GUANGZHOU), |register, n| register.gateway(&format!("gw-{n:03}"), 1));
    let site = Site::new(register.file());
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/api/v1/gateways?after={after}"), &site.admin).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 100);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_string()));
        match page["next"].as_str() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    assert_eq!(seen, (0..230).map(|n| format!("gw-{n:03}")).collect::<Vec<_>>());
}

/// A report whose device time is long past is kept with both times: late, and no sign of a wrong clock.
#[test]
fn late_readings_alone_do_not_make_a_clock_wrong() {
    let site = Site::new(register().file());
    let mut gateway = Gateway::connect(&site, "gw-1");
    let long_ago: DateTime<Utc> = Utc::now() - TimeDelta::days(9);
    assert_eq!(gateway.send(&gateway_report("b1", 1, "SN-1", long_ago)), 0);
    assert_eq!(gateway.faults(), json!([]));
    let result = site.judge("V-1");
    assert_eq!((&result["devices"]["excluded"][0]["reason"], &result["findings"]), (&json!("late"), &json!([])));
}
