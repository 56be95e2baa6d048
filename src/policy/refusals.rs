//! What a judgement knows of refused messages, and of the addresses from which gateways connected. It stands in no evidence log, so
//! it is kept with every result that rests on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calendar::Day;
use crate::facts::{GatewayStay, SenderConflicts, SenderName, VoucherFacts};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalFacts {
    future_refusals: BTreeSet<(String, Day)>,
    conflicts: Vec<(SenderName, SenderConflicts)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    stays: BTreeMap<String, Vec<GatewayStay>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    enterprises_of_address: BTreeMap<String, BTreeSet<String>>,
}

impl RefusalFacts {
    pub fn of(facts: &VoucherFacts) -> RefusalFacts {
        let conflicts = facts.conflicts.iter().map(|(sender, conflicts)| (sender.clone(), conflicts.clone())).collect();
        RefusalFacts {
            future_refusals: facts.future_refusals.clone(),
            conflicts,
            stays: facts.stays.clone(),
            enterprises_of_address: facts.enterprises_of_address.clone(),
        }
    }

    pub fn put_into(self, facts: &mut VoucherFacts) {
        facts.future_refusals = self.future_refusals;
        facts.conflicts = self.conflicts.into_iter().collect();
        facts.stays = self.stays;
        facts.enterprises_of_address = self.enterprises_of_address;
    }

    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("refusal facts have text keys only")
    }

    pub fn read(value: Value) -> Result<RefusalFacts, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_case::day;

    #[test]
    fn what_is_kept_of_refusals_gives_back_the_same_facts() {
        let mut facts = VoucherFacts::default();
        facts.future_refusals.insert(("g".into(), day("2019-11-05")));
        let conflicts = SenderConflicts { identities: 1, contents: 2, days: 1, some: vec!["r-1".into()], positions: vec![7] };
        facts.conflicts.insert(("supplier".into(), "S-1".into()), conflicts);
        let kept = RefusalFacts::of(&facts).to_json();
        assert_eq!(kept.as_object().unwrap().len(), 2, "as it was kept before there were addresses");
        let stay = GatewayStay { address: "10.0.0.1".into(), first_us: 1, last_us: 2 };
        facts.stays.insert("g".into(), vec![stay]);
        facts.enterprises_of_address.insert("10.0.0.1".into(), ["E-1".into(), "E-2".into()].into());
        let kept = RefusalFacts::of(&facts).to_json();
        let mut read = VoucherFacts::default();
        RefusalFacts::read(kept).unwrap().put_into(&mut read);
        assert_eq!(read, facts);
        assert!(RefusalFacts::read(serde_json::json!([])).is_err());
    }
}
