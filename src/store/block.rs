//! Blocks and records of the evidence log as bytes.
//!
//! Block: magic `SYB2`, payload length u32, block number u64, record count u32, leaf hash of the block before (32 bytes), CRC32C u32
//! over the 52 bytes before it and the payload; then the payload. Record: head length u32, head (postcard), body length u32, body as
//! received. All numbers little-endian. Every block names the leaf before it, so that the tree goes on over a block that is damaged.
//!
//! The block's leaf in the tree of the log is the RFC 6962 leaf over the 52 bytes of the header before the CRC, followed by the root of
//! an RFC 6962 tree whose leaves are the records, each with its lengths: so one record can be proved without showing the others. Blocks
//! of older logs (`SYB1`) have the same form, and the leaf of the whole block.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use wire::identity::Sender;

use crate::merkle::{Frontier, Hash, leaf_hash, leaf_hash_of};

pub const HEADER_BYTES: usize = 56;
/// The part of the header that the block's leaf covers; the CRC follows.
pub const HEADER_FIELDS_BYTES: usize = 52;
const CRC_AT: usize = HEADER_FIELDS_BYTES;
const MAGIC: [u8; 4] = *b"SYB2";
/// The leaf of such a block is that of the whole block.
const MAGIC_WHOLE: [u8; 4] = *b"SYB1";
/// No block has this number: there is always a next one.
const NUMBER_END: u64 = u64::MAX;

/// How the sender was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vouched {
    /// The gateway's token, over MQTT.
    Token,
    /// A bearer key, over HTTP.
    Key,
    /// The gateway's signature, which the body carries (COSE_Sign1).
    Signature,
    /// A client certificate of the operator's authority, over MQTT with TLS.
    Certificate,
    /// A command on the service's own machine.
    Local,
}

/// One accepted message, or an administrative act: who, how, when received, and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    pub sender: Sender,
    /// Empty for carriers, whose records each name one, and for operators.
    pub enterprise: CompactString,
    pub vouched: Vouched,
    pub received_at_us: i64,
    pub body: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    kind: u8,
    sender: &'a str,
    enterprise: &'a str,
    vouched: Vouched,
    received_at_us: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("no block begins here")]
    NoBlock,
    #[error("the block is cut short")]
    Short,
    #[error("the block's CRC32C is wrong")]
    Crc,
    #[error("block {found} stands where block {expected} should")]
    Number { expected: u64, found: u64 },
    #[error("a record of the block cannot be read")]
    Record,
}

/// Builds one block; the bytes are ready to be written.
pub struct BlockBuilder {
    bytes: Vec<u8>,
    records: u32,
    tree: Frontier,
}

/// A block as it is written, and its leaf.
pub struct FinishedBlock {
    pub bytes: Vec<u8>,
    pub leaf: Hash,
}

impl Default for BlockBuilder {
    fn default() -> BlockBuilder {
        BlockBuilder { bytes: vec![0; HEADER_BYTES], records: 0, tree: Frontier::default() }
    }
}

