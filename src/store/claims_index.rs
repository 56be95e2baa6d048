//! The index of identities: what was accepted under a number or an id, and where it stands in the log.

use tally::{Boot, Claim, Key, id_key, kind, read_id_claim, read_number_claim, sequence_key};
use wire::identity::IdentityKey;

use crate::run_file::{Run, RunError, Runs};
use crate::run_scan::Finder;
use crate::run_set::{Family, listed};
use crate::sql::{Store, StoreError};

impl Store {
    /// What the last checkpoint holds under these numbers of boots, in their order. Asking about many at once is cheaper.
    pub async fn find_numbers(&self, asked: &[(Boot<'_>, u64)]) -> Result<Vec<Option<Claim>>, StoreError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut key = Key::default();
        let keys = asked.iter().map(|(boot, seq)| sequence_key(&mut key, *boot, *seq).to_vec()).collect();
        let runs = self.claims().await?.into_iter().filter(|run| run.has_kind(kind::SEQUENCE)).collect();
        let found = find(
            runs,
            keys,
            |_, _| Ok(true),
            |asked_at, key, value| {
                let (boot, seq) = asked[asked_at];
                Ok(read_number_claim(key, value, boot, seq)?)
            },
        );
        self.found(found)
    }

    /// What the last checkpoint holds under these ids, in their order.
    pub async fn find_ids(&self, asked: &[IdentityKey]) -> Result<Vec<Option<Claim>>, StoreError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut key = Key::default();
        let keys = asked.iter().map(|id| id_key(&mut key, id).to_vec()).collect();
        let runs = self.claims().await?.into_iter().filter(|run| run.has_kind(kind::ID)).collect();
        let found = find(
            runs,
            keys,
            |run, asked_at| run.may_hold(&asked[asked_at]),
            |asked_at, key, value| {
                let mut own = Key::default();
                if id_key(&mut own, &asked[asked_at]) == key { Ok(Some(read_id_claim(value)?)) } else { Ok(None) }
            },
        );
        self.found(found)
    }

    /// Where a run cannot be read, another process may have put sound ones in its place: the next look begins with the list.
    fn found(&self, found: Result<Vec<Option<Claim>>, RunError>) -> Result<Vec<Option<Claim>>, StoreError> {
        if found.is_err() {
            self.runs.forget_list();
        }
        Ok(found?)
    }

    /// The list changes by what this process does, but for a rebuild by another one, which leaves the same claims in other files.
    async fn claims(&self) -> Result<Runs, StoreError> {
        if let Some(listed) = self.runs.remembered() {
            match self.runs.opened(Family::Claims, &listed) {
                Err(RunError::Gone(_)) => {}
                opened => return Ok(opened?),
            }
        }
        let _no_change_meanwhile = self.merges.list.lock().await;
        let listed = listed(&mut *self.readers.acquire().await?).await?;
        let runs = self.runs.opened(Family::Claims, &listed)?;
        self.runs.remember(listed);
        Ok(runs)
    }
}

/// Looks into every run for the keys that are not yet found, in the order of the keys.
fn find(
    runs: Runs,
    keys: Vec<Vec<u8>>,
    may_hold: impl Fn(&Run, usize) -> Result<bool, RunError>,
    read: impl Fn(usize, &[u8], &[u8]) -> Result<Option<Claim>, RunError>,
) -> Result<Vec<Option<Claim>>, RunError> {
    let mut in_order: Vec<usize> = (0..keys.len()).collect();
    in_order.sort_unstable_by(|a, b| keys[*a].cmp(&keys[*b]));
    let mut found = vec![None; keys.len()];
    for run in &runs {
        let mut finder = Finder::new(run);
        for at in &in_order {
            if found[*at].is_none()
                && may_hold(run, *at)?
                && let Some(below) = finder.at_or_below(&keys[*at])?
            {
                found[*at] = read(*at, &below.key, below.value)?;
            }
        }
    }
    Ok(found)
}
