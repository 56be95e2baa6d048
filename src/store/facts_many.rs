//! Facts of many vouchers as of one checkpoint: what stands in the database is read once for all, what stands in runs when it is
//! asked for, by any thread.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::calendar::Day;
use policy::facts::{ClockDay, GatewayStay, SenderConflicts, SenderName, VoucherFacts};

use crate::facts_read::{AtCheckpoint, Tail, add_tail, ranges};
use crate::log::LogPosition;
use crate::place_rows::returning;
use crate::run_file::{RunError, Runs};
use crate::run_scan::Scan;
use crate::sql::{Store, StoreError};

/// Whose facts are wanted: those of an enterprise and product within whole days.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub enterprise: String,
    pub product: String,
    pub days: (Day, Day),
}

/// What the database holds of one enterprise.
#[derive(Debug, Default)]
pub(crate) struct OfEnterprise {
    /// By (gateway, day of receipt), over all days that anybody wanted.
    pub(crate) clocks: BTreeMap<(String, Day), ClockDay>,
    pub(crate) future_refusals: BTreeSet<(String, Day)>,
    /// Over just these days.
    pub(crate) conflicts: HashMap<(Day, Day), BTreeMap<SenderName, SenderConflicts>>,
    /// By gateway, in order, over all days that anybody wanted.
    pub(crate) stays: BTreeMap<String, Vec<GatewayStay>>,
    /// By address, over just these days.
    pub(crate) neighbours: HashMap<(Day, Day), BTreeMap<String, BTreeSet<String>>>,
}

pub(crate) type ByEnterprise = HashMap<String, OfEnterprise>;

pub struct FactsOfMany {
    runs: Runs,
    position: LogPosition,
    enterprises: ByEnterprise,
    tail: Option<Arc<Tail>>,
}

impl Store {
    /// Gets facts ready to be read. `tail` is what the log holds after the checkpoint, where the caller has read it.
    pub async fn facts_of_many(&self, wanted: &[Wanted], tail: Option<Arc<Tail>>) -> Result<FactsOfMany, StoreError> {
        let AtCheckpoint { runs, position, mut enterprises } = self.facts_at_checkpoint(wanted).await?;
        self.add_refusals(&mut enterprises, wanted).await?;
        self.add_places(&mut enterprises, wanted).await?;
        Ok(FactsOfMany { runs, position, enterprises, tail })
    }
}

impl FactsOfMany {
    /// Where the facts stand in the log.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// One that was named before. Reads files: for a thread that may be kept busy.
    pub fn read(&self, wanted: &Wanted, reader: &mut FactsReader) -> Result<VoucherFacts, StoreError> {
        let mut facts = VoucherFacts::default();
        let ranges = ranges(&wanted.enterprise, &wanted.product, wanted.days);
        reader.scans.resize_with(self.runs.len() * ranges.len(), || None);
        for (run, scans) in self.runs.iter().zip(reader.scans.chunks_mut(ranges.len())) {
            for (range, scan) in ranges.iter().zip(scans) {
                range.read(run, scan, &mut facts)?;
            }
        }
        if let Some(of_enterprise) = self.enterprises.get(&wanted.enterprise) {
            let within = |day: &Day| (wanted.days.0..=wanted.days.1).contains(day);
            let clocks = of_enterprise.clocks.iter().filter(|((_, day), _)| within(day));
            facts.clocks = clocks.map(|(key, clock)| (key.clone(), clock.clone())).collect();
            facts.future_refusals = of_enterprise.future_refusals.iter().filter(|(_, day)| within(day)).cloned().collect();
            facts.conflicts = of_enterprise.conflicts.get(&wanted.days).cloned().unwrap_or_default();
            facts.stays = returning(&of_enterprise.stays, wanted.days);
            facts.enterprises_of_address = of_enterprise.neighbours.get(&wanted.days).cloned().unwrap_or_default();
        }
        if let Some(tail) = &self.tail {
            add_tail(&mut facts, tail, wanted, &ranges).map_err(RunError::from)?;
        }
        Ok(facts)
    }
}

/// Where a thread has come to in each run: what is asked for in the order of enterprises is then found where the last one ended.
#[derive(Default)]
pub struct FactsReader {
    scans: Vec<Option<Scan>>,
}
