//! Reads entries of the quarantine anew: against today's register, but as of the receipt they had. What is sound now goes the way of
//! every message, so that it is counted once however often it is replayed.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use observe::Metrics;
use store::{ACCEPTED, DUPLICATE, QuarantineEntry, REFUSED, Replayed, Store, StoreError, Vouched};
use wire::identity::Sender;

use crate::intake::{Intake, Unavailable};
use crate::item::{Batch, Outcome, RawMessage};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Replays entries in their order, says in the quarantine what became of each, and gives the outcomes.
pub async fn replay_quarantined(
    store: &Store,
    intake: &Intake,
    metrics: &Metrics,
    entries: Vec<QuarantineEntry>,
) -> Result<Vec<(i64, Outcome)>, ReplayError> {
    let mut outcomes = Vec::with_capacity(entries.len());
    let mut under_way = Vec::new();
    for entry in entries {
        let anew = Anew::of(entry)?;
        match anew.tried(intake) {
            // What is still faulty is not refused a second time.
            refused @ Some(Outcome::Refused(_)) => outcomes.extend(refused.map(|outcome| (anew.position, outcome))),
            _ => under_way.push((anew.position, anew.submit(intake).await?)),
        }
    }
    for (position, answers) in under_way {
        let settled = answers.await.map_err(|_| Unavailable)?;
        outcomes.extend(settled.into_iter().map(|settled| (position, settled.outcome)));
    }
    outcomes.sort_by_key(|(position, _)| *position);
    let replayed: Vec<_> = outcomes.iter().filter_map(|(position, outcome)| replayed(*position, outcome)).collect();
    replayed.iter().for_each(|replayed| metrics.quarantine_replays.with_label_values(&[replayed.outcome]).inc());
    store.mark_replayed(&replayed, intake.clock().now()).await?;
    Ok(outcomes)
}

/// An entry as a message.
struct Anew {
    position: i64,
    sender: Sender,
    vouched: Vouched,
    received_at: DateTime<Utc>,
    body: Bytes,
}

impl Anew {
    fn of(entry: QuarantineEntry) -> Result<Anew, StoreError> {
        let QuarantineEntry { position, received_at, sender_kind, sender, body, .. } = entry;
        let sender =
            Sender::of_kind(&sender_kind, &sender).ok_or_else(|| StoreError::Stored { what: "sender", detail: sender_kind.clone() })?;
        let vouched = if let Sender::Gateway(_) = sender { Vouched::Token } else { Vouched::Key };
        Ok(Anew { position, sender, vouched, received_at, body: Bytes::from(body) })
    }

    fn tried(&self, intake: &Intake) -> Option<Outcome> {
        let message = RawMessage::of(self.body.clone());
        let tried = intake.try_out(self.sender.clone(), self.vouched, self.received_at, vec![message]);
        tried.into_iter().next().map(|settled| settled.outcome)
    }

    async fn submit(self, intake: &Intake) -> Result<crate::item::Answers, Unavailable> {
        let message = RawMessage { replayed_from: Some(self.position), ..RawMessage::of(self.body) };
        let (batch, answers) = Batch::answered(self.sender, self.vouched, self.received_at, vec![message]);
        intake.submit(batch).await?;
        Ok(answers)
    }
}

/// What is to be said of it; nothing where it was not settled: then it can be tried again.
fn replayed(position: i64, outcome: &Outcome) -> Option<Replayed<'_>> {
    let (outcome, faults) = match outcome {
        Outcome::Accepted => (ACCEPTED, None),
        Outcome::Duplicate => (DUPLICATE, None),
        Outcome::Refused(faults) => (REFUSED, Some(&faults[..])),
        Outcome::Unavailable(_) | Outcome::DiskFull => return None,
    };
    Some(Replayed { position, outcome, faults })
}
