//! The catalogue of products: 25 rows with their caps, per-device amounts and remarks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toml::de::DeTable;

use crate::calendar::Instant;
use crate::canonical::hash_of;
use crate::in_force::{Dated, Versions};
use crate::money::Yuan;
use crate::policy_file::{self, Form, PolicyFault, grammar_faults, read_key, refuse_unknown};

pub const CATALOGUE_2019: &str = include_str!("../../config/catalogue-2019.toml");

/// The keys of a row: name, form, required.
const ROW_KEYS: [(&str, Form, bool); 13] = [
    ("row", Form::Count { min: 1, max: 25 }, true),
    ("domain", Form::Text { chars_max: 64 }, true),
    ("category", Form::Text { chars_max: 64 }, true),
    ("cap", Form::Money, true),
    ("per_device_amount", Form::Money, false),
    ("remark", Form::Text { chars_max: 200 }, false),
    ("modules_min", Form::Count { min: 1, max: 1000 }, false),
    ("models_min", Form::Count { min: 1, max: 1000 }, false),
    ("solutions_min", Form::Count { min: 1, max: 1000 }, false),
    ("triggers_min", Form::Count { min: 1, max: 1000 }, false),
    ("suppliers_min", Form::Count { min: 1, max: 1000 }, false),
    ("pilot_only", Form::Flag, false),
    ("optional_functions", Form::Flag, false),
];

/// One category (二级目录). The last seven fields are the row's own remarks (R39).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueRow {
    pub row: u8,
    pub domain: String,
    pub category: String,
    pub cap: Yuan,
    pub per_device_amount: Option<Yuan>,
    pub remark: Option<String>,
    /// At least this many function modules.
    pub modules_min: Option<u32>,
    /// At least this many industrial big-data models.
    pub models_min: Option<u32>,
    /// At least this many cost-saving solutions.
    pub solutions_min: Option<u32>,
    /// Work orders from at least this many kinds of trigger.
    pub triggers_min: Option<u32>,
    /// At least this many suppliers integrated.
    pub suppliers_min: Option<u32>,
    /// Only for industrial cluster pilots.
    pub pilot_only: Option<bool>,
    /// Some listed functions are not compulsory.
    pub optional_functions: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    pub id: String,
    pub valid_from: Instant,
    rows: BTreeMap<u8, CatalogueRow>,
    hash: String,
    text: String,
}

pub type Catalogues = Versions<Catalogue>;

impl Catalogue {
    /// The compiled-in catalogue of 2019.
    pub fn default_2019() -> Catalogue {
        Catalogue::read(CATALOGUE_2019).expect("the compiled-in catalogue is held by a test")
    }

    /// Reads a catalogue; all faults at once.
    pub fn read(text: &str) -> Result<Catalogue, Vec<PolicyFault>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(grammar_faults(text, &errors));
        }
        let table = table.get_ref();
        let mut faults = Vec::new();
        refuse_unknown(table, "", |key| matches!(key, "id" | "valid_from" | "rows"), &mut faults);
        let id = read_key(table, "", "id", Form::Text { chars_max: 64 }, true, &mut faults);
        let valid_from = read_key(table, "", "valid_from", Form::Instant, true, &mut faults);
        let rows = read_rows(table, &mut faults);
        let (Some(Value::String(id)), Some(Value::String(valid_from))) = (id, valid_from) else { return Err(faults) };
        if !faults.is_empty() {
            return Err(faults);
        }
        let hash = hash_of(&json!({"id": id, "valid_from": valid_from, "rows": rows.values().collect::<Vec<_>>()}));
        let valid_from =
            policy_file::instant_of(&valid_from).ok_or_else(|| vec![PolicyFault::new("valid_from", Form::Instant.rule(), "")])?;
        Ok(Catalogue { id, valid_from, rows, hash, text: text.to_string() })
    }

    pub fn row(&self, row: u8) -> Option<&CatalogueRow> {
        self.rows.get(&row)
    }

    pub fn rows(&self) -> impl Iterator<Item = &CatalogueRow> {
        self.rows.values()
    }

    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// As it was read.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Dated for Catalogue {
    fn id(&self) -> &str {
        &self.id
    }

    fn valid_from(&self) -> Instant {
        self.valid_from
    }

    fn hash(&self) -> &str {
        &self.hash
    }
}

fn read_rows(table: &DeTable<'_>, faults: &mut Vec<PolicyFault>) -> BTreeMap<u8, CatalogueRow> {
    let rule = "a list [[rows]] with at least one row";
    let mut rows = BTreeMap::new();
    let list = table.iter().find(|(name, _)| name.get_ref().as_ref() == "rows").and_then(|(_, value)| value.get_ref().as_array());
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        faults.push(PolicyFault::new("rows", rule, "missing"));
        return rows;
    };
    for (at, entry) in list.iter().enumerate() {
        let prefix = format!("rows[{at}].");
        let Some(entry) = entry.get_ref().as_table() else {
            faults.push(PolicyFault::new(format!("rows[{at}]"), rule, format!("found {}", entry.get_ref().type_str())));
            continue;
        };
        let keys = || ROW_KEYS.iter();
        refuse_unknown(entry, &prefix, |key| keys().any(|(name, _, _)| *name == key), faults);
        let before = faults.len();
        let mut values = Map::new();
        for (name, form, required) in keys() {
            if let Some(value) = read_key(entry, &prefix, name, *form, *required, faults) {
                values.insert(name.to_string(), value);
            }
        }
        if faults.len() > before {
            continue;
        }
        match serde_json::from_value::<CatalogueRow>(Value::Object(values)) {
            Ok(row) if row.per_device_amount.is_some_and(Yuan::is_zero) => {
                faults.push(PolicyFault::new(format!("{prefix}per_device_amount"), "above zero", "found 0.00"));
            }
            Ok(row) if rows.contains_key(&row.row) => {
                faults.push(PolicyFault::new(format!("{prefix}row"), "each row once", format!("found {} again", row.row)));
            }
            Ok(row) => {
                rows.insert(row.row, row);
            }
            Err(error) => faults.push(PolicyFault::new(format!("rows[{at}]"), rule, error.to_string())),
        }
    }
    rows
}
