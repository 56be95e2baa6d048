//! Usage on its way to the spool. Whoever gives it learns when it is on disk, or takes it back while nothing was done with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use crate::report::UsageEntry;
use crate::tail::LogMark;

/// So many entries fit into one report, however long their names are.
pub(crate) const REPORT_ENTRIES_MAX: usize = 300;

/// Entries that are spooled together, and the place up to which a log is read with them.
pub(crate) struct Batch {
    pub entries: Vec<UsageEntry>,
    /// A batch with a mark fits into one report: the mark is reached when, and only when, that report is in the spool.
    pub mark: Option<LogMark>,
    claimed: Arc<AtomicBool>,
    spooled: oneshot::Sender<()>,
}

/// The giver's side.
pub(crate) struct Pending {
    claimed: Arc<AtomicBool>,
    spooled: oneshot::Receiver<()>,
}

impl Batch {
    pub fn new(entries: Vec<UsageEntry>, mark: Option<LogMark>) -> (Batch, Pending) {
        let (sender, receiver) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        (Batch { entries, mark, claimed: claimed.clone(), spooled: sender }, Pending { claimed, spooled: receiver })
    }

    /// From now on the batch is not given back; `false` if it was taken back already.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    pub fn say_spooled(self) {
        // Whoever gave it may have gone.
        let _ = self.spooled.send(());
    }
}

impl Pending {
    /// Completes when the batch is on disk; `false` if the agent ends before that.
    pub async fn spooled(&mut self) -> bool {
        (&mut self.spooled).await.is_ok()
    }

    /// `true` if the batch will never be spooled; `false` if that is too late.
    pub fn take_back(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_either_spooled_or_taken_back() {
        let (batch, pending) = Batch::new(Vec::new(), None);
        assert!(batch.claim());
        assert!(!pending.take_back());
        let (batch, pending) = Batch::new(Vec::new(), None);
        assert!(pending.take_back());
        assert!(!batch.claim());
    }
}
