//! A stretch's facts as records: key and value as bytes, in the order of the keys.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use policy::facts::{GatewayMarks, HourFacts, Seen};

use crate::device_day::{GATEWAYS, hour_code, put_gateways, put_hour, put_plain};
use crate::devices::{DeviceDelta, SlotAt};
use crate::encode::{encode_carrier, encode_usage};
use crate::fold::Facts;
use crate::hours::{HoursGathered, HoursOfDays, stretch_of};
use crate::key::{Key, kind};
use crate::slot::{Pair, Slot};

/// Takes records, in the order of their keys.
pub type PutRecord<'p, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'p;

impl Facts {
    /// Gives every record to `put`, in the order of the keys; equal facts give equal records, in whatever order they came together.
    pub fn records<E>(&self, put: &mut PutRecord<'_, E>) -> Result<(), E> {
        for (key, day) in sorted(self.carrier.iter()) {
            put(key, &encode_carrier(day))?;
        }
        DeviceRecords::of(&self.devices).write(put)?;
        for (key, usage) in sorted(self.usage.iter()) {
            put(key, &encode_usage(usage))?;
        }
        Ok(())
    }
}

fn sorted<'a, T>(map: impl Iterator<Item = (&'a Vec<u8>, &'a T)>) -> Vec<(&'a [u8], &'a T)> {
    let mut list: Vec<_> = map.map(|(key, value)| (key.as_slice(), value)).collect();
    list.sort_unstable_by_key(|(key, _)| *key);
    list
}

/// One slot, where it will be written.
#[derive(Clone, Copy)]
struct Entry {
    /// Of the enterprise, by its key.
    rank: u32,
    day: i32,
    device: u32,
    slot: SlotAt,
    /// Clock hour and channel.
    code: u8,
}

struct DeviceRecords<'a> {
    delta: &'a DeviceDelta,
    /// Enterprises in the order of their keys.
    enterprises: Vec<&'a str>,
    /// By enterprise, day, device, channel and hour.
    entries: Vec<Entry>,
}

