//! Whole judgements: conflicts, V = 0, findings, the JSON of the contract, hashes and the register's slice.

use serde_json::{Value, json};

use crate::judge::{Case, judge};
use crate::reasons::{ExclusionReason, FindingCode, Group, Outcome, Verdict};
use crate::register::*;
use crate::result::MonitoringResult;
use crate::slice::{read_register_slice, register_slice};
use crate::test_case::{World, at, declared, enterprise, outcome, voucher, yuan};

/// Row 23, two devices needed, `SN-0` and `SN-1` connected.
fn met() -> World {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-23");
    voucher.contract_amount = yuan("2000");
    world.add(voucher);
    world.connect("V-1", 2, 7);
    world
}

fn claim(world: &mut World, device: &str, status: VoucherStatus) {
    let mut other = voucher("V-2", "P-9");
    other.status = status;
    other.applied_at = at("2019-09-01T00:00:00+08:00");
    world.add(other);
    world.declare("V-2", device, Some("44"));
}

#[test]
fn the_outcome_that_hangs_on_a_device_claimed_twice_is_conflicting() {
    let mut world = met();
    claim(&mut world, "SN-1", VoucherStatus::Applied);
    let judgement = world.judge("V-1");
    let devices = judgement.result.devices.clone().unwrap();
    assert_eq!(
        (judgement.result.verdict, devices.connected, devices.excluded[0].reason),
        (Verdict::Conflicting, 1, ExclusionReason::ClaimedElsewhere)
    );
    assert_eq!(outcome(&judgement, Group::Deciding, "R36"), Outcome::Fail);
    assert_eq!(judgement.result.findings[0].code, FindingCode::DeviceUnderTwoVouchers);
    // Enough without it: met. Not enough even with it: not met.
    world.connect("V-1", 3, 7);
    assert_eq!(world.judge("V-1").result.verdict, Verdict::Met);
    let mut short = met();
    short.register.vouchers.get_mut("V-1").unwrap().contract_amount = yuan("3000");
    claim(&mut short, "SN-1", VoucherStatus::Applied);
    assert_eq!(short.judge("V-1").result.verdict, Verdict::NotMet);
    // A claimed device that would not count anyway changes nothing.
    let mut idle = met();
    idle.declare("V-1", "SN-9", Some("44"));
    idle.register.vouchers.get_mut("V-1").unwrap().contract_amount = yuan("3000");
    claim(&mut idle, "SN-9", VoucherStatus::Applied);
    assert_eq!(idle.judge("V-1").result.verdict, Verdict::NotMet);
}

#[test]
fn only_live_vouchers_of_the_same_enterprise_take_a_device_away() {
    for status in [VoucherStatus::Withdrawn, VoucherStatus::Void, VoucherStatus::Refused, VoucherStatus::Paid] {
        let mut world = met();
        claim(&mut world, "SN-1", status);
        assert_eq!(world.judge("V-1").result.verdict, Verdict::Met, "{status:?}");
    }
    for status in [VoucherStatus::Issued, VoucherStatus::Redeeming, VoucherStatus::Approved, VoucherStatus::Returned] {
        let mut world = met();
        claim(&mut world, "SN-1", status);
        assert_eq!(world.judge("V-1").result.verdict, Verdict::Conflicting, "{status:?}");
    }
    let mut world = met();
    claim(&mut world, "SN-1", VoucherStatus::Issued);
    world.register.enterprises.insert("E-2".to_string(), enterprise("E-2"));
    world.register.vouchers.get_mut("V-2").unwrap().enterprise = "E-2".to_string();
    let result = world.judge("V-1").result;
    assert_eq!(
        (result.verdict, result.findings[0].code, result.findings[0].rule.as_str()),
        (Verdict::Met, FindingCode::DeviceUnderTwoEnterprises, "R42")
    );
    assert_eq!(result.findings[0].evidence, [json!({"device": "SN-1", "voucher": "V-2", "enterprise": "E-2"})]);
}

#[test]
fn a_voucher_of_zero_yuan_is_insufficient_and_fails_r24() {
    let mut world = met();
    world.register.vouchers.get_mut("V-1").unwrap().amount = Some(yuan("0"));
    let judgement = world.judge("V-1");
    assert_eq!(judgement.result.verdict, Verdict::Insufficient);
    assert_eq!(
        (outcome(&judgement, Group::Deciding, "R36"), outcome(&judgement, Group::Formal, "R24")),
        (Outcome::NotApplicable, Outcome::Fail)
    );
    assert_eq!(judgement.result.devices.unwrap().required, 0);
}

