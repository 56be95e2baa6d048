//! Reading the outcome of a spot check: all faults at once, from a closed list.

use serde::Serialize;
use serde_json::Value;

use crate::calendar::{Day, day_of, read_day};
use crate::reasons::{OutcomeFaultCode, SpotOutcome};
use crate::register::Voucher;

pub const NOTE_CHARS_MAX: usize = 2_000;

/// What somebody asks to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeSaid {
    pub outcome: SpotOutcome,
    pub note: String,
    pub on: Day,
    pub corrects: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeFault {
    pub code: OutcomeFaultCode,
    /// JSON Pointer.
    pub path: String,
    pub rule: &'static str,
    pub detail: String,
}

impl OutcomeFault {
    pub fn new(code: OutcomeFaultCode, field: &str, detail: impl Into<String>) -> OutcomeFault {
        let path = if field.is_empty() { String::new() } else { format!("/{}", field.replace('~', "~0").replace('/', "~1")) };
        OutcomeFault { code, path, rule: code.text(), detail: detail.into() }
    }
}

pub fn read_outcome(said: &Value, voucher: &Voucher, today: Day) -> Result<OutcomeSaid, Vec<OutcomeFault>> {
    use OutcomeFaultCode as Code;
    let Some(object) = said.as_object() else { return Err(vec![OutcomeFault::new(Code::NotAnObject, "", shown(Some(said)))]) };
    let mut faults: Vec<OutcomeFault> = object
        .keys()
        .filter(|key| !["outcome", "note", "on", "corrects"].contains(&key.as_str()))
        .map(|key| OutcomeFault::new(Code::UnknownField, key, "unknown"))
        .collect();
    let mut take = |code: Code, field: &str, sound: bool| {
        if !sound {
            faults.push(OutcomeFault::new(code, field, shown(object.get(field))));
        }
    };
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    let outcome = text("outcome").and_then(|code| SpotOutcome::ALL.iter().copied().find(|outcome| outcome.code() == code));
    take(Code::Outcome, "outcome", outcome.is_some());
    let readable = |note: &&str| {
        let long_enough = !note.trim().is_empty() && note.chars().count() <= NOTE_CHARS_MAX;
        long_enough && !note.chars().any(|letter| letter.is_control() && letter != '\n')
    };
    let note = text("note").filter(readable);
    take(Code::Note, "note", note.is_some());
    let on = text("on").and_then(read_day).filter(|on| (day_of(voucher.applied_at)..=today).contains(on));
    take(Code::On, "on", on.is_some());
    let corrects = object.get("corrects").filter(|corrects| !corrects.is_null());
    let number = corrects.and_then(Value::as_i64);
    take(Code::Corrects, "corrects", corrects.is_none() || number.is_some());
    match (outcome, note, on) {
        (Some(outcome), Some(note), Some(on)) if faults.is_empty() => {
            Ok(OutcomeSaid { outcome, note: note.to_string(), on, corrects: number })
        }
        _ => Err(faults),
    }
}

/// What was found, short enough to be told.
fn shown(found: Option<&Value>) -> String {
    found.map_or_else(|| "missing".to_string(), |found| format!("found {}", found.to_string().chars().take(80).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_case::{day, voucher};
    use serde_json::json;

    fn read(said: &Value) -> Result<OutcomeSaid, Vec<OutcomeFault>> {
        read_outcome(said, &voucher("V-1", "P-5"), day("2019-11-05"))
    }

    #[test]
    fn a_sound_outcome_is_read() {
        let said = read(&json!({"outcome": "deviating", "note": "少 3 台\n其余属实", "on": "2019-11-05", "corrects": 4})).unwrap();
        assert_eq!((said.outcome, said.on, said.corrects), (SpotOutcome::Deviating, day("2019-11-05"), Some(4)));
        assert_eq!(read(&json!({"outcome": "fraud", "note": "x", "on": "2019-07-01", "corrects": null})).unwrap().corrects, None);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let codes = |said: Value| read(&said).unwrap_err().into_iter().map(|fault| (fault.code.code(), fault.path)).collect::<Vec<_>>();
        let of = |list: &[(&'static str, &str)]| list.iter().map(|(code, path)| (*code, path.to_string())).collect::<Vec<_>>();
        assert_eq!(codes(json!([])), of(&[("not_an_object", "")]));
        assert_eq!(codes(json!({})), of(&[("outcome", "/outcome"), ("note", "/note"), ("on", "/on")]));
        let worst = json!({"outcome": "ok", "note": " ", "on": "2019-11-06", "corrects": "1", "a/b": 1});
        assert_eq!(
            codes(worst),
            of(&[("unknown_field", "/a~1b"), ("outcome", "/outcome"), ("note", "/note"), ("on", "/on"), ("corrects", "/corrects")])
        );
        let with = |field: &str, value: Value| {
            let mut said = json!({"outcome": "fraud", "note": "x", "on": "2019-11-05"});
            said[field] = value;
            read(&said).is_ok()
        };
        assert!(with("note", json!("字".repeat(2_000))) && !with("note", json!("字".repeat(2_001))) && !with("note", json!("a\u{7}")));
        assert!(!with("on", json!("2019-06-30")) && !with("on", json!("2019-13-01")) && !with("corrects", json!(1.5)));
    }

    #[test]
    fn the_list_of_faults_is_closed() {
        let all: Vec<_> = OutcomeFaultCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(all, ["not_an_object", "unknown_field", "outcome", "note", "on", "corrects"]);
    }
}
