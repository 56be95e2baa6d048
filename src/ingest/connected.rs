//! What is connected now, as Sparkplug's births and deaths say: for people to look at. Evidence rests on the reports alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// Devices of the edge nodes that are born, by gateway, with the connection that each was born on.
#[derive(Clone, Default)]
pub struct Connected(Arc<Mutex<HashMap<String, Born>>>);

struct Born {
    connection: u64,
    devices: BTreeSet<String>,
}

impl Connected {
    /// The connected devices of a gateway whose edge node is born; `None` if it is not.
    pub fn devices(&self, gateway: &str) -> Option<Vec<String>> {
        self.lock().get(gateway).map(|born| born.devices.iter().cloned().collect())
    }

    pub(crate) fn node_born(&self, gateway: &str, connection: u64) {
        self.lock().insert(gateway.to_string(), Born { connection, devices: BTreeSet::new() });
    }

    /// Another connection of the gateway may have been born since: then this one has nothing to say.
    pub(crate) fn node_died(&self, gateway: &str, connection: u64) {
        let mut nodes = self.lock();
        if nodes.get(gateway).is_some_and(|born| born.connection == connection) {
            nodes.remove(gateway);
        }
    }

    pub(crate) fn device_born(&self, gateway: &str, connection: u64, device: &str) {
        self.of(gateway, connection, |devices| devices.insert(device.to_string()));
    }

    pub(crate) fn device_died(&self, gateway: &str, connection: u64, device: &str) {
        self.of(gateway, connection, |devices| devices.remove(device));
    }

    fn of(&self, gateway: &str, connection: u64, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        if let Some(born) = self.lock().get_mut(gateway).filter(|born| born.connection == connection) {
            change(&mut born.devices);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Born>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_older_connection_changes_nothing_of_a_newer_birth() {
        let connected = Connected::default();
        connected.node_born("g", 1);
        connected.node_born("g", 2);
        connected.device_born("g", 2, "d");
        connected.device_born("g", 1, "e");
        connected.node_died("g", 1);
        assert_eq!(connected.devices("g"), Some(vec!["d".to_string()]));
        connected.device_died("g", 2, "d");
        assert_eq!(connected.devices("g"), Some(vec![]));
        connected.node_died("g", 2);
        assert_eq!(connected.devices("g"), None);
    }
}
