//! Findings about evidence: told with their figures, and never more than told.

use serde_json::json;

use crate::facts::{ClockDay, SenderConflicts};
use crate::reasons::{FindingCode, Verdict};
use crate::result::Finding;
use crate::test_case::{World, day, voucher, yuan};

fn met() -> World {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-23");
    voucher.contract_amount = yuan("2000");
    world.add(voucher);
    world.connect("V-1", 2, 7);
    world
}

fn only_finding(world: &World) -> Finding {
    let result = world.judge("V-1").result;
    assert_eq!((result.verdict, result.findings.len()), (Verdict::Met, 1), "{:?}", result.findings);
    result.findings[0].clone()
}

fn conflicts(positions: Vec<i64>) -> SenderConflicts {
    SenderConflicts { identities: 2, contents: 3, days: 2, some: vec!["id \"r-1\"".into(), "id \"r-2\"".into()], positions }
}

#[test]
fn conflicts_are_told_by_sender_and_the_hash_does_not_see_where_they_lie() {
    let judged = |positions| {
        let mut world = met();
        world.facts.conflicts.insert(("supplier".into(), "S-1".into()), conflicts(positions));
        world
    };
    let world = judged(vec![4, 9]);
    let finding = only_finding(&world);
    assert_eq!((finding.code, finding.rule.as_str()), (FindingCode::IdentityConflict, "R42"));
    assert!(finding.text.contains("1 个发送方，2 个编号，3 份不同内容"), "{}", finding.text);
    let told = json!({"sender": {"kind": "supplier", "id": "S-1"}, "identities": 2, "contents": 3,
        "days": 2, "some": ["id \"r-1\"", "id \"r-2\""]});
    assert_eq!(finding.evidence, [told]);
    let elsewhere = judged(vec![1]);
    assert_eq!(world.judge("V-1").result.judgement_hash, elsewhere.judge("V-1").result.judgement_hash);
    assert_eq!(world.judge("V-1").explanation.quarantined, [4, 9]);
    assert_ne!(world.judge("V-1").result.judgement_hash, met().judge("V-1").result.judgement_hash);
}

#[test]
fn a_wrong_clock_is_told_by_gateway_with_the_days_of_the_window_alone() {
    let mut world = met();
    let ahead = ClockDay { offset_us: Some((0, 121_000_000)), unsynchronised: 3, ..ClockDay::default() };
    for (on, clock) in [("2019-10-06", &ahead), ("2019-10-07", &ahead), ("2019-11-05", &ahead), ("2019-11-06", &ahead)] {
        world.facts.clocks.insert(("gw-1".into(), day(on)), clock.clone());
    }
    world.facts.clocks.insert(("gw-2".into(), day("2019-11-05")), ClockDay { offset_us: Some((-9, 0)), ..ClockDay::default() });
    world.facts.future_refusals.extend([("gw-1".into(), day("2019-11-05")), ("gw-1".into(), day("2019-11-04"))]);
    let finding = only_finding(&world);
    assert_eq!((finding.code, finding.rule.as_str()), (FindingCode::GatewayClock, "R42"));
    assert!(finding.text.contains("1 个网关，最多 3 天"), "{}", finding.text);
    let by_fault = json!({"ahead": 2, "unsynchronised": 2, "future": 2});
    assert_eq!(finding.evidence, [json!({"gateway": "gw-1", "days": 3, "days_by_fault": by_fault})]);
    world.set("future_skew_s_max", "121");
    assert_eq!(only_finding(&world).evidence[0]["days_by_fault"], json!({"unsynchronised": 2, "future": 2}));
}
