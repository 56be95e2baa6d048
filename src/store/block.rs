//! Blocks and records of the evidence log as bytes.
//!
//! Block: magic `SYB1`, payload length u32, block number u64, record count u32, leaf hash of the block before (32 bytes), CRC32C u32
//! over the 52 bytes before it and the payload; then the payload. Record: head length u32, head (postcard), body length u32, body as
//! received. All numbers little-endian. Every block names the leaf before it, so that the tree goes on over a block that is damaged.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use wire::identity::Sender;

use crate::merkle::Hash;

pub const HEADER_BYTES: usize = 56;
const CRC_AT: usize = 52;
const MAGIC: [u8; 4] = *b"SYB1";
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
}

/// One accepted message: who, how, when received, and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    pub sender: Sender,
    /// Empty for carriers, whose records each name one.
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
}

impl Default for BlockBuilder {
    fn default() -> BlockBuilder {
        BlockBuilder { bytes: vec![0; HEADER_BYTES], records: 0 }
    }
}

impl BlockBuilder {
    pub fn push(&mut self, record: &Record<'_>) {
        let kind = match record.sender {
            Sender::Gateway(_) => 1,
            Sender::Supplier(_) => 2,
            Sender::Carrier(_) => 3,
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
        self.records += 1;
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    pub fn finish(mut self, number: u64, leaf_before: &Hash) -> Vec<u8> {
        let payload = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..8].copy_from_slice(&payload.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&number.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&self.records.to_le_bytes());
        self.bytes[20..CRC_AT].copy_from_slice(leaf_before);
        let crc = block_crc(&self.bytes);
        self.bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// The block that begins at the start of `bytes`, whole and sound.
pub fn block_at(bytes: &[u8], expected: u64) -> Result<&[u8], BlockError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(BlockError::NoBlock)?;
    if header[..4] != MAGIC {
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

/// The leaf hash of the block before, in a block's header.
pub fn leaf_before(block: &[u8]) -> Hash {
    std::array::from_fn(|i| block[20 + i])
}

/// Where in `bytes` the first sound block with a number above `above` begins. Then damage before it is no torn tail. A number is
/// believed only as far as there is room for the blocks in between.
pub fn first_block_above(bytes: &[u8], above: u64) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == MAGIC) {
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

/// The records of a sound block.
pub fn records(block: &[u8]) -> impl Iterator<Item = Result<Record<'_>, BlockError>> {
    let mut rest = &block[HEADER_BYTES..];
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = next_record(&mut rest);
        if record.is_err() {
            rest = &[];
        }
        Some(record)
    })
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

    fn block(number: u64) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for body in [&b"{}"[..], b"", b"[1,2]"] {
            let sender = Sender::Supplier("s-1".into());
            builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Key, received_at_us: 7, body });
        }
        builder.finish(number, &[3; 32])
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
