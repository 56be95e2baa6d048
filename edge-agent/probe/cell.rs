//! Kinds of values by how they fill registers, and how probable registers are as one of a kind.

use crate::point::{ValueType, WordOrder};

/// What one or several registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// Zero, because nothing is kept there.
    Empty,
    Text,
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

pub(super) const CELLS: [Cell; 10] =
    [Cell::Empty, Cell::Text, Cell::Word, Cell::Swapped, Cell::Double, Cell::Quad, Cell::F32, Cell::F64, Cell::Bcd16, Cell::Bcd32];

/// How usual each order of bytes is, for values of several registers; a machine has one.
pub(super) const ORDERS: [(WordOrder, f64); 4] =
    [(WordOrder::Abcd, 0.55), (WordOrder::Cdab, 0.28), (WordOrder::Badc, 0.06), (WordOrder::Dcba, 0.11)];

impl Cell {
    pub(super) fn width(self) -> usize {
        match self {
            Cell::Empty | Cell::Text | Cell::Word | Cell::Swapped | Cell::Bcd16 => 1,
            Cell::Double | Cell::F32 | Cell::Bcd32 => 2,
            Cell::Quad | Cell::F64 => 4,
        }
    }

    /// How usual it is, on a machine of this order.
    pub(super) fn prior(self, order: WordOrder) -> f64 {
        let bytes_swapped = matches!(order, WordOrder::Badc | WordOrder::Dcba);
        match self {
            Cell::Empty => 0.22,
            Cell::Text => 0.02,
            Cell::Word if bytes_swapped => 0.26,
            Cell::Word => 0.37,
            Cell::Swapped if bytes_swapped => 0.13,
            Cell::Swapped => 0.01,
            Cell::Double => 0.17,
            Cell::Quad => 0.012,
            Cell::F32 => 0.15,
            Cell::F64 => 0.015,
            Cell::Bcd16 => 0.025,
            Cell::Bcd32 => 0.015,
        }
    }

    /// The type by which such a value is read, and the same with a sign where there is one.
    pub(super) fn value_type(self) -> Option<(ValueType, Option<ValueType>)> {
        match self {
            Cell::Empty | Cell::Text => None,
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
            Cell::Empty | Cell::Text | Cell::Word | Cell::Bcd16 => WordOrder::Abcd,
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
            Cell::Word | Cell::Swapped => match word(0) {
                0 => 0.06,
                negative @ 0x8000.. => 0.92 * (0.4 * any() + 0.2 * small(negative.wrapping_neg())) + 0.92 * 0.4 * small(negative),
                number => 0.92 * (0.4 * any() + 0.6 * small(number)),
            },
            Cell::Double => match (word(1), word(0)) {
                (0, 0) => 0.10,
                (0, low) => 0.68 * low_word(low),
                (0xFFFF, low @ 0x8000..) => 0.03 * low_word(low.wrapping_neg()),
                (high, _) => 0.19 * small(high) * any(),
            },
            Cell::Quad => match (word(3), word(2), word(1), word(0)) {
                (0, 0, 0, 0) => 0.10,
                (0, 0, 0, low) => 0.60 * low_word(low),
                (0, 0, high, _) => 0.27 * small(high) * any(),
                (0xFFFF, 0xFFFF, 0xFFFF, low @ 0x8000..) => 0.02 * low_word(low.wrapping_neg()),
                (..) => 0.01 * any().powi(4),
            },
            Cell::F32 => match word(1) & 0x7FFF {
                0 if word(0) == 0 => 0.12,
                high => 0.88 * sign(word(1)) * magnitude(i32::from(high >> 7) - 127) / 128.0 * fraction(word(0)),
            },
            Cell::F64 => match word(3) & 0x7FFF {
                0 if joined == 0 => 0.12,
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
        Ok(0) => 0.1,
        Ok(number) => 0.9 * ((number + 1) as f64 / number as f64).ln() / 1e4_f64.ln(),
        Err(_) => 0.0,
    }
}
