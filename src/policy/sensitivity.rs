//! How much verdicts hang on each 平台参数: every number that the platform has set and that enters a verdict, a tenth and a quarter
//! less and more.

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

/// Numbers of the platform that enter no verdict: to vary them would say nothing.
pub fn not_deciding() -> Vec<&'static str> {
    let others = PARAMETERS.iter().filter(|parameter| parameter.platform && !parameter.decides && numeric(parameter.form));
    others.map(|parameter| parameter.name).collect()
}

fn numeric(form: Form) -> bool {
    matches!(form, Form::Count { .. } | Form::Share | Form::Money)
}

/// All variations of the numbers that verdicts hang on, in the order of the parameters.
pub fn variations(rulebook: &Rulebook) -> Result<Vec<Variation>, Vec<PolicyFault>> {
    let mut variations = Vec::new();
    let view = rulebook.view();
    for parameter in PARAMETERS.iter().filter(|parameter| parameter.decides) {
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

    /// Everything that a number of the platform could be wrong about, in one world of one voucher on a device row and one on a usage row.
    #[test]
    fn what_is_said_not_to_decide_flips_no_verdict_whatever_it_is_set_to() {
        use crate::judge::{Case, verdict};
        use crate::test_case::{World, voucher};
        let mut world = World::new();
        let mut device_row = voucher("V-1", "P-23");
        device_row.contract_amount = crate::test_case::yuan("2000");
        world.add(device_row);
        world.add(voucher("V-2", "P-9"));
        world.connect("V-1", 2, 6);
        for (device, hour) in ["SN-0", "SN-1"].into_iter().flat_map(|device| (8..12).map(move |hour| (device, hour))) {
            let seventh = crate::test_case::at("2019-10-16T00:30:00+08:00") + chrono::TimeDelta::hours(hour);
            world.reading(device, seventh, 3);
        }
        world.use_product(15, &["u-1", "u-2"], &["甲", "乙", "丙"]);
        // A day less than the interface has: within the tolerance, and decisive beyond it.
        world.carry("L-1", 14, None);
        world.set("usage_active_days_min", "15");
        let verdicts = |rulebook: &Rulebook| {
            ["V-1", "V-2"].map(|id| {
                let voucher = &world.register.vouchers[id];
                let (register, catalogue, facts) = (&world.register, &world.catalogue, &world.facts);
                verdict(&Case { register, rulebook, catalogue, voucher, as_of: world.as_of, facts })
            })
        };
        let base = verdicts(&world.rulebook);
        let extremes = |form: Form| match form {
            Form::Count { min, max } => [min.to_string(), max.to_string()],
            _ => ["\"0\"".to_string(), "\"1\"".to_string()],
        };
        for parameter in PARAMETERS.iter().filter(|parameter| parameter.platform && numeric(parameter.form)) {
            let tried = extremes(parameter.form).map(|value| verdicts(&world.rulebook.with(parameter.name, &value).unwrap()));
            let flips = tried.iter().any(|verdicts| *verdicts != base);
            assert_eq!(flips, parameter.decides, "{}", parameter.name);
        }
    }

    #[test]
    fn every_number_of_the_platform_that_decides_is_varied_and_the_others_are_named() {
        let rulebook = Rulebook::default_2019();
        let variations = variations(&rulebook).unwrap();
        let expected = [
            "window_days",
            "late_days_max",
            "effective_day_hours_min",
            "device_effective_days_min",
            "usage_active_days_min",
            "usage_users_min",
            "function_module_coverage_min",
            "channel_tolerance",
        ];
        let mut varied: Vec<&str> = variations.iter().map(|variation| variation.parameter).collect();
        varied.dedup();
        assert_eq!(varied, expected);
        assert_eq!(variations.len(), expected.len() * PERCENT.len());
        let numbers = PARAMETERS.iter().filter(|parameter| parameter.platform && numeric(parameter.form)).map(|parameter| parameter.name);
        let mut all: Vec<&str> = not_deciding().into_iter().chain(expected).collect();
        all.sort_unstable();
        assert_eq!(all.iter().copied().collect::<std::collections::BTreeSet<_>>(), numbers.collect());
        assert_eq!(all.len(), not_deciding().len() + expected.len());
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
