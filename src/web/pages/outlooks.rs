//! Early warning for a city's reviewer: open vouchers that will not make their deadline first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use policy::calendar::{Instant, shanghai};
use policy::outlook::Outlook;
use policy::regions::same_city;
use serde::Deserialize;

use super::list::escaped;
use super::{PageError, rendered};
use crate::cities::{self, CITIES};
use crate::state::WebState;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct OutlookQuery {
    city: String,
}

struct Line {
    outlook: Outlook,
    enterprise: String,
    city: String,
}

#[derive(Template)]
#[template(path = "outlooks.html")]
struct OutlooksPage {
    query: OutlookQuery,
    lines: Vec<Line>,
    behind: usize,
}

impl OutlooksPage {
    fn cities(&self) -> &'static [(&'static str, &'static str)] {
        &CITIES
    }

    fn link(&self, line: &Line) -> String {
        format!("/vouchers/{}", escaped(&line.outlook.voucher))
    }
}

impl Line {
    fn city_name(&self) -> &str {
        cities::name(&self.city)
    }

    fn deadline(&self) -> String {
        self.outlook.deadline.map_or_else(|| "未登记".to_string(), shown)
    }

    /// Code and words of how it stands.
    fn standing(&self) -> (&'static str, &'static str) {
        match &self.outlook.forecast {
            Some(forecast) if forecast.on_track => ("pass", "预计可达到"),
            Some(_) => ("fail", "预计达不到"),
            None => ("unknown", "不作预测"),
        }
    }
}

fn shown(at: Instant) -> String {
    at.with_timezone(&shanghai()).format("%Y-%m-%d %H:%M").to_string()
}

pub async fn page(State(state): State<WebState>, Query(query): Query<OutlookQuery>) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let enterprise = |voucher: &str| register.vouchers.get(voucher).and_then(|voucher| register.enterprises.get(&voucher.enterprise));
    let wanted =
        register.vouchers.keys().filter(|id| query.city.is_empty() || enterprise(id).is_some_and(|row| same_city(&row.city, &query.city)));
    let wanted: Vec<&str> = wanted.map(String::as_str).collect();
    let line = |outlook: Outlook| {
        let enterprise = enterprise(&outlook.voucher);
        let (name, city) = enterprise.map(|row| (row.name.clone(), row.city.clone())).unwrap_or_default();
        Line { outlook, enterprise: name, city }
    };
    let mut lines: Vec<Line> = state.monitor.outlooks(&wanted).await?.into_iter().map(line).collect();
    let rank = |line: &Line| line.outlook.forecast.as_ref().map_or(1, |forecast| if forecast.on_track { 2 } else { 0 });
    lines.sort_by_key(|line| (rank(line), line.outlook.deadline));
    let behind = lines.iter().filter(|line| rank(line) == 0).count();
    Ok(rendered(&OutlooksPage { query, lines, behind }))
}
