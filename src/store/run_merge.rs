//! Several runs as one: records in the order of their keys, what stands under one key in several of them put together.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use tally::merge_values;

use crate::run_file::RunError;
use crate::run_scan::Scan;

/// A scan that stands on a record.
struct Source(Scan);

impl Ord for Source {
    fn cmp(&self, other: &Source) -> Ordering {
        self.0.key().cmp(other.0.key())
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

pub(crate) struct Merged {
    sources: BinaryHeap<Reverse<Source>>,
    key: Vec<u8>,
    value: Vec<u8>,
    scratch: Vec<u8>,
}

impl Merged {
    pub(crate) fn new(scans: Vec<Scan>) -> Result<Merged, RunError> {
        let mut sources = BinaryHeap::with_capacity(scans.len());
        for mut scan in scans {
            if scan.next()? {
                sources.push(Reverse(Source(scan)));
            }
        }
        Ok(Merged { sources, key: Vec::new(), value: Vec::new(), scratch: Vec::new() })
    }

    /// To the next key; false after the last.
    pub(crate) fn next(&mut self) -> Result<bool, RunError> {
        let Some(least) = self.sources.peek_mut() else { return Ok(false) };
        self.key.clear();
        self.key.extend_from_slice(least.0.0.key());
        self.value.clear();
        self.value.extend_from_slice(least.0.0.value());
        step(least)?;
        while let Some(least) = self.sources.peek_mut().filter(|least| least.0.0.key() == self.key) {
            self.scratch.clear();
            merge_values(&self.key, &self.value, least.0.0.value(), &mut self.scratch)?;
            std::mem::swap(&mut self.value, &mut self.scratch);
            step(least)?;
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

/// To the source's next record; a source without one goes.
fn step(mut source: PeekMut<'_, Reverse<Source>>) -> Result<(), RunError> {
    if !source.0.0.next()? {
        PeekMut::pop(source);
    }
    Ok(())
}