impl<'a> DeviceRecords<'a> {
    fn of(delta: &'a DeviceDelta) -> DeviceRecords<'a> {
        let mut enterprises: Vec<&str> = delta.owners().iter().map(|owner| owner.enterprise.as_str()).collect();
        enterprises.sort_unstable_by(|a, b| name_order(a.as_bytes(), b.as_bytes()));
        enterprises.dedup();
        let rank = |name: &str| enterprises.partition_point(|other| name_order(other.as_bytes(), name.as_bytes()).is_lt()) as u32;
        let places: Vec<_> = delta.owners().iter().map(|owner| (rank(&owner.enterprise), hour_code(0, owner.channel()))).collect();
        let mut entries = Vec::with_capacity(delta.slot_count());
        for device in 0..delta.len() {
            let (rank, channel_code) = places[delta.device_owner(device) as usize];
            for (slot, Slot { hour, .. }) in delta.slots(device) {
                let code = channel_code | hour.rem_euclid(24) as u8;
                entries.push(Entry { rank, day: hour.div_euclid(24), device: device as u32, slot, code });
            }
        }
        // Devices mostly came in the order of their names, and a stable sort makes use of that.
        entries.sort_by(|a: &Entry, b: &Entry| {
            let place = (a.rank, a.day).cmp(&(b.rank, b.day));
            place.then_with(|| device_order(delta, a, b)).then_with(|| a.code.cmp(&b.code))
        });
        DeviceRecords { delta, enterprises, entries }
    }

    fn write<E>(&self, put: &mut PutRecord<'_, E>) -> Result<(), E> {
        let (mut key, mut value) = (Key::default(), Vec::new());
        for of_device in self.entries.chunk_by(|a, b| (a.rank, a.day) == (b.rank, b.day) && self.same_device(a, b)) {
            let Entry { rank, day, device, .. } = of_device[0];
            key.begin(kind::DEVICE_DAY).name(self.enterprises[rank as usize]).day(day).name(self.delta.name(device as usize));
            value.clear();
            let gateways = self.gateways(of_device);
            let hours = of_device.chunk_by(|a, b| a.code == b.code);
            // The gateways stand after their channel's hours.
            let mut owed = !gateways.as_slice().is_empty();
            for slots in hours {
                if owed && slots[0].code > GATEWAYS {
                    put_gateways(&mut value, &gateways);
                    owed = false;
                }
                self.write_hour(slots, &mut value);
            }
            if owed {
                put_gateways(&mut value, &gateways);
            }
            put(&key.0, &value)?;
        }
        let stretches: BTreeSet<i32> = self.entries.iter().map(|entry| stretch_of(entry.day).0).collect();
        stretches.into_iter().try_for_each(|stretch| self.write_hours_of_days(stretch, put))
    }

    fn gateways(&self, of_device: &[Entry]) -> GatewayMarks {
        let mut marks = GatewayMarks::default();
        for entry in of_device {
            let owner = &self.delta.owners()[self.delta.device_owner(entry.device as usize) as usize];
            if owner.gateway.is_some() {
                marks.add(owner.mark);
            }
        }
        marks
    }

    fn write_hour(&self, slots: &[Entry], out: &mut Vec<u8>) {
        if let [entry] = slots
            && let slot = self.slot(entry)
            && let (Some(first @ Pair { days_late: 0..=1, .. }), None) = (slot.normal.get(), slot.other.get())
        {
            return put_plain(out, entry.code, first, u64::from(slot.counts[0]), slot.values);
        }
        let mut facts = HourFacts::default();
        for slot in slots.iter().map(|entry| self.slot(entry)) {
            slot.normal.get().into_iter().for_each(|pair| facts.normal.add(seen_within(pair)));
            slot.other.get().into_iter().for_each(|pair| facts.other.add(seen_within(pair)));
            facts.values.merge(slot.values);
            slot.counts.iter().enumerate().for_each(|(quality, more)| facts.counts.add(quality, u64::from(*more)));
        }
        put_hour(out, slots[0].code, 0, &facts);
    }

    fn write_hours_of_days<E>(&self, stretch: i32, put: &mut PutRecord<'_, E>) -> Result<(), E> {
        let (mut key, mut value, mut gathered) = (Key::default(), Vec::new(), HoursGathered::default());
        for of_enterprise in self.entries.chunk_by(|a, b| a.rank == b.rank) {
            let within = |entry: &&Entry| stretch_of(entry.day).0 == stretch && self.slot(entry).normal.get().is_some();
            let mut counting: Vec<Entry> = of_enterprise.iter().filter(within).copied().collect();
            counting.sort_by(|a, b| device_order(self.delta, a, b));
            for of_device in counting.chunk_by(|a, b| self.same_device(a, b)) {
                let Entry { rank, device, .. } = of_device[0];
                key.begin(kind::DEVICE_HOURS).day(stretch).name(self.enterprises[rank as usize]).name(self.delta.name(device as usize));
                gathered.clear();
                for entry in of_device {
                    let days_late = self.slot(entry).normal.days_late;
                    gathered.add(HoursOfDays { day: stretch_of(entry.day).1, days: 1, days_late, hours: 1 << (entry.code & 31) });
                }
                value.clear();
                gathered.write(&mut value);
                put(&key.0, &value)?;
            }
        }
        Ok(())
    }

    fn slot(&self, entry: &Entry) -> &Slot {
        self.delta.slot(entry.device as usize, entry.slot)
    }

    fn same_device(&self, a: &Entry, b: &Entry) -> bool {
        device_order(self.delta, a, b).is_eq()
    }
}

/// As in keys.
fn name_order(a: &[u8], b: &[u8]) -> Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

fn device_order(delta: &DeviceDelta, a: &Entry, b: &Entry) -> Ordering {
    if a.device == b.device { Ordering::Equal } else { name_order(delta.name(a.device as usize), delta.name(b.device as usize)) }
}

/// Only the place within the hour is written, so that any hour will do.
fn seen_within(pair: Pair) -> Seen {
    let Pair { us, days_late } = pair;
    Seen { occurred_us: i64::from(us), days_late }
}
