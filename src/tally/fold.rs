//! The fold: an accepted message changes the facts of its devices, users and lines.

use compact_str::CompactString;
use hashbrown::HashMap;
use policy::calendar::{Day, Instant, day_of};
use policy::facts::{CarrierDay, Channel, ClockDay, UsageFacts};
use policy::values_seen::ValuesSeen;
use wire::Report;
use wire::carrier::CarrierMessage;
use wire::identity::Sender;
use wire::report::{DeviceEntry, Quality, Reading, State};

use crate::block_days::{BlockDays, BlockRange};
use crate::claims::SequenceKey;
use crate::clock::{ClockKey, Clocks, apply_clock, merge_clocks};
use crate::devices::DeviceDelta;
use crate::dropped::{Dropped, apply_dropped, merge_dropped};
use crate::encode::{merge_carrier_day, merge_usage};
use crate::key::{Key, UsageNames, day_number, kind, usage_key};
use crate::ranges::Ranges;
use crate::slot::{Pair, Sighting, days_late, hour_and_us, seen};

/// Where an accepted message came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub sender: Sender,
    /// The enterprise it speaks of (a gateway's own).
    pub enterprise: CompactString,
    pub received_at: Instant,
}

/// Facts, or what a stretch of the log adds to them. Usage and carrier records stand under their keys as they are stored.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub(crate) devices: DeviceDelta,
    pub(crate) usage: HashMap<Vec<u8>, UsageFacts>,
    pub(crate) carrier: HashMap<Vec<u8>, CarrierDay>,
    /// Clocks and dropped numbers are few, and stand beside the records.
    pub clocks: Clocks,
    pub dropped: Dropped,
    /// Where the messages stand in the log.
    pub blocks: BlockDays,
    /// The bytes of the keys of usage and carrier records.
    key_bytes: usize,
}

impl Facts {
    pub fn apply_report(&mut self, origin: &Origin, report: &Report) {
        let channel = match origin.sender {
            Sender::Gateway(_) => Channel::Gateway,
            Sender::Supplier(_) | Sender::Carrier(_) | Sender::Operator(_) => Channel::Supplier,
        };
        if !report.devices.is_empty() {
            let gateway = if let Sender::Gateway(gateway) = &origin.sender { Some(gateway.as_str()) } else { None };
            let owner = self.devices.owner(&origin.enterprise, gateway);
            for entry in &report.devices {
                let (hour, us) = hour_and_us(entry.at);
                let seen = Pair { us, days_late: days_late(entry.at, origin.received_at) };
                let values = values_of(report, entry);
                self.devices.add(owner, &entry.device, Sighting { hour, seen, quality: entry.quality, values });
            }
        }
        let mut key = Key::default();
        for entry in &report.usage {
            let names =
                UsageNames { day: day_number(day_of(entry.at)), user: &entry.user, function_module: &entry.function_module, channel };
            usage_key(&mut key, &origin.enterprise, &entry.product, &names);
            let facts = kept(&mut self.usage, &key.0, &mut self.key_bytes);
            facts.seen.add(seen(entry.at, origin.received_at));
            facts.actions = facts.actions.saturating_add(entry.actions);
            facts.active_s = facts.active_s.saturating_add(entry.active_s.unwrap_or(0));
        }
        apply_clock(&mut self.clocks, origin, report);
        apply_dropped(&mut self.dropped, origin, report);
    }

    pub fn apply_carrier(&mut self, message: &CarrierMessage) {
        let mut key = Key::default();
        for record in &message.records {
            key.begin(kind::CARRIER_DAY).name(&record.enterprise).name(&record.product).day(day_number(record.day)).name(&record.line);
            let said = CarrierDay { sessions: record.sessions, bytes: record.bytes, devices: record.devices };
            merge_carrier_day(kept(&mut self.carrier, &key.0, &mut self.key_bytes), &said);
        }
    }

    /// A message that was received then stands in this block.
    pub fn note_block(&mut self, received_at: Instant, block: u64) {
        self.blocks.note(received_at.timestamp_micros(), block);
    }

    /// Takes in another stretch of the log.
    pub fn merge(&mut self, other: Facts) {
        self.devices.merge(&other.devices);
        for (key, usage) in other.usage {
            merge_usage(kept(&mut self.usage, &key, &mut self.key_bytes), &usage);
        }
        for (key, day) in other.carrier {
            merge_carrier_day(kept(&mut self.carrier, &key, &mut self.key_bytes), &day);
        }
        merge_clocks(&mut self.clocks, &other.clocks);
        merge_dropped(&mut self.dropped, &other.dropped);
        self.blocks.merge(&other.blocks);
    }

