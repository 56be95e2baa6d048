//! Checks register files against the columns, and then against what the register holds: every fault at once, or the changes to make.
//! What has to be known of the register is asked for, so that a small change of a large register stays a small matter.

use std::collections::{BTreeMap, BTreeSet};

use policy::columns::{self, Column, ColumnKind};
use policy::regions::city_known;
use policy::register::VoucherStatus;
use policy::states::{MOVES_RULE, OBJECTION_RULE, move_legal, reachable, removable, settled_later};
use serde_json::{Map, Value};
use sheets::{RegisterFault, RegisterFile};

use crate::register_faults::{Checker, Place, escaped};

/// Rows as they are stored, by list and key.
pub type RowMap = BTreeMap<RowId, Map<String, Value>>;

/// A sound file's changes: `None` retires the row.
pub type Changes = BTreeMap<RowId, Option<Map<String, Value>>>;

/// List and key.
pub type RowId = (&'static str, String);

/// Under this name a token's hash is stored.
pub(crate) const TOKEN_SHA256: &str = "token_sha256";
pub(crate) const PUBLIC_KEY: &str = "public_key";
/// Stored with a public key that the gateway itself has sent.
pub(crate) const ENROLLED: &str = "enrolled";
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
    /// `None`: off the register.
    pub to: Option<VoucherStatus>,
    pub why: String,
}

/// Checks files against a register that is at hand as a whole.
pub fn check(files: &[RegisterFile], current: &RowMap, rulebook_known: &dyn Fn(&str) -> bool) -> Result<SoundDraft, Vec<RegisterFault>> {
    Draft::read(files, rulebook_known).against(current)
}

