//! Facts from the log anew, in bounded memory but for the numbers of boots and the clocks of gateways by day: stretches are written as runs that stand in no list, and take the place of all others
//! in one transaction at the end.

use std::sync::Arc;

use serde_json::json;
use tally::{BlockDays, Claims, Clocks, Dropped, Facts, merge_clocks, merge_dropped};

use crate::audit::{Act, Actor, AuditDraft, put_audit};
use crate::block_rows::replace_block_rows;
use crate::checkpoint::read_position;
use crate::facts_read::{FactsDigest, facts_digest};
use crate::gateway_rows::replace_clock_rows;
use crate::log::LogPosition;
use crate::receipt_rows::replace_dropped_rows;
use crate::run_file::{RunError, Runs, remove};
use crate::run_set::{Family, Writing, listed};
use crate::run_tiers::due;
use crate::sequence_rows::{Sequences, gather, replace_sequences};
use crate::sql::{Store, StoreError};
use crate::touched::EnterprisesOfKeys;

/// Dropping it leaves everything as it was.
pub struct Rebuild {
    store: Store,
    facts: Runs,
    claims: Runs,
    sequences: Sequences,
    clocks: Clocks,
    dropped: Dropped,
    blocks: BlockDays,
    _writing: Writing,
}

impl Store {
    pub fn rebuild(&self) -> Result<Rebuild, StoreError> {
        let _writing = self.runs.writing()?;
        Ok(Rebuild {
            store: self.clone(),
            facts: Runs::new(),
            claims: Runs::new(),
            sequences: Sequences::new(),
            clocks: Clocks::new(),
            dropped: Dropped::new(),
            blocks: BlockDays::default(),
            _writing,
        })
    }
}

impl Rebuild {
    /// Takes in the next stretch of the log.
    pub fn add(&mut self, facts: &Facts, identities: Claims) -> Result<(), StoreError> {
        gather(&mut self.sequences, identities.boots());
        merge_clocks(&mut self.clocks, &facts.clocks);
        merge_dropped(&mut self.dropped, &facts.dropped);
        self.blocks.merge(&facts.blocks);
        let identities = if identities.is_empty() { Vec::new() } else { vec![Arc::new(identities)] };
        for run in self.store.write_runs(facts, &identities, &mut EnterprisesOfKeys::default())? {
            let family = if Family::Facts.holds(run.name()) { Family::Facts } else { Family::Claims };
            self.runs(family).push(run);
            while let Some((_, runs)) = due(self.runs(family)) {
                let merged = self.store.merged(family, &runs)?;
                self.runs(family).retain(|kept| runs.iter().all(|run| run.name() != kept.name()));
                runs.iter().for_each(|run| remove(run.path()));
                self.runs(family).push(merged);
            }
        }
        Ok(())
    }

    fn runs(&mut self, family: Family) -> &mut Runs {
        match family {
            Family::Facts => &mut self.facts,
            Family::Claims => &mut self.claims,
        }
    }

    /// Puts what was read up to `position` in the place of all that stands there. Gives the digests before (if that could be read)
    /// and after; `None`, and nothing done, if the checkpoint stands elsewhere: then the log is to be read on to where it stands now.
    pub async fn finish(
        &mut self,
        position: &LogPosition,
        actor: &Actor,
    ) -> Result<Option<(Option<FactsDigest>, FactsDigest)>, StoreError> {
        let runs: Runs = self.facts.iter().chain(&self.claims).cloned().collect();
        let mut before = Err(RunError::Stopped);
        let committed = self.store.commit_runs(&runs, async |connection| {
            if read_position(connection).await? != *position {
                return Ok(None);
            }
            let listed = listed(connection).await?;
            // Opened now, they can be read after they are taken away.
            before = self.store.runs.opened(Family::Facts, &listed);
            replace_sequences(connection, &self.sequences).await?;
            replace_clock_rows(connection, &self.clocks).await?;
            replace_dropped_rows(connection, &self.dropped).await?;
            let detail = json!({ "blocks": position.block() });
            put_audit(connection, actor, [AuditDraft::of(Act::TallyRebuilt, "tally", detail)]).await?;
            replace_block_rows(connection, &self.blocks).await?;
            Ok(Some(listed))
        });
        let committed = committed.await;
        if let Ok(None) = committed {
            return Ok(None);
        }
        // From here on the runs are the store's, or nobody's.
        let after = std::mem::take(&mut self.facts);
        self.claims.clear();
        let taken_away = committed?.unwrap_or_default();
        taken_away.iter().for_each(|name| remove(&self.store.runs.path(name)));
        let digests = tokio::task::spawn_blocking(move || {
            let before = before.and_then(|before| facts_digest(&before));
            let before = before.inspect_err(|error| tracing::error!(%error, "the facts as they were cannot be read")).ok();
            Ok::<_, RunError>((before, facts_digest(&after)?))
        });
        Ok(Some(digests.await.map_err(|_| RunError::Stopped)??))
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.facts.iter().chain(&self.claims).for_each(|run| remove(run.path()));
    }
}
