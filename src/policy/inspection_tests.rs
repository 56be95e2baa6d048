//! Data quality, credit and the spot-check list: against counts by hand, and for every order of what goes in.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::catalogue::Catalogue;
use crate::credit::{OutcomeRow, credit, in_force};
use crate::facts::{Channel, Seen, UsageKey, VoucherFacts};
use crate::in_force::Versions;
use crate::money::Yuan;
use crate::quality::{Expected, QualityFigures, WeekQuality, expected, share};
use crate::reasons::{FindingCode, SpotOutcome, Verdict};
use crate::register::{DeclaredDevice, ProductClass, Register, Supplier, VoucherStatus};
use crate::rulebook::{Parameters, Rulebook};
use crate::spot_check::{Candidate, ChosenBy, RiskPart, SpotCheckList, draw, risk, select};
use crate::test_case::{at, day, product, voucher, yuan};
use crate::week::Week;

fn week() -> Week {
    Week::read("2019-W45").unwrap()
}

fn parameters() -> Parameters {
    Rulebook::default_2019().parameters
}

fn register() -> Register {
    let mut register = Register::default();
    for id in ["S-1", "S-2"] {
        register.suppliers.insert(id.into(), Supplier { id: id.into(), name: id.into(), city: "440100".into() });
    }
    for (id, row) in [("P-5", 5), ("P-12", 12)] {
        register.products.insert(id.into(), product(id, ProductClass::A, row));
    }
    for (id, product) in [("V-1", "P-5"), ("V-2", "P-12"), ("V-3", "P-5")] {
        register.vouchers.insert(id.into(), voucher(id, product));
    }
    let declared = [("V-1", "SN-1"), ("V-1", "SN-2"), ("V-3", "SN-2")];
    register.devices.extend(declared.map(|(voucher, device)| {
        let row =
            DeclaredDevice { voucher: voucher.into(), device: device.into(), name: None, model: None, template: None, province: None };
        ((voucher.to_string(), device.to_string()), row)
    }));
    register
}

fn expected_of(register: &Register, today: &str) -> BTreeMap<(String, String), Expected> {
    let catalogues = Versions::new(vec![Catalogue::default_2019()]).unwrap();
    expected(register, &catalogues, week(), day(today)).remove("S-1").unwrap()
}

fn key(product: &str) -> (String, String) {
    ("E-1".to_string(), product.to_string())
}

#[test]
fn live_vouchers_owe_every_ended_day_from_application_to_redemption() {
    let mut register = register();
    let all = expected_of(&register, "2020-01-01");
    assert_eq!(all[&key("P-5")].vouchers, 2);
    assert_eq!(all[&key("P-5")].devices.values().map(BTreeSet::len).collect::<Vec<_>>(), [7, 7], "a device of two vouchers is one");
    assert_eq!((all[&key("P-12")].usage.len(), all[&key("P-12")].devices.len()), (7, 0));
    assert_eq!(expected_of(&register, "2019-11-06")[&key("P-12")].usage.len(), 2, "a day that has not ended is not owed");
    let row = register.vouchers.get_mut("V-2").unwrap();
    row.applied_at = at("2019-11-05T23:59:59+08:00");
    row.redeem_at = Some(at("2019-11-08T00:00:00+08:00"));
    let days: Vec<String> = expected_of(&register, "2020-01-01")[&key("P-12")].usage.iter().map(ToString::to_string).collect();
    assert_eq!(days, ["2019-11-05", "2019-11-06", "2019-11-07", "2019-11-08"]);
    let owed_as = |register: &mut Register, status, redeem_at| {
        let row = register.vouchers.get_mut("V-2").unwrap();
        (row.status, row.redeem_at) = (status, redeem_at);
        expected_of(register, "2020-01-01").contains_key(&key("P-12"))
    };
    assert!(!owed_as(&mut register, VoucherStatus::Applied, None), "nothing is implemented before a voucher is issued");
    assert!(!owed_as(&mut register, VoucherStatus::Returned, None), "an application sent back");
    assert!(owed_as(&mut register, VoucherStatus::Returned, Some(at("2019-11-08T00:00:00+08:00"))), "a redemption request sent back");
    register.vouchers.get_mut("V-2").unwrap().status = VoucherStatus::Void;
    assert!(!expected_of(&register, "2020-01-01").contains_key(&key("P-12")));
    let catalogues = Versions::new(vec![Catalogue::default_2019()]).unwrap();
    assert!(expected(&register, &catalogues, week(), day("2020-01-01"))["S-2"].is_empty(), "a supplier without vouchers is there");
}

