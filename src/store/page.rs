//! Pages of a run: records in the order of their keys, each key told by what differs from the one before it, then a CRC32C.

use std::ops::Range;

use tally::varint;

/// What is wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFault {
    #[error("it does not end as a run does")]
    Footer,
    #[error("a page is cut short")]
    Short,
    #[error("a page's CRC32C is wrong")]
    Crc,
    #[error("a record cannot be read")]
    Record,
}

const CRC_BYTES: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct PageBuilder {
    bytes: Vec<u8>,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl PageBuilder {
    /// Keys come in ascending order.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        if self.bytes.is_empty() {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
            self.last_key.clear();
        }
        let shared = self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
        for length in [shared, key.len() - shared, value.len()] {
            varint::put(&mut self.bytes, length as u64);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + CRC_BYTES
    }

    pub(crate) fn first_key(&self) -> &[u8] {
        &self.first_key
    }

    /// Appends the page and begins another.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&crc32c::crc32c(&self.bytes).to_le_bytes());
        self.bytes.clear();
    }
}

/// The records of a page, if it is sound.
pub(crate) fn records_of(page: &[u8]) -> Result<&[u8], RunFault> {
    let (records, crc) = page.split_last_chunk::<CRC_BYTES>().ok_or(RunFault::Short)?;
    if crc32c::crc32c(records) == u32::from_le_bytes(*crc) { Ok(records) } else { Err(RunFault::Crc) }
}

/// Walks over the records of a page that lies somewhere in a buffer.
#[derive(Debug, Default)]
pub(crate) struct PageCursor {
    key: Vec<u8>,
    value: Range<usize>,
    rest: Range<usize>,
}

impl PageCursor {
    /// Before the first record of what lies there.
    pub(crate) fn begin(&mut self, records: Range<usize>) {
        self.key.clear();
        self.value = 0..0;
        self.rest = records;
    }

    /// To the next record; false after the last.
    pub(crate) fn next(&mut self, buffer: &[u8]) -> Result<bool, RunFault> {
        let all = &buffer[self.rest.clone()];
        if all.is_empty() {
            return Ok(false);
        }
        let mut rest = all;
        let mut length = || varint::take(&mut rest).ok().and_then(|length| usize::try_from(length).ok()).ok_or(RunFault::Record);
        let (shared, own, value) = (length()?, length()?, length()?);
        let record = own.checked_add(value).filter(|record| *record <= rest.len() && shared <= self.key.len()).ok_or(RunFault::Record)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(&rest[..own]);
        let begin = self.rest.start + all.len() - rest.len();
        self.value = begin + own..begin + record;
        self.rest.start = begin + record;
        Ok(true)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn value<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.value.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn read(page: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, RunFault> {
        let records = records_of(page)?;
        let mut cursor = PageCursor::default();
        cursor.begin(0..records.len());
        let mut map = BTreeMap::new();
        while cursor.next(records)? {
            map.insert(cursor.key().to_vec(), cursor.value(records).to_vec());
        }
        Ok(map)
    }

    proptest! {
        #[test]
        fn records_come_back_and_a_flipped_bit_or_a_cut_is_found(
            map in prop::collection::btree_map(prop::collection::vec(0u8..3, 0..9), prop::collection::vec(any::<u8>(), 0..200), 1..40),
            bit in any::<prop::sample::Index>(),
            junk in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let map: BTreeMap<Vec<u8>, Vec<u8>> = map;
            let (mut builder, mut page) = (PageBuilder::default(), Vec::new());
            map.iter().for_each(|(key, value)| builder.push(key, value));
            prop_assert_eq!((builder.first_key().to_vec(), builder.is_empty()), (map.keys().next().unwrap().clone(), false));
            let length = builder.len();
            builder.finish(&mut page);
            prop_assert_eq!((page.len(), builder.is_empty()), (length, true));
            prop_assert_eq!(read(&page).unwrap(), map);
            prop_assert!(read(&page[..bit.index(page.len())]).is_err());
            let at = bit.index(page.len() * 8);
            page[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(read(&page), Err(RunFault::Crc));
            // Sound by its CRC, but no page of ours.
            let sound = [&junk[..], &crc32c::crc32c(&junk).to_le_bytes()].concat();
            let _ = read(&sound);
        }
    }
}
