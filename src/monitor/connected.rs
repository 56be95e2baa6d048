//! How many devices of each voucher are connected now (R37), for all vouchers at once: nothing is judged and nothing stored. What an
//! overview needs long before anybody asks for a verdict.

use std::collections::BTreeMap;

use policy::amount::terms;
use policy::calendar::Instant;
use policy::devices::{claims, countable, weigh};
use policy::register::{Register, Voucher};
use policy::rulebook::Rulebook;
use policy::window::{Window, window};
use store::Countable;

use crate::evidence::EvidenceSource;
use crate::run::{JudgeError, Monitor};

/// With fewer vouchers of one window than this, each is read by itself; else the facts of all enterprises are gone through once.
const TOGETHER_MIN: usize = 50;

/// One voucher's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedDevices {
    pub voucher: String,
    pub window: Window,
    pub declared: u64,
    pub connected: u64,
}

/// Vouchers that are looked at over the same days under the same rules.
struct Group<'r> {
    rulebook: &'r Rulebook,
    window: Window,
    vouchers: Vec<&'r Voucher>,
}

impl Monitor {
    /// Of every voucher, in order of their id; as a judgement at that instant would count them.
    pub async fn connected_devices(&self, as_of: Option<Instant>) -> Result<Vec<ConnectedDevices>, JudgeError> {
        let register = self.up_to_date().await?;
        let as_of = as_of.unwrap_or_else(|| self.parts().clock.now());
        let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
        for voucher in register.vouchers.values() {
            let rulebook = self.parts().rulebooks.in_force(voucher.applied_at);
            let window = window(voucher, rulebook, as_of);
            let key = (rulebook.hash(), window.from, window.cut_off);
            groups.entry(key).or_insert_with(|| Group { rulebook, window, vouchers: Vec::new() }).vouchers.push(voucher);
        }
        let mut all = Vec::with_capacity(register.vouchers.len());
        for group in groups.values() {
            let live = matches!(self.parts().evidence, EvidenceSource::Live(_));
            let connected = if live && group.vouchers.len() >= TOGETHER_MIN {
                self.connected_together(&register, group).await?
            } else {
                self.connected_one_by_one(&register, group).await?
            };
            all.extend(group.vouchers.iter().zip(connected).map(|(voucher, connected)| ConnectedDevices {
                voucher: voucher.id.clone(),
                window: group.window,
                declared: register.devices_of(&voucher.id).count() as u64,
                connected,
            }));
        }
        all.sort_unstable_by(|a, b| a.voucher.cmp(&b.voucher));
        Ok(all)
    }

    fn row_of(&self, register: &Register, voucher: &Voucher) -> Option<u8> {
        terms(register, self.parts().catalogues.in_force(voucher.applied_at), voucher).map(|terms| terms.row.row)
    }

    async fn connected_one_by_one(&self, register: &Register, group: &Group<'_>) -> Result<Vec<u64>, JudgeError> {
        let mut connected = Vec::with_capacity(group.vouchers.len());
        for voucher in &group.vouchers {
            let facts = self.facts_of(voucher, &group.window).await?;
            let row = self.row_of(register, voucher);
            connected.push(weigh(register, &group.rulebook.parameters, voucher, row, &group.window, &facts).connected());
        }
        Ok(connected)
    }

    async fn connected_together(&self, register: &Register, group: &Group<'_>) -> Result<Vec<u64>, JudgeError> {
        let parameters = &group.rulebook.parameters;
        let (claims, mut countable_by) = (claims(register), Countable::new());
        for (place, voucher) in group.vouchers.iter().enumerate() {
            let row = self.row_of(register, voucher);
            for device in countable(register, &claims, parameters, voucher, row) {
                let of_enterprise = countable_by.entry(voucher.enterprise.clone()).or_default();
                of_enterprise.entry(device.to_string()).or_default().push(place);
            }
        }
        Ok(self.parts().store.count_connected(parameters, &group.window, countable_by, group.vouchers.len()).await?)
    }
}
