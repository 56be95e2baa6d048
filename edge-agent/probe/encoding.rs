//! Ways in which machines keep a value: how registers are read, and how usual each scale and offset is.

use super::expected::Expected;
use crate::point::{ValueType, WordOrder, decimal};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoding {
    pub value_type: ValueType,
    pub word_order: WordOrder,
    pub scale: f64,
    pub offset: f64,
}

pub(super) const OFFSETS: [(f64, f64); 7] =
    [(0.0, 0.99), (-40.0, 0.003), (-273.15, 0.003), (-50.0, 0.001), (-100.0, 0.001), (-273.0, 0.001), (-20.0, 0.001)];

/// Powers of ten by which a register may be multiplied.
pub(super) const POWERS: std::ops::RangeInclusive<i32> = -5..=4;

pub(super) fn floating(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::F32 | ValueType::F64)
}

/// How usual it is that a display with these decimals shows a register multiplied by ten to this power.
pub(super) fn power_prior(value_type: ValueType, power: i32, expected: &Expected) -> f64 {
    if floating(value_type) {
        return match power {
            0 => 0.93,
            -3 => 0.04,
            3 => 0.01,
            _ => 0.004,
        };
    }
    // The display shows all digits of the register, or less, rarely more.
    match power + i32::from(expected.decimals) {
        0 => 0.60,
        -1 => 0.20,
        -2 => 0.05,
        -3 => 0.02,
        _ if power == 0 => 0.05,
        1 => 0.04,
        2.. => 0.01,
        // Digits far beyond the display's would be hidden from whoever reads it.
        _ => 0.0005,
    }
}

impl Encoding {
    pub(super) fn multiword(&self) -> bool {
        self.value_type.quantity() > 1
    }

    /// Binary whole numbers, decimal ones, and floats by their length: those that may read the same registers alike.
    pub(super) fn family(&self) -> u16 {
        match self.value_type {
            ValueType::F32 | ValueType::F64 => self.value_type.quantity(),
            ValueType::Bcd16 | ValueType::Bcd32 | ValueType::Bcd64 => 1,
            _ => 0,
        }
    }

    pub(super) fn low_word_first(&self) -> bool {
        matches!(self.word_order, WordOrder::Cdab | WordOrder::Dcba)
    }

    pub(super) fn bytes_usual(&self) -> bool {
        matches!(self.word_order, WordOrder::Abcd | WordOrder::Cdab)
    }

    /// What these registers mean; `None` if it is no number.
    pub(super) fn value(&self, words: &[u16]) -> Option<f64> {
        Some(raw(self.value_type, self.word_order, words)?.0 * self.scale + self.offset)
    }
}

/// The number that registers hold, before it is scaled, and what a step of its last digit is; `None` if it is no number.
pub(super) fn raw(value_type: ValueType, word_order: WordOrder, words: &[u16]) -> Option<(f64, f64)> {
    let joined = word_order.join(words);
    let whole = |number: f64| Some((number, 1.0));
    match value_type {
        ValueType::Bool => None,
        ValueType::U16 | ValueType::U32 | ValueType::U64 => whole(joined as f64),
        ValueType::I16 => whole(f64::from((joined as u16).cast_signed())),
        ValueType::I32 => whole(f64::from((joined as u32).cast_signed())),
        ValueType::I64 => whole(joined.cast_signed() as f64),
        ValueType::Bcd16 | ValueType::Bcd32 | ValueType::Bcd64 => whole(decimal(joined).ok()? as f64),
        ValueType::F32 => {
            let number = f32::from_bits(joined as u32);
            number.is_normal().then(|| (f64::from(number), f64::from(number.abs()) * f64::from(f32::EPSILON)))
        }
        ValueType::F64 => {
            let number = f64::from_bits(joined);
            number.is_normal().then(|| (number, number.abs() * f64::EPSILON))
        }
    }
}
