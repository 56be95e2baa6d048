//! Checks a register file against the columns and against what the register holds: every fault at once, or the changes to make.

use std::collections::{BTreeMap, BTreeSet};

use policy::columns::{self, Column, ColumnKind, List};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::keys::sha256_hex;
use crate::rows::{checked, rule_of};

/// One fault of a register file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterFault {
    /// Which of the files given, counted from 0.
    #[serde(skip)]
    pub file: usize,
    pub code: &'static str,
    /// JSON Pointer into the file.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Counted from 1, as people count rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    pub rule: String,
    pub detail: String,
}

/// Rows as they are stored, by list and key.
pub type RowMap = BTreeMap<(&'static str, String), Map<String, Value>>;

/// A sound file's changes: `None` retires the row.
pub type Changes = BTreeMap<(&'static str, String), Option<Map<String, Value>>>;

/// Under this name a token's hash is stored.
const TOKEN_SHA256: &str = "token_sha256";
const FILE_RULE: &str = "a register file is {\"v\":1, \"rulebook\":\"gd-2019\", …lists}";
/// More are counted, not listed.
const FAULTS_MAX: usize = 1000;

struct Place<'a> {
    file: usize,
    list: &'a List,
    index: usize,
}

struct Checker {
    faults: Vec<RegisterFault>,
    faults_beyond: usize,
}

/// Where each row of the files stands: (file, index in its list).
type Places = BTreeMap<(&'static str, String), (usize, usize)>;

/// Checks files that belong together. `rulebook_known` tells whether a rulebook of that id is configured.
pub fn check(files: &[Value], current: &RowMap, rulebook_known: &dyn Fn(&str) -> bool) -> Result<Changes, Vec<RegisterFault>> {
    let mut checker = Checker { faults: Vec::new(), faults_beyond: 0 };
    let mut changes = Changes::new();
    let mut places = Places::new();
    for (number, file) in files.iter().enumerate() {
        checker.file((number, file), current, rulebook_known, &mut changes, &mut places);
    }
    checker.references(current, &changes, &places);
    if checker.faults_beyond > 0 {
        let detail = format!("and {} more faults", checker.faults_beyond);
        checker.faults.push(fault_of_file(0, "bound", "", detail));
    }
    if checker.faults.is_empty() { Ok(changes) } else { Err(checker.faults) }
}

impl Checker {
    fn file(
        &mut self,
        (number, file): (usize, &Value),
        current: &RowMap,
        rulebook_known: &dyn Fn(&str) -> bool,
        changes: &mut Changes,
        places: &mut Places,
    ) {
        let Some(object) = file.as_object() else {
            return self.file_fault(number, "type", "", "the file is not a JSON object".into());
        };
        if object.get("v") != Some(&Value::from(1)) {
            let code = if object.contains_key("v") { "version" } else { "missing" };
            self.file_fault(number, code, "/v", "v is required and is 1".into());
        }
        match object.get("rulebook") {
            Some(Value::String(id)) if rulebook_known(id) => {}
            Some(other) => self.file_fault(number, "rulebook", "/rulebook", format!("no rulebook {other} is configured")),
            None => self.file_fault(number, "missing", "/rulebook", "rulebook is required".into()),
        }
        for (name, rows) in object.iter().filter(|(name, _)| *name != "v" && *name != "rulebook") {
            let Some(list) = columns::list(name) else {
                self.file_fault(number, "unknown_field", &format!("/{}", escaped(name)), format!("there is no list {name:?}"));
                continue;
            };
            let Some(rows) = rows.as_array() else {
                self.file_fault(number, "type", &format!("/{name}"), "the list is not a JSON list".into());
                continue;
            };
            for (index, row) in rows.iter().enumerate() {
                let place = Place { file: number, list, index };
                let Some((key, row)) = self.row(&place, row) else { continue };
                let row = row.map(|row| with_kept_token(list, &key, row, current));
                if places.insert((list.name, key.clone()), (number, index)).is_some() {
                    let rule = format!("one row per {}", list.key.join(" and "));
                    self.fault(&place, "duplicate", None, rule, format!("{key} stands twice"));
                }
                changes.insert((list.name, key), row);
            }
        }
    }

    /// A row's key and what is to be stored; `None` where the key cannot be read.
    fn row(&mut self, place: &Place<'_>, row: &Value) -> Option<(String, Option<Map<String, Value>>)> {
        let list = place.list;
        let Some(object) = row.as_object() else {
            self.fault(place, "type", None, "a row is a JSON object".into(), "it is none".into());
            return None;
        };
        let removed = match object.get("removed") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.fault(place, "type", Some("removed"), rule_of(ColumnKind::Bool), "it is neither".into());
                false
            }
        };
        let mut stored = Map::new();
        for (name, value) in object.iter().filter(|(name, _)| *name != "removed") {
            let Some(column) = list.columns.iter().find(|column| column.name == name) else {
                self.fault(
                    place,
                    "unknown_field",
                    Some(name),
                    format!("columns of {}: {}", list.name, column_names(list)),
                    "unknown column".into(),
                );
                continue;
            };
            if value.is_null() && !column.required {
                continue;
            }
            match checked(column.kind, value) {
                Ok(value) => {
                    stored.insert(name.clone(), value);
                }
                Err(detail) => self.fault(place, code_of(column.kind), Some(name), rule_of(column.kind), detail),
            }
        }
        for column in list.columns.iter().filter(|column| column.required && !object.contains_key(column.name)) {
            if !removed || list.key.contains(&column.name) {
                self.fault(place, "missing", Some(column.name), rule_of(column.kind), "required, and not there".into());
            }
        }
        if let Some(Value::String(token)) = stored.remove("token") {
            stored.insert(TOKEN_SHA256.into(), Value::String(sha256_hex(&token)));
        }
        let key = row_key(list, &stored)?;
        Some((key, (!removed).then_some(stored)))
    }

    /// Every reference must be met by the register as it will be.
    fn references(&mut self, current: &RowMap, changes: &Changes, places: &Places) {
        let will_be = |list: &'static str, key: &str| match changes.get(&(list, key.to_string())) {
            Some(row) => row.is_some(),
            None => current.contains_key(&(list, key.to_string())),
        };
        let place_of = |id: &(&'static str, String)| {
            columns::list(id.0).zip(places.get(id)).map(|(list, (file, index))| Place { file: *file, list, index: *index })
        };
        let mut gone = BTreeSet::new();
        for (id, row) in changes {
            match row {
                None => {
                    gone.insert(id.clone());
                }
                Some(row) => {
                    for (column, list, target) in references_of(id.0, row) {
                        if !will_be(list, &target)
                            && let Some(place) = place_of(id)
                        {
                            self.fault(
                                &place,
                                "reference",
                                Some(column.name),
                                format!("{} stands in {list}", column.name),
                                format!("{target:?} is not there"),
                            );
                        }
                    }
                }
            }
        }
        for ((list, key), row) in current.iter().filter(|(id, _)| !gone.is_empty() && !changes.contains_key(*id)) {
            for (_, target_list, target) in references_of(list, row) {
                let id = (target_list, target);
                if gone.contains(&id)
                    && let Some(place) = place_of(&id)
                {
                    let rule = "a row that others refer to cannot be removed".to_string();
                    self.fault(&place, "reference", None, rule, format!("{list} {key} refers to it"));
                }
            }
        }
    }

    fn file_fault(&mut self, file: usize, code: &'static str, path: &str, detail: String) {
        if self.faults.len() >= FAULTS_MAX {
            self.faults_beyond += 1;
            return;
        }
        self.faults.push(fault_of_file(file, code, path, detail));
    }

    fn fault(&mut self, place: &Place<'_>, code: &'static str, column: Option<&str>, rule: String, detail: String) {
        if self.faults.len() >= FAULTS_MAX {
            self.faults_beyond += 1;
            return;
        }
        let tail = column.map(|column| format!("/{}", escaped(column))).unwrap_or_default();
        self.faults.push(RegisterFault {
            file: place.file,
            code,
            path: format!("/{}/{}{tail}", place.list.name, place.index),
            list: Some(place.list.name.to_string()),
            row: Some(place.index + 1),
            column: column.map(str::to_string),
            rule,
            detail,
        });
    }
}

