//! The member `evidence.bin.gz`: the records, proved against the root of the log.
//!
//! Unpacked, all numbers little-endian: `SYE1`; blocks u64; each block; hashes u32 and that many hashes of 32 bytes, which prove the
//! blocks' leaves in the log (see `tree`). A block: form u8. Form 2: the 52 header fields of an `SYB2` block, records carried u32, each
//! with its index u32, length u32 and bytes; hashes u32 and the hashes that prove those records in the block's tree. Form 1: length u32
//! and a whole `SYB1` block.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use store::{
    HEADER_FIELDS_BYTES, Hash, Record, block_at, block_leaf, block_number, is_whole, leaf_hash, leaf_of_records, record_count, record_of,
    records_with_bytes,
};

use crate::tree::{Leaf, Proof, root_with};

const MAGIC: &[u8; 4] = b"SYE1";
const WHOLE: u8 = 1;
const BY_RECORD: u8 = 2;
/// No block is longer, and so no record.
const LENGTH_MAX: u32 = 64 << 20;
/// Unpacked. Far more than a month of reports of the largest enterprise.
const RAW_BYTES_MAX: u64 = 16 << 30;

#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    #[error("it cannot be unpacked: {0}")]
    Unpack(#[from] io::Error),
    #[error("{0}")]
    Form(String),
}

fn form(what: impl Into<String>) -> EvidenceError {
    EvidenceError::Form(what.into())
}

/// One block of the log as a pack carries it.
pub(crate) struct Carried {
    bytes: Vec<u8>,
}

impl Carried {
    /// The records of a sound block that are wanted; `None` if there is none.
    pub(crate) fn of(block: &[u8], mut wanted: impl FnMut(&Record<'_>) -> bool) -> Option<Carried> {
        let (mut shown, mut proof, mut count) = (Vec::new(), Proof::default(), 0u32);
        for (index, (record, bytes)) in (0u32..).zip(records_with_bytes(block).flatten()) {
            let take = wanted(&record);
            proof.push(leaf_hash(bytes), if take { Leaf::Shown } else { Leaf::Alike(false) });
            if take {
                count += 1;
                shown.extend_from_slice(&index.to_le_bytes());
                put(&mut shown, bytes);
            }
        }
        if count == 0 {
            return None;
        }
        if is_whole(block) {
            let mut bytes = vec![WHOLE];
            put(&mut bytes, block);
            return Some(Carried { bytes });
        }
        let mut bytes = vec![BY_RECORD];
        bytes.extend_from_slice(&block[..HEADER_FIELDS_BYTES]);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&shown);
        put_hashes(&mut bytes, &proof.finish().1);
        Some(Carried { bytes })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_hashes(out: &mut Vec<u8>, hashes: &[Hash]) {
    out.extend_from_slice(&(hashes.len() as u32).to_le_bytes());
    hashes.iter().for_each(|hash| out.extend_from_slice(hash));
}

/// The member, packed. `log_proof`: the hashes that prove these blocks in the log.
pub(crate) fn write(blocks: &[Carried], log_proof: &[Hash]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(MAGIC)?;
    out.write_all(&(blocks.len() as u64).to_le_bytes())?;
    for block in blocks {
        out.write_all(&block.bytes)?;
    }
    let mut hashes = Vec::new();
    put_hashes(&mut hashes, log_proof);
    out.write_all(&hashes)?;
    out.finish()
}

/// Gives every record with the number of its block to `take`; says how many blocks there are and which root they prove for a log of
/// that size. What was taken counts only if that is the root of the log.
pub(crate) fn read(packed: &[u8], log_size: u64, mut take: impl FnMut(u64, &Record<'_>)) -> Result<(u64, Hash), EvidenceError> {
    let mut from = From(GzDecoder::new(packed).take(RAW_BYTES_MAX));
    if from.bytes::<4>()? != *MAGIC {
        return Err(form("it does not begin with SYE1"));
    }
    let count = u64::from_le_bytes(from.bytes()?);
    let mut leaves = BTreeMap::new();
    for _ in 0..count {
        let (number, leaf) = match from.bytes::<1>()?[0] {
            WHOLE => from.whole_block(&mut take)?,
            BY_RECORD => from.block_by_record(&mut take)?,
            other => return Err(form(format!("there is no form {other} of a block"))),
        };
        let follows = leaves.last_key_value().is_none_or(|(last, _)| *last < number);
        if !follows || number >= log_size {
            return Err(form(format!("block {number} stands in the wrong place")));
        }
        leaves.insert(number, leaf);
    }
    let hashes = from.hashes()?;
    let mut rest = [0];
    if from.0.read(&mut rest)? != 0 {
        return Err(form("something follows its end"));
    }
    let root = root_with(log_size, &leaves, &hashes).ok_or_else(|| form("the hashes that prove the blocks do not fit"))?;
    Ok((count, root))
}

struct From<R>(R);

impl<R: Read> From<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], EvidenceError> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, EvidenceError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// A length and that many bytes; memory is taken as they come.
    fn long(&mut self) -> Result<Vec<u8>, EvidenceError> {
        let length = self.number()?;
        if length > LENGTH_MAX {
            return Err(form(format!("a length of {length} is too much")));
        }
        self.some(u64::from(length))
    }

    fn some(&mut self, length: u64) -> Result<Vec<u8>, EvidenceError> {
        let mut bytes = Vec::new();
        let read = (&mut self.0).take(length).read_to_end(&mut bytes)?;
        if read as u64 == length { Ok(bytes) } else { Err(form("it ends too early")) }
    }

    fn hashes(&mut self) -> Result<Vec<Hash>, EvidenceError> {
        let count = self.number()?;
        let bytes = self.some(u64::from(count) * 32)?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }

    fn whole_block(&mut self, take: &mut impl FnMut(u64, &Record<'_>)) -> Result<(u64, Hash), EvidenceError> {
        let bytes = self.long()?;
        let number = bytes.get(8..16).and_then(|number| number.try_into().ok()).map_or(0, u64::from_le_bytes);
        let sound = block_at(&bytes, number).ok().filter(|block| block.len() == bytes.len() && is_whole(block));
        let block = sound.ok_or_else(|| form(format!("block {number} is no sound SYB1 block")))?;
        let leaf = block_leaf(block).map_err(|fault| form(format!("block {number}: {fault}")))?;
        records_with_bytes(block).flatten().for_each(|(record, _)| take(number, &record));
        Ok((block_number(block), leaf))
    }

    fn block_by_record(&mut self, take: &mut impl FnMut(u64, &Record<'_>)) -> Result<(u64, Hash), EvidenceError> {
        let fields: [u8; HEADER_FIELDS_BYTES] = self.bytes()?;
        let number = block_number(&fields);
        if is_whole(&fields) {
            return Err(form(format!("block {number} of the older form must be carried whole")));
        }
        let (mut shown, count) = (BTreeMap::new(), self.number()?);
        for _ in 0..count {
            let index = u64::from(self.number()?);
            let bytes = self.long()?;
            if shown.last_key_value().is_some_and(|(last, _)| *last >= index) {
                return Err(form(format!("record {index} of block {number} stands in the wrong place")));
            }
            let record = record_of(&bytes).map_err(|fault| form(format!("record {index} of block {number}: {fault}")))?;
            take(number, &record);
            shown.insert(index, leaf_hash(&bytes));
        }
        let hashes = self.hashes()?;
        let root = root_with(u64::from(record_count(&fields)), &shown, &hashes);
        let root = root.ok_or_else(|| form(format!("the hashes that prove the records of block {number} do not fit")))?;
        Ok((number, leaf_of_records(&fields, &root)))
    }
}