impl<'a> Draft<'a> {
    /// `rulebook_known` tells whether a rulebook of that id is configured.
    pub fn read(files: &'a [RegisterFile], rulebook_known: &dyn Fn(&str) -> bool) -> Draft<'a> {
        let (changes, places, corrections) = (Changes::new(), BTreeMap::new(), BTreeMap::new());
        let mut draft = Draft { files, checker: Checker::new(files), changes, places, corrections };
        (0..files.len()).for_each(|number| draft.file(number, rulebook_known));
        draft
    }

    /// What has to be known of the register.
    pub fn needed(&self) -> Needed {
        let mut needed = Needed::default();
        for (id, row) in &self.changes {
            needed.rows.insert(id.clone());
            match row {
                Some(row) => needed.rows.extend(references_of(id.0, row).flat_map(|reference| reference.targets)),
                None => needed.lists.extend(
                    columns::LISTS
                        .iter()
                        .filter(|list| list.columns.iter().any(|column| column.refers_to.contains(&id.0)))
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
                keep_secrets(id, row, current);
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
            let Some(place) = self.places.get(id).copied() else { continue };
            let (from, to) = (current.get(id).map(status), row.as_ref().map(status));
            if to == Some(VoucherStatus::Paid) && from != to && row.as_ref().is_some_and(objection_open) {
                let detail = format!("{} → paid with an objection open", from.map_or("nothing", VoucherStatus::code));
                self.checker.fault(place, "objection", Some("objection"), OBJECTION_RULE.into(), detail);
            }
            // A voucher that is new may arrive in any state.
            let told = current.get(id).and_then(|old| move_told(old, to));
            match (self.corrections.get(&id.1), from) {
                (Some(why), Some(from)) if told.is_some() || to.is_none() => {
                    corrections.insert(id.1.clone(), Correction { from, to, why: why.clone() });
                }
                (None, _) => {
                    if let Some(detail) = told {
                        let column = if to.is_some() { "status" } else { "removed" };
                        self.checker.fault(place, "state", Some(column), MOVES_RULE.into(), detail);
                    }
                }
                (Some(_), _) => {
                    let rule = "correction: why a move is made that the rules do not know";
                    self.checker.warning(place, "correction_unused", Some(CORRECTION), rule, "nothing is corrected");
                }
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
            for Reference { column, targets } in references_of(id.0, row) {
                if !targets.iter().any(will_be)
                    && let Some(place) = places.get(id)
                {
                    let lists: Vec<&str> = targets.iter().map(|(list, _)| *list).collect();
                    let key = targets.first().map_or("", |(_, key)| key);
                    let (rule, detail) = (format!("{} stands in {}", column.name, lists.join(" or ")), format!("{key:?} is not there"));
                    self.checker.fault(*place, "reference", Some(column.name), rule, detail);
                }
            }
        }
        for ((list, key), row) in current.iter().filter(|(id, _)| !gone.is_empty() && !changes.contains_key(*id)) {
            for Reference { targets, .. } in references_of(list, row).filter(|reference| !reference.targets.iter().any(will_be)) {
                for place in targets.iter().filter(|id| gone.contains(id)).filter_map(|id| places.get(id)) {
                    let rule = "a row that others refer to cannot be removed".to_string();
                    self.checker.fault(*place, "reference", None, rule, format!("{list} {key} refers to it"));
                }
            }
        }
    }
}

/// What is wrong with a move, or with a removal where there is no state to go to.
fn move_told(old: &Map<String, Value>, to: Option<VoucherStatus>) -> Option<String> {
    let (from, void_cause) = (status(old), old.get("void_cause").and_then(Value::as_str));
    let code = from.code();
    match to {
        None if removable(from, old.contains_key("redeem_at")) => None,
        None => Some(format!("a voucher that is {code} is not removed; say why in column correction")),
        Some(to) if move_legal(from, to) || settled_later(from, void_cause, to) => None,
        Some(to) => {
            let ways: Vec<&str> = reachable(from).iter().map(|status| status.code()).collect();
            let ways = if ways.is_empty() { "nothing".into() } else { ways.join(", ") };
            Some(format!("{code} → {}: from {code} a voucher may become {ways}; say why in column correction", to.code()))
        }
    }
}

fn status(row: &Map<String, Value>) -> VoucherStatus {
    row.get("status").and_then(Value::as_str).and_then(VoucherStatus::read).unwrap_or_default()
}

/// Said to be open, or said in words.
fn objection_open(row: &Map<String, Value>) -> bool {
    row.get("objection").is_some_and(|objection| *objection != Value::Bool(false))
}

/// A gateway's token cannot be read back, and of the key with which it was enrolled others do not know: a row without them keeps those
/// that it has.
fn keep_secrets(id: &RowId, row: &mut Map<String, Value>, current: &RowMap) {
    let Some(current) = current.get(id).filter(|_| id.0 == "gateways") else { return };
    let mut keep = |column: &str| {
        if let (Some(kept), false) = (current.get(column), row.contains_key(column)) {
            row.insert(column.into(), kept.clone());
        }
    };
    keep(TOKEN_SHA256);
    if current.contains_key(ENROLLED) {
        keep(PUBLIC_KEY);
        if row.get(PUBLIC_KEY) == current.get(PUBLIC_KEY) {
            row.insert(ENROLLED.into(), Value::Bool(true));
        }
    }
}

/// What a row's column names: one of these rows must be there.
struct Reference {
    column: &'static Column,
    targets: Vec<RowId>,
}

fn references_of<'r>(list: &str, row: &'r Map<String, Value>) -> impl Iterator<Item = Reference> + 'r {
    let columns = columns::list(list).map_or(&[][..], |list| list.columns);
    columns.iter().filter(|column| !column.refers_to.is_empty()).flat_map(move |column| {
        let named: Vec<&str> = match row.get(column.name) {
            // Cities are no rows.
            Some(Value::String(key)) if column.kind == ColumnKind::Party && city_known(key) => Vec::new(),
            Some(Value::String(key)) => vec![key],
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let targets = |key: &str| column.refers_to.iter().map(|list| (*list, key.to_string())).collect();
        named.into_iter().map(move |key| Reference { column, targets: targets(key) })
    })
}

#[cfg(test)]
#[path = "register_import_tests.rs"]
mod tests;
