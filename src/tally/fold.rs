//! The fold: an accepted message changes the facts of its devices, users and lines.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use compact_str::CompactString;
use policy::calendar::{Day, Instant, day_of, hour_of};
use policy::facts::{CarrierDay, Channel, DeviceDay, Seen, UsageFacts, UsageKey};
use wire::Report;
use wire::carrier::CarrierMessage;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality};

use crate::clock::{Clocks, apply_clock, merge_clocks};
use crate::dropped::{Dropped, apply_dropped, merge_dropped};
use crate::ranges::Ranges;

/// Where an accepted message came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub sender: Sender,
    /// The enterprise it speaks of (a gateway's own).
    pub enterprise: CompactString,
    pub received_at: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceDayKey {
    pub enterprise: CompactString,
    pub day: Day,
    pub device: CompactString,
}

/// Usage facts are kept by enterprise and product; below that by `UsageKey`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageOwner {
    pub enterprise: CompactString,
    pub product: CompactString,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierKey {
    pub enterprise: CompactString,
    pub product: CompactString,
    pub day: Day,
    pub line: CompactString,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceKey {
    pub gateway: CompactString,
    pub boot: CompactString,
}

/// Facts, or what a stretch of the log adds to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub devices: HashMap<DeviceDayKey, DeviceDay>,
    pub usage: HashMap<UsageOwner, BTreeMap<UsageKey, UsageFacts>>,
    pub carrier: HashMap<CarrierKey, CarrierDay>,
    /// Which numbers of which boot were accepted, and when the newest message came.
    pub sequences: HashMap<SequenceKey, (Ranges, Option<Instant>)>,
    pub clocks: Clocks,
    pub dropped: Dropped,
}

impl Facts {
    pub fn apply_report(&mut self, origin: &Origin, report: &Report) {
        let channel = match origin.sender {
            Sender::Gateway(_) => Channel::Gateway,
            Sender::Supplier(_) | Sender::Carrier(_) => Channel::Supplier,
        };
        for entry in &report.devices {
            self.apply_device(origin, channel, entry);
        }
        for entry in &report.usage {
            let owner = UsageOwner { enterprise: origin.enterprise.clone(), product: entry.product.clone() };
            let key = UsageKey {
                day: day_of(entry.at),
                user: entry.user.to_string(),
                function_module: entry.function_module.to_string(),
                channel,
            };
            let facts = self.usage.entry(owner).or_default().entry(key).or_default();
            facts.seen.add(seen(entry.at, origin.received_at));
            facts.actions += entry.actions;
            facts.active_s += entry.active_s.unwrap_or(0);
        }
        if let (Sender::Gateway(gateway), Some(boot), Some(seq)) = (&origin.sender, &report.boot, report.seq) {
            let key = SequenceKey { gateway: gateway.clone(), boot: boot.clone() };
            let (ranges, last_at) = self.sequences.entry(key).or_default();
            ranges.insert(seq, seq);
            *last_at = (*last_at).max(Some(origin.received_at));
        }
        apply_clock(&mut self.clocks, origin, report);
        apply_dropped(&mut self.dropped, origin, report);
    }

    fn apply_device(&mut self, origin: &Origin, channel: Channel, entry: &DeviceEntry) {
        let key = DeviceDayKey { enterprise: origin.enterprise.clone(), day: day_of(entry.at), device: entry.device.clone() };
        let hour = self.devices.entry(key).or_default().hours.entry((hour_of(entry.at), channel)).or_default();
        let sightings = if entry.quality == Quality::Normal { &mut hour.normal } else { &mut hour.other };
        sightings.add(seen(entry.at, origin.received_at));
        hour.counts[entry.quality as usize] += 1;
    }

    pub fn apply_carrier(&mut self, message: &CarrierMessage) {
        for record in &message.records {
            let key = CarrierKey {
                enterprise: record.enterprise.clone(),
                product: record.product.clone(),
                day: record.day,
                line: record.line.clone(),
            };
            let said = CarrierDay { sessions: record.sessions, bytes: record.bytes, devices: record.devices };
            merge_carrier_day(self.carrier.entry(key).or_default(), &said);
        }
    }

