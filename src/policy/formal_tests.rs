//! Formal checks and notes: each with both of its edges. They never enter the verdict (R34).

use crate::reasons::Outcome::{Fail, NotApplicable, Pass, Unknown};
use crate::reasons::{Group, Outcome, Verdict};
use crate::register::*;
use crate::test_case::{World, at, checks, day, outcome, voucher, yuan};

/// The outcome of one formal rule after a change to the voucher and the world.
fn formal(rule: &str, product: &str, change: impl FnOnce(&mut World, &mut Voucher)) -> Outcome {
    of_group(Group::Formal, rule, product, change)
}

fn of_group(group: Group, rule: &str, product: &str, change: impl FnOnce(&mut World, &mut Voucher)) -> Outcome {
    let mut world = World::new();
    let mut voucher = voucher("V-1", product);
    change(&mut world, &mut voucher);
    world.add(voucher);
    outcome(&world.judge("V-1"), group, rule)
}

#[test]
fn every_formal_rule_is_listed_once_with_clause_and_sentence() {
    let mut world = World::new();
    world.add(voucher("V-1", "P-5"));
    let judgement = world.judge("V-1");
    let rules: Vec<&str> =
        judgement.result.checks.iter().filter(|check| check.group == Group::Formal).map(|check| check.rule.as_str()).collect();
    let expected = "R4 R5 R6 R7 R8 R14 R15 R16 R17 R18 R19 R22 R23 R24 R25 R26 R27 R28 R29 R30 R31";
    assert_eq!(rules.join(" "), expected);
    for check in &judgement.result.checks {
        assert!(!check.clause.is_empty() && check.text.ends_with('。'), "{check:?}");
    }
}

#[test]
fn r4_and_r7_dates() {
    assert_eq!(formal("R4", "P-6", |_, v| v.contract_signed_on = day("2019-07-01")), Pass);
    assert_eq!(formal("R4", "P-6", |_, v| v.contract_signed_on = day("2019-07-02")), Fail);
    assert_eq!(formal("R4", "P-6", |_, v| v.redeem_at = Some(v.applied_at)), Pass);
    assert_eq!(formal("R4", "P-6", |_, v| v.redeem_at = Some(at("2019-07-01T08:59:59+08:00"))), Fail);
    assert_eq!(formal("R7", "P-6", |_, v| v.contract_signed_on = day("2018-03-21")), Pass);
    assert_eq!(formal("R7", "P-6", |_, v| v.contract_signed_on = day("2018-03-20")), Unknown);
    assert_eq!(formal("R7", "P-6", |_, v| v.contract_signed_on = day("2018-03-19")), Fail);
    assert_eq!(formal("R8", "P-6", |_, _| ()), NotApplicable);
    assert_eq!(formal("R8", "P-6", |_, v| v.supplement_signed_on = Some(day("2019-07-01"))), Unknown);
}

#[test]
fn r5_and_r6_place_and_kind() {
    assert_eq!(formal("R5", "P-5", |_, _| ()), Unknown);
    assert_eq!(formal("R5", "P-5", |w, _| w.declare("V-1", "D", Some("44"))), Pass);
    assert_eq!(formal("R5", "P-5", |w, _| w.declare("V-1", "D", None)), Unknown);
    assert_eq!(formal("R5", "P-5", |w, _| w.declare("V-1", "D", Some("45"))), Fail);
    assert_eq!(formal("R5", "P-23", |w, _| w.declare("V-1", "D", Some("45"))), NotApplicable);
    let integrator = |w: &mut World, _: &mut Voucher| w.register.enterprises.get_mut("E-1").unwrap().kind = EnterpriseKind::Integrator;
    assert_eq!(formal("R6", "P-5", |_, _| ()), Pass);
    assert_eq!(formal("R6", "P-5", integrator), Fail);
    assert_eq!((formal("R6", "P-22", integrator), formal("R6", "P-23", integrator), formal("R6", "P-21", integrator)), (Pass, Pass, Fail));
}

