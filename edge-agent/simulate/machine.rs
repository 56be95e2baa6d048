//! A simulated machine: what stands in its registers follows from its template, its seed and the instant alone.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::device::Device;
use crate::identity::{IdentityField, IdentityPoint};
use crate::point::{Block, Point, Readings, Table, Value, ValueType, WordOrder};
use crate::requests::{RequestLimits, requests};
use crate::simulate::derived;
use crate::simulate::movement::{Movement, Phase, Simulation, Step};

/// 2025-01-01 00:00 in Shanghai: counters begin here.
const COUNTERS_FROM_S: i64 = 1_735_660_800;
/// Whoever asks a simulated machine who it is learns that it is none.
pub const VENDOR: &str = "SHANGYUN SIMULATOR";

/// Why a machine gives no answer to a request, as its exception codes say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A register beyond those that it has.
    IllegalAddress,
    /// More or fewer registers than it admits in one request.
    IllegalQuantity,
}

pub struct Machine {
    points: Vec<(Point, Movement)>,
    cycle: Vec<Step>,
    seed: u64,
    limits: RequestLimits,
    /// What it answers for, by table, in order, none touching the next.
    readable: Vec<(Table, Range<u32>)>,
    identity_points: Vec<IdentityPoint>,
    pub model: String,
    pub serial: String,
    /// It answers function code 43/14.
    pub identifies: bool,
}

impl Machine {
    /// What the simulation does not say is found by the device's own rules.
    pub fn new(device: &Device, simulation: Option<&Simulation>, model: &str, seed: u64) -> Machine {
        let found = derived::simulation(device);
        let given = |name: &str| simulation.and_then(|simulation| simulation.points.get(name));
        let movement = |name: &str| given(name).or_else(|| found.points.get(name)).cloned().unwrap_or_default();
        Machine {
            points: device.points.iter().map(|point| (point.clone(), movement(&point.name))).collect(),
            cycle: simulation.map_or(found.cycle, |simulation| simulation.cycle.clone()),
            seed,
            limits: device.limits,
            readable: readable(device),
            identity_points: device.identity_points.clone(),
            model: model.to_string(),
            serial: format!("SIM{:05}", seed % 100_000),
            identifies: device.identify,
        }
    }

    /// The whole cycle, in milliseconds.
    pub fn cycle_ms(&self) -> i64 {
        self.cycle.iter().map(|step| i64::from(step.s) * 1000).sum()
    }

    /// Milliseconds since the cycles began; each machine began at another time.
    fn elapsed_ms(&self, at: DateTime<Utc>) -> i64 {
        let shift_ms = (noise(self.seed, 0) * self.cycle_ms() as f64) as i64;
        (at.timestamp_millis() - COUNTERS_FROM_S * 1000).max(0) + shift_ms
    }

    pub fn phase(&self, at: DateTime<Utc>) -> Phase {
        let mut left_ms = self.elapsed_ms(at) % self.cycle_ms();
        for step in &self.cycle {
            left_ms -= i64::from(step.s) * 1000;
            if left_ms < 0 {
                return step.phase;
            }
        }
        Phase::Stopped
    }

    /// How long the machine has been in one of these phases, in hours.
    fn hours_in(&self, phases: &[Phase], at: DateTime<Utc>) -> f64 {
        let within = |mut left_ms: i64| -> i64 {
            let mut sum_ms = 0;
            for step in &self.cycle {
                let lasts_ms = (i64::from(step.s) * 1000).min(left_ms);
                left_ms -= lasts_ms;
                sum_ms += if phases.contains(&step.phase) { lasts_ms } else { 0 };
            }
            sum_ms
        };
        let (elapsed_ms, cycle_ms) = (self.elapsed_ms(at), self.cycle_ms());
        let ms = elapsed_ms / cycle_ms * within(cycle_ms) + within(elapsed_ms % cycle_ms);
        ms as f64 / 3_600_000.0
    }

    fn value(&self, index: usize, at: DateTime<Utc>) -> Value {
        let (point, movement) = &self.points[index];
        let phase = self.phase(at);
        if let Some(true_in) = &movement.true_in {
            return Value::Flag(true_in.contains(&phase));
        }
        if let Some(per_h) = movement.counts_per_h {
            let counted = movement.from + per_h * self.hours_in(&movement.counts_in, at);
            return Value::Number(wrapped(point, counted));
        }
        let shift_s = 3600.0 * noise(self.seed, 1 + index as u64);
        Value::Number(movement.number(phase, self.elapsed_ms(at) as f64 / 1000.0 + shift_s))
    }

    /// What the points are worth at this instant, before registers round them.
    pub fn values(&self, at: DateTime<Utc>) -> Readings {
        (0..self.points.len()).map(|index| (Arc::clone(&self.points[index].0.name), self.value(index, at))).collect()
    }

