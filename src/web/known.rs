//! A stored result, read: what it says and what was explained beside it.

use policy::diff::{Change, Told, diff};
use policy::judge::Explanation;
use policy::result::MonitoringResult;
use serde::de::DeserializeOwned;
use store::{StoreError, StoredResult};

pub struct Known {
    pub result: MonitoringResult,
    pub explanation: Explanation,
}

impl Known {
    pub fn read(stored: &StoredResult) -> Result<Known, StoreError> {
        Ok(Known { result: read(&stored.body)?, explanation: read(&stored.explanation)? })
    }

    /// In sentences.
    pub fn changes_since(&self, before: &Known) -> Vec<Change> {
        diff(before.told(), self.told())
    }

    fn told(&self) -> Told<'_> {
        Told { result: &self.result, explanation: &self.explanation }
    }
}

pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Stored { what: "result", detail: error.to_string() })
}
