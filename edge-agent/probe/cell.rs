//! Kinds of values by how they fill registers, and how probable registers are as one of a kind.

use super::style::Style;
use crate::point::{ValueType, WordOrder};

/// What one or several registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// Zero, because nothing is kept there.
    Empty,
    Text,
    /// A setting, a state or a part of a time, as every machine keeps them in single registers.
    Setting,
    Word,
    /// A word whose bytes are swapped.
    Swapped,
    Double,
    Quad,
    F32,
    F64,
    Bcd16,
    Bcd32,
}

pub(super) const CELLS: [Cell; 11] = [
    Cell::Empty,
    Cell::Text,
    Cell::Setting,
    Cell::Word,
    Cell::Swapped,
    Cell::Double,
    Cell::Quad,
    Cell::F32,
    Cell::F64,
    Cell::Bcd16,
    Cell::Bcd32,
];

pub(super) const EMPTY: usize = 0;

/// All but what is empty.
pub(super) fn values() -> impl Iterator<Item = (usize, Cell)> {
    CELLS.into_iter().enumerate().skip(EMPTY + 1)
}

/// How usual each order of bytes is, for values of several registers; a machine has one.
pub(super) const ORDERS: [(WordOrder, f64); 4] =
    [(WordOrder::Abcd, 0.55), (WordOrder::Cdab, 0.28), (WordOrder::Badc, 0.06), (WordOrder::Dcba, 0.11)];

impl Cell {
    pub(super) fn width(self) -> usize {
        match self {
            Cell::Empty | Cell::Text | Cell::Setting | Cell::Word | Cell::Swapped | Cell::Bcd16 => 1,
            Cell::Double | Cell::F32 | Cell::Bcd32 => 2,
            Cell::Quad | Cell::F64 => 4,
        }
    }

    /// How usual it is in the registers of a machine of this order and style, next to settings, states and what is empty.
    pub(super) fn prior(self, order: WordOrder, style: Style) -> f64 {
        let bytes_swapped = matches!(order, WordOrder::Badc | WordOrder::Dcba);
        let (word, double, quad, f32, f64, bcd16, bcd32) = match style {
            Style::Words => (0.45, 0.10, 0.004, 0.05, 0.004, 0.004, 0.002),
            Style::Doubles => (0.08, 0.45, 0.008, 0.05, 0.004, 0.004, 0.004),
            Style::Floats => (0.08, 0.07, 0.004, 0.43, 0.01, 0.004, 0.002),
            Style::Long => (0.08, 0.05, 0.22, 0.05, 0.22, 0.004, 0.002),
            Style::Decimal => (0.08, 0.05, 0.004, 0.05, 0.004, 0.28, 0.16),
        };
        match self {
            Cell::Empty => 0.0,
            Cell::Setting => 0.3,
            Cell::Text => 0.03,
            Cell::Word => word * if bytes_swapped { 0.67 } else { 0.98 },
            Cell::Swapped => word * if bytes_swapped { 0.33 } else { 0.02 },
            Cell::Double => double,
            Cell::Quad => quad,
            Cell::F32 => f32,
            Cell::F64 => f64,
            Cell::Bcd16 => bcd16,
            Cell::Bcd32 => bcd32,
        }
    }

    /// The type by which such a value is read, and the same with a sign where there is one.
    pub(super) fn value_type(self) -> Option<(ValueType, Option<ValueType>)> {
        match self {
            Cell::Empty | Cell::Text | Cell::Setting => None,
            Cell::Word | Cell::Swapped => Some((ValueType::U16, Some(ValueType::I16))),
            Cell::Double => Some((ValueType::U32, Some(ValueType::I32))),
            Cell::Quad => Some((ValueType::U64, Some(ValueType::I64))),
            Cell::F32 => Some((ValueType::F32, None)),
            Cell::F64 => Some((ValueType::F64, None)),
            Cell::Bcd16 => Some((ValueType::Bcd16, None)),
            Cell::Bcd32 => Some((ValueType::Bcd32, None)),
        }
    }

    /// In which order its bytes stand, on a machine that keeps long values in `order`.
    pub(super) fn order(self, order: WordOrder) -> WordOrder {
        match self {
            Cell::Swapped => WordOrder::Badc,
            Cell::Empty | Cell::Text | Cell::Setting | Cell::Word | Cell::Bcd16 => WordOrder::Abcd,
            Cell::Double | Cell::Quad | Cell::F32 | Cell::F64 | Cell::Bcd32 => order,
        }
    }

