//! The credit record of a supplier (R43): points with every addend and its reason, from spot-check outcomes and weekly data quality.
//! It raises how likely the supplier's vouchers are to be spot-checked, and decides no verdict (R34, R42).

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Serialize;

use crate::calendar::{self, Day, Instant};
use crate::quality::{WeekQuality, share};
use crate::reasons::SpotOutcome;
use crate::rulebook::Parameters;
use crate::week::Week;

pub const RULE: &str = "R43";

/// What somebody found on site. Rows are only ever added: a correction names the row that it takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeRow {
    pub number: i64,
    pub voucher: String,
    /// Of the voucher's product when the outcome was recorded; a correction has that of the row it corrects.
    pub supplier: String,
    pub outcome: SpotOutcome,
    pub note: String,
    /// The day of the check.
    pub on: Day,
    pub corrects: Option<i64>,
    #[serde(with = "calendar::instant")]
    pub recorded_at: Instant,
    pub recorded_by: String,
}

/// Those that no other corrects, in order of their numbers.
pub fn in_force(rows: &[OutcomeRow]) -> Vec<&OutcomeRow> {
    let corrected: BTreeSet<i64> = rows.iter().filter_map(|row| row.corrects).collect();
    let standing: BTreeMap<i64, &OutcomeRow> =
        rows.iter().filter(|row| !corrected.contains(&row.number)).map(|row| (row.number, row)).collect();
    standing.into_values().collect()
}

/// Points added (or, below zero, taken), why, and which parameter set their number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addend {
    pub points: i64,
    pub parameter: &'static str,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week: Option<Week>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditRecord {
    pub supplier: String,
    pub rule: &'static str,
    pub start: i64,
    /// The start and all addends together.
    pub points: i64,
    pub addends: Vec<Addend>,
}

impl CreditRecord {
    /// How far below the start.
    pub fn lost(&self) -> u64 {
        self.start.saturating_sub(self.points).max(0).unsigned_abs()
    }
}

pub fn credit(supplier: &str, outcomes: &[OutcomeRow], weeks: &BTreeMap<Week, WeekQuality>, parameters: &Parameters) -> CreditRecord {
    // Corrections first: whoever a row was laid to, what it corrects no longer counts.
    let own = in_force(outcomes).into_iter().filter(|row| row.supplier == supplier);
    let mut addends: Vec<Addend> = own.map(|row| of_outcome(row, parameters)).collect();
    for (week, quality) in weeks {
        addends.extend(of_week(*week, quality, parameters));
    }
    let start = i64::from(parameters.credit_start);
    let points = addends.iter().fold(start, |sum, addend| sum + addend.points);
    CreditRecord { supplier: supplier.to_string(), rule: RULE, start, points, addends }
}

fn of_outcome(row: &OutcomeRow, parameters: &Parameters) -> Addend {
    let (points, parameter) = match row.outcome {
        SpotOutcome::Confirmed => (i64::from(parameters.credit_confirmed_points), "credit_confirmed_points"),
        SpotOutcome::Deviating => (-i64::from(parameters.credit_deviating_points), "credit_deviating_points"),
        SpotOutcome::Fraud => (-i64::from(parameters.credit_fraud_points), "credit_fraud_points"),
    };
    let text = format!("{} 对服务券 {} 的抽查：{}", row.on, row.voucher, row.outcome.text());
    Addend { points, parameter, text, outcome: Some(row.number), week: None }
}

/// A week costs points once for each of completeness, lateness and refusals.
fn of_week(week: Week, quality: &WeekQuality, parameters: &Parameters) -> Vec<Addend> {
    let exceeds = |(part, whole): (u64, u64), bound: Decimal| Decimal::from(part) > bound * Decimal::from(whole);
    let shown = |figure| share(figure).unwrap_or_default();
    let mut texts = Vec::new();
    let complete = quality.figures.complete();
    let missing = (complete.1.saturating_sub(complete.0), complete.1);
    if exceeds(missing, Decimal::ONE - parameters.credit_completeness_min) {
        let (with_data, expected) = complete;
        texts.push(format!(
            "{week} 数据完整率 {with_data} ÷ {expected} = {}，低于 {}",
            shown(complete),
            parameters.credit_completeness_min
        ));
    }
    let late = quality.figures.late(parameters.late_days_max);
    if exceeds(late, parameters.credit_late_share_max) {
        let (late_count, all) = late;
        texts.push(format!("{week} 补传过晚占比 {late_count} ÷ {all} = {}，高于 {}", shown(late), parameters.credit_late_share_max));
    }
    if quality.refused_of_supplier > u64::from(parameters.credit_refused_max) {
        texts.push(format!("{week} 推送被拒收 {} 份，多于 {} 份", quality.refused_of_supplier, parameters.credit_refused_max));
    }
    let points = -i64::from(parameters.credit_week_points);
    texts.into_iter().map(|text| Addend { points, parameter: "credit_week_points", text, outcome: None, week: Some(week) }).collect()
}