    /// Gives everything away; what remains is empty, with room for as much again.
    pub fn hand_over(&mut self) -> Facts {
        let next = Facts { devices: self.devices.next(), ..Facts::default() };
        std::mem::replace(self, next)
    }

    pub fn is_empty(&self) -> bool {
        !self.has_records() && self.clocks.is_empty() && self.dropped.is_empty() && self.blocks.is_empty()
    }

    /// Whether `records` gives any.
    pub fn has_records(&self) -> bool {
        self.record_count() > 0
    }

    /// About how many records `records` gives.
    fn record_count(&self) -> usize {
        self.devices.slot_count() + self.usage.len() + self.carrier.len()
    }

    /// About how much memory they take.
    pub fn memory_bytes(&self) -> usize {
        let entry = size_of::<(Vec<u8>, UsageFacts)>() + 1;
        // A usage fact mostly has one pair, in a list with room for four.
        self.devices.memory_bytes()
            + self.usage.capacity() * entry
            + self.usage.len() * 64
            + self.carrier.capacity() * entry
            + self.key_bytes
            + self.clocks.capacity() * size_of::<(ClockKey, ClockDay)>()
            + self.blocks.len() * size_of::<(Day, BlockRange)>()
            + self.dropped.values().map(|ranges| size_of::<(SequenceKey, Ranges)>() + size_of_val(ranges.as_slice())).sum::<usize>()
    }
}

/// What an entry's values tell. Machines that say they stand still may well say the same again and again.
fn values_of(report: &Report, entry: &DeviceEntry) -> ValuesSeen {
    if entry.quality != Quality::Normal || !matches!(entry.state, None | Some(State::Running)) {
        return ValuesSeen::default();
    }
    let numbers = report.readings.values(entry.readings).iter().filter_map(|reading| match reading {
        Reading::Number(number) => Some(*number),
        Reading::Flag(_) => None,
    });
    ValuesSeen::of(numbers).unwrap_or_default()
}

