//! Reading facts: those of one enterprise and product, and the digest of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::calendar::Day;
use policy::facts::VoucherFacts;
use sha2::{Digest, Sha256};
use tally::{
    BlockDays, BlockRange, Clocks, DecodeError, Facts, Key, KeyParts, day_number, decode_carrier, decode_device_day, decode_usage, kind,
    merge_carrier_day, merge_device_day, merge_usage, numbered_day, read_usage_key,
};

use crate::checkpoint::read_position;
use crate::facts_many::{ByEnterprise, FactsReader, Wanted};
use crate::gateway_rows::{add_clock_tail, stored_clocks};
use crate::log::LogPosition;
use crate::run_file::{Run, RunError, Runs};
use crate::run_merge::Merged;
use crate::run_scan::Scan;
use crate::run_set::{Family, listed};
use crate::sql::{Store, StoreError};

/// Tries of opening runs while they are merged.
const TRIES: usize = 20;
const READ_AHEAD_BYTES: usize = 64 << 10;

/// SHA-256 over all facts in the order of their keys: equal facts give equal digests on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsDigest {
    pub sha256: String,
    pub rows: u64,
}

/// What the log holds after the checkpoint, in the order of its keys, so that one enterprise's part is quickly at hand.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
    /// Where each key begins, where its value, and where that ends.
    records: Vec<[usize; 3]>,
    clocks: Clocks,
    blocks: BlockDays,
}

impl Tail {
    pub fn of(facts: &Facts) -> Tail {
        let mut tail = Tail { clocks: facts.clocks.clone(), blocks: facts.blocks.clone(), ..Tail::default() };
        let gathered = facts.records(&mut |key, value| {
            let begin = tail.bytes.len();
            tail.bytes.extend_from_slice(key);
            tail.bytes.extend_from_slice(value);
            tail.records.push([begin, begin + key.len(), tail.bytes.len()]);
            Ok::<_, std::convert::Infallible>(())
        });
        match gathered {
            Ok(()) => tail,
        }
    }

    /// Adds where its messages stand in the log, by day of receipt.
    pub fn add_blocks(&self, blocks: &mut BTreeMap<Day, BlockRange>) -> Result<(), StoreError> {
        for day in self.blocks.days() {
            let (day, more) = day?;
            let range = blocks.entry(day).or_insert(more);
            *range = (range.0.min(more.0), range.1.max(more.1));
        }
        Ok(())
    }

    /// The facts of one enterprise and product, from these messages alone; without what was refused.
    pub fn voucher_facts(&self, wanted: &Wanted) -> Result<VoucherFacts, StoreError> {
        let mut facts = VoucherFacts::default();
        add_tail(&mut facts, self, wanted, &ranges(&wanted.enterprise, &wanted.product, wanted.days))?;
        Ok(facts)
    }

    fn range(&self, from: &[u8], until: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let key = |record: &[usize; 3]| &self.bytes[record[0]..record[1]];
        let begin = self.records.partition_point(|record| key(record) < from);
        let records = self.records[begin..].iter().map(move |record| (key(record), &self.bytes[record[1]..record[2]]));
        records.take_while(move |(key, _)| *key < until)
    }
}

impl Store {
    /// The facts of one voucher's enterprise and product within whole days, and the log position they stand at. `tail` is what the
    /// log holds after the checkpoint, where the caller has read it.
    pub async fn voucher_facts(
        &self,
        enterprise: &str,
        product: &str,
        days: (Day, Day),
        tail: Option<Arc<Tail>>,
    ) -> Result<(VoucherFacts, LogPosition), StoreError> {
        let wanted = Wanted { enterprise: enterprise.to_string(), product: product.to_string(), days };
        let facts = self.facts_of_many(std::slice::from_ref(&wanted), tail).await?;
        let read = tokio::task::spawn_blocking(move || {
            let read = facts.read(&wanted, &mut FactsReader::default())?;
            Ok::<_, StoreError>((read, facts.position().clone()))
        });
        read.await.map_err(|_| RunError::Stopped)?
    }

    /// The runs of facts, open, with the clocks that belong to what is wanted.
    pub(crate) async fn facts_at_checkpoint(&self, wanted: &[Wanted]) -> Result<AtCheckpoint, StoreError> {
        for _ in 1..TRIES {
            match self.try_facts_at_checkpoint(wanted).await {
                // Merged away by another process since the list was read.
                Err(StoreError::Run(RunError::Gone(_))) => {}
                read => return read,
            }
        }
        self.try_facts_at_checkpoint(wanted).await
    }

