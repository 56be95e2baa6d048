//! The agent behind Mosquitto with `delivery.confirm = "receipt"`: what deletes a report is what the service has signed. The test is the service.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::spool::Spool;
use serde_json::{Value, json};
use support::mosquitto::{Mosquitto, Subscriber, free_port, gaps};
use support::{Agent, config, page, wait_for};
use wire::PublicKey;
use wire::cose::{SigningKey, sign};

const KID: &str = "service-1";

/// A compact JWS as the service makes its receipts.
fn jws(header: &Value, content: &Value, key: &SigningKey) -> String {
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encoded(header), encoded(content));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes(), key)))
}

fn receipt(gateway: &str, boot: &str, through: u64, refused: &[u64]) -> Value {
    json!({
        "gateway": gateway, "boot": boot, "through": through, "refused": refused, "dropped": [],
        "received_at": "2026-01-02T03:04:05.000000Z", "head": {"size": 9, "root": "00"},
    })
}

/// A broker between the agent and a service, whose key the agent knows.
struct Stand {
    broker: Mosquitto,
    subscriber: Subscriber,
    key: SigningKey,
    page: u16,
}

impl Stand {
    fn new() -> Stand {
        let broker = Mosquitto::plain();
        let subscriber = broker.subscribe("shangyun/v1/gw-1/report");
        let key = SigningKey::from_bytes(&[7; 32]);
        let x = URL_SAFE_NO_PAD.encode(PublicKey::from(&key).to_bytes());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": KID, "alg": "EdDSA", "use": "sig"}]});
        std::fs::write(broker.file("keys.json"), keys.to_string()).unwrap();
        Stand { broker, subscriber, key, page: free_port() }
    }

    fn agent(&self, receipt_timeout_s: u32) -> Agent {
        // One after another: the second report goes out when the first is acknowledged.
        let more = format!(
            "in_flight_max = 1\n[delivery]\nconfirm = \"receipt\"\nreceipt_keys_file = \"{}\"\nreceipt_timeout_s = {receipt_timeout_s}\n[report]\nevery_s = 0.2\n",
            self.broker.file("keys.json").display()
        );
        let config = config(self.broker.dir.path(), self.broker.port, &more);
        Agent::start(self.broker.dir.path(), &config.replace("listen = \"\"", &format!("listen = \"127.0.0.1:{}\"", self.page)))
    }

    fn say(&self, jws: &str) {
        self.broker.publish("shangyun/v1/gw-1/receipt", jws);
    }

    fn say_receipt(&self, boot: &str, through: u64, refused: &[u64]) {
        self.say(&jws(&json!({"alg": "EdDSA", "kid": KID}), &receipt("gw-1", boot, through, refused), &self.key));
    }

    /// What was said before has been followed: the agent takes what comes in its order.
    fn until_heard(&self, agent: &Agent) {
        let ignored = "it is no compact JWS";
        let before = agent.said(ignored);
        self.say("nothing");
        wait_for(ignored, || (agent.said(ignored) > before).then_some(()));
    }

    /// A refusal on the gateway's topic, as the service tells it.
    fn say_refused(&self, boot: &str, seq: u64, code: &str) {
        let faults = json!([{"code": code, "path": "", "rule": "", "detail": ""}]);
        let said = json!({"id": null, "boot": boot, "seq": seq, "faults": faults, "faults_omitted": 0});
        self.broker.publish("shangyun/v1/gw-1/refused", &said.to_string());
    }

    fn times(&self, boot: &str, seq: u64) -> usize {
        self.subscriber.numbers(boot).iter().filter(|number| **number == seq).count()
    }

    fn until_sent_again(&self, boot: &str, seq: u64) {
        let before = self.times(boot, seq);
        wait_for(&format!("report {seq} again"), || (self.times(boot, seq) > before).then_some(()));
    }

    /// The numbers of this boot that an agent, ended properly, has left in its spool.
    fn unsettled(&self, boot: &str) -> Vec<u64> {
        let mut spool = Spool::open(&self.spool(), 1 << 28).unwrap();
        let positions = spool.unsettled(0, usize::MAX);
        let keys = positions.into_iter().map(|position| spool.read(position).unwrap().unwrap().key);
        keys.filter(|key| key.boot == boot).map(|key| key.seq).collect()
    }

