//! Judging from the stored evidence, and storing what has changed.

use std::sync::Arc;

use observe::{Clock, Metrics};
use policy::calendar::Instant;
use policy::catalogue::Catalogue;
use policy::facts::VoucherFacts;
use policy::in_force::Versions;
use policy::judge::{Case, Judgement, judge};
use policy::register::{Register, Voucher};
use policy::result::{EvidenceRef, MonitoringResult};
use policy::rulebook::Rulebook;
use policy::window::{Window, window};
use store::{LogPosition, NewResult, RegisterState, Store, StoreError, StoredResult};

use crate::evidence::{Announce, EvidenceSource, FlushFailed};

#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error("there is no voucher {0:?} in the register")]
    UnknownVoucher(String),
    #[error(transparent)]
    Flush(#[from] FlushFailed),
    /// The log's tail was read from an older checkpoint: read it again.
    #[error("the checkpoint has moved on")]
    CheckpointMoved,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A judgement and the result in force after it.
pub struct Judged {
    pub stored: StoredResult,
    /// Whether it is new; false when nothing had changed.
    pub new: bool,
}

pub struct MonitorParts {
    pub store: Store,
    pub register: RegisterState,
    pub rulebooks: Versions<Rulebook>,
    pub catalogues: Versions<Catalogue>,
    pub clock: Clock,
    pub metrics: Metrics,
    pub evidence: EvidenceSource,
    pub announce: Option<Arc<dyn Announce>>,
    pub judging: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub struct Monitor(Arc<MonitorParts>);

impl Monitor {
    pub fn new(parts: MonitorParts) -> Monitor {
        Monitor(Arc::new(parts))
    }

    pub fn parts(&self) -> &MonitorParts {
        &self.0
    }

    /// Judges one voucher over everything accepted and every register change answered before this call, and stores the result if it
    /// says anything new.
    pub async fn judge_voucher(&self, voucher: &str, as_of: Option<Instant>) -> Result<Judged, JudgeError> {
        self.up_to_date().await?;
        self.judge_and_store(voucher, as_of).await
    }

    /// Judges every voucher, in order of their id.
    pub async fn judge_all(&self, as_of: Option<Instant>) -> Result<Vec<Judged>, JudgeError> {
        let register = self.up_to_date().await?;
        let mut all = Vec::with_capacity(register.vouchers.len());
        for voucher in register.vouchers.keys() {
            match self.judge_and_store(voucher, as_of).await {
                Ok(judged) => all.push(judged),
                // The others are judged all the same; a voucher removed meanwhile is no fault.
                Err(JudgeError::UnknownVoucher(_)) => {}
                Err(error) => tracing::error!(voucher, %error, "a voucher could not be judged"),
            }
        }
        Ok(all)
    }

    /// Judges without storing anything, under another rulebook if one is given.
    pub async fn try_out(&self, voucher: &str, as_of: Option<Instant>, rulebook: Option<&Rulebook>) -> Result<Judgement, JudgeError> {
        let register = self.up_to_date().await?;
        let as_of = as_of.unwrap_or_else(|| self.0.clock.now());
        let voucher = find(&register, voucher)?;
        Ok(self.judgement(&register, voucher, as_of, rulebook).await?.0)
    }

    /// Brings facts and register up to date.
    pub(crate) async fn up_to_date(&self) -> Result<Arc<Register>, JudgeError> {
        self.0.register.refresh().await?;
        if let EvidenceSource::Live(evidence) = &self.0.evidence {
            evidence.flush().await?;
        }
        Ok(self.0.register.register())
    }

    /// What was accepted for a voucher, and the checkpoint that it was read from.
    pub(crate) async fn facts_of(&self, voucher: &Voucher, window: &Window) -> Result<(VoucherFacts, LogPosition), JudgeError> {
        let tail = match &self.0.evidence {
            EvidenceSource::Live(_) => None,
            EvidenceSource::Tail { facts, .. } => Some(&**facts),
        };
        let days = (window.from, window.to);
        Ok(self.0.store.voucher_facts(&voucher.enterprise, &voucher.product, days, tail).await?)
    }

    async fn judgement(
        &self,
        register: &Register,
        voucher: &Voucher,
        as_of: Instant,
        rulebook: Option<&Rulebook>,
    ) -> Result<(Judgement, EvidenceRef), JudgeError> {
        let _timer = self.0.metrics.judge_seconds.start_timer();
        let rulebook = rulebook.unwrap_or_else(|| self.0.rulebooks.in_force(voucher.applied_at));
        let catalogue = self.0.catalogues.in_force(voucher.applied_at);
        let window = window(voucher, rulebook, as_of);
        let (mut facts, checkpoint) = self.facts_of(voucher, &window).await?;
        self.0.store.add_refusal_facts(&mut facts, &voucher.enterprise, (window.from, window.to)).await?;
        let position = match &self.0.evidence {
            EvidenceSource::Live(_) => &checkpoint,
            EvidenceSource::Tail { from, .. } if *from != checkpoint => return Err(JudgeError::CheckpointMoved),
            EvidenceSource::Tail { to, .. } => to,
        };
        let evidence = EvidenceRef { log_size: position.block(), root: format!("sha256:{}", hex::encode(position.root())) };
        Ok((judge(&Case { register, rulebook, catalogue, voucher, as_of, facts: &facts }), evidence))
    }

    async fn judge_and_store(&self, voucher: &str, as_of: Option<Instant>) -> Result<Judged, JudgeError> {
        // One at a time, from looking at the grounds to storing: a result never supersedes one that stands on newer grounds.
        let _one_at_a_time = self.0.judging.lock().await;
        let now = self.0.clock.now();
        let register = &self.0.register.register();
        let voucher = find(register, voucher)?;
        let (Judgement { mut result, explanation }, evidence) = self.judgement(register, voucher, as_of.unwrap_or(now), None).await?;
        let verdict = result.verdict.code();
        self.0.metrics.judgements.with_label_values(&[verdict]).inc();
        result.judged_at = now;
        result.evidence = evidence;
        let explanation = serde_json::to_string(&explanation).map_err(unwritable)?;
        let new = NewResult { voucher: voucher.id.clone(), verdict: verdict.to_string(), judged_at: now, explanation };
        // A cut-off of "now" moves on by itself; that alone is no change. One that was asked for, or set by the request, is.
        let floating = as_of.is_none() && voucher.redeem_at.is_none_or(|redeem_at| redeem_at > now);
        let mut added = false;
        let stored = self
            .0
            .store
            .add_result(&new, |newest, sequence| {
                let previous =
                    newest.map(|newest| serde_json::from_str::<MonitoringResult>(&newest.body)).transpose().map_err(unreadable)?;
                let unchanged = previous.as_ref().is_some_and(|previous| {
                    // Another process has judged on newer evidence meanwhile.
                    if previous.evidence.log_size > result.evidence.log_size {
                        return true;
                    }
                    previous.judgement_hash == result.judgement_hash || (floating && previous.same_but_for_cut_off(&result))
                });
                if unchanged {
                    return Ok(None);
                }
                result.sequence = sequence.unsigned_abs();
                result.supersedes = previous.map(|previous| previous.sequence);
                added = true;
                serde_json::to_string(&result).map(Some).map_err(unwritable)
            })
            .await?;
        if added {
            self.0.metrics.results.inc();
            self.announce(register, voucher, &result);
        }
        Ok(Judged { stored, new: added })
    }

    /// Tells the newest results again, as after a start: retained messages live in memory.
    pub async fn announce_newest(&self) -> Result<(), StoreError> {
        let register = self.0.register.register();
        for voucher in register.vouchers.values() {
            if let Some(stored) = self.0.store.newest_result(&voucher.id).await? {
                let result = serde_json::from_str(&stored.body).map_err(unreadable)?;
                self.announce(&register, voucher, &result);
            }
        }
        Ok(())
    }

    fn announce(&self, register: &Register, voucher: &Voucher, result: &MonitoringResult) {
        let Some(announce) = &self.0.announce else { return };
        let gateways: Vec<String> = register
            .gateways
            .values()
            .filter(|gateway| gateway.enterprise == voucher.enterprise)
            .map(|gateway| gateway.id.clone())
            .collect();
        let city = register.enterprises.get(&voucher.enterprise).map_or("", |enterprise| &enterprise.city);
        announce.result(result, &gateways, city);
    }
}

fn find<'r>(register: &'r Register, voucher: &str) -> Result<&'r Voucher, JudgeError> {
    register.vouchers.get(voucher).ok_or_else(|| JudgeError::UnknownVoucher(voucher.to_string()))
}

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::Stored { what: "result", detail: error.to_string() }
}

fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Stored { what: "result", detail: format!("it cannot be written: {error}") }
}
