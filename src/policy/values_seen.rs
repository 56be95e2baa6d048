//! What the values of a device's readings within one clock hour tell: whether they differ at all, and a sum by which two series are
//! compared. Hashes only: the values themselves stay in the evidence log.

use serde::{Deserialize, Serialize};

/// Readings that are counted; more are as good as so many.
pub const SAID_MAX: u32 = 3;

const SAID: u32 = 0b011;
const DIFFER: u32 = 0b100;
const HASH: u32 = !0b111;

/// Of the readings of quality `N` that hold a number and whose state is `running` or not said. Merging is commutative and associative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValuesSeen {
    /// From the lowest bit: two of how many there are, one of whether they differ, and 29 of their hash, none where they differ.
    packed: u32,
    /// Of one hash a reading, wrapping.
    sum: u32,
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): every bit of the number moves every bit of the hash.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl ValuesSeen {
    /// Of one reading; `None` where it holds no number. The order of its points does not matter, nor do their names.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<ValuesSeen> {
        let mut numbers = numbers.into_iter().peekable();
        numbers.peek()?;
        // Adding zero makes one of the two zeros.
        let sum = numbers.fold(0u64, |sum, number| sum.wrapping_add(mixed((number + 0.0).to_bits() ^ 0x5EED)));
        let hash = mixed(sum);
        Some(ValuesSeen { packed: (hash as u32 & HASH) | 1, sum: (hash >> 32) as u32 })
    }

    pub fn merge(&mut self, other: ValuesSeen) {
        if self.packed == 0 || other.packed == 0 {
            self.packed |= other.packed;
        } else {
            let said = (self.said() + other.said()).min(SAID_MAX);
            let alike = self.packed & HASH == other.packed & HASH && (self.packed | other.packed) & DIFFER == 0;
            self.packed = said | if alike { self.packed & HASH } else { DIFFER };
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn said(self) -> u32 {
        self.packed & SAID
    }

    /// Enough readings to tell whether anything moves.
    pub fn enough(self) -> bool {
        self.said() == SAID_MAX
    }

    pub fn differ(self) -> bool {
        self.packed & DIFFER != 0
    }

    /// Equal for equal series, where there are enough readings and they differ: that two machines stand still makes them no copies.
    pub fn series(self) -> Option<u32> {
        (self.enough() && self.differ()).then_some(self.sum)
    }

    /// As it is stored.
    pub fn parts(self) -> (u32, u32) {
        (self.packed, self.sum)
    }

    /// `None` for what no readings make.
    pub fn from_parts(packed: u32, sum: u32) -> Option<ValuesSeen> {
        let sound = packed & SAID != 0 && (packed & DIFFER == 0 || (packed & HASH == 0 && packed & SAID > 1));
        sound.then_some(ValuesSeen { packed, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(readings: &[Vec<f64>]) -> ValuesSeen {
        let mut seen = ValuesSeen::default();
        readings.iter().filter_map(|numbers| ValuesSeen::of(numbers.iter().copied())).for_each(|one| seen.merge(one));
        seen
    }

    proptest! {
        #[test]
        fn it_tells_whether_readings_differ_in_any_order_and_however_they_are_cut(
            list in prop::collection::vec(prop::collection::vec((0u8..3).prop_map(f64::from), 0..3), 0..8),
            cut in 0usize..8,
        ) {
            let whole = seen(&list);
            let mut sorted: Vec<Vec<f64>> = list.iter().filter(|numbers| !numbers.is_empty()).cloned().collect();
            sorted.iter_mut().for_each(|numbers| numbers.sort_by(f64::total_cmp));
            prop_assert_eq!(whole.said() as usize, sorted.len().min(3));
            prop_assert_eq!(whole.differ(), sorted.windows(2).any(|pair| pair[0] != pair[1]));
            let cut = cut.min(list.len());
            let mut parts = seen(&list[cut..]);
            parts.merge(seen(&list[..cut]));
            prop_assert_eq!(parts, whole);
            let (packed, sum) = whole.parts();
            prop_assert_eq!(ValuesSeen::from_parts(packed, sum), (whole.said() > 0).then_some(whole));
        }
    }

    #[test]
    fn equal_series_have_equal_sums_in_any_order_and_others_have_not() {
        let series = |list: &[&[f64]]| seen(&list.iter().map(|numbers| numbers.to_vec()).collect::<Vec<_>>()).series();
        let whole = series(&[&[1.0, 2.0], &[1.5, 2.0], &[1.0, 2.0]]);
        assert!(whole.is_some());
        assert_eq!(whole, series(&[&[2.0, 1.5], &[1.0, 2.0], &[2.0, 1.0]]));
        assert_ne!(whole, series(&[&[1.0, 2.0], &[1.5, 2.0], &[1.5, 2.0]]));
        // The numbers of one reading belong together.
        assert_ne!(series(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0]]), series(&[&[1.0, 4.0], &[3.0, 2.0], &[5.0]]));
        assert_eq!(series(&[&[1.0], &[1.0], &[1.0]]), None, "standing still makes no copies");
        assert_eq!(series(&[&[1.0], &[2.0]]), None, "too few");
    }

    #[test]
    fn the_hash_of_a_reading_is_pinned() {
        // Stored facts of all machines rest on it.
        assert_eq!(ValuesSeen::of([4.2, -0.0]).unwrap(), ValuesSeen::of([0.0, 4.2]).unwrap());
        assert_eq!(ValuesSeen::of([4.2, 0.0]).unwrap().parts(), (0xA16B_E411, 0xE1E4_568B));
        assert_eq!(ValuesSeen::of([]), None);
    }
}