#[test]
fn an_unknown_product_or_enterprise_is_told_not_guessed() {
    let mut world = met();
    world.register.products.clear();
    world.register.enterprises.clear();
    let judgement = world.judge("V-1");
    assert_eq!((judgement.result.verdict, &judgement.result.devices, &judgement.result.usage), (Verdict::Insufficient, &None, &None));
    assert_eq!((outcome(&judgement, Group::Formal, "R22"), outcome(&judgement, Group::Formal, "R6")), (Outcome::Unknown, Outcome::Unknown));
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn floats(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_u64(),
        Value::Array(list) => list.iter().any(floats),
        Value::Object(object) => object.values().any(floats),
        _ => false,
    }
}

#[test]
fn the_json_has_the_shape_of_the_contract_and_reads_back() {
    let mut world = met();
    world.declare("V-1", "SN-9", Some("44"));
    world.carry("L-1", 7, None);
    let mut result = world.judge("V-1").result;
    result.sequence = 3;
    result.supersedes = Some(2);
    let json = serde_json::to_value(&result).unwrap();
    let mut top = keys(&json);
    top.sort_unstable();
    let mut expected = "v voucher sequence supersedes judged_at judgement_hash rulebook catalogue register_hash cut_off window verdict verdict_text amount \
                        devices usage channels by_channel checks findings evidence"
        .split_whitespace()
        .collect::<Vec<_>>();
    expected.sort_unstable();
    assert_eq!(top, expected);
    assert_eq!(json["window"], json!({"from": "2019-10-07", "to": "2019-11-05"}));
    assert_eq!(json["cut_off"], "2019-11-05T18:00:00+08:00");
    assert_eq!((&json["verdict"], &json["verdict_text"], &json["usage"]), (&json!("met"), &json!("达标"), &Value::Null));
    assert_eq!(json["amount"], json!({"computed": "1600.00", "approved": null, "per_device": "800.00"}));
    let detail = json["devices"]["excluded"][0]["detail"].clone();
    let excluded = json!([{"device": "SN-9", "reason": "not_seen", "detail": detail}]);
    assert_eq!(json["devices"], json!({"required": 2, "connected": 2, "decided": 2, "declared": 3, "undeclared": 0, "excluded": excluded}));
    assert_eq!(
        json["channels"],
        json!({"interface": {"days": 7, "devices": 2}, "carrier": {"days": 7, "devices": null}, "difference": "0.0000", "agree": true})
    );
    assert_eq!(json["checks"][0]["text"], "需 ⌈1600.00÷800.00⌉ = 2 台，实际接入 2 台，已达到。");
    assert_eq!(
        (&json["checks"][0]["rule"], &json["checks"][0]["clause"], &json["checks"][0]["group"]),
        (&json!("R36"), &json!("附件说明2"), &json!("deciding"))
    );
    assert!(!floats(&json));
    assert_eq!(serde_json::from_value::<MonitoringResult>(json).unwrap(), result);
}

#[test]
fn the_hash_leaves_out_what_storing_adds_and_nothing_else() {
    let result = met().judge("V-1").result;
    assert_eq!(result.judgement_hash, result.judgement_hash());
    let mut stored = result.clone();
    stored.sequence = 9;
    stored.supersedes = Some(8);
    stored.judged_at = at("2020-01-01T00:00:00+08:00");
    stored.judgement_hash = "sha256:0".to_string();
    stored.evidence.log_size = 5;
    assert_eq!(stored.judgement_hash(), result.judgement_hash);
    stored.verdict_text = "不达标".to_string();
    assert_ne!(stored.judgement_hash(), result.judgement_hash);
}

#[test]
fn a_later_cut_off_on_the_same_day_says_the_same_but_for_the_cut_off() {
    let mut world = met();
    let first = world.judge("V-1").result;
    world.as_of = at("2019-11-05T19:00:00+08:00");
    let second = world.judge("V-1").result;
    assert_ne!(first.judgement_hash, second.judgement_hash);
    assert!(first.same_but_for_cut_off(&second));
    let bytes = serde_json::to_string(&second.checks).unwrap();
    assert!(!bytes.contains("19:00:00"), "no sentence holds the cut-off");
    world.as_of = at("2019-11-06T00:00:00+08:00");
    assert!(!first.same_but_for_cut_off(&world.judge("V-1").result));
}