    fn spool(&self) -> PathBuf {
        self.broker.file("spool")
    }

    fn refused(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.spool().join("refused")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn the_brokers_acknowledgement_deletes_nothing_and_a_receipt_deletes_through_its_number_and_moves_aside_what_it_refuses() {
    let stand = Stand::new();
    let mut agent = stand.agent(1);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 5);
    stand.say_receipt(&boot, 3, &[2]);
    stand.until_heard(&agent);
    // One may have been on its way when the receipt came.
    stand.until_sent_again(&boot, 4);
    let before: Vec<usize> = (1..=3).map(|seq| stand.times(&boot, seq)).collect();
    stand.until_sent_again(&boot, 4);
    assert_eq!((1..=3).map(|seq| stand.times(&boot, seq)).collect::<Vec<_>>(), before, "what has a receipt is not sent again");
    agent.terminate();
    let left = stand.unsettled(&boot);
    assert_eq!(left, (4..=*left.last().unwrap()).collect::<Vec<_>>());
    assert!(left.contains(&5));
    let [aside] = &stand.refused()[..] else { panic!("{:?}", stand.refused()) };
    let aside: Value = serde_json::from_slice(&std::fs::read(aside).unwrap()).unwrap();
    assert_eq!((&aside["reason"], &aside["report"]["seq"]), (&json!("refused in a receipt"), &json!(2)));
}

#[test]
fn a_report_without_receipt_is_sent_again_unchanged_and_not_before_its_time() {
    let stand = Stand::new();
    let mut agent = stand.agent(1);
    let boot = stand.subscriber.boot();
    stand.until_sent_again(&boot, 1);
    agent.terminate();
    let of_first: Vec<_> = stand.subscriber.arrivals().into_iter().filter(|arrival| arrival.seq() == 1).collect();
    assert_eq!(of_first[0].hex, of_first[1].hex);
    let waited_s = of_first[1].at_s - of_first[0].at_s;
    // The broker's acknowledgement, from which the agent counts, may come some milliseconds before the subscriber sees the report.
    assert!(waited_s > 0.9, "{waited_s}");
}

#[test]
fn receipts_that_the_service_did_not_sign_for_this_gateway_delete_nothing_and_each_is_said() {
    let stand = Stand::new();
    let mut agent = stand.agent(3600);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 3);
    let header = json!({"alg": "EdDSA", "kid": KID});
    let (content, other_key) = (receipt("gw-1", &boot, 1000, &[]), SigningKey::from_bytes(&[8; 32]));
    let sound = jws(&header, &receipt("gw-1", &boot, 0, &[]), &stand.key);
    let mut parts: Vec<&str> = sound.split('.').collect();
    let more = URL_SAFE_NO_PAD.encode(content.to_string());
    parts[1] = &more;
    let forged = [
        ("its signature is wrong", jws(&header, &content, &other_key)),
        ("its signature is wrong", parts.join(".")),
        ("it is of gateway `gw-2`", jws(&header, &receipt("gw-2", &boot, 1000, &[]), &stand.key)),
        ("none of the trusted keys has its kid `service-2`", jws(&json!({"alg": "EdDSA", "kid": "service-2"}), &content, &other_key)),
        ("no compact JWS", jws(&json!({"alg": "none", "kid": KID}), &content, &stand.key)),
        ("its content is no receipt", jws(&header, &json!({"boot": boot, "refused": [1]}), &stand.key)),
    ];
    let ignored =
        |count: usize| page(stand.page, "/metrics").unwrap().contains(&format!("\nshangyun_edge_ignored_receipts_total {count}\n"));
    stand.say_receipt(&boot, 0, &[]);
    for (index, (why, jws)) in forged.iter().enumerate() {
        assert!(ignored(index), "{}", page(stand.page, "/metrics").unwrap());
        let before = agent.said(why);
        stand.say(jws);
        wait_for(why, || (agent.said(why) > before && ignored(index + 1)).then_some(()));
    }
    assert_eq!(agent.said("a receipt is ignored"), forged.len());
    agent.terminate();
    let left = stand.unsettled(&boot);
    assert_eq!(left, (1..=*left.last().unwrap()).collect::<Vec<_>>());
    assert!(left.contains(&3));
    assert!(stand.refused().is_empty(), "{:?}", stand.refused());
}

