//! Findings: what is put before a person. They never change the verdict by themselves (R42).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::calendar::Day;
use crate::clock;
use crate::devices::DevicesWeighed;
use crate::duplicates;
use crate::facts::VoucherFacts;
use crate::gateway_findings;
use crate::judge::Case;
use crate::line_findings;
use crate::outliers;
use crate::reasons::{ClockFault, FindingCode};
use crate::register::{Register, Voucher};
use crate::result::Finding;
use crate::usage::{UsageWeighed, covers};
use crate::value_findings;
use crate::window::Window;

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

/// A finding, and on which days what it rests on was received, as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub finding: Finding,
    pub days: BTreeSet<Day>,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Found {
        Found { finding, days: BTreeSet::new() }
    }
}

/// `usage_decides`: a second live voucher for the product then rests on the same usage.
pub fn find(case: &Case<'_>, window: &Window, devices: &DevicesWeighed, usage: &UsageWeighed, usage_decides: bool) -> Vec<Found> {
    let Case { register, rulebook, voucher, facts, .. } = *case;
    let mut findings: Vec<Found> = Vec::new();
    let foreign: Vec<Value> = if voucher.status.live() { same_serial(register, voucher) } else { Vec::new() }
        .into_iter()
        .map(|(device, other)| json!({"device": device, "voucher": other.id, "enterprise": other.enterprise}))
        .collect();
    findings.extend(finding(FindingCode::DeviceUnderTwoEnterprises, "R42", foreign).map(Found::from));
    let twice = devices.standings.iter().filter(|standing| !standing.claimed_by.is_empty());
    let twice = twice.map(|standing| json!({"device": standing.device, "vouchers": standing.claimed_by})).collect();
    findings.extend(finding(FindingCode::DeviceUnderTwoVouchers, "R37", twice).map(Found::from));
    if usage_decides {
        let shared =
            same_product(register, voucher).into_iter().map(|other| json!({"voucher": other.id, "product": other.product})).collect();
        findings.extend(finding(FindingCode::SharedUsage, "R3", shared).map(Found::from));
    }
    findings.extend(finding(FindingCode::DuplicateContent, "R3", duplicate_content(case)).map(Found::from));
    findings.extend(finding(FindingCode::ContractAmountOutlier, "R20", amount_outliers(case)).map(Found::from));
    findings.extend(identity_conflicts(facts).map(Found::from));
    findings.extend(gateway_clocks(facts, window, rulebook.parameters.future_skew_s_max));
    findings.extend(value_findings::find(case, window));
    findings.extend(gateway_findings::find(case, window));
    findings.extend(line_findings::find(case));
    let active = if usage_decides { usage.by_day.keys().copied().collect() } else { devices.by_day.keys().copied().collect() };
    findings.extend(value_findings::burst(case, window, &active));
    findings.extend(function_module_gap(case, usage));
    findings
}

fn duplicate_content(case: &Case<'_>) -> Vec<Value> {
    let told = |duplicate: &duplicates::Duplicate<'_>| {
        json!({
            "voucher": duplicate.voucher, "function_modules": duplicate.function_modules, "contract": duplicate.contract,
            "devices": duplicate.devices,
        })
    };
    duplicates::of(case.register, case.voucher).iter().map(told).collect()
}

fn amount_outliers(case: &Case<'_>) -> Vec<Value> {
    let above = outliers::compare(case).into_iter().filter(|compared| compared.above);
    let told = above.map(|compared| {
        let outliers::Compared { figure, observed, spread, score, .. } = compared;
        json!({
            "figure": figure.code(), "observed": format!("{observed:.2}"), "contracts": spread.count,
            "median": format!("{:.2}", spread.median), "deviation": format!("{:.2}", spread.deviation), "score": score,
        })
    });
    told.collect()
}