/// The facts under a key, begun if there are none.
fn kept<'m, T: Default>(map: &'m mut HashMap<Vec<u8>, T>, key: &[u8], key_bytes: &mut usize) -> &'m mut T {
    map.entry_ref(key).or_insert_with(|| {
        *key_bytes += key.len();
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold_model::{Model, decoded, unfolded};
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;
    use wire::carrier::CarrierRecord;
    use wire::report::{DeviceEntry, Quality, Readings, ReadingsOf, UsageEntry};

    const NOW_S: i64 = 1_572_940_800;

    #[derive(Clone, Debug)]
    enum Message {
        Report(Origin, Box<Report>),
        Carrier(CarrierMessage),
    }

    fn at(ago_us: i64) -> Instant {
        DateTime::from_timestamp(NOW_S, 0).unwrap() - TimeDelta::microseconds(ago_us)
    }

    /// Close together and far apart, so that hours are shared, order is lost, and lateness differs.
    fn ago_us() -> impl Strategy<Value = i64> {
        prop_oneof![0i64..120_000_000, 0i64..20_000_000_000, (0i64..9).prop_map(|days| days * 86_400_000_000), -60_000_000i64..0]
    }

    /// Gives each device its numbers, and a flag beside them; read as reports are, as nobody else makes readings.
    fn give_readings(devices: &mut [DeviceEntry], values: &[Vec<u8>]) -> Readings {
        let entry = |values: &Vec<u8>| {
            let points = values.iter().enumerate().map(|(at, value)| format!(r#""p{at}":{value}"#));
            let points = points.chain([r#""on":true"#.to_string()]).collect::<Vec<_>>().join(",");
            format!(r#"{{"device":"d","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{{{points}}}}}"#)
        };
        let entries: Vec<String> = values.iter().map(entry).collect();
        let text = format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{}]}}"#, entries.join(","));
        let context = wire::ReadContext {
            door: wire::Door::Gateway,
            received_at: at(0),
            future_skew_s_max: u32::MAX,
            admission: &wire::AdmittedBefore,
        };
        let read = wire::read_report(text.as_bytes(), &context).report.unwrap();
        devices.iter_mut().zip(&read.devices).for_each(|(device, read)| device.readings = read.readings);
        read.readings
    }

    fn report() -> impl Strategy<Value = Message> {
        let device = (0u8..5, ago_us(), 0usize..8).prop_map(|(device, ago_us, quality)| DeviceEntry {
            device: ["a", "bb", "ab", "设备", "b"][usize::from(device)].into(),
            at: at(ago_us),
            quality: if quality < 3 { Quality::Normal } else { Quality::ALL[quality] },
            state: [None, Some(State::Running), Some(State::Idle)][quality % 3],
            readings: ReadingsOf::default(),
            identity: Vec::new(),
        });
        let usage = (0u8..3, 0u8..2, ago_us(), 1u64..9, prop::option::of(0u64..9)).prop_map(|(user, module, ago_us, actions, active_s)| {
            UsageEntry {
                product: "P".into(),
                function_module: format!("m{module}").into(),
                user: format!("u{user}").into(),
                at: at(ago_us),
                actions,
                active_s,
            }
        });
        let sender = prop_oneof![(0u8..3).prop_map(|n| Sender::Gateway(format!("g{n}").into())), Just(Sender::Supplier("s".into()))];
        let values = prop::collection::vec(prop::collection::vec(0u8..3, 0..3), 8);
        let lists = (prop::collection::vec(device, 0..8), values, prop::collection::vec(usage, 0..4));
        (sender, 0u8..3, 0i64..200_000_000_000, lists).prop_map(|(sender, enterprise, ago_us, (mut devices, values, usage))| {
            let origin = Origin { sender, enterprise: ["e", "f", "ee"][usize::from(enterprise)].into(), received_at: at(ago_us) };
            let readings = give_readings(&mut devices, &values);
            Message::Report(origin, Box::new(Report { devices, readings, usage, ..Report::default() }))
        })
    }

    fn carrier() -> impl Strategy<Value = Message> {
        let record = (0u8..2, 0u64..9, prop::option::of(0u64..9)).prop_map(|(line, sessions, devices)| CarrierRecord {
            enterprise: "e".into(),
            line: format!("l{line}").into(),
            product: "P".into(),
            day: day_of(at(0)),
            sessions,
            bytes: sessions * 1000,
            devices,
        });
        prop::collection::vec(record, 1..4).prop_map(|records| Message::Carrier(CarrierMessage { id: "c".into(), records }))
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        prop::collection::vec(prop_oneof![8 => report(), 1 => carrier()], 0..40)
    }

    fn apply(facts: &mut Facts, message: &Message) {
        match message {
            Message::Report(origin, report) => facts.apply_report(origin, report),
            Message::Carrier(message) => facts.apply_carrier(message),
        }
    }

    fn records(facts: &Facts) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut list = Vec::new();
        let put = &mut |key: &[u8], value: &[u8]| {
            list.push((key.to_vec(), value.to_vec()));
            Ok::<_, std::convert::Infallible>(())
        };
        facts.records(put).unwrap();
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn facts_are_those_of_the_plain_model_whatever_the_messages(list in messages()) {
            let (mut facts, mut model) = (Facts::default(), Model::default());
            for message in &list {
                apply(&mut facts, message);
                match message {
                    Message::Report(origin, report) => model.apply_report(origin, report),
                    Message::Carrier(message) => model.apply_carrier(message),
                }
            }
            let records = records(&facts);
            prop_assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of their keys");
            prop_assert!(records.len() <= facts.record_count() * 2);
            let (decoded, hours) = decoded(&records);
            prop_assert_eq!(&decoded, &model);
            prop_assert_eq!(hours, unfolded(&model));
        }

        #[test]
        fn facts_do_not_depend_on_order_or_on_how_the_log_is_cut(list in messages(), cut in 0usize..40) {
            let (mut forward, mut first, mut second) = (Facts::default(), Facts::default(), Facts::default());
            list.iter().for_each(|message| apply(&mut forward, message));
            let cut = cut.min(list.len());
            list[cut..].iter().rev().for_each(|message| apply(&mut first, message));
            list[..cut].iter().rev().for_each(|message| apply(&mut second, message));
            let handed_over = first.hand_over();
            prop_assert!(first.is_empty());
            first.merge(second);
            first.merge(handed_over);
            prop_assert_eq!(records(&forward), records(&first));
        }
    }

    #[test]
    fn more_readings_than_a_slot_can_count_are_counted() {
        let entry = DeviceEntry {
            device: "d".into(),
            at: at(0),
            quality: Quality::Normal,
            state: None,
            readings: ReadingsOf::default(),
            identity: Vec::new(),
        };
        let report = Report { devices: vec![entry; 1000], ..Report::default() };
        let origin = Origin { sender: Sender::Gateway("g".into()), enterprise: "e".into(), received_at: at(0) };
        let mut facts = Facts::default();
        (0..140).for_each(|_| facts.apply_report(&origin, &report));
        let (model, _) = decoded(&records(&facts));
        let day = model.devices.values().next().unwrap();
        assert_eq!(day.hours.values().next().unwrap().counts.get(0), 140_000);
        assert!(facts.record_count() < 5);
    }
}
