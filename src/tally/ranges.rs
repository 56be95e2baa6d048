//! A set of sequence numbers as ranges: shows gaps, merges in any order, and stays small whatever is put in.

/// More ranges than this are not kept: the lowest give way, and below them numbers are only counted. Tests reach it sooner.
pub(crate) const RANGES_MAX: usize = if cfg!(test) { 256 } else { 10_000 };

/// Inclusive ranges, ascending, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Of the numbers up to here only the count is known.
    floor: u64,
    held_to_floor: u64,
    list: Vec<(u64, u64)>,
}

impl Ranges {
    /// As they were stored; ranges that are not in order are put in order.
    pub(crate) fn from_parts(floor: u64, held_to_floor: u64, list: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges { floor, held_to_floor, list: Vec::with_capacity(list.len().min(RANGES_MAX)) };
        list.iter().for_each(|(first, last)| ranges.insert(*first, *last));
        ranges
    }

    /// Up to the floor a number must come only once: there they are counted, not told apart.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first <= self.floor {
            self.held_to_floor = self.held_to_floor.saturating_add((last.min(self.floor) - first).saturating_add(1));
        }
        let first = first.max(self.floor.saturating_add(1));
        if first > last {
            return;
        }
        let from = self.list.partition_point(|(_, end)| end.saturating_add(1) < first);
        let until = self.list.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let joined = self.list[from..until].iter().fold((first, last), |joined, range| (joined.0.min(range.0), joined.1.max(range.1)));
        self.list.splice(from..until, [joined]);
        if self.list.len() > RANGES_MAX {
            self.raise_floor(self.list[self.list.len() - RANGES_MAX - 1].1);
        }
    }

    fn raise_floor(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        let whole = self.list.partition_point(|(_, last)| *last <= floor);
        for (first, last) in self.list.drain(..whole) {
            self.held_to_floor = self.held_to_floor.saturating_add((last - first).saturating_add(1));
        }
        if let Some((first, _)) = self.list.first_mut().filter(|(first, _)| *first <= floor) {
            self.held_to_floor = self.held_to_floor.saturating_add(floor - *first + 1);
            *first = floor + 1;
        }
    }

    pub fn merge(&mut self, other: &Ranges) {
        self.raise_floor(other.floor);
        self.held_to_floor = self.held_to_floor.saturating_add(other.held_to_floor);
        other.list.iter().for_each(|(first, last)| self.insert(*first, *last));
    }

    /// `None`: it is not known here.
    pub fn contains(&self, number: u64) -> Option<bool> {
        if number <= self.floor {
            return None;
        }
        let at = self.list.partition_point(|(_, last)| *last < number);
        Some(self.list.get(at).is_some_and(|(first, _)| *first <= number))
    }

    pub fn highest(&self) -> Option<u64> {
        self.list.last().map(|range| range.1).or_else(|| (self.floor > 0).then_some(self.floor))
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    pub fn held_to_floor(&self) -> u64 {
        self.held_to_floor
    }

    /// What is held above the floor.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.list
    }

    /// How many numbers between 1 and the highest are not in the set.
    pub fn missing(&self) -> u64 {
        let above: u64 = self.list.iter().fold(0, |held: u64, (first, last)| held.saturating_add((last - first).saturating_add(1)));
        self.highest().unwrap_or(0).saturating_sub(above.saturating_add(self.held_to_floor))
    }

    /// What lies between the floor and the highest number and is not in the set.
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        let mut next = self.floor.saturating_add(1);
        let mut gaps = Vec::new();
        for (first, last) in &self.list {
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
        assert_eq!([1, 3, 5, 6, 7, 8].map(|seq| ranges.contains(seq)), [false, true, true, false, true, false].map(Some));
    }

    #[test]
    fn a_sender_that_leaves_out_every_other_number_takes_no_more_room() {
        let mut ranges = Ranges::default();
        (1..=1000).map(|n| 2 * n).for_each(|even| ranges.insert(even, even));
        assert_eq!(ranges.as_slice().len(), RANGES_MAX);
        assert_eq!((ranges.floor(), ranges.held_to_floor()), (2 * (1000 - 256), 1000 - 256));
        assert_eq!(
            (ranges.contains(2), ranges.contains(3), ranges.contains(1999), ranges.contains(2000)),
            (None, None, Some(false), Some(true))
        );
        ranges.insert(3, 3);
        assert_eq!(ranges.held_to_floor(), 1001 - 256);
        ranges.insert(1487, 1489);
        assert_eq!((ranges.as_slice()[0], ranges.held_to_floor()), ((1489, 1490), 1003 - 256));
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

        #[test]
        fn what_is_known_of_a_number_is_right_however_many_ranges_there_are(numbers in prop::collection::hash_set(1u64..4_000, 0..1_500), cut in 0usize..1_500) {
            let list: Vec<u64> = numbers.iter().copied().collect();
            let (mut ranges, mut rest) = (Ranges::default(), Ranges::default());
            list[..cut.min(list.len())].iter().for_each(|n| ranges.insert(*n, *n));
            list[cut.min(list.len())..].iter().for_each(|n| rest.insert(*n, *n));
            ranges.merge(&rest);
            for n in 1..4_000 {
                prop_assert!(ranges.contains(n).is_none_or(|known| known == numbers.contains(&n)), "{}", n);
            }
            let above: u64 = ranges.as_slice().iter().map(|(first, last)| last - first + 1).sum();
            prop_assert_eq!(ranges.held_to_floor() + above, numbers.len() as u64);
            prop_assert_eq!(ranges.highest(), numbers.iter().max().copied());
            prop_assert_eq!(ranges.missing(), numbers.iter().max().map_or(0, |max| max - numbers.len() as u64));
        }
    }
}
