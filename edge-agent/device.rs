//! A device as it is configured: where it answers, its points, and what its readings say of its state and quality.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use toml::Table as TomlTable;
use wire::limits;

use crate::bus::{self, Address};
use crate::fault::{Fault, FaultCode};
use crate::identity::{IdentityPoint, read_identity, read_identity_point};
use crate::place::read_point;
use crate::point::{Point, Value};
use crate::report::{Identity, Quality, State};
use crate::requests::RequestLimits;
use crate::rule::{Rule, read_rule};
use crate::table::Reader;
use crate::template;

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub name: String,
    pub address: Address,
    pub unit_id: u8,
    pub poll: Duration,
    pub timeout: Duration,
    /// How often a request that failed is repeated at once.
    pub retries: u8,
    pub limits: RequestLimits,
    /// What the configuration says the machine is.
    pub identity: Identity,
    /// Where the machine says so itself, in registers.
    pub identity_points: Vec<IdentityPoint>,
    /// The machine is asked who it is, by function code 43/14.
    pub identify: bool,
    pub points: Vec<Point>,
    /// The first rule that holds gives the state; with rules and none that holds the device is idle.
    pub rules: Vec<(State, Rule)>,
    /// The first rule that holds gives the quality.
    pub quality_rules: Vec<(Quality, Rule)>,
}

impl Device {
    /// `None` without rules, or if a rule's reading is missing.
    pub fn state(&self, readings: &[(Arc<str>, Value)]) -> Option<State> {
        for (state, rule) in &self.rules {
            if rule.holds(readings)? {
                return Some(*state);
            }
        }
        (!self.rules.is_empty()).then_some(State::Idle)
    }

    /// Of readings that are all there: what a rule says, else T where one is out of its range, else N.
    pub fn quality(&self, readings: &[(Arc<str>, Value)]) -> Quality {
        if let Some((quality, _)) = self.quality_rules.iter().find(|(_, rule)| rule.holds(readings) == Some(true)) {
            return *quality;
        }
        let over = |point: &Point| {
            let value = readings.iter().find(|(name, _)| *name == point.name).and_then(|(_, value)| value.number());
            value.is_some_and(|value| point.min.is_some_and(|min| value < min) || point.max.is_some_and(|max| value > max))
        };
        if self.points.iter().any(over) { Quality::OverRange } else { Quality::Normal }
    }
}

const QUALITY_RULES: [(Quality, &str); 6] = [
    (Quality::Stopped, "F"),
    (Quality::Maintenance, "M"),
    (Quality::Manual, "S"),
    (Quality::Fault, "D"),
    (Quality::Calibration, "C"),
    (Quality::OverRange, "T"),
];
const STATE_RULES: [(&str, State); 3] = [("fault_when", State::Fault), ("running_when", State::Running), ("stopped_when", State::Stopped)];

/// `None` after a fault without which there is no device at all.
pub(crate) fn read(index: usize, table: TomlTable, faults: &mut Vec<Fault>) -> Option<Device> {
    let place = match table.get("name").and_then(|name| name.as_str()) {
        Some(name) => format!("device[{index}] ({name})"),
        None => format!("device[{index}]"),
    };
    let faults_before = faults.len();
    let table = template::apply(&place, table, faults);
    let template_applied = faults.len() == faults_before;
    let mut reader = Reader::new(place.clone(), table, faults);
    let name = reader.required_name("name", "登记的设备编号", "the name that the register has for this device");
    let address = bus::read_address(&mut reader);
    let unit_id_first = address.as_ref().map_or(0, Address::unit_id_first);
    let unit_id = reader.integer_or("unit_id", i64::from(unit_id_first)..=255, 1);
    let poll_ms = reader.integer_or("poll_ms", 50..=86_400_000, 10_000);
    let timeout_ms = reader.integer_or("timeout_ms", 10..=60_000, 1_000);
    let retries = reader.integer_or("retries", 0..=10, 1);
    let defaults = RequestLimits::default();
    let limits = RequestLimits {
        registers_max: reader.integer_or("registers_max", 1..=125, defaults.registers_max),
        bits_max: reader.integer_or("bits_max", 1..=2000, defaults.bits_max),
        gap_max: reader.integer_or("gap_max", 0..=1000, defaults.gap_max),
    };
    let identify = reader.boolean("identify").unwrap_or(true);
    let identity = reader.section("identity");
    let identity_tables = reader.list("identity_point");
    let rule_tables: Vec<_> = STATE_RULES.into_iter().filter_map(|(key, state)| Some((key, state, reader.section(key)?))).collect();
    let quality_tables = reader.list("quality_rule");
    let tables = reader.list("point");
    reader.finish();

    let identity = identity.map(|table| read_identity(Reader::new(format!("{place}.identity"), table, faults))).unwrap_or_default();
    let identity_points = each(&place, "identity_point", identity_tables, faults, |reader| read_identity_point(reader, &limits));
    let points: Vec<Point> = each(&place, "point", tables, faults, |reader| Some(read_point(reader)));
    if template_applied || !points.is_empty() {
        check_points(&place, &points, &limits, faults);
    }
    let rules = rule_tables
        .into_iter()
        .filter_map(|(key, state, table)| {
            let mut reader = Reader::new(format!("{place}.{key}"), table, faults);
            let rule = read_rule(&mut reader, &points);
            reader.finish();
            Some((state, rule?))
        })
        .collect();
    let quality_rules = each(&place, "quality_rule", quality_tables, faults, |mut reader| {
        let quality = reader.required_word("quality", &QUALITY_RULES);
        let rule = read_rule(&mut reader, &points);
        reader.finish();
        Some((quality?, rule?))
    });
    Some(Device {
        name,
        address: address?,
        unit_id,
        poll: Duration::from_millis(poll_ms),
        timeout: Duration::from_millis(timeout_ms),
        retries,
        limits,
        identity,
        identity_points,
        identify,
        points,
        rules,
        quality_rules,
    })
}

