//! Tries each broker as the agent would.

use super::{Finding, Findings};
use crate::config::Config;
use crate::connect::try_address;
use crate::trouble::TroubleKind;

/// What is wrong with these is found without the network, and spoils the trial.
const SPOILING: [&str; 4] = ["gateway.id", "gateway.token", "broker.ca_file", "broker.client_"];

pub(super) async fn look(config: &Config, found: &mut Findings) {
    let spoilt = SPOILING.iter().any(|place| found.fault_at(place));
    for address in &config.broker.addresses {
        let Err(trouble) = try_address(&config.broker, address, &config.gateway).await else { continue };
        if spoilt && !of_the_way(trouble.kind) {
            found.untried.push(address.to_string());
            continue;
        }
        found.findings.push(Finding {
            name: trouble.name(),
            warning: false,
            place: address.to_string(),
            zh: trouble.zh(),
            en: trouble.to_string(),
        });
    }
}

/// Troubles that have nothing to do with who we are and whom we trust.
fn of_the_way(kind: TroubleKind) -> bool {
    matches!(
        kind,
        TroubleKind::NameUnknown | TroubleKind::ConnectionRefused | TroubleKind::Unreachable | TroubleKind::Timeout | TroubleKind::NotTls
    )
}
