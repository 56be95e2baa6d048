//! Inspections for the province: data quality of a week, a supplier's credit, the spot-check list.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use monitor::SpotCheckAsked;
use policy::calendar::{day_of, show_instant};
use policy::credit::{CreditRecord, OutcomeRow, in_force};
use policy::in_force::Dated;
use policy::quality::{WeekQuality, share};
use policy::register::Register;
use policy::spot_check::{ChosenBy, Place, SpotCheckList, check_asked};
use policy::week::Week;
use serde::Deserialize;

use super::{PageError, message_page, not_found, rendered};
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

    fn late(&self, row: &QualityRow) -> String {
        let late = row.quality.figures.late(self.late_days_max);
        format!("{} / {}", late.0, late.1)
    }

    /// Which of the figures has days late of how many.
    fn by_days(&self, row: &QualityRow) -> String {
        let figures = &row.quality.figures;
        let mut by: BTreeMap<u32, u64> = figures.device_hours_by_days_late.clone();
        figures.usage_by_days_late.iter().for_each(|(days, count)| *by.entry(*days).or_default() += count);
        let late = by.into_iter().filter(|(days, _)| *days > self.late_days_max);
        let parts: Vec<String> = late.map(|(days, count)| format!("{days}：{count}")).collect();
        parts.join(" ")
    }
}

/// A share as the figures that make it and four places.
fn percent(figure: (u64, u64)) -> String {
    share(figure).unwrap_or_else(|| "—".to_string())
}

#[derive(Deserialize)]
pub struct WeekQuery {
    week: Option<String>,
}

pub async fn quality(State(state): State<WebState>, Query(query): Query<WeekQuery>) -> Result<Response, PageError> {
    let this = Week::of(day_of(state.clock.now()));
    let week = match query.week.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Week::read(text).filter(|week| *week <= this),
        None => Some(this.before(1)),
    };
    let Some(week) = week else {
        return Ok(message_page(StatusCode::BAD_REQUEST, "没有这一周", "请按 2019-W45 的样子写自然周，且不晚于本周。"));
    };
    let all = state.monitor.quality(&[week], None).await?;
    let register = state.register.register();
    let rows = all
        .into_iter()
        .filter_map(|(supplier, mut weeks)| Some(QualityRow { name: name(&register, &supplier), quality: weeks.remove(&week)?, supplier }))
        .collect();
    let late_days_max = state.monitor.inspection_rulebook().parameters.late_days_max;
    let next = Some(week.after()).filter(|next| *next <= this);
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
    query: SpotCheckQuery,
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
    fn by(&self) -> &'static str {
        match self.place.by {
            ChosenBy::RiskAmount => "风险×金额",
            ChosenBy::Random => "随机抽取",
        }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct SpotCheckQuery {
    seed: String,
    count: String,
    period: String,
}

pub async fn spot_checks(State(state): State<WebState>, Query(query): Query<SpotCheckQuery>) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let mut page = SpotChecksPage {
        periods: register.periods.keys().cloned().collect(),
        query: SpotCheckQuery { count: if query.count.is_empty() { "20".to_string() } else { query.count.clone() }, ..query.clone() },
        said_wrong: None,
        list: None,
    };
    if query.seed.is_empty() && query.count.is_empty() {
        return Ok(rendered(&page));
    }
    let count = page.query.count.parse().ok().filter(|count| check_asked(&query.seed, *count).is_ok());
    let period = Some(query.period).filter(|period| !period.is_empty());
    let known = period.as_ref().is_none_or(|period| register.periods.contains_key(period));
    let (Some(count), true) = (count, known) else {
        page.said_wrong = Some("请填写种子（1 至 200 个字符）和名额（1 至 10000），并选择登记过的发放周期。");
        return Ok(rendered(&page));
    };
    let list = state.monitor.spot_checks(&SpotCheckAsked { seed: query.seed, period, count }).await?;
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
    page.list = Some(ListShown { list, rows, as_of: show_instant(state.clock.now()) });
    Ok(rendered(&page))
}
