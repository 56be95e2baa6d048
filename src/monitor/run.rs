//! The monitor: one voucher on demand, all of them, trying out, and telling of results. Judging itself stands in `batch`.

use std::borrow::Cow;
use std::sync::Arc;

use observe::{Clock, Metrics};
use policy::calendar::Instant;
use policy::catalogue::Catalogue;
use policy::facts::VoucherFacts;
use policy::in_force::Versions;
use policy::index::Indexed;
use policy::judge::Judgement;
use policy::regions::city_of;
use policy::register::{Register, Voucher};
use policy::result::MonitoringResult;
use policy::rulebook::Rulebook;
use policy::window::Window;
use store::{RegisterState, Store, StoreError, StoredResult};

use crate::batch::{Round, wanted};
use crate::every_core::on_every_core;
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
    #[error("other processes keep storing results of this voucher")]
    Overtaken,
    #[error("judging was stopped")]
    Stopped,
    #[error("judging failed by a fault of this program; the log tells where")]
    Panicked,
    #[error("a rulebook cannot be varied: {0}")]
    Variation(String),
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
pub struct Monitor(Arc<MonitorParts>, Arc<IndexAtHand>);

/// A state of the register with its index.
pub type RegisterIndex = Indexed<Arc<Register>>;

/// The index of the register that was asked for last.
type IndexAtHand = tokio::sync::Mutex<Option<Arc<RegisterIndex>>>;

impl Monitor {
    pub fn new(parts: MonitorParts) -> Monitor {
        Monitor(Arc::new(parts), Arc::default())
    }

    /// The index of a state of the register; built where it is another than the last.
    pub async fn index_of(&self, register: &Arc<Register>) -> Result<Arc<RegisterIndex>, JudgeError> {
        let mut at_hand = self.1.lock().await;
        if let Some(index) = at_hand.as_ref().filter(|index| Arc::ptr_eq(index.register(), register)) {
            return Ok(index.clone());
        }
        let (register, parts) = (register.clone(), self.0.clone());
        let build = move || Arc::new(Indexed::of(register, &parts.rulebooks, &parts.catalogues));
        let index = tokio::task::spawn_blocking(build).await.map_err(|_| JudgeError::Stopped)?;
        Ok(at_hand.insert(index).clone())
    }

    pub fn parts(&self) -> &MonitorParts {
        &self.0
    }

    /// Judges one voucher over everything accepted and every register change answered before this call, and stores the result if it
    /// says anything new.
    pub async fn judge_voucher(&self, voucher: &str, as_of: Option<Instant>) -> Result<Judged, JudgeError> {
        let mut judged = self.judge_vouchers(&[voucher], as_of).await?;
        judged.pop().unwrap_or_else(|| Err(JudgeError::UnknownVoucher(voucher.to_string())))
    }

    /// Judges every voucher.
    pub async fn judge_all(&self, as_of: Option<Instant>) -> Result<Round, JudgeError> {
        self.parts().register.refresh().await?;
        let vouchers: Vec<String> = self.parts().register.register().vouchers.keys().cloned().collect();
        self.judge_round(vouchers, as_of).await
    }

    /// Judges without storing anything, under another rulebook if one is given.
    pub async fn try_out(&self, voucher: &str, as_of: Option<Instant>, rulebook: Option<&Rulebook>) -> Result<Judgement, JudgeError> {
        let register = self.up_to_date().await?;
        let as_of = as_of.unwrap_or_else(|| self.0.clock.now());
        let found = find(&register, voucher)?;
        let rulebook = rulebook.unwrap_or_else(|| self.rulebook_of(found)).clone();
        let grounds = self.grounds(&register, &[wanted(found, &rulebook, as_of)]).await?;
        let monitor = self.clone();
        let mut answers = on_every_core(grounds, vec![voucher.to_string()], move |grounds, facts, voucher| {
            monitor.judgement(grounds, facts, find(&grounds.register, voucher)?, as_of, &rulebook)
        })
        .await;
        answers.pop().unwrap_or_else(|| Err(JudgeError::UnknownVoucher(voucher.to_string())))
    }

    /// Brings facts and register up to date.
    pub(crate) async fn up_to_date(&self) -> Result<Arc<Register>, JudgeError> {
        self.0.register.refresh().await?;
        if let EvidenceSource::Live(evidence) = &self.0.evidence {
            evidence.flush().await?;
        }
        Ok(self.0.register.register())
    }

    /// What was accepted for a voucher.
    pub(crate) async fn facts_of(&self, voucher: &Voucher, window: &Window) -> Result<VoucherFacts, JudgeError> {
        let tail = match &self.0.evidence {
            EvidenceSource::Live(_) => None,
            EvidenceSource::Tail { facts, .. } => Some(facts.clone()),
        };
        let days = (window.from, window.to);
        Ok(self.0.store.voucher_facts(&voucher.enterprise, &voucher.product, days, tail).await?.0)
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

    pub(crate) fn announce(&self, register: &Register, voucher: &Voucher, result: &MonitoringResult) {
        let Some(announce) = &self.0.announce else { return };
        let gateways: Vec<String> = register
            .gateways
            .values()
            .filter(|gateway| gateway.enterprise == voucher.enterprise)
            .map(|gateway| gateway.id.clone())
            .collect();
        let city = register.enterprises.get(&voucher.enterprise).map_or(Cow::Borrowed(""), |enterprise| city_of(&enterprise.city));
        announce.result(result, &gateways, &city);
    }
}

pub(crate) fn find<'r>(register: &'r Register, voucher: &str) -> Result<&'r Voucher, JudgeError> {
    register.vouchers.get(voucher).ok_or_else(|| JudgeError::UnknownVoucher(voucher.to_string()))
}

pub(crate) fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::Stored { what: "result", detail: error.to_string() }
}

pub(crate) fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Stored { what: "result", detail: format!("it cannot be written: {error}") }
}