fn reading(facts: &mut VoucherFacts, device: &str, hour: &str, channel: Channel, days_late: u32, normal: bool) {
    let occurred_at = at(&format!("{hour}:30:00+08:00"));
    let (on, clock_hour) = (crate::calendar::day_of(occurred_at), crate::calendar::hour_of(occurred_at));
    let of_day = facts.devices.entry(device.to_string()).or_default().entry(on).or_default();
    let of_hour = of_day.hours.entry((clock_hour, channel)).or_default();
    let seen = Seen::new(occurred_at, days_late);
    if normal { of_hour.normal.add(seen) } else { of_hour.other.add(seen) }
}

#[test]
fn figures_count_what_came_of_what_was_owed() {
    let owed = &expected_of(&register(), "2020-01-01")[&key("P-5")];
    let mut facts = VoucherFacts::default();
    reading(&mut facts, "SN-1", "2019-11-04T08", Channel::Gateway, 1, true);
    reading(&mut facts, "SN-1", "2019-11-04T08", Channel::Supplier, 9, true);
    reading(&mut facts, "SN-1", "2019-11-04T09", Channel::Supplier, 9, false);
    reading(&mut facts, "SN-2", "2019-11-10T23", Channel::Supplier, 8, true);
    reading(&mut facts, "SN-2", "2019-11-11T00", Channel::Supplier, 1, true);
    reading(&mut facts, "SN-UNDECLARED", "2019-11-05T08", Channel::Gateway, 1, true);
    let figures = QualityFigures::count(owed, &facts);
    assert_eq!((figures.device_days, figures.device_days_expected), (2, 14));
    assert_eq!((figures.device_days_from_gateways, figures.device_days_from_supplier), (1, 2));
    assert_eq!((figures.device_hours, figures.device_hours_expected), (3, 14 * 24));
    assert_eq!(figures.device_hours_by_days_late, BTreeMap::from([(1, 1), (8, 1), (9, 1)]), "the least late reading of an hour");
    assert_eq!(figures.late(7), (2, 3));
    assert_eq!(share(figures.complete()).unwrap(), "0.1429");
    assert_eq!(share((0, 0)), None);
}

#[test]
fn usage_counts_days_and_entries() {
    let owed = &expected_of(&register(), "2020-01-01")[&key("P-12")];
    let mut facts = VoucherFacts::default();
    for (on, user, channel, days_late) in [
        ("2019-11-04", "a", Channel::Supplier, 1),
        ("2019-11-04", "a", Channel::Gateway, 3),
        ("2019-11-04", "b", Channel::Supplier, 8),
        ("2019-11-06", "a", Channel::Supplier, 2),
        ("2019-11-11", "a", Channel::Supplier, 2),
    ] {
        let key = UsageKey { day: day(on), user: user.into(), function_module: "甲".into(), channel };
        facts.usage.entry(key).or_default().seen.add(Seen::new(at(&format!("{on}T10:00:00+08:00")), days_late));
    }
    let figures = QualityFigures::count(owed, &facts);
    assert_eq!((figures.usage_days, figures.usage_days_expected), (2, 7));
    assert_eq!(figures.usage_by_days_late, BTreeMap::from([(1, 1), (2, 1), (8, 1)]));
    assert_eq!(figures.complete(), (2, 7));
}

fn outcome(number: i64, outcome: SpotOutcome, corrects: Option<i64>) -> OutcomeRow {
    OutcomeRow {
        number,
        voucher: "V-1".into(),
        supplier: "S-1".into(),
        outcome,
        note: "现场核对".into(),
        on: day("2019-11-05"),
        corrects,
        recorded_at: at("2019-11-06T09:00:00+08:00"),
        recorded_by: "省厅".into(),
    }
}

#[test]
fn every_addend_of_the_credit_is_named_and_they_add_up() {
    let rows = [
        outcome(1, SpotOutcome::Fraud, None),
        outcome(2, SpotOutcome::Deviating, Some(1)),
        outcome(3, SpotOutcome::Confirmed, None),
        OutcomeRow { supplier: "S-2".into(), ..outcome(4, SpotOutcome::Fraud, None) },
    ];
    let mut quality = WeekQuality { refused_of_supplier: 101, ..WeekQuality::default() };
    (quality.figures.device_days, quality.figures.device_days_expected) = (79, 100);
    quality.figures.device_hours_by_days_late = BTreeMap::from([(1, 89), (8, 11)]);
    let record = credit("S-1", &rows, &BTreeMap::from([(week(), quality.clone())]), &parameters());
    assert_eq!(record.points, 100 - 10 + 2 - 3);
    assert_eq!(record.points, record.start + record.addends.iter().map(|addend| addend.points).sum::<i64>());
    let texts: Vec<&str> = record.addends.iter().map(|addend| addend.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "2019-11-05 对服务券 V-1 的抽查：有出入",
            "2019-11-05 对服务券 V-1 的抽查：属实",
            "2019-W45 数据完整率 79 ÷ 100 = 0.7900，低于 0.8",
            "2019-W45 补传过晚占比 11 ÷ 100 = 0.1100，高于 0.1",
            "2019-W45 推送被拒收 101 份，多于 100 份",
        ]
    );
    // At the bounds nothing is taken.
    (quality.figures.device_days, quality.refused_of_supplier) = (80, 100);
    quality.figures.device_hours_by_days_late = BTreeMap::from([(7, 90), (8, 10)]);
    assert_eq!(credit("S-1", &[], &BTreeMap::from([(week(), quality)]), &parameters()).points, 100);
}

