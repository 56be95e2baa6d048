//! How most values of a machine are kept: whoever programmed it did so in one manner, but for what is counted.

use super::cell::Cell;
use super::expected::Expected;
use crate::point::WordOrder;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Words,
    Doubles,
    Floats,
    /// Four registers to a value, whole or floating.
    Long,
    Decimal,
}

/// How usual each is.
pub(super) const STYLES: [(Style, f64); 5] =
    [(Style::Words, 0.40), (Style::Doubles, 0.19), (Style::Floats, 0.33), (Style::Long, 0.04), (Style::Decimal, 0.04)];

/// How much more usual a kind is for one value of the display than for any registers, on a machine of each style; logarithms.
pub(super) type Fit = [f64; STYLES.len()];

impl Style {
    /// How usual it is that a value of a display is kept so. `long`: more digits than one register holds.
    pub(super) fn keeps(self, cell: Cell, counted: f64, long: bool) -> f64 {
        let (plain, counter) = match (self, cell) {
            (Style::Words, Cell::Word) => (if long { 0.0 } else { 0.95 }, 0.2),
            (Style::Words, Cell::Double) => (if long { 0.9 } else { 0.03 }, 0.75),
            (Style::Words, Cell::F32) => (0.01, 0.02),
            (Style::Doubles, Cell::Double) => (0.95, 0.95),
            (Style::Doubles, Cell::Word) => (0.03, 0.01),
            (Style::Doubles, Cell::F32) => (0.01, 0.01),
            (Style::Floats, Cell::F32) => (0.93, 0.65),
            (Style::Floats, Cell::Double) => (0.02, 0.3),
            (Style::Floats, Cell::Word) => (0.03, 0.01),
            (Style::Long, Cell::Quad | Cell::F64) => (0.46, 0.46),
            (Style::Long, Cell::Double) => (0.03, 0.04),
            (Style::Decimal, Cell::Bcd16) => (if long { 0.0 } else { 0.6 }, 0.05),
            (Style::Decimal, Cell::Bcd32) => (0.3, 0.85),
            (Style::Decimal, Cell::Double) => (0.04, 0.04),
            _ => (0.003, 0.003),
        };
        (1.0 - counted) * plain + counted * counter
    }
}

/// How probably the value is a count, of hours, pieces or energy, that is kept longer than it is now.
pub(super) fn counted(expected: &Expected) -> f64 {
    match (expected.value.abs(), expected.decimals) {
        (3000.0.., 0) => 0.95,
        (1200.0.., 1..) => 0.9,
        (1000.0.., _) => 0.5,
        _ => 0.02,
    }
}

pub(super) fn fit(cell: Cell, expected: &Expected, number: f64) -> Fit {
    let cell = if cell == Cell::Swapped { Cell::Word } else { cell };
    let long = number.abs() > if cell == Cell::Bcd32 { 9_999.0 } else { 65_535.0 };
    let counted = counted(expected);
    STYLES.map(|(style, _)| (style.keeps(cell, counted, long) / cell.prior(WordOrder::Abcd, style)).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_in_two_registers_where_measured_values_have_one() {
        let of = |text: &str, cell: Cell| fit(cell, &Expected::read("x", text).unwrap(), 23_017.0)[0];
        assert!(of("23017", Cell::Double) > of("23017", Cell::Word) + 2.0);
        assert!(of("230.17", Cell::Word) > of("230.17", Cell::Double) + 1.0);
    }
}
