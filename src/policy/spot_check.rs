//! The spot-check list (抽查): most places go by risk × amount, a share is drawn at random, by a rule that anybody can follow with a
//! seed. The same candidates, seed and count give the same list on any machine. It decides no verdict.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use serde_json::json;

use crate::canonical::hash_of;
use crate::credit::CreditRecord;
use crate::money::Yuan;
use crate::reasons::{FindingCode, Verdict};
use crate::rulebook::Parameters;

const COUNT_MAX: u64 = 10_000;
const SEED_CHARS_MAX: usize = 200;

/// What can be asked of a list at all.
pub fn check_asked(seed: &str, count: u64) -> Result<(), String> {
    if seed.trim().is_empty() || seed.chars().count() > SEED_CHARS_MAX {
        return Err(format!("seed: a text of 1 to {SEED_CHARS_MAX} characters"));
    }
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(format!("count: a number from 1 to {COUNT_MAX}"));
    }
    Ok(())
}

/// Points of risk, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RiskPart {
    pub points: u64,
    pub text: String,
}

/// A voucher that can be spot-checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    pub voucher: String,
    pub supplier: String,
    pub amount: Yuan,
    /// Together the risk.
    pub risk: Vec<RiskPart>,
    /// Hash of the judgement that the risk stands on; `None` before the first.
    pub judgement_hash: Option<String>,
}

impl Candidate {
    pub fn risk(&self) -> u64 {
        self.risk.iter().map(|part| part.points).sum()
    }

    /// Risk × amount, in fen.
    fn score(&self) -> u128 {
        u128::from(self.risk()) * u128::from(self.amount.fen())
    }
}

/// What makes up the risk of a voucher: one point that everything has, findings of its newest result, its verdict, and the credit of
/// its supplier.
pub fn risk(findings: &[FindingCode], verdict: Option<Verdict>, credit: Option<&CreditRecord>, parameters: &Parameters) -> Vec<RiskPart> {
    let mut parts = vec![RiskPart { points: 1, text: "基本风险 1 分".to_string() }];
    let mut add = |points: u64, why: String| {
        if points > 0 {
            parts.push(RiskPart { points, text: format!("{why}，加 {points} 分") });
        }
    };
    let mut kinds: BTreeMap<&str, FindingCode> = BTreeMap::new();
    kinds.extend(findings.iter().map(|finding| (finding.code(), *finding)));
    for finding in kinds.into_values() {
        add(parameters.spot_check_finding_points.into(), format!("线索：{}", finding.text()));
    }
    if verdict == Some(Verdict::Conflicting) {
        add(parameters.spot_check_conflicting_points.into(), "监测结果为数据冲突".to_string());
    }
    if let Some(credit) = credit {
        let why = format!("供应商信用 {} 分，低于起始 {} 分", credit.points, credit.start);
        add(credit.lost() / u64::from(parameters.spot_check_credit_points).max(1), why);
    }
    parts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    RiskAmount,
    Random,
}

/// A place on the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub place: u64,
    pub by: ChosenBy,
    #[serde(flatten)]
    pub candidate: Candidate,
    pub risk_points: u64,
    /// Risk × amount, in yuan.
    pub risk_amount: String,
    /// What was drawn, where the place is a random one.
    pub draw: Option<String>,
    /// Why it is on the list, in sentences.
    pub why: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpotCheckList {
    pub seed: String,
    pub period: Option<String>,
    pub count: u64,
    pub random_places: u64,
    pub candidates: u64,
    /// Hash of all candidates: with it the same, seed and count give the same list.
    pub candidates_hash: String,
    pub places: Vec<Place>,
}

/// The number drawn for a voucher: SHA-256 of the RFC 8785 form of `[seed, period, voucher]`.
pub fn draw(seed: &str, period: Option<&str>, voucher: &str) -> String {
    hash_of(&json!([seed, period, voucher]))
}

/// Candidates without an amount have nothing to be checked for.
pub fn select(seed: &str, period: Option<&str>, count: u64, random_share: Decimal, mut candidates: Vec<Candidate>) -> SpotCheckList {
    candidates.retain(|candidate| !candidate.amount.is_zero());
    candidates.sort_by(|a, b| a.voucher.cmp(&b.voucher));
    let candidates_hash = hash_of(&candidates);
    let random_places = (random_share * Decimal::from(count)).ceil().to_u64().unwrap_or(count).min(count);
    candidates.sort_by(|a, b| b.score().cmp(&a.score()).then_with(|| a.voucher.cmp(&b.voucher)));
    let total = candidates.len();
    let by_risk = usize::try_from(count - random_places).unwrap_or(total).min(total);
    let mut rest: Vec<(String, Candidate)> =
        candidates.split_off(by_risk).into_iter().map(|candidate| (draw(seed, period, &candidate.voucher), candidate)).collect();
    rest.sort_by(|a, b| (&a.0, &a.1.voucher).cmp(&(&b.0, &b.1.voucher)));
    let drawn_of = rest.len();
    let ranked = (1..).zip(candidates).map(|(rank, candidate)| {
        let (risk, amount, product) = (candidate.risk(), candidate.amount, shown_score(&candidate));
        let why = format!("风险 {risk} 分 × 金额 {amount} 元 = {product}，居 {total} 张候选券第 {rank} 位");
        placed(ChosenBy::RiskAmount, None, why, candidate)
    });
    let drawn = (1..).zip(rest).map(|(rank, (draw, candidate))| {
        let why = format!("随机抽取：其余 {drawn_of} 张候选券中抽签值第 {rank} 小（种子“{seed}”）");
        placed(ChosenBy::Random, Some(draw), why, candidate)
    });
    let random = usize::try_from(random_places).unwrap_or(usize::MAX);
    let places = (1..).zip(ranked.chain(drawn.take(random))).map(|(place, chosen)| Place { place, ..chosen }).collect();
    let period = period.map(str::to_string);
    SpotCheckList { seed: seed.to_string(), period, count, random_places, candidates: total as u64, candidates_hash, places }
}

fn shown_score(candidate: &Candidate) -> String {
    let score = candidate.score();
    format!("{}.{:02}", score / 100, score % 100)
}

fn placed(by: ChosenBy, draw: Option<String>, why: String, candidate: Candidate) -> Place {
    let why = std::iter::once(why).chain(candidate.risk.iter().map(|part| part.text.clone())).collect();
    Place { place: 0, by, risk_points: candidate.risk(), risk_amount: shown_score(&candidate), draw, why, candidate }
}
