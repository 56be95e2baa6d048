//! The rulebook: every number that a judgement uses, with its hash. What the policy text says and what the platform set
//! (平台参数) are told apart.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use crate::calendar::{Day, Instant};
use crate::canonical::hash_of;
use crate::in_force::{Dated, Versions};
use crate::money::Yuan;
use crate::outliers::CONTRACTS_MIN;
use crate::policy_file::{self, Form, PolicyFault, decimal, grammar_faults, read_key, refuse_unknown};
use crate::register::ProductClass;

pub const RULEBOOK_2019: &str = include_str!("../../config/rulebook-2019.toml");

/// One parameter: its name in the file, what it may be, and whether the platform set it (true) or the policy text (false).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub form: Form,
    pub platform: bool,
    /// Whether a verdict can hang on it, as far as the platform set it.
    pub decides: bool,
    /// What counts where a rulebook does not name it, as it would stand there; `None`: it must be named.
    pub default: Option<&'static str>,
}

/// One that decides verdicts.
const fn deciding(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, platform: true, decides: true, default: None }
}

const fn platform(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, platform: true, decides: false, default: None }
}

/// One that rulebooks of before it do not name.
const fn optional(name: &'static str, form: Form, default: &'static str) -> Parameter {
    Parameter { name, form, platform: true, decides: false, default: Some(default) }
}

const fn policy_text(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, platform: false, decides: false, default: None }
}

const fn optional_policy_text(name: &'static str, form: Form, default: &'static str) -> Parameter {
    Parameter { name, form, platform: false, decides: false, default: Some(default) }
}

const fn count(min: u32, max: u32) -> Form {
    Form::Count { min, max }
}

/// Every parameter, in the order in which pages show them.
pub const PARAMETERS: &[Parameter] = &[
    deciding("window_days", count(1, 366)),
    deciding("late_days_max", count(0, 366)),
    platform("future_skew_s_max", count(0, 86_400)),
    deciding("effective_day_hours_min", count(1, 24)),
    deciding("device_effective_days_min", count(1, 366)),
    deciding("usage_active_days_min", count(0, 366)),
    deciding("usage_users_min", count(0, 100_000)),
    deciding("function_module_coverage_min", Form::Share),
    deciding("channel_tolerance", Form::Share),
    deciding("on_conflict", Form::Choice(&["carrier", "review"])),
    platform("bonus_in_limit", Form::Flag),
    deciding("location_required_rows", Form::Rows),
    platform("integrator_rows", Form::Rows),
    deciding("carrier_required", Form::Flag),
    platform("rounding", Form::Choice(&["floor_fen"])),
    platform("cities_excluded", Form::Codes { digits: 6 }),
    optional("frozen_share_max", Form::Share, "0.5"),
    optional("frozen_hours_min", count(1, 10_000), "24"),
    optional("constant_templates", Form::Names, "[]"),
    optional("identical_share_min", Form::Share, "0.5"),
    optional("identical_hours_min", count(1, 10_000), "8"),
    optional("two_gateways_days_min", count(1, 366), "2"),
    optional("gateway_places_days_min", count(1, 366), "2"),
    optional("address_enterprises_min", count(2, 100), "3"),
    optional("regular_share_min", Form::Share, "0.5"),
    optional("regular_hours_min", count(1, 10_000), "12"),
    optional("regular_reports_min", count(3, 3_600), "12"),
    optional("burst_days", count(1, 366), "10"),
    optional("spot_check_random_share", Form::Share, "0.2"),
    optional("spot_check_finding_points", count(0, 1_000), "2"),
    optional("spot_check_conflicting_points", count(0, 1_000), "5"),
    optional("spot_check_credit_points", count(1, 100_000), "10"),
    optional("credit_start", count(0, 100_000), "100"),
    optional("credit_confirmed_points", count(0, 100_000), "2"),
    optional("credit_deviating_points", count(0, 100_000), "10"),
    optional("credit_fraud_points", count(0, 100_000), "50"),
    optional("credit_weeks", count(0, 53), "4"),
    optional("credit_week_points", count(0, 100_000), "1"),
    optional("credit_completeness_min", Form::Share, "0.8"),
    optional("credit_late_share_max", Form::Share, "0.1"),
    optional("credit_refused_max", count(0, 1_000_000), "100"),
    optional("outlier_score_min", count(1, 1_000), "5"),
    optional("outlier_contracts_min", count(CONTRACTS_MIN, 200), "10"),
    optional("outlier_deviation_min", Form::Share, "0.05"),
    optional("unredeemed_refused", Form::Flag, "true"),
    optional("unredeemed_all_periods", Form::Flag, "true"),
    policy_text("rate_a", Form::Share),
    policy_text("rate_b", Form::Share),
    policy_text("enterprise_cap", Form::Money),
    policy_text("pilot_cap_max", Form::Money),
    policy_text("conformance_bonus", Form::Money),
    policy_text("contract_signed_after", Form::Day),
    policy_text("paid_percent_a", count(0, 100)),
    policy_text("paid_percent_b", count(0, 100)),
    policy_text("province_code", Form::Code { digits: 2 }),
    optional_policy_text("pilot_enterprises_min", count(0, 100_000), "10"),
    optional_policy_text("pilot_joint_enterprises_min", count(0, 100_000), "3"),
];