#[test]
fn r14_to_r19_contract() {
    assert_eq!(formal("R14", "P-6", |_, _| ()), Unknown);
    assert_eq!(formal("R15", "P-6", |_, _| ()), Pass);
    assert_eq!(formal("R15", "P-6", |_, v| v.contract_modules.push("辛".to_string())), Fail);
    assert_eq!(formal("R15", "P-6", |_, v| v.contract_modules.clear()), Unknown);
    let lines = |amounts: &[&str]| {
        Some(amounts.iter().map(|amount| CostLine { kind: "软件".to_string(), amount: yuan(amount) }).collect::<Vec<_>>())
    };
    assert_eq!(formal("R16", "P-6", |_, _| ()), Unknown);
    assert_eq!(formal("R16", "P-6", |_, v| v.cost_lines = lines(&["60000", "40000"])), Pass);
    assert_eq!(formal("R16", "P-6", |_, v| v.cost_lines = lines(&["60000", "39999.99"])), Fail);
    assert_eq!(formal("R16", "P-6", |_, v| v.cost_lines = lines(&["1000000"])), Unknown);
    assert_eq!(formal("R17", "P-6", |_, v| v.contract_total = v.contract_amount), Pass);
    assert_eq!(formal("R17", "P-6", |_, v| v.contract_total = yuan("99999.99")), Fail);
    let second = |change: fn(&mut Voucher)| {
        move |w: &mut World, v: &mut Voucher| {
            let mut other = voucher("V-2", "P-9");
            other.contract_no = "ｈｔ v 1".to_string();
            change(&mut other);
            v.pilot = other.pilot.clone();
            w.add(other);
        }
    };
    assert_eq!(formal("R18", "P-6", |_, _| ()), Pass);
    assert_eq!(formal("R18", "P-6", second(|_| ())), Fail);
    assert_eq!(formal("R18", "P-6", second(|other| other.contract_signed_on = day("2019-06-02"))), Unknown);
    assert_eq!(formal("R18", "P-6", second(|other| other.status = VoucherStatus::Withdrawn)), Pass);
    assert_eq!(formal("R18", "P-6", second(|other| other.period = Some("next".to_string()))), Pass);
    assert_eq!(formal("R18", "P-6", second(|other| other.pilot = Some("T".to_string()))), NotApplicable);
    assert_eq!(formal("R19", "P-6", second(|other| other.pilot = Some("T".to_string()))), Pass);
    assert_eq!(formal("R19", "P-6", |_, _| ()), NotApplicable);
}

#[test]
fn r22_to_r24_amounts() {
    // C = 100,000, so V0 = 80,000.
    for rule in ["R22", "R24"] {
        assert_eq!(formal(rule, "P-6", |_, v| v.amount = Some(yuan("80000"))), Pass, "{rule}");
        assert_eq!(formal(rule, "P-6", |_, v| v.amount = Some(yuan("80000.01"))), if rule == "R22" { Fail } else { Pass }, "{rule}");
    }
    assert_eq!(formal("R23", "P-9", |_, v| v.amount = Some(yuan("50000"))), Pass);
    assert_eq!(formal("R23", "P-9", |_, v| v.amount = Some(yuan("50000.01"))), Fail);
    assert_eq!(formal("R24", "P-6", |_, v| v.amount = Some(yuan("300000.01"))), Fail);
    assert_eq!(formal("R24", "P-6", |_, v| v.contract_amount = yuan("0.01")), Fail, "floors to 0.00");
    assert_eq!(formal("R24", "P-6", |_, v| v.contract_amount = yuan("0.02")), Pass);
}

