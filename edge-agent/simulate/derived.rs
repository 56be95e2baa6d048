//! How the points move of which no template says it: so that the device's own rules give each state in turn.

use std::sync::Arc;

use crate::device::Device;
use crate::point::{Block, Point, Readings, Value, ValueType};
use crate::report::Quality;
use crate::rule::{Rule, Test};
use crate::simulate::movement::{Movement, Phase, Simulation, Span, Step};

/// Running for long, the others for short, so that a few minutes show them all.
const LASTS_S: [(Phase, u32); 4] = [(Phase::Running, 120), (Phase::Idle, 30), (Phase::Stopped, 30), (Phase::Fault, 15)];
/// Rules over many points have too many combinations to try all.
const TRIED_MAX: usize = 20_000;

pub fn simulation(device: &Device) -> Simulation {
    let ruled: Vec<&Point> = device.points.iter().filter(|point| rules(device).any(|rule| rule.point == *point.name)).collect();
    let mut points: std::collections::BTreeMap<String, Movement> =
        device.points.iter().map(|point| (point.name.to_string(), plain(point))).collect();
    let mut cycle = Vec::new();
    for ((phase, state), (_, s)) in Phase::STATES.into_iter().zip(LASTS_S) {
        let Some(found) = readings_that(&ruled, device, |readings| device.state(readings) == Some(state)) else { continue };
        cycle.push(Step { phase, s });
        for (name, value) in found {
            let Some(movement) = points.get_mut(&*name) else { continue };
            match (value, &mut movement.true_in) {
                (Value::Flag(flag), Some(true_in)) => true_in.extend(flag.then_some(phase)),
                (value, _) => movement.set(phase, Span::Still(value.number().unwrap_or_default())),
            }
        }
    }
    if cycle.is_empty() {
        cycle.push(Step { phase: Phase::Running, s: 120 });
    }
    Simulation { cycle, points }
}

fn rules(device: &Device) -> impl Iterator<Item = &Rule> {
    device.rules.iter().map(|(_, rule)| rule).chain(device.quality_rules.iter().map(|(_, rule)| rule))
}

/// In the middle of its range; without one, a few times its smallest step.
fn plain(point: &Point) -> Movement {
    if point.value_type == ValueType::Bool {
        return Movement::flag(vec![]);
    }
    let span = match (point.min, point.max) {
        (Some(min), Some(max)) => [min + 0.4 * (max - min), min + 0.6 * (max - min)],
        (Some(min), None) => [min + 10.0 * point.scale.abs(), min + 20.0 * point.scale.abs()],
        (None, Some(max)) => [max - 20.0 * point.scale.abs(), max - 10.0 * point.scale.abs()],
        (None, None) => [10.0 * point.scale + point.offset, 20.0 * point.scale + point.offset],
    };
    Movement { otherwise: Some(Span::Between(span)), ..Movement::default() }
}

/// Readings of quality N for which the condition holds.
fn readings_that(ruled: &[&Point], device: &Device, holds: impl Fn(&Readings) -> bool) -> Option<Readings> {
    let choices: Vec<Vec<Value>> = ruled.iter().map(|point| candidates(point, device)).collect();
    let combinations = choices.iter().fold(1_usize, |product, of_point| product.saturating_mul(of_point.len()));
    (0..combinations.min(TRIED_MAX)).find_map(|mut number| {
        let mut readings: Readings = Vec::with_capacity(ruled.len());
        for (point, of_point) in ruled.iter().zip(&choices) {
            readings.push((Arc::clone(&point.name), of_point[number % of_point.len()]));
            number /= of_point.len();
        }
        (device.quality(&readings) == Quality::Normal && holds(&readings)).then_some(readings)
    })
}

/// Values on, below and above each limit that a rule has for this point, as the registers can hold them.
fn candidates(point: &Point, device: &Device) -> Vec<Value> {
    if point.value_type == ValueType::Bool {
        return vec![Value::Flag(false), Value::Flag(true)];
    }
    let mut numbers = vec![0.0];
    for rule in rules(device).filter(|rule| rule.point == *point.name) {
        if let Test::Above(limit) | Test::Below(limit) | Test::Equals(limit) = rule.test {
            let step = (0.5 * limit.abs()).max(2.0 * point.scale.abs());
            numbers.extend([limit, limit - step, limit + step]);
        }
    }
    let held = |number: f64| {
        let read = point.decode(&Block::Words(point.encode(Value::Number(number))), 0).ok()?;
        (read.number()? - number).abs().le(&(point.scale.abs() + 1e-6 * number.abs())).then_some(read)
    };
    let mut held: Vec<Value> = numbers.into_iter().filter_map(held).collect();
    if held.is_empty() {
        held.push(Value::Number(point.offset));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::State;
    use crate::simulate::machine::Machine;

    fn device(text: &str) -> Device {
        let mut faults = vec![];
        let device = crate::device::read(0, format!("name = \"SN-1\"\naddress = \"tcp://h\"\n{text}").parse().unwrap(), &mut faults);
        assert_eq!(faults, []);
        device.unwrap()
    }

    /// The states and the qualities that the agent would report over a cycle.
    fn seen(device: &Device) -> Vec<(Option<State>, Quality)> {
        let machine = Machine::new(device, None, "m", 1);
        let begin = "2026-01-05T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let mut seen = vec![];
        for second in 0..machine.cycle_ms() / 1000 {
            let values = machine.values(begin + chrono::Duration::seconds(second));
            let state = (device.state(&values), device.quality(&values));
            if !seen.contains(&state) {
                seen.push(state);
            }
        }
        seen
    }

    #[test]
    fn without_a_template_the_rules_themselves_say_which_values_give_each_state() {
        let device = device(
            r#"
            fault_when = { point = "报警", is = true }
            running_when = { point = "功率", above = 5 }
            stopped_when = { point = "功率", below = 0.3 }
            quality_rule = [{ quality = "M", point = "检修", is = true }]
            point = [
                { name = "功率", table = "holding", address = 0, scale = 0.1, min = 0, max = 40 },
                { name = "报警", table = "coil", address = 0 },
                { name = "检修", table = "coil", address = 1 },
                { name = "温度", table = "holding", address = 1, type = "i16", min = -20, max = 80 },
            ]"#,
        );
        let mut states: Vec<_> = seen(&device);
        states.sort_by_key(|(state, _)| format!("{state:?}"));
        let normal = |state| (Some(state), Quality::Normal);
        assert_eq!(states, [State::Fault, State::Idle, State::Running, State::Stopped].map(normal));
    }

    #[test]
    fn a_code_that_names_the_states_takes_each_of_its_values() {
        let device = device(
            r#"
            fault_when = { point = "状态", equals = 3 }
            running_when = { point = "状态", equals = 1 }
            stopped_when = { point = "状态", equals = 0 }
            point = [{ name = "状态", table = "input", address = 0 }]"#,
        );
        assert_eq!(seen(&device).len(), 4, "{:?}", seen(&device));
    }
}
