//! `POST /usage`: JSON into entries. All faults are found, and with one fault nothing is taken.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::report::UsageEntry;
use crate::usage::{Pseudonyms, Rule};

const FIELDS: [&str; 6] = ["product", "function_module", "user", "at", "actions", "active_s"];
/// More are not listed.
const FAULTS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PostFault {
    /// JSON Pointer.
    pub path: String,
    pub rule: &'static str,
    pub zh: &'static str,
    pub en: &'static str,
}

impl PostFault {
    fn new(path: String, rule: Rule) -> PostFault {
        PostFault { path, rule: rule.name(), zh: rule.zh(), en: rule.en() }
    }
}

/// One object, or a list of them.
pub(crate) fn read_posted(
    posted: Value,
    product: Option<&str>,
    pseudonyms: &Pseudonyms,
    now: DateTime<Utc>,
) -> Result<Vec<UsageEntry>, Vec<PostFault>> {
    let items = match posted {
        Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| (format!("/{i}"), item)).collect(),
        item => vec![(String::new(), item)],
    };
    let mut faults = Vec::new();
    let entries: Vec<_> = items
        .into_iter()
        .filter_map(|(path, item)| match item {
            Value::Object(fields) => ItemReader { path, fields, faults: &mut faults }.entry(product, pseudonyms, now),
            _ => {
                faults.push(PostFault::new(path, Rule::Object));
                None
            }
        })
        .collect();
    faults.truncate(FAULTS_MAX);
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

struct ItemReader<'f> {
    path: String,
    fields: Map<String, Value>,
    faults: &'f mut Vec<PostFault>,
}

impl ItemReader<'_> {
    fn entry(mut self, product: Option<&str>, pseudonyms: &Pseudonyms, now: DateTime<Utc>) -> Option<UsageEntry> {
        let product = match product {
            Some(product) if !self.fields.contains_key("product") => Some(product.to_string()),
            _ => self.required("product", |text| Rule::name_of(text).map(str::to_string)),
        };
        let function_module = self.required("function_module", |text| Rule::name_of(text).map(str::to_string));
        let user = self.required("user", |text| Rule::user(text).map(|user| pseudonyms.of(user)));
        let at = self.optional("at", now, |value| {
            let at = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).ok_or(Rule::Instant)?;
            Rule::at(at.to_utc(), now)
        });
        let actions = self.optional("actions", 1, |value| Rule::actions(value.as_u64()));
        let active_s = self.optional("active_s", None, |value| Rule::active_s(value.as_u64()).map(Some));
        let unknown: Vec<String> = self.fields.keys().filter(|key| !FIELDS.contains(&key.as_str())).cloned().collect();
        unknown.iter().for_each(|key| self.fault(key, Rule::Unknown));
        Some(UsageEntry {
            product: product?,
            function_module: function_module?,
            user: user?,
            at: at?,
            actions: actions?,
            active_s: active_s?,
        })
    }

    fn required<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, Rule>) -> Option<T> {
        let value = match self.fields.get(key) {
            None | Some(Value::Null) => Err(Rule::Missing),
            Some(Value::String(text)) => read(text),
            Some(_) => Err(Rule::Text),
        };
        value.map_err(|rule| self.fault(key, rule)).ok()
    }

    fn optional<T>(&mut self, key: &str, default: T, read: impl FnOnce(&Value) -> Result<T, Rule>) -> Option<T> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Some(default),
            Some(value) => read(value).map_err(|rule| self.fault(key, rule)).ok(),
        }
    }

    fn fault(&mut self, key: &str, rule: Rule) {
        let key = key.replace('~', "~0").replace('/', "~1");
        self.faults.push(PostFault::new(format!("{}/{key}", self.path), rule));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2019-11-05T00:00:00Z".parse().unwrap()
    }

    fn read(posted: Value, product: Option<&str>) -> Result<Vec<UsageEntry>, Vec<(String, &'static str)>> {
        read_posted(posted, product, &Pseudonyms::new([7; 32]), now())
            .map_err(|faults| faults.into_iter().map(|fault| (fault.path, fault.rule)).collect())
    }

    #[test]
    fn one_object_with_the_least_is_one_action_now() {
        let entries = read(json!({"function_module": "报表", "user": " 张三 "}), Some("P-001")).unwrap();
        let expected = UsageEntry {
            product: "P-001".into(),
            function_module: "报表".into(),
            user: Pseudonyms::new([7; 32]).of("张三"),
            at: now(),
            actions: 1,
            active_s: None,
        };
        assert_eq!(entries, [expected]);
    }

    #[test]
    fn a_list_is_read_in_order_with_all_its_fields() {
        let full = json!({"product": "P-2", "function_module": "OEE", "user": "u", "at": "2019-11-05T07:59:00+08:00", "actions": 3, "active_s": 120});
        let entries = read(json!([full, {"function_module": "报表", "user": "v"}]), Some("P-001")).unwrap();
        let first = &entries[0];
        assert_eq!((first.product.as_str(), first.actions, first.active_s), ("P-2", 3, Some(120)));
        assert_eq!(first.at, "2019-11-04T23:59:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!((entries[1].product.as_str(), entries[1].function_module.as_str()), ("P-001", "报表"));
    }

    #[test]
    fn every_fault_of_every_item_is_said_and_nothing_is_taken() {
        let posted = json!([
            {"function_module": "报表", "user": "u"},
            {"product": "", "function_module": 7, "user": "\u{7}", "at": "2019-11-05 08:00", "actions": 0, "active_s": -1, "a/b": 1},
            "no object",
            {"product": "P", "function_module": "m", "user": "u", "at": "2019-11-05T08:01:02+08:00", "actions": 100_001, "active_s": 86_401},
        ]);
        let expected = [
            ("/0/product", "missing"),
            ("/1/product", "name"),
            ("/1/function_module", "text"),
            ("/1/user", "user"),
            ("/1/at", "instant"),
            ("/1/actions", "actions"),
            ("/1/active_s", "active_s"),
            ("/1/a~1b", "unknown"),
            ("/2", "object"),
            ("/3/at", "future"),
            ("/3/actions", "actions"),
            ("/3/active_s", "active_s"),
        ];
        assert_eq!(read(posted, None), Err(expected.map(|(path, rule)| (path.to_string(), rule)).to_vec()));
    }

    #[test]
    fn a_fault_of_a_single_object_has_the_pointer_of_its_field() {
        assert_eq!(read(json!({"function_module": "m"}), Some("P")), Err(vec![("/user".to_string(), "missing")]));
    }
}