#[test]
fn r25_to_r29_pilots_and_quotas() {
    let pilot = |w: &mut World, v: &mut Voucher, cap: &str| {
        v.pilot = Some("T".to_string());
        w.register.enterprises.get_mut("E-1").unwrap().pilot_cap = Some(yuan(cap));
    };
    assert_eq!((formal("R25", "P-6", |_, _| ()), formal("R29", "P-6", |_, _| ())), (NotApplicable, NotApplicable));
    assert_eq!(formal("R25", "P-6", |_, v| v.pilot = Some("T".to_string())), Unknown);
    assert_eq!(formal("R25", "P-6", |w, v| pilot(w, v, "1000000")), Pass);
    assert_eq!(formal("R25", "P-6", |w, v| pilot(w, v, "1000000.01")), Fail);
    let of_enterprise = |w: &mut World, _: &mut Voucher| w.register.enterprises.get_mut("E-1").unwrap().pilot_cap = Some(yuan("1000001"));
    assert_eq!(formal("R25", "P-6", of_enterprise), Fail, "whichever voucher of the enterprise is looked at");
    let listed = |enterprise: &'static str| {
        move |w: &mut World, v: &mut Voucher| {
            v.pilot = Some("T".to_string());
            let row =
                Pilot { id: "T".to_string(), members: Vec::new(), enterprises: vec![enterprise.to_string()], benchmark: String::new() };
            w.register.pilots.insert("T".to_string(), row);
        }
    };
    assert_eq!((formal("R29", "P-6", listed("E-1")), formal("R29", "P-6", listed("E-2"))), (Unknown, Fail));
    let pool = |amount: &'static str| {
        move |w: &mut World, v: &mut Voucher| {
            listed("E-1")(w, v);
            v.period = Some("2019".to_string());
            let row = Quota { party: "T".to_string(), period: "2019".to_string(), amount: yuan(amount) };
            w.register.quotas.insert((row.party.clone(), row.period.clone()), row);
        }
    };
    assert_eq!((formal("R29", "P-6", pool("80000")), formal("R29", "P-6", pool("79999.99"))), (Pass, Fail));
    assert_eq!(formal("R28", "P-6", pool("1")), Unknown, "the pool is no quota of R28");
    assert_eq!(formal("R26", "P-6", |_, v| v.applied_at = at("2018-03-20T00:00:00+08:00")), Pass);
    assert_eq!(formal("R26", "P-6", |_, v| v.applied_at = at("2018-03-19T23:59:59+08:00")), Unknown);
    let award = |passed: Option<bool>, funded: Option<bool>| {
        formal("R27", "P-6", |w, _| {
            let enterprise = w.register.enterprises.get_mut("E-1").unwrap();
            (enterprise.conformance, enterprise.conformance_funded) = (passed, funded);
        })
    };
    assert_eq!((award(None, None), award(Some(true), None), award(Some(false), None)), (Unknown, Unknown, NotApplicable));
    assert_eq!((award(Some(true), Some(true)), award(Some(true), Some(false))), (NotApplicable, Pass));
    let paid_before = |w: &mut World, _: &mut Voucher| {
        let enterprise = w.register.enterprises.get_mut("E-1").unwrap();
        (enterprise.conformance, enterprise.conformance_funded) = (Some(true), Some(false));
        let mut paid = voucher("V-0", "P-9");
        (paid.status, paid.redeem_at) = (VoucherStatus::Paid, Some(at("2019-07-01T10:00:00+08:00")));
        w.add(paid);
    };
    assert_eq!(formal("R27", "P-6", paid_before), Unknown, "whether the award was paid with it the register does not tell");
    let quota = |amount: &'static str| {
        move |w: &mut World, v: &mut Voucher| {
            v.period = Some("2019".to_string());
            let row = Quota { party: "440100".to_string(), period: "2019".to_string(), amount: yuan(amount) };
            w.register.quotas.insert((row.party.clone(), row.period.clone()), row);
        }
    };
    assert_eq!(
        (formal("R28", "P-6", quota("80000")), formal("R28", "P-6", quota("79999.99"))),
        (Unknown, Fail),
        "the supplier's is missing"
    );
    let both = |city: &'static str, supplier: &'static str| {
        formal("R28", "P-6", move |w, v| {
            quota(city)(w, v);
            let row = Quota { party: "S-1".to_string(), period: "2019".to_string(), amount: yuan(supplier) };
            w.register.quotas.insert((row.party.clone(), row.period.clone()), row);
        })
    };
    assert_eq!((both("80000", "80000"), both("80000", "79999.99"), both("79999.99", "80000")), (Pass, Fail, Fail));
}

