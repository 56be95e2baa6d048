//! An edge node of other make at our own door: its messages are evidence, it is asked to be born again, and its end is seen.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use serde_json::{Value, json};
use support::mqtt::{Hello, Mqtt, Packet, V5};
use support::register::{GUANGZHOU, Register, TOKEN, credit_code};
use support::sparkplug::EdgeNode;
use support::{Site, rebuild_tally, wait_for};

fn site() -> Site {
    let gateway = |id: &str, sparkplug: bool| json!({"id": id, "enterprise": credit_code(1), "token": TOKEN, "sparkplug": sparkplug});
    let register = Register::new()
        .supplier("S-1")
        .product("P-1", "S-1", 5, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-1", 1, "P-1", "3000.00", json!({}))
        .devices("V-1", &["机床-1".to_string(), "机床-2".to_string()])
        .row("gateways", gateway("gw-1", true))
        .row("gateways", gateway("gw-2", false));
    Site::new(register.file())
}

fn sparkplug(site: &Site) -> Value {
    site.get("/api/v1/gateways/gw-1", &site.admin).json()["sparkplug"].clone()
}

#[test]
fn births_and_data_are_accepted_a_gap_asks_for_rebirth_and_a_lost_connection_is_a_death() {
    let site = site();
    let mut edge_node = EdgeNode::start(site.service.mqtt, &credit_code(1), "gw-1", &["机床-1", "机床-2"], json!({"data": 2}));
    wait_for("births and data", || (site.service.reports("accepted") >= 7).then_some(()));
    assert_eq!(sparkplug(&site), json!({"born": true, "devices": ["机床-1", "机床-2"]}));
    assert_eq!(site.service.reports("refused"), 0);

    edge_node.command("skip");
    edge_node.command("data");
    // STATE comes first.
    wait_for("a rebirth request", || (edge_node.event("received")["metrics"] == json!({"Node Control/Rebirth": true})).then_some(()));
    wait_for("born again", || (site.service.reports("accepted") >= 10).then_some(()));
    let refused = site.get("/api/v1/quarantine?kind=gateway&sender=gw-1", &site.admin).json();
    let codes: Vec<_> = refused["items"].as_array().unwrap().iter().map(|item| item["faults"][0]["code"].clone()).collect();
    assert!(codes.contains(&json!("sparkplug_seq")), "{codes:?}");

    edge_node.command("death 机床-1");
    wait_for("a device dies", || (sparkplug(&site) == json!({"born": true, "devices": ["机床-2"]})).then_some(()));
    edge_node.command("abort");
    wait_for("the edge node dies", || (sparkplug(&site)["born"] == false).then_some(()));
    wait_for("its death is evidence", || (site.service.reports("accepted") >= 12).then_some(()));

    let result = site.judge("V-1");
    let excluded = result["devices"]["excluded"].as_array().unwrap();
    assert!(excluded.iter().all(|device| device["reason"] == "effective_days"), "seen, on too few days: {excluded:?}");
    let (_dir, data) = site.stop();
    assert!(rebuild_tally(&data).0, "and the log tells the same");
}

#[test]
fn only_a_gateway_registered_for_it_speaks_sparkplug_and_only_of_its_own() {
    let site = site();
    let topic = |enterprise: u32, gateway: &str| format!("spBv1.0/{}/NBIRTH/{gateway}", credit_code(enterprise));
    for (gateway, foreign) in [("gw-2", topic(1, "gw-2")), ("gw-1", topic(1, "gw-2")), ("gw-1", topic(2, "gw-1"))] {
        let mut mqtt = Mqtt::connect(site.service.mqtt, V5, gateway);
        mqtt.publish(&foreign, 1, "x");
        assert_eq!(mqtt.rest(), [Packet::Puback { id: 1, reason: 0x87 }, Packet::Disconnect(0x87)], "{gateway} {foreign}");
    }
    let mut mqtt = Mqtt::connect(site.service.mqtt, V5, "gw-1");
    assert_eq!(mqtt.subscribe(&["spBv1.0/STATE/shangyun"]), [1]);
    let Some(Packet::Publish { topic, payload, retain: true, .. }) = mqtt.read() else { panic!("STATE is retained") };
    assert_eq!(topic, "spBv1.0/STATE/shangyun");
    assert_eq!(serde_json::from_str::<Value>(&payload).unwrap()["online"], true);
    let other = format!("spBv1.0/{}/NCMD/gw-2", credit_code(1));
    assert_eq!(Mqtt::connect(site.service.mqtt, V5, "gw-1").subscribe(&[&other, "spBv1.0/#"]), [0x87, 0x87]);
    let death = format!("spBv1.0/{}/NDEATH/gw-2", credit_code(1));
    let (_, code) = Mqtt::open(site.service.mqtt, Hello { will: Some((&death, "x")), ..Hello::of(V5, "gw-2") });
    assert_ne!(code, 0, "a will that is a death needs the registration too");
}