/// A register with a bit of everything.
fn full() -> World {
    let mut world = met();
    claim(&mut world, "SN-1", VoucherStatus::Issued);
    world.register.enterprises.insert("E-2".to_string(), enterprise("E-2"));
    let mut foreign = voucher("V-3", "P-5");
    foreign.enterprise = "E-2".to_string();
    world.add(foreign);
    world.declare("V-3", "SN-0", Some("44"));
    world.declare("V-3", "SN-77", Some("44"));
    world.register_line("L-1");
    world.carry("L-1", 7, Some(2));
    let voucher = world.register.vouchers.get_mut("V-1").unwrap();
    voucher.period = Some("2019".to_string());
    voucher.pilot = Some("T".to_string());
    for party in ["440100", "S-1", "T", "440300"] {
        let row = Quota { party: party.to_string(), period: "2019".to_string(), amount: yuan("1000000") };
        world.register.quotas.insert((row.party.clone(), row.period.clone()), row);
    }
    world.register.pilots.insert(
        "T".to_string(),
        Pilot { id: "T".to_string(), members: vec!["S-1".to_string()], enterprises: vec!["E-1".to_string()], benchmark: "E-1".to_string() },
    );
    let gateway = Gateway {
        id: "gw".to_string(),
        enterprise: "E-1".to_string(),
        token_sha256: Some("secret".to_string()),
        public_key: None,
        sparkplug: false,
    };
    world.register.gateways.insert("gw".to_string(), gateway);
    world
}

#[test]
fn judging_from_the_slice_gives_the_same_result() {
    let world = full();
    let whole = world.judge("V-1");
    let part = world.slice("V-1");
    let case = Case {
        register: &part,
        rulebook: &world.rulebook,
        catalogue: &world.catalogue,
        voucher: &part.vouchers["V-1"],
        as_of: world.as_of,
        facts: &world.facts,
    };
    assert_eq!(judge(&case), whole);
    assert!(part.vouchers.contains_key("V-3") && !part.devices.contains_key(&("V-3".to_string(), "SN-77".to_string())));
    assert_eq!((part.quotas.len(), part.gateways.len(), part.products.len()), (2, 0, 2));
    let json = register_slice(&part);
    assert!(!json.to_string().contains("secret"));
    assert_eq!(read_register_slice(json.clone()), Ok((part, "V-1".to_string())), "and it is read again from its JSON");
    let mut short = json;
    short.as_object_mut().unwrap().remove("lines");
    assert!(read_register_slice(short).is_err_and(|error| error.contains("lines")));
}

#[test]
fn the_register_hash_changes_with_the_rows_that_decide_and_with_no_others() {
    let hash = |change: fn(&mut Register)| {
        let mut world = full();
        change(&mut world.register);
        world.judge("V-1").result.register_hash
    };
    let before = hash(|_| ());
    let same: [fn(&mut Register); 4] = [
        |r| r.gateways.clear(),
        |r| drop(r.enterprises.insert("E-9".to_string(), enterprise("E-9"))),
        |r| drop(r.devices.insert(("V-3".to_string(), "SN-78".to_string()), declared("V-3", "SN-78", None))),
        |r| drop(r.quotas.remove(&("440300".to_string(), "2019".to_string()))),
    ];
    let other: [fn(&mut Register); 6] = [
        |r| r.vouchers.get_mut("V-1").unwrap().paid = Some(yuan("1")),
        |r| r.vouchers.get_mut("V-2").unwrap().status = VoucherStatus::Void,
        |r| drop(r.devices.remove(&("V-1".to_string(), "SN-0".to_string()))),
        |r| drop(r.devices.remove(&("V-2".to_string(), "SN-1".to_string()))),
        |r| r.lines.clear(),
        |r| r.products.get_mut("P-23").unwrap().class = ProductClass::B,
    ];
    same.iter().enumerate().for_each(|(n, change)| assert_eq!(hash(*change), before, "same {n}"));
    other.iter().enumerate().for_each(|(n, change)| assert_ne!(hash(*change), before, "other {n}"));
}
