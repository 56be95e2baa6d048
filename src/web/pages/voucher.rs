//! One voucher: its verdict, every check, every device, the days of the window.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use policy::calendar::{Instant, shanghai};
use policy::diff::Change;
use policy::judge::Explanation;
use policy::outlook::{ForecastFigure, Outlook};
use policy::reasons::{Group, Outcome, Verdict};
use policy::register::{Enterprise, Product, Supplier, Voucher};
use policy::result::{Check, Finding, MonitoringResult};
use store::{Act, AuditDraft, StoreError, StoredResult};

use super::evidence_text::evidence_text;
use super::list::{escaped, status_text};
use super::{PageError, actor, foreign, from_our_page, rendered};
use crate::activity;
use crate::cities;
use crate::known::{Known, read};
use crate::problem::Problem;
use crate::state::WebState;

#[derive(Template)]
#[template(path = "voucher.html")]
struct VoucherPage {
    voucher: Voucher,
    enterprise: Option<Enterprise>,
    product: Option<Product>,
    supplier: Option<Supplier>,
    /// The result that is shown: the newest, unless another was asked for.
    judged: Option<Shown>,
    /// The number of the newest result, where an older one is shown.
    superseded_by: Option<i64>,
    /// What has changed since the result before, and its number.
    changes: Option<(u64, Vec<Change>)>,
    /// Where the pace leads, of a voucher that is still open.
    outlook: Option<Outlook>,
    /// All results, the newest first.
    history: Vec<HistoryLine>,
}

struct Shown {
    result: MonitoringResult,
    explanation: Explanation,
    drawing: Option<String>,
}

struct HistoryLine {
    sequence: i64,
    verdict: String,
    verdict_text: String,
    judged_at: String,
    cut_off: String,
    hash: String,
}

impl VoucherPage {
    fn city(&self) -> &str {
        self.enterprise.as_ref().map_or("", |enterprise| cities::name(&enterprise.city))
    }

    fn status(&self) -> &'static str {
        let status = serde_json::to_value(self.voucher.status).ok();
        status_text(status.as_ref().and_then(|status| status.as_str()).unwrap_or(""))
    }

    fn when(&self, at: &Instant) -> String {
        shown_instant(*at)
    }

    fn figure_name(&self, figure: &ForecastFigure) -> &'static str {
        match figure.name {
            "devices" => "实际接入设备（台）",
            "active_days" => "使用日（天）",
            "users" => "不同用户（人）",
            _ => "用过的合同功能模块（项）",
        }
    }

    fn result_link(&self, sequence: &i64) -> String {
        format!("/vouchers/{}/results/{sequence}", escaped(&self.voucher.id))
    }

    fn voucher_link(&self) -> String {
        format!("/vouchers/{}", escaped(&self.voucher.id))
    }

    fn jws_link(&self, sequence: &u64) -> String {
        format!("/vouchers/{}/results/{sequence}/result.jws", escaped(&self.voucher.id))
    }

    fn spot_check_link(&self) -> String {
        format!("/spot-checks/{}", escaped(&self.voucher.id))
    }

    /// What makes the evidence pack of a result, on the service's machine.
    fn pack_command(&self, sequence: &u64) -> String {
        format!("shangyun pack --voucher {} --sequence {sequence} --out evidence.pack.tar", quoted(&self.voucher.id))
    }

    fn judge_link(&self) -> String {
        format!("/vouchers/{}/judge", escaped(&self.voucher.id))
    }
}

impl Shown {
    fn groups(&self) -> Vec<(&'static str, Vec<&Check>)> {
        let of = |group: Group| self.result.checks.iter().filter(|check| check.group == group).collect::<Vec<_>>();
        [Group::Deciding, Group::Formal, Group::Note]
            .into_iter()
            .map(|group| (group.text(), of(group)))
            .filter(|(_, checks)| !checks.is_empty())
            .collect()
    }

    fn legend(&self) -> [&'static str; 2] {
        activity::legend(self.result.amount.per_device.is_some())
    }

    /// What the verdict means for whoever decides.
    fn meaning(&self) -> &'static str {
        match self.result.verdict {
            Verdict::Met => "判定依据全部符合。",
            Verdict::NotMet => "至少一项判定依据不符合。",
            Verdict::Insufficient => "缺少判定所需的数据。证据不足不等于不达标，可退回补充。",
            Verdict::Conflicting => "结论取决于有争议的数据（例如同时被两张服务券申报的设备，或两个渠道不一致），须由人核实后判断。",
        }
    }

    fn deciding(&self) -> Vec<&Check> {
        self.result.checks.iter().filter(|check| check.group == Group::Deciding).collect()
    }

    fn outcome(&self, check: &Check) -> (&'static str, &'static str) {
        let outcome: Outcome = check.outcome;
        (outcome.code(), outcome.text())
    }

    /// Where in the log that stands on which a finding rests.
    fn blocks(&self, finding: &Finding) -> Option<String> {
        let found = self.result.evidence.findings.iter().find(|found| found.code == finding.code)?;
        let range = |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}–{last}") };
        Some(found.blocks.iter().map(range).collect::<Vec<_>>().join("、"))
    }

    fn evidence(&self, value: &serde_json::Value) -> String {
        evidence_text(value)
    }
}