    /// The answer to a read.
    pub fn read(&self, table: Table, address: u16, quantity: u16, at: DateTime<Utc>) -> Result<Block, Refusal> {
        let most = if table.holds_bits() { self.limits.bits_max } else { self.limits.registers_max };
        if !(1..=most.min(table.quantity_max())).contains(&quantity) {
            return Err(Refusal::IllegalQuantity);
        }
        let asked = u32::from(address)..u32::from(address) + u32::from(quantity);
        if !self.readable.iter().any(|(of, range)| *of == table && range.start <= asked.start && asked.end <= range.end) {
            return Err(Refusal::IllegalAddress);
        }
        let mut words = vec![0; usize::from(quantity)];
        for (index, (point, _)) in self.points.iter().enumerate().filter(|(_, (point, _))| point.table == table) {
            let begin = u32::from(point.address);
            if begin < asked.end && asked.start < begin + u32::from(point.value_type.quantity()) {
                let bit = point.value_type == ValueType::Bool;
                put(&mut words, asked.start, begin, &point.encode(self.value(index, at)), bit);
            }
        }
        for point in self.identity_points.iter().filter(|point| point.table == table) {
            put(&mut words, asked.start, u32::from(point.address), &self.identity_words(point), false);
        }
        Ok(if table.holds_bits() { Block::Bits(words.iter().map(|word| *word != 0).collect()) } else { Block::Words(words) })
    }

    fn identity_words(&self, point: &IdentityPoint) -> Vec<u16> {
        if let Some(value_type) = point.value_type {
            let point = Point { word_order: point.word_order, ..Point::new("", point.table, point.address, value_type) };
            return point.encode(Value::Number(wrapped(&point, (self.seed % 100_000) as f64)));
        }
        let said = match point.field {
            IdentityField::Vendor => VENDOR,
            IdentityField::Model => &self.model,
            IdentityField::Serial => &self.serial,
        };
        let bytes: Vec<u8> = said.bytes().chain(std::iter::repeat(0)).take(2 * usize::from(point.quantity)).collect();
        let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let swapped = matches!(point.word_order, WordOrder::Badc | WordOrder::Dcba);
        let mut words: Vec<u16> = words.map(|word| if swapped { word.swap_bytes() } else { word }).collect();
        if matches!(point.word_order, WordOrder::Cdab | WordOrder::Dcba) {
            words.reverse();
        }
        words
    }
}

/// Puts words that begin at an address into an answer that begins at another. A bit is put beside the others of its register.
fn put(answer: &mut [u16], answer_begin: u32, begin: u32, words: &[u16], bit: bool) {
    for (address, word) in (begin..).zip(words) {
        if let Some(place) = address.checked_sub(answer_begin).and_then(|index| answer.get_mut(index as usize)) {
            *place = if bit { *place | word } else { *word };
        }
    }
}

/// What the agent's own requests ask for, gaps included; requests that touch are one range.
fn readable(device: &Device) -> Vec<(Table, Range<u32>)> {
    let asked = requests(&device.points, &device.limits).into_iter().map(|request| (request.table, request.address, request.quantity));
    let identity = device.identity_points.iter().map(|point| (point.table, point.address, point.quantity));
    let mut all: Vec<(Table, Range<u32>)> = asked
        .chain(identity)
        .map(|(table, address, quantity)| (table, u32::from(address)..u32::from(address) + u32::from(quantity)))
        .collect();
    all.sort_by_key(|(table, range)| (*table, range.start));
    let mut out: Vec<(Table, Range<u32>)> = Vec::new();
    for (table, range) in all {
        match out.last_mut() {
            Some((last_table, last)) if *last_table == table && range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push((table, range)),
        }
    }
    out
}

/// A counter begins anew where its registers end.
fn wrapped(point: &Point, counted: f64) -> f64 {
    let registers_hold = match point.value_type {
        ValueType::Bool | ValueType::F32 | ValueType::F64 => return counted,
        ValueType::U16 => 65_536.0,
        ValueType::I16 => 32_768.0,
        ValueType::U32 => 4_294_967_296.0,
        ValueType::I32 => 2_147_483_648.0,
        ValueType::U64 | ValueType::I64 => 9.0e15,
        ValueType::Bcd16 => 1.0e4,
        ValueType::Bcd32 => 1.0e8,
        ValueType::Bcd64 => 1.0e15,
    };
    let raw = ((counted - point.offset) / point.scale).floor();
    raw.rem_euclid(registers_hold) * point.scale + point.offset
}

/// A number in 0..1 that follows from its arguments (SplitMix64); the same on every machine and in every version.
fn noise(seed: u64, of: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(of).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