#[test]
fn a_correction_takes_the_place_of_what_it_names_and_of_nothing_else() {
    let rows = [
        outcome(3, SpotOutcome::Confirmed, Some(2)),
        outcome(1, SpotOutcome::Fraud, None),
        outcome(2, SpotOutcome::Deviating, Some(1)),
        outcome(4, SpotOutcome::Fraud, None),
    ];
    assert_eq!(in_force(&rows).iter().map(|row| row.number).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_correction_counts_even_where_the_product_has_another_supplier_by_then() {
    let rows = [outcome(1, SpotOutcome::Fraud, None), OutcomeRow { supplier: "S-2".into(), ..outcome(2, SpotOutcome::Confirmed, Some(1)) }];
    assert_eq!(credit("S-1", &rows, &BTreeMap::new(), &parameters()).points, 100, "what was corrected no longer counts");
}

#[test]
fn risk_is_the_sum_of_parts_that_each_say_why() {
    let findings = [FindingCode::SharedUsage, FindingCode::GatewayClock, FindingCode::SharedUsage];
    let record = credit("S-1", &[outcome(1, SpotOutcome::Fraud, None)], &BTreeMap::new(), &parameters());
    let parts = risk(&findings, Some(Verdict::Conflicting), Some(&record), &parameters());
    assert_eq!(parts.iter().map(|part| part.points).collect::<Vec<_>>(), [1, 2, 2, 5, 5], "{parts:?}");
    assert!(parts.last().unwrap().text.contains("信用 50 分") && parts[3].text.contains("数据冲突"));
    assert_eq!(risk(&[], Some(Verdict::Met), None, &parameters()).len(), 1);
}

fn candidate(voucher: &str, fen: u64, points: u64) -> Candidate {
    let amount = Yuan::floor_fen(Decimal::new(fen as i64, 2));
    Candidate {
        voucher: voucher.to_string(),
        supplier: "S-1".to_string(),
        amount,
        risk: vec![RiskPart { points, text: "风险".to_string() }],
        judgement_hash: None,
    }
}

fn names(list: &SpotCheckList) -> Vec<&str> {
    list.places.iter().map(|place| place.candidate.voucher.as_str()).collect()
}

#[test]
fn the_list_goes_by_risk_times_amount_and_draws_the_rest_by_the_seed() {
    let of = || {
        vec![candidate("V-1", 100, 1), candidate("V-2", 50, 3), candidate("V-3", 100, 1), candidate("V-4", 10, 1), candidate("V-0", 0, 9)]
    };
    let list = select("种子", Some("2019"), 3, "0.2".parse().unwrap(), of());
    assert_eq!((list.candidates, list.random_places), (4, 1));
    assert_eq!(names(&list)[..2], ["V-2", "V-1"], "equal products go by id");
    assert_eq!(list.places[0].why[0], "风险 3 分 × 金额 0.50 元 = 1.50，居 4 张候选券第 1 位");
    let last = list.places.last().unwrap();
    assert_eq!(last.by, ChosenBy::Random);
    let lowest = ["V-3", "V-4"].into_iter().min_by_key(|voucher| draw("种子", Some("2019"), voucher)).unwrap();
    assert_eq!(last.candidate.voucher, lowest);
    assert!(last.why[0].starts_with("随机抽取：其余 2 张候选券中抽签值第 1 小"), "{:?}", last.why);
    assert_eq!(names(&select("种子", Some("2019"), 50, "0.2".parse().unwrap(), of())).len(), 4, "no more than there are");
    assert_eq!(select("种子", None, 0, "0.2".parse().unwrap(), of()).places, []);
}

/// What `printf '["s",null,"V-1"]' | sha256sum` prints: anybody can draw again.
#[test]
fn a_draw_is_the_sha_256_of_seed_period_and_voucher() {
    assert_eq!(draw("s", None, "V-1"), DRAWN);
    assert_ne!(draw("s", Some(""), "V-1"), DRAWN);
}
const DRAWN: &str = "sha256:12619bd540d68b169a18141a0b8a38640102077f332c2fd672caf5b653a9904c";

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec((0u64..300, 1u64..6), 0..14)
        .prop_map(|list| (0..).zip(list).map(|(n, (fen, points))| candidate(&format!("V-{n}"), fen, points)).collect())
}

fn place_of(list: &SpotCheckList, voucher: &str) -> usize {
    names(list).iter().position(|name| *name == voucher).unwrap_or(usize::MAX)
}

proptest! {
    #[test]
    fn a_list_is_the_same_for_every_order_of_candidates(
        (list, shuffled) in candidates().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        seed in "[a-z]{1,4}", count in 0u64..16, tenths in 0u32..11,
    ) {
        let share = Decimal::new(tenths.into(), 1);
        prop_assert_eq!(select(&seed, None, count, share, list), select(&seed, None, count, share, shuffled));
    }

    #[test]
    fn a_list_has_as_many_places_as_asked_each_voucher_once_and_none_without_an_amount(list in candidates(), count in 0u64..16, tenths in 0u32..11) {
        let with_amount = list.iter().filter(|one| !one.amount.is_zero()).count();
        let chosen = select("s", None, count, Decimal::new(tenths.into(), 1), list);
        prop_assert_eq!(chosen.places.len(), with_amount.min(count as usize));
        let distinct: BTreeSet<&str> = names(&chosen).into_iter().collect();
        prop_assert_eq!(distinct.len(), chosen.places.len());
        prop_assert!(chosen.places.iter().all(|place| !place.candidate.amount.is_zero() && !place.why.is_empty()));
    }

    #[test]
    fn more_risk_or_amount_never_moves_a_voucher_down(
        list in candidates(), which in any::<prop::sample::Index>(), more in 0u64..400, points in 0u64..8, count in 1u64..16, tenths in 0u32..11,
    ) {
        prop_assume!(!list.is_empty());
        let share = Decimal::new(tenths.into(), 1);
        let at = which.index(list.len());
        let mut raised = list.clone();
        raised[at] = candidate(&list[at].voucher, list[at].amount.fen() + more, list[at].risk() + points);
        let (before, after) = (select("s", None, count, share, list.clone()), select("s", None, count, share, raised));
        prop_assert!(place_of(&after, &list[at].voucher) <= place_of(&before, &list[at].voucher));
    }

    #[test]
    fn credit_and_risk_are_the_same_for_every_order_of_outcomes(
        (rows, shuffled) in prop::collection::vec((0usize..3, any::<bool>()), 0..10).prop_map(|list| {
            let row = |(n, (kind, corrects)): (i64, (usize, bool))| outcome(n, SpotOutcome::ALL[kind], corrects.then_some(n - 1).filter(|n| *n > 0));
            (1..).zip(list).map(row).collect::<Vec<_>>()
        }).prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        prop_assert_eq!(credit("S-1", &rows, &BTreeMap::new(), &parameters()), credit("S-1", &shuffled, &BTreeMap::new(), &parameters()));
    }

    /// Counting parts and adding them up is counting the whole, in any order.
    #[test]
    fn figures_add_up_in_any_order(counts in prop::collection::vec((0u64..9, 0u32..12), 0..8)) {
        let part = |(days, late): &(u64, u32)| QualityFigures {
            device_days: *days, device_days_expected: 9, usage_days: *days, device_hours_by_days_late: BTreeMap::from([(*late, *days)]), ..Default::default()
        };
        let sum = |parts: &mut dyn Iterator<Item = QualityFigures>| parts.fold(QualityFigures::default(), |mut sum, part| { sum.add(&part); sum });
        let (forward, backward) = (sum(&mut counts.iter().map(part)), sum(&mut counts.iter().rev().map(part)));
        prop_assert_eq!(&forward, &backward);
        let days: u64 = counts.iter().map(|(days, _)| days).sum();
        prop_assert_eq!(forward.complete(), (2 * days, 9 * counts.len() as u64));
        prop_assert_eq!(forward.late(7).1, days);
    }
}

#[test]
fn money_is_shown_as_it_is_multiplied() {
    let list = select("s", None, 1, Decimal::ZERO, vec![candidate("V-1", yuan("80000.01").fen(), 7)]);
    assert_eq!((list.places[0].risk_amount.as_str(), list.places[0].risk_points), ("560000.07", 7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_voucher_with_an_amount_is_drawn_under_some_seed(list in candidates()) {
        let wanted: BTreeSet<String> = list.iter().filter(|one| !one.amount.is_zero()).map(|one| one.voucher.clone()).collect();
        let mut drawn = BTreeSet::new();
        for seed in 0..400 {
            let chosen = select(&seed.to_string(), None, 2, "0.2".parse().unwrap(), list.clone());
            drawn.extend(chosen.places.into_iter().map(|place| place.candidate.voucher));
        }
        prop_assert_eq!(drawn, wanted);
    }
}
