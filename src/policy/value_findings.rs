//! Findings about the values that devices send: series that stand still, and series that are another's. The tally keeps for each
//! clock hour whether the readings differ and a sum of them; what is told of "three equal in a row" is therefore told of whole hours:
//! an hour of three or more readings, all of them equal, so that the order of arrival never shows.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::calendar::{Day, day_of, day_start};
use crate::devices::within;
use crate::facts::DeviceDays;
use crate::findings::{Found, found};
use crate::judge::Case;
use crate::reasons::FindingCode;
use crate::register::Voucher;
use crate::values_seen::ValuesSeen;
use crate::window::Window;

/// Devices or pairs of them that a finding names; of the rest it tells the number.
const NAMED_MAX: usize = 20;

/// The values of one device, by day and clock hour.
type Hours = LiteMap<(Day, u8), HourOfValues>;

#[derive(Clone, Copy)]
struct HourOfValues {
    values: ValuesSeen,
    /// Of the least late reading of the hour.
    days_late: u32,
}

/// What the values of one device tell in short.
#[derive(Default)]
struct InShort {
    hours: usize,
    /// Hours that stand still.
    still: usize,
    /// By day, oldest first: the smallest of its hours' sums.
    smallest: Vec<(Day, u32)>,
}

type InShortByDevice<'f> = BTreeMap<&'f str, InShort>;

pub(crate) fn find(case: &Case<'_>, window: &Window) -> Vec<Found> {
    let devices: InShortByDevice<'_> = case.facts.devices.iter().map(|(device, days)| (device.as_str(), in_short(days, window))).collect();
    frozen(case, window, &devices).into_iter().chain(identical(case, window, &devices)).collect()
}

fn in_short(days: &DeviceDays, window: &Window) -> InShort {
    let mut short = InShort::default();
    each_hour(days, window, |(day, _), of_hour| {
        short.hours += 1;
        short.still += usize::from(!of_hour.values.differ());
        if let Some(sum) = of_hour.values.series() {
            match short.smallest.last_mut() {
                Some((last, smallest)) if *last == day => *smallest = sum.min(*smallest),
                _ => short.smallest.push((day, sum)),
            }
        }
    });
    short
}

fn hours_of(case: &Case<'_>, window: &Window, device: &str) -> Hours {
    let mut hours = Hours::new();
    if let Some(days) = case.facts.devices.get(device) {
        each_hour(days, window, |at, of_hour| {
            hours.insert(at, of_hour);
        });
    }
    hours
}

/// Hours that had ended at the cut-off, in order: what came after it may belong to no other. Both channels tell of the same machine.
fn each_hour(days: &DeviceDays, window: &Window, mut take: impl FnMut((Day, u8), HourOfValues)) {
    for (day, of_day) in within(days, window) {
        let ended = ended_hours(*day, window);
        let told = of_day.hours.iter().filter(|((hour, _), told)| *hour < ended && told.values.enough());
        let mut told = told.map(|((hour, _), told)| {
            let days_late = told.normal.as_slice().last().map_or(0, |seen| seen.days_late);
            (*hour, HourOfValues { values: told.values, days_late })
        });
        let mut next = told.next();
        while let Some((hour, mut of_hour)) = next {
            next = told.next();
            while let Some((_, other)) = next.filter(|(other, _)| *other == hour) {
                // The channel that tells of movement is believed.
                if !of_hour.values.differ() {
                    of_hour = other;
                }
                next = told.next();
            }
            take((*day, hour), of_hour);
        }
    }
}

/// How many of the day's hours had ended at the cut-off.
fn ended_hours(day: Day, window: &Window) -> u8 {
    if day < window.to {
        return 24;
    }
    let hours = (window.cut_off - day_start(day)).num_hours();
    u8::try_from(hours.clamp(0, 24)).unwrap_or(24)
}

/// Days on which what occurred on this day was received, as far as its least late reading tells.
fn receipt_days(day: Day, days_late: u32) -> impl Iterator<Item = Day> {
    day.iter_days().take(days_late as usize + 1)
}

/// More than a share of a declared device's hours stand still.
fn frozen(case: &Case<'_>, window: &Window, devices: &InShortByDevice<'_>) -> Option<Found> {
    let parameters = &case.rulebook.parameters;
    let constant = |template: &Option<String>| template.as_ref().is_some_and(|template| parameters.constant_templates.contains(template));
    let mut told = Vec::new();
    let mut days = BTreeSet::new();
    for declared in case.register.devices_of(&case.voucher.id).filter(|declared| !constant(&declared.template)) {
        let Some(InShort { hours, still, .. }) = devices.get(declared.device.as_str()) else { continue };
        let enough = *hours >= parameters.frozen_hours_min as usize;
        if enough && Decimal::from(*still) > parameters.frozen_share_max * Decimal::from(*hours) {
            told.push(json!({"device": declared.device, "hours_frozen": still, "hours_compared": hours}));
            let hours = hours_of(case, window, &declared.device);
            let still = hours.iter().filter(|(_, of_hour)| !of_hour.values.differ());
            days.extend(still.flat_map(|((day, _), of_hour)| receipt_days(*day, of_hour.days_late)));
        }
    }
    let counted = format!(
        "{} 台；每台运行状态的正常读数中，逐小时数值全部相同的小时占可比较小时的比例超过 {}",
        told.len(),
        parameters.frozen_share_max.normalize()
    );
    found(FindingCode::FrozenValues, "R42", named(told), &counted, days)
}

