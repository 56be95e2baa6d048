//! Checks register files against the columns, and then against what the register holds: every fault at once, or the changes to make.
//! What has to be known of the register is asked for, so that a small change of a large register stays a small matter.

use std::collections::{BTreeMap, BTreeSet};

use policy::columns::{self, Column, ColumnKind, List};
use policy::register::VoucherStatus;
use policy::states::{MOVES_RULE, OBJECTION_RULE, move_legal, reachable, settled_later};
use serde_json::{Map, Value};
use sheets::{RegisterFault, RegisterFile, text_of};
use wire::credit_code::organisation_code_sound;

use crate::keys::sha256_hex;
use crate::rows::checked;

/// Rows as they are stored, by list and key.
pub type RowMap = BTreeMap<RowId, Map<String, Value>>;

/// A sound file's changes: `None` retires the row.
pub type Changes = BTreeMap<RowId, Option<Map<String, Value>>>;

/// List and key.
pub type RowId = (&'static str, String);

/// Under this name a token's hash is stored.
const TOKEN_SHA256: &str = "token_sha256";
const FILE_RULE: &str = "a register file is {\"v\":1, \"rulebook\":\"gd-2019\", …lists}";
/// More are counted, not listed.
const FAULTS_MAX: usize = 1000;
const WARNINGS_MAX: usize = 100;
/// The column that says why a voucher's state goes a way that the rules do not know.
const CORRECTION: &str = "correction";

/// What files that belong together say, without a look at the register.
pub struct Draft<'a> {
    files: &'a [RegisterFile],
    checker: Checker<'a>,
    changes: Changes,
    /// Where each row of the files stands.
    places: BTreeMap<RowId, Place>,
    corrections: BTreeMap<String, String>,
}

/// What a draft needs to know of the register.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needed {
    pub rows: BTreeSet<RowId>,
    /// Lists of which every row is needed, because a row that they may refer to is to go.
    pub lists: BTreeSet<&'static str>,
}

/// Files that may be taken in.
#[derive(Debug)]
pub struct SoundDraft {
    pub changes: Changes,
    pub warnings: Vec<RegisterFault>,
    /// By voucher.
    pub corrections: BTreeMap<String, Correction>,
}

/// A move that the rules do not know, and why it is made all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    pub from: VoucherStatus,
    pub to: VoucherStatus,
    pub why: String,
}

#[derive(Clone, Copy)]
struct Place {
    file: usize,
    list: &'static List,
    index: usize,
}

struct Checker<'a> {
    files: &'a [RegisterFile],
    faults: Vec<RegisterFault>,
    faults_beyond: usize,
    warnings: Vec<RegisterFault>,
    warnings_beyond: usize,
}

/// Checks files against a register that is at hand as a whole.
pub fn check(files: &[RegisterFile], current: &RowMap, rulebook_known: &dyn Fn(&str) -> bool) -> Result<SoundDraft, Vec<RegisterFault>> {
    Draft::read(files, rulebook_known).against(current)
}

