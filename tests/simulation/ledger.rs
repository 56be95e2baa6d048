//! A database in memory: a checkpoint is there as a whole or not at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use ingest::Ledger;
use store::{Checkpoint, LogPosition, RefusedMessage, StoreError};
use tally::{Boot, BootClaims, Claim, Claims, Facts, Ranges};
use wire::identity::IdentityKey;

#[derive(Clone, Default)]
pub struct SimLedger(Arc<Mutex<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    position: LogPosition,
    facts: Facts,
    identities: Claims,
    quarantined: BTreeSet<Vec<u8>>,
    /// Nothing can be read or written.
    fails: bool,
}

impl SimLedger {
    pub fn apply(&self, checkpoint: &Checkpoint) {
        let mut inner = self.lock();
        inner.position = checkpoint.position.clone();
        inner.facts.merge(checkpoint.facts.clone());
        checkpoint.identities.iter().for_each(|claims| inner.identities.merge(Claims::clone(claims)));
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

    pub fn identities(&self) -> Claims {
        self.lock().identities.clone()
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

    fn ranges_of_boot(&mut self, boot: Boot<'_>) -> Result<Ranges, StoreError> {
        Ok(self.asked()?.identities.boot(boot).map(BootClaims::ranges).unwrap_or_default())
    }

    fn find_numbers(&mut self, asked: &[(Boot<'_>, u64)]) -> Result<Vec<Option<Claim>>, StoreError> {
        let inner = self.asked()?;
        Ok(asked.iter().map(|(boot, seq)| inner.identities.number(*boot, *seq)).collect())
    }

    fn find_ids(&mut self, asked: &[IdentityKey]) -> Result<Vec<Option<Claim>>, StoreError> {
        let inner = self.asked()?;
        Ok(asked.iter().map(|key| inner.identities.id(key)).collect())
    }

    fn quarantine(&mut self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        self.asked()?.quarantined.extend(refused.iter().map(|message| message.body.to_vec()));
        Ok(())
    }
}