fn fault_of_file(file: usize, code: &'static str, path: &str, detail: String) -> RegisterFault {
    let path = path.to_string();
    RegisterFault { file, code, path, list: None, row: None, column: None, rule: FILE_RULE.into(), detail }
}

/// A gateway's token cannot be read back, so a row without one keeps the one that it has.
fn with_kept_token(list: &List, key: &str, mut row: Map<String, Value>, current: &RowMap) -> Map<String, Value> {
    let kept = current.get(&(list.name, key.to_string())).and_then(|row| row.get(TOKEN_SHA256));
    if let (Some(kept), false) = (kept, row.contains_key(TOKEN_SHA256)) {
        row.insert(TOKEN_SHA256.into(), kept.clone());
    }
    row
}

/// The key under which a row is stored; of several columns their JSON list, so that no two keys run together.
pub(crate) fn row_key(list: &List, row: &Map<String, Value>) -> Option<String> {
    let values: Vec<&str> = list.key.iter().map(|column| row.get(*column)?.as_str()).collect::<Option<_>>()?;
    match values[..] {
        [single] => Some(single.to_string()),
        _ => serde_json::to_string(&values).ok(),
    }
}

fn references_of<'r>(list: &str, row: &'r Map<String, Value>) -> impl Iterator<Item = (&'static Column, &'static str, String)> + 'r {
    let columns = columns::list(list).map_or(&[][..], |list| list.columns);
    columns.iter().filter_map(|column| column.refers_to.map(|target| (column, target))).flat_map(move |(column, target)| {
        let named: Vec<String> = match row.get(column.name) {
            Some(Value::String(key)) => vec![key.clone()],
            Some(Value::Array(keys)) => keys.iter().filter_map(|key| key.as_str().map(str::to_string)).collect(),
            _ => Vec::new(),
        };
        named.into_iter().map(move |key| (column, target, key))
    })
}