/// By sender: under how many identities other content came after what was accepted. Where it lies in the quarantine is not said:
/// that depends on the place and the order of arrival.
fn identity_conflicts(facts: &VoucherFacts) -> Option<Finding> {
    let told = facts.conflicts.iter().map(|((kind, sender), conflicts)| {
        json!({
            "sender": {"kind": kind, "id": sender}, "identities": conflicts.identities, "contents": conflicts.contents,
            "days": conflicts.days, "some": conflicts.some,
        })
    });
    let identities: u64 = facts.conflicts.values().map(|conflicts| conflicts.identities).sum();
    let contents: u64 = facts.conflicts.values().map(|conflicts| conflicts.contents).sum();
    let counted = format!("{} 个发送方，{identities} 个编号，{contents} 份不同内容", facts.conflicts.len());
    counted_finding(FindingCode::IdentityConflict, "R42", told.collect(), &counted)
}

/// By gateway: on how many days of receipt its clock was wrong, and how.
fn gateway_clocks(facts: &VoucherFacts, window: &Window, skew_s_max: u32) -> Option<Found> {
    let mut found: BTreeMap<&str, BTreeMap<ClockFault, BTreeSet<Day>>> = BTreeMap::new();
    let said = facts.clocks.iter().flat_map(|((gateway, day), clock)| {
        clock::faults_of_day(clock, skew_s_max).into_iter().map(move |fault| (gateway.as_str(), fault, *day))
    });
    let refused = facts.future_refusals.iter().map(|(gateway, day)| (gateway.as_str(), ClockFault::Future, *day));
    for (gateway, fault, day) in said.chain(refused).filter(|(_, _, day)| window.contains(*day)) {
        found.entry(gateway).or_default().entry(fault).or_default().insert(day);
    }
    let days = |faults: &BTreeMap<ClockFault, BTreeSet<Day>>| faults.values().flatten().collect::<BTreeSet<_>>().len();
    let days_max = found.values().map(days).max().unwrap_or(0);
    let counted = format!("{} 个网关，最多 {days_max} 天", found.len());
    let told = found.iter().map(|(gateway, faults)| {
        let by_fault: BTreeMap<&str, usize> = faults.iter().map(|(fault, days)| (fault.code(), days.len())).collect();
        json!({"gateway": gateway, "days": days(faults), "days_by_fault": by_fault})
    });
    let finding = counted_finding(FindingCode::GatewayClock, "R42", told.collect(), &counted)?;
    Some(Found { finding, days: found.into_values().flat_map(BTreeMap::into_values).flatten().collect() })
}

/// Usage is there, but of fewer of the contract's function modules than the rulebook's share (R42: delivered clearly below what was contracted).
fn function_module_gap(case: &Case<'_>, usage: &UsageWeighed) -> Option<Found> {
    let least = case.rulebook.parameters.function_module_coverage_min;
    let figures = usage.figures();
    let (used, contracted) = (figures.function_modules_used, figures.function_modules_contracted);
    if usage.by_day.is_empty() || contracted == 0 || covers(used, contracted, least) {
        return None;
    }
    let unused = usage.function_modules.iter().filter(|module| module.contracted && module.days == 0);
    let unused = unused.map(|module| json!({"function_module": module.function_module, "days": 0})).collect();
    let counted = format!("合同 {contracted} 个功能模块，窗口内用过 {used} 个，低于 {}", least.normalize());
    found(FindingCode::FunctionModuleGap, "R42", unused, &counted, usage.by_day.keys().flat_map(|day| day.iter_days().take(2)).collect())
}

pub(crate) fn found(code: FindingCode, rule: &str, evidence: Vec<Value>, counted: &str, days: BTreeSet<Day>) -> Option<Found> {
    counted_finding(code, rule, evidence, counted).map(|finding| Found { finding, days })
}

fn finding(code: FindingCode, rule: &str, evidence: Vec<Value>) -> Option<Finding> {
    let counted = format!("{} 处", evidence.len());
    counted_finding(code, rule, evidence, &counted)
}

fn counted_finding(code: FindingCode, rule: &str, evidence: Vec<Value>, counted: &str) -> Option<Finding> {
    let text = format!("{}（{counted}），须人工核实。", code.text());
    (!evidence.is_empty()).then(|| Finding { code, rule: rule.to_string(), text, evidence })
}
