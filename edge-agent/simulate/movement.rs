//! How a simulated machine's points move: what a template's `[simulate]` says.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::{Fault, FaultCode};
use crate::point::{Point, ValueType};
use crate::report::State;

/// What a machine does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Running,
    Idle,
    Stopped,
    Fault,
    /// Someone works on it, or calibrates it.
    Maintenance,
}

impl Phase {
    /// The phases that are states of their own.
    pub const STATES: [(Phase, State); 4] =
        [(Phase::Running, State::Running), (Phase::Idle, State::Idle), (Phase::Stopped, State::Stopped), (Phase::Fault, State::Fault)];
}

/// A phase, and for how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub phase: Phase,
    pub s: u32,
}

/// Where a value is: still, or moving to and fro between two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Span {
    Still(f64),
    Between([f64; 2]),
}

impl Span {
    /// `wave` is 0 at one end and 1 at the other.
    fn at(self, wave: f64) -> f64 {
        match self {
            Span::Still(number) => number,
            Span::Between([low, high]) => low + (high - low) * wave,
        }
    }
}

/// One of three: a number per phase, a counter, or a flag.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Movement {
    pub running: Option<Span>,
    pub idle: Option<Span>,
    pub stopped: Option<Span>,
    pub fault: Option<Span>,
    pub maintenance: Option<Span>,
    /// In the phases that are not named.
    #[serde(alias = "always")]
    pub otherwise: Option<Span>,
    /// Once to and fro.
    pub period_s: Option<f64>,
    pub counts_per_h: Option<f64>,
    pub counts_in: Vec<Phase>,
    /// Where the counter stood when it began.
    pub from: f64,
    pub true_in: Option<Vec<Phase>>,
}

const PERIOD_S: f64 = 60.0;

impl Movement {
    pub fn flag(true_in: Vec<Phase>) -> Movement {
        Movement { true_in: Some(true_in), ..Movement::default() }
    }

    fn spans(&self) -> [Option<Span>; 6] {
        [self.running, self.idle, self.stopped, self.fault, self.maintenance, self.otherwise]
    }

    pub fn set(&mut self, phase: Phase, span: Span) {
        let place = match phase {
            Phase::Running => &mut self.running,
            Phase::Idle => &mut self.idle,
            Phase::Stopped => &mut self.stopped,
            Phase::Fault => &mut self.fault,
            Phase::Maintenance => &mut self.maintenance,
        };
        *place = Some(span);
    }

    /// The number in this phase, at a time that is counted in seconds.
    pub fn number(&self, phase: Phase, at_s: f64) -> f64 {
        let own = match phase {
            Phase::Running => self.running,
            Phase::Idle => self.idle,
            Phase::Stopped => self.stopped,
            Phase::Fault => self.fault,
            Phase::Maintenance => self.maintenance,
        };
        let turns = at_s / self.period_s.unwrap_or(PERIOD_S);
        let wave = 0.5 - 0.5 * (turns.fract() * std::f64::consts::TAU).cos();
        own.or(self.otherwise).map_or(0.0, |span| span.at(wave))
    }

    fn fault(&self, point: &Point) -> Option<(&'static str, &'static str)> {
        let flag = point.value_type == ValueType::Bool;
        let kinds = [self.spans().iter().any(Option::is_some), self.counts_per_h.is_some(), self.true_in.is_some()];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            return Some((
                "须恰好给出一种：各阶段的数值、counts_per_h 或 true_in",
                "needs exactly one of numbers per phase, counts_per_h, true_in",
            ));
        }
        if self.true_in.is_some() != flag {
            return Some(("true_in 只用于 bool，且 bool 只能用 true_in", "true_in is for bool, and bool needs it"));
        }
        let numbers = self.spans().into_iter().flatten().flat_map(|span| match span {
            Span::Still(number) => [number; 2],
            Span::Between(both) => both,
        });
        let sound = |number: f64| number.is_finite();
        let positive = self.period_s.unwrap_or(PERIOD_S) > 0.0 && self.counts_per_h.unwrap_or(1.0) > 0.0;
        if !positive || !numbers.chain([self.from]).all(sound) {
            return Some((
                "period_s 与 counts_per_h 须大于 0，数值须有限",
                "period_s and counts_per_h must be above 0, all numbers finite",
            ));
        }
        None
    }
}

/// `[simulate]`: the phases that a machine goes through again and again, and how its points move.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    pub cycle: Vec<Step>,
    #[serde(default)]
    pub points: BTreeMap<String, Movement>,
}

impl Simulation {
    pub(crate) fn faults(&self, points: &[Point]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |place: String, zh: &str, en: &str| faults.push(Fault::new(FaultCode::ValueRange, place, zh, en));
        if self.cycle.is_empty() || self.cycle.iter().any(|step| step.s == 0) {
            fault("simulate.cycle".into(), "须有至少一个阶段，时长 s 大于 0", "needs at least one phase, each with s above 0");
        }
        for (name, movement) in &self.points {
            let place = format!("simulate.points.{name}");
            match points.iter().find(|point| *point.name == **name) {
                None => fault(place, "不是此模板的采集点", "is not a point of this template"),
                Some(point) => {
                    if let Some((zh, en)) = movement.fault(point) {
                        fault(place, zh, en);
                    }
                }
            }
        }
        faults
    }
}
