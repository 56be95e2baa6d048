//! A device as it is configured: where it answers, its points, and what its readings say of its state.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::Table as TomlTable;
use wire::limits;

use crate::broker::split_address;
use crate::point::{Point, Table, Value, ValueType, WordOrder};
use crate::report::{Identity, State};
use crate::table::Reader;

const MODBUS_PORT: u16 = 502;

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub unit_id: u8,
    pub poll: Duration,
    pub timeout: Duration,
    pub identity: Identity,
    pub points: Vec<Point>,
    /// The first rule that holds gives the state; with rules and none that holds the device is idle.
    pub rules: Vec<(State, Rule)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub point: String,
    pub test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    Above(f64),
    Below(f64),
    Is(bool),
}

impl Rule {
    fn holds(&self, readings: &[(String, Value)]) -> Option<bool> {
        let (_, value) = readings.iter().find(|(name, _)| *name == self.point)?;
        match (self.test, *value) {
            (Test::Above(limit), Value::Number(number)) => Some(number > limit),
            (Test::Below(limit), Value::Number(number)) => Some(number < limit),
            (Test::Is(expected), Value::Flag(flag)) => Some(flag == expected),
            _ => None,
        }
    }
}

impl Device {
    /// `None` without rules, or if a rule's reading is missing.
    pub fn state(&self, readings: &[(String, Value)]) -> Option<State> {
        for (state, rule) in &self.rules {
            if rule.holds(readings)? {
                return Some(*state);
            }
        }
        (!self.rules.is_empty()).then_some(State::Idle)
    }
}

pub(crate) fn read(index: usize, table: TomlTable, faults: &mut Vec<String>) -> Device {
    let place = match table.get("name").and_then(|name| name.as_str()) {
        Some(name) => format!("device[{index}] ({name})"),
        None => format!("device[{index}]"),
    };
    let mut reader = Reader::new(place.clone(), table, faults);
    let name = reader.required_name("name", "the name that the register has for this device");
    let (host, port) = read_address(&mut reader);
    let unit_id = reader.integer("unit_id", 1..=255).and_then(|id| u8::try_from(id).ok()).unwrap_or(1);
    let poll_ms = reader.integer("poll_ms", 50..=86_400_000).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(10_000);
    let timeout_ms = reader.integer("timeout_ms", 10..=60_000).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(1_000);
    let identity = reader.section("identity");
    let rule_tables: Vec<_> = [("fault_when", State::Fault), ("running_when", State::Running), ("stopped_when", State::Stopped)]
        .into_iter()
        .filter_map(|(key, state)| Some((key, state, reader.section(key)?)))
        .collect();
    let tables = reader.list("point");
    reader.finish();

    let identity = identity.map(|table| read_identity(Reader::new(format!("{place}.identity"), table, faults))).unwrap_or_default();
    let points: Vec<Point> =
        tables.into_iter().enumerate().map(|(i, table)| read_point(Reader::new(format!("{place}.point[{i}]"), table, faults))).collect();
    check_points(&place, &points, faults);
    let rules = rule_tables
        .into_iter()
        .filter_map(|(key, state, table)| Some((state, read_rule(Reader::new(format!("{place}.{key}"), table, faults), &points)?)))
        .collect();
    Device {
        name,
        host,
        port,
        unit_id,
        poll: Duration::from_millis(poll_ms),
        timeout: Duration::from_millis(timeout_ms),
        identity,
        points,
        rules,
    }
}

fn read_address(reader: &mut Reader<'_>) -> (String, u16) {
    let present = reader.has("address");
    let text = reader.required_text("address", "where the device answers, such as tcp://192.168.1.20:502");
    let address = text.strip_prefix("tcp://").and_then(|rest| split_address(rest, MODBUS_PORT));
    if present && address.is_none() {
        reader.fault("address", format!("`{text}` must look like tcp://HOST:PORT"));
    }
    address.unwrap_or_default()
}

fn read_identity(mut reader: Reader<'_>) -> Identity {
    let mut text = |key| {
        let text = reader.text(key)?;
        if text.chars().count() > limits::TEXT_CHARS_MAX || text.chars().any(char::is_control) {
            reader.fault(key, "must have at most 256 characters and no control characters");
        }
        Some(text)
    };
    let identity = Identity { vendor: text("vendor"), model: text("model"), serial: text("serial") };
    reader.finish();
    identity
}

fn read_point(mut reader: Reader<'_>) -> Point {
    let name = reader.required_name("name", "what the reading is called in reports");
    let (table, address) = read_place(&mut reader);
    let type_default = if table.holds_bits() { ValueType::Bool } else { ValueType::U16 };
    let value_type = reader.word("type", &ValueType::ALL).unwrap_or(type_default);
    if table.holds_bits() && value_type != ValueType::Bool {
        reader.fault("type", format!("a {} holds one bit; leave type out, or write bool", table.name()));
    }
    let word_order = reader.word("word_order", &WordOrder::ALL);
    if word_order.is_some() && value_type.quantity() == 1 {
        reader.fault("word_order", format!("has no meaning for {}; leave it out", value_type.name()));
    }
    if value_type == ValueType::Bool && (reader.has("scale") || reader.has("offset")) {
        reader.fault("scale", "and offset have no meaning for bool; leave them out");
    }
    let scale = reader.number("scale", -1e12..=1e12);
    if scale.is_some_and(|scale| scale.abs() < f64::MIN_POSITIVE) {
        reader.fault("scale", "0 would make every reading the same; leave it out for 1");
    }
    let offset = reader.number("offset", -1e12..=1e12).unwrap_or(0.0);
    if u32::from(address) + u32::from(value_type.quantity()) > 65_536 {
        reader.fault("address", format!("{address} leaves no room for the second register of {}", value_type.name()));
    }
    reader.finish();
    Point { name, table, address, value_type, word_order: word_order.unwrap_or_default(), scale: scale.unwrap_or(1.0), offset }
}