/// Reads the tables of a list within a device; what has a fault is left out.
fn each<T>(place: &str, key: &str, tables: Vec<TomlTable>, faults: &mut Vec<Fault>, read: impl Fn(Reader<'_>) -> Option<T>) -> Vec<T> {
    let tables = tables.into_iter().enumerate();
    tables.filter_map(|(i, table)| read(Reader::new(format!("{place}.{key}[{i}]"), table, faults))).collect()
}

fn check_points(place: &str, points: &[Point], request_limits: &RequestLimits, faults: &mut Vec<Fault>) {
    if points.is_empty() {
        faults.push(Fault::new(
            FaultCode::PointsMissing,
            place,
            "没有采集点；至少写一个 [[device.point]]，或用 template 指定模板",
            "has no points; add at least one [[device.point]], or name a template",
        ));
    }
    if points.len() > limits::READINGS_MAX {
        let (count, most) = (points.len(), limits::READINGS_MAX);
        faults.push(Fault::new(
            FaultCode::PointsTooMany,
            place,
            format!("有 {count} 个采集点，每台设备每次上报至多 {most} 个"),
            format!("has {count} points, a report carries at most {most} per device"),
        ));
    }
    let mut names = BTreeSet::new();
    for point in points {
        let name = &point.name;
        if !names.insert(name) {
            faults.push(Fault::new(
                FaultCode::PointTwice,
                place,
                format!("采集点“{name}”重复；每个点须有自己的名称"),
                format!("the point `{name}` is given twice; each point needs its own name"),
            ));
        }
        if point.value_type.quantity() > request_limits.registers_max {
            faults.push(Fault::new(
                FaultCode::KeysConflict,
                place,
                format!("采集点“{name}”的 {} 长于 registers_max", point.value_type.name()),
                format!("the point `{name}` is a {}, longer than registers_max", point.value_type.name()),
            ));
        }
    }
    check_overlaps(place, points, faults);
}

/// The same registers may be read twice, as bits or in another scale; parts of another value are a mistake in an address or type.
fn check_overlaps(place: &str, points: &[Point], faults: &mut Vec<Fault>) {
    let range = |point: &Point| u32::from(point.address)..u32::from(point.address) + u32::from(point.value_type.quantity());
    for (i, one) in points.iter().enumerate() {
        for other in &points[..i] {
            let (a, b) = (range(one), range(other));
            if one.table == other.table && a != b && a.start < b.end && b.start < a.end {
                let (name, before) = (&one.name, &other.name);
                faults.push(Fault::new(
                    FaultCode::PointsOverlap,
                    place,
                    format!("采集点“{before}”（{b:?}）与“{name}”（{a:?}）占用了对方的一部分寄存器；请核对地址和类型"),
                    format!("the points `{before}` ({b:?}) and `{name}` ({a:?}) share part of their registers; check addresses and types"),
                ));
            }
        }
    }
}

/// Two devices that read the same registers of the same unit are one machine reported twice.
pub(crate) fn check_units(devices: &[Device], faults: &mut Vec<Fault>) {
    let places = |device: &Device| device.points.iter().map(|point| (point.table, point.address)).collect::<BTreeSet<_>>();
    for (i, one) in devices.iter().enumerate() {
        for other in &devices[..i] {
            let same_unit = one.address == other.address && one.unit_id == other.unit_id;
            if same_unit && !one.points.is_empty() && places(one) == places(other) {
                let (name, before, unit_id) = (&one.name, &other.name, one.unit_id);
                faults.push(Fault::new(
                    FaultCode::UnitTwice,
                    format!("device[{i}] ({name})"),
                    format!("与设备“{before}”读的是同一单元（{}，单元号 {unit_id}）的同一批寄存器；一台机器只能上报一次", one.address),
                    format!(
                        "reads the same registers of the same unit ({}, unit id {unit_id}) as `{before}`; one machine is reported once",
                        one.address
                    ),
                ));
            }
        }
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
