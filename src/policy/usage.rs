//! Usage of a product without a per-device amount (R35): active days, users, function modules of the contract.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::by_channel::ByChannel;
use crate::calendar::Day;
use crate::facts::VoucherFacts;
use crate::register::Voucher;
use crate::result::UsageFigures;
use crate::rulebook::Parameters;
use crate::window::Window;

/// What counted on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageDay {
    pub users: BTreeSet<String>,
    pub function_modules: BTreeSet<String>,
}

/// One function module as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionModuleUse {
    pub function_module: String,
    pub contracted: bool,
    /// Days of the window on which it was used, and by how many users.
    pub days: u32,
    pub users: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageWeighed {
    /// Days of the window with at least one counting action.
    pub by_day: BTreeMap<Day, UsageDay>,
    pub days_by: ByChannel<BTreeSet<Day>>,
    pub users: BTreeSet<String>,
    /// Contracted ones first seen to last, then those outside the contract.
    pub function_modules: Vec<FunctionModuleUse>,
    /// No usage of the product by the enterprise in the window, however late.
    pub silent: bool,
}

impl UsageWeighed {
    pub fn figures(&self) -> UsageFigures {
        let contracted = self.function_modules.iter().filter(|module| module.contracted);
        UsageFigures {
            active_days: self.by_day.len() as u64,
            users: self.users.len() as u64,
            function_modules_used: contracted.clone().filter(|module| module.days > 0).count() as u64,
            function_modules_contracted: contracted.count() as u64,
        }
    }
}

pub fn weigh(parameters: &Parameters, voucher: &Voucher, window: &Window, facts: &VoucherFacts) -> UsageWeighed {
    let mut weighed = UsageWeighed { silent: true, ..UsageWeighed::default() };
    let mut modules: BTreeMap<&str, (BTreeSet<Day>, BTreeSet<&str>)> = BTreeMap::new();
    let cut_off_us = window.cut_off_us();
    for (key, usage) in facts.usage.iter().filter(|(key, _)| window.contains(key.day)) {
        weighed.silent &= !usage.seen.any_at(cut_off_us);
        if !usage.seen.count_at(cut_off_us, parameters.late_days_max) {
            continue;
        }
        weighed.days_by.of(key.channel).insert(key.day);
        let day = weighed.by_day.entry(key.day).or_default();
        day.users.insert(key.user.clone());
        day.function_modules.insert(key.function_module.clone());
        weighed.users.insert(key.user.clone());
        let module = modules.entry(&key.function_module).or_default();
        module.0.insert(key.day);
        module.1.insert(&key.user);
    }
    let contracted: BTreeSet<&str> = voucher.contract_modules.iter().map(String::as_str).collect();
    let outside = modules.keys().copied().filter(|module| !contracted.contains(module));
    let row = |module: &str| {
        let (days, users) = modules.get(module).map_or((0, 0), |(days, users)| (days.len() as u32, users.len() as u32));
        FunctionModuleUse { function_module: module.to_string(), contracted: contracted.contains(module), days, users }
    };
    weighed.function_modules = contracted.iter().copied().chain(outside).map(row).collect();
    weighed
}

/// used ÷ contracted ≥ least, without a division.
pub fn covers(used: u64, contracted: u64, least: Decimal) -> bool {
    Decimal::from(used) >= least * Decimal::from(contracted)
}

/// The smallest number of modules that covers.
pub fn modules_required(contracted: u64, least: Decimal) -> Decimal {
    (least * Decimal::from(contracted)).ceil().normalize()
}
