//! Reading a rulebook or catalogue: TOML whose numbers are taken by their text, never through a float, and whose faults are all
//! told at once.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::calendar::{self, Day, Instant};
use crate::money::Yuan;

/// One fault of a rulebook or catalogue: the key, the rule that it breaks, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule} ({detail})")]
pub struct PolicyFault {
    pub key: String,
    pub rule: String,
    pub detail: String,
}

impl PolicyFault {
    pub fn new(key: impl Into<String>, rule: impl Into<String>, detail: impl Into<String>) -> PolicyFault {
        PolicyFault { key: key.into(), rule: rule.into(), detail: detail.into() }
    }
}

/// What a value must look like. Reading gives its canonical JSON: counts as integers, money and shares as strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Count {
        min: u32,
        max: u32,
    },
    /// A share from 0 to 1, such as `0.07` or `"0.07"`.
    Share,
    Money,
    Flag,
    Choice(&'static [&'static str]),
    /// Catalogue rows 1..=25, each once.
    Rows,
    Day,
    /// A day (its first instant in Asia/Shanghai) or an instant with an offset.
    Instant,
    Text {
        chars_max: usize,
    },
    /// Administrative codes of this many digits.
    Code {
        digits: usize,
    },
    Codes {
        digits: usize,
    },
    /// Texts of 1 to 64 characters.
    Names,
}

impl Form {
    pub fn rule(self) -> String {
        match self {
            Form::Count { min, max } => format!("a whole number from {min} to {max}"),
            Form::Share => "a decimal number from 0 to 1 with at most 12 places".to_string(),
            Form::Money => "an amount of yuan with at most two places, such as \"80000.00\"".to_string(),
            Form::Flag => "true or false".to_string(),
            Form::Choice(names) => format!("one of {}", names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")),
            Form::Rows => "a list of different catalogue rows from 1 to 25".to_string(),
            Form::Day => "a day, YYYY-MM-DD".to_string(),
            Form::Instant => "a day, YYYY-MM-DD, or an RFC 3339 instant with an offset".to_string(),
            Form::Text { chars_max } => format!("text of 1 to {chars_max} characters without control characters"),
            Form::Code { digits } => format!("a code of {digits} digits, as text"),
            Form::Codes { digits } => format!("a list of different codes of {digits} digits, as text"),
            Form::Names => "a list of different texts of 1 to 64 characters without control characters".to_string(),
        }
    }

    /// The canonical JSON of a value, or what was found instead.
    pub fn read(self, value: &DeValue<'_>) -> Result<Value, String> {
        let found = || shown(value);
        match self {
            Form::Count { min, max } => {
                let count = count_of(value).ok_or_else(found)?;
                if (min..=max).contains(&count) { Ok(Value::from(count)) } else { Err(found()) }
            }
            Form::Share => {
                let share = decimal_text(value).and_then(|text| share_of(&text)).ok_or_else(found)?;
                Ok(Value::from(share.to_string()))
            }
            Form::Money => {
                let amount = decimal_text(value).and_then(|text| text.parse::<Yuan>().ok()).ok_or_else(found)?;
                Ok(Value::from(amount.to_string()))
            }
            Form::Flag => value.as_bool().map(Value::from).ok_or_else(found),
            Form::Choice(names) => value.as_str().filter(|text| names.contains(text)).map(Value::from).ok_or_else(found),
            Form::Rows => {
                let mut rows = list_of(value, |item| count_of(item).filter(|row| (1..=25).contains(row))).ok_or_else(found)?;
                rows.sort_unstable();
                if rows.windows(2).any(|pair| pair[0] == pair[1]) { Err(found()) } else { Ok(Value::from(rows)) }
            }
            Form::Day => {
                day_text(value).and_then(|text| calendar::read_day(&text)).map(|day| Value::from(day.to_string())).ok_or_else(found)
            }
            Form::Instant => {
                let at = day_text(value).and_then(|text| instant_of(&text)).ok_or_else(found)?;
                Ok(Value::from(calendar::show_instant(at)))
            }
            Form::Text { chars_max } => {
                let fits = |text: &&str| !text.is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control);
                value.as_str().filter(fits).map(Value::from).ok_or_else(found)
            }
            Form::Names => {
                let name = |item: &DeValue<'_>| Form::Text { chars_max: 64 }.read(item).ok()?.as_str().map(str::to_string);
                let mut names = list_of(value, name).ok_or_else(found)?;
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(found()) } else { Ok(Value::from(names)) }
            }
            Form::Code { digits } => code_of(value, digits).map(Value::from).ok_or_else(found),
            Form::Codes { digits } => {
                let mut codes = list_of(value, |item| code_of(item, digits)).ok_or_else(found)?;
                codes.sort_unstable();
                if codes.windows(2).any(|pair| pair[0] == pair[1]) { Err(found()) } else { Ok(Value::from(codes)) }
            }
        }
    }
}