impl<'a> Draft<'a> {
    /// `rulebook_known` tells whether a rulebook of that id is configured.
    pub fn read(files: &'a [RegisterFile], rulebook_known: &dyn Fn(&str) -> bool) -> Draft<'a> {
        let checker = Checker { files, faults: Vec::new(), faults_beyond: 0, warnings: Vec::new(), warnings_beyond: 0 };
        let mut draft = Draft { files, checker, changes: Changes::new(), places: BTreeMap::new(), corrections: BTreeMap::new() };
        for (number, file) in files.iter().enumerate() {
            for fault in &file.faults {
                draft.checker.put(RegisterFault { file: number, ..fault.clone() });
            }
            for warning in &file.warnings {
                draft.checker.put_warning(RegisterFault { file: number, ..warning.clone() });
            }
            draft.file(number, rulebook_known);
        }
        draft
    }

    /// What has to be known of the register.
    pub fn needed(&self) -> Needed {
        let mut needed = Needed::default();
        for (id, row) in &self.changes {
            needed.rows.insert(id.clone());
            match row {
                Some(row) => needed.rows.extend(references_of(id.0, row).map(|(_, list, key)| (list, key))),
                None => needed.lists.extend(
                    columns::LISTS
                        .iter()
                        .filter(|list| list.columns.iter().any(|column| column.refers_to == Some(id.0)))
                        .map(|list| list.name),
                ),
            }
        }
        needed
    }

    /// Against the register, or what of it is needed.
    pub fn against(mut self, current: &RowMap) -> Result<SoundDraft, Vec<RegisterFault>> {
        for (id, row) in &mut self.changes {
            if let Some(row) = row {
                keep_token(id, row, current);
            }
        }
        let corrections = self.states(current);
        self.references(current);
        self.checker.bound();
        if self.checker.faults.is_empty() {
            Ok(SoundDraft { changes: self.changes, warnings: self.checker.warnings, corrections })
        } else {
            Err(self.checker.faults)
        }
    }

    fn file(&mut self, number: usize, rulebook_known: &dyn Fn(&str) -> bool) {
        // The files outlive the draft.
        let files: &'a [RegisterFile] = self.files;
        let content = &files[number].content;
        let Some(object) = content.as_object() else {
            // What could not be read at all has said so.
            if files[number].faults.is_empty() {
                self.checker.file_fault(number, "type", "", "the file is not a JSON object".into());
            }
            return;
        };
        if object.get("v") != Some(&Value::from(1)) {
            let code = if object.contains_key("v") { "version" } else { "missing" };
            self.checker.file_fault(number, code, "/v", "v is required and is 1".into());
        }
        match object.get("rulebook") {
            Some(Value::String(id)) if rulebook_known(id) => {}
            Some(other) => self.checker.file_fault(number, "rulebook", "/rulebook", format!("no rulebook {other} is configured")),
            None => self.checker.file_fault(number, "missing", "/rulebook", "rulebook is required".into()),
        }
        for (name, rows) in object.iter().filter(|(name, _)| *name != "v" && *name != "rulebook") {
            let Some(list) = columns::list(name) else {
                self.checker.file_fault(number, "unknown_field", &format!("/{}", escaped(name)), format!("there is no list {name:?}"));
                continue;
            };
            let Some(rows) = rows.as_array() else {
                self.checker.file_fault(number, "type", &format!("/{name}"), "the list is not a JSON list".into());
                continue;
            };
            for (index, row) in rows.iter().enumerate() {
                let place = Place { file: number, list, index };
                let Some(read) = self.checker.row(place, row) else { continue };
                let id = (list.name, read.key);
                if self.places.insert(id.clone(), place).is_some() {
                    let rule = format!("one row per {}", list.key.join(" and "));
                    self.checker.fault(place, "duplicate", None, rule, format!("{} stands twice", id.1));
                }
                if let (Some(why), "vouchers") = (read.correction, list.name) {
                    self.corrections.insert(id.1.clone(), why);
                }
                self.changes.insert(id, read.row);
            }
        }
    }

    /// Every voucher's state must be one that the rules lead to from the old one.
    fn states(&mut self, current: &RowMap) -> BTreeMap<String, Correction> {
        let mut corrections = BTreeMap::new();
        for (id, row) in self.changes.iter().filter(|(id, _)| id.0 == "vouchers") {
            let (Some(row), Some(place)) = (row, self.places.get(id).copied()) else { continue };
            let why = self.corrections.get(&id.1);
            let mut unused = why.is_some();
            if let Some(old) = current.get(id) {
                let (from, to) = (status(old), status(row));
                if from != to && to == VoucherStatus::Paid && objection_open(row) {
                    let detail = format!("{} → paid with an objection open", from.code());
                    self.checker.fault(place, "objection", Some("objection"), OBJECTION_RULE.into(), detail);
                }
                let void_cause = old.get("void_cause").and_then(Value::as_str);
                if !move_legal(from, to) && !settled_later(from, void_cause, to) {
                    match why {
                        Some(why) => {
                            unused = false;
                            corrections.insert(id.1.clone(), Correction { from, to, why: why.clone() });
                        }
                        None => {
                            let ways: Vec<&str> = reachable(from).iter().map(|status| status.code()).collect();
                            let ways = if ways.is_empty() { "nothing".into() } else { ways.join(", ") };
                            let (from, to) = (from.code(), to.code());
                            let detail = format!("{from} → {to}: from {from} a voucher may become {ways}; say why in column correction");
                            self.checker.fault(place, "state", Some("status"), MOVES_RULE.into(), detail);
                        }
                    }
                }
            }
            if unused {
                self.checker.warning(
                    place,
                    "correction_unused",
                    Some(CORRECTION),
                    "correction: why a move is made that the rules do not know",
                    "nothing is corrected",
                );
            }
        }
        corrections
    }

    /// Every reference must be met by the register as it will be.
    fn references(&mut self, current: &RowMap) {
        let (changes, places) = (&self.changes, &self.places);
        let will_be = |id: &RowId| match changes.get(id) {
            Some(row) => row.is_some(),
            None => current.contains_key(id),
        };
        let mut gone = BTreeSet::new();
        for (id, row) in changes {
            let Some(row) = row else {
                gone.insert(id.clone());
                continue;
            };
            for (column, list, key) in references_of(id.0, row) {
                let target = (list, key);
                if !will_be(&target)
                    && let Some(place) = places.get(id)
                {
                    let (rule, detail) = (format!("{} stands in {list}", column.name), format!("{:?} is not there", target.1));
                    self.checker.fault(*place, "reference", Some(column.name), rule, detail);
                }
            }
        }
        for ((list, key), row) in current.iter().filter(|(id, _)| !gone.is_empty() && !changes.contains_key(*id)) {
            for (_, target_list, target) in references_of(list, row) {
                let id = (target_list, target);
                if gone.contains(&id)
                    && let Some(place) = places.get(&id)
                {
                    let rule = "a row that others refer to cannot be removed".to_string();
                    self.checker.fault(*place, "reference", None, rule, format!("{list} {key} refers to it"));
                }
            }
        }
    }
}

/// A row as it was read.
struct ReadRow {
    key: String,
    /// `None` retires it.
    row: Option<Map<String, Value>>,
    correction: Option<String>,
}

impl Checker<'_> {
    /// `None` where the key cannot be read.
    fn row(&mut self, place: Place, row: &Value) -> Option<ReadRow> {
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
            self.doubts(place, &stored);
        }
        Some(ReadRow { key, row: (!removed).then_some(stored), correction })
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