impl BlockBuilder {
    pub fn push(&mut self, record: &Record<'_>) {
        let kind = match record.sender {
            Sender::Gateway(_) => 1,
            Sender::Supplier(_) => 2,
            Sender::Carrier(_) => 3,
            Sender::Operator(_) => 4,
        };
        let head = Head {
            kind,
            sender: record.sender.id(),
            enterprise: &record.enterprise,
            vouched: record.vouched,
            received_at_us: record.received_at_us,
        };
        let at = self.bytes.len();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(&[0; 4]);
        // Writing plain fields to a growing vector has no way to fail.
        self.bytes = postcard::to_extend(&head, bytes).expect("a record head encodes");
        let head_bytes = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&head_bytes.to_le_bytes());
        self.bytes.extend_from_slice(&(record.body.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(record.body);
        self.tree.push(&self.bytes[at..]);
        self.records += 1;
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    pub fn finish(mut self, number: u64, leaf_before: &Hash) -> FinishedBlock {
        let payload = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..8].copy_from_slice(&payload.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&number.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&self.records.to_le_bytes());
        self.bytes[20..CRC_AT].copy_from_slice(leaf_before);
        let crc = block_crc(&self.bytes);
        self.bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let leaf = leaf_of_records(&self.bytes[..HEADER_FIELDS_BYTES], &self.tree.root());
        FinishedBlock { bytes: self.bytes, leaf }
    }
}

/// The leaf of a block that is proved record by record.
pub fn leaf_of_records(header_fields: &[u8], records_root: &Hash) -> Hash {
    leaf_hash_of(&[header_fields, records_root])
}

/// Whether the block's leaf is that of the whole block, as in older logs.
pub fn is_whole(block: &[u8]) -> bool {
    block.starts_with(&MAGIC_WHOLE)
}

/// The leaf of a block of which every record can be read.
pub fn leaf(block: &[u8]) -> Result<Hash, BlockError> {
    if is_whole(block) {
        records(block).try_for_each(|record| record.map(drop))?;
        return Ok(leaf_hash(block));
    }
    let mut tree = Frontier::default();
    for record in records_with_bytes(block) {
        tree.push(record?.1);
    }
    if tree.leaves() != u64::from(record_count(block)) {
        return Err(BlockError::Record);
    }
    Ok(leaf_of_records(&block[..HEADER_FIELDS_BYTES], &tree.root()))
}

/// The block that begins at the start of `bytes`, whole and sound.
pub fn block_at(bytes: &[u8], expected: u64) -> Result<&[u8], BlockError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(BlockError::NoBlock)?;
    if !is_magic(header) {
        return Err(BlockError::NoBlock);
    }
    let block = HEADER_BYTES + u32_at(header, 4) as usize;
    let block = bytes.get(..block).ok_or(BlockError::Short)?;
    if block_crc(block) != u32_at(header, CRC_AT) {
        return Err(BlockError::Crc);
    }
    match block_number(block) {
        found if found == expected && found != NUMBER_END => Ok(block),
        found => Err(BlockError::Number { expected, found }),
    }
}

/// The number in a block's header.
pub fn block_number(block: &[u8]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| block[8 + i]))
}

/// How many records a block has, by its header.
pub fn record_count(block: &[u8]) -> u32 {
    u32_at(block, 16)
}

/// The leaf hash of the block before, in a block's header.
pub fn leaf_before(block: &[u8]) -> Hash {
    std::array::from_fn(|i| block[20 + i])
}

/// Where in `bytes` the first sound block with a number above `above` begins. Then damage before it is no torn tail. A number is
/// believed only as far as there is room for the blocks in between.
pub fn first_block_above(bytes: &[u8], above: u64) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(is_magic) {
        at += found;
        if let Some(number) = bytes.get(at..at + HEADER_BYTES).map(block_number)
            && number > above
            && number - above <= (at / HEADER_BYTES).max(1) as u64
            && block_at(&bytes[at..], number).is_ok()
        {
            return Some(at);
        }
        at += 4;
    }
    None
}

fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes.starts_with(&MAGIC_WHOLE)
}

/// The records of a sound block.
pub fn records(block: &[u8]) -> impl Iterator<Item = Result<Record<'_>, BlockError>> {
    records_with_bytes(block).map(|record| record.map(|(record, _)| record))
}

/// The records of a sound block, each with its bytes: with both lengths, as they stand there.
pub fn records_with_bytes(block: &[u8]) -> impl Iterator<Item = Result<(Record<'_>, &[u8]), BlockError>> {
    let mut rest = &block[HEADER_BYTES..];
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let before = rest;
        let record = next_record(&mut rest).map(|record| (record, &before[..before.len() - rest.len()]));
        if record.is_err() {
            rest = &[];
        }
        Some(record)
    })
}

/// The record that these bytes are, all of them.
pub fn record_of(bytes: &[u8]) -> Result<Record<'_>, BlockError> {
    let mut rest = bytes;
    next_record(&mut rest).and_then(|record| if rest.is_empty() { Ok(record) } else { Err(BlockError::Record) })
}

fn next_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, BlockError> {
    let head = take(rest)?;
    let body = take(rest)?;
    let head: Head<'_> = postcard::from_bytes(head).map_err(|_| BlockError::Record)?;
    let id = CompactString::from(head.sender);
    let sender = match head.kind {
        1 => Sender::Gateway(id),
        2 => Sender::Supplier(id),
        3 => Sender::Carrier(id),
        4 => Sender::Operator(id),
        _ => return Err(BlockError::Record),
    };
    let enterprise = CompactString::from(head.enterprise);
    Ok(Record { sender, enterprise, vouched: head.vouched, received_at_us: head.received_at_us, body })
}