impl Parameter {
    /// The canonical JSON of what counts where it is not named.
    fn default_value(&self) -> Option<Value> {
        let (value, errors) = DeValue::parse_recoverable(self.default?);
        if errors.is_empty() { self.form.read(value.get_ref()).ok() } else { None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    Carrier,
    Review,
}

/// How an exact amount becomes an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    FloorFen,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub window_days: u32,
    pub late_days_max: u32,
    pub future_skew_s_max: u32,
    pub effective_day_hours_min: u32,
    pub device_effective_days_min: u32,
    pub usage_active_days_min: u32,
    pub usage_users_min: u32,
    #[serde(deserialize_with = "decimal")]
    pub function_module_coverage_min: Decimal,
    #[serde(deserialize_with = "decimal")]
    pub channel_tolerance: Decimal,
    pub on_conflict: OnConflict,
    pub bonus_in_limit: bool,
    pub location_required_rows: BTreeSet<u8>,
    pub integrator_rows: BTreeSet<u8>,
    pub carrier_required: bool,
    pub rounding: Rounding,
    pub cities_excluded: BTreeSet<String>,
    #[serde(deserialize_with = "decimal")]
    pub frozen_share_max: Decimal,
    pub frozen_hours_min: u32,
    pub constant_templates: BTreeSet<String>,
    #[serde(deserialize_with = "decimal")]
    pub identical_share_min: Decimal,
    pub identical_hours_min: u32,
    pub two_gateways_days_min: u32,
    pub gateway_places_days_min: u32,
    pub address_enterprises_min: u32,
    #[serde(deserialize_with = "decimal")]
    pub regular_share_min: Decimal,
    pub regular_hours_min: u32,
    pub regular_reports_min: u32,
    pub burst_days: u32,
    pub outlier_score_min: u32,
    pub outlier_contracts_min: u32,
    #[serde(deserialize_with = "decimal")]
    pub outlier_deviation_min: Decimal,
    pub unredeemed_refused: bool,
    pub unredeemed_all_periods: bool,
    #[serde(deserialize_with = "decimal")]
    pub spot_check_random_share: Decimal,
    pub spot_check_finding_points: u32,
    pub spot_check_conflicting_points: u32,
    pub spot_check_credit_points: u32,
    pub credit_start: u32,
    pub credit_confirmed_points: u32,
    pub credit_deviating_points: u32,
    pub credit_fraud_points: u32,
    pub credit_weeks: u32,
    pub credit_week_points: u32,
    #[serde(deserialize_with = "decimal")]
    pub credit_completeness_min: Decimal,
    #[serde(deserialize_with = "decimal")]
    pub credit_late_share_max: Decimal,
    pub credit_refused_max: u32,
    #[serde(deserialize_with = "decimal")]
    pub rate_a: Decimal,
    #[serde(deserialize_with = "decimal")]
    pub rate_b: Decimal,
    pub enterprise_cap: Yuan,
    pub pilot_cap_max: Yuan,
    pub conformance_bonus: Yuan,
    pub contract_signed_after: Day,
    pub paid_percent_a: u32,
    pub paid_percent_b: u32,
    pub province_code: String,
    pub pilot_enterprises_min: u32,
    pub pilot_joint_enterprises_min: u32,
}

impl Parameters {
    pub fn rate(&self, class: ProductClass) -> Decimal {
        match class {
            ProductClass::A => self.rate_a,
            ProductClass::B => self.rate_b,
        }
    }

    pub fn paid_percent(&self, class: ProductClass) -> u32 {
        match class {
            ProductClass::A => self.paid_percent_a,
            ProductClass::B => self.paid_percent_b,
        }
    }
}

/// What a parameter means, in which unit, and who owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub meaning: String,
    pub unit: String,
    pub owner: String,
}

/// A parameter as pages show it: its value as written in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterView {
    pub name: &'static str,
    pub value: String,
    pub platform: bool,
    pub about: About,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rulebook {
    pub id: String,
    pub valid_from: Instant,
    pub parameters: Parameters,
    about: BTreeMap<String, About>,
    values: Map<String, Value>,
    hash: String,
    text: String,
}

pub type Rulebooks = Versions<Rulebook>;

impl Rulebook {
    /// The compiled-in rulebook of 2019.
    pub fn default_2019() -> Rulebook {
        Rulebook::read(RULEBOOK_2019).expect("the compiled-in rulebook is held by a test")
    }

