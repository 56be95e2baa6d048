//! Usage on its way to the spool. Whoever gives it learns when it is on disk, or takes it back while nothing was done with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use crate::report::UsageEntry;
use crate::tail::LogMark;

/// So many entries fit into one report, however long their names are; a log hands over no more at once.
pub(crate) const ENTRIES_MAX: usize = 300;

/// Entries that are spooled together, and the place up to which a log is read with them.
pub(crate) struct Batch {
    /// Those of one product and function module stand together: they share a report with no other, for the service refuses a report
    /// as a whole, and what its register does not list must cost nothing else.
    pub entries: Vec<UsageEntry>,
    /// Reached when, and only when, every report of the batch is in the spool.
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
    pub fn new(mut entries: Vec<UsageEntry>, mark: Option<LogMark>) -> (Batch, Pending) {
        entries.sort_by(|a, b| kind(a).cmp(&kind(b)));
        let (sender, receiver) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        (Batch { entries, mark, claimed: claimed.clone(), spooled: sender }, Pending { claimed, spooled: receiver })
    }

    /// From now on the batch is not given back; `false` if it was taken back already.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// How many of the entries the next report holds.
    pub fn next_report(&self) -> usize {
        let first = self.entries.first().map(kind);
        self.entries.iter().take(ENTRIES_MAX).take_while(|entry| Some(kind(entry)) == first).count()
    }

    pub fn say_spooled(self) {
        // Whoever gave it may have gone.
        let _ = self.spooled.send(());
    }
}

/// What the service's register lists, or not.
fn kind(entry: &UsageEntry) -> (&str, &str) {
    (&entry.product, &entry.function_module)
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
    fn a_report_holds_one_function_module_of_one_product_and_no_more_than_fits() {
        let entry = |product: &str, function_module: &str, user: usize| UsageEntry {
            product: product.into(),
            function_module: function_module.into(),
            user: user.to_string(),
            at: chrono::DateTime::UNIX_EPOCH,
            actions: 1,
            active_s: None,
        };
        let mut entries: Vec<_> = (0..ENTRIES_MAX + 2).map(|user| entry("P", "m", user)).collect();
        entries.extend([entry("Q", "m", 1), entry("P", "n", 1), entry("Q", "m", 2)]);
        let (mut batch, _pending) = Batch::new(entries, None);
        let mut reports = Vec::new();
        while !batch.entries.is_empty() {
            let count = batch.next_report();
            let report: Vec<_> = batch.entries.drain(..count).collect();
            assert!(report.iter().all(|entry| kind(entry) == kind(&report[0])));
            reports.push((report[0].product.clone(), report[0].function_module.clone(), report.len(), report[0].user.clone()));
        }
        let expected = [("P", "m", ENTRIES_MAX, "0"), ("P", "m", 2, "300"), ("P", "n", 1, "1"), ("Q", "m", 2, "1")];
        assert_eq!(
            reports,
            expected.map(|(product, module, count, user)| (product.to_string(), module.to_string(), count, user.to_string()))
        );
    }

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
