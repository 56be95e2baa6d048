//! The connected devices of all enterprises at once, exactly, from the hours in short; only devices for which the very hour of the
//! cut-off decides need their facts in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::calendar::{day_of, hour_of};
use policy::rulebook::Parameters;
use policy::window::Window;
use tally::{DecodeError, Key, KeyParts, STRETCH_DAYS, day_number, decode_device_day, decode_hours, kind, numbered_day, stretch_of};

use crate::run_file::{RunError, Runs};
use crate::run_merge::SideBySide;
use crate::run_scan::Scan;
use crate::sql::{Store, StoreError};

/// Kind and stretch: what follows in a key of hours is enterprise and device.
const NAMES_AT: usize = 5;
const READ_AHEAD_BYTES: usize = 128 << 10;

impl Store {
    /// Every enterprise with connected devices, declared or not, and how many they are, as of the last checkpoint.
    pub async fn connected_devices(&self, parameters: &Parameters, window: &Window) -> Result<BTreeMap<String, u64>, StoreError> {
        let count = |counts: &mut BTreeMap<String, u64>, enterprise: &str, _device: &str| match counts.get_mut(enterprise) {
            Some(count) => *count += 1,
            None => drop(counts.insert(enterprise.to_string(), 1)),
        };
        Ok(self.each_connected(parameters, window, count).await?.into_iter().flatten().collect())
    }

    /// Gives every connected device to `visit` with its enterprise. The work is parted between threads by enterprise, each of which
    /// has a `T` of its own.
    pub async fn each_connected<T: Default + Send + 'static>(
        &self,
        parameters: &Parameters,
        window: &Window,
        visit: impl Fn(&mut T, &str, &str) + Clone + Send + Sync + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let (runs, _) = self.facts_at_checkpoint().await?;
        let rule = Arc::new(Rule::of(parameters, window));
        let parts = parts(&runs, std::thread::available_parallelism().map_or(1, usize::from))?;
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let (runs, rule, visit) = (runs.clone(), rule.clone(), visit.clone());
                tokio::task::spawn_blocking(move || count_part(&runs, &rule, &part, &visit))
            })
            .collect();
        let mut all = Vec::with_capacity(threads.len());
        for thread in threads {
            all.push(thread.await.map_err(|_| RunError::Stopped)??);
        }
        Ok(all)
    }
}

/// What makes a device connected.
struct Rule {
    late_days_max: u32,
    day_hours_min: u32,
    effective_days_min: u32,
    window: Window,
    from: i32,
    to: i32,
    /// Of a day of the window: the clock hours that lie before the cut-off whole.
    whole_hours: Vec<u32>,
    /// The clock hour in which the cut-off lies, as a bit, and its day's place in the window.
    cut: Option<(usize, u32)>,
}

impl Rule {
    fn of(parameters: &Parameters, window: &Window) -> Rule {
        let (from, to) = (day_number(window.from), day_number(window.to));
        let (cut_day, cut_hour) = (day_number(day_of(window.cut_off)), hour_of(window.cut_off));
        let whole_hours = |day: i32| match day.cmp(&cut_day) {
            std::cmp::Ordering::Less => (1 << 24) - 1,
            std::cmp::Ordering::Equal => (1 << cut_hour) - 1,
            std::cmp::Ordering::Greater => 0,
        };
        Rule {
            late_days_max: parameters.late_days_max,
            day_hours_min: parameters.effective_day_hours_min,
            effective_days_min: parameters.device_effective_days_min,
            window: *window,
            from,
            to,
            whole_hours: (from..=to).map(whole_hours).collect(),
            cut: (from..=to).contains(&cut_day).then(|| ((cut_day - from) as usize, 1 << cut_hour)),
        }
    }
}

/// What one device did in the window.
struct Gathered {
    /// By day of the window: clock hours with a reading that is not too late.
    hours: Vec<u32>,
}

/// Whether a device is connected, as far as the hours tell.
enum Connected {
    Yes,
    No,
    /// It is if it has a counting reading in the hour of the cut-off, before the cut-off.
    IfInCutHour,
}

impl Gathered {
    fn add(&mut self, rule: &Rule, stretch: i32, value: &[u8]) -> Result<(), DecodeError> {
        let first = stretch * STRETCH_DAYS - rule.from;
        for entry in decode_hours(value) {
            let entry = entry?;
            if entry.days_late > rule.late_days_max {
                continue;
            }
            let begin = first + i32::from(entry.day);
            let end = (begin + i32::from(entry.days)).min(self.hours.len() as i32);
            (begin.max(0)..end).for_each(|day| self.hours[day as usize] |= entry.hours);
        }
        Ok(())
    }

    /// Tells, and is empty again.
    fn decide(&mut self, rule: &Rule) -> Connected {
        let effective = |hours: u32| hours.count_ones() >= rule.day_hours_min;
        let days = self.hours.iter().zip(&rule.whole_hours).filter(|(hours, whole)| effective(**hours & **whole)).count();
        let missing = (rule.effective_days_min as usize).saturating_sub(days);
        let by_cut = rule.cut.is_some_and(|(day, hour)| {
            let (whole, all) = (self.hours[day] & rule.whole_hours[day], self.hours[day]);
            all & hour != 0 && !effective(whole) && effective(whole | hour)
        });
        self.hours.fill(0);
        match missing {
            0 => Connected::Yes,
            1 if by_cut => Connected::IfInCutHour,
            _ => Connected::No,
        }
    }
}

