//! Which declared devices are connected (R36–R38), and why the others are not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::by_channel::ByChannel;
use crate::calendar::Day;
use crate::facts::{Channel, DeviceDay, DeviceDays, VoucherFacts};
use crate::reasons::ExclusionReason;
use crate::register::{DeclaredDevice, Register, Voucher};
use crate::result::ExcludedDevice;
use crate::rulebook::Parameters;
use crate::window::Window;

/// A declared device with everything that decided about it; a row of the page's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceStanding {
    pub device: String,
    pub name: Option<String>,
    pub model: Option<String>,
    pub province: Option<String>,
    pub counted: bool,
    pub reason: Option<ExclusionReason>,
    pub detail: String,
    /// Days of the window with any reading at all.
    pub days_seen: u32,
    /// Days with at least one counting reading: quality `N`, up to the cut-off, not late.
    pub days_counting: u32,
    /// Days with counting readings in enough different clock hours.
    pub effective_days: u32,
    /// The same two by each channel alone.
    #[serde(default)]
    pub days_counting_by: ByChannel<u32>,
    #[serde(default)]
    pub effective_days_by: ByChannel<u32>,
    pub counting_day_first: Option<Day>,
    pub counting_day_last: Option<Day>,
    /// Other live vouchers of the enterprise that declare the device, in order of their id.
    pub claimed_by: Vec<String>,
    /// Whether it would be connected if no other voucher declared it.
    pub connected_if_unclaimed: bool,
}

/// What one device did on one day, up to the cut-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceActivity {
    pub seen: bool,
    pub normal: bool,
    /// Different clock hours with a counting reading, whatever the channel.
    pub counting_hours: u32,
    pub counting_hours_by: ByChannel<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DevicesWeighed {
    /// In order of the device's identity.
    pub standings: Vec<DeviceStanding>,
    /// Devices of the enterprise seen in the window that the voucher does not declare.
    pub undeclared: u64,
    /// No reading of a declared device in the window, of whatever quality or lateness.
    pub silent: bool,
    /// By day of the window: how many declared devices had a counting reading, and how many an effective day.
    pub by_day: BTreeMap<Day, (u32, u32)>,
    /// Days of the window with a counting reading of a declared device.
    pub days_by: ByChannel<BTreeSet<Day>>,
}

impl DevicesWeighed {
    pub fn declared(&self) -> u64 {
        self.standings.len() as u64
    }

    pub fn connected(&self) -> u64 {
        self.standings.iter().filter(|standing| standing.counted).count() as u64
    }

    /// The connected ones that have enough effective days by one channel alone.
    pub fn connected_by(&self, parameters: &Parameters) -> ByChannel<u64> {
        let enough = |days: u32| days >= parameters.device_effective_days_min;
        let mut connected = ByChannel::default();
        for standing in self.standings.iter().filter(|standing| standing.counted) {
            connected.gateway += u64::from(enough(standing.effective_days_by.gateway));
            connected.supplier += u64::from(enough(standing.effective_days_by.supplier));
        }
        connected
    }

    pub fn connected_if_unclaimed(&self) -> u64 {
        self.standings.iter().filter(|standing| standing.connected_if_unclaimed).count() as u64
    }

    pub fn excluded(&self) -> Vec<ExcludedDevice> {
        let excluded = |standing: &DeviceStanding| {
            standing.reason.map(|reason| ExcludedDevice { device: standing.device.clone(), reason, detail: standing.detail.clone() })
        };
        self.standings.iter().filter_map(excluded).collect()
    }
}

pub fn activity(day: &DeviceDay, cut_off_us: i64, late_days_max: u32) -> DeviceActivity {
    let mut activity = DeviceActivity::default();
    // By clock hour, from the lowest bit.
    let mut hours = ByChannel::<u32>::default();
    for ((hour, channel), facts) in &day.hours {
        let normal = facts.normal.any_at(cut_off_us);
        activity.normal |= normal;
        activity.seen |= normal || facts.other.any_at(cut_off_us);
        if facts.normal.count_at(cut_off_us, late_days_max) {
            *hours.of(*channel) |= 1 << hour;
        }
    }
    activity.counting_hours = (hours.gateway | hours.supplier).count_ones();
    activity.counting_hours_by = hours.map(|hours| hours.count_ones());
    activity
}

