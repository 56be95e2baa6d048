//! Records folded into the facts of one voucher, with nothing but the records.

use ingest::Replay;
use policy::calendar::Day;
use policy::facts::VoucherFacts;
use store::{Record, StoreError, Tail, Wanted};

#[derive(Default)]
pub(crate) struct Folded(Replay);

impl Folded {
    pub(crate) fn take(&mut self, block: u64, record: &Record<'_>) {
        self.0.take_one(block, record);
    }

    pub(crate) fn records(&self) -> u64 {
        self.0.records
    }

    /// Records that this program cannot read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.0.unreadable
    }

    pub(crate) fn of(&self, enterprise: &str, product: &str, days: (Day, Day)) -> Result<VoucherFacts, StoreError> {
        let wanted = Wanted { enterprise: enterprise.to_string(), product: product.to_string(), days };
        Tail::of(&self.0.facts).voucher_facts(&wanted)
    }
}
