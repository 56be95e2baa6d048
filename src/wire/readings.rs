//! The readings of a report's devices, kept together: devices of one report mostly have the same points.

use std::borrow::Cow;

use compact_str::CompactString;

use crate::content::Content;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    Number(f64),
    Flag(bool),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    points: Vec<CompactString>,
    values: Vec<Reading>,
    /// Those of the device added last, among all points.
    last_points: PointsOf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PointsOf {
    from: u32,
    count: u32,
}

/// Which of a report's readings are a device's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadingsOf {
    points: PointsOf,
    values_from: u32,
}

impl Readings {
    /// In the order in which they were written.
    pub fn of(&self, place: ReadingsOf) -> impl ExactSizeIterator<Item = (&str, Reading)> {
        self.points(place.points).iter().map(CompactString::as_str).zip(self.values(place).iter().copied())
    }

    fn points(&self, place: PointsOf) -> &[CompactString] {
        &self.points[place.from as usize..][..place.count as usize]
    }

    /// Without the names of their points, in the order in which they were written.
    pub fn values(&self, place: ReadingsOf) -> &[Reading] {
        &self.values[place.values_from as usize..][..place.points.count as usize]
    }

    /// Adds a device's readings. Points that the device before has are not kept again.
    pub(crate) fn add(&mut self, readings: &[(Cow<'_, str>, Reading)]) -> ReadingsOf {
        if readings.is_empty() {
            return ReadingsOf::default();
        }
        if !self.last_points_are(readings) {
            self.last_points = PointsOf { from: self.points.len() as u32, count: readings.len() as u32 };
            self.points.extend(readings.iter().map(|(name, _)| CompactString::from(name.as_ref())));
        }
        let values_from = self.values.len() as u32;
        self.values.extend(readings.iter().map(|(_, reading)| *reading));
        ReadingsOf { points: self.last_points, values_from }
    }

    pub(crate) fn last_points_are(&self, readings: &[(Cow<'_, str>, Reading)]) -> bool {
        let points = self.points(self.last_points);
        points.len() == readings.len() && points.iter().zip(readings).all(|(point, (name, _))| point == name)
    }

    /// Adds a reading of a device that has the points of the device before.
    #[inline]
    pub(crate) fn add_value(&mut self, reading: Reading) {
        self.values.push(reading);
    }

    /// That device has them all now.
    pub(crate) fn added_like(&self, before: ReadingsOf) -> ReadingsOf {
        let values_from = self.values.len() as u32 - before.points.count;
        if before.points.count == 0 { before } else { ReadingsOf { values_from, ..before } }
    }

    /// Makes room for so many devices like the first.
    pub(crate) fn reserve(&mut self, devices: usize) {
        self.values.reserve_exact(self.values.len() * devices);
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.values.truncate(length);
    }

    /// For the digest: the same in whatever order points were written.
    pub(crate) fn canonical(&self) -> Canonical<'_> {
        Canonical { readings: self, place: PointsOf::default(), points: Vec::new() }
    }
}

/// Writes readings in the order of their points' names; the names only where they differ from those of the device before.
pub(crate) struct Canonical<'a> {
    readings: &'a Readings,
    place: PointsOf,
    /// Of the device before that had any: ascending by name, each with its place among the device's.
    points: Vec<(&'a str, usize)>,
}

impl Canonical<'_> {
    pub(crate) fn write(&mut self, place: ReadingsOf, out: &mut Content) {
        if place.points.count == 0 {
            return out.whole(0);
        }
        if self.same_points(place.points) {
            out.whole(1);
        } else {
            out.whole(u64::from(place.points.count) + 1);
            self.points.iter().for_each(|(name, _)| out.text(Some(name)));
        }
        let values = self.readings.values(place);
        for (_, at) in &self.points {
            match values[*at] {
                Reading::Flag(flag) => out.byte(flag.into()),
                Reading::Number(number) => {
                    out.byte(2);
                    out.decimal(number);
                }
            }
        }
    }

    /// Goes on to these points, and says whether the device before has them too.
    fn same_points(&mut self, place: PointsOf) -> bool {
        if std::mem::replace(&mut self.place, place) == place {
            return true;
        }
        let mut points: Vec<_> = self.readings.points(place).iter().map(CompactString::as_str).zip(0..).collect();
        points.sort_unstable();
        let before = std::mem::replace(&mut self.points, points);
        before.iter().map(|(name, _)| name).eq(self.points.iter().map(|(name, _)| name))
    }
}
