//! Which addresses of a table can be read, and what stands there: first where machines usually begin, then ever finer.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use tokio::time::sleep;

use super::asker::Asker;
use super::reader::{Reader, Trouble};
use crate::modbus::Unreachable;
use crate::point::{Block, Table};

/// One past the last address.
const END: u32 = 65_536;
/// After so many zeros in a row the rest is looked at later: the machine may answer zero for everything it doesn't have.
const ZEROS_MAX: u32 = 512;
pub(super) const LEVELS: usize = 4;
const ILLEGAL_FUNCTION: u8 = 1;
/// Acknowledge (wait) and busy.
const LATER: [u8; 2] = [5, 6];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Readable,
    Missing,
}

/// Why a table is not looked at further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Spent,
    /// The machine doesn't know the function code.
    NoTable,
    Unreachable(Unreachable),
}

pub(super) struct TableScan {
    pub(super) unit_id: u8,
    pub(super) table: Table,
    bounds: Range<u32>,
    known: Vec<Known>,
    words: Vec<u16>,
    /// What one request is known to may ask for, and what we ask for at most.
    largest: u16,
    limit: u16,
    /// The machine refuses more than `limit` in one request, although each part can be read.
    pub(super) limited: bool,
    /// So many zeros in a row were answered that zeros are probably answered everywhere.
    pub(super) zeros_everywhere: bool,
    pub(super) stop: Option<Stop>,
}

impl TableScan {
    pub(super) fn new(unit_id: u8, table: Table, bounds: Range<u32>) -> TableScan {
        let limit = table.quantity_max();
        // Even, because some machines don't give half of a value of two registers.
        let limit = limit - limit % 2;
        TableScan {
            unit_id,
            table,
            bounds,
            known: vec![Known::Nothing; END as usize],
            words: vec![0; END as usize],
            largest: 0,
            limit,
            limited: false,
            zeros_everywhere: false,
            stop: None,
        }
    }

    /// The most that one request may ask for, as far as it showed.
    pub(super) fn quantity_max(&self) -> u16 {
        if self.limited { self.limit } else { self.table.quantity_max() }
    }

    pub(super) fn ranges(&self) -> Vec<Range<u32>> {
        let mut out: Vec<Range<u32>> = Vec::new();
        for address in (0..END).filter(|address| self.known[*address as usize] == Known::Readable) {
            match out.last_mut() {
                Some(last) if last.end == address => last.end += 1,
                _ => out.push(address..address + 1),
            }
        }
        out
    }

    pub(super) fn words(&self, range: Range<u32>) -> &[u16] {
        &self.words[range.start as usize..range.end as usize]
    }

    /// One level finer. Ends early when the table stops giving.
    pub(super) async fn look<R: Reader>(&mut self, asker: &mut Asker<R>, level: usize) {
        if self.stop.is_none()
            && let Err(stop) = self.look_at(asker, level).await
        {
            self.stop = Some(stop);
        }
    }

    async fn look_at<R: Reader>(&mut self, asker: &mut Asker<R>, level: usize) -> Result<(), Stop> {
        // Bits are few, and begin where handbooks begin.
        let addresses = if self.table.holds_bits() && level > 1 { Vec::new() } else { addresses(level, &self.bounds) };
        for address in addresses {
            let mut waiting = VecDeque::from([address]);
            while let Some(address) = waiting.pop_front() {
                waiting.extend(self.probe(asker, address).await?);
            }
        }
        if level + 1 == LEVELS {
            // What was put off: the rest behind many zeros.
            for range in self.ranges() {
                self.grow_up(asker, range.end, END).await?;
            }
        }
        Ok(())
    }

    /// Looks at an address, and where it can be read at all around it. What to look at next: the neighbourhood of what was found.
    async fn probe<R: Reader>(&mut self, asker: &mut Asker<R>, address: u32) -> Result<Vec<u32>, Stop> {
        if !self.bounds.contains(&address) || self.known[address as usize] != Known::Nothing {
            return Ok(Vec::new());
        }
        let block = u32::from(self.limit).min(self.bounds.end - address);
        let whole = self.zeros_everywhere && self.attempt(asker, address, block as u16).await?;
        let empty = whole && self.words(address..address + block).iter().all(|word| *word == 0);
        if empty || !whole && !self.attempt(asker, address, 1).await? {
            return Ok(Vec::new());
        }
        let end = self.grow_up(asker, address, self.zeros_max()).await?;
        let start = self.grow_down(asker, address).await?;
        let beyond = (1..8).chain([11, 15, 23, 31]);
        Ok(beyond.flat_map(|step| [Some(end + step), start.checked_sub(step + 1)]).flatten().collect())
    }

    fn zeros_max(&self) -> u32 {
        if self.zeros_everywhere { ZEROS_MAX / 8 } else { ZEROS_MAX }
    }