    async fn try_facts_at_checkpoint(&self, wanted: &[Wanted]) -> Result<AtCheckpoint, StoreError> {
        // One transaction: all of it belongs together.
        let mut transaction = self.readers.begin().await?;
        let position = read_position(&mut transaction).await?;
        let listed = listed(&mut transaction).await?;
        let enterprises = if wanted.is_empty() { ByEnterprise::new() } else { stored_clocks(&mut transaction, wanted).await? };
        transaction.rollback().await?;
        Ok(AtCheckpoint { runs: self.runs.opened(Family::Facts, &listed)?, position, enterprises })
    }
}

/// What one checkpoint holds.
pub(crate) struct AtCheckpoint {
    pub(crate) runs: Runs,
    pub(crate) position: LogPosition,
    pub(crate) enterprises: ByEnterprise,
}

/// Adds what the log holds after the checkpoint.
pub(crate) fn add_tail(facts: &mut VoucherFacts, tail: &Tail, wanted: &Wanted, ranges: &[Range]) -> Result<(), DecodeError> {
    for (key, value) in ranges.iter().flat_map(|range| tail.range(&range.from, &range.until)) {
        take(facts, key, value)?;
    }
    add_clock_tail(facts, &wanted.enterprise, wanted.days, &tail.clocks);
    Ok(())
}

/// A range of keys of one kind.
pub(crate) struct Range {
    kind: u8,
    from: Vec<u8>,
    until: Vec<u8>,
}

pub(crate) fn ranges(enterprise: &str, product: &str, days: (Day, Day)) -> [Range; 3] {
    let (from, until) = (day_number(days.0), day_number(days.1).saturating_add(1));
    [kind::CARRIER_DAY, kind::DEVICE_DAY, kind::USAGE_DAY].map(|kind| {
        let mut owner = Key::default();
        owner.begin(kind).name(enterprise);
        if kind != kind::DEVICE_DAY {
            owner.name(product);
        }
        let mut end = owner.clone();
        Range { kind, from: owner.day(from).0.clone(), until: end.day(until).0.clone() }
    })
}

impl Range {
    /// `scan` is where the last range of this kind ended in the run.
    pub(crate) fn read(&self, run: &Arc<Run>, scan: &mut Option<Scan>, facts: &mut VoucherFacts) -> Result<(), RunError> {
        if !run.has_kind(self.kind) {
            return Ok(());
        }
        let scan = match scan {
            Some(scan) => {
                scan.go_to(&self.from, &self.until)?;
                scan
            }
            None => scan.insert(Scan::new(run, &self.from, &self.until, READ_AHEAD_BYTES)?),
        };
        while scan.next()? {
            take(facts, scan.key(), scan.value())?;
        }
        Ok(())
    }
}

/// Takes one record in.
fn take(facts: &mut VoucherFacts, key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
    let mut parts = KeyParts(key);
    let (kind, _enterprise) = (parts.byte()?, parts.name_bytes()?);
    match kind {
        kind::DEVICE_DAY => {
            let day = numbered_day(parts.day()?)?;
            let more = decode_device_day(day, value)?;
            let device = parts.name()?;
            let days = match facts.devices.get_mut(device) {
                Some(days) => days,
                None => facts.devices.entry(device.to_string()).or_default(),
            };
            match days.get_mut(&day) {
                Some(kept) => merge_device_day(kept, &more),
                None => drop(days.insert(day, more)),
            }
        }
        kind::USAGE_DAY => {
            parts.name_bytes()?;
            merge_usage(facts.usage.entry(read_usage_key(&mut parts)?).or_default(), &decode_usage(value)?);
        }
        kind::CARRIER_DAY => {
            parts.name_bytes()?;
            let (day, line) = (numbered_day(parts.day()?)?, parts.name()?.to_string());
            merge_carrier_day(facts.carrier.entry((day, line)).or_default(), &decode_carrier(value)?);
        }
        _ => return Err(DecodeError::Key),
    }
    Ok(())
}

/// Over all that these runs hold together.
pub(crate) fn facts_digest(runs: &Runs) -> Result<FactsDigest, RunError> {
    let scans = runs.iter().map(|run| Scan::new(run, &[], &[u8::MAX], READ_AHEAD_BYTES)).collect::<Result<_, _>>()?;
    let mut records = Merged::new(scans)?;
    let (mut digest, mut rows) = (Sha256::new(), 0);
    while records.next()? {
        for bytes in [records.key(), records.value()] {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        rows += 1;
    }
    Ok(FactsDigest { sha256: hex::encode(digest.finalize()), rows })
}