/// Reads the named key of a table; a fault and `None` when it is missing or of another form.
pub fn read_key(table: &DeTable<'_>, prefix: &str, key: &str, form: Form, required: bool, faults: &mut Vec<PolicyFault>) -> Option<Value> {
    let Some((_, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == key) else {
        if required {
            faults.push(PolicyFault::new(format!("{prefix}{key}"), form.rule(), "missing"));
        }
        return None;
    };
    form.read(value.get_ref()).map_err(|found| faults.push(PolicyFault::new(format!("{prefix}{key}"), form.rule(), found))).ok()
}

/// A fault for every key that is not known.
pub fn refuse_unknown(table: &DeTable<'_>, prefix: &str, known: impl Fn(&str) -> bool, faults: &mut Vec<PolicyFault>) {
    for (name, _) in table.iter() {
        let name = name.get_ref();
        if !known(name) {
            faults.push(PolicyFault::new(format!("{prefix}{name}"), "a known key", "unknown key"));
        }
    }
}

/// The faults of the TOML grammar, each with its line.
pub fn grammar_faults(text: &str, errors: &[toml::de::Error]) -> Vec<PolicyFault> {
    let line = |error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        format!("line {}", text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1)
    };
    errors.iter().map(|error| PolicyFault::new(line(error), "readable TOML 1.0, each key once", error.message())).collect()
}

pub fn instant_of(text: &str) -> Option<Instant> {
    calendar::read_day(text).map(|day: Day| calendar::day_start(day)).or_else(|| calendar::read_instant(text))
}

/// A share from its text, without trailing zeros, so that `0.07` and `0.070` are the same rulebook.
fn share_of(text: &str) -> Option<Decimal> {
    let exact = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok()?.normalize();
    let sensible = exact >= Decimal::ZERO && exact <= Decimal::ONE && exact.scale() <= 12;
    // `-0` and `+0` are zero.
    sensible.then(|| if exact.is_zero() { Decimal::ZERO } else { exact })
}

/// The text of a number, whether it was written bare or as a string.
fn decimal_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Float(float) => Some(float.as_str().replace('_', "")),
        DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str().replace('_', "")),
        _ => None,
    }
}

fn day_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        _ => None,
    }
}

fn count_of(value: &DeValue<'_>) -> Option<u32> {
    let integer = value.as_integer()?;
    u32::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

fn code_of(value: &DeValue<'_>, digits: usize) -> Option<String> {
    let text = value.as_str()?;
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_string())
}

fn list_of<T>(value: &DeValue<'_>, item: impl Fn(&DeValue<'_>) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|entry| item(entry.get_ref())).collect()
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("found the text {text:?}"),
        DeValue::Integer(_) | DeValue::Float(_) => format!("found {}", decimal_text(value).unwrap_or_else(|| "a number".to_string())),
        DeValue::Boolean(flag) => format!("found {flag}"),
        other => format!("found {}", other.type_str()),
    }
}

/// Reads a decimal string of the canonical form back.
pub fn decimal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    Decimal::from_str(&text).map_err(serde::de::Error::custom)
}