/// Two devices, at least one of them declared, whose readings are the same hour by hour.
fn identical(case: &Case<'_>, window: &Window, devices: &InShortByDevice<'_>) -> Option<Found> {
    let parameters = &case.rulebook.parameters;
    let (mut told, mut days) = (Vec::new(), BTreeSet::new());
    for (one, other) in candidates(devices) {
        if !declares(case, case.voucher, one) && !declares(case, case.voucher, other) {
            continue;
        }
        let (equal, compared) = compare(&hours_of(case, window, one), &hours_of(case, window, other));
        let enough = equal.len() >= parameters.identical_hours_min as usize;
        if enough && Decimal::from(equal.len()) >= parameters.identical_share_min * Decimal::from(compared) {
            let mut pair = json!({"devices": [one, other], "hours_identical": equal.len(), "hours_compared": compared});
            let elsewhere: Vec<&str> = case
                .register
                .vouchers_of(&case.voucher.enterprise)
                .filter(|voucher| voucher.id != case.voucher.id && voucher.status.live())
                .filter(|voucher| declares(case, voucher, one) || declares(case, voucher, other))
                .map(|voucher| voucher.id.as_str())
                .collect();
            if !elsewhere.is_empty() {
                pair["vouchers"] = json!(elsewhere);
            }
            told.push(pair);
            days.extend(equal.into_iter().flat_map(|(day, days_late)| receipt_days(day, days_late)));
        }
    }
    let counted = format!("{} 对设备，逐小时的读数内容一致而数值在变化", told.len());
    found(FindingCode::IdenticalSeries, "R42", named(told), &counted, days)
}

fn declares(case: &Case<'_>, voucher: &Voucher, device: &str) -> bool {
    case.register.devices.contains_key(&(voucher.id.clone(), device.to_string()))
}

/// Pairs that may well be the same: on some day the smallest of their hours' sums is one. Whoever shares most hours shares most of
/// these; of many alike each is paired with the first.
fn candidates<'f>(devices: &InShortByDevice<'f>) -> BTreeSet<(&'f str, &'f str)> {
    let of_device =
        |(device, short): (&&'f str, &InShort)| short.smallest.iter().map(|(day, sum)| (*day, *sum, *device)).collect::<Vec<_>>();
    let mut smallest: Vec<(Day, u32, &str)> = devices.iter().flat_map(of_device).collect();
    smallest.sort_unstable();
    let alike = smallest.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
    alike.flat_map(|alike| alike[1..].iter().map(|(_, _, device)| (alike[0].2, *device))).collect()
}

/// The hours in which both tell the same, each with its day and how late it was told, and how many hours can be compared.
fn compare(one: &Hours, other: &Hours) -> (Vec<(Day, u32)>, usize) {
    let (mut equal, mut compared) = (Vec::new(), 0);
    for (at, of_one) in one {
        let Some(of_other) = other.get(at) else { continue };
        if let (Some(first), Some(second)) = (of_one.values.series(), of_other.values.series()) {
            compared += 1;
            equal.extend((first == second).then_some((at.0, of_one.days_late.max(of_other.days_late))));
        }
    }
    (equal, compared)
}

fn named(mut told: Vec<Value>) -> Vec<Value> {
    let left = told.len().saturating_sub(NAMED_MAX);
    told.truncate(NAMED_MAX);
    told.extend((left > 0).then(|| json!({"more": left})));
    told
}

/// All that counts lies in the last days before the redemption was asked for, though the voucher was there long before.
pub(crate) fn burst(case: &Case<'_>, window: &Window, active: &BTreeSet<Day>) -> Option<Found> {
    let last_days = case.rulebook.parameters.burst_days;
    let (Some(first), Some(last)) = (active.first(), active.last()) else { return None };
    // Without a request the window ends now, and whoever has just begun has begun.
    let asked = case.voucher.redeem_at.is_some_and(|at| day_of(at) == window.to && at <= window.cut_off);
    let span = (window.to - *first).num_days() + 1;
    let long_before = day_of(case.voucher.applied_at) < window.from;
    if !asked || !long_before || span > i64::from(last_days) || i64::from(last_days) > (window.to - window.from).num_days() {
        return None;
    }
    let evidence = vec![json!({
        "first_day": first, "last_day": last, "days": active.len(), "redeem_day": window.to, "applied_day": day_of(case.voucher.applied_at),
    })];
    let counted = format!(
        "{} 申领、{} 申请兑现，窗口内有效数据 {} 天，全部在 {first} 至 {last} 之间，此前没有",
        day_of(case.voucher.applied_at),
        window.to,
        active.len()
    );
    found(FindingCode::BurstBeforeCutOff, "R42", evidence, &counted, active.iter().flat_map(|day| receipt_days(*day, 1)).collect())
}
