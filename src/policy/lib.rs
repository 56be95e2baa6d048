//! What the city pays for: rulebook, catalogue, register types, facts, and the pure judgement. No I/O, no clock, no randomness,
//! no hash-map order: the same input gives the same result to the byte.

pub mod amount;
pub mod arrivals;
pub mod by_channel;
pub mod calendar;
pub mod canonical;
pub mod catalogue;
pub mod channels;
pub mod claim_place;
pub mod clock;
mod column_rules;
pub mod columns;
pub mod consortium;
pub mod credit;
pub mod derived;
pub mod devices;
pub mod diff;
pub mod duplicates;
pub mod facts;
pub mod findings;
mod formal;
mod formal_money;
mod gateway_findings;
pub mod in_force;
pub mod index;
pub mod judge;
mod line_findings;
pub mod money;
mod notes;
pub mod outcome;
pub mod outliers;
pub mod outlook;
mod place_findings;
pub mod policy_file;
pub mod publicity;
pub mod quality;
pub mod queue;
pub mod reasons;
pub mod refusals;
pub mod regions;
pub mod register;
pub mod result;
pub mod rulebook;
pub mod rules;
pub mod sensitivity;
pub mod slice;
pub mod spot_check;
pub mod states;
pub mod usage;
mod value_findings;
pub mod values_seen;
mod verdict;
pub mod week;
pub mod window;

#[cfg(test)]
mod amount_tests;
#[cfg(test)]
mod channel_tests;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod finding_tests;
#[cfg(test)]
mod formal_tests;
#[cfg(test)]
mod gateway_finding_tests;
#[cfg(test)]
mod inspection_tests;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod money_model_tests;
#[cfg(test)]
mod outlier_tests;
#[cfg(test)]
mod rulebook_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod test_case;
#[cfg(test)]
mod usage_tests;
#[cfg(test)]
mod value_finding_tests;