    /// Reads a rulebook; all faults at once.
    pub fn read(text: &str) -> Result<Rulebook, Vec<PolicyFault>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(grammar_faults(text, &errors));
        }
        let table = table.get_ref();
        let mut faults = Vec::new();
        let known = |key: &str| matches!(key, "id" | "valid_from" | "about") || PARAMETERS.iter().any(|parameter| parameter.name == key);
        refuse_unknown(table, "", known, &mut faults);
        let id = read_key(table, "", "id", Form::Text { chars_max: 64 }, true, &mut faults);
        let valid_from = read_key(table, "", "valid_from", Form::Instant, true, &mut faults);
        let mut values = Map::new();
        for parameter in PARAMETERS {
            let named = read_key(table, "", parameter.name, parameter.form, parameter.default.is_none(), &mut faults);
            if let Some(value) = named.or_else(|| parameter.default_value()) {
                values.insert(parameter.name.to_string(), value);
            }
        }
        let about = read_about(table, &mut faults);
        match (id.as_ref().and_then(Value::as_str), valid_from.as_ref().and_then(Value::as_str)) {
            (Some(id), Some(valid_from)) if faults.is_empty() => {
                Rulebook::build(id.to_string(), valid_from, values, about).map(|rulebook| Rulebook { text: text.to_string(), ..rulebook })
            }
            _ => Err(faults),
        }
    }

    fn build(
        id: String,
        valid_from: &str,
        values: Map<String, Value>,
        about: BTreeMap<String, About>,
    ) -> Result<Rulebook, Vec<PolicyFault>> {
        let fault = |detail: String| vec![PolicyFault::new("", "a complete rulebook", detail)];
        let parameters = serde_json::from_value(Value::Object(values.clone())).map_err(|error| fault(error.to_string()))?;
        let hash = hash_of(&json!({"id": id, "valid_from": valid_from, "parameters": values}));
        let valid_from = policy_file::instant_of(valid_from).ok_or_else(|| fault("valid_from".to_string()))?;
        Ok(Rulebook { id, valid_from, parameters, about, values, hash, text: String::new() })
    }

    /// The same rulebook with one parameter set to another value, written as in the file (`0.05`, `"review"`, `12`).
    pub fn with(&self, name: &str, value: &str) -> Result<Rulebook, Vec<PolicyFault>> {
        let line = format!("{name} = {value}");
        let (table, errors) = DeTable::parse_recoverable(&line);
        if !errors.is_empty() || line.contains('\n') {
            return Err(vec![PolicyFault::new(name, "one readable TOML value", value)]);
        }
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
            return Err(vec![PolicyFault::new(name, "a known key", "unknown key")]);
        };
        let mut faults = Vec::new();
        let read = read_key(table.get_ref(), "", name, parameter.form, true, &mut faults);
        let mut values = self.values.clone();
        values.insert(name.to_string(), read.ok_or(faults)?);
        Rulebook::build(self.id.clone(), &crate::calendar::show_instant(self.valid_from), values, self.about.clone())
    }

    /// Every parameter with its value and meaning, in the order of `PARAMETERS`.
    pub fn view(&self) -> Vec<ParameterView> {
        let shown = |name: &str| match self.values.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let view = |parameter: &Parameter| ParameterView {
            name: parameter.name,
            value: shown(parameter.name),
            platform: parameter.platform,
            about: self.about.get(parameter.name).cloned().unwrap_or_default(),
        };
        PARAMETERS.iter().map(view).collect()
    }

    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// As it was read; empty where a parameter was changed since.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Dated for Rulebook {
    fn id(&self) -> &str {
        &self.id
    }

    fn valid_from(&self) -> Instant {
        self.valid_from
    }

    fn hash(&self) -> &str {
        &self.hash
    }
}

fn read_about(table: &DeTable<'_>, faults: &mut Vec<PolicyFault>) -> BTreeMap<String, About> {
    let rule = "tables [about.<name>] with meaning, unit and owner";
    let Some((_, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == "about") else { return BTreeMap::new() };
    let Some(all) = value.get_ref().as_table() else {
        faults.push(PolicyFault::new("about", rule, format!("found {}", value.get_ref().type_str())));
        return BTreeMap::new();
    };
    let known = |name: &str| PARAMETERS.iter().any(|parameter| parameter.name == name);
    refuse_unknown(all, "about.", known, faults);
    let mut about = BTreeMap::new();
    for (name, entry) in all.iter() {
        let Some(entry) = entry.get_ref().as_table() else {
            faults.push(PolicyFault::new(format!("about.{}", name.get_ref()), rule, format!("found {}", entry.get_ref().type_str())));
            continue;
        };
        let prefix = format!("about.{}.", name.get_ref());
        refuse_unknown(entry, &prefix, |key| matches!(key, "meaning" | "unit" | "owner"), faults);
        let mut text = |key: &str| {
            let value = read_key(entry, &prefix, key, Form::Text { chars_max: 400 }, true, faults);
            value.as_ref().and_then(Value::as_str).unwrap_or_default().to_string()
        };
        about.insert(name.get_ref().to_string(), About { meaning: text("meaning"), unit: text("unit"), owner: text("owner") });
    }
    about
}
