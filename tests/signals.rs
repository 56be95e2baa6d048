//! Findings about evidence, through the real doors: fabricated data is told with its figures and its places in the log, decides
//! nothing, and honest data has no finding.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::{effective_instants, show};
use support::mqtt::{Hello, Mqtt, Packet, V5};
use support::register::{FOSHAN, GUANGZHOU, Register, credit_code};
use support::{SHANGYUN, Site, rebuild_tally, shangyun, stderr, stdout};
use tokio::net::TcpSocket;

/// Twice in the register; nobody sends with it.
const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn register() -> Register {
    let gateway_with_key = |id: &str, enterprise| json!({"id": id, "enterprise": credit_code(enterprise), "public_key": KEY});
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let asked = json!({"redeem_at": show(Utc::now() - TimeDelta::seconds(1)), "status": "redeeming"});
    Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .enterprise(2, FOSHAN)
        .voucher("V-1", 1, "P-1", "5000.00", asked)
        .devices("V-1", &names(&["冻结", "原件", "复制"]))
        .voucher("V-2", 2, "P-1", "5000.00", json!({}))
        .devices("V-2", &names(&["甲", "乙", "停机"]))
        .gateway("gw-1", 1)
        .gateway("gw-2", 1)
        .gateway("gw-3", 2)
        .row("gateways", gateway_with_key("gw-key-1", 1))
        .row("gateways", gateway_with_key("gw-key-9", 1))
}

struct Gateway {
    id: &'static str,
    mqtt: Mqtt,
    sent: u16,
}

impl Gateway {
    fn connect(site: &Site, id: &'static str) -> Gateway {
        Gateway { id, mqtt: Mqtt::connect(site.service.mqtt, V5, id), sent: 0 }
    }

    /// One report of a device: three readings at each of these instants, a minute apart.
    fn send(&mut self, device: &str, state: &str, instants: &[DateTime<Utc>], value: impl Fn(usize, i64) -> f64) {
        let entry = |(hour, at): (usize, &DateTime<Utc>)| {
            let value = &value;
            (0..3)
                .map(move |minute| {
                    json!({"device": device, "at": show(*at + TimeDelta::minutes(minute)), "quality": "N", "state": state,
                    "readings": {"功率_kw": value(hour, minute), "运行": true}})
                })
                .collect::<Vec<Value>>()
        };
        let entries: Vec<Value> = instants.iter().enumerate().flat_map(entry).collect();
        self.sent += 1;
        let report = json!({"v": 1, "boot": "b1", "seq": self.sent, "devices": entries});
        self.mqtt.publish(&format!("shangyun/v1/{}/report", self.id), self.sent, &report.to_string());
        assert_eq!(self.mqtt.read(), Some(Packet::Puback { id: self.sent, reason: 0 }));
    }
}

/// Another series for each seed, moving within every hour.
fn moving(seed: usize) -> impl Fn(usize, i64) -> f64 {
    move |hour, minute| (hour * 37 + seed * 1_013) as f64 + minute as f64 * 0.25
}

fn finding<'r>(result: &'r Value, code: &str) -> &'r Value {
    let findings = result["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code}: {findings:?}"))
}

#[test]
fn fabricated_data_is_told_with_its_figures_and_places_and_honest_data_has_no_finding() {
    let site = Site::new(register().file());
    let instants = effective_instants(Utc::now(), 7);
    let mut first = Gateway::connect(&site, "gw-1");
    first.send("冻结", "running", &instants, |_, _| 4.2);
    first.send("原件", "running", &instants, moving(1));
    let mut second = Gateway::connect(&site, "gw-2");
    second.send("复制", "running", &instants, moving(1));
    // The original comes through both.
    second.send("原件", "running", &instants[..12], moving(1));
    let mut honest = Gateway::connect(&site, "gw-3");
    honest.send("甲", "running", &instants, moving(3));
    honest.send("乙", "running", &instants, moving(4));
    honest.send("停机", "stopped", &instants, |_, _| 0.0);

    let honest = site.judge("V-2");
    assert_eq!((&honest["findings"], &honest["verdict"]), (&json!([]), &json!("met")));
    assert_eq!(honest["evidence"].get("findings"), None);

    let result = site.judge("V-1");
    assert_eq!(result["verdict"], "met", "findings decide nothing");
    let codes: Vec<&str> = result["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["frozen_values", "identical_series", "device_in_two_gateways", "gateway_key_shared", "burst_before_cut_off"]);
    let frozen = &finding(&result, "frozen_values")["evidence"][0];
    assert_eq!((&frozen["device"], &frozen["hours_frozen"]), (&json!("冻结"), &frozen["hours_compared"]));
    assert!(frozen["hours_compared"].as_u64().unwrap() >= 24, "{frozen}");
    let both = &finding(&result, "device_in_two_gateways")["evidence"];
    assert_eq!(*both, json!([{"device": "原件", "gateways": ["gw-1", "gw-2"], "days": 3}]));
    let key = &finding(&result, "gateway_key_shared")["evidence"][0];
    assert_eq!((&key["gateways"], &key["enterprises"]), (&json!(["gw-key-1", "gw-key-9"]), &json!([credit_code(1)])));
    let burst = &finding(&result, "burst_before_cut_off")["evidence"][0];
    assert_eq!((&burst["days"], &burst["applied_day"]), (&json!(7), &json!("2019-09-02")));

    let last = result["evidence"]["log_size"].as_u64().unwrap() - 1;
    let places = result["evidence"]["findings"].as_array().unwrap();
    let frozen_at = places.iter().find(|place| place["code"] == "frozen_values").unwrap();
    assert_eq!(frozen_at["blocks"], json!([[0, last]]), "all came today");
    let page = site.get("/vouchers/V-1", "").body;
    for told in ["疑似数值冻结", "疑似复制", "同一设备在同一天经两个网关上报", "不同网关登记了同一把公钥", "只集中在申请兑现之前"]
    {
        assert!(page.contains(told), "{told}");
    }
    assert!(page.contains("设备 冻结，数值不变的小时"), "{page}");

    // After a kill, and when the facts are read anew, it is all the same.
    let site = site.kill_and_restart();
    assert_eq!(site.judge("V-1")["judgement_hash"], result["judgement_hash"]);
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0);
    let again = shangyun(&data, &["judge", "--voucher", "V-1", "--json"]);
    let again: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(again["judgement_hash"], result["judgement_hash"]);
}

