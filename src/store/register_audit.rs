//! Changes of the register as entries of the audit log: one for every subject. Devices belong to their voucher and lines to their
//! enterprise, so that what became of one voucher is read in one place.

use std::collections::BTreeMap;

use policy::register::VoucherStatus;
use serde_json::{Map, Value, json};

use crate::audit::{Act, AuditDraft};
use crate::register_import::{Correction, TOKEN_SHA256};

/// Changes in one entry.
const CHANGES_MAX: usize = 500;

pub(crate) struct RowActs<'a> {
    corrections: &'a BTreeMap<String, Correction>,
    by_subject: BTreeMap<String, Vec<Value>>,
}

impl<'a> RowActs<'a> {
    pub(crate) fn new(corrections: &'a BTreeMap<String, Correction>) -> RowActs<'a> {
        RowActs { corrections, by_subject: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, list: &str, key: &str, before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>) {
        let owner = |column: &str| after.or(before).and_then(|row| row.get(column)).and_then(Value::as_str).unwrap_or(key);
        let subject = match list {
            "devices" => format!("vouchers/{}", owner("voucher")),
            "lines" => format!("enterprises/{}", owner("enterprise")),
            _ => format!("{list}/{key}"),
        };
        let (before, after) = without_hashes(before, after);
        let change = json!({ "list": list, "key": key, "before": before, "after": after });
        self.by_subject.entry(subject).or_default().push(change);
    }

    pub(crate) fn drafts(self) -> impl Iterator<Item = AuditDraft> {
        let corrected = self.corrections.iter().map(|(voucher, Correction { from, to, why })| {
            let to = to.map_or("removed", VoucherStatus::code);
            let detail = json!({ "from": from.code(), "to": to, "why": why });
            AuditDraft::of(Act::StateCorrected, format!("vouchers/{voucher}"), detail)
        });
        let changed = self.by_subject.into_iter().flat_map(|(subject, changes)| {
            let pieces: Vec<Vec<Value>> = changes.chunks(CHANGES_MAX).map(<[Value]>::to_vec).collect();
            pieces
                .into_iter()
                .map(move |changes| AuditDraft { changes, ..AuditDraft::of(Act::RegisterChanged, subject.clone(), Value::Null) })
        });
        corrected.collect::<Vec<_>>().into_iter().chain(changed)
    }
}

/// The audit log stands for good, and a short token could be guessed from its hash: only that there is one, and that it is another.
fn without_hashes(before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>) -> (Option<Value>, Option<Value>) {
    let hash = |row: Option<&Map<String, Value>>| row.and_then(|row| row.get(TOKEN_SHA256)).cloned();
    let changed = hash(before).is_some() && hash(after).is_some() && hash(before) != hash(after);
    let shown = |row: Option<&Map<String, Value>>, said: &str| {
        row.cloned().map(|mut row| {
            if row.remove(TOKEN_SHA256).is_some() {
                row.insert("token".into(), json!(said));
            }
            Value::Object(row)
        })
    };
    (shown(before, "set"), shown(after, if changed { "changed" } else { "set" }))
}
