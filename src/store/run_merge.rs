//! Several runs as one: records in the order of their keys, what stands under one key in several of them put together.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use tally::merge_values;

use crate::run_file::RunError;
use crate::run_scan::Scan;

/// A scan that stands on a record; its key is compared from some byte on.
struct Source {
    scan: Scan,
    compared_from: usize,
}

impl Source {
    fn key(&self) -> &[u8] {
        self.scan.key().get(self.compared_from..).unwrap_or_default()
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Source) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Source) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Source {}

/// Scans side by side: the record with the least key is at hand.
pub(crate) struct SideBySide(BinaryHeap<Reverse<Source>>);

impl SideBySide {
    /// Keys are compared from that byte on; within each scan they are in that order.
    pub(crate) fn new(scans: Vec<Scan>, compared_from: usize) -> Result<SideBySide, RunError> {
        let mut heap = BinaryHeap::with_capacity(scans.len());
        for mut scan in scans {
            if scan.next()? {
                heap.push(Reverse(Source { scan, compared_from }));
            }
        }
        Ok(SideBySide(heap))
    }

    pub(crate) fn least(&self) -> Option<&Scan> {
        self.0.peek().map(|Reverse(source)| &source.scan)
    }

    /// Past the record at hand.
    pub(crate) fn step(&mut self) -> Result<(), RunError> {
        let Some(mut least) = self.0.peek_mut() else { return Ok(()) };
        if !least.0.scan.next()? {
            PeekMut::pop(least);
        }
        Ok(())
    }
}

pub(crate) struct Merged {
    sources: SideBySide,
    key: Vec<u8>,
    value: Vec<u8>,
    scratch: Vec<u8>,
}

impl Merged {
    pub(crate) fn new(scans: Vec<Scan>) -> Result<Merged, RunError> {
        Ok(Merged { sources: SideBySide::new(scans, 0)?, key: Vec::new(), value: Vec::new(), scratch: Vec::new() })
    }

    /// To the next key; false after the last.
    pub(crate) fn next(&mut self) -> Result<bool, RunError> {
        let Some(least) = self.sources.least() else { return Ok(false) };
        self.key.clear();
        self.key.extend_from_slice(least.key());
        self.value.clear();
        self.value.extend_from_slice(least.value());
        self.sources.step()?;
        while let Some(least) = self.sources.least().filter(|least| least.key() == self.key) {
            self.scratch.clear();
            merge_values(&self.key, &self.value, least.value(), &mut self.scratch)?;
            std::mem::swap(&mut self.value, &mut self.scratch);
            self.sources.step()?;
        }
        Ok(true)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.value
    }
}
