//! Reads a TOML table key by key. Every fault is collected, with the place it stands at and what to do; what nobody asked for is unknown.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::fault::{Fault, FaultCode};

/// Reads one table. Call `finish` at the end: it refuses the keys that were not asked for.
pub(crate) struct Reader<'f> {
    place: String,
    table: Table,
    asked: BTreeSet<&'static str>,
    pub(crate) faults: &'f mut Vec<Fault>,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(place: impl Into<String>, table: Table, faults: &'f mut Vec<Fault>) -> Reader<'f> {
        Reader { place: place.into(), table, asked: BTreeSet::new(), faults }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_string() } else { format!("{}.{key}", self.place) }
    }

    pub(crate) fn fault(&mut self, key: &str, code: FaultCode, zh: impl Into<String>, en: impl Into<String>) {
        let place = self.path(key);
        self.faults.push(Fault::new(code, place, zh, en));
    }

    fn wrong_type(&mut self, key: &str, zh: &str, en: &str, found: &Value) {
        let found = found.type_str();
        self.fault(key, FaultCode::ValueType, format!("应为{zh}，现在是 {found}"), format!("must be {en}, but is {found}"));
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
                self.wrong_type(key, "带引号的文字", "a text in quotes", &other);
                None
            }
        }
    }

    pub(crate) fn required_text(&mut self, key: &'static str, zh: &str, en: &str) -> String {
        if !self.has(key) {
            self.asked.insert(key);
            self.fault(key, FaultCode::KeyMissing, format!("缺少此项，请填{zh}"), format!("is missing; set it to {en}"));
            return String::new();
        }
        self.text(key).unwrap_or_default()
    }

    /// A name as reports carry it: 1 to 64 characters, none of them a control character.
    pub(crate) fn required_name(&mut self, key: &'static str, zh: &str, en: &str) -> String {
        let present = self.has(key);
        let name = self.required_text(key, zh, en);
        if present && !name_valid(&name) {
            self.fault(
                key,
                FaultCode::NameInvalid,
                "须为 1 至 64 个字符，且不含控制字符",
                "must have 1 to 64 characters and no control characters",
            );
        }
        name
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            Value::String(text) if text == "true" || text == "false" => Some(text == "true"),
            other => {
                self.wrong_type(key, " true 或 false", "true or false", &other);
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
            let (start, end) = (range.start(), range.end());
            self.fault(
                key,
                FaultCode::ValueRange,
                format!("应为 {start} 至 {end} 的整数"),
                format!("must be a whole number from {start} to {end}"),
            );
            return None;
        }
        number
    }

    /// A whole number within `range` that also fits the type; the default where it is absent or wrong.
    pub(crate) fn integer_or<T: TryFrom<i64>>(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>, default: T) -> T {
        self.integer(key, range).and_then(|number| T::try_from(number).ok()).unwrap_or(default)
    }

    pub(crate) fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let number = match self.take(key)? {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none_or(|number: f64| !number.is_finite() || !range.contains(&number)) {
            let (start, end) = (range.start(), range.end());
            self.fault(
                key,
                FaultCode::ValueRange,
                format!("应为 {start} 至 {end} 的数"),
                format!("must be a number from {start} to {end}"),
            );
            return None;
        }
        number
    }

    /// Texts in a list; as one text, separated by commas, because the environment has no lists.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = match &value {
            Value::String(text) => Some(text.split(',').map(|item| item.trim().to_string()).collect()),
            Value::Array(items) => items.iter().map(|item| item.as_str().map(ToString::to_string)).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let texts = texts.filter(|texts| !texts.is_empty());
        if texts.is_none() {
            self.wrong_type(key, "至少一项文字的列表，如 [\"a\", \"b\"]", "a list of at least one text, such as [\"a\", \"b\"]", &value);
        }
        texts
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(T, &str)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
        if found.is_none() {
            let known = words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
            self.fault(
                key,
                FaultCode::ValueWord,
                format!("不认识“{text}”，可填：{known}"),
                format!("`{text}` is not known; write one of {known}"),
            );
        }
        found
    }

    pub(crate) fn required_word<T: Copy>(&mut self, key: &'static str, words: &[(T, &str)]) -> Option<T> {
        if !self.has(key) {
            let known = words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
            self.asked.insert(key);
            self.fault(key, FaultCode::KeyMissing, format!("缺少此项，可填：{known}"), format!("is missing; write one of {known}"));
            return None;
        }
        self.word(key, words)
    }

    pub(crate) fn section(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            other => {
                self.wrong_type(key, "一个表", "a table", &other);
                None
            }
        }
    }

    pub(crate) fn list(&mut self, key: &'static str) -> Vec<Table> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let tables = match &value {
            Value::Array(items) => items.iter().map(|item| item.as_table().cloned()).collect(),
            _ => None,
        };
        tables.unwrap_or_else(|| {
            let path = self.path(key);
            self.wrong_type(key, &format!("若干 [[{path}]] 表"), &format!("written as [[{path}]] tables"), &value);
            Vec::new()
        })
    }

    pub(crate) fn finish(self) {
        let known = self.asked.iter().copied().collect::<Vec<_>>().join(", ");
        for key in self.table.keys() {
            let place = self.path(key);
            self.faults.push(Fault::new(
                FaultCode::KeyUnknown,
                place,
                format!("不认识此项；这里可用：{known}"),
                format!("this key is not known; known here: {known}"),
            ));
        }
    }
}

/// A name as reports carry it.
pub(crate) fn name_valid(name: &str) -> bool {
    (1..=wire::limits::NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}
