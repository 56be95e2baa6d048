//! The fold in its plainest form, as the measure for the real one; and stored records as that form.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use compact_str::CompactString;
use policy::calendar::{Day, Instant, day_of, hour_of};
use policy::facts::{CarrierDay, Channel, DeviceDay, Seen, UsageFacts, UsageKey, gateway_mark};
use policy::values_seen::ValuesSeen;
use wire::Report;
use wire::carrier::CarrierMessage;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality, Reading, State};

use crate::device_day::decode_device_day;
use crate::encode::{decode_carrier, decode_usage, merge_carrier_day};
use crate::fold::Origin;
use crate::hours::{STRETCH_DAYS, decode_hours};
use crate::key::{KeyParts, kind, numbered_day, read_usage_key};

type Names = (CompactString, Day, CompactString);

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// By enterprise, day, device.
    pub(crate) devices: BTreeMap<Names, DeviceDay>,
    /// By enterprise and product.
    pub(crate) usage: BTreeMap<(CompactString, CompactString), BTreeMap<UsageKey, UsageFacts>>,
    /// By enterprise, product, day, line.
    pub(crate) carrier: BTreeMap<(CompactString, CompactString, Day, CompactString), CarrierDay>,
}

impl Model {
    pub(crate) fn apply_report(&mut self, origin: &Origin, report: &Report) {
        let channel = if matches!(origin.sender, Sender::Gateway(_)) { Channel::Gateway } else { Channel::Supplier };
        for entry in &report.devices {
            let key = (origin.enterprise.clone(), day_of(entry.at), entry.device.clone());
            let day = self.devices.entry(key).or_default();
            if let Sender::Gateway(gateway) = &origin.sender {
                day.gateways.add(gateway_mark(gateway));
            }
            let hour = day.hours.entry((hour_of(entry.at), channel)).or_default();
            let sightings = if entry.quality == Quality::Normal { &mut hour.normal } else { &mut hour.other };
            sightings.add(seen(entry.at, origin.received_at));
            hour.counts.add(entry.quality as usize, 1);
            hour.values.merge(values(report, entry));
        }
        for entry in &report.usage {
            let user = entry.user.to_string();
            let key = UsageKey { day: day_of(entry.at), user, function_module: entry.function_module.to_string(), channel };
            let owner = (origin.enterprise.clone(), entry.product.clone());
            let facts = self.usage.entry(owner).or_default().entry(key).or_default();
            facts.seen.add(seen(entry.at, origin.received_at));
            facts.actions += entry.actions;
            facts.active_s += entry.active_s.unwrap_or(0);
        }
    }

    pub(crate) fn apply_carrier(&mut self, message: &CarrierMessage) {
        for record in &message.records {
            let key = (record.enterprise.clone(), record.product.clone(), record.day, record.line.clone());
            let said = CarrierDay { sessions: record.sessions, bytes: record.bytes, devices: record.devices };
            merge_carrier_day(self.carrier.entry(key).or_default(), &said);
        }
    }
}

fn values(report: &Report, entry: &DeviceEntry) -> ValuesSeen {
    let counts = entry.quality == Quality::Normal && entry.state.is_none_or(|state| state == State::Running);
    let numbers = report.readings.of(entry.readings).filter_map(|(_, reading)| match reading {
        Reading::Number(number) if counts => Some(number),
        _ => None,
    });
    ValuesSeen::of(numbers.collect::<Vec<_>>()).unwrap_or_default()
}

fn seen(occurred_at: Instant, received_at: Instant) -> Seen {
    let delay_us = (received_at - occurred_at).num_microseconds().unwrap_or(i64::MAX).max(0);
    let day_us = TimeDelta::days(1).num_microseconds().unwrap_or(i64::MAX);
    let days = delay_us / day_us + i64::from(delay_us % day_us != 0);
    Seen::new(occurred_at, u32::try_from(days).unwrap_or(u32::MAX))
}

/// By enterprise, day, device: by clock hour the least days late of quality N.
pub(crate) type Hours = BTreeMap<Names, BTreeMap<u8, u32>>;

/// The hours in short that a model's devices make.
pub(crate) fn unfolded(model: &Model) -> Hours {
    let mut hours = Hours::new();
    for (names, day) in &model.devices {
        for ((hour, _), facts) in &day.hours {
            if let Some(least) = facts.normal.as_slice().iter().map(|seen| seen.days_late).min() {
                let kept = hours.entry(names.clone()).or_default().entry(*hour).or_insert(least);
                *kept = (*kept).min(least);
            }
        }
    }
    hours
}

pub(crate) fn decoded(records: &[(Vec<u8>, Vec<u8>)]) -> (Model, Hours) {
    let (mut model, mut hours) = (Model::default(), Hours::new());
    for (key, value) in records {
        let mut parts = KeyParts(key);
        match parts.byte().unwrap() {
            kind::DEVICE_DAY => {
                let enterprise = parts.name().unwrap().into();
                let day = numbered_day(parts.day().unwrap()).unwrap();
                let device = parts.name().unwrap().into();
                model.devices.insert((enterprise, day, device), decode_device_day(day, value).unwrap());
            }
            kind::DEVICE_HOURS => {
                let stretch = parts.day().unwrap();
                let (enterprise, device) = (parts.name().unwrap(), parts.name().unwrap());
                for entry in decode_hours(value).map(Result::unwrap) {
                    for day in entry.day..entry.day + entry.days {
                        let day = numbered_day(stretch * STRETCH_DAYS + i32::from(day)).unwrap();
                        let of_day = hours.entry((enterprise.into(), day, device.into())).or_default();
                        of_day.extend((0..24).filter(|hour| entry.hours & 1 << hour != 0).map(|hour| (hour, entry.days_late)));
                    }
                }
            }
            kind::USAGE_DAY => {
                let owner = (parts.name().unwrap().into(), parts.name().unwrap().into());
                model.usage.entry(owner).or_default().insert(read_usage_key(&mut parts).unwrap(), decode_usage(value).unwrap());
            }
            kind::CARRIER_DAY => {
                let (enterprise, product) = (parts.name().unwrap().into(), parts.name().unwrap().into());
                let day = numbered_day(parts.day().unwrap()).unwrap();
                let line = parts.name().unwrap().into();
                model.carrier.insert((enterprise, product, day, line), decode_carrier(value).unwrap());
            }
            other => panic!("records of kind {other}"),
        }
    }
    (model, hours)
}
