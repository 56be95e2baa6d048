//! Connected devices (R37) of all enterprises at once, exactly, from the hours in short; only devices for which the very hour of the
//! cut-off decides need their facts in full.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::calendar::{day_of, hour_of};
use policy::rulebook::Parameters;
use policy::window::Window;
use tally::{DecodeError, Key, KeyParts, STRETCH_DAYS, day_number, decode_device_day, decode_hours, kind, numbered_day, stretch_of};

use crate::run_file::{RunError, Runs};
use crate::run_scan::Scan;
use crate::sql::{Store, StoreError};

/// Kind and stretch: what follows in a key of hours is enterprise and device.
const NAMES_AT: usize = 5;
const READ_AHEAD_BYTES: usize = 128 << 10;

/// By enterprise and device: the places of those who count it once it is connected.
pub type Countable = HashMap<String, HashMap<String, Vec<usize>>>;

impl Store {
    /// How many connected devices each of `places` counts, as of the last checkpoint. The work is parted between threads by enterprise.
    pub async fn count_connected(
        &self,
        parameters: &Parameters,
        window: &Window,
        countable: Countable,
        places: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let runs = self.facts_at_checkpoint(&[]).await?.runs;
        let (rule, countable) = (Arc::new(Rule::of(parameters, window)), Arc::new(countable));
        let parts = parts(&runs, std::thread::available_parallelism().map_or(1, usize::from))?;
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let (runs, rule, countable) = (runs.clone(), rule.clone(), countable.clone());
                tokio::task::spawn_blocking(move || count_part(&runs, &rule, &part, &countable))
            })
            .collect();
        let mut counts = vec![0; places];
        for thread in threads {
            let counted = thread.await.map_err(|_| RunError::Stopped)??;
            counted.into_iter().for_each(|place| counts[place] += 1);
        }
        Ok(counts)
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

/// Whether a device is connected, as far as the hours tell.
enum Connected {
    Yes,
    No,
    /// It is if it has a counting reading in the hour of the cut-off, before the cut-off.
    IfInCutHour,
}

impl Rule {
    /// By what a device did: by day of the window, clock hours with a reading that is not too late.
    fn decide(&self, hours: &[u32]) -> Connected {
        let effective = |hours: u32| hours.count_ones() >= self.day_hours_min;
        let days = hours.iter().zip(&self.whole_hours).filter(|(hours, whole)| effective(**hours & **whole)).count();
        let by_cut = self.cut.is_some_and(|(day, hour)| {
            let (whole, all) = (hours[day] & self.whole_hours[day], hours[day]);
            all & hour != 0 && !effective(whole) && effective(whole | hour)
        });
        match (self.effective_days_min as usize).saturating_sub(days) {
            0 => Connected::Yes,
            1 if by_cut => Connected::IfInCutHour,
            _ => Connected::No,
        }
    }

    /// Adds what a record of hours says to the days of the window.
    fn gather(&self, hours: &mut [u32], stretch: i32, value: &[u8]) -> Result<(), DecodeError> {
        let first = stretch * STRETCH_DAYS - self.from;
        for entry in decode_hours(value) {
            let entry = entry?;
            if entry.days_late > self.late_days_max {
                continue;
            }
            let begin = first + i32::from(entry.day);
            let end = (begin + i32::from(entry.days)).min(hours.len() as i32);
            (begin.max(0)..end).for_each(|day| hours[day as usize] |= entry.hours);
        }
        Ok(())
    }
}

/// The devices of one enterprise and what they did. Every run names them in the same order, so that each is mostly found where the
/// run has come to.
#[derive(Default)]
struct Devices {
    days: usize,
    /// As they stand in keys, one after the other, and where each ends.
    names: Vec<u8>,
    ends: Vec<usize>,
    /// By device, by day.
    hours: Vec<u32>,
    /// Those that only a later run has, and not behind all others.
    belated: BTreeMap<Vec<u8>, Vec<u32>>,
}

impl Devices {
    fn name(&self, at: usize) -> &[u8] {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.names[begin..self.ends[at]]
    }

    /// The hours of a device; `at` is where the run has come to.
    fn hours_of(&mut self, at: &mut usize, name: &[u8]) -> &mut [u32] {
        while *at < self.ends.len() && self.name(*at) < name {
            *at += 1;
        }
        if *at == self.ends.len() {
            self.names.extend_from_slice(name);
            self.ends.push(self.names.len());
            self.hours.resize(self.hours.len() + self.days, 0);
        } else if self.name(*at) != name {
            let days = self.days;
            return self.belated.entry(name.to_vec()).or_insert_with(|| vec![0; days]);
        }
        &mut self.hours[*at * self.days..][..self.days]
    }

    fn each(&self) -> impl Iterator<Item = (&[u8], &[u32])> {
        let in_order = (0..self.ends.len()).map(|at| (self.name(at), &self.hours[at * self.days..][..self.days]));
        in_order.chain(self.belated.iter().map(|(name, hours)| (name.as_slice(), hours.as_slice())))
    }

    fn clear(&mut self) {
        self.names.clear();
        self.ends.clear();
        self.hours.clear();
        self.belated.clear();
    }
}

