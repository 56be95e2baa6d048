//! Inspections for the province: data quality of a week, a supplier's credit, the spot-check list.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use policy::calendar::day_of;
use policy::credit::{CreditRecord, OutcomeRow, in_force};
use policy::in_force::Dated;
use policy::quality::{WeekQuality, share};
use policy::register::Register;
use policy::spot_check::{ChosenBy, Place, SpotCheckList};
use policy::week::Week;
use serde::Deserialize;

use super::list::escaped;
use super::voucher::shown_instant;
use super::{PageError, actor, foreign, from_our_page, message_page, not_found, rendered};
use crate::api::inspect::{SpotCheckQuery, WeekQuery};
use crate::state::WebState;

#[derive(Template)]
#[template(path = "quality.html")]
struct QualityPage {
    week: Week,
    /// Empty while the next one has not begun.
    next: Option<Week>,
    late_days_max: u32,
    keep_days: u64,
    rows: Vec<QualityRow>,
}

struct QualityRow {
    supplier: String,
    name: String,
    quality: WeekQuality,
}

impl QualityPage {
    fn completeness(&self, row: &QualityRow) -> String {
        percent(row.quality.figures.complete())
    }

    /// Nothing of nothing is no figure.
    fn of(&self, part: &u64, whole: &u64) -> String {
        if *whole == 0 { "—".to_string() } else { format!("{part} / {whole}") }
    }

    fn late(&self, row: &QualityRow) -> String {
        let late = row.quality.figures.late(self.late_days_max);
        self.of(&late.0, &late.1)
    }

    /// Which of the figures has days late of how many.
    fn by_days(&self, row: &QualityRow) -> String {
        let figures = &row.quality.figures;
        let mut by: BTreeMap<u32, u64> = figures.device_hours_by_days_late.clone();
        figures.usage_by_days_late.iter().for_each(|(days, count)| *by.entry(*days).or_default() += count);
        let late = by.into_iter().filter(|(days, _)| *days > self.late_days_max);
        let parts: Vec<String> = late.map(|(days, count)| format!("{days} 天：{count}")).collect();
        parts.join("，")
    }
}

/// A share in percent, to two places; the four of a share, moved.
fn percent(figure: (u64, u64)) -> String {
    let Some(share) = share(figure) else { return "—".to_string() };
    let digits = share.replace('.', "");
    let (whole, part) = digits.split_at(digits.len() - 2);
    let whole = whole.trim_start_matches('0');
    format!("{}.{part}%", if whole.is_empty() { "0" } else { whole })
}

pub async fn quality(State(state): State<WebState>, Query(query): Query<WeekQuery>) -> Result<Response, PageError> {
    let Ok(week) = query.read(&state) else {
        return Ok(message_page(StatusCode::BAD_REQUEST, "没有这一周", "请按 2019-W45 的样子写自然周，且不晚于本周。"));
    };
    let all = state.monitor.quality(&[week], None).await?;
    let register = state.register.register();
    let rows = all
        .into_iter()
        .filter_map(|(supplier, mut weeks)| Some(QualityRow { name: name(&register, &supplier), quality: weeks.remove(&week)?, supplier }))
        .collect();
    let late_days_max = state.monitor.inspection_rulebook().parameters.late_days_max;
    let next = Some(week.after()).filter(|next| *next <= Week::of(day_of(state.clock.now())));
    Ok(rendered(&QualityPage { week, next, late_days_max, keep_days: state.quarantine_keep_days, rows }))
}

fn name(register: &Register, supplier: &str) -> String {
    register.suppliers.get(supplier).map(|row| row.name.clone()).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "credit.html")]
struct CreditPage {
    name: String,
    record: CreditRecord,
    rulebook: String,
}

pub async fn credit(State(state): State<WebState>, Path(supplier): Path<String>) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let record = state.monitor.credit(Some(&supplier)).await?.remove(&supplier);
    let Some(record) = record else { return Ok(not_found("没有这家供应商。")) };
    let rulebook = state.monitor.inspection_rulebook().id().to_string();
    Ok(rendered(&CreditPage { name: name(&register, &supplier), record, rulebook }))
}

#[derive(Template)]
#[template(path = "spot_checks.html")]
struct SpotChecksPage {
    periods: Vec<String>,
    query: SpotCheckForm,
    said_wrong: Option<&'static str>,
    list: Option<ListShown>,
}

struct ListShown {
    list: SpotCheckList,
    rows: Vec<PlaceShown>,
    as_of: String,
}

struct PlaceShown {
    place: Place,
    enterprise: String,
    supplier: String,
    /// What was found on site, in force.
    found: String,
}

impl PlaceShown {
    fn outcome_link(&self) -> String {
        format!("/spot-checks/{}", escaped(&self.place.candidate.voucher))
    }

    fn by(&self) -> &'static str {
        match self.place.by {
            ChosenBy::RiskAmount => "风险×金额",
            ChosenBy::Random => "随机抽取",
        }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct SpotCheckForm {
    seed: String,
    count: String,
    period: String,
}

/// Drawing a list is an act that is written down: no page elsewhere may bring it about.
pub async fn spot_checks(
    State(state): State<WebState>,
    headers: HeaderMap,
    Query(query): Query<SpotCheckForm>,
) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let mut page = SpotChecksPage {
        periods: register.periods.keys().cloned().collect(),
        query: SpotCheckForm { count: if query.count.is_empty() { "20".to_string() } else { query.count.clone() }, ..query.clone() },
        said_wrong: None,
        list: None,
    };
    if query.seed.is_empty() && query.count.is_empty() {
        return Ok(rendered(&page));
    }
    if !from_our_page(&headers) {
        return Ok(foreign());
    }
    let SpotCheckForm { seed, period, .. } = query;
    let asked =
        page.query.count.trim().parse().ok().and_then(|count| SpotCheckQuery { seed, count, period: Some(period) }.asked(&register).ok());
    let Some(asked) = asked else {
        page.said_wrong = Some("请填写种子（1 至 200 个字符）和名额（1 至 10000），并选择登记过的发放周期。");
        return Ok(rendered(&page));
    };
    let list = state.monitor.spot_checks(&asked).await?;
    state.store.record_draw(&list, &actor(&state)).await?;
    let outcomes = state.store.outcomes(None).await?;
    let found: BTreeMap<&str, &OutcomeRow> = in_force(&outcomes).into_iter().map(|row| (row.voucher.as_str(), row)).collect();
    let rows = list
        .places
        .iter()
        .map(|place| {
            let voucher = register.vouchers.get(&place.candidate.voucher);
            let enterprise = voucher.and_then(|voucher| register.enterprises.get(&voucher.enterprise));
            let found = found.get(place.candidate.voucher.as_str());
            PlaceShown {
                enterprise: enterprise.map(|row| row.name.clone()).unwrap_or_default(),
                supplier: name(&register, &place.candidate.supplier),
                found: found.map(|row| format!("{} {}", row.on, row.outcome.text())).unwrap_or_default(),
                place: place.clone(),
            }
        })
        .collect();
    page.list = Some(ListShown { list, rows, as_of: shown_instant(state.clock.now()) });
    Ok(rendered(&page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_shown_in_percent() {
        let shown = [(0, 3), (1, 3), (1, 14), (3, 3), (0, 0)].map(percent);
        assert_eq!(shown, ["0.00%", "33.33%", "7.14%", "100.00%", "—"]);
    }
}
