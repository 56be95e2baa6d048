//! Reading runs: a range of keys in order, or the greatest record that is not above a key.

use std::sync::Arc;

use crate::page::{PageCursor, RunFault, records_of};
use crate::run_file::{PageRef, Run, RunError};

/// A range of a run's records, in order.
pub(crate) struct Scan {
    run: Arc<Run>,
    /// The first key that is no longer wanted.
    until: Vec<u8>,
    /// Pages are read together up to so many bytes.
    read_ahead: usize,
    /// The next index page, by its place in the root.
    next_index: usize,
    /// The index page at hand, by its place in the root.
    index_at: usize,
    index: Vec<u8>,
    pages: Vec<PageRef>,
    next_page: usize,
    /// Pages on end, as they stand in the file from `buffer_at`.
    buffer: Vec<u8>,
    buffer_at: u64,
    cursor: PageCursor,
    /// The cursor stands on a record that was not given yet.
    waiting: bool,
}

impl Scan {
    /// Records with `from <= key < until`.
    pub(crate) fn new(run: &Arc<Run>, from: &[u8], until: &[u8], read_ahead: usize) -> Result<Scan, RunError> {
        let mut scan = Scan {
            run: run.clone(),
            until: Vec::new(),
            read_ahead,
            next_index: 0,
            index_at: usize::MAX,
            index: Vec::new(),
            pages: Vec::new(),
            next_page: 0,
            buffer: Vec::new(),
            buffer_at: 0,
            cursor: PageCursor::default(),
            waiting: false,
        };
        scan.go_to(from, until)?;
        Ok(scan)
    }

    /// To another range of the same run. The index page and the pages that were read last stay at hand.
    pub(crate) fn go_to(&mut self, from: &[u8], until: &[u8]) -> Result<(), RunError> {
        self.until.clear();
        self.until.extend_from_slice(until);
        self.next_index = self.run.root().partition_point(|(first, _)| first.as_slice() <= from).saturating_sub(1);
        self.pages.clear();
        self.next_page = 0;
        self.cursor = PageCursor::default();
        self.waiting = false;
        if self.next_index_page(from)? && self.begin_page()? {
            while self.step()? {
                if self.cursor.key() >= from {
                    self.waiting = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// To the next record; false after the last.
    pub(crate) fn next(&mut self) -> Result<bool, RunError> {
        let found = std::mem::take(&mut self.waiting) || self.step()?;
        Ok(found && self.cursor.key() < self.until.as_slice())
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.cursor.value(&self.buffer)
    }

    fn step(&mut self) -> Result<bool, RunError> {
        loop {
            if self.cursor.next(&self.buffer).map_err(|fault| self.run.damaged(fault))? {
                return Ok(true);
            }
            if self.next_page >= self.pages.len() && !self.next_index_page(&[])? {
                return Ok(false);
            }
            self.begin_page()?;
        }
    }

    /// Pages from the one on in which `from` would stand.
    fn next_index_page(&mut self, from: &[u8]) -> Result<bool, RunError> {
        let Some((first, page)) = self.run.root().get(self.next_index) else { return Ok(false) };
        if first.as_slice() >= self.until.as_slice() {
            return Ok(false);
        }
        if self.index_at != self.next_index {
            self.index = self.run.read(*page)?;
            self.index_at = self.next_index;
        }
        let index = &self.index;
        self.next_index += 1;
        self.pages.clear();
        self.next_page = 0;
        let mut cursor = PageCursor::default();
        cursor.begin(0..index.len());
        while cursor.next(index).map_err(|fault| self.run.damaged(fault))? {
            if cursor.key() >= self.until.as_slice() {
                break;
            }
            if cursor.key() <= from {
                self.pages.clear();
            }
            self.pages.push(PageRef::read(cursor.value(index)).map_err(|fault| self.run.damaged(fault))?);
        }
        Ok(!self.pages.is_empty())
    }

    fn begin_page(&mut self) -> Result<bool, RunError> {
        let Some(page) = self.pages.get(self.next_page).copied() else { return Ok(false) };
        let end = page.at + page.bytes as u64;
        if page.at < self.buffer_at || end > self.buffer_at + self.buffer.len() as u64 {
            // Pages of one index page stand one after the other.
            let ends = self.pages[self.next_page..].iter().map(|page| page.at + page.bytes as u64);
            let end = ends.take_while(|end| *end <= page.at + self.read_ahead as u64).last().unwrap_or(end).max(end);
            self.buffer = self.run.read_bytes(page.at, (end - page.at) as usize)?;
            self.buffer_at = page.at;
        }
        let begin = (page.at - self.buffer_at) as usize;
        let records = records_of(&self.buffer[begin..begin + page.bytes]).map_err(|fault| self.run.damaged(fault))?.len();
        self.cursor.begin(begin..begin + records);
        self.next_page += 1;
        Ok(true)
    }
}

/// Finds single records; keys that are asked for in ascending order find their page still at hand.
pub(crate) struct Finder {
    run: Arc<Run>,
    /// By its place in the root.
    index_at: usize,
    index: Vec<u8>,
    page_at: u64,
    page: Vec<u8>,
}

/// A record where it was found.
#[derive(Default)]
pub(crate) struct Found<'f> {
    pub(crate) key: Vec<u8>,
    pub(crate) value: &'f [u8],
}

impl Finder {
    pub(crate) fn new(run: &Arc<Run>) -> Finder {
        Finder { run: run.clone(), index_at: usize::MAX, index: Vec::new(), page_at: u64::MAX, page: Vec::new() }
    }

    /// The greatest record whose key is not above this one.
    pub(crate) fn at_or_below(&mut self, key: &[u8]) -> Result<Option<Found<'_>>, RunError> {
        let Some(index_at) = self.run.root().partition_point(|(first, _)| first.as_slice() <= key).checked_sub(1) else {
            return Ok(None);
        };
        if self.index_at != index_at {
            self.index = self.run.read(self.run.root()[index_at].1)?;
            self.index_at = index_at;
        }
        let damaged = |fault| self.run.damaged(fault);
        let Some(page) = last_up_to(&self.index, key).map_err(damaged)? else { return Ok(None) };
        let page = PageRef::read(page.value).map_err(damaged)?;
        if self.page_at != page.at {
            self.page = self.run.read(page)?;
            self.page_at = page.at;
        }
        last_up_to(&self.page, key).map_err(damaged)
    }
}

/// The last record of a page whose key is not above this one.
fn last_up_to<'p>(page: &'p [u8], key: &[u8]) -> Result<Option<Found<'p>>, RunFault> {
    let (mut cursor, mut found) = (PageCursor::default(), None);
    cursor.begin(0..page.len());
    while cursor.next(page)? && cursor.key() <= key {
        let found = found.get_or_insert_with(Found::default);
        found.key.clear();
        found.key.extend_from_slice(cursor.key());
        found.value = cursor.value(page);
    }
    Ok(found)
}
