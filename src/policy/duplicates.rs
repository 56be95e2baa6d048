//! What vouchers of one enterprise have in common (R3): content that a voucher has funded must not be claimed again.

use std::collections::BTreeSet;

use crate::formal::contract_identity;
use crate::register::{Register, Voucher};

/// Another voucher of the enterprise with content of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate<'a> {
    pub voucher: &'a str,
    /// Function modules of the same product in both contracts.
    pub function_modules: Vec<&'a str>,
    /// The same contract: number and day.
    pub contract: bool,
    /// Devices that both declare.
    pub devices: Vec<&'a str>,
}

impl Duplicate<'_> {
    pub fn said(&self) -> String {
        let mut same = Vec::new();
        if !self.function_modules.is_empty() {
            same.push(format!("同一产品的功能模块 {}", self.function_modules.join("、")));
        }
        if self.contract {
            same.push("同一合同".to_string());
        }
        if !self.devices.is_empty() {
            same.push(format!("同一设备 {} 台", self.devices.len()));
        }
        format!("与服务券 {} 重合：{}", self.voucher, same.join("，"))
    }
}

/// In order of their ids; of every period, as long as they were not given up. A pilot's contract may back several vouchers (R19).
pub fn of<'a>(register: &'a Register, voucher: &'a Voucher) -> Vec<Duplicate<'a>> {
    let modules: BTreeSet<&str> = voucher.contract_modules.iter().map(String::as_str).collect();
    let devices: BTreeSet<&str> = register.devices_of(&voucher.id).map(|declared| declared.device.as_str()).collect();
    let identity = contract_identity(&voucher.contract_no);
    let compare = |other: &'a Voucher| {
        let shared: BTreeSet<&str> = other.contract_modules.iter().map(String::as_str).filter(|module| modules.contains(module)).collect();
        let same_pilot = voucher.pilot.is_some() && voucher.pilot == other.pilot;
        let same_contract = other.contract_signed_on == voucher.contract_signed_on && contract_identity(&other.contract_no) == identity;
        let declared = register.devices_of(&other.id).map(|declared| declared.device.as_str());
        Duplicate {
            voucher: &other.id,
            function_modules: if other.product == voucher.product { shared.into_iter().collect() } else { Vec::new() },
            contract: same_contract && !same_pilot,
            devices: declared.filter(|device| devices.contains(device)).collect(),
        }
    };
    let others = register.vouchers_of(&voucher.enterprise).filter(|other| other.id != voucher.id && other.status.takes_from_cap());
    others.map(compare).filter(|found| found.contract || !found.function_modules.is_empty() || !found.devices.is_empty()).collect()
}