    /// Reads on from `address`; the first address that cannot be read or wasn't looked at.
    async fn grow_up<R: Reader>(&mut self, asker: &mut Asker<R>, address: u32, zeros_max: u32) -> Result<u32, Stop> {
        let mut next = address;
        let mut step = self.limit;
        let mut refused: Vec<(u32, u16)> = Vec::new();
        let mut zeros = 0;
        while next < self.bounds.end {
            match self.known[next as usize] {
                Known::Missing => break,
                Known::Readable => {
                    zeros = if self.words[next as usize] == 0 { zeros + 1 } else { 0 };
                    next += 1;
                    continue;
                }
                Known::Nothing => {}
            }
            if zeros >= zeros_max {
                self.zeros_everywhere = true;
                break;
            }
            let room = (next..self.bounds.end).take_while(|address| self.known[*address as usize] == Known::Nothing).count();
            let quantity = step.min(self.limit).min(u16::try_from(room).unwrap_or(u16::MAX));
            if self.attempt(asker, next, quantity).await? {
                let reached = next + u32::from(quantity);
                let in_vain = refused.iter().filter(|(start, quantity)| start + u32::from(*quantity) <= reached);
                if let Some(&(start, quantity)) = in_vain.min_by_key(|(_, quantity)| *quantity) {
                    self.narrow(asker, start, quantity).await?;
                    refused.clear();
                }
                if refused.is_empty() {
                    step = self.limit;
                }
            } else if quantity == 1 {
                break;
            } else {
                refused.push((next, quantity));
                step = half(quantity);
            }
        }
        Ok(next)
    }

    /// The first address of the readable range around `address`.
    async fn grow_down<R: Reader>(&mut self, asker: &mut Asker<R>, address: u32) -> Result<u32, Stop> {
        let mut start = address;
        let mut step = 1;
        let mut widening = true;
        let mut zeros = 0;
        while start > self.bounds.start && zeros < self.zeros_max() {
            match self.known[start as usize - 1] {
                Known::Missing => break,
                Known::Readable => {
                    start -= 1;
                    zeros = if self.words[start as usize] == 0 { zeros + 1 } else { 0 };
                    continue;
                }
                Known::Nothing => {}
            }
            let room = (self.bounds.start..start).rev().take_while(|address| self.known[*address as usize] == Known::Nothing).count();
            let quantity = u32::from(step).min(room as u32) as u16;
            if self.attempt(asker, start - u32::from(quantity), quantity).await? {
                if widening {
                    step = (step * 2).min(self.limit);
                }
            } else if quantity == 1 {
                break;
            } else {
                widening = false;
                step = half(quantity);
            }
        }
        Ok(start)
    }

    /// `quantity` was refused although all of it can be read: how many are given at once?
    async fn narrow<R: Reader>(&mut self, asker: &mut Asker<R>, start: u32, quantity: u16) -> Result<(), Stop> {
        let (mut given, mut refused) = (self.largest.max(1), quantity);
        while refused > given + 1 {
            let between = given.midpoint(refused);
            if self.attempt(asker, start, between).await? {
                given = between;
            } else {
                refused = between;
            }
        }
        self.limit = given;
        self.limited = true;
        Ok(())
    }

    async fn attempt<R: Reader>(&mut self, asker: &mut Asker<R>, address: u32, quantity: u16) -> Result<bool, Stop> {
        let start = address as usize;
        let mut again = 0;
        let refused = loop {
            let trouble = match asker.read(self.unit_id, self.table, address as u16, quantity).await {
                Ok(block) => {
                    let words = match block {
                        Block::Words(words) => words,
                        Block::Bits(bits) => bits.into_iter().map(u16::from).collect(),
                    };
                    self.known[start..start + words.len()].fill(Known::Readable);
                    self.words[start..start + words.len()].copy_from_slice(&words);
                    self.largest = self.largest.max(quantity);
                    return Ok(true);
                }
                Err(trouble) => trouble,
            };
            again += 1;
            match trouble {
                Trouble::Spent => return Err(Stop::Spent),
                Trouble::Exception(ILLEGAL_FUNCTION) => return Err(Stop::NoTable),
                Trouble::Unreachable(why) if again > 3 => return Err(Stop::Unreachable(why)),
                Trouble::Exception(code) if LATER.contains(&code) && again <= 3 => {}
                Trouble::Unreachable(_) => {}
                trouble => break trouble,
            }
            // A machine that is busy, or has closed its door, is given time.
            sleep(Duration::from_millis(300)).await;
        };
        if quantity == 1 && refused != Trouble::Spent {
            self.known[start] = Known::Missing;
        }
        Ok(false)
    }
}

fn half(quantity: u16) -> u16 {
    match quantity / 2 {
        half if half > 2 => half - half % 2,
        half => half,
    }
}

/// Where to look at this level: handbooks like round numbers, of either kind.
fn addresses(level: usize, bounds: &Range<u32>) -> Vec<u32> {
    let narrow = bounds.end - bounds.start <= 2_000;
    let below = |end: u32, stride: usize| (0..end).step_by(stride);
    let mut out: Vec<u32> = match level {
        0 => (0..16)
            .chain(below(10_000, 100).flat_map(|round| [round, round + 1]))
            .chain(below(END, 256))
            .chain(below(END, 1000))
            .chain((1000..=10_000).step_by(1000).map(|round| round - 1))
            .chain((500..END).step_by(500))
            .collect(),
        1 => below(10_000, 16).chain((10_000..END).step_by(64)).collect(),
        2 => below(10_000, 8).chain((10_000..END).step_by(16)).collect(),
        _ => below(10_000, 4).collect(),
    };
    if narrow && level == 0 {
        out = bounds.clone().collect();
    }
    out.push(bounds.start);
    out.retain(|address| bounds.contains(address));
    out
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