/// Either `table` and zero-based `address`, or the `reference` that handbooks print: 0xxxx coil, 1xxxx discrete, 3xxxx input, 4xxxx holding.
fn read_place(reader: &mut Reader<'_>) -> (Table, u16) {
    let table = reader.word("table", &Table::ALL);
    let has_address = reader.has("address");
    let address = reader.integer("address", 0..=65_535).and_then(|address| u16::try_from(address).ok());
    if !reader.has("reference") {
        // Asked for, so that it stands among the known keys.
        let _ = reader.text("reference");
        if table.is_none() || !has_address {
            reader.fault("address", "give either table and address (zero-based), or reference (such as \"40001\")");
        }
        return (table.unwrap_or(Table::Holding), address.unwrap_or(0));
    }
    let reference = reader.text("reference").unwrap_or_default();
    if table.is_some() || has_address {
        reader.fault("reference", "already says table and address; keep one of the two ways");
    }
    read_reference(&reference).unwrap_or_else(|| {
        reader.fault(
            "reference",
            "must be a text of 5 or 6 digits that begins with 0, 1, 3 or 4, such as \"40001\" for the first holding register",
        );
        (Table::Holding, 0)
    })
}

fn read_reference(text: &str) -> Option<(Table, u16)> {
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let table = match text.as_bytes()[0] {
        b'0' => Table::Coil,
        b'1' => Table::Discrete,
        b'3' => Table::Input,
        b'4' => Table::Holding,
        _ => return None,
    };
    let number: u32 = text[1..].parse().ok()?;
    Some((table, u16::try_from(number.checked_sub(1)?).ok()?))
}

fn check_points(place: &str, points: &[Point], faults: &mut Vec<String>) {
    if points.is_empty() {
        faults.push(format!("{place}: has no points; add at least one [[device.point]]"));
    }
    if points.len() > limits::READINGS_MAX {
        faults.push(format!("{place}: has {} points, a report carries at most {} per device", points.len(), limits::READINGS_MAX));
    }
    let mut names = BTreeSet::new();
    for point in points {
        if !names.insert(&point.name) {
            faults.push(format!("{place}: the point `{}` is given twice; each point needs its own name", point.name));
        }
    }
}

fn read_rule(mut reader: Reader<'_>, points: &[Point]) -> Option<Rule> {
    let name = reader.required_text("point", "the name of one of this device's points");
    let tests = [
        reader.number("above", -1e15..=1e15).map(Test::Above),
        reader.number("below", -1e15..=1e15).map(Test::Below),
        reader.boolean("is").map(Test::Is),
    ];
    let mut tests = tests.into_iter().flatten();
    let test = tests.next();
    if test.is_none() || tests.next().is_some() {
        reader.fault("above", "give exactly one of above, below (numbers) or is (true or false)");
    }
    match points.iter().find(|point| point.name == name) {
        None if !name.is_empty() => reader.fault("point", format!("`{name}` is not a point of this device")),
        Some(point) if test.is_some_and(|test| matches!(test, Test::Is(_)) != (point.value_type == ValueType::Bool)) => {
            reader.fault("point", format!("`{name}` is {}: use `is` for bool, above or below for numbers", point.value_type.name()));
        }
        _ => {}
    }
    reader.finish();
    Some(Rule { point: name, test: test? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_say_the_table_and_count_from_one() {
        for (reference, expected) in [
            ("40001", Some((Table::Holding, 0))),
            ("30011", Some((Table::Input, 10))),
            ("10002", Some((Table::Discrete, 1))),
            ("00003", Some((Table::Coil, 2))),
            ("465536", Some((Table::Holding, 65_535))),
            ("465537", None),
            ("40000", None),
            ("20001", None),
            ("4001", None),
        ] {
            assert_eq!(read_reference(reference), expected, "{reference}");
        }
    }

    #[test]
    fn the_first_rule_that_holds_gives_the_state() {
        let rule = |point: &str, test| Rule { point: point.into(), test };
        let device = Device {
            rules: vec![
                (State::Fault, rule("alarm", Test::Is(true))),
                (State::Running, rule("kw", Test::Above(0.5))),
                (State::Stopped, rule("kw", Test::Below(0.01))),
            ],
            ..read(0, TomlTable::new(), &mut vec![])
        };
        let readings = |kw: f64, alarm: bool| vec![("kw".to_string(), Value::Number(kw)), ("alarm".to_string(), Value::Flag(alarm))];
        assert_eq!(device.state(&readings(4.0, true)), Some(State::Fault));
        assert_eq!(device.state(&readings(4.0, false)), Some(State::Running));
        assert_eq!(device.state(&readings(0.2, false)), Some(State::Idle));
        assert_eq!(device.state(&readings(0.0, false)), Some(State::Stopped));
        assert_eq!(device.state(&[]), None);
    }
}
