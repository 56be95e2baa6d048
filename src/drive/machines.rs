//! Simulated machines. What a machine does follows from its kind, its seed and the instant alone,
//! so that a poll over the wire and a history made without one tell the same story.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use edge::point::{Block, Point, Table, Value, ValueType, WordOrder};
use edge::report::{Entry, Identity, Quality, State};
use edge::requests::{RequestLimits, requests};

const POWER: &str = "功率_kw";
const RUNNING: &str = "运行";
const ALARM: &str = "报警";
const TEMPERATURE: &str = "温度_c";

/// A machine's week is planned in slots; week after week repeats, the noise does not.
const SLOT_S: i64 = 300;
const WEEK_S: i64 = 7 * 86_400;
const WEEK_SLOTS: usize = (WEEK_S / SLOT_S) as usize;
/// Monday, 2018-01-01 00:00 in Shanghai: counters begin here.
const COUNTERS_FROM_S: i64 = 1_514_736_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    EnergyMeter,
    InjectionMoulding,
    AirCompressor,
    Cnc,
}

impl MachineKind {
    pub const ALL: [MachineKind; 4] =
        [MachineKind::EnergyMeter, MachineKind::InjectionMoulding, MachineKind::AirCompressor, MachineKind::Cnc];

    pub fn name(self) -> &'static str {
        match self {
            MachineKind::EnergyMeter => "电表",
            MachineKind::InjectionMoulding => "注塑机",
            MachineKind::AirCompressor => "空压机",
            MachineKind::Cnc => "数控机床",
        }
    }

    fn rated_kw(self) -> f64 {
        match self {
            MachineKind::EnergyMeter => 55.0,
            MachineKind::InjectionMoulding => 22.0,
            MachineKind::AirCompressor => 37.0,
            MachineKind::Cnc => 11.0,
        }
    }

    /// The points of this kind, as they stand in its registers.
    pub fn points(self) -> Vec<Point> {
        use ValueType::*;
        use WordOrder::*;
        let point = |name: &str, table, address, value_type, word_order, scale| Point {
            word_order,
            scale,
            ..Point::new(name, table, address, value_type)
        };
        let flag = |name: &str, table, address| point(name, table, address, Bool, Abcd, 1.0);
        match self {
            MachineKind::EnergyMeter => vec![
                point(POWER, Table::Input, 0, F32, Abcd, 1.0),
                point("电压_v", Table::Input, 2, U16, Abcd, 0.1),
                point("电流_a", Table::Input, 3, U16, Abcd, 0.1),
                point("电量_kwh", Table::Input, 4, U32, Abcd, 0.1),
                point(TEMPERATURE, Table::Input, 6, I16, Abcd, 0.1),
                flag(RUNNING, Table::Discrete, 0),
            ],
            MachineKind::InjectionMoulding => vec![
                point(POWER, Table::Holding, 0, F32, Cdab, 1.0),
                point("模次", Table::Holding, 2, U32, Cdab, 1.0),
                point(TEMPERATURE, Table::Holding, 4, U16, Abcd, 0.1),
                flag(RUNNING, Table::Discrete, 0),
                flag(ALARM, Table::Coil, 0),
            ],
            MachineKind::AirCompressor => vec![
                point(POWER, Table::Input, 10, U16, Abcd, 0.01),
                point("排气压力_bar", Table::Input, 11, U16, Abcd, 0.01),
                point(TEMPERATURE, Table::Input, 12, I16, Abcd, 0.1),
                point("运行_min", Table::Input, 13, U32, Badc, 1.0),
                flag(RUNNING, Table::Coil, 0),
            ],
            MachineKind::Cnc => vec![
                point(POWER, Table::Holding, 100, U16, Abcd, 0.01),
                point("主轴转速_rpm", Table::Holding, 101, U16, Abcd, 1.0),
                point("产量", Table::Holding, 102, U32, Dcba, 1.0),
                point(TEMPERATURE, Table::Holding, 104, F32, Abcd, 1.0),
                flag(RUNNING, Table::Discrete, 2),
                flag(ALARM, Table::Discrete, 3),
            ],
        }
    }

    /// The rules by which an agent derives the state, first match first.
    pub(crate) fn rules(self) -> Vec<(&'static str, String)> {
        let mut rules = vec![
            ("running_when", format!(r#"{{ point = "{RUNNING}", is = true }}"#)),
            ("stopped_when", format!(r#"{{ point = "{POWER}", below = 0.05 }}"#)),
        ];
        if self.points().iter().any(|point| *point.name == *ALARM) {
            rules.insert(0, ("fault_when", format!(r#"{{ point = "{ALARM}", is = true }}"#)));
        }
        rules
    }
}

/// The four tables of a machine; each as long as its points need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registers {
    pub coils: Vec<bool>,
    pub discrete: Vec<bool>,
    pub input: Vec<u16>,
    pub holding: Vec<u16>,
}

impl Registers {
    fn bits(&mut self, table: Table) -> &mut Vec<bool> {
        if table == Table::Coil { &mut self.coils } else { &mut self.discrete }
    }

    fn words(&mut self, table: Table) -> &mut Vec<u16> {
        if table == Table::Input { &mut self.input } else { &mut self.holding }
    }

    fn write(&mut self, point: &Point, value: Value) {
        let start = usize::from(point.address);
        let end = start + usize::from(point.value_type.quantity());
        if point.table.holds_bits() {
            let bits = self.bits(point.table);
            bits.resize(bits.len().max(end), false);
            bits[start] = value == Value::Flag(true);
        } else {
            let words = self.words(point.table);
            words.resize(words.len().max(end), 0);
            words[start..end].copy_from_slice(&point.encode(value));
        }
    }

    /// The answer to a read; `None` if it reaches beyond the table.
    pub(crate) fn read(&self, table: Table, address: u16, quantity: u16) -> Option<Block> {
        let range = usize::from(address)..usize::from(address) + usize::from(quantity);
        Some(match table {
            Table::Coil => Block::Bits(self.coils.get(range)?.to_vec()),
            Table::Discrete => Block::Bits(self.discrete.get(range)?.to_vec()),
            Table::Input => Block::Words(self.input.get(range)?.to_vec()),
            Table::Holding => Block::Words(self.holding.get(range)?.to_vec()),
        })
    }
}

#[derive(Clone)]
pub struct Machine {
    kind: MachineKind,
    seed: u64,
    week: Arc<Week>,
    points: Arc<[Point]>,
}

/// What a machine does in each slot of a week, and how many slots it has run before each.
struct Week {
    states: Vec<State>,
    running_before: Vec<u32>,
    running_total: u32,
}

/// A number in 0..1 that follows from its arguments (SplitMix64).
fn noise(seed: u64, of: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(of).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Week {
    fn plan(kind: MachineKind, seed: u64) -> Week {
        let shift = noise(seed, 1);
        let (from_h, to_h) = if shift < 0.5 {
            (8, 18)
        } else if shift < 0.85 {
            (8, 24)
        } else {
            (0, 24)
        };
        let rests_on_sunday = noise(seed, 2) < 0.6;
        let alarms = kind.points().iter().any(|point| *point.name == *ALARM);
        let mut week = Week { states: Vec::with_capacity(WEEK_SLOTS), running_before: Vec::with_capacity(WEEK_SLOTS), running_total: 0 };
        for slot in 0..WEEK_SLOTS {
            let second = slot as i64 * SLOT_S;
            let (day, hour) = (second / 86_400, second % 86_400 / 3600);
            let of_slot = noise(seed, 1000 + slot as u64);
            let state = if (rests_on_sunday && day == 6) || !(from_h..to_h).contains(&hour) {
                State::Stopped
            } else if alarms && noise(seed, 5000 + slot as u64 / 3) < 0.01 {
                State::Fault
            } else if hour == 12 || of_slot < 0.12 {
                State::Idle
            } else {
                State::Running
            };
            week.states.push(state);
            week.running_before.push(week.running_total);
            week.running_total += u32::from(state == State::Running);
        }
        week
    }
}

impl Machine {
    pub fn new(kind: MachineKind, seed: u64) -> Machine {
        Machine { kind, seed, week: Arc::new(Week::plan(kind, seed)), points: kind.points().into() }
    }

    pub fn kind(&self) -> MachineKind {
        self.kind
    }

    pub fn state_at(&self, at: DateTime<Utc>) -> State {
        self.week.states[slot_of(at).0]
    }

    /// Seconds that this machine has run since the counters began; whole within a millisecond.
    fn running_s(&self, at: DateTime<Utc>) -> f64 {
        let (slot, in_slot_s) = slot_of(at);
        let weeks = (at.timestamp() - COUNTERS_FROM_S).div_euclid(WEEK_S).max(0);
        let slots = weeks * i64::from(self.week.running_total) + i64::from(self.week.running_before[slot]);
        let partial_s = if self.week.states[slot] == State::Running { in_slot_s } else { 0.0 };
        (slots * SLOT_S) as f64 + partial_s
    }

    fn value(&self, point: &Point, at: DateTime<Utc>) -> Value {
        let state = self.state_at(at);
        let running = state == State::Running;
        let running_s = self.running_s(at);
        let ten_seconds = at.timestamp().div_euclid(10).cast_unsigned();
        let flutter = noise(self.seed, ten_seconds);
        let rated_kw = self.kind.rated_kw() * (0.8 + 0.4 * noise(self.seed, 3));
        let power_kw = match state {
            State::Running => rated_kw * (0.6 + 0.35 * flutter),
            State::Stopped => 0.0,
            _ => rated_kw * (0.04 + 0.02 * flutter),
        };
        let warm = if running { 1.0 } else { 0.2 };
        Value::Number(match point.name.as_ref() {
            RUNNING => return Value::Flag(running),
            ALARM => return Value::Flag(state == State::Fault),
            POWER => power_kw,
            "电压_v" => 376.0 + 8.0 * flutter,
            "电流_a" => power_kw * 1000.0 / (380.0 * 1.732 * 0.9),
            "电量_kwh" => rated_kw * 0.775 * running_s / 3600.0,
            "模次" | "产量" => (running_s / (20.0 + 40.0 * noise(self.seed, 4))).floor(),
            "运行_min" => (running_s / 60.0).floor(),
            "排气压力_bar" => {
                if running {
                    6.5 + flutter
                } else {
                    0.2
                }
            }
            "主轴转速_rpm" => {
                if running {
                    (3000.0 + 5000.0 * flutter).round()
                } else {
                    0.0
                }
            }
            _ => match self.kind {
                MachineKind::InjectionMoulding => 60.0 + 160.0 * warm + 5.0 * flutter,
                MachineKind::AirCompressor => 25.0 + 55.0 * warm + 4.0 * flutter,
                MachineKind::EnergyMeter | MachineKind::Cnc => 24.0 + 20.0 * warm + 2.0 * flutter,
            },
        })
    }

    pub fn registers(&self, at: DateTime<Utc>) -> Registers {
        let mut registers = Registers::default();
        for point in self.points.iter() {
            registers.write(point, self.value(point, at));
        }
        registers
    }

    /// What an agent reads from this machine at this instant, in the order of its points.
    pub fn readings_at(&self, at: DateTime<Utc>) -> Vec<(Arc<str>, Value)> {
        let registers = self.registers(at);
        let mut readings: Vec<(usize, Value)> = Vec::with_capacity(self.points.len());
        for request in requests(&self.points, &RequestLimits::default()) {
            let Some(block) = registers.read(request.table, request.address, request.quantity) else { continue };
            for (index, start) in request.points {
                readings.extend(self.points[index].decode(&block, start).ok().map(|value| (index, value)));
            }
        }
        readings.sort_by_key(|(index, _)| *index);
        readings.into_iter().map(|(index, value)| (self.points[index].name.clone(), value)).collect()
    }

    /// The entry of a report for this machine, as an agent would make it at this instant.
    pub fn entry_at(&self, device: &str, at: DateTime<Utc>) -> Entry {
        Entry {
            device: device.to_string(),
            at,
            quality: Quality::Normal,
            state: Some(self.state_at(at)),
            readings: self.readings_at(at),
            identity: Identity::default(),
        }
    }
}

/// The slot of the week, and the seconds since it began.
fn slot_of(at: DateTime<Utc>) -> (usize, f64) {
    let second = (at.timestamp() - COUNTERS_FROM_S).rem_euclid(WEEK_S);
    let slot = usize::try_from(second / SLOT_S).unwrap_or_default();
    (slot, (second % SLOT_S) as f64 + f64::from(at.timestamp_subsec_millis().min(999)) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEDNESDAY_MORNING: &str = "2019-11-06T10:02:03+08:00";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn counters_never_go_back_and_seeds_differ() {
        for kind in MachineKind::ALL {
            let machine = Machine::new(kind, 5);
            let counter = machine.points.iter().position(|point| point.value_type == ValueType::U32).unwrap();
            let mut before = -1.0;
            for minute in 0..3 * 7 * 24 * 60 {
                let (_, value) = machine.readings_at(at(WEDNESDAY_MORNING) + chrono::Duration::minutes(minute))[counter].clone();
                let Value::Number(number) = value else { panic!("{value:?}") };
                assert!(number >= before, "{kind:?} minute {minute}: {number} after {before}");
                before = number;
            }
            assert!(before > 0.0);
            assert_ne!(machine.readings_at(at(WEDNESDAY_MORNING)), Machine::new(kind, 6).readings_at(at(WEDNESDAY_MORNING)));
        }
    }
}