    /// Takes in another stretch of the log.
    pub fn merge(&mut self, other: Facts) {
        for (key, day) in other.devices {
            merge_device_day(self.devices.entry(key).or_default(), &day);
        }
        for (owner, usage) in other.usage {
            let kept = self.usage.entry(owner).or_default();
            for (key, facts) in usage {
                merge_usage(kept.entry(key).or_default(), &facts);
            }
        }
        for (key, day) in other.carrier {
            merge_carrier_day(self.carrier.entry(key).or_default(), &day);
        }
        for (key, (ranges, last_at)) in other.sequences {
            let kept = self.sequences.entry(key).or_default();
            kept.0.merge(&ranges);
            kept.1 = kept.1.max(last_at);
        }
        merge_clocks(&mut self.clocks, other.clocks);
        merge_dropped(&mut self.dropped, other.dropped);
    }

    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.usage.is_empty() && self.carrier.is_empty() && self.sequences.is_empty() && self.clocks.is_empty()
    }

    /// How many rows a checkpoint has to write.
    pub fn row_count(&self) -> usize {
        self.devices.len()
            + self.usage.values().map(BTreeMap::len).sum::<usize>()
            + self.carrier.len()
            + self.sequences.len()
            + self.clocks.len()
            + self.dropped.len()
    }
}

pub fn merge_device_day(kept: &mut DeviceDay, other: &DeviceDay) {
    for (key, facts) in &other.hours {
        let hour = kept.hours.entry(*key).or_default();
        hour.normal.merge(&facts.normal);
        hour.other.merge(&facts.other);
        hour.counts.iter_mut().zip(facts.counts).for_each(|(kept, more)| *kept += more);
    }
}

pub fn merge_usage(kept: &mut UsageFacts, other: &UsageFacts) {
    kept.seen.merge(&other.seen);
    kept.actions += other.actions;
    kept.active_s += other.active_s;
}

/// Several records of one line, product and day add up; of devices the largest figure stays.
pub fn merge_carrier_day(kept: &mut CarrierDay, other: &CarrierDay) {
    kept.sessions = kept.sessions.saturating_add(other.sessions);
    kept.bytes = kept.bytes.saturating_add(other.bytes);
    kept.devices = kept.devices.max(other.devices);
}

/// Started days of 24 h from occurrence to receipt: "received more than L days after it occurred" is exactly `days_late > L`.
fn seen(occurred_at: Instant, received_at: Instant) -> Seen {
    let delay_us = (received_at - occurred_at).num_microseconds().unwrap_or(i64::MAX).max(0);
    let day_us = TimeDelta::days(1).num_microseconds().unwrap_or(i64::MAX);
    let days = delay_us / day_us + i64::from(delay_us % day_us != 0);
    Seen { occurred_at, days_late: u32::try_from(days).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;
    use wire::report::ReadingsOf;

    const NOW_S: i64 = 1_572_940_800;

    fn report(seq: u64, device: &str, at_s: i64, quality: Quality) -> Report {
        Report {
            boot: Some("b".into()),
            seq: Some(seq),
            devices: vec![DeviceEntry {
                device: device.into(),
                at: DateTime::from_timestamp(at_s, 0).unwrap(),
                quality,
                state: None,
                readings: ReadingsOf::default(),
                identity: Vec::new(),
            }],
            ..Report::default()
        }
    }

    fn origin() -> Origin {
        Origin { sender: Sender::Gateway("g".into()), enterprise: "e".into(), received_at: DateTime::from_timestamp(NOW_S, 0).unwrap() }
    }

    #[test]
    fn exactly_seven_days_is_seven_days_late_and_a_microsecond_more_is_eight() {
        let received_at = DateTime::from_timestamp(NOW_S, 0).unwrap();
        assert_eq!(seen(received_at - TimeDelta::days(7), received_at).days_late, 7);
        assert_eq!(seen(received_at - TimeDelta::days(7) - TimeDelta::microseconds(1), received_at).days_late, 8);
        assert_eq!(seen(received_at + TimeDelta::seconds(60), received_at).days_late, 0);
    }

    proptest! {
        #[test]
        fn facts_do_not_depend_on_order_or_on_how_the_log_is_cut(
            list in prop::collection::vec((0u8..4, 0i64..200_000, 0usize..8), 1..60),
            cut in 0usize..60,
        ) {
            let reports: Vec<_> = list.iter().enumerate()
                .map(|(i, (device, ago_s, quality))| report(i as u64 + 1, &format!("d{device}"), NOW_S - ago_s, Quality::ALL[*quality]))
                .collect();
            let mut forward = Facts::default();
            reports.iter().for_each(|report| forward.apply_report(&origin(), report));
            let cut = cut.min(reports.len());
            let (mut first, mut second) = (Facts::default(), Facts::default());
            reports[cut..].iter().rev().for_each(|report| first.apply_report(&origin(), report));
            reports[..cut].iter().rev().for_each(|report| second.apply_report(&origin(), report));
            first.merge(second);
            prop_assert_eq!(forward, first);
        }
    }
}