    /// How probable these registers are if they hold such a value, whatever it may be.
    pub(super) fn probability(self, order: WordOrder, words: &[u16]) -> f64 {
        let joined = self.order(order).join(words);
        let word = |low: u32| (joined >> (16 * low)) as u16;
        match self {
            Cell::Empty => f64::from(u8::from(joined == 0)),
            Cell::Text => words[0].to_be_bytes().iter().map(|byte| if byte.is_ascii_graphic() { 1.0 / 70.0 } else { 2e-4 }).product(),
            Cell::Setting => setting(word(0)),
            Cell::Word | Cell::Swapped => match word(0) {
                0 => 0.02,
                negative @ 0x8000.. => 0.92 * (0.4 * any() + 0.2 * small(negative.wrapping_neg())) + 0.92 * 0.4 * small(negative),
                number @ 1..25 => 0.15 * small(number),
                number => 0.92 * (0.4 * any() + 0.6 * small(number)),
            },
            Cell::Double => match (word(1), word(0)) {
                (0, 0) => 0.05,
                (0, low) => 0.68 * low_word(low),
                (0xFFFF, low @ 0x8000..) => 0.03 * low_word(low.wrapping_neg()),
                (high, _) => 0.19 * small(high) * any(),
            },
            Cell::Quad => match (word(3), word(2), word(1), word(0)) {
                (0, 0, 0, 0) => 0.03,
                (0, 0, 0, low) => 0.60 * low_word(low),
                (0, 0, high, _) => 0.27 * small(high) * any(),
                (0xFFFF, 0xFFFF, 0xFFFF, low @ 0x8000..) => 0.02 * low_word(low.wrapping_neg()),
                (..) => 0.01 * any().powi(4),
            },
            Cell::F32 => match word(1) & 0x7FFF {
                0 if word(0) == 0 => 0.05,
                high => 0.88 * sign(word(1)) * magnitude(i32::from(high >> 7) - 127) / 128.0 * fraction(word(0)),
            },
            Cell::F64 => match word(3) & 0x7FFF {
                0 if joined == 0 => 0.05,
                high => {
                    let rest = fraction(word(2)) * fraction(word(1)) * fraction(word(0));
                    0.88 * sign(word(3)) * magnitude(i32::from(high >> 4) - 1023) / 16.0 * rest
                }
            },
            Cell::Bcd16 => digits(word(0)),
            Cell::Bcd32 => match (word(1), word(0)) {
                (0, low) => 0.7 * digits(low),
                (high, low) if crate::point::decimal(u64::from(low)).is_ok() => 0.3 * digits(high) / 1e4,
                _ => 0.0,
            },
        }
    }
}

fn any() -> f64 {
    1.0 / 65_536.0
}

/// Small numbers are more usual: each order of magnitude as much as another.
fn small(number: u16) -> f64 {
    let number = f64::from(number.max(1));
    ((number + 1.0) / number).ln() / 65_536_f64.ln()
}

fn setting(word: u16) -> f64 {
    let few = f64::from(u8::from(word <= 24)) / 25.0;
    let round = |unit: u16, below: u16| {
        f64::from(u8::from(word > 0 && word < below && word.is_multiple_of(unit))) * f64::from(unit) / f64::from(below)
    };
    0.45 * few + 0.25 * round(50, 10_000) + 0.1 * round(10, 10_000) + 0.1 * small(word) + 0.1 * any()
}

fn low_word(low: u16) -> f64 {
    0.5 * any() + 0.5 * small(low)
}

fn sign(high: u16) -> f64 {
    if high & 0x8000 == 0 { 0.93 } else { 0.07 }
}

/// Of a power of two: measured values lie between thousandths and millions, mostly.
fn magnitude(exponent: i32) -> f64 {
    match exponent {
        -3..=11 => 0.048,
        -10..=20 => 0.016,
        _ => 0.022 / 225.0,
    }
}

/// Sixteen bits of a fraction; round values end in zeros.
fn fraction(word: u16) -> f64 {
    if word == 0 { 0.15 } else { 0.85 * any() }
}

fn digits(word: u16) -> f64 {
    match crate::point::decimal(u64::from(word)) {
        Ok(0) => 0.03,
        Ok(number) => 0.9 * ((number + 1) as f64 / number as f64).ln() / 1e4_f64.ln(),
        Err(_) => 0.0,
    }
}
