//! How much verdicts hang on each 平台参数: every number that the platform has set, a tenth and a quarter less and more.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::policy_file::{Form, PolicyFault};
use crate::rulebook::{PARAMETERS, Rulebook};

/// By how many per cent a parameter is changed.
pub const PERCENT: [i32; 4] = [-25, -10, 10, 25];
/// Places that a share may have.
const SHARE_PLACES: u32 = 12;

/// A rulebook with one number changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Variation {
    pub parameter: &'static str,
    pub percent: i32,
    /// As the rulebook has it.
    pub value: String,
    /// As it is tried; equal to `value` where the parameter can go no further that way.
    pub tried: String,
    /// `None` where it would be the same rulebook.
    pub rulebook: Option<Rulebook>,
}

/// All variations of a rulebook, in the order of its parameters.
pub fn variations(rulebook: &Rulebook) -> Result<Vec<Variation>, Vec<PolicyFault>> {
    let mut variations = Vec::new();
    let view = rulebook.view();
    for parameter in PARAMETERS.iter().filter(|parameter| parameter.platform) {
        let Some(value) = view.iter().find(|view| view.name == parameter.name).map(|view| view.value.clone()) else { continue };
        for percent in PERCENT {
            let Some(tried) = changed(parameter.form, &value, percent) else { continue };
            let rulebook = if tried == value { None } else { Some(rulebook.with(parameter.name, &as_written(parameter.form, &tried))?) };
            variations.push(Variation { parameter: parameter.name, percent, value: value.clone(), tried, rulebook });
        }
    }
    Ok(variations)
}

/// As it stands in a rulebook: counts bare, shares and money as text.
fn as_written(form: Form, value: &str) -> String {
    if let Form::Count { .. } = form { value.to_string() } else { format!("{value:?}") }
}

/// The value changed by so many per cent. Whole numbers are rounded away from the old value, so that they really change; a value
/// never leaves what the parameter may be. `None` for what is no number.
fn changed(form: Form, value: &str, percent: i32) -> Option<String> {
    let old: Decimal = value.parse().ok()?;
    let exact = old.checked_mul(Decimal::from(100 + percent))? / Decimal::ONE_HUNDRED;
    let away = if percent < 0 { RoundingStrategy::ToNegativeInfinity } else { RoundingStrategy::ToPositiveInfinity };
    match form {
        Form::Count { min, max } => {
            let rounded = exact.round_dp_with_strategy(0, away).to_u32()?;
            Some(rounded.clamp(min, max).to_string())
        }
        Form::Share => {
            let share = exact.round_dp_with_strategy(SHARE_PLACES, away).clamp(Decimal::ZERO, Decimal::ONE);
            Some(share.normalize().to_string())
        }
        Form::Money => Some(crate::money::Yuan::floor_fen(exact).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rulebook::Rulebook;

    fn tried(form: Form, value: &str) -> Vec<String> {
        PERCENT.iter().map(|percent| changed(form, value, *percent).unwrap()).collect()
    }

    #[test]
    fn whole_numbers_really_change_and_stay_within_what_they_may_be() {
        let days = Form::Count { min: 1, max: 366 };
        assert_eq!(tried(days, "7"), ["5", "6", "8", "9"]);
        assert_eq!(tried(days, "2"), ["1", "1", "3", "3"]);
        assert_eq!(tried(days, "30"), ["22", "27", "33", "38"]);
        assert_eq!(tried(days, "1"), ["1", "1", "2", "2"], "it cannot go below what it may be");
        assert_eq!(tried(Form::Count { min: 1, max: 24 }, "24"), ["18", "21", "24", "24"]);
        assert_eq!(tried(Form::Count { min: 0, max: 9 }, "0"), ["0", "0", "0", "0"]);
    }

    #[test]
    fn shares_change_exactly_and_stay_shares() {
        assert_eq!(tried(Form::Share, "0.07"), ["0.0525", "0.063", "0.077", "0.0875"]);
        assert_eq!(tried(Form::Share, "0.9"), ["0.675", "0.81", "0.99", "1"]);
        assert_eq!(changed(Form::Flag, "true", 10), None);
    }

    #[test]
    fn every_number_that_the_platform_set_is_varied_and_nothing_else() {
        let rulebook = Rulebook::default_2019();
        let variations = variations(&rulebook).unwrap();
        let numeric = |form: Form| matches!(form, Form::Count { .. } | Form::Share | Form::Money);
        let expected: Vec<&str> =
            PARAMETERS.iter().filter(|parameter| parameter.platform && numeric(parameter.form)).map(|parameter| parameter.name).collect();
        let mut varied: Vec<&str> = variations.iter().map(|variation| variation.parameter).collect();
        varied.dedup();
        assert_eq!(varied, expected);
        assert_eq!(variations.len(), expected.len() * PERCENT.len());
        for variation in variations {
            let Some(changed) = variation.rulebook else {
                assert_eq!(variation.tried, variation.value);
                continue;
            };
            let value = changed.view().into_iter().find(|view| view.name == variation.parameter).unwrap().value;
            assert_eq!(value, variation.tried);
            assert_ne!(changed.hash(), rulebook.hash());
        }
    }
}
