//! A finding about registered lines: an IP address or broadband line that two enterprises say is theirs. A carrier's record of it would
//! bear out either.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::findings::{Found, found};
use crate::judge::Case;
use crate::reasons::FindingCode;
use crate::register::Line;

/// The slice holds the enterprise's lines, and those of others that are the same line.
pub(crate) fn find(case: &Case<'_>) -> Option<Found> {
    let mut by_line: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in case.register.lines.values().filter(|line| line.fixed()) {
        by_line.entry(&line.line).or_default().push(line);
    }
    by_line.retain(|_, lines| lines.len() > 1 && lines.iter().any(|line| line.enterprise == case.voucher.enterprise));
    let told = by_line.iter().map(|(line, lines)| {
        let enterprises: BTreeSet<&str> = lines.iter().map(|line| line.enterprise.as_str()).collect();
        json!({"line": line, "enterprises": enterprises})
    });
    let told: Vec<_> = told.collect();
    let counted = format!("{} 条线路", told.len());
    found(FindingCode::SharedLine, "R42", told, &counted, BTreeSet::new())
}