/// Takes a length and that many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BlockError> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(BlockError::Record)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (taken, after) = after.split_at_checked(length).ok_or(BlockError::Record)?;
    *rest = after;
    Ok(taken)
}

fn block_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..CRC_AT]), &block[HEADER_BYTES..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::node_hash;

    fn block(number: u64) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for body in [&b"{}"[..], b"", b"[1,2]"] {
            let sender = Sender::Supplier("s-1".into());
            builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Key, received_at_us: 7, body });
        }
        builder.finish(number, &[3; 32]).bytes
    }

    /// As it stood in older logs.
    fn whole(mut block: Vec<u8>) -> Vec<u8> {
        block[..4].copy_from_slice(b"SYB1");
        let crc = block_crc(&block);
        block[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        block
    }

    #[test]
    fn the_leaf_is_that_of_header_fields_and_the_tree_of_records() {
        let bytes = block(5);
        let leaves: Vec<_> = records_with_bytes(&bytes).map(|record| leaf_hash(record.unwrap().1)).collect();
        assert_eq!(records_with_bytes(&bytes).map(|record| record.unwrap().1.len()).sum::<usize>(), bytes.len() - HEADER_BYTES);
        let root = node_hash(&node_hash(&leaves[0], &leaves[1]), &leaves[2]);
        assert_eq!(leaf(&bytes), Ok(leaf_hash(&[&bytes[..HEADER_FIELDS_BYTES], &root].concat())));
        assert_eq!(record_of(records_with_bytes(&bytes).nth(2).unwrap().unwrap().1).unwrap().body, b"[1,2]");
        assert_eq!(record_of(&bytes[HEADER_BYTES..]), Err(BlockError::Record), "three are not one");
        let mut builder = BlockBuilder::default();
        for record in records(&bytes) {
            builder.push(&record.unwrap());
        }
        assert_eq!(leaf(&bytes), Ok(builder.finish(5, &[3; 32]).leaf));
    }

    #[test]
    fn every_byte_but_those_of_the_crc_is_in_the_leaf() {
        let sound = block(5);
        let expected = leaf(&sound).unwrap();
        for at in (0..sound.len() * 8).filter(|at| !(CRC_AT..HEADER_BYTES).contains(&(at / 8))) {
            let mut changed = sound.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_ne!(leaf(&changed).ok(), Some(expected), "bit {at}");
        }
    }

    #[test]
    fn a_block_of_an_older_log_is_read_and_its_leaf_is_that_of_the_whole_block() {
        let older = whole(block(5));
        assert_eq!(block_at(&older, 5), Ok(&older[..]));
        assert!(is_whole(&older) && !is_whole(&block(5)));
        assert_eq!(leaf(&older), Ok(leaf_hash(&older)));
        assert_eq!(records(&older).count(), 3);
        assert_eq!(first_block_above(&[&[7; 30], &older[..]].concat(), 4), Some(30));
    }

    #[test]
    fn records_come_back_as_they_were_pushed() {
        let bytes = block(5);
        let bodies: Vec<_> = records(block_at(&bytes, 5).unwrap()).map(|record| record.unwrap().body.to_vec()).collect();
        assert_eq!(bodies, [b"{}".to_vec(), b"".to_vec(), b"[1,2]".to_vec()]);
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let sound = block(5);
        for at in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(block_at(&damaged, 5).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_block_cut_anywhere_is_not_taken_for_whole() {
        let sound = block(5);
        for length in 0..sound.len() {
            assert!(block_at(&sound[..length], 5).is_err());
        }
    }

    #[test]
    fn a_later_sound_block_is_seen_behind_damage() {
        let mut bytes = block(5);
        bytes[30] ^= 1;
        assert_eq!(first_block_above(&bytes, 5), None);
        let length = bytes.len();
        let impossible = [&bytes[..], &block(1 << 40)].concat();
        assert_eq!(first_block_above(&impossible, 5), None);
        bytes.extend(block(6));
        assert_eq!(first_block_above(&bytes, 5), Some(length));
        assert_eq!(leaf_before(&bytes[length..]), [3; 32]);
        assert_eq!(first_block_above(&block(NUMBER_END - 1), NUMBER_END - 2), Some(0));
        assert_eq!(first_block_above(&block(NUMBER_END), NUMBER_END - 1), None);
    }
}