#[test]
fn an_agent_killed_between_acknowledgement_and_receipt_sends_again_and_the_receipt_then_deletes() {
    let stand = Stand::new();
    let mut agent = stand.agent(3600);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 4);
    agent.kill();
    let before = stand.subscriber.numbers(&boot);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), before.len(), "each came once");
    let last = *before.iter().max().unwrap();
    let mut agent = stand.agent(3600);
    wait_for("all again", || (1..=last).all(|seq| stand.times(&boot, seq) >= 2).then_some(()));
    let later = wait_for("a report of the new boot", || {
        let boots = stand.subscriber.arrivals().into_iter().map(|arrival| arrival.report()["boot"].as_str().unwrap().to_string());
        boots.into_iter().find(|other| *other != boot)
    });
    stand.subscriber.until_number(&later, 3);
    // The one killed may have left a few more in its spool.
    stand.say_receipt(&boot, 1_000, &[]);
    stand.say_receipt(&later, 1, &[]);
    stand.until_heard(&agent);
    agent.terminate();
    assert_eq!(stand.unsettled(&boot), [0; 0]);
    assert_eq!(stand.unsettled(&later).first(), Some(&2));
    assert_eq!(gaps(&stand.subscriber.numbers(&later)), [0; 0]);
}

#[test]
fn what_the_service_doubts_waits_though_a_receipt_lists_it_among_the_refused_and_is_settled_once_it_is_accepted() {
    let stand = Stand::new();
    let mut agent = stand.agent(3600);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 5);
    stand.say_refused(&boot, 2, "signature");
    stand.say_receipt(&boot, 3, &[2]);
    stand.until_heard(&agent);
    assert_eq!(agent.said("refuses a report for who speaks"), 1);
    wait_for("another attempt", || (stand.times(&boot, 2) >= 2).then_some(()));
    assert!(stand.refused().is_empty(), "{:?}", stand.refused());
    stand.say_receipt(&boot, 3, &[]);
    stand.until_heard(&agent);
    agent.terminate();
    assert_eq!(stand.unsettled(&boot).first(), Some(&4));
}

#[test]
fn a_report_of_before_a_restart_moves_aside_only_when_it_is_told_anew_that_not_who_speaks_is_at_fault() {
    let stand = Stand::new();
    let mut agent = stand.agent(1);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 3);
    agent.kill();
    let mut agent = stand.agent(1);
    wait_for("all again", || (1..=3).all(|seq| stand.times(&boot, seq) >= 2).then_some(()));
    stand.say_receipt(&boot, 1_000, &[1, 2]);
    stand.until_heard(&agent);
    assert!(stand.refused().is_empty(), "{:?}", stand.refused());
    stand.until_sent_again(&boot, 1);
    stand.say_refused(&boot, 1, "unsigned");
    stand.say_refused(&boot, 2, "quality");
    stand.say_receipt(&boot, 1_000, &[1, 2]);
    stand.until_heard(&agent);
    agent.terminate();
    assert_eq!(stand.unsettled(&boot), [1]);
    let [aside] = &stand.refused()[..] else { panic!("{:?}", stand.refused()) };
    let aside: Value = serde_json::from_slice(&std::fs::read(aside).unwrap()).unwrap();
    assert_eq!((&aside["report"]["seq"], &aside["faults"]["faults"][0]["code"]), (&json!(2), &json!("quality")));
}

#[test]
fn a_receipt_whose_list_of_refused_numbers_is_full_settles_nothing_below_it() {
    let stand = Stand::new();
    let mut agent = stand.agent(1);
    let boot = stand.subscriber.boot();
    stand.subscriber.until_number(&boot, 3);
    let full: Vec<u64> = (100_001..=101_000).rev().collect();
    stand.say_receipt(&boot, 200_000, &full);
    stand.until_heard(&agent);
    agent.terminate();
    assert_eq!(stand.unsettled(&boot).first(), Some(&1));
}
