//! The fast way to read `devices`.

use std::borrow::Cow;

use compact_str::CompactString;

use crate::fields::{FieldSet, fields};
use crate::limits::{ENTRIES_MAX, READINGS_MAX};
use crate::pattern::{Mark, Pattern};
use crate::read::name_valid;
use crate::read_fast::{Instants, free_text, name};
use crate::readings::{Reading, Readings, ReadingsOf};
use crate::report::{DeviceEntry, Instant, Quality, State};
use crate::scan::Scanner;

fields! { DeviceField { Device "device", At "at", Quality "quality", State "state", Readings "readings", Identity "identity", } }
fields! { IdentityField { Model "model", Serial "serial", Vendor "vendor", } }

pub(crate) struct DeviceReader<'a, 'i> {
    instants: &'i mut Instants<'a>,
    readings: Readings,
    pattern: Pattern<'a, DeviceField>,
    varying: FieldSet<DeviceField>,
    /// The values of the entry being read, each reading by itself.
    marks: Vec<Mark<DeviceField>>,
    /// Its readings.
    named: Vec<(Cow<'a, str>, Reading)>,
}

impl<'a, 'i> DeviceReader<'a, 'i> {
    pub(crate) fn new(instants: &'i mut Instants<'a>) -> Self {
        let varying = FieldSet::of(&[DeviceField::Device, DeviceField::Readings]);
        let (marks, named) = (Vec::with_capacity(16), Vec::with_capacity(8));
        DeviceReader { instants, readings: Readings::default(), pattern: Pattern::new(), varying, marks, named }
    }

    pub(crate) fn into_readings(self) -> Readings {
        self.readings
    }

    /// Adds the next device.
    pub(crate) fn device(&mut self, scanner: &mut Scanner<'a>, list: &mut Vec<DeviceEntry>) -> Option<()> {
        let (start, readings, devices) = (scanner.at(), self.readings.len(), list.len());
        if self.fitting(scanner, list).is_some() {
            return Some(());
        }
        scanner.back_to(start);
        self.readings.truncate(readings);
        list.truncate(devices);
        let entry = self.any(scanner)?;
        match list.last() {
            Some(before) => self.compare(before, &entry),
            None => self.readings.reserve(scanner.room_for_like(start).min(ENTRIES_MAX)),
        }
        self.pattern.learn(scanner, start, self.marks.iter().filter(|mark| self.varying.has(mark.field)));
        list.push(entry);
        Some(())
    }

    /// A device whose text fits the pattern of the one before.
    fn fitting(&mut self, scanner: &mut Scanner<'a>, list: &mut Vec<DeviceEntry>) -> Option<()> {
        let before = list.last()?;
        let readings_before = before.readings;
        list.push(DeviceEntry { device: CompactString::default(), identity: before.identity.clone(), ..*before });
        let entry = list.last_mut()?;
        let DeviceReader { pattern, readings, instants, .. } = self;
        pattern.follow(scanner, |scanner, field| match field {
            DeviceField::Readings => reading(scanner).map(|reading| readings.add_value(reading)),
            field => take(field, entry, scanner, instants),
        })?;
        entry.readings = readings.added_like(readings_before);
        Some(())
    }

    fn any(&mut self, scanner: &mut Scanner<'a>) -> Option<DeviceEntry> {
        let mut entry = DeviceEntry {
            device: CompactString::default(),
            at: Instant::default(),
            quality: Quality::Normal,
            state: None,
            readings: ReadingsOf::default(),
            identity: Vec::new(),
        };
        self.marks.clear();
        let seen = scanner.object(|scanner, field| {
            if let DeviceField::Readings = field {
                entry.readings = self.readings_of(scanner)?;
                return Some(());
            }
            let start = scanner.at();
            take(field, &mut entry, scanner, self.instants)?;
            self.marks.push(Mark { field, start, end: scanner.at() });
            Some(())
        })?;
        seen.has_all(&[DeviceField::Device, DeviceField::At, DeviceField::Quality]).then_some(entry)
    }

    fn readings_of(&mut self, scanner: &mut Scanner<'a>) -> Option<ReadingsOf> {
        self.named.clear();
        scanner.members(|scanner, name| {
            let start = scanner.at();
            self.named.push((name, reading(scanner)?));
            self.marks.push(Mark { field: DeviceField::Readings, start, end: scanner.at() });
            (self.named.len() <= READINGS_MAX).then_some(())
        })?;
        if !self.readings.last_points_are(&self.named) {
            let mut names: Vec<&str> = self.named.iter().map(|(name, _)| &**name).collect();
            names.sort_unstable();
            let repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
            if repeated || names.iter().any(|name| name_valid(name).is_err()) {
                return None;
            }
        }
        Some(self.readings.add(&self.named))
    }

    /// What has differed once is likely to differ again.
    fn compare(&mut self, before: &DeviceEntry, entry: &DeviceEntry) {
        let differing = [
            (DeviceField::At, before.at != entry.at),
            (DeviceField::Quality, before.quality != entry.quality),
            (DeviceField::State, before.state != entry.state),
            (DeviceField::Identity, before.identity != entry.identity),
        ];
        differing.into_iter().filter(|(_, differs)| *differs).for_each(|(field, _)| self.varying.add(field));
    }
}

/// Takes a value other than readings.
#[inline]
fn take<'a>(field: DeviceField, entry: &mut DeviceEntry, scanner: &mut Scanner<'a>, instants: &mut Instants<'a>) -> Option<()> {
    match field {
        DeviceField::Device => entry.device = name(scanner)?,
        DeviceField::At => entry.at = instants.read(scanner)?,
        DeviceField::Quality => entry.quality = Quality::read(&scanner.string()?)?,
        DeviceField::State => entry.state = Some(State::read(&scanner.string()?)?),
        DeviceField::Identity => entry.identity = identity(scanner)?,
        DeviceField::Readings => return None,
    }
    Some(())
}

#[inline]
fn reading(scanner: &mut Scanner<'_>) -> Option<Reading> {
    Some(match scanner.peek()? {
        b't' | b'f' => Reading::Flag(scanner.flag()?),
        _ => Reading::Number(scanner.number()?),
    })
}

fn identity(scanner: &mut Scanner<'_>) -> Option<Vec<(CompactString, String)>> {
    let (mut model, mut serial, mut vendor) = (None, None, None);
    scanner.object(|scanner, field| {
        let text = Some(free_text(scanner)?);
        match field {
            IdentityField::Model => model = text,
            IdentityField::Serial => serial = text,
            IdentityField::Vendor => vendor = text,
        }
        Some(())
    })?;
    let named = [("model", model), ("serial", serial), ("vendor", vendor)];
    Some(named.into_iter().filter_map(|(name, text)| Some((name.into(), text?))).collect())
}
