//! What works and what does not, for `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A part of the service that must work before it takes reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Log,
    Disk,
    Tally,
    Identities,
    MqttDoor,
}

impl Part {
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Log => "evidence log",
            Part::Disk => "disk",
            Part::Tally => "tally",
            Part::Identities => "index of identities",
            Part::MqttDoor => "mqtt door",
        }
    }
}

#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Part, String>>>);

impl Health {
    pub fn fails(&self, part: Part, why: impl Into<String>) {
        self.faults().insert(part, why.into());
    }

    pub fn works(&self, part: Part) {
        self.faults().remove(&part);
    }

    /// What does not work now, and why; empty when ready.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        self.faults().iter().map(|(part, why)| (part.as_str(), why.clone())).collect()
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, BTreeMap<Part, String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_works_again_is_no_longer_named() {
        let health = Health::default();
        health.fails(Part::Log, "no space left");
        assert_eq!(health.failing(), [("evidence log", "no space left".to_string())]);
        health.works(Part::Log);
        assert!(health.failing().is_empty());
    }
}
