//! A database in memory: a checkpoint is there as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use ingest::Ledger;
use store::{Checkpoint, LogPosition, RefusedMessage, StoreError};
use tally::Facts;
use wire::identity::IdentityKey;
use wire::report::ContentDigest;

#[derive(Clone, Default)]
pub struct SimLedger(Arc<Mutex<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    position: LogPosition,
    facts: Facts,
    identities: BTreeMap<IdentityKey, ContentDigest>,
    quarantined: BTreeSet<Vec<u8>>,
    /// Nothing can be read or written.
    fails: bool,
}

impl SimLedger {
    pub fn apply(&self, checkpoint: &Checkpoint) {
        let mut inner = self.lock();
        inner.position = checkpoint.position.clone();
        inner.facts.merge(checkpoint.facts.clone());
        for (key, digest) in &checkpoint.identities {
            inner.identities.entry(*key).or_insert(*digest);
        }
    }

    pub fn set_failing(&self, fails: bool) {
        self.lock().fails = fails;
    }

    pub fn failing(&self) -> bool {
        self.lock().fails
    }

    pub fn quarantined(&self, body: &[u8]) -> bool {
        self.lock().quarantined.contains(body)
    }

    pub fn facts(&self) -> Facts {
        self.lock().facts.clone()
    }

    pub fn fork(&self) -> SimLedger {
        SimLedger(Arc::new(Mutex::new(Inner { fails: false, ..self.lock().clone() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn asked(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.lock();
        if inner.fails { Err(StoreError::Full) } else { Ok(inner) }
    }
}

impl Ledger for SimLedger {
    fn position(&mut self) -> Result<LogPosition, StoreError> {
        Ok(self.lock().position.clone())
    }

    fn find_identities(&mut self, keys: &[IdentityKey]) -> Result<Vec<(IdentityKey, ContentDigest)>, StoreError> {
        let inner = self.asked()?;
        Ok(keys.iter().filter_map(|key| Some((*key, *inner.identities.get(key)?))).collect())
    }

    fn highest_sequence(&mut self, gateway: &str, boot: &str) -> Result<u64, StoreError> {
        let inner = self.asked()?;
        let boots = inner.facts.sequences.iter().filter(|(key, _)| key.gateway == gateway && key.boot == boot);
        Ok(boots.filter_map(|(_, (ranges, _))| ranges.highest()).max().unwrap_or(0))
    }

    fn quarantine(&mut self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        self.asked()?.quarantined.extend(refused.iter().map(|message| message.body.to_vec()));
        Ok(())
    }
}
