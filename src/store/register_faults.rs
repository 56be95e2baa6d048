//! Single rows of register files against their columns, and the list of what is wrong.

use std::collections::HashSet;

use policy::calendar::read_instant;
use policy::columns::{ColumnKind, List};
use serde_json::{Map, Value};
use sheets::{RegisterFault, RegisterFile, text_of};
use wire::credit_code::organisation_code_sound;

use crate::keys::sha256_hex;
use crate::register_import::TOKEN_SHA256;
use crate::rows::checked;

const FILE_RULE: &str = "a register file is {\"v\":1, \"rulebook\":\"gd-2019\", …lists}";
/// More are counted, not listed.
pub(crate) const FAULTS_MAX: usize = 1000;
const WARNINGS_MAX: usize = 100;

#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) list: &'static List,
    pub(crate) index: usize,
}

pub(crate) struct Checker<'a> {
    files: &'a [RegisterFile],
    /// Where a value was told to be missing already, as it was read: file, list, row (none for a whole column), column.
    told: HashSet<Told<'a>>,
    pub(crate) faults: Vec<RegisterFault>,
    faults_beyond: usize,
    pub(crate) warnings: Vec<RegisterFault>,
    warnings_beyond: usize,
}

type Told<'a> = (usize, &'a str, Option<usize>, Option<&'a str>);

/// A row as it was read.
pub(crate) struct ReadRow {
    pub(crate) key: String,
    /// `None` retires it.
    pub(crate) row: Option<Map<String, Value>>,
    pub(crate) correction: Option<String>,
}

