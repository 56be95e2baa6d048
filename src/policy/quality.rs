//! Weekly data quality of a supplier: what its products' live vouchers owed of a week, and what came. Figures add up, so that every
//! enterprise and product can be counted by itself and in any order. Nothing here decides a verdict.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;

use crate::amount::terms;
use crate::calendar::{Day, day_of};
use crate::catalogue::Catalogue;
use crate::facts::{Channel, Sightings, VoucherFacts};
use crate::in_force::Versions;
use crate::register::{Register, Voucher, VoucherStatus};
use crate::week::Week;

const HOURS_OF_DAY: u64 = 24;

/// What is expected of one enterprise and product within a week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub vouchers: u64,
    /// Of each declared device, and, for products without a per-device amount, of the usage.
    pub devices: BTreeMap<String, BTreeSet<Day>>,
    pub usage: BTreeSet<Day>,
}

/// By enterprise and product.
pub type ExpectedOfSupplier = BTreeMap<(String, String), Expected>;

/// By supplier, also those of whom nothing is expected. A live voucher that has been issued owes data of every day that has ended before `today`, from the
/// day of its application to the day of its redemption request.
pub fn expected(register: &Register, catalogues: &Versions<Catalogue>, week: Week, today: Day) -> BTreeMap<String, ExpectedOfSupplier> {
    let mut by: BTreeMap<String, ExpectedOfSupplier> = register.suppliers.keys().map(|id| (id.clone(), BTreeMap::new())).collect();
    for voucher in register.vouchers.values().filter(|voucher| voucher.status.live() && implemented(voucher)) {
        let Some(terms) = terms(register, catalogues.in_force(voucher.applied_at), voucher) else { continue };
        let days: BTreeSet<Day> = week.days().filter(|day| *day < today && owes(voucher, *day)).collect();
        let of_supplier = by.entry(terms.product.supplier.clone()).or_default();
        let expected = of_supplier.entry((voucher.enterprise.clone(), voucher.product.clone())).or_default();
        expected.vouchers += 1;
        if terms.row.per_device_amount.is_none() {
            expected.usage.extend(days);
            continue;
        }
        for device in register.devices_of(&voucher.id) {
            expected.devices.entry(device.device.clone()).or_default().extend(&days);
        }
    }
    by
}

/// A contract is implemented once its voucher is issued (R4): an application that waits, or was sent back, owes nothing.
fn implemented(voucher: &Voucher) -> bool {
    match voucher.status {
        VoucherStatus::Applied => false,
        VoucherStatus::Returned => voucher.redeem_at.is_some(),
        _ => true,
    }
}

fn owes(voucher: &Voucher, day: Day) -> bool {
    day_of(voucher.applied_at) <= day && voucher.redeem_at.is_none_or(|redeem_at| day <= day_of(redeem_at))
}

/// Whole numbers only; they add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QualityFigures {
    pub vouchers: u64,
    pub devices: u64,
    pub device_days_expected: u64,
    /// With at least one reading, of whatever quality, through either channel.
    pub device_days: u64,
    pub device_days_from_gateways: u64,
    pub device_days_from_supplier: u64,
    pub device_hours_expected: u64,
    pub device_hours: u64,
    pub usage_days_expected: u64,
    /// With at least one action.
    pub usage_days: u64,
    /// Device-hours by the days late (started days of 24 h) of the least late of their readings.
    pub device_hours_by_days_late: BTreeMap<u32, u64>,
    /// User, function module and day, by the days late of the least late of its entries.
    pub usage_by_days_late: BTreeMap<u32, u64>,
}

