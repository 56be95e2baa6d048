//! What is connected now, as Sparkplug's births and deaths say: for people to look at. Evidence rests on the reports alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// Devices of the edge nodes that are born, by gateway.
#[derive(Clone, Default)]
pub struct Connected(Arc<Mutex<HashMap<String, BTreeSet<String>>>>);

impl Connected {
    /// The connected devices of a gateway whose edge node is born; `None` if it is not.
    pub fn devices(&self, gateway: &str) -> Option<Vec<String>> {
        self.lock().get(gateway).map(|devices| devices.iter().cloned().collect())
    }

    pub(crate) fn node_born(&self, gateway: &str) {
        self.lock().insert(gateway.to_string(), BTreeSet::new());
    }

    pub(crate) fn node_died(&self, gateway: &str) {
        self.lock().remove(gateway);
    }

    pub(crate) fn device_born(&self, gateway: &str, device: &str) {
        self.lock().entry(gateway.to_string()).or_default().insert(device.to_string());
    }

    pub(crate) fn device_died(&self, gateway: &str, device: &str) {
        if let Some(devices) = self.lock().get_mut(gateway) {
            devices.remove(device);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
