//! Reads entries of the quarantine anew: against today's register, but as of the receipt they had. What is sound now goes the way of
//! every message, so that it is counted once however often it is replayed.

use bytes::Bytes;
use observe::Metrics;
use store::{ACCEPTED, DUPLICATE, QuarantineEntry, REFUSED, Replayed, Store, StoreError};
use wire::identity::Sender;
use wire::{Fault, FaultCode};

use crate::intake::{Intake, Unavailable};
use crate::item::{Item, Outcome};

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
    let (mut sound, mut positions) = (Vec::new(), Vec::new());
    for entry in entries {
        let position = entry.position;
        match read_anew(intake, entry)? {
            Some(item) if item.faults().is_empty() => {
                sound.push(item);
                positions.push(position);
            }
            Some(item) => outcomes.push((position, Outcome::Refused(item.faults().to_vec()))),
            None => outcomes.push((position, Outcome::Refused(vec![Fault::new(FaultCode::UnknownGateway, "", GATEWAY_GONE)]))),
        }
    }
    if !sound.is_empty() {
        outcomes.extend(positions.into_iter().zip(intake.settle(sound).await?));
    }
    outcomes.sort_by_key(|(position, _)| *position);
    let replayed: Vec<_> = outcomes.iter().filter_map(|(position, outcome)| replayed(*position, outcome)).collect();
    replayed.iter().for_each(|replayed| metrics.quarantine_replays.with_label_values(&[replayed.outcome]).inc());
    store.mark_replayed(&replayed, intake.clock().now()).await?;
    Ok(outcomes)
}

const GATEWAY_GONE: &str = "the gateway that sent it is not in the register now";

/// `None`: the gateway is not in the register.
fn read_anew(intake: &Intake, entry: QuarantineEntry) -> Result<Option<Item>, StoreError> {
    let QuarantineEntry { position, received_at, sender_kind, sender, body, .. } = entry;
    let body = Bytes::from(body);
    let item = match Sender::of_kind(&sender_kind, &sender) {
        Some(Sender::Gateway(gateway)) => intake.read_from_gateway(&gateway, received_at, body),
        Some(Sender::Supplier(supplier)) => Some(intake.read_from_supplier(&supplier, received_at, body)),
        Some(Sender::Carrier(carrier)) => Some(intake.read_from_carrier(&carrier, received_at, body)),
        None => return Err(StoreError::Stored { what: "sender", detail: sender_kind }),
    };
    Ok(item.map(|item| Item { replayed_from: Some(position), ..item }))
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
