//! What spot checks of one voucher found, and the form that records it.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use policy::calendar::{Day, Instant, day_of};
use policy::credit::{OutcomeRow, in_force};
use policy::outcome::NOTE_CHARS_MAX;
use policy::reasons::SpotOutcome;
use policy::register::Voucher;
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::escaped;
use super::voucher::shown_instant;
use super::{BY_PAGE, PageError, actor, foreign, from_our_page, rendered};
use crate::api::inspect;
use crate::problem::Problem;
use crate::state::WebState;

#[derive(Template)]
#[template(path = "outcomes.html")]
struct OutcomesPage {
    voucher: Voucher,
    enterprise: String,
    rows: Vec<OutcomeRow>,
    today: Day,
    /// What was sent and what is wrong with it.
    said: OutcomeForm,
    faults: Vec<&'static str>,
}

impl OutcomesPage {
    fn voucher_link(&self) -> String {
        format!("/vouchers/{}", escaped(&self.voucher.id))
    }

    fn own_link(&self) -> String {
        format!("/spot-checks/{}", escaped(&self.voucher.id))
    }

    fn outcomes(&self) -> &'static [SpotOutcome] {
        SpotOutcome::ALL
    }

    fn note_chars_max(&self) -> usize {
        NOTE_CHARS_MAX
    }

    /// Those that can still be corrected.
    fn standing(&self) -> Vec<&OutcomeRow> {
        in_force(&self.rows)
    }

    fn stands(&self, row: &OutcomeRow) -> bool {
        self.standing().iter().any(|standing| standing.number == row.number)
    }

    fn by(&self, row: &OutcomeRow) -> String {
        if row.recorded_by == BY_PAGE { "本机页面".to_string() } else { row.recorded_by.clone() }
    }

    fn when(&self, at: &Instant) -> String {
        shown_instant(*at)
    }
}

/// As a browser sends it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct OutcomeForm {
    outcome: String,
    on: String,
    note: String,
    corrects: String,
}

impl OutcomeForm {
    fn to_json(&self) -> Value {
        // Browsers end lines with both.
        let mut said = json!({ "outcome": self.outcome, "on": self.on, "note": self.note.replace("\r\n", "\n") });
        if !self.corrects.is_empty() {
            said["corrects"] = self.corrects.parse().map_or_else(|_| json!(self.corrects), |number: i64| json!(number));
        }
        said
    }
}

pub async fn page(State(state): State<WebState>, Path(id): Path<String>) -> Result<Response, PageError> {
    let voucher = voucher(&state, &id).await?;
    show(&state, voucher, OutcomeForm::default(), Vec::new()).await
}

pub async fn record(
    State(state): State<WebState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(said): Form<OutcomeForm>,
) -> Result<Response, PageError> {
    if !from_our_page(&headers) {
        return Ok(foreign());
    }
    let voucher = voucher(&state, &id).await?;
    match inspect::record(&state, &voucher, &said.to_json(), &actor(&state)).await? {
        Ok(_) => Ok(Redirect::to(&format!("/spot-checks/{}", escaped(&id))).into_response()),
        Err(faults) => {
            let faults = faults.iter().map(|fault| fault.rule).collect();
            let page = show(&state, voucher, said, faults).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

async fn voucher(state: &WebState, id: &str) -> Result<Voucher, Problem> {
    state.register.refresh().await?;
    state.register.register().vouchers.get(id).cloned().ok_or_else(|| Problem::not_found(""))
}

async fn show(state: &WebState, voucher: Voucher, said: OutcomeForm, faults: Vec<&'static str>) -> Result<Response, PageError> {
    let register = state.register.register();
    let enterprise = register.enterprises.get(&voucher.enterprise).map(|row| row.name.clone()).unwrap_or_default();
    let rows = state.store.outcomes(Some(&voucher.id)).await?;
    let today = day_of(state.clock.now());
    Ok(rendered(&OutcomesPage { voucher, enterprise, rows, today, said, faults }))
}