#[test]
fn a_district_belongs_to_its_city_for_quota_and_scope() {
    let mut world = World::new();
    for (id, city) in [("E-1", "440106"), ("E-2", "440100"), ("E-3", "440111"), ("E-4", "440600")] {
        let mut row = crate::test_case::enterprise(id);
        row.city = city.to_string();
        world.register.enterprises.insert(id.to_string(), row);
        let mut one = voucher(&format!("V-{}", &id[2..]), "P-6");
        (one.enterprise, one.period) = (id.to_string(), Some("2019".to_string()));
        world.add(one);
    }
    let observed = |world: &World, id: &str| checks(&world.judge(id), Group::Formal, "R28")[0].required.clone();
    let quota = |party: &str, amount: &str| Quota { party: party.to_string(), period: "2019".to_string(), amount: yuan(amount) };
    world.register.quotas.insert(("440100".to_string(), "2019".to_string()), quota("440100", "200000"));
    let left = ["V-1", "V-2", "V-3"].map(|id| observed(&world, id));
    assert_eq!(left, ["≤200000.00", "≤120000.00", "≤40000.00"], "one quota for all districts, in order of application");
    assert_eq!(observed(&world, "V-4"), "≤额度余额", "another city");
    // A quota that stands under a district's code is the city's as long as the city has none of its own.
    world.register.quotas.clear();
    world.register.quotas.insert(("440106".to_string(), "2019".to_string()), quota("440106", "100000"));
    assert_eq!((observed(&world, "V-1"), observed(&world, "V-2")), ("≤100000.00".to_string(), "≤20000.00".to_string()));
    let scope = |world: &World| outcome(&world.judge("V-1"), Group::Note, "R1");
    assert_eq!(scope(&world), Pass);
    world.set("cities_excluded", "[\"440100\"]");
    assert_eq!(scope(&world), Fail, "a district of an excluded city");
}

#[test]
fn vector_class_b_paid_one_fen_short_fails_and_equality_passes() {
    let paid = |product: &str, contract: &str, paid: &str| {
        formal("R30", product, |_, v| {
            v.contract_amount = yuan(contract);
            v.paid = Some(yuan(paid));
        })
    };
    assert_eq!((paid("B-6", "250000", "174999.99"), paid("B-6", "250000", "175000.00")), (Fail, Pass));
    assert_eq!((paid("P-6", "100000", "89999.99"), paid("P-6", "100000", "90000")), (Fail, Pass));
    // 90 % of 0.03 is 0.027: two fen fail, three pass.
    assert_eq!((paid("P-6", "0.03", "0.02"), paid("P-6", "0.03", "0.03")), (Fail, Pass));
    assert_eq!(formal("R30", "P-6", |_, _| ()), Unknown);
}

#[test]
fn r31_the_three_sums_are_equal_to_the_fen() {
    let sums = |paid: Option<&str>, invoiced: Option<&str>, proofs: Option<&str>| {
        formal("R31", "P-6", |_, v| {
            (v.paid, v.invoiced, v.payment_proofs) = (paid.map(yuan), invoiced.map(yuan), proofs.map(yuan));
        })
    };
    assert_eq!(sums(Some("90000"), Some("90000.00"), Some("90000")), Pass);
    assert_eq!(sums(Some("90000"), Some("90000.01"), Some("90000")), Fail);
    assert_eq!(sums(Some("90000"), Some("90000"), Some("90000.01")), Fail);
    assert_eq!(
        (sums(Some("90000"), Some("90000"), None), sums(Some("90000"), None, Some("1")), sums(None, None, None)),
        (Unknown, Fail, Unknown)
    );
}

