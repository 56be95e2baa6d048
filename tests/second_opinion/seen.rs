//! Counts what occurred in the worlds, so that none of it is agreed upon only because it never happened.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::naive::Opinion;

#[derive(Default)]
pub struct Seen(BTreeMap<String, u64>);

/// In how many judgements of a share each of these must occur.
const OFTEN: u64 = 3;
const EXPECTED: &[&str] = &[
    "verdict met, devices",
    "verdict not_met, devices",
    "verdict insufficient, devices",
    "verdict conflicting, devices",
    "verdict met, usage",
    "verdict not_met, usage",
    "verdict insufficient, usage",
    "verdict conflicting, usage",
    "outcome pass",
    "outcome fail",
    "outcome unknown",
    "outcome not_applicable",
    "excluded claimed_elsewhere",
    "excluded location",
    "excluded not_seen",
    "excluded quality",
    "excluded late",
    "excluded effective_days",
    "undeclared devices",
    "channels agree",
    "channels agree, though not the same",
    "channels differ by exactly the tolerance",
    "the carrier decides on days, against them",
    "the carrier decides on days, for them",
    "the carrier decides on devices",
    "the carrier differs and has more devices",
    "the carrier differs and tells no devices",
    "devices differ more than days",
    "review of a difference, otherwise met",
    "review of a difference, otherwise not met",
    "no carrier records",
    "carrier required and missing",
    "carrier required and there",
    "unregistered lines left out",
    "no line registered",
    "hangs on claimed devices",
    "claimed devices would not be enough",
    "shared usage",
    "two vouchers for one product, one not live",
    "contract without function modules",
    "modules used outside the contract",
    "coverage exactly at its minimum",
    "amount cut by the row's cap",
    "amount cut by the enterprise's cap",
    "amount under a pilot's cap",
    "amount computed as nothing",
    "amount approved",
    "just enough devices",
    "one device short",
    "judged at the request",
    "request after as_of",
    "second rulebook",
    "second catalogue",
    "reading at the cut-off",
    "reading a microsecond after the cut-off",
    "reading at the window's first instant",
    "reading a microsecond before the window",
    "reading just not late",
    "reading late by a microsecond",
    "usage just not late",
    "usage late by a microsecond",
    "usage at the cut-off",
    "usage a microsecond after the cut-off",
    "refused for the future",
    "reading from the future, admitted",
];

impl Seen {
    fn add(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    pub fn take(&mut self, world: &Value, voucher: &Value, opinion: &Opinion) {
        let said = &opinion.said;
        let kind = if said["devices"].is_null() { "usage" } else { "devices" };
        self.add(format!("verdict {}, {kind}", said["verdict"].as_str().unwrap()));
        for outcome in said["deciding"].as_array().unwrap() {
            self.add(format!("outcome {}", outcome.as_str().unwrap()));
        }
        for (_, reason) in said["devices"]["excluded"].as_object().into_iter().flatten() {
            self.add(format!("excluded {}", reason.as_str().unwrap()));
        }
        let (connected, required) = (said["devices"]["decided"].as_u64(), said["devices"]["required"].as_u64());
        let rulebooks = world["rulebooks"].as_array().unwrap().len();
        for (name, occurred) in [
            ("undeclared devices", said["devices"]["undeclared"].as_u64() > Some(0)),
            ("amount approved", voucher["amount"].is_string()),
            ("just enough devices", connected.is_some() && connected == required && required > Some(0)),
            ("one device short", connected.map(|n| n + 1) == required),
            ("second rulebook", rulebooks > 1),
            ("second catalogue", world["catalogues"].as_array().unwrap().len() > 1),
        ] {
            if occurred {
                self.add(name.to_string());
            }
        }
        opinion.occurred.iter().for_each(|name| self.add((*name).to_string()));
    }

    pub fn assert_everything_occurred(&self) {
        let rare: Vec<&&str> = EXPECTED.iter().filter(|name| self.0.get(**name).is_none_or(|count| *count < OFTEN)).collect();
        assert!(rare.is_empty(), "these occurred too rarely: {rare:?}\n{self}");
        let unlisted: Vec<&String> = self.0.keys().filter(|name| !EXPECTED.contains(&name.as_str())).collect();
        assert!(unlisted.is_empty(), "these are not on the list: {unlisted:?}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "{count:8} {name}"))
    }
}
