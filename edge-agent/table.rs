//! Reads a TOML table key by key. Every fault is collected, with the place it stands at and what to do; what nobody asked for is unknown.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// Reads one table. Call `finish` at the end: it refuses the keys that were not asked for.
pub(crate) struct Reader<'f> {
    place: String,
    table: Table,
    asked: BTreeSet<&'static str>,
    pub(crate) faults: &'f mut Vec<String>,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(place: impl Into<String>, table: Table, faults: &'f mut Vec<String>) -> Reader<'f> {
        Reader { place: place.into(), table, asked: BTreeSet::new(), faults }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_string() } else { format!("{}.{key}", self.place) }
    }

    pub(crate) fn fault(&mut self, key: &str, says: impl AsRef<str>) {
        let fault = format!("{}: {}", self.path(key), says.as_ref());
        self.faults.push(fault);
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.insert(key);
        self.table.remove(key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.fault(key, format!("must be a text in quotes, but is {}", other.type_str()));
                None
            }
        }
    }

    pub(crate) fn required_text(&mut self, key: &'static str, what: &str) -> String {
        if !self.has(key) {
            self.asked.insert(key);
            self.fault(key, format!("is missing; set it to {what}"));
            return String::new();
        }
        self.text(key).unwrap_or_default()
    }

    /// A name as reports carry it: 1 to 64 characters, none of them a control character.
    pub(crate) fn required_name(&mut self, key: &'static str, what: &str) -> String {
        let present = self.has(key);
        let name = self.required_text(key, what);
        let count = name.chars().count();
        if present && (!(1..=wire::limits::NAME_CHARS_MAX).contains(&count) || name.chars().any(char::is_control)) {
            self.fault(key, "must have 1 to 64 characters and no control characters");
        }
        name
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            Value::String(text) if text == "true" || text == "false" => Some(text == "true"),
            other => {
                self.fault(key, format!("must be true or false, but is {}", other.type_str()));
                None
            }
        }
    }

    /// A whole number within `range`. Texts count too, because the environment has no other type.
    pub(crate) fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let number = match self.take(key)? {
            Value::Integer(number) => Some(number),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none_or(|number| !range.contains(&number)) {
            self.fault(key, format!("must be a whole number from {} to {}", range.start(), range.end()));
            return None;
        }
        number
    }

    pub(crate) fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let number = match self.take(key)? {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none_or(|number: f64| !number.is_finite() || !range.contains(&number)) {
            self.fault(key, format!("must be a number from {} to {}", range.start(), range.end()));
            return None;
        }
        number
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(T, &str)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
            self.fault(key, format!("`{text}` is not known; write one of {}", known.join(", ")));
        }
        found
    }

    pub(crate) fn section(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            other => {
                self.fault(key, format!("must be a table, but is {}", other.type_str()));
                None
            }
        }
    }

    pub(crate) fn list(&mut self, key: &'static str) -> Vec<Table> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let tables = match value {
            Value::Array(items) => items.into_iter().map(|item| item.try_into::<Table>().ok()).collect(),
            _ => None,
        };
        tables.unwrap_or_else(|| {
            let path = self.path(key);
            self.fault(key, format!("must be written as [[{path}]] tables"));
            Vec::new()
        })
    }

    pub(crate) fn finish(self) {
        let known: Vec<&str> = self.asked.iter().copied().collect();
        for key in self.table.keys() {
            let path = self.path(key);
            self.faults.push(format!("{path}: this key is not known; known here: {}", known.join(", ")));
        }
    }
}
