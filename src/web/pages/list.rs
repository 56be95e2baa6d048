//! The list of vouchers.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use policy::calendar::shanghai;
use policy::reasons::Verdict;
use policy::register::VoucherStatus;

use super::{PageError, rendered};
use crate::cities::{self, CITIES};
use crate::listing::{NO_VERDICT, VoucherLine, VoucherPage, VoucherQuery, vouchers};
use crate::state::WebState;
use store::ResultSummary;

#[derive(Template)]
#[template(path = "vouchers.html")]
struct ListPage {
    query: VoucherQuery,
    page: VoucherPage,
    /// Code, words and number of each verdict.
    verdicts: Vec<(&'static str, &'static str, usize)>,
    next_link: Option<String>,
}

impl ListPage {
    fn cities(&self) -> &'static [(&'static str, &'static str)] {
        &CITIES
    }

    fn city_name<'a>(&self, code: &'a str) -> &'a str {
        cities::name(code)
    }

    fn verdict_code(&self, line: &VoucherLine) -> &'static str {
        line.verdict.map_or(NO_VERDICT, Verdict::code)
    }

    fn verdict_text(&self, line: &VoucherLine) -> &'static str {
        line.verdict.map_or("尚未判定", Verdict::text)
    }

    fn judged(&self, line: &VoucherLine) -> String {
        let shown = |result: &ResultSummary| result.judged_at.with_timezone(&shanghai()).format("%Y-%m-%d %H:%M").to_string();
        line.result.as_ref().map(shown).unwrap_or_default()
    }

    /// The approved amount, else the computed one with a word that says so.
    fn amount(&self, line: &VoucherLine) -> (String, &'static str) {
        match (&line.amount, &line.result) {
            (Some(approved), _) => (approved.to_string(), ""),
            (None, Some(result)) => (result.computed.clone(), "计算值"),
            (None, None) => ("—".to_string(), ""),
        }
    }

    fn devices(&self, line: &VoucherLine) -> String {
        let devices = line.result.as_ref().and_then(|result| result.devices);
        devices.map_or_else(|| "—".to_string(), |(decided, required)| format!("{decided} / {required}"))
    }

    fn status_text(&self, line: &VoucherLine) -> &'static str {
        status_text(&line.status)
    }
}

pub(super) fn status_text(status: &str) -> &'static str {
    VoucherStatus::read(status).map_or("", VoucherStatus::text)
}

pub async fn page(State(state): State<WebState>, Query(query): Query<VoucherQuery>) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let page = vouchers(&state.store, &register, &query, |_| true).await?;
    let none = [(NO_VERDICT, "尚未判定", page.count(NO_VERDICT))];
    let verdicts = Verdict::ALL.iter().map(|verdict| (verdict.code(), verdict.text(), page.count(verdict.code()))).chain(none).collect();
    let next_link = page.next.as_ref().map(|after| link(&VoucherQuery { after: after.clone(), ..query.clone() }));
    Ok(rendered(&ListPage { query, page, verdicts, next_link }))
}

/// The list's address with a query.
fn link(query: &VoucherQuery) -> String {
    let fields =
        [("city", &query.city), ("verdict", &query.verdict), ("product", &query.product), ("q", &query.q), ("after", &query.after)];
    let filled: Vec<String> =
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    format!("/vouchers?{}", filled.join("&"))
}

/// Percent-encoding for one part of a path or query.
pub(super) fn escaped(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_carry_the_query_whatever_is_in_it() {
        let query = VoucherQuery { q: "电 & 表".into(), after: "V-1".into(), ..VoucherQuery::default() };
        assert_eq!(link(&query), "/vouchers?q=%E7%94%B5%20%26%20%E8%A1%A8&after=V%2D1");
    }
}