/// Enterprises between two beginnings of keys, as they follow kind and stretch.
struct Part {
    from: Vec<u8>,
    until: Vec<u8>,
}

/// About equal parts, cut where the largest run begins new index pages.
fn parts(runs: &Runs, count: usize) -> Result<Vec<Part>, RunError> {
    let largest = runs.iter().max_by_key(|run| run.bytes());
    let mut cuts = BTreeSet::new();
    for (key, _) in largest.into_iter().flat_map(|run| run.root()).filter(|(key, _)| key.first() == Some(&kind::DEVICE_HOURS)) {
        let mut parts = KeyParts(key.get(NAMES_AT..).unwrap_or_default());
        cuts.insert(Key::default().name(parts.name_bytes()?).0.clone());
    }
    let cuts: Vec<_> = cuts.into_iter().collect();
    let mut ends: Vec<Vec<u8>> = (1..count).filter_map(|part| cuts.get(cuts.len() * part / count).cloned()).collect();
    ends.dedup();
    ends.push(vec![u8::MAX; NAMES_AT]);
    let mut from = Vec::new();
    Ok(ends.into_iter().map(|until| Part { from: std::mem::replace(&mut from, until.clone()), until }).collect())
}

fn count_part<T: Default>(runs: &Runs, rule: &Rule, part: &Part, visit: &impl Fn(&mut T, &str, &str)) -> Result<T, RunError> {
    let mut counted = T::default();
    let mut scans = Vec::new();
    for run in runs.iter().filter(|run| run.has_kind(kind::DEVICE_HOURS)) {
        for stretch in stretch_of(rule.from).0..=stretch_of(rule.to).0 {
            let mut begin = Key::default();
            begin.begin(kind::DEVICE_HOURS).day(stretch);
            let bound = |names: &[u8]| [&begin.0[..], names].concat();
            scans.push(Scan::new(run, &bound(&part.from), &bound(&part.until), READ_AHEAD_BYTES)?);
        }
    }
    let mut records = SideBySide::new(scans, NAMES_AT)?;
    let mut gathered = Gathered { hours: vec![0; rule.whole_hours.len()] };
    let mut in_doubt = InDoubt::default();
    let mut names = Vec::new();
    while let Some(first) = records.least() {
        names.clear();
        names.extend_from_slice(&first.key()[NAMES_AT..]);
        while let Some(record) = records.least().filter(|record| record.key()[NAMES_AT..] == names) {
            let stretch = KeyParts(&record.key()[1..]).day()?;
            gathered.add(rule, stretch, record.value())?;
            records.step()?;
        }
        let mut parts = KeyParts(&names);
        let (enterprise, device) = (parts.name()?, parts.name()?);
        match gathered.decide(rule) {
            Connected::Yes => visit(&mut counted, enterprise, device),
            Connected::No => {}
            Connected::IfInCutHour => {
                if in_doubt.enterprise != enterprise {
                    in_doubt.settle(runs, rule, &mut counted, visit)?;
                    in_doubt.enterprise = enterprise.to_string();
                }
                in_doubt.devices.insert(device.to_string());
            }
        }
    }
    in_doubt.settle(runs, rule, &mut counted, visit)?;
    Ok(counted)
}

/// Devices of one enterprise of which only the hour of the cut-off tells.
#[derive(Default)]
struct InDoubt {
    enterprise: String,
    devices: BTreeSet<String>,
}

impl InDoubt {
    /// Reads the cut-off's day of the enterprise in full.
    fn settle<T>(&mut self, runs: &Runs, rule: &Rule, counted: &mut T, visit: &impl Fn(&mut T, &str, &str)) -> Result<(), RunError> {
        let devices = std::mem::take(&mut self.devices);
        let Some((day, _)) = rule.cut.filter(|_| !devices.is_empty()) else { return Ok(()) };
        let mut connected = BTreeSet::new();
        let mut key = Key::default();
        key.begin(kind::DEVICE_DAY).name(&self.enterprise).day(rule.from + day as i32);
        for run in runs.iter().filter(|run| run.has_kind(kind::DEVICE_DAY)) {
            let mut scan = Scan::new(run, &key.0, &key.after_all(), READ_AHEAD_BYTES)?;
            while scan.next()? {
                let mut parts = KeyParts(&scan.key()[key.0.len()..]);
                let device = parts.name()?;
                if devices.contains(device) && self.in_cut_hour(rule, scan.value())? {
                    connected.insert(device.to_string());
                }
            }
        }
        connected.iter().for_each(|device| visit(counted, &self.enterprise, device));
        Ok(())
    }

    fn in_cut_hour(&self, rule: &Rule, value: &[u8]) -> Result<bool, RunError> {
        let cut_off = rule.window.cut_off;
        let facts = decode_device_day(numbered_day(day_number(day_of(cut_off)))?, value)?;
        let of_hour = facts.hours.iter().filter(|((hour, _), _)| *hour == hour_of(cut_off));
        Ok(of_hour.into_iter().any(|(_, facts)| facts.normal.count_at(cut_off, rule.late_days_max)))
    }
}
