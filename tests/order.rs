//! 10,000 reports in random order with exact repeats give the same facts, to the byte, as the clean stream.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use chrono::{DateTime, Days, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::history::show;
use support::mqtt::{Mqtt, Packet, V5};
use support::register::{GUANGZHOU, MODULES, Register, credit_code, device_names};
use support::{Site, rebuild_tally};

const FROM_SUPPLIER: usize = 6_000;
const FROM_GATEWAYS: u64 = 2_000;
const GATEWAYS: [&str; 2] = ["gw-1", "gw-2"];

#[derive(Clone, PartialEq)]
enum Sent {
    Supplier(Value),
    Gateway(usize, String),
    Carrier(Value),
}

/// Some time in the last twelve days, never within two hours of a whole number of days before now.
fn some_time(random: &mut StdRng, now: DateTime<Utc>) -> DateTime<Utc> {
    now - Days::new(random.random_range(0..12)) - TimeDelta::hours(2) - TimeDelta::seconds(random.random_range(0..20 * 3600))
}

fn devices(random: &mut StdRng, now: DateTime<Utc>) -> Vec<Value> {
    let qualities = ["N", "N", "N", "N", "N", "N", "D", "M", "B", "F"];
    let mut entry = || {
        let device = format!("SN-{:03}", random.random_range(1..=60));
        let quality = qualities[random.random_range(0..qualities.len())];
        json!({"device": device, "at": show(some_time(random, now)), "quality": quality, "readings": {"功率_kw": 4.2}})
    };
    (0..4).map(|_| entry()).collect()
}

fn usage(random: &mut StdRng, now: DateTime<Utc>) -> Value {
    let (module, user) = (MODULES[random.random_range(0..4)], format!("{:04x}", random.random_range(0..9)));
    let (actions, active_s) = (random.random_range(1..50), random.random_range(0..600));
    json!({"product": "P-12", "function_module": module, "user": user, "at": show(some_time(random, now)), "actions": actions, "active_s": active_s})
}

/// The clean stream: every report once, in order.
fn stream(now: DateTime<Utc>) -> Vec<Sent> {
    let mut random = StdRng::seed_from_u64(42);
    let mut all = Vec::new();
    for n in 0..FROM_SUPPLIER {
        let mut report = json!({"v": 1, "id": format!("r-{n}"), "enterprise": credit_code(1), "devices": devices(&mut random, now)});
        report["usage"] = json!([usage(&mut random, now)]);
        all.push(Sent::Supplier(report));
    }
    for gateway in 0..GATEWAYS.len() {
        for seq in 1..=FROM_GATEWAYS {
            let report = json!({"v": 1, "boot": "b1", "seq": seq, "devices": devices(&mut random, now)});
            all.push(Sent::Gateway(gateway, report.to_string()));
        }
    }
    // Carriers correct themselves: several messages speak of the same line and day.
    for n in 0..40 {
        let day = &show(now - Days::new(random.random_range(1..9)))[..10];
        let record = json!({"enterprise": credit_code(1), "line": format!("L-{}", n % 3), "product": "P-5", "day": day,
            "sessions": random.random_range(0..9), "bytes": random.random_range(0..1_000_000), "devices": random.random_range(0..70)});
        all.push(Sent::Carrier(json!({"v": 1, "id": format!("c-{n}"), "records": [record]})));
    }
    all
}

struct Doors {
    site: Site,
    supplier: String,
    carrier: String,
    gateways: Vec<Mqtt>,
}

impl Doors {
    fn open(register: &Register) -> Doors {
        let site = Site::with(register.file(), |_| vec!["tally.checkpoint_every_s=1".into()]);
        let (supplier, carrier) = (site.key("supplier", Some("S-1")), site.key("carrier", Some("C-1")));
        let gateways = GATEWAYS.iter().map(|gateway| Mqtt::connect(site.service.mqtt, V5, gateway)).collect();
        Doors { site, supplier, carrier, gateways }
    }

    /// Sends in order, each kind of sender in batches of 500, and waits for every answer.
    fn send(&mut self, stream: &[Sent]) {
        for some in stream.chunks(500) {
            let reports: Vec<Value> =
                some.iter().filter_map(|sent| if let Sent::Supplier(report) = sent { Some(report.clone()) } else { None }).collect();
            if !reports.is_empty() {
                let results = self.site.push(&self.supplier, &reports);
                assert!(results.iter().all(|result| result["status"] != "refused"), "{results:?}");
            }
            for sent in some {
                if let Sent::Carrier(message) = sent {
                    let answer = self.site.post("/api/v1/carrier-records", &self.carrier, message);
                    assert_ne!(answer.json()["results"][0]["status"], "refused", "{}", answer.body);
                }
            }
            for (index, mqtt) in self.gateways.iter_mut().enumerate() {
                let bodies: Vec<_> = some
                    .iter()
                    .filter_map(|sent| if let Sent::Gateway(of, body) = sent { (*of == index).then_some(body) } else { None })
                    .collect();
                for (id, body) in (1..).zip(&bodies) {
                    mqtt.publish(&format!("shangyun/v1/{}/report", GATEWAYS[index]), id, body);
                }
                for id in 1..=bodies.len() as u16 {
                    assert_eq!(mqtt.read(), Some(Packet::Puback { id, reason: 0 }));
                }
            }
        }
    }

    /// Judgement hashes, then the digest of the facts.
    fn outcome(self) -> (Vec<Value>, String) {
        drop(self.gateways);
        let hashes = ["V-5", "V-12"].map(|voucher| self.site.judge(voucher)["judgement_hash"].clone()).to_vec();
        let (_dir, data) = self.site.stop();
        let (same, digest) = rebuild_tally(&data);
        assert!(same, "the facts at hand are those of the log");
        assert!(digest.starts_with("sha256:"));
        (hashes, digest)
    }
}

fn register(now: DateTime<Utc>) -> Register {
    let redeem_at = json!({"redeem_at": show(now - TimeDelta::hours(1)), "amount": "30000.00"});
    let register = Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .product("P-12", "S-1", 12, "A")
        .enterprise(1, GUANGZHOU)
        .voucher("V-5", 1, "P-5", "100000.00", redeem_at.clone())
        .voucher("V-12", 1, "P-12", "100000.00", redeem_at)
        .devices("V-5", &device_names("SN", 60))
        .row("carriers", json!({"id": "C-1", "name": "运营商"}));
    GATEWAYS.iter().fold(register, |register, gateway| register.gateway(gateway, 1))
}

#[test]
fn ten_thousand_reports_in_random_order_with_repeats_give_the_same_facts_as_the_clean_stream() {
    let now = Utc::now();
    let (register, clean) = (register(now), stream(now));
    let mut shuffled = clean.clone();
    shuffled.extend_from_slice(&clean[..1_000]);
    shuffled.extend_from_slice(&clean[clean.len() - 1_040..]);
    shuffled.shuffle(&mut StdRng::seed_from_u64(7));
    assert!(shuffled[..100] != clean[..100]);

    let mut first = Doors::open(&register);
    first.send(&clean);
    let expected = (FROM_SUPPLIER as u64 + 2 * FROM_GATEWAYS, 0);
    assert_eq!((first.site.service.reports("accepted"), first.site.service.reports("duplicate")), expected);
    let first = first.outcome();

    let mut second = Doors::open(&register);
    second.send(&shuffled);
    assert_eq!((second.site.service.reports("accepted"), second.site.service.reports("duplicate")), (expected.0, 2_000));
    assert_eq!(second.outcome(), first);
}
