//! Findings: what is put before a person. They never change the verdict by themselves (R42).

use serde_json::{Value, json};

use crate::devices::DevicesWeighed;
use crate::reasons::FindingCode;
use crate::register::{Register, Voucher};
use crate::result::Finding;

/// Other live vouchers of the same enterprise for the same product, in order of their id.
pub fn same_product<'a>(register: &'a Register, voucher: &'a Voucher) -> Vec<&'a Voucher> {
    if !voucher.status.live() {
        return Vec::new();
    }
    let others = register.vouchers_of(&voucher.enterprise).filter(|other| other.id != voucher.id && other.status.live());
    others.filter(|other| other.product == voucher.product).collect()
}

/// Live vouchers of other enterprises that declare a device of the same name: (device, voucher), in order.
pub fn same_serial<'a>(register: &'a Register, voucher: &Voucher) -> Vec<(&'a str, &'a Voucher)> {
    let own: std::collections::BTreeSet<&str> = register.devices_of(&voucher.id).map(|device| device.device.as_str()).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let named = register.devices.values().filter(|device| own.contains(device.device.as_str()));
    let mut found: Vec<(&str, &Voucher)> = named
        .filter_map(|device| Some((device.device.as_str(), register.vouchers.get(&device.voucher)?)))
        .filter(|(_, other)| other.enterprise != voucher.enterprise && other.status.live())
        .collect();
    found.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    found
}

/// `usage_decides`: a second live voucher for the product then rests on the same usage.
pub fn find(register: &Register, voucher: &Voucher, devices: &DevicesWeighed, usage_decides: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let foreign: Vec<Value> = if voucher.status.live() { same_serial(register, voucher) } else { Vec::new() }
        .into_iter()
        .map(|(device, other)| json!({"device": device, "voucher": other.id, "enterprise": other.enterprise}))
        .collect();
    findings.extend(finding(FindingCode::DeviceUnderTwoEnterprises, "R42", foreign));
    let twice = devices.standings.iter().filter(|standing| !standing.claimed_by.is_empty());
    let twice = twice.map(|standing| json!({"device": standing.device, "vouchers": standing.claimed_by})).collect();
    findings.extend(finding(FindingCode::DeviceUnderTwoVouchers, "R37", twice));
    if usage_decides {
        let shared =
            same_product(register, voucher).into_iter().map(|other| json!({"voucher": other.id, "product": other.product})).collect();
        findings.extend(finding(FindingCode::SharedUsage, "R3", shared));
    }
    findings
}

fn finding(code: FindingCode, rule: &str, evidence: Vec<Value>) -> Option<Finding> {
    let count = evidence.len();
    (count > 0)
        .then(|| Finding { code, rule: rule.to_string(), text: format!("{}（{count} 处），须人工核实。", code.text()), evidence })
}
