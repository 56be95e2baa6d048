//! What the monitor needs of the rest of the service, without knowing its doors.

use std::sync::Arc;

use futures::future::BoxFuture;
use policy::result::MonitoringResult;
use store::{LogPosition, Tail};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the facts cannot be brought up to date now")]
pub struct FlushFailed;

/// Brings everything accepted so far into the stored facts.
pub trait FlushEvidence: Send + Sync {
    fn flush(&self) -> BoxFuture<'_, Result<(), FlushFailed>>;
}

/// Where the newest evidence is.
#[derive(Clone)]
pub enum EvidenceSource {
    /// In this process: it is flushed before judging.
    Live(Arc<dyn FlushEvidence>),
    /// In another process, or in none: the log was read from the checkpoint to its end.
    Tail { facts: Arc<Tail>, from: LogPosition, to: LogPosition },
}

/// Tells the world of a new result.
pub trait Announce: Send + Sync {
    /// `gateways`: those of the voucher's enterprise; `city`: its city.
    fn result(&self, result: &MonitoringResult, gateways: &[String], city: &str);
}
