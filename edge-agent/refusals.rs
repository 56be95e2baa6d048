//! What the service said about reports that it refuses, until it is known what becomes of them. Bounded.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::spool::ReportKey;

const COUNT_MAX: usize = 100;
const BYTES_MAX: usize = 256 * 1024;

#[derive(Default)]
pub struct Refusals {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Refusals {
    pub fn push(&mut self, faults: Vec<u8>) {
        self.bytes += faults.len();
        self.waiting.push_back(faults);
        while self.waiting.len() > COUNT_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// What was said about this report: the refusal that names it, or the oldest one that names none.
    pub fn take(&mut self, key: &ReportKey) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        struct Named {
            boot: Option<String>,
            seq: Option<u64>,
        }
        let index = self.waiting.iter().position(|faults| match serde_json::from_slice::<Named>(faults) {
            Ok(Named { boot, seq: Some(seq) }) => seq == key.seq && boot.is_none_or(|boot| boot == key.boot),
            _ => true,
        })?;
        let faults = self.waiting.remove(index)?;
        self.bytes -= faults.len();
        Some(faults)
    }

    pub fn clear(&mut self) {
        *self = Refusals::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seq: u64) -> ReportKey {
        ReportKey { boot: "b7".into(), seq }
    }

    #[test]
    fn a_refused_report_takes_the_refusal_that_names_it() {
        let mut refusals = Refusals::default();
        refusals.push(br#"{"boot":"b7","seq":2,"faults":[]}"#.to_vec());
        refusals.push(br#"{"faults":[1]}"#.to_vec());
        assert_eq!(refusals.take(&key(1)), Some(br#"{"faults":[1]}"#.to_vec()));
        assert_eq!(refusals.take(&key(1)), None);
        assert!(refusals.take(&key(2)).is_some());
    }

    #[test]
    fn the_oldest_refusals_give_way_when_there_are_too_many_or_too_large_ones() {
        let mut refusals = Refusals::default();
        for seq in 0..=COUNT_MAX as u64 {
            refusals.push(format!(r#"{{"boot":"b7","seq":{seq}}}"#).into_bytes());
        }
        assert_eq!(refusals.take(&key(0)), None);
        assert!(refusals.take(&key(1)).is_some());
        refusals.push(vec![b' '; BYTES_MAX]);
        assert_eq!(refusals.take(&key(2)), Some(vec![b' '; BYTES_MAX]), "only the last is left");
        assert_eq!(refusals.bytes, 0);
    }
}