#[test]
fn notes_on_scope_times_and_remarks() {
    let note = |rule: &str, product: &str, change: fn(&mut World, &mut Voucher)| of_group(Group::Note, rule, product, change);
    assert_eq!(note("R1", "P-6", |_, _| ()), Pass);
    assert_eq!(note("R1", "P-6", |w, _| w.register.enterprises.get_mut("E-1").unwrap().city = "430100".to_string()), Fail);
    assert_eq!(note("R1", "P-6", |w, _| w.set("cities_excluded", "[\"440100\"]")), Fail);
    fn period(w: &mut World, v: &mut Voucher) {
        let row = IssuancePeriod {
            id: "2019".to_string(),
            claim_from: at("2019-06-01T00:00:00+08:00"),
            claim_to: at("2019-07-01T09:00:00+08:00"),
            redeem_from: at("2019-08-01T00:00:00+08:00"),
            redeem_to: at("2019-11-05T18:00:00+08:00"),
            announced_at: Some(at("2019-05-29T23:00:00+08:00")),
        };
        w.register.periods.insert(row.id.clone(), row);
        v.period = Some("2019".to_string());
    }
    assert_eq!((note("R9", "P-6", |_, _| ()), note("R9", "P-6", period)), (Unknown, Pass));
    assert_eq!(
        note("R9", "P-6", |w, v| {
            period(w, v);
            v.applied_at = at("2019-07-01T09:00:59.999999+08:00");
        }),
        Pass,
        "the announced minute is within"
    );
    assert_eq!(
        note("R9", "P-6", |w, v| {
            period(w, v);
            v.applied_at = at("2019-07-01T09:01:00+08:00");
        }),
        Fail
    );
    assert_eq!(
        note("R9", "P-6", |w, v| {
            period(w, v);
            w.register.periods.get_mut("2019").unwrap().announced_at = Some(at("2019-05-30T00:00:00+08:00"));
        }),
        Unknown,
        "less than three days' notice"
    );
    assert_eq!(note("R10", "P-6", period), NotApplicable);
    assert_eq!(
        note("R10", "P-6", |w, v| {
            period(w, v);
            w.as_of = at("2019-11-05T18:00:59.999999+08:00");
        }),
        NotApplicable
    );
    assert_eq!(
        note("R10", "P-6", |w, v| {
            period(w, v);
            w.as_of = at("2019-11-05T18:01:00+08:00");
        }),
        Fail
    );
    assert_eq!(
        note("R10", "P-6", |w, v| {
            period(w, v);
            v.redeem_at = Some(at("2019-11-05T18:00:00+08:00"));
        }),
        Pass
    );
    fn expired(w: &mut World, v: &mut Voucher, status: VoucherStatus) {
        period(w, v);
        w.register.periods.get_mut("2019").unwrap().redeem_to = at("2019-11-05T17:59:00+08:00");
        v.status = status;
    }
    assert_eq!(note("R10", "P-6", |w, v| expired(w, v, VoucherStatus::Issued)), Fail);
    assert_eq!(note("R10", "P-6", |w, v| expired(w, v, VoucherStatus::Withdrawn)), NotApplicable, "given up");
    assert_eq!(note("R10", "P-6", |w, v| expired(w, v, VoucherStatus::Refused)), NotApplicable);
    assert_eq!(note("R10", "P-6", |w, v| expired(w, v, VoucherStatus::Applied)), NotApplicable, "never issued");
    assert_eq!(note("R10", "P-6", |w, v| expired(w, v, VoucherStatus::Approved)), Unknown, "asked for, but not registered when");
    fn unredeemed(w: &mut World, cause: Option<&str>, count: usize) {
        for n in 0..count {
            let mut old = voucher(&format!("V-0{n}"), "P-9");
            old.status = VoucherStatus::Void;
            old.status_at = Some(at("2019-06-30T00:00:00+08:00"));
            old.void_cause = cause.map(str::to_string);
            w.add(old);
        }
    }
    assert_eq!((note("R11", "P-6", |w, _| unredeemed(w, None, 1)), note("R11", "P-6", |w, _| unredeemed(w, None, 2))), (Pass, Fail));
    for lack in ["资金缺口", "当期预算不足", "资金不足", "budget"] {
        assert_eq!(of_group(Group::Note, "R11", "P-6", |w, _| unredeemed(w, Some(lack), 2)), Pass, "{lack}");
    }
    for fraud in ["骗取财政资金", "套取专项资金"] {
        assert_eq!(of_group(Group::Note, "R11", "P-6", |w, _| unredeemed(w, Some(fraud), 2)), Fail, "{fraud}");
    }
}

#[test]
fn r39_row_remarks() {
    let note = |product: &str, change: fn(&mut World, &mut Voucher)| of_group(Group::Note, "R39", product, change);
    assert_eq!((note("P-4", |_, _| ()), note("P-4", |_, v| drop(v.contract_modules.pop()))), (Pass, Fail));
    assert_eq!((note("P-25", |_, _| ()), note("P-25", |_, v| v.pilot = Some("T".to_string()))), (Fail, Unknown));
    assert_eq!(
        (note("P-10", |_, _| ()), note("P-14", |_, _| ()), note("P-22", |_, _| ()), note("P-1", |_, _| ())),
        (Unknown, Unknown, Unknown, NotApplicable)
    );
}

#[test]
fn failing_formal_checks_leave_the_verdict_alone() {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-6");
    voucher.contract_signed_on = day("2018-01-01");
    voucher.contract_total = yuan("1");
    voucher.paid = Some(yuan("1"));
    world.add(voucher);
    world.use_product(10, &["u1", "u2"], &["甲", "乙", "丙"]);
    let judgement = world.judge("V-1");
    assert!(checks(&judgement, Group::Formal, "R7")[0].outcome == Fail && checks(&judgement, Group::Formal, "R30")[0].outcome == Fail);
    assert_eq!(judgement.result.verdict, Verdict::Met);
}
