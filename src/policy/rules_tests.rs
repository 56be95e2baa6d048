//! The table of rules against its document, against what judgements list, and against what the code cites.

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::Judgement;
use crate::reasons::{Group, Outcome};
use crate::register::*;
use crate::rules::{Home, RULES, Rule, clause_of, rule_of};
use crate::test_case::{World, at, voucher, yuan};

const DOCUMENT: &str = include_str!("../../config/rules-2019.md");

#[test]
fn the_table_and_its_document_say_the_same() {
    let said = |rule: &Rule| {
        let homes: Vec<&str> = rule.homes.iter().map(|home| home.word()).collect();
        (rule.number, rule.clause, homes.join("、"), rule.for_people)
    };
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| R"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let written: Vec<_> = rows.iter().map(|row| (row[0], row[1], row[2].to_string(), row[4])).collect();
    assert_eq!(written, RULES.iter().map(said).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.len() == 5 && !row[3].is_empty()), "each row says what is looked at");
    for home in Home::ALL {
        assert!(DOCUMENT.contains(&format!("**{}**", home.word())), "{} is explained", home.word());
    }
}

#[test]
fn there_are_46_rules_each_with_clause_and_home_in_order() {
    let numbers: Vec<String> = (1..=46).map(|number| format!("R{number}")).collect();
    assert_eq!(RULES.iter().map(|rule| rule.number).collect::<Vec<_>>(), numbers);
    assert!(RULES.iter().all(|rule| !rule.clause.is_empty() && !rule.homes.is_empty()));
}

/// Judgements of every kind: per device and by usage, a pilot, an unknown product, nothing registered, a voucher of 0 yuan.
fn judgements() -> Vec<Judgement> {
    let mut world = World::new();
    world.set("carrier_required", "true");
    let period = IssuancePeriod {
        id: "2019".to_string(),
        claim_from: at("2019-06-01T00:00:00+08:00"),
        claim_to: at("2019-12-31T23:59:00+08:00"),
        redeem_from: at("2019-08-01T00:00:00+08:00"),
        redeem_to: at("2020-03-31T23:59:00+08:00"),
        announced_at: Some(at("2019-05-01T09:00:00+08:00")),
    };
    world.register.periods.insert(period.id.clone(), period);
    for party in ["440100", "S-1", "T"] {
        let row = Quota { party: party.to_string(), period: "2019".to_string(), amount: yuan("1000000") };
        world.register.quotas.insert((row.party.clone(), row.period.clone()), row);
    }
    let members = vec!["S-1".to_string(), "S-2".to_string()];
    let pilot = Pilot { id: "T".to_string(), members, enterprises: vec!["E-1".to_string()], benchmark: "E-1".to_string() };
    world.register.pilots.insert("T".to_string(), pilot);
    for (id, product) in [("V-1", "P-5"), ("V-2", "P-6"), ("V-3", "P-25"), ("V-4", "nothing"), ("V-5", "P-23")] {
        let mut row = voucher(id, product);
        row.period = Some("2019".to_string());
        row.redeem_at = Some(at("2019-11-05T09:00:00+08:00"));
        (row.paid, row.invoiced, row.payment_proofs) = (Some(yuan("90000")), Some(yuan("90000")), Some(yuan("90000")));
        row.accepted_modules = Some(row.contract_modules.clone());
        row.cost_lines = Some(vec![CostLine { kind: "软件".to_string(), amount: row.contract_amount }]);
        row.supplier_confirmed_at = row.redeem_at;
        row.pilot = (id == "V-3").then(|| "T".to_string());
        world.add(row);
    }
    let mut bare = voucher("V-6", "P-22");
    bare.enterprise = "E-2".to_string();
    bare.contract_amount = yuan("0.01");
    world.add(bare);
    world.connect("V-1", 60, 8);
    world.use_product(12, &["u1", "u2"], &["甲", "乙", "丙"]);
    world.register.vouchers.keys().map(|id| world.judge(id)).collect()
}

fn home_of(group: Group) -> Home {
    match group {
        Group::Deciding => Home::Deciding,
        Group::Formal => Home::Formal,
        Group::Note => Home::Note,
    }
}

#[test]
fn every_judgement_lists_exactly_the_rules_whose_home_is_a_check() {
    let promised: BTreeSet<&str> = RULES.iter().filter(|rule| rule.homes.iter().any(|home| home.check())).map(|rule| rule.number).collect();
    let mut homes_seen: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for judgement in judgements() {
        let listed: BTreeSet<&str> = judgement.result.checks.iter().map(|check| check.rule.as_str()).collect();
        assert_eq!(listed, promised, "{}", judgement.result.voucher);
        for check in &judgement.result.checks {
            homes_seen.entry(check.rule.clone()).or_default().insert(home_of(check.group).word());
        }
    }
    for rule in RULES.iter().filter(|rule| promised.contains(rule.number)) {
        let homes: BTreeSet<&str> = rule.homes.iter().filter(|home| home.check()).map(|home| home.word()).collect();
        assert_eq!(homes_seen[rule.number], homes, "{}", rule.number);
    }
}

#[test]
fn every_check_has_its_clause_a_sentence_and_where_it_judges_both_figures() {
    for judgement in judgements() {
        for check in &judgement.result.checks {
            assert_eq!(check.clause, clause_of(&check.rule), "{check:?}");
            assert!(check.text.ends_with('。'), "{check:?}");
            if matches!(check.outcome, Outcome::Pass | Outcome::Fail) {
                assert!(!check.required.is_empty() && !check.observed.is_empty(), "{check:?}");
            }
        }
        for finding in &judgement.result.findings {
            assert!(rule_of(&finding.rule).is_some_and(|rule| rule.homes.contains(&Home::Finding)), "{finding:?}");
        }
    }
}

#[test]
fn no_code_cites_a_rule_that_the_table_does_not_know() {
    let mut cited = 0;
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let quoted = text.split('"').filter(|word| word.strip_prefix('R').is_some_and(|number| number.parse::<u32>().is_ok()));
                for number in quoted {
                    assert!(rule_of(number).is_some(), "{} cites {number}", path.display());
                    cited += 1;
                }
            }
        }
    }
    assert!(cited > 100);
}