impl<'a> Checker<'a> {
    /// Takes over what the reading of the files has found.
    pub(crate) fn new(files: &'a [RegisterFile]) -> Checker<'a> {
        let (told, faults, warnings) = (HashSet::new(), Vec::new(), Vec::new());
        let mut checker = Checker { files, told, faults, faults_beyond: 0, warnings, warnings_beyond: 0 };
        for (number, file) in files.iter().enumerate() {
            for fault in &file.faults {
                checker.told.extend(fault.list.as_deref().map(|list| (number, list, fault.row, fault.column.as_deref())));
                checker.put(RegisterFault { file: number, ..fault.clone() });
            }
            for warning in &file.warnings {
                checker.put_warning(RegisterFault { file: number, ..warning.clone() });
            }
        }
        checker
    }

    /// `None` where the key cannot be read.
    pub(crate) fn row(&mut self, place: Place, row: &Value) -> Option<ReadRow> {
        let list = place.list;
        let Some(object) = row.as_object() else {
            self.fault(place, "type", None, "a row is a JSON object".into(), "it is none".into());
            return None;
        };
        let removed = match object.get("removed") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.fault(place, "type", Some("removed"), ColumnKind::Bool.rule(), "it is neither".into());
                false
            }
        };
        let mut stored = Map::new();
        for (name, value) in object.iter().filter(|(name, _)| *name != "removed") {
            let Some(column) = list.columns.iter().find(|column| column.name == name) else {
                let rule = format!("columns of {}: {}", list.name, column_names(list));
                self.fault(place, "unknown_field", Some(name), rule, "unknown column".into());
                continue;
            };
            if value.is_null() && !column.required {
                continue;
            }
            match checked(column.kind, value) {
                Ok(value) => {
                    stored.insert(name.clone(), value);
                }
                Err(detail) => self.fault(place, code_of(column.kind), Some(name), column.kind.rule(), detail),
            }
        }
        for column in list.columns.iter().filter(|column| column.required && !object.contains_key(column.name)) {
            if !removed || list.key.contains(&column.name) {
                self.fault(place, "missing", Some(column.name), column.kind.rule(), "required, and not there".into());
            }
        }
        let mut correction = None;
        for column in list.columns.iter().filter(|column| !column.stored) {
            if let Some(Value::String(text)) = stored.remove(column.name) {
                correction = Some(text);
            }
        }
        if let Some(Value::String(token)) = stored.remove("token") {
            stored.insert(TOKEN_SHA256.into(), Value::String(sha256_hex(&token)));
        }
        let key = row_key(list, &stored)?;
        if !removed {
            self.spans(place, &stored);
            self.doubts(place, &stored);
        }
        Some(ReadRow { key, row: (!removed).then_some(stored), correction })
    }

    /// What begins must begin before it ends.
    fn spans(&mut self, place: Place, row: &Map<String, Value>) {
        if place.list.name != "periods" {
            return;
        }
        let at = |name: &str| row.get(name).and_then(Value::as_str).and_then(read_instant);
        for (from, to) in [("claim_from", "claim_to"), ("redeem_from", "redeem_to")] {
            if at(from).zip(at(to)).is_some_and(|(from, to)| from >= to) {
                self.fault(place, "period", Some(to), format!("{to} lies behind {from}"), "it does not".into());
            }
        }
    }

    /// What is no fault, but worth a second look.
    fn doubts(&mut self, place: Place, row: &Map<String, Value>) {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        if place.list.name == "enterprises" && text("id").is_some_and(|code| !organisation_code_sound(code)) {
            let rule = "positions 9 to 17 of a credit code are an organisation code with its own check character (GB 11714)";
            self.warning(place, "organisation_code", Some("id"), rule, "the organisation code's check character is wrong");
        }
        // R4 is a formal check, and the city decides over it; refusing the row would hide the voucher from whoever is to see it.
        if let (Some(applied), Some(signed)) = (text("applied_at"), text("contract_signed_on"))
            && applied.get(..10).is_some_and(|day| day < signed)
        {
            let detail = format!("applied at {applied}, before the contract of {signed}");
            self.warning(place, "voucher_before_contract", Some("applied_at"), "R4: first the contract, then the application", &detail);
        }
    }

    pub(crate) fn file_fault(&mut self, file: usize, code: &'static str, path: &str, detail: String) {
        self.put(RegisterFault { file, ..RegisterFault::of_file(code, FILE_RULE, path, detail) });
    }

    pub(crate) fn fault(&mut self, place: Place, code: &'static str, column: Option<&str>, rule: String, detail: String) {
        // Told already, where the cell was read.
        if code == "missing" && self.told(place, column) {
            return;
        }
        let fault = self.at(place, code, column, rule, detail);
        self.put(fault);
    }

    pub(crate) fn warning(&mut self, place: Place, code: &'static str, column: Option<&str>, rule: &str, detail: &str) {
        let warning = self.at(place, code, column, rule.into(), detail.into());
        self.put_warning(warning);
    }

    fn told(&self, place: Place, column: Option<&str>) -> bool {
        let (_, row) = self.files[place.file].place(place.list.name, place.index);
        // Of a heading that is missing, every row would say so again.
        [None, Some(row)].into_iter().any(|row| self.told.contains(&(place.file, place.list.name, row, column)))
    }

    fn at(&self, place: Place, code: &'static str, column: Option<&str>, rule: String, detail: String) -> RegisterFault {
        let tail = column.map(|column| format!("/{}", escaped(column))).unwrap_or_default();
        let (sheet, row) = self.files[place.file].place(place.list.name, place.index);
        let known = column.and_then(|name| place.list.columns.iter().find(|column| column.name == name));
        RegisterFault {
            file: place.file,
            code,
            path: format!("/{}/{}{tail}", place.list.name, place.index),
            list: Some(place.list.name.to_string()),
            sheet,
            row: Some(row),
            column: column.map(str::to_string),
            rule,
            detail,
            text: text_of(code, Some(place.list), Some(row), known),
        }
    }

    fn put(&mut self, fault: RegisterFault) {
        if self.faults.len() >= FAULTS_MAX {
            self.faults_beyond += 1;
            return;
        }
        self.faults.push(fault);
    }

    fn put_warning(&mut self, warning: RegisterFault) {
        if self.warnings.len() >= WARNINGS_MAX {
            self.warnings_beyond += 1;
            return;
        }
        self.warnings.push(warning);
    }

    pub(crate) fn bound(&mut self) {
        if self.faults_beyond > 0 {
            let detail = format!("and {} more faults", self.faults_beyond);
            self.faults.push(RegisterFault::of_file("bound", FILE_RULE, "", detail));
        }
        if self.warnings_beyond > 0 {
            let detail = format!("and {} more warnings", self.warnings_beyond);
            self.warnings.push(RegisterFault::of_file("more", FILE_RULE, "", detail));
        }
    }
}

/// The key under which a row is stored; of several columns their JSON list, so that no two keys run together.
pub(crate) fn row_key(list: &List, row: &Map<String, Value>) -> Option<String> {
    let values: Vec<&str> = list.key.iter().map(|column| row.get(*column)?.as_str()).collect::<Option<_>>()?;
    match values[..] {
        [single] => Some(single.to_string()),
        _ => serde_json::to_string(&values).ok(),
    }
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
        ColumnKind::Name | ColumnKind::Text | ColumnKind::Party | ColumnKind::GatewayId | ColumnKind::Token | ColumnKind::PublicKey => {
            "text"
        }
        ColumnKind::Names | ColumnKind::CostLines => "list",
        ColumnKind::Bool | ColumnKind::TextOrBool => "type",
    }
}

fn column_names(list: &List) -> String {
    list.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
