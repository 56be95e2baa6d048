//! How registers moved from one look to the next, and how probable that is if they hold a value of a kind: measured values wander by
//! little, so that a register that leaps is the lower part of something longer.

use super::cell::Cell;
use super::encoding;
use crate::point::WordOrder;

/// How often a register that holds a value stands still, and how often a value leaps.
const STILL: f64 = 0.6;
const LEAPS: f64 = 0.03;
/// What is kept in a register that is no value hardly ever changes.
const SURPRISE: f64 = 1e-6;

/// A logarithm.
pub(super) fn log_probability(cell: Cell, order: WordOrder, before: &[u16], after: &[u16]) -> f64 {
    if matches!(cell, Cell::Empty | Cell::Text | Cell::Setting) {
        return if before == after { 0.0 } else { SURPRISE.ln() };
    }
    if before == after {
        return 0.0;
    }
    let bits = 16.0 * before.len() as f64;
    let leap = LEAPS * (-bits * std::f64::consts::LN_2).exp();
    let number = |words: &[u16]| {
        let signed = matches!(cell, Cell::Word | Cell::Swapped | Cell::Double | Cell::Quad);
        let (value_type, with_sign) = cell.value_type()?;
        encoding::raw(if signed { with_sign.unwrap_or(value_type) } else { value_type }, cell.order(order), words)
    };
    let step = match (number(before), number(after)) {
        (Some((before, _)), Some((after, step))) => {
            // By how much it wanders is not known: each order of magnitude below half a percent is as usual as another.
            let (distance, most) = ((after - before).abs(), 0.005 * before.abs() + step);
            let spread = 2.0 * (distance + step) * (1.0 + most / step).ln();
            step / spread * (-(distance / most).powi(2)).exp()
        }
        _ => 0.0,
    };
    ((1.0 - STILL - LEAPS) * step + leap).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_that_leaps_is_the_lower_half_of_something_long() {
        let halves = |value: f32| [(value.to_bits() >> 16) as u16, value.to_bits() as u16];
        let (before, after) = (halves(230.17), halves(230.31));
        let float = log_probability(Cell::F32, WordOrder::Abcd, &before, &after);
        let words = log_probability(Cell::Word, WordOrder::Abcd, &before[1..], &after[1..]);
        assert!(words < (2.0 * LEAPS / 65_536.0).ln() && float > 2.0 * words, "{float} {words}");
        let wandering = log_probability(Cell::Word, WordOrder::Abcd, &[2301], &[2303]);
        assert!(wandering > words + 5.0, "{wandering} {words}");
        assert!(log_probability(Cell::Empty, WordOrder::Abcd, &[0], &[1]) < -10.0);
    }
}
