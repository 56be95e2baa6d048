//! Findings about the network addresses from which gateways connect: a gateway that goes to and fro between two of them, as one whose
//! identity is used at two places does, and an address of many enterprises.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::calendar::{Day, day_of};
use crate::facts::GatewayStay;
use crate::findings::{Found, found};
use crate::judge::Case;
use crate::reasons::FindingCode;
use crate::window::Window;

/// Enterprises that are named of one address.
const ENTERPRISES_NAMED_MAX: usize = 20;

/// A gateway that came back from the same other address on more days than a change of line takes. One that only moves on, however
/// often, never comes back.
pub(crate) fn to_and_fro(case: &Case<'_>, window: &Window) -> Option<Found> {
    let least = case.rulebook.parameters.gateway_places_days_min as usize;
    let (mut told, mut all_days) = (Vec::new(), BTreeSet::new());
    for (gateway, stays) in &case.facts.stays {
        let pairs = returns(stays, window).into_iter().filter(|(_, days)| days.len() >= least);
        let (mut addresses, mut days) = (BTreeSet::new(), BTreeSet::new());
        for ((one, other), of_pair) in pairs {
            addresses.extend([one, other]);
            days.extend(of_pair);
        }
        if !days.is_empty() {
            told.push(json!({"gateway": gateway, "addresses": addresses, "days": days.len()}));
            all_days.extend(days);
        }
    }
    let counted = format!("{} 个网关，从另一地址返回的天数不少于 {least} 天", told.len());
    found(FindingCode::GatewayInTwoPlaces, "R42", told, &counted, all_days)
}

/// By pair of addresses: the days on which the gateway came from one of them back to the other.
fn returns<'s>(stays: &'s [GatewayStay], window: &Window) -> BTreeMap<(&'s str, &'s str), BTreeSet<Day>> {
    let mut found: BTreeMap<_, BTreeSet<Day>> = BTreeMap::new();
    for (at, stay) in stays.iter().enumerate() {
        let Some(before) = stays[..at].iter().rposition(|earlier| earlier.address == stay.address) else { continue };
        let Some(day) = DateTime::from_timestamp_micros(stay.first_us).map(day_of).filter(|day| window.contains(*day)) else { continue };
        for between in &stays[before + 1..at] {
            let (one, other) = (stay.address.as_str(), between.address.as_str());
            found.entry((one.min(other), one.max(other))).or_default().insert(day);
        }
    }
    found
}

pub(crate) fn address_of_many(case: &Case<'_>) -> Option<Found> {
    let least = case.rulebook.parameters.address_enterprises_min as usize;
    let many = case.facts.enterprises_of_address.iter().filter(|(_, enterprises)| enterprises.len() >= least);
    let told = many.map(|(address, enterprises)| {
        let some: Vec<&String> = enterprises.iter().take(ENTERPRISES_NAMED_MAX).collect();
        json!({"address": address, "enterprises_count": enterprises.len(), "enterprises": some})
    });
    let told: Vec<Value> = told.collect();
    let counted = format!("{} 个地址，每个不少于 {least} 家企业", told.len());
    found(FindingCode::AddressOfManyEnterprises, "R42", told, &counted, BTreeSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::day_start;
    use crate::test_case::{World, day, voucher, yuan};

    fn met() -> World {
        let mut world = World::new();
        let mut voucher = voucher("V-1", "P-23");
        voucher.contract_amount = yuan("2000");
        world.add(voucher);
        world.connect("V-1", 2, 7);
        world
    }

    /// The gateway's findings after stays that begin at these hours of these days, at an address each.
    fn evidence(least: &str, stays: &[(&str, i64, &str)]) -> Vec<Value> {
        let mut world = met();
        world.set("gateway_places_days_min", least);
        let stay = |(on, hour, address): &(&str, i64, &str)| {
            let first_us = day_start(day(on)).timestamp_micros() + hour * 3_600_000_000;
            GatewayStay { address: (*address).to_string(), first_us, last_us: first_us }
        };
        world.facts.stays.insert("gw-1".into(), stays.iter().map(stay).collect());
        let judgement = world.judge("V-1");
        let findings = judgement.result.findings;
        assert!(findings.iter().all(|finding| finding.code == FindingCode::GatewayInTwoPlaces), "{findings:?}");
        findings.into_iter().flat_map(|finding| finding.evidence).collect()
    }

    #[test]
    fn a_gateway_that_alternates_on_several_days_is_found_and_one_that_moves_on_is_not() {
        let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        let days = ["2019-10-10", "2019-10-11", "2019-10-12", "2019-10-13"];
        let told = |addresses: &[&str], days: usize| vec![json!({"gateway": "gw-1", "addresses": addresses, "days": days})];
        // Day by day.
        let alternating = [(days[0], 0, a), (days[1], 0, b), (days[2], 0, a), (days[3], 0, b)];
        assert_eq!(evidence("2", &alternating), told(&[a, b], 2));
        assert_eq!(evidence("3", &alternating), Vec::<Value>::new());
        // It came back once, or moves on every day.
        assert_eq!(evidence("2", &alternating[..3]), Vec::<Value>::new());
        assert_eq!(evidence("1", &[(days[0], 0, a), (days[1], 0, b), (days[2], 0, c)]), Vec::<Value>::new());
        // Many times, but on one day.
        let of_one_day: Vec<_> = (0..10).map(|hour| (days[0], hour, if hour % 2 == 0 { a } else { b })).collect();
        assert_eq!(evidence("2", &of_one_day), Vec::<Value>::new());
        // From other addresses each time: a pool, not two places.
        assert_eq!(
            evidence("2", &[(days[0], 0, a), (days[1], 0, b), (days[1], 9, a), (days[2], 0, c), (days[2], 9, a)]),
            Vec::<Value>::new()
        );
        // Days before the window tell where it was, and count for nothing.
        let before =
            [("2019-10-01", 0, a), ("2019-10-02", 0, b), ("2019-10-03", 0, a), ("2019-10-04", 0, b), (days[0], 0, a), (days[1], 0, b)];
        assert_eq!(evidence("2", &before), told(&[a, b], 2));
        assert_eq!(evidence("3", &before), Vec::<Value>::new());
    }

    #[test]
    fn an_address_of_as_many_enterprises_as_the_parameter_says_is_found_and_of_fewer_is_not() {
        let mut world = met();
        let enterprises = |count: usize| (1..=count).map(|n| format!("E-{n:02}")).collect();
        world.facts.enterprises_of_address.insert("10.0.0.1".into(), enterprises(2));
        assert_eq!(world.judge("V-1").result.findings, []);
        world.facts.enterprises_of_address.insert("10.0.0.2".into(), enterprises(25));
        let finding = world.judge("V-1").result.findings.pop().unwrap();
        assert_eq!(finding.code, FindingCode::AddressOfManyEnterprises);
        let evidence = &finding.evidence[0];
        assert_eq!((&evidence["address"], &evidence["enterprises_count"]), (&json!("10.0.0.2"), &json!(25)));
        assert_eq!(evidence["enterprises"].as_array().unwrap().len(), ENTERPRISES_NAMED_MAX);
        assert!(finding.text.contains("1 个地址") && finding.text.contains("3 家企业"), "{}", finding.text);
        world.set("address_enterprises_min", "26");
        assert_eq!(world.judge("V-1").result.findings, []);
    }
}
