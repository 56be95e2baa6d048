//! Tells of an id, with few bytes, that it is certainly not in a run. Ids are uniform and come in ascending order, so the filter is
//! written from front to back; each block has its own CRC32C, as a flipped bit would make a repeat look new.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use wire::identity::IdentityKey;

use crate::page::RunFault;

const BLOCK_BYTES: usize = 64;
const BITS: u64 = (BLOCK_BYTES as u64 - 4) * 8;
const BITS_PER_ID: u64 = 10;
const PROBES: u32 = 7;
/// Blocks that are written at once.
const CHUNK_BLOCKS: u64 = 1024;

/// Bytes of a filter for so many ids.
pub(crate) fn filter_bytes(ids: u64) -> u64 {
    if ids == 0 { 0 } else { (ids * BITS_PER_ID).div_ceil(BITS) * BLOCK_BYTES as u64 }
}

/// Which block, by the first half of the id.
fn block_of(id: &IdentityKey, blocks: u64) -> u64 {
    let half = u64::from_be_bytes(std::array::from_fn(|i| id[i]));
    ((u128::from(half) * u128::from(blocks)) >> 64) as u64
}

/// Which bits of the block, by the second half.
fn bits_of(id: &IdentityKey) -> impl Iterator<Item = usize> {
    let half = |from: usize| u32::from_be_bytes(std::array::from_fn(|i| id[from + i]));
    let (first, step) = (half(8), half(12) | 1);
    (0..PROBES).map(move |probe| ((u64::from(first.wrapping_add(probe.wrapping_mul(step))) * BITS) >> 32) as usize)
}

fn holds(block: &[u8], id: &IdentityKey) -> Result<bool, RunFault> {
    let (bits, crc) = block.split_last_chunk::<4>().ok_or(RunFault::Short)?;
    if crc32c::crc32c(bits) != u32::from_le_bytes(*crc) {
        return Err(RunFault::Crc);
    }
    Ok(bits_of(id).all(|bit| bits[bit / 8] & 1 << (bit % 8) != 0))
}

/// Writes the filter at the beginning of a file whose other parts are written meanwhile.
#[derive(Debug)]
pub(crate) struct FilterWriter {
    blocks: u64,
    /// The first block of the chunk at hand.
    first: u64,
    chunk: Vec<u8>,
}

impl FilterWriter {
    pub(crate) fn new(bytes: u64) -> FilterWriter {
        let mut writer = FilterWriter { blocks: bytes / BLOCK_BYTES as u64, first: 0, chunk: Vec::new() };
        writer.begin_chunk(0);
        writer
    }

    fn begin_chunk(&mut self, first: u64) {
        self.first = first;
        self.chunk.clear();
        self.chunk.resize((self.blocks - first).min(CHUNK_BLOCKS) as usize * BLOCK_BYTES, 0);
    }

    pub(crate) fn add(&mut self, file: &File, id: &IdentityKey) -> io::Result<()> {
        let block = block_of(id, self.blocks);
        while block >= self.first + CHUNK_BLOCKS {
            self.write(file)?;
        }
        let block = &mut self.chunk[(block - self.first) as usize * BLOCK_BYTES..][..BLOCK_BYTES];
        bits_of(id).for_each(|bit| block[bit / 8] |= 1 << (bit % 8));
        Ok(())
    }

    fn write(&mut self, file: &File) -> io::Result<()> {
        for block in self.chunk.chunks_exact_mut(BLOCK_BYTES) {
            let (bits, crc) = block.split_at_mut(BLOCK_BYTES - 4);
            crc.copy_from_slice(&crc32c::crc32c(bits).to_le_bytes());
        }
        file.write_all_at(&self.chunk, self.first * BLOCK_BYTES as u64)?;
        self.begin_chunk((self.first + CHUNK_BLOCKS).min(self.blocks));
        Ok(())
    }

    pub(crate) fn finish(mut self, file: &File) -> io::Result<()> {
        while self.first < self.blocks {
            self.write(file)?;
        }
        Ok(())
    }
}

/// A written filter: in memory, or on the disk.
#[derive(Debug)]
pub(crate) struct Filter {
    bytes: u64,
    in_memory: Option<Vec<u8>>,
}

impl Filter {
    pub(crate) fn new(bytes: u64) -> Filter {
        Filter { bytes, in_memory: None }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn load(&mut self, file: &File) -> io::Result<()> {
        let mut all = vec![0; self.bytes as usize];
        file.read_exact_at(&mut all, 0)?;
        self.in_memory = Some(all);
        Ok(())
    }

    pub(crate) fn in_memory(&self) -> bool {
        self.in_memory.is_some()
    }

    /// False: the id is certainly not there.
    pub(crate) fn may_hold(&self, file: &File, id: &IdentityKey) -> io::Result<Result<bool, RunFault>> {
        if self.bytes == 0 {
            return Ok(Ok(false));
        }
        let at = block_of(id, self.bytes / BLOCK_BYTES as u64) * BLOCK_BYTES as u64;
        if let Some(all) = &self.in_memory {
            return Ok(holds(&all[at as usize..][..BLOCK_BYTES], id));
        }
        let mut block = [0; BLOCK_BYTES];
        file.read_exact_at(&mut block, at)?;
        Ok(holds(&block, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn id(number: u64) -> IdentityKey {
        let full = Sha256::digest(number.to_le_bytes());
        std::array::from_fn(|i| full[i])
    }

    #[test]
    fn every_id_is_found_few_others_are_and_a_flipped_bit_is_told() {
        let file = tempfile::tempfile().unwrap();
        let mut ids: Vec<_> = (0..100_000).map(id).collect();
        ids.sort_unstable();
        let bytes = filter_bytes(ids.len() as u64);
        let mut writer = FilterWriter::new(bytes);
        ids.iter().for_each(|id| writer.add(&file, id).unwrap());
        writer.finish(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), bytes);
        let mut filter = Filter::new(bytes);
        for in_memory in [false, true] {
            if in_memory {
                filter.load(&file).unwrap();
            }
            assert!(ids.iter().all(|id| filter.may_hold(&file, id).unwrap() == Ok(true)));
            let others = (100_000..200_000).filter(|number| filter.may_hold(&file, &id(*number)).unwrap() == Ok(true)).count();
            assert!(others < 2_500, "{others} of 100,000");
        }
        file.write_all_at(&[0x55; 40], 640).unwrap();
        filter.load(&file).unwrap();
        assert!(ids.iter().any(|id| filter.may_hold(&file, id).unwrap() == Err(RunFault::Crc)));
    }

    #[test]
    fn no_ids_make_no_filter() {
        let file = tempfile::tempfile().unwrap();
        FilterWriter::new(filter_bytes(0)).finish(&file).unwrap();
        assert_eq!(Filter::new(0).may_hold(&file, &id(1)).unwrap(), Ok(false));
    }
}