pub(super) fn shown_instant(at: Instant) -> String {
    at.with_timezone(&shanghai()).format("%Y-%m-%d %H:%M:%S").to_string()
}

pub async fn page(State(state): State<WebState>, Path(id): Path<String>) -> Result<Response, PageError> {
    show(&state, &id, None).await
}

/// One of the results by its number.
pub async fn older(State(state): State<WebState>, Path((id, sequence)): Path<(String, i64)>) -> Result<Response, PageError> {
    show(&state, &id, Some(sequence)).await
}

async fn show(state: &WebState, id: &str, sequence: Option<i64>) -> Result<Response, PageError> {
    state.register.refresh().await?;
    let register = state.register.register();
    let voucher = register.vouchers.get(id).ok_or_else(|| Problem::not_found(""))?.clone();
    let product = register.products.get(&voucher.product).cloned();
    let results = state.store.results_of(id).await?;
    let wanted = match sequence {
        Some(sequence) => Some(results.iter().find(|result| result.sequence == sequence).ok_or_else(|| Problem::not_found(""))?),
        None => results.first(),
    };
    let judged = wanted.map(Known::read).transpose()?;
    let before = judged.as_ref().and_then(|judged| judged.result.supersedes);
    let before = before.and_then(|before| results.iter().find(|result| result.sequence.unsigned_abs() == before));
    let changes = match (&judged, before) {
        (Some(judged), Some(before)) => Some((before.sequence.unsigned_abs(), judged.changes_since(&Known::read(before)?))),
        _ => None,
    };
    let newest = results.first().map(|newest| newest.sequence);
    // A page of an older result speaks of then.
    let outlook = if sequence.is_none() { state.monitor.outlooks(&[id]).await?.pop() } else { None };
    Ok(rendered(&VoucherPage {
        enterprise: register.enterprises.get(&voucher.enterprise).cloned(),
        supplier: product.as_ref().and_then(|product| register.suppliers.get(&product.supplier)).cloned(),
        product,
        voucher,
        judged: judged.map(shown),
        superseded_by: newest.filter(|newest| sequence.is_some_and(|sequence| sequence != *newest)),
        changes,
        outlook,
        history: results.iter().map(history_line).collect::<Result<_, _>>()?,
    }))
}

/// A result as it was signed, to be handed on.
pub async fn jws(State(state): State<WebState>, Path((id, sequence)): Path<(String, i64)>) -> Result<Response, PageError> {
    let result = state.store.result(&id, sequence).await?.ok_or_else(|| Problem::not_found(""))?;
    let headers = [(header::CONTENT_TYPE, "application/jose"), (header::CONTENT_DISPOSITION, "attachment; filename=\"result.jws\"")];
    Ok((headers, state.store.result_jws(&result).await?).into_response())
}

/// The button: judges, then shows the page again.
pub async fn judge(State(state): State<WebState>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, PageError> {
    if !from_our_page(&headers) {
        return Ok(foreign());
    }
    state.register.refresh().await?;
    if !state.register.register().vouchers.contains_key(&id) {
        return Err(Problem::not_found("").into());
    }
    state.store.record_act(&actor(&state), AuditDraft::of(Act::JudgingAsked, format!("vouchers/{id}"), serde_json::Value::Null)).await?;
    state.monitor.judge_voucher(&id, None).await?;
    Ok(Redirect::to(&format!("/vouchers/{}", escaped(&id))).into_response())
}

/// As one word of a shell's command.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    if plain && !text.starts_with('-') { text.to_string() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn shown(Known { result, explanation }: Known) -> Shown {
    let drawing = activity::svg(&explanation.days, result.amount.per_device.is_some());
    Shown { result, explanation, drawing }
}

fn history_line(stored: &StoredResult) -> Result<HistoryLine, StoreError> {
    let result: MonitoringResult = read(&stored.body)?;
    Ok(HistoryLine {
        sequence: stored.sequence,
        verdict: result.verdict.code().to_string(),
        verdict_text: result.verdict_text,
        judged_at: shown_instant(stored.judged_at),
        cut_off: shown_instant(result.cut_off),
        hash: result.judgement_hash,
    })
}