    fn file_fault(&mut self, file: usize, code: &'static str, path: &str, detail: String) {
        self.put(fault_of_file(file, code, path, detail));
    }

    fn fault(&mut self, place: Place, code: &'static str, column: Option<&str>, rule: String, detail: String) {
        // Told already, where the cell was read.
        if code == "missing" && self.told(place, column) {
            return;
        }
        let fault = self.at(place, code, column, rule, detail);
        self.put(fault);
    }

    fn warning(&mut self, place: Place, code: &'static str, column: Option<&str>, rule: &str, detail: &str) {
        let warning = self.at(place, code, column, rule.into(), detail.into());
        self.put_warning(warning);
    }

    fn told(&self, place: Place, column: Option<&str>) -> bool {
        let file = &self.files[place.file];
        if file.faults.is_empty() {
            return false;
        }
        let (sheet, row) = file.place(place.list.name, place.index);
        let here = |fault: &RegisterFault| {
            fault.list.as_deref() == Some(place.list.name) && fault.sheet == sheet && fault.column.as_deref() == column
        };
        // Of a heading that is missing, every row would say so again.
        file.faults.iter().any(|fault| here(fault) && fault.row.is_none_or(|told| told == row))
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

    fn bound(&mut self) {
        if self.faults_beyond > 0 {
            self.faults.push(fault_of_file(0, "bound", "", format!("and {} more faults", self.faults_beyond)));
        }
        if self.warnings_beyond > 0 {
            self.warnings.push(fault_of_file(0, "more", "", format!("and {} more warnings", self.warnings_beyond)));
        }
    }
}

fn fault_of_file(file: usize, code: &'static str, path: &str, detail: String) -> RegisterFault {
    let (path, text) = (path.to_string(), text_of(code, None, None, None));
    RegisterFault { file, code, path, list: None, sheet: None, row: None, column: None, rule: FILE_RULE.into(), detail, text }
}

fn status(row: &Map<String, Value>) -> VoucherStatus {
    row.get("status").and_then(Value::as_str).and_then(VoucherStatus::read).unwrap_or_default()
}

/// Said to be open, or said in words.
fn objection_open(row: &Map<String, Value>) -> bool {
    row.get("objection").is_some_and(|objection| *objection != Value::Bool(false))
}

/// A gateway's token cannot be read back, so a row without one keeps the one that it has.
fn keep_token(id: &RowId, row: &mut Map<String, Value>, current: &RowMap) {
    if id.0 != "gateways" || row.contains_key(TOKEN_SHA256) {
        return;
    }
    if let Some(kept) = current.get(id).and_then(|row| row.get(TOKEN_SHA256)) {
        row.insert(TOKEN_SHA256.into(), kept.clone());
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
        check(&[file.clone().into()], &RowMap::new(), &|id| id == "gd-2019")
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
        let second = &check(&[file.into()], &RowMap::new(), &|_| true).unwrap_err()[5];
        assert_eq!((second.list.as_deref(), second.row, second.column.as_deref()), (Some("suppliers"), Some(2), Some("phone")));
    }

    #[test]
    fn faults_of_whole_files_are_bounded_as_those_of_rows_are() {
        let mut file = json!({"v": 1, "rulebook": "gd-2019"});
        for number in 0..FAULTS_MAX + 7 {
            file[format!("gadgets-{number}")] = json!([]);
        }
        let faults = check(&[file.into()], &RowMap::new(), &|_| true).unwrap_err();
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        let last = &faults[FAULTS_MAX];
        assert_eq!((last.code, last.detail.as_str()), ("bound", "and 7 more faults"));
    }

    #[test]
    fn tokens_are_kept_as_their_hash_and_a_removed_row_needs_only_its_key() {
        let file = json!({"v": 1, "rulebook": "gd-2019",
            "enterprises": [{"id": CODE, "name": "厂", "city": "440100", "kind": "manufacturer"}],
            "gateways": [{"id": "gw-1", "enterprise": CODE, "token": "secret-token"}, {"id": "gw-2", "removed": true}]});
        let changes = check(&[file.into()], &RowMap::new(), &|_| true).unwrap().changes;
        let stored = changes[&("gateways", "gw-1".to_string())].as_ref().unwrap();
        assert_eq!(stored.get("token"), None);
        assert_eq!(stored["token_sha256"], sha256_hex("secret-token"));
        assert_eq!(changes[&("gateways", "gw-2".to_string())], None);
    }

    #[test]
    fn a_row_that_others_refer_to_cannot_be_removed() {
        let file = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "name": "供应商", "city": "440100"}]});
        let mut current = RowMap::new();
        for (id, row) in check(&[file.into()], &current, &|_| true).unwrap().changes {
            current.insert(id, row.unwrap());
        }
        current.insert(("products", "P-1".into()), json!({"id": "P-1", "supplier": "S-1"}).as_object().unwrap().clone());
        let removal = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "removed": true}]});
        assert_eq!(check(&[removal.into()], &current, &|_| true).unwrap_err()[0].code, "reference");
    }

    fn voucher(more: Value) -> Value {
        let mut row = json!({"id": "V-1", "enterprise": CODE, "product": "P-1", "contract_no": "1", "contract_signed_on": "2019-06-01",
            "contract_total": "1.00", "contract_amount": "1.00", "contract_modules": [], "applied_at": "2019-09-02T09:00:00+08:00"});
        more.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
        json!({"v": 1, "rulebook": "gd-2019", "vouchers": [row]})
    }

    /// The faults and warnings of a voucher's row over one that stands in a state.
    fn moved(from: &str, more: Value) -> (Vec<&'static str>, Vec<&'static str>, Vec<Correction>) {
        let mut current = RowMap::new();
        for (list, key) in [("enterprises", CODE), ("products", "P-1")] {
            current.insert((list, key.into()), Map::new());
        }
        current.insert(("vouchers", "V-1".into()), json!({"id": "V-1", "status": from}).as_object().unwrap().clone());
        let codes = |faults: &[RegisterFault]| faults.iter().map(|fault| fault.code).collect();
        match check(&[voucher(more).into()], &current, &|_| true) {
            Ok(sound) => {
                assert!(!sound.changes[&("vouchers", "V-1".to_string())].as_ref().unwrap().contains_key(CORRECTION), "it is not stored");
                (Vec::new(), codes(&sound.warnings), sound.corrections.into_values().collect())
            }
            Err(faults) => (codes(&faults), Vec::new(), Vec::new()),
        }
    }

    #[test]
    fn a_move_that_the_rules_do_not_know_needs_a_correction() {
        assert_eq!(moved("issued", json!({"status": "paid"})), (vec![], vec![], vec![]), "states in between may be passed over");
        for (from, to) in [("paid", "issued"), ("void", "issued"), ("issued", "applied"), ("refused", "paid"), ("approved", "redeeming")] {
            assert_eq!(moved(from, json!({"status": to})).0, ["state"], "{from} → {to}");
            let (faults, warnings, corrections) = moved(from, json!({"status": to, "correction": "录入错误"}));
            assert!(faults.is_empty() && warnings.is_empty());
            assert_eq!((corrections[0].from.code(), corrections[0].to.code(), corrections[0].why.as_str()), (from, to, "录入错误"));
        }
        assert_eq!(moved("paid", json!({})).0, ["state"], "without a status a voucher is issued");
        assert_eq!(moved("issued", json!({"correction": "无"})).1, ["correction_unused"]);
    }

    #[test]
    fn an_open_objection_holds_back_payment_and_nothing_else() {
        for open in [json!(true), json!("金额有误")] {
            assert_eq!(moved("approved", json!({"status": "paid", "objection": open})).0, ["objection"]);
            assert_eq!(moved("redeeming", json!({"status": "approved", "objection": open})).0, [""; 0]);
            assert_eq!(moved("paid", json!({"status": "paid", "objection": open})).0, [""; 0], "it was paid already");
        }
        assert_eq!(moved("approved", json!({"status": "paid", "objection": false})).0, [""; 0]);
    }

    #[test]
    fn an_application_before_the_contract_is_taken_in_with_a_warning() {
        let (faults, warnings, _) = moved("issued", json!({"contract_signed_on": "2019-09-03"}));
        assert_eq!((faults, warnings), (vec![], vec!["voucher_before_contract"]));
        assert!(moved("issued", json!({"contract_signed_on": "2019-09-02"})).1.is_empty());
    }

    #[test]
    fn only_what_matters_of_the_register_is_asked_for() {
        let needed = |file: Value| Draft::read(&[file.into()], &|_| true).needed();
        let row = needed(voucher(json!({"pilot": "X"})));
        let rows: BTreeSet<RowId> =
            [("vouchers", "V-1"), ("enterprises", CODE), ("products", "P-1"), ("pilots", "X")].map(|(list, key)| (list, key.into())).into();
        assert_eq!(row, Needed { rows, lists: BTreeSet::new() });
        let removal = needed(json!({"v": 1, "rulebook": "r", "vouchers": [{"id": "V-1", "removed": true}]}));
        assert_eq!(removal.lists, ["devices"].into());
    }
}