/// A gateway's connection from an address of this machine.
fn connect_from(site: &Site, gateway: &str, address: [u8; 4]) -> Mqtt {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::from(address), 0))).unwrap();
        socket.connect(site.service.mqtt).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mqtt, code) = Mqtt::over(stream, V5).say(Hello::of(V5, gateway)).unwrap();
    assert_eq!(code, 0, "CONNACK");
    mqtt
}

/// Packs the voucher's newest result and verifies it where there is nothing but the public keys.
fn verify_pack(site: &Site, voucher: &str) {
    let (pack, keys) = (site.scratch().join("made.pack.tar"), site.scratch().join("keys.json"));
    std::fs::write(&keys, site.get("/api/v1/keys", "").body).unwrap();
    let made = shangyun(&site.dir(), &["pack", "--voucher", voucher, "--out", pack.to_str().unwrap()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let empty = tempfile::tempdir().unwrap();
    let arguments = [pack.as_os_str(), "--keys".as_ref(), keys.as_os_str()];
    let verified = Command::new(SHANGYUN).arg("verify").args(arguments).current_dir(empty.path()).env_clear().output().unwrap();
    assert!(verified.status.success() && stdout(&verified).contains("recomputed from the records"), "{}", stdout(&verified));
}

fn codes(result: &Value) -> Vec<&str> {
    result["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn a_gateway_at_two_places_and_an_address_of_many_are_told_and_kept_with_the_result_and_moving_once_is_not() {
    let register = (1..=4).fold(Register::new().supplier("S-1").product("P-1", "S-1", 5, "A"), |register, n| {
        let register = register.enterprise(n, GUANGZHOU).voucher(&format!("V-{n}"), n, "P-1", "5000.00", json!({}));
        register.gateway(&format!("gw-{n}"), n)
    });
    let days_min = "gateway_places_days_min = 2";
    let rulebook = include_str!("../config/rulebook-2019.toml");
    assert!(rulebook.contains(days_min));
    // All of a test is one day.
    let rulebook = rulebook.replace(days_min, "gateway_places_days_min = 1");
    let site = Site::with(register.file(), |dir| {
        let path = dir.join("rulebook.toml");
        std::fs::write(&path, &rulebook).unwrap();
        vec![format!("rulebook.file={}", path.display()), "monitor.addresses_ignored=127.0.0.1".into()]
    });
    let connect = |gateway: &str, last: u8| drop(connect_from(&site, gateway, [127, 0, 0, last]));
    for gateway in ["gw-1", "gw-2", "gw-3"] {
        connect(gateway, 1);
        connect(gateway, 1);
    }
    assert_eq!(codes(&site.judge("V-1")), [""; 0], "127.0.0.1 tells nothing");
    connect("gw-1", 2);
    connect("gw-2", 2);
    assert_eq!(codes(&site.judge("V-1")), [""; 0], "two enterprises at an address, and everybody stays where they are");
    connect("gw-3", 2);
    // This one moves to another line, and stays there.
    [4, 4, 5, 5].into_iter().for_each(|last| connect("gw-4", last));
    let enterprises: Vec<String> = (1..=3).map(credit_code).collect();
    let many = json!([{"address": "127.0.0.2", "enterprises_count": 3, "enterprises": enterprises}]);
    assert_eq!(finding(&site.judge("V-1"), "address_of_many_enterprises")["evidence"], many);
    connect("gw-1", 3);
    connect("gw-1", 2);
    let result = site.judge("V-1");
    assert_eq!(codes(&result), ["gateway_in_two_places", "address_of_many_enterprises"]);
    let both = json!([{"gateway": "gw-1", "addresses": ["127.0.0.2", "127.0.0.3"], "days": 1}]);
    assert_eq!(finding(&result, "gateway_in_two_places")["evidence"], both);
    assert_eq!(codes(&site.judge("V-4")), [""; 0]);
    let page = site.get("/vouchers/V-1", "").body;
    assert!(page.contains("网络地址 127.0.0.2、127.0.0.3") && page.contains("企业数 3"), "{page}");
    // It stands in no log, and is kept beside it and with the result.
    verify_pack(&site, "V-1");
    verify_pack(&site, "V-4");
    let site = site.kill_and_restart();
    assert_eq!(site.judge("V-1")["judgement_hash"], result["judgement_hash"]);
}