fn code_of(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Money => "money",
        ColumnKind::CreditCode => "credit_code",
        ColumnKind::City | ColumnKind::Province => "region",
        ColumnKind::Instant => "instant",
        ColumnKind::Day => "day",
        ColumnKind::CatalogueRow => "catalogue_row",
        ColumnKind::Word(_) => "word",
        ColumnKind::Name | ColumnKind::Text | ColumnKind::GatewayId | ColumnKind::Token | ColumnKind::PublicKey => "text",
        ColumnKind::Names | ColumnKind::CostLines => "list",
        ColumnKind::Bool | ColumnKind::TextOrBool => "type",
    }
}

fn column_names(list: &List) -> String {
    list.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CODE: &str = "91440101231245152Y";

    fn faults(file: &Value) -> Vec<(&'static str, String)> {
        check(std::slice::from_ref(file), &RowMap::new(), &|id| id == "gd-2019")
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|fault| (fault.code, fault.path))
            .collect()
    }

    fn at(code: &'static str, path: &str) -> (&'static str, String) {
        (code, path.to_string())
    }

    #[test]
    fn every_fault_of_every_row_is_listed_with_row_and_column() {
        let file = json!({"v": 1, "rulebook": "gd-2019",
            "suppliers": [{"id": "S-1", "name": "供应商", "city": "44010"}, {"id": "S-1", "name": "再来", "city": "440100", "phone": "1"}],
            "products": [{"id": "P-1", "supplier": "S-2", "name": "产品", "row": 26, "function_modules": ["a", "a"]}],
            "vouchers": ["V"], "gadgets": []});
        let expected = [
            at("unknown_field", "/gadgets"),
            at("list", "/products/0/function_modules"),
            at("catalogue_row", "/products/0/row"),
            at("missing", "/products/0/class"),
            at("region", "/suppliers/0/city"),
            at("unknown_field", "/suppliers/1/phone"),
            at("duplicate", "/suppliers/1"),
            at("type", "/vouchers/0"),
            at("reference", "/products/0/supplier"),
        ];
        assert_eq!(faults(&file), expected);
        let second = &check(&[file], &RowMap::new(), &|_| true).unwrap_err()[5];
        assert_eq!((second.list.as_deref(), second.row, second.column.as_deref()), (Some("suppliers"), Some(2), Some("phone")));
    }

    #[test]
    fn faults_of_whole_files_are_bounded_as_those_of_rows_are() {
        let mut file = json!({"v": 1, "rulebook": "gd-2019"});
        for number in 0..FAULTS_MAX + 7 {
            file[format!("gadgets-{number}")] = json!([]);
        }
        let faults = check(&[file], &RowMap::new(), &|_| true).unwrap_err();
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        let last = &faults[FAULTS_MAX];
        assert_eq!((last.code, last.detail.as_str()), ("bound", "and 7 more faults"));
    }

    #[test]
    fn tokens_are_kept_as_their_hash_and_a_removed_row_needs_only_its_key() {
        let file = json!({"v": 1, "rulebook": "gd-2019",
            "enterprises": [{"id": CODE, "name": "厂", "city": "440100", "kind": "manufacturer"}],
            "gateways": [{"id": "gw-1", "enterprise": CODE, "token": "secret-token"}, {"id": "gw-2", "removed": true}]});
        let changes = check(&[file], &RowMap::new(), &|_| true).unwrap();
        let stored = changes[&("gateways", "gw-1".to_string())].as_ref().unwrap();
        assert_eq!(stored.get("token"), None);
        assert_eq!(stored["token_sha256"], sha256_hex("secret-token"));
        assert_eq!(changes[&("gateways", "gw-2".to_string())], None);
    }

    #[test]
    fn a_row_that_others_refer_to_cannot_be_removed() {
        let file = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "name": "供应商", "city": "440100"}]});
        let mut current = RowMap::new();
        for (id, row) in check(&[file], &current, &|_| true).unwrap() {
            current.insert(id, row.unwrap());
        }
        current.insert(("products", "P-1".into()), json!({"id": "P-1", "supplier": "S-1"}).as_object().unwrap().clone());
        let removal = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "removed": true}]});
        assert_eq!(check(&[removal], &current, &|_| true).unwrap_err()[0].code, "reference");
    }
}
