//! How plausible it is that a value of the display stands in certain registers, kept in a certain way.
//!
//! A score is the logarithm of a likelihood ratio: how much better the registers are explained by the value than by chance. What
//! speaks for a place by itself is weighed here; what speaks for several values together, in `joint`.

use super::cell::{CELLS, ORDERS};
use super::encoding::{self, Encoding, OFFSETS, POWERS, raw};
use super::expected::Expected;
use super::region::Region;
use super::structure::{Held, Structure};
use super::style::{self, Fit};
use crate::point::{Table, ValueType, WordOrder};

/// A place and a way to read it that give the expected value, or nearly.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub unit_id: u8,
    pub table: Table,
    pub address: u16,
    pub encoding: Encoding,
    /// What is read there now.
    pub value: f64,
    /// With a sign these registers read the same now: they cannot tell.
    pub signed_alike: Option<ValueType>,
    pub evidence: Evidence,
    /// What it says of its table.
    pub(super) held: Held,
}

/// What speaks for a candidate, each a logarithm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The registers around say that a value of this kind begins here.
    pub structure: f64,
    /// How near the value is to the display's, against any other value of its kind.
    pub value: f64,
    /// How usual the scale and the offset are.
    pub scale: f64,
    /// What later looks say: still near, and moving as a measured value does.
    pub later: f64,
    pub moved: bool,
}

impl Candidate {
    /// Both give the same number from the same registers now, others being zero: only what the registers hold later can tell them apart.
    pub(super) fn reads_the_same_as(&self, other: &Candidate) -> bool {
        let places = |candidate: &Candidate| {
            let encoding = &candidate.encoding;
            let low_first = encoding.low_word_first() || !encoding.multiword();
            u32::from(candidate.address) + if low_first { 0 } else { u32::from(encoding.value_type.quantity()) - 1 }
        };
        let same = |a: f64, b: f64| a.total_cmp(&b).is_eq();
        let (one, two) = (&self.encoding, &other.encoding);
        self.unit_id == other.unit_id
            && places(self) == places(other)
            && one.family() == two.family()
            && one.bytes_usual() == two.bytes_usual()
            && (same(one.scale, two.scale) && same(one.offset, two.offset))
            && same(self.value, other.value)
    }
}

impl Evidence {
    pub(super) fn without_structure(&self) -> f64 {
        self.value + self.scale + self.later
    }

    pub fn total(&self) -> f64 {
        self.structure + self.without_structure()
    }
}

/// Everything within the tolerance (a part of the value), the most plausible first, `most` at most.
pub(super) fn candidates(expected: &Expected, tolerance: f64, tables: &[(Vec<&Region>, Structure)], most: usize) -> Vec<Candidate> {
    let mut out = Vec::new();
    for (regions, structure) in tables {
        for (number, region) in regions.iter().enumerate() {
            for cell in CELLS {
                let Some((value_type, signed)) = cell.value_type() else { continue };
                for &(order, _) in if cell.width() == 1 { &ORDERS[..1] } else { &ORDERS[..] } {
                    for (index, words) in region.words.windows(cell.width()).enumerate() {
                        if words.iter().all(|word| *word == 0) {
                            continue;
                        }
                        let held = Held { region: number, index, cell, order, fit: Fit::default() };
                        let word_order = cell.order(order);
                        let place = Place { region, held, word_order, structure, usual: cell.probability(order, words).ln() };
                        let top_bit = word_order.join(words) >> (16 * words.len() - 1) & 1 == 1;
                        if let Some(signed) = signed.filter(|_| top_bit) {
                            place.read(expected, tolerance, signed, None, &mut out);
                        }
                        place.read(expected, tolerance, value_type, signed.filter(|_| !top_bit), &mut out);
                    }
                }
            }
        }
    }
    out.sort_by(|a, b| b.evidence.total().total_cmp(&a.evidence.total()));
    out.truncate(most);
    out
}

struct Place<'a> {
    region: &'a Region,
    held: Held,
    word_order: WordOrder,
    structure: &'a Structure,
    /// How probable its registers are as any value of the kind.
    usual: f64,
}

