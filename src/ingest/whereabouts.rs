//! From which addresses gateways connect: gathered in memory, and written beside everything else. Nothing is done for a report, and
//! no answer waits for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use store::{PlaceNote, Store, StoreError};

/// Moves of one gateway between two writes.
const MOVES_MAX: usize = 16;

#[derive(Clone)]
pub struct Whereabouts(Arc<Inner>);

struct Inner {
    store: Store,
    /// By gateway; there are no more than the register has.
    noted: Mutex<HashMap<String, Vec<PlaceNote>>>,
    /// One writes at a time, so that whoever asks for all to be written may rely on it.
    writing: tokio::sync::Mutex<()>,
}

impl Whereabouts {
    pub fn new(store: Store) -> Whereabouts {
        Whereabouts(Arc::new(Inner { store, noted: Mutex::default(), writing: tokio::sync::Mutex::default() }))
    }

    /// The gateway was heard from this address at this time.
    pub(crate) fn note(&self, gateway: &str, enterprise: &str, address: IpAddr, heard_at: DateTime<Utc>) {
        let at_us = heard_at.timestamp_micros();
        let note = PlaceNote {
            enterprise: enterprise.to_string(),
            gateway: gateway.to_string(),
            address: address.to_canonical(),
            first_us: at_us,
            last_us: at_us,
        };
        self.add(note);
    }

    fn add(&self, note: PlaceNote) {
        let mut noted = self.noted();
        let of_gateway = noted.entry(note.gateway.clone()).or_default();
        let moves = of_gateway.len();
        match of_gateway.last_mut() {
            Some(last) if last.address == note.address && last.enterprise == note.enterprise => {
                last.last_us = last.last_us.max(note.last_us)
            }
            _ if moves < MOVES_MAX => of_gateway.push(note),
            _ => {}
        }
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<String, Vec<PlaceNote>>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was noted; what cannot be written is kept for the next time.
    pub async fn write(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.0.writing.lock().await;
        let noted: Vec<PlaceNote> = std::mem::take(&mut *self.noted()).into_values().flatten().collect();
        let written = self.0.store.note_places(&noted).await;
        if written.is_err() {
            // What was noted meanwhile comes behind it.
            let newer = std::mem::take(&mut *self.noted());
            noted.into_iter().chain(newer.into_values().flatten()).for_each(|note| self.add(note));
        }
        written
    }
}