/// `row` is the catalogue row of the product, where known: it decides whether the place matters (R5).
pub fn weigh(
    register: &Register,
    parameters: &Parameters,
    voucher: &Voucher,
    row: Option<u8>,
    window: &Window,
    facts: &VoucherFacts,
) -> DevicesWeighed {
    let claims = claims_of_others(register, voucher);
    let place_matters = place_matters(parameters, row);
    let mut weighed = DevicesWeighed { silent: true, ..DevicesWeighed::default() };
    let cut_off_us = window.cut_off_us();
    for declared in register.devices_of(&voucher.id) {
        let mut standing = stand(declared, claims.get(declared.device.as_str()));
        let mut normal = false;
        for (day, of_day) in facts.devices.get(&declared.device).into_iter().flat_map(|days| within(days, window)) {
            let activity = activity(of_day, cut_off_us, parameters.late_days_max);
            normal |= activity.normal;
            standing.days_seen += u32::from(activity.seen);
            if activity.counting_hours > 0 {
                let effective = activity.counting_hours >= parameters.effective_day_hours_min;
                standing.days_counting += 1;
                standing.effective_days += u32::from(effective);
                for channel in [Channel::Gateway, Channel::Supplier] {
                    let mut hours_by = activity.counting_hours_by;
                    let hours = *hours_by.of(channel);
                    if hours > 0 {
                        *standing.days_counting_by.of(channel) += 1;
                        *standing.effective_days_by.of(channel) += u32::from(hours >= parameters.effective_day_hours_min);
                        weighed.days_by.of(channel).insert(*day);
                    }
                }
                standing.counting_day_first = standing.counting_day_first.or(Some(*day));
                standing.counting_day_last = Some(*day);
                let of_day = weighed.by_day.entry(*day).or_default();
                of_day.0 += 1;
                of_day.1 += u32::from(effective);
            }
        }
        weighed.silent &= standing.days_seen == 0;
        decide(&mut standing, parameters, place_matters, normal);
        weighed.standings.push(standing);
    }
    weighed.undeclared = undeclared(register, parameters, voucher, window, facts);
    weighed
}

/// By enterprise and device: the live vouchers that declare it.
pub type Claims<'r> = BTreeMap<(&'r str, &'r str), Vec<&'r str>>;

/// Of the whole register, for who looks at every voucher.
pub fn claims(register: &Register) -> Claims<'_> {
    let mut claims = Claims::new();
    for declared in register.devices.values() {
        if let Some(voucher) = register.vouchers.get(&declared.voucher).filter(|voucher| voucher.status.live()) {
            claims.entry((&voucher.enterprise, &declared.device)).or_default().push(&voucher.id);
        }
    }
    claims
}

/// Declared devices that nothing but their readings can exclude.
pub fn countable<'r>(
    register: &'r Register,
    claims: &Claims<'r>,
    parameters: &Parameters,
    voucher: &'r Voucher,
    row: Option<u8>,
) -> Vec<&'r str> {
    let place_matters = place_matters(parameters, row);
    let free =
        |device: &str| claims.get(&(voucher.enterprise.as_str(), device)).is_none_or(|by| by.iter().all(|other| *other == voucher.id));
    let declared = register.devices_of(&voucher.id).filter(|declared| free(&declared.device));
    declared
        .filter(|declared| !outside(parameters, place_matters, declared.province.as_deref()))
        .map(|declared| declared.device.as_str())
        .collect()
}

fn place_matters(parameters: &Parameters, row: Option<u8>) -> bool {
    row.is_some_and(|row| parameters.location_required_rows.contains(&row))
}

/// Not where the product's row wants its devices (R5).
fn outside(parameters: &Parameters, place_matters: bool, province: Option<&str>) -> bool {
    place_matters && province != Some(parameters.province_code.as_str())
}

/// By device: the other live vouchers of the same enterprise that declare it.
fn claims_of_others<'a>(register: &'a Register, voucher: &'a Voucher) -> BTreeMap<&'a str, Vec<String>> {
    let mut claims: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let others = register.vouchers_of(&voucher.enterprise).filter(|other| other.id != voucher.id && other.status.live());
    for other in others {
        for device in register.devices_of(&other.id) {
            claims.entry(&device.device).or_default().push(other.id.clone());
        }
    }
    claims
}