impl Place<'_> {
    fn read(&self, expected: &Expected, tolerance: f64, value_type: ValueType, signed_alike: Option<ValueType>, out: &mut Vec<Candidate>) {
        let range = self.held.index..self.held.index + usize::from(value_type.quantity());
        let Some((number, step)) = raw(value_type, self.word_order, &self.region.words[range.clone()]) else { return };
        let reach = expected.value.abs() * tolerance + expected.unit();
        for power in POWERS {
            let scale = scale(power);
            for &(offset, offset_prior) in if encoding::floating(value_type) { &OFFSETS[..1] } else { &OFFSETS[..] } {
                let value = number * scale + offset;
                if (value - expected.value).abs() > reach {
                    continue;
                }
                let encoding = Encoding { value_type, word_order: self.word_order, scale, offset };
                let held = Held { fit: style::fit(self.held.cell, expected, number), ..self.held };
                let looks: Vec<Option<f64>> = self.region.later_words(range.clone()).map(|words| encoding.value(&words)).collect();
                let (later, moved) = later(expected, tolerance, value, &looks);
                out.push(Candidate {
                    unit_id: self.region.unit_id,
                    table: self.region.table,
                    address: self.region.address(self.held.index),
                    encoding,
                    value,
                    signed_alike,
                    held,
                    evidence: Evidence {
                        structure: self.structure.probability(held).ln(),
                        value: at_any_look(expected, tolerance, value, &looks, step * scale).ln() - self.usual,
                        scale: (encoding::power_prior(value_type, power, expected) * offset_prior).ln(),
                        later,
                        moved,
                    },
                });
            }
        }
    }
}

/// Ten to this power, as the number that people write.
fn scale(power: i32) -> f64 {
    if power < 0 { 1.0 / 10_f64.powi(-power) } else { 10_f64.powi(power) }
}

/// The probability that registers whose last digit means `step` hold just this value, given what the display shows: mostly what
/// rounds to it, sometimes what is cut off to it, else something near, because the machine went on.
fn probability(expected: &Expected, tolerance: f64, value: f64, step: f64) -> f64 {
    let unit = expected.unit();
    let share = |low: f64, high: f64| {
        // A little more, because decimal fractions are not exact.
        let slack = 1e-6 * unit;
        let common = (value + step / 2.0).min(high + slack) - (value - step / 2.0).max(low - slack);
        (common / unit).clamp(0.0, 1.0)
    };
    let rounded = share(expected.value - unit / 2.0, expected.value + unit / 2.0);
    let cut = share(expected.value, expected.value + unit * expected.value.signum());
    let width = (expected.value.abs() * tolerance / 4.0).max(unit / 2.0);
    let near = ((-(value - expected.value).abs() / width).exp() * step / (2.0 * width)).min(1.0);
    let within = (step / (2.0 * (expected.value.abs() * tolerance + unit))).min(1.0);
    0.55 * rounded + 0.08 * cut + 0.33 * near + 0.04 * within
}

/// Nobody knows at which look the display was read, and a value wanders about its mean.
fn at_any_look(expected: &Expected, tolerance: f64, value: f64, looks: &[Option<f64>], step: f64) -> f64 {
    let values: Vec<f64> = std::iter::once(value).chain(looks.iter().copied().flatten()).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let at = |value: f64| probability(expected, tolerance, value, step);
    (values.iter().copied().map(at).sum::<f64>() / count + at(mean)) / 2.0
}

fn later(expected: &Expected, tolerance: f64, value: f64, looks: &[Option<f64>]) -> (f64, bool) {
    let mut score = 0.0;
    let mut moved = false;
    let reach = 3.0 * (expected.value.abs() * tolerance + expected.unit());
    for look in looks {
        let distance = look.map_or(f64::INFINITY, |now| (now - value).abs());
        moved |= distance > 0.0;
        // Measured values move by little within a second or two.
        let usual = 0.002 * expected.value.abs() + expected.unit();
        score -= if distance > reach { 3.0 } else { (distance / usual).min(2.0) / 2.0 };
    }
    if moved && score > -2.0 {
        score += 0.5;
    }
    (score.max(-6.0), moved)
}
