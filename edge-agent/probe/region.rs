//! Registers that lie next to each other, as they were read once or several times.

use std::ops::Range;

use crate::point::Table;

/// Registers from `start` on that can all be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub unit_id: u8,
    pub table: Table,
    pub start: u16,
    pub words: Vec<u16>,
    /// What stood there later, in the order of time; only where it was looked at again.
    pub later: Vec<Vec<Option<u16>>>,
}

impl Region {
    pub fn new(unit_id: u8, table: Table, start: u16, words: Vec<u16>) -> Region {
        Region { unit_id, table, start, words, later: Vec::new() }
    }

    pub(super) fn address(&self, index: usize) -> u16 {
        self.start + index as u16
    }

    /// These registers at each later time at which all of them were read.
    pub(super) fn later_words(&self, range: Range<usize>) -> impl Iterator<Item = Vec<u16>> {
        self.later.iter().filter_map(move |words| words.get(range.clone())?.iter().copied().collect())
    }
}
