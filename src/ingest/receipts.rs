//! Signed receipts: what became of a gateway's numbers, once it is durable, on its `receipt` topic for whoever has subscribed there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use compact_str::CompactString;
use serde_json::{Value, json};
use store::{ReceiptBoot, ServiceKeys, Store, StoreError};
use tokio::sync::watch;
use wire::topic::GatewayTopic;

use crate::intake::Intake;
use crate::item::{Outcome, Settled};
use crate::mqtt::Sessions;

/// Numbers and runs that one receipt lists, the newest.
const LISTED_MAX: usize = 1_000;

/// Gateways of which something was settled since their last receipts, and what they are to be told again.
#[derive(Clone, Default)]
pub(crate) struct Settlings(Arc<Mutex<HashMap<String, Again>>>);

/// Boots whose receipt is said also where it was said before: the gateway seems not to have heard it.
#[derive(Default)]
struct Again {
    all: bool,
    boots: HashSet<CompactString>,
}

impl Again {
    fn names(&self, boot: &str) -> bool {
        self.all || self.boots.contains(boot)
    }
}

impl Settlings {
    /// Something was settled; whatever was a duplicate or refused may have come because its receipt did not arrive.
    pub(crate) fn note(&self, gateway: &str, settled: &[Settled]) {
        let repeated = settled.iter().filter(|settled| !matches!(settled.outcome, Outcome::Accepted));
        self.add(gateway, |again| again.boots.extend(repeated.filter_map(|settled| settled.label.boot.clone())));
    }

    /// A session of the gateway has subscribed to its receipts: it is told all of them.
    pub(crate) fn subscribed(&self, gateway: &str) {
        self.add(gateway, |again| again.all = true);
    }

    fn add(&self, gateway: &str, change: impl FnOnce(&mut Again)) {
        let mut gateways = self.lock();
        match gateways.get_mut(gateway) {
            Some(again) => change(again),
            None => change(gateways.entry(gateway.to_string()).or_default()),
        }
    }

    fn take(&self) -> HashMap<String, Again> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Again>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Writes receipts as long as the service runs.
pub struct Receipts {
    pub(crate) store: Store,
    pub(crate) intake: Intake,
    pub(crate) keys: ServiceKeys,
    pub(crate) sessions: Sessions,
    pub(crate) settlings: Settlings,
    pub(crate) every: Duration,
}

impl Receipts {
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        // What was said last of each boot: it is said again only to who seems not to have heard it.
        let mut said: HashMap<(String, String), Value> = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let (waiting, others): (HashMap<_, _>, HashMap<_, _>) =
                self.settlings.take().into_iter().partition(|(gateway, _)| self.sessions.listened(&GatewayTopic::Receipt.of(gateway)));
            said.retain(|(gateway, boot), _| !others.contains_key(gateway) && waiting.get(gateway).is_none_or(|again| !again.names(boot)));
            if waiting.is_empty() {
                continue;
            }
            // Receipts speak of what a checkpoint holds.
            if self.intake.flush().await.is_err() {
                waiting.keys().for_each(|gateway| self.settlings.note(gateway, &[]));
                continue;
            }
            for gateway in waiting.into_keys() {
                if let Err(error) = self.write(&gateway, &mut said).await {
                    tracing::warn!(%error, gateway, "a receipt could not be written; it is tried again");
                    self.settlings.note(&gateway, &[]);
                }
            }
        }
    }

    async fn write(&self, gateway: &str, said: &mut HashMap<(String, String), Value>) -> Result<(), StoreError> {
        let boots: BTreeMap<String, ReceiptBoot> = self.store.receipt_boots(gateway).await?;
        let position = self.store.checkpoint_position().await?;
        let head = json!({ "size": position.block(), "root": hex::encode(position.root()) });
        for (name, boot) in boots {
            let mut receipt = receipt(gateway, &name, &boot);
            let key = (gateway.to_string(), name);
            if said.get(&key) == Some(&receipt) {
                continue;
            }
            said.insert(key, receipt.clone());
            receipt["head"] = head.clone();
            let payload = Bytes::from(self.keys.jws(receipt.to_string().as_bytes()));
            self.sessions.deliver(&GatewayTopic::Receipt.of(gateway), &payload);
        }
        Ok(())
    }
}

fn receipt(gateway: &str, name: &str, boot: &ReceiptBoot) -> Value {
    let refused = boot.refused.as_slice().iter().flat_map(|(first, last)| *first..=*last);
    let refused: Vec<u64> = refused.rev().filter(|seq| !within(boot, *seq)).take(LISTED_MAX).collect();
    let dropped: Vec<_> = boot.dropped.as_slice().iter().rev().take(LISTED_MAX).collect();
    json!({
        "gateway": gateway, "boot": name, "through": boot.through(), "refused": refused, "dropped": dropped,
        "received_at": boot.received_at.map(shown),
    })
}

/// A refused number may have been accepted afterwards.
fn within(boot: &ReceiptBoot, seq: u64) -> bool {
    boot.accepted.as_slice().iter().any(|(first, last)| (*first..=*last).contains(&seq))
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
