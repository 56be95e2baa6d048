//! Findings about gateways: one device behind two of them, one key in two of them, and reports that come too regularly.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde_json::json;

use crate::calendar::Day;
use crate::devices::within;
use crate::facts::{GatewayMark, VoucherFacts, gateway_mark};
use crate::findings::{Found, found};
use crate::judge::Case;
use crate::place_findings;
use crate::reasons::FindingCode;
use crate::register::Gateway;
use crate::window::Window;

pub(crate) fn find(case: &Case<'_>, window: &Window) -> Vec<Found> {
    let found = [
        device_in_two_gateways(case, window),
        shared_key(case),
        place_findings::to_and_fro(case, window),
        place_findings::address_of_many(case),
        regular_arrivals(case, window),
    ];
    found.into_iter().flatten().collect()
}

/// A declared device that more than one gateway reported on the same day, on more days than changing a gateway takes.
fn device_in_two_gateways(case: &Case<'_>, window: &Window) -> Option<Found> {
    let least = case.rulebook.parameters.two_gateways_days_min;
    let names = names_of_marks(case.facts);
    let (mut told, mut all_days) = (Vec::new(), BTreeSet::new());
    for declared in case.register.devices_of(&case.voucher.id) {
        let days = case.facts.devices.get(&declared.device).into_iter().flat_map(|days| within(days, window));
        let twice = days.filter(|(_, of_day)| of_day.gateways.as_slice().len() > 1);
        let (mut days, mut marks) = (BTreeSet::new(), BTreeSet::new());
        for (day, of_day) in twice {
            days.insert(*day);
            marks.extend(of_day.gateways.as_slice());
        }
        if days.len() >= least as usize {
            let name = |mark: &GatewayMark| names.get(mark).map_or_else(|| format!("#{mark:08x}"), |name| (*name).to_string());
            let gateways: BTreeSet<String> = marks.iter().map(name).collect();
            told.push(json!({"device": declared.device, "gateways": gateways, "days": days.len()}));
            all_days.extend(days.iter().flat_map(|day| day.iter_days().take(2)));
        }
    }
    let counted = format!("{} 台，同一天经两个以上网关上报的天数不少于 {least} 天", told.len());
    found(FindingCode::DeviceInTwoGateways, "R42", told, &counted, all_days)
}

/// Gateways that have sent anything in the window.
fn names_of_marks(facts: &VoucherFacts) -> BTreeMap<GatewayMark, &str> {
    let gateways: BTreeSet<&str> = facts.clocks.keys().map(|(gateway, _)| gateway.as_str()).collect();
    gateways.into_iter().map(|gateway| (gateway_mark(gateway), gateway)).collect()
}

/// The slice holds those of the enterprise whose key stands for another one too, with those others.
fn shared_key(case: &Case<'_>) -> Option<Found> {
    let mut by_key: BTreeMap<&str, Vec<&Gateway>> = BTreeMap::new();
    for gateway in case.register.gateways.values() {
        by_key.entry(gateway.public_key.as_deref().unwrap_or_default()).or_default().push(gateway);
    }
    let told = by_key.iter().map(|(key, gateways)| {
        let ids: Vec<&str> = gateways.iter().map(|gateway| gateway.id.as_str()).collect();
        let enterprises: BTreeSet<&str> = gateways.iter().map(|gateway| gateway.enterprise.as_str()).collect();
        json!({"gateways": ids, "enterprises": enterprises, "public_key": key})
    });
    let told: Vec<_> = told.collect();
    let counted = format!("{} 把密钥", told.len());
    found(FindingCode::GatewayKeyShared, "R42", told, &counted, BTreeSet::new())
}

/// Gateways whose reports come at equal intervals, hour after hour.
fn regular_arrivals(case: &Case<'_>, window: &Window) -> Option<Found> {
    let parameters = &case.rulebook.parameters;
    let mut by_gateway: BTreeMap<&str, (usize, usize, BTreeSet<Day>)> = BTreeMap::new();
    for ((gateway, day), clock) in case.facts.clocks.iter().filter(|((_, day), _)| window.contains(*day)) {
        for hour in clock.arrivals.iter().filter(|hour| hour.comparable(parameters.regular_reports_min)) {
            let (regular, compared, days) = by_gateway.entry(gateway).or_default();
            *compared += 1;
            if hour.regular() {
                *regular += 1;
                days.insert(*day);
            }
        }
    }
    let (mut told, mut all_days) = (Vec::new(), BTreeSet::new());
    for (gateway, (regular, compared, days)) in by_gateway {
        let enough = compared >= parameters.regular_hours_min as usize;
        if enough && Decimal::from(regular) >= parameters.regular_share_min * Decimal::from(compared) && regular > 0 {
            told.push(json!({"gateway": gateway, "hours_regular": regular, "hours_compared": compared}));
            all_days.extend(days);
        }
    }
    let counted = format!("{} 个网关，同一小时内的报文间隔相等，误差不足半毫秒", told.len());
    found(FindingCode::RegularArrivals, "R42", told, &counted, all_days)
}