/// One run's records of one stretch; it stands on one that was not taken in.
struct Source {
    scan: Scan,
    stretch: i32,
}

impl Source {
    /// The enterprise, as it stands in keys.
    fn enterprise(&self) -> Result<&[u8], DecodeError> {
        let names = self.scan.key().get(NAMES_AT..).unwrap_or_default();
        let mut parts = KeyParts(names);
        parts.name_bytes()?;
        Ok(&names[..names.len() - parts.0.len()])
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

/// A place for every connected device that it counts.
fn count_part(runs: &Runs, rule: &Rule, part: &Part, countable: &Countable) -> Result<Vec<usize>, RunError> {
    let mut counted = Vec::new();
    let mut sources = sources(runs, rule, part)?;
    let mut devices = Devices { days: rule.whole_hours.len(), ..Devices::default() };
    let mut enterprise = Vec::new();
    loop {
        enterprise.clear();
        for source in &sources {
            let other = source.enterprise()?;
            if enterprise.is_empty() || other < enterprise.as_slice() {
                enterprise.clear();
                enterprise.extend_from_slice(other);
            }
        }
        if enterprise.is_empty() {
            return Ok(counted);
        }
        let mut ended = Vec::new();
        for (number, source) in sources.iter_mut().enumerate() {
            let mut at = 0;
            while let Some(device) = source.scan.key()[NAMES_AT..].strip_prefix(enterprise.as_slice()) {
                rule.gather(devices.hours_of(&mut at, device), source.stretch, source.scan.value())?;
                if !source.scan.next()? {
                    ended.push(number);
                    break;
                }
            }
        }
        ended.into_iter().rev().for_each(|number| drop(sources.remove(number)));
        let name = KeyParts(&enterprise).name()?;
        if let Some(countable) = countable.get(name) {
            count_enterprise(runs, rule, name, &devices, &mut counted, countable)?;
        }
        devices.clear();
    }
}

/// What each run has of the window, the largest run first: it names most devices.
fn sources(runs: &Runs, rule: &Rule, part: &Part) -> Result<Vec<Source>, RunError> {
    let mut runs: Vec<_> = runs.iter().filter(|run| run.has_kind(kind::DEVICE_HOURS)).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.bytes()));
    let mut sources = Vec::new();
    for run in runs {
        for stretch in stretch_of(rule.from).0..=stretch_of(rule.to).0 {
            let mut begin = Key::default();
            begin.begin(kind::DEVICE_HOURS).day(stretch);
            let bound = |names: &[u8]| [&begin.0[..], names].concat();
            let mut scan = Scan::new(run, &bound(&part.from), &bound(&part.until), READ_AHEAD_BYTES)?;
            if scan.next()? {
                sources.push(Source { scan, stretch });
            }
        }
    }
    Ok(sources)
}

fn count_enterprise(
    runs: &Runs,
    rule: &Rule,
    enterprise: &str,
    devices: &Devices,
    counted: &mut Vec<usize>,
    countable: &HashMap<String, Vec<usize>>,
) -> Result<(), RunError> {
    let mut count = |device: &str| counted.extend(countable.get(device).into_iter().flatten());
    let mut in_doubt = BTreeSet::new();
    for (name, hours) in devices.each() {
        match rule.decide(hours) {
            Connected::Yes => count(KeyParts(name).name()?),
            Connected::IfInCutHour => drop(in_doubt.insert(KeyParts(name).name()?)),
            Connected::No => {}
        }
    }
    if let Some((day, _)) = rule.cut.filter(|_| !in_doubt.is_empty()) {
        let counting = counting_in_cut_hour(runs, rule, enterprise, rule.from + day as i32, &in_doubt)?;
        counting.iter().for_each(|device| count(device));
    }
    Ok(())
}

/// Which of these devices of an enterprise have a counting reading in the hour of the cut-off: its day is read in full.
fn counting_in_cut_hour(
    runs: &Runs,
    rule: &Rule,
    enterprise: &str,
    day: i32,
    devices: &BTreeSet<&str>,
) -> Result<BTreeSet<String>, RunError> {
    let mut counting = BTreeSet::new();
    let mut key = Key::default();
    key.begin(kind::DEVICE_DAY).name(enterprise).day(day);
    let (cut_off_us, cut_off_hour, day) = (rule.window.cut_off_us(), hour_of(rule.window.cut_off), numbered_day(day)?);
    for run in runs.iter().filter(|run| run.has_kind(kind::DEVICE_DAY)) {
        let mut scan = Scan::new(run, &key.0, &key.after_all(), READ_AHEAD_BYTES)?;
        while scan.next()? {
            let device = KeyParts(&scan.key()[key.0.len()..]).name()?;
            if devices.contains(device) && !counting.contains(device) {
                let facts = decode_device_day(day, scan.value())?;
                let mut of_hour = facts.hours.iter().filter(|((hour, _), _)| *hour == cut_off_hour);
                if of_hour.any(|(_, facts)| facts.normal.count_at(cut_off_us, rule.late_days_max)) {
                    counting.insert(device.to_string());
                }
            }
        }
    }
    Ok(counting)
}
