//! What the service said about reports that it refuses, until it is known what becomes of them. Bounded.

use std::collections::VecDeque;

use serde::Deserialize;
use wire::FaultCode;

use crate::spool::ReportKey;

const COUNT_MAX: usize = 100;
const BYTES_MAX: usize = 256 * 1024;

/// What stands in a refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub key: Option<ReportKey>,
    /// The faults that question who is speaking: register or key have to be mended, and the report is right as it is.
    pub doubts: Vec<FaultCode>,
}

impl Refusal {
    pub fn read(faults: &[u8]) -> Refusal {
        #[derive(Default, Deserialize)]
        struct Said {
            boot: Option<String>,
            seq: Option<u64>,
            #[serde(default)]
            faults: Vec<SaidFault>,
        }
        #[derive(Deserialize)]
        struct SaidFault {
            #[serde(default)]
            code: String,
        }
        let said = serde_json::from_slice::<Said>(faults).unwrap_or_default();
        let codes = said.faults.iter().filter_map(|fault| FaultCode::read(&fault.code));
        Refusal {
            key: said.boot.zip(said.seq).map(|(boot, seq)| ReportKey { boot, seq }),
            doubts: codes.filter(|code| code.questions_sender()).collect(),
        }
    }
}

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

    /// Whether something was said about this report and no other.
    pub fn name(&self, key: &ReportKey) -> bool {
        self.waiting.iter().any(|faults| Refusal::read(faults).key.as_ref() == Some(key))
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
    fn a_refusal_says_of_which_report_it_is_and_whether_it_doubts_who_speaks() {
        let doubted =
            Refusal::read(br#"{"id":null,"boot":"b7","seq":2,"faults":[{"code":"signature","path":""},{"code":"quality"},{"code":"?"}]}"#);
        assert_eq!(doubted, Refusal { key: Some(key(2)), doubts: vec![FaultCode::Signature] });
        assert_eq!(Refusal::read(br#"{"seq":2,"faults":[{"code":"quality"}]}"#), Refusal { key: None, doubts: vec![] });
        assert_eq!(Refusal::read(b"nonsense"), Refusal { key: None, doubts: vec![] });
        let mut refusals = Refusals::default();
        refusals.push(br#"{"boot":"b7","seq":2}"#.to_vec());
        refusals.push(b"{}".to_vec());
        assert!(refusals.name(&key(2)) && !refusals.name(&key(1)));
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
