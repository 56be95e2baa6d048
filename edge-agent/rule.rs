//! Rules over readings: what makes a machine running, stopped or faulty, or its readings worth less.

use std::sync::Arc;

use crate::fault::FaultCode;
use crate::point::{Point, Value, ValueType};
use crate::table::Reader;

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub point: String,
    pub test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    Above(f64),
    Below(f64),
    /// A number that equals this one, such as a state's code.
    Equals(f64),
    Is(bool),
}

impl Rule {
    /// `None` if the reading is missing or of another kind.
    pub fn holds(&self, readings: &[(Arc<str>, Value)]) -> Option<bool> {
        let (_, value) = readings.iter().find(|(name, _)| **name == *self.point)?;
        match (self.test, *value) {
            (Test::Is(expected), Value::Flag(flag)) => Some(flag == expected),
            (Test::Is(_), _) => None,
            (Test::Above(limit), value) => Some(value.number()? > limit),
            (Test::Below(limit), value) => Some(value.number()? < limit),
            (Test::Equals(expected), value) => Some((value.number()? - expected).abs() <= expected.abs() * 1e-9),
        }
    }
}

pub(crate) fn read_rule(reader: &mut Reader<'_>, points: &[Point]) -> Option<Rule> {
    let name = reader.required_text("point", "本设备的一个采集点名称", "the name of one of this device's points");
    let tests = [
        reader.number("above", -1e15..=1e15).map(Test::Above),
        reader.number("below", -1e15..=1e15).map(Test::Below),
        reader.number("equals", -1e15..=1e15).map(Test::Equals),
        reader.boolean("is").map(Test::Is),
    ];
    let mut tests = tests.into_iter().flatten();
    let test = tests.next();
    if test.is_none() || tests.next().is_some() {
        reader.fault(
            "above",
            FaultCode::KeysConflict,
            "above、below、equals（数值）与 is（true 或 false）须恰好给出一个",
            "give exactly one of above, below, equals (numbers) or is (true or false)",
        );
    }
    match points.iter().find(|point| *point.name == *name) {
        None if !name.is_empty() => {
            let known = points.iter().map(|point| &*point.name).collect::<Vec<_>>().join(", ");
            reader.fault(
                "point",
                FaultCode::PointUnknown,
                format!("“{name}”不是本设备的采集点；可填：{known}"),
                format!("`{name}` is not a point of this device; write one of {known}"),
            );
        }
        Some(point) if test.is_some_and(|test| matches!(test, Test::Is(_)) != (point.value_type == ValueType::Bool)) => {
            let value_type = point.value_type.name();
            reader.fault(
                "point",
                FaultCode::KeysConflict,
                format!("“{name}”的类型是 {value_type}：bool 用 is，数值用 above、below 或 equals"),
                format!("`{name}` is {value_type}: use `is` for bool; above, below or equals for numbers"),
            );
        }
        _ => {}
    }
    Some(Rule { point: name, test: test? })
}
