//! A set of sequence numbers as ranges: shows gaps, merges in any order.

/// Inclusive ranges, ascending, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub fn insert(&mut self, first: u64, last: u64) {
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let until = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let joined = self.0[from..until].iter().fold((first, last), |joined, range| (joined.0.min(range.0), joined.1.max(range.1)));
        self.0.splice(from..until, [joined]);
    }

    pub fn merge(&mut self, other: &Ranges) {
        other.0.iter().for_each(|(first, last)| self.insert(*first, *last));
    }

    pub fn highest(&self) -> Option<u64> {
        self.0.last().map(|range| range.1)
    }

    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers between 1 and the highest are not in the set.
    pub fn missing(&self) -> u64 {
        let held = self.0.iter().fold(0u64, |held, (first, last)| held.saturating_add((last - first).saturating_add(1)));
        self.highest().unwrap_or(0).saturating_sub(held)
    }

    /// What lies between 1 and the highest number and is not in the set.
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        let mut next = 1;
        let mut gaps = Vec::new();
        for (first, last) in &self.0 {
            if *first > next {
                gaps.push((next, first - 1));
            }
            next = last.saturating_add(1);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn gaps_are_what_is_missing_from_one_on() {
        let mut ranges = Ranges::default();
        [3, 4, 7, 5].into_iter().for_each(|seq| ranges.insert(seq, seq));
        assert_eq!(ranges.as_slice(), [(3, 5), (7, 7)]);
        assert_eq!(ranges.gaps(), [(1, 2), (6, 6)]);
        assert_eq!((ranges.missing(), Ranges::default().missing()), (3, 0));
        assert_eq!(ranges.highest(), Some(7));
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_was_inserted(list in prop::collection::vec((1u64..60, 0u64..5), 0..40)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (first, length) in &list {
                ranges.insert(*first, first + length);
                set.extend(*first..=first + length);
            }
            let held: BTreeSet<u64> = ranges.as_slice().iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(held, set);
            prop_assert!(ranges.as_slice().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
