//! One line of a log: what the pattern finds in it, as a usage entry or as the reason why it is none.

use crate::report::UsageEntry;
use crate::tail::Tails;
use crate::tail::decode::decode;
use crate::usage::{LineOutcome, LogConfig, Rule};

/// Whether its time has come is not looked at.
pub(super) fn read(line: &[u8], log: &LogConfig, tails: &Tails) -> Result<UsageEntry, LineOutcome> {
    let line = decode(line, log.encoding);
    let found = log.pattern.captures(&line).ok_or(LineOutcome::Unmatched)?;
    let group = |name| found.name(name).map(|part| part.as_str());
    let invalid = |_: Rule| LineOutcome::Invalid;
    let number = |text: &str| text.parse::<u64>().ok();

    let user = Rule::user(group("user").unwrap_or_default()).map_err(invalid)?;
    let product = group("product").or(log.product.as_deref()).or(tails.product.as_deref()).unwrap_or_default();
    let function_module = match group("function_module") {
        Some(written) if !log.function_modules.is_empty() => log.function_modules.get(written).ok_or(LineOutcome::UnknownModule)?,
        written => written.or(log.function_module.as_deref()).unwrap_or_default(),
    };
    let at = group("at").and_then(|text| log.time.read(text)).ok_or(LineOutcome::Invalid)?;
    Ok(UsageEntry {
        product: Rule::name_of(product).map_err(invalid)?.to_string(),
        function_module: Rule::name_of(function_module).map_err(invalid)?.to_string(),
        user: tails.pseudonyms.of(user),
        at,
        actions: group("actions").map_or(Ok(1), |text| Rule::actions(number(text))).map_err(invalid)?,
        active_s: group("active_s").map(|text| Rule::active_s(number(text))).transpose().map_err(invalid)?,
    })
}
