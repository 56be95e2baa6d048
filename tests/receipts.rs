//! Signed receipts: what became of a gateway's numbers, verifiable with the public keys alone.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::Command;

use chrono::Utc;
use serde_json::{Value, json};
use support::history::gateway_report;
use support::mqtt::{Hello, Mqtt, Packet, V5};
use support::register::{GUANGZHOU, Register};
use support::{Site, python, stderr, stdout};

const TOPIC: &str = "shangyun/v1/gw-1/report";

fn site() -> Site {
    let register = Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU).gateway("gw-1", 1);
    Site::with(register.file(), |_| vec!["mqtt.receipt_every_s=1".into()])
}

/// Verifies a receipt with an independent implementation and the public keys, and gives what it says.
fn verified(site: &Site, jws: &str) -> Value {
    let keys = site.get("/api/v1/keys", "").body;
    let script = "
import base64, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
of = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
header, payload, signature = sys.argv[1].split('.')
kid = json.loads(of(header))['kid']
key = next(key for key in json.loads(sys.argv[2])['keys'] if key['kid'] == kid)
Ed25519PublicKey.from_public_bytes(of(key['x'])).verify(of(signature), f'{header}.{payload}'.encode())
print(of(payload).decode())
";
    let output = Command::new(python()).args(["-c", script, jws, &keys]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// The next receipt of that boot that goes through to `through`.
fn receipt(site: &Site, listener: &mut Mqtt, through: u64) -> Value {
    loop {
        let Some(Packet::Publish { topic, payload, .. }) = listener.read() else { panic!("no receipt") };
        if topic == "shangyun/v1/gw-1/receipt" {
            let said = verified(site, &payload);
            if said["through"] == through {
                return said;
            }
        }
    }
}

fn client(site: &Site, client_id: &str) -> Mqtt {
    let (client, code) = Mqtt::open(site.service.mqtt, Hello { client_id, ..Hello::of(V5, "gw-1") });
    assert_eq!(code, 0);
    client
}

fn listener(site: &Site, client_id: &str) -> Mqtt {
    let mut listener = client(site, client_id);
    assert_eq!(listener.subscribe(&["shangyun/v1/gw-1/receipt"]), [1]);
    listener
}

#[test]
fn a_receipt_goes_through_accepted_refused_and_dropped_numbers_and_stops_at_a_gap() {
    let site = site();
    let mut listener = listener(&site, "gw-1");
    let mut sender = client(&site, "gw-1/sender");
    let mut publish = |id: u16, report: Value, reason: u8| {
        sender.publish(TOPIC, id, &report.to_string());
        assert_eq!(sender.read(), Some(Packet::Puback { id, reason }));
    };
    let at = Utc::now();
    publish(1, gateway_report("b1", 1, "SN-1", at), 0);
    publish(2, json!({"v": 1, "boot": "b1", "seq": 2, "devices": []}), 0x99);
    publish(3, gateway_report("b1", 6, "SN-1", at), 0);
    let said = receipt(&site, &mut listener, 2);
    assert_eq!((&said["boot"], &said["refused"], &said["dropped"]), (&json!("b1"), &json!([2]), &json!([])));
    assert!(said["head"]["size"].as_u64().unwrap() >= 2 && said["received_at"].is_string(), "{said}");
    let events = json!([{"at": at.to_rfc3339(), "event": "dropped", "detail": "b1:3-5"}]);
    publish(4, json!({"v": 1, "boot": "b1", "seq": 7, "events": events}), 0);
    let said = receipt(&site, &mut listener, 7);
    assert_eq!((&said["refused"], &said["dropped"]), (&json!([2]), &json!([[3, 5]])));
    // What was refused may be sent again, sound.
    publish(5, gateway_report("b1", 2, "SN-1", at), 0);
    publish(6, gateway_report("b1", 8, "SN-1", at), 0);
    assert_eq!(receipt(&site, &mut listener, 8)["refused"], json!([]));
}

/// What receipts say of boots, as (boot, through), up to the one that names `last`.
fn receipts_until(site: &Site, listener: &mut Mqtt, last: (&str, u64)) -> Vec<(String, u64)> {
    let mut said = Vec::new();
    while said.last().is_none_or(|(boot, through): &(String, u64)| (boot.as_str(), *through) != last) {
        let Some(Packet::Publish { payload, .. }) = listener.read() else { panic!("no receipt after {said:?}") };
        let receipt = verified(site, &payload);
        said.push((receipt["boot"].as_str().unwrap().to_string(), receipt["through"].as_u64().unwrap()));
    }
    said
}

#[test]
fn who_sends_again_is_told_the_receipt_of_that_boot_again_and_a_new_subscriber_is_told_all() {
    let site = site();
    let mut first = listener(&site, "gw-1");
    let mut sender = client(&site, "gw-1/sender");
    let at = Utc::now();
    let mut publish = |id: u16, report: &Value, reason: u8| {
        sender.publish(TOPIC, id, &report.to_string());
        assert_eq!(sender.read(), Some(Packet::Puback { id, reason }));
    };
    // Boots that say nothing any more: their receipts do not change.
    let (old, refused) = (gateway_report("b1", 1, "SN-1", at), json!({"v": 1, "boot": "b2", "seq": 1, "devices": []}));
    publish(1, &old, 0);
    assert_eq!(receipts_until(&site, &mut first, ("b1", 1)).len(), 1);
    publish(2, &refused, 0x99);
    assert_eq!(receipts_until(&site, &mut first, ("b2", 1)).len(), 1, "nothing is said twice without need");
    publish(3, &old, 0);
    assert_eq!(receipts_until(&site, &mut first, ("b1", 1)).len(), 1);
    publish(4, &refused, 0x99);
    assert_eq!(receipts_until(&site, &mut first, ("b2", 1)).len(), 1);
    let mut late = listener(&site, "gw-1/late");
    assert_eq!(receipts_until(&site, &mut late, ("b2", 1)), [("b1".into(), 1), ("b2".into(), 1)]);
}