fn stand(declared: &DeclaredDevice, claimed_by: Option<&Vec<String>>) -> DeviceStanding {
    DeviceStanding {
        device: declared.device.clone(),
        name: declared.name.clone(),
        model: declared.model.clone(),
        province: declared.province.clone(),
        counted: false,
        reason: None,
        detail: String::new(),
        days_seen: 0,
        days_counting: 0,
        effective_days: 0,
        days_counting_by: ByChannel::default(),
        effective_days_by: ByChannel::default(),
        counting_day_first: None,
        counting_day_last: None,
        claimed_by: claimed_by.cloned().unwrap_or_default(),
        connected_if_unclaimed: false,
    }
}

/// The first reason in the order of `ExclusionReason`, or counted.
fn decide(standing: &mut DeviceStanding, parameters: &Parameters, place_matters: bool, normal: bool) {
    let outside = outside(parameters, place_matters, standing.province.as_deref());
    let enough = standing.effective_days >= parameters.device_effective_days_min;
    standing.connected_if_unclaimed = !outside && enough;
    let other = if outside {
        Some(ExclusionReason::Location)
    } else if standing.days_seen == 0 {
        Some(ExclusionReason::NotSeen)
    } else if !normal {
        Some(ExclusionReason::Quality)
    } else if standing.days_counting == 0 {
        Some(ExclusionReason::Late)
    } else if !enough {
        Some(ExclusionReason::EffectiveDays)
    } else {
        None
    };
    standing.reason = if standing.claimed_by.is_empty() { other } else { Some(ExclusionReason::ClaimedElsewhere) };
    standing.counted = standing.reason.is_none();
    standing.detail = detail(standing, parameters);
}

fn detail(standing: &DeviceStanding, parameters: &Parameters) -> String {
    let (effective, required, seen) = (standing.effective_days, parameters.device_effective_days_min, standing.days_seen);
    match standing.reason {
        None => format!("有效 {effective} 天，不少于要求的 {required} 天"),
        Some(ExclusionReason::ClaimedElsewhere) => format!("服务券 {} 也申报了这台设备", standing.claimed_by.join("、")),
        Some(ExclusionReason::Location) => match &standing.province {
            Some(province) => format!("登记的所在省代码为 {province}，要求为 {}", parameters.province_code),
            None => format!("没有登记所在省，要求为 {}", parameters.province_code),
        },
        Some(ExclusionReason::NotSeen) => "监测窗口内没有读数".to_string(),
        Some(ExclusionReason::Quality) => format!("监测窗口内 {seen} 天有读数，但没有一条是正常质量（N）"),
        Some(ExclusionReason::Late) => format!("监测窗口内 {seen} 天有读数，但正常读数都迟于 {} 天才收到", parameters.late_days_max),
        Some(ExclusionReason::EffectiveDays) => format!(
            "有效 {effective} 天，少于要求的 {required} 天（{seen} 天有读数，{} 天有可计入的读数，每天须有 {} 个不同小时）",
            standing.days_counting, parameters.effective_day_hours_min
        ),
    }
}

fn undeclared(register: &Register, parameters: &Parameters, voucher: &Voucher, window: &Window, facts: &VoucherFacts) -> u64 {
    let cut_off_us = window.cut_off_us();
    let declared: BTreeSet<&str> = register.devices_of(&voucher.id).map(|declared| declared.device.as_str()).collect();
    let others = facts.devices.iter().filter(|(device, _)| !declared.contains(device.as_str()));
    let seen = |days: &DeviceDays| within(days, window).any(|(_, of_day)| activity(of_day, cut_off_us, parameters.late_days_max).seen);
    others.filter(|(_, days)| seen(days)).count() as u64
}

/// The days of the window, oldest first.
pub(crate) fn within<'f>(days: &'f DeviceDays, window: &Window) -> impl Iterator<Item = (&'f Day, &'f DeviceDay)> {
    days.iter().filter(|(day, _)| window.contains(**day))
}
