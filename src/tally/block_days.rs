//! Which blocks of the log hold what was received on a day: the first and the last of them. Positions, no facts: they differ where
//! the same messages came in another order.

use std::collections::BTreeMap;

use policy::calendar::Day;

use crate::encode::DecodeError;
use crate::key::numbered_day;
use crate::slot::{DAY_US, SHANGHAI_AHEAD_US};

/// Numbers of blocks, both included.
pub type BlockRange = (u64, u64);

/// By day of receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDays(BTreeMap<i32, BlockRange>);

impl BlockDays {
    pub(crate) fn note(&mut self, received_us: i64, block: u64) {
        // Chrono's days fit by far.
        let day = (received_us + SHANGHAI_AHEAD_US).div_euclid(DAY_US) as i32;
        self.widen(day, (block, block));
    }

    fn widen(&mut self, day: i32, more: BlockRange) {
        let range = self.0.entry(day).or_insert(more);
        *range = (range.0.min(more.0), range.1.max(more.1));
    }

    pub fn merge(&mut self, other: &BlockDays) {
        other.0.iter().for_each(|(day, range)| self.widen(*day, *range));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Oldest first.
    pub fn days(&self) -> impl Iterator<Item = Result<(Day, BlockRange), DecodeError>> {
        self.0.iter().map(|(day, range)| Ok((numbered_day(*day)?, *range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use policy::calendar::day_of;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_day_has_its_first_and_last_block_however_the_log_is_cut(
            list in prop::collection::vec((0i64..400_000_000_000, 0u64..50), 1..40),
            cut in 0usize..40,
        ) {
            let (mut first, mut second) = (BlockDays::default(), BlockDays::default());
            let cut = cut.min(list.len());
            list[..cut].iter().for_each(|(us, block)| first.note(*us, *block));
            list[cut..].iter().rev().for_each(|(us, block)| second.note(*us, *block));
            second.merge(&first);
            let mut days = 0;
            for day in second.days() {
                let (day, range) = day.unwrap();
                let blocks = list.iter().filter(|(us, _)| day_of(DateTime::from_timestamp_micros(*us).unwrap()) == day);
                let blocks: Vec<u64> = blocks.map(|(_, block)| *block).collect();
                prop_assert_eq!(Some(range), blocks.iter().min().copied().zip(blocks.iter().max().copied()));
                days += blocks.len();
            }
            prop_assert_eq!(days, list.len());
        }
    }
}