impl QualityFigures {
    /// One enterprise and product.
    pub fn count(expected: &Expected, facts: &VoucherFacts) -> QualityFigures {
        let mut figures = QualityFigures { vouchers: expected.vouchers, devices: expected.devices.len() as u64, ..Default::default() };
        figures.device_days_expected = expected.devices.values().map(|days| days.len() as u64).sum();
        figures.device_hours_expected = figures.device_days_expected * HOURS_OF_DAY;
        figures.usage_days_expected = expected.usage.len() as u64;
        let owed = expected.devices.iter().filter_map(|(device, days)| Some((days, facts.devices.get(device)?)));
        for (_, of_day) in owed.flat_map(|(owed, days)| days.iter().filter(|(day, _)| owed.contains(*day))) {
            let mut hours: BTreeMap<u8, u32> = BTreeMap::new();
            let mut channels = BTreeSet::new();
            for ((hour, channel), of_hour) in of_day.hours.iter() {
                let Some(days_late) = [&of_hour.normal, &of_hour.other].into_iter().filter_map(least_late).min() else { continue };
                channels.insert(*channel);
                hours.entry(*hour).and_modify(|kept| *kept = days_late.min(*kept)).or_insert(days_late);
            }
            figures.device_days += u64::from(!hours.is_empty());
            figures.device_days_from_gateways += u64::from(channels.contains(&Channel::Gateway));
            figures.device_days_from_supplier += u64::from(channels.contains(&Channel::Supplier));
            figures.device_hours += hours.len() as u64;
            hours.into_values().for_each(|days_late| *figures.device_hours_by_days_late.entry(days_late).or_default() += 1);
        }
        let mut entries: BTreeMap<(&str, &str, Day), u32> = BTreeMap::new();
        for (key, usage) in facts.usage.iter().filter(|(key, _)| expected.usage.contains(&key.day)) {
            let Some(days_late) = least_late(&usage.seen) else { continue };
            let entry = entries.entry((&key.user, &key.function_module, key.day)).or_insert(days_late);
            *entry = days_late.min(*entry);
        }
        figures.usage_days = entries.keys().map(|(_, _, day)| day).collect::<BTreeSet<_>>().len() as u64;
        entries.into_values().for_each(|days_late| *figures.usage_by_days_late.entry(days_late).or_default() += 1);
        figures
    }

    pub fn add(&mut self, more: &QualityFigures) {
        self.vouchers += more.vouchers;
        self.devices += more.devices;
        self.device_days_expected += more.device_days_expected;
        self.device_days += more.device_days;
        self.device_days_from_gateways += more.device_days_from_gateways;
        self.device_days_from_supplier += more.device_days_from_supplier;
        self.device_hours_expected += more.device_hours_expected;
        self.device_hours += more.device_hours;
        self.usage_days_expected += more.usage_days_expected;
        self.usage_days += more.usage_days;
        for (kept, more) in [
            (&mut self.device_hours_by_days_late, &more.device_hours_by_days_late),
            (&mut self.usage_by_days_late, &more.usage_by_days_late),
        ] {
            more.iter().for_each(|(days_late, count)| *kept.entry(*days_late).or_default() += count);
        }
    }

    /// Days with data, and days expected.
    pub fn complete(&self) -> (u64, u64) {
        (self.device_days + self.usage_days, self.device_days_expected + self.usage_days_expected)
    }

    /// Device-hours and usage entries that came more than so many days late, and all of them.
    pub fn late(&self, late_days_max: u32) -> (u64, u64) {
        let all = || self.device_hours_by_days_late.iter().chain(&self.usage_by_days_late);
        (all().filter(|(days_late, _)| **days_late > late_days_max).map(|(_, count)| count).sum(), all().map(|(_, count)| count).sum())
    }
}

/// The last of the Pareto-minimal pairs is the least late.
fn least_late(seen: &Sightings) -> Option<u32> {
    seen.as_slice().last().map(|seen| seen.days_late)
}

/// A week of one supplier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WeekQuality {
    #[serde(flatten)]
    pub figures: QualityFigures,
    /// Messages received in the week that stand in the quarantine as refused: the supplier's own pushes, and those of the gateways of
    /// the enterprises concerned.
    pub refused_of_supplier: u64,
    pub refused_of_gateways: u64,
    /// Numbers missing in boots of those gateways whose newest report came in the week, and in how many boots.
    pub missing_numbers: u64,
    pub missing_boots: u64,
}

/// A part of a whole to four places, rounded half up, only for showing; `None` of nothing.
pub fn share((part, whole): (u64, u64)) -> Option<String> {
    let exact = Decimal::from(part).checked_div(Decimal::from(whole))?;
    Some(format!("{:.4}", exact.round_dp_with_strategy(4, RoundingStrategy::MidpointAwayFromZero)))
}
