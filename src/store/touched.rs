//! Which enterprises have got new facts, so that only their vouchers need be judged again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use tally::{DecodeError, KeyParts};

use crate::sql::Store;

/// Enterprises with new facts since somebody last asked; never more than there are.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<BTreeSet<String>>);

impl Touched {
    fn all(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn add(&self, enterprises: BTreeSet<String>) {
        self.all().extend(enterprises);
    }
}

impl Store {
    /// Enterprises about which this process has stored facts since the last call.
    pub fn take_touched(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.touched.all())
    }
}

/// Gathers the enterprises of keys that come in order.
#[derive(Default)]
pub(crate) struct EnterprisesOfKeys {
    found: BTreeSet<String>,
    last: Vec<u8>,
}

impl EnterprisesOfKeys {
    /// Of facts by day; hours in short tell of the same enterprises.
    pub(crate) fn note(&mut self, key: &[u8]) -> Result<(), DecodeError> {
        use tally::kind::{CARRIER_DAY, DEVICE_DAY, USAGE_DAY};
        let mut parts = KeyParts(key);
        if [CARRIER_DAY, DEVICE_DAY, USAGE_DAY].contains(&parts.byte()?) {
            let name = parts.name_bytes()?;
            if self.last != name {
                self.last = name.to_vec();
                self.found.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn found(self) -> BTreeSet<String> {
        self.found
    }
}
