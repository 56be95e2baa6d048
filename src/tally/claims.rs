//! The identities that a stretch of the log claims: who accepted what under which number or id, and in which block it stands.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::{Equivalent, HashMap};
use policy::calendar::Instant;
use wire::identity::IdentityKey;
use wire::report::ContentDigest;

use crate::encode::DecodeError;
use crate::key::{Key, KeyParts, kind};
use crate::ranges::Ranges;
use crate::records::PutRecord;
use crate::varint;

/// Numbers in one record of the index.
const NUMBERS_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceKey {
    pub gateway: CompactString,
    pub boot: CompactString,
}

/// The same, borrowed; it hashes alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot<'a> {
    pub gateway: &'a str,
    pub boot: &'a str,
}

impl Boot<'_> {
    pub fn to_key(self) -> SequenceKey {
        SequenceKey { gateway: self.gateway.into(), boot: self.boot.into() }
    }
}

impl SequenceKey {
    pub fn as_boot(&self) -> Boot<'_> {
        Boot { gateway: &self.gateway, boot: &self.boot }
    }
}

impl Equivalent<SequenceKey> for Boot<'_> {
    fn equivalent(&self, key: &SequenceKey) -> bool {
        key.gateway == self.gateway && key.boot == self.boot
    }
}

/// What was accepted under an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub digest: ContentDigest,
    /// Number of the log's block that holds it.
    pub block: u64,
}

/// One boot of a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootClaims {
    /// Ascending.
    in_order: Vec<(u64, Claim)>,
    /// Those that came after a higher one.
    belated: BTreeMap<u64, Claim>,
    /// When the newest message came.
    pub last_at: Option<Instant>,
}

impl BootClaims {
    fn add(&mut self, seq: u64, claim: Claim, received_at: Instant) {
        self.put(seq, claim);
        self.last_at = self.last_at.max(Some(received_at));
    }

    fn put(&mut self, seq: u64, claim: Claim) {
        if self.in_order.last().is_none_or(|(highest, _)| *highest < seq) {
            self.in_order.push((seq, claim));
        } else {
            self.belated.insert(seq, claim);
        }
    }

    fn get(&self, seq: u64) -> Option<Claim> {
        let found = self.in_order.binary_search_by_key(&seq, |(seq, _)| *seq);
        found.map(|at| self.in_order[at].1).ok().or_else(|| self.belated.get(&seq).copied())
    }

    fn len(&self) -> usize {
        self.in_order.len() + self.belated.len()
    }

    fn merge(&mut self, other: BootClaims) {
        other.numbers().for_each(|(seq, claim)| self.put(seq, claim));
        self.last_at = self.last_at.max(other.last_at);
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = (u64, Claim)> {
        self.in_order.iter().copied().chain(self.belated.iter().map(|(seq, claim)| (*seq, *claim)))
    }

    pub fn ranges(&self) -> Ranges {
        let mut ranges = Ranges::default();
        self.numbers().for_each(|(seq, _)| ranges.insert(seq, seq));
        ranges
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    boots: HashMap<SequenceKey, BootClaims>,
    ids: HashMap<IdentityKey, Claim>,
    numbers: usize,
}

impl Claims {
    pub fn claim_number(&mut self, boot: Boot<'_>, seq: u64, claim: Claim, received_at: Instant) {
        let claims = match self.boots.get_mut(&boot) {
            Some(claims) => claims,
            None => self.boots.entry(boot.to_key()).or_default(),
        };
        let before = claims.len();
        claims.add(seq, claim, received_at);
        self.numbers += claims.len() - before;
    }

    pub fn claim_id(&mut self, key: IdentityKey, claim: Claim) {
        self.ids.insert(key, claim);
    }

    /// Takes in those of another stretch, which claims other identities.
    pub fn merge(&mut self, other: Claims) {
        for (boot, claims) in other.boots {
            self.boots.entry(boot).or_default().merge(claims);
        }
        self.numbers += other.numbers;
        self.ids.extend(other.ids);
    }

    pub fn number(&self, boot: Boot<'_>, seq: u64) -> Option<Claim> {
        self.boots.get(&boot)?.get(seq)
    }

    pub fn id(&self, key: &IdentityKey) -> Option<Claim> {
        self.ids.get(key).copied()
    }

    pub fn boot(&self, boot: Boot<'_>) -> Option<&BootClaims> {
        self.boots.get(&boot)
    }

    pub fn boots(&self) -> impl Iterator<Item = (&SequenceKey, &BootClaims)> {
        self.boots.iter()
    }

    pub fn id_count(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.boots.is_empty() && self.ids.is_empty()
    }

    /// About how much memory they take.
    pub fn memory_bytes(&self) -> usize {
        let number = size_of::<(u64, Claim)>();
        let boot = size_of::<(SequenceKey, BootClaims)>() + 1 + 4 * number;
        self.numbers * number + self.boots.len() * boot + self.ids.capacity() * (size_of::<(IdentityKey, Claim)>() + 1)
    }
}

/// Gives the records of an index to `put`, in the order of their keys: ids one by one, numbers by stretches without a gap.
pub fn claim_records<E>(claims: &[Arc<Claims>], put: &mut PutRecord<'_, E>) -> Result<(), E> {
    let mut key = Key::default();
    let mut ids: Vec<_> = claims.iter().flat_map(|claims| &claims.ids).collect();
    ids.sort_unstable_by_key(|(id, _)| **id);
    let mut value = Vec::new();
    for (id, claim) in ids {
        key.begin(kind::ID).0.extend_from_slice(id);
        value.clear();
        put_claim(&mut value, 0, claim);
        put(&key.0, &value)?;
    }
    let mut boots: Vec<_> = claims.iter().flat_map(|claims| claims.boots.keys()).collect();
    boots.sort_unstable_by_key(|boot| [&boot.gateway, &boot.boot].map(|name| (name.len(), name)));
    boots.dedup();
    for boot in boots {
        let of_boot = claims.iter().filter_map(|claims| claims.boots.get(boot));
        let mut numbers: Vec<_> = of_boot.flat_map(BootClaims::numbers).collect();
        numbers.sort_unstable_by_key(|(seq, _)| *seq);
        for on_end in numbers.chunk_by(|a, b| a.0 + 1 == b.0).flat_map(|on_end| on_end.chunks(NUMBERS_MAX)) {
            sequence_key(&mut key, boot.as_boot(), on_end[0].0);
            value.clear();
            let mut block = 0;
            for (_, claim) in on_end {
                put_claim(&mut value, block, claim);
                block = claim.block;
            }
            put(&key.0, &value)?;
        }
    }
    Ok(())
}

pub fn id_key<'k>(key: &'k mut Key, id: &IdentityKey) -> &'k [u8] {
    key.begin(kind::ID).0.extend_from_slice(id);
    &key.0
}

pub fn sequence_key<'k>(key: &'k mut Key, boot: Boot<'_>, seq: u64) -> &'k [u8] {
    &key.begin(kind::SEQUENCE).name(boot.gateway).name(boot.boot).number(seq).0
}

/// The claim of an id as it was written.
pub fn read_id_claim(mut value: &[u8]) -> Result<Claim, DecodeError> {
    take_claim(&mut value, 0)
}

/// The claim of a number, if the record reaches so far. `key` is the greatest that is not above the number's own.
pub fn read_number_claim(key: &[u8], mut value: &[u8], boot: Boot<'_>, seq: u64) -> Result<Option<Claim>, DecodeError> {
    let mut parts = KeyParts(key);
    if parts.byte()? != kind::SEQUENCE || (parts.name_bytes()?, parts.name_bytes()?) != (boot.gateway.as_bytes(), boot.boot.as_bytes()) {
        return Ok(None);
    }
    let mut block = 0;
    for at in parts.number()?..=seq {
        if value.is_empty() {
            return Ok(None);
        }
        let claim = take_claim(&mut value, block)?;
        if at == seq {
            return Ok(Some(claim));
        }
        block = claim.block;
    }
    Ok(None)
}

/// A block is written as its distance from the one before, forth or back.
fn put_claim(out: &mut Vec<u8>, block_before: u64, claim: &Claim) {
    let distance = claim.block.wrapping_sub(block_before) as i64;
    varint::put(out, (distance << 1 ^ distance >> 63) as u64);
    out.extend_from_slice(&claim.digest);
}

fn take_claim(value: &mut &[u8], block_before: u64) -> Result<Claim, DecodeError> {
    let distance = varint::take(value)?;
    let distance = (distance >> 1) as i64 ^ -((distance & 1) as i64);
    let (digest, rest) = value.split_first_chunk().ok_or(DecodeError::Value)?;
    *value = rest;
    Ok(Claim { digest: *digest, block: block_before.wrapping_add(distance as u64) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn claim(number: u64) -> Claim {
        let block = if number.is_multiple_of(7) { u64::MAX - number } else { number / 3 };
        Claim { digest: std::array::from_fn(|i| (number >> (i % 8)) as u8), block }
    }

    fn at(s: i64) -> Instant {
        DateTime::from_timestamp(s, 0).unwrap()
    }

    const BOOTS: [Boot<'static>; 3] =
        [Boot { gateway: "g", boot: "b" }, Boot { gateway: "g", boot: "bb" }, Boot { gateway: "gb", boot: "b" }];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_claim_is_found_in_its_record_and_no_other(
            list in prop::collection::hash_set((0usize..3, prop_oneof![1u64..40, 1u64..6_000]), 0..300),
            on_end in 0u64..3_000,
            cut in 0usize..300,
        ) {
            let mut set: BTreeSet<_> = list.iter().copied().collect();
            set.extend((10_000..10_000 + on_end).map(|seq| (1, seq)));
            let (mut first, mut second, mut both) = (Claims::default(), Claims::default(), Claims::default());
            let in_any_order = list.iter().copied().chain(set.iter().copied().filter(|one| !list.contains(one)));
            let mut ids = BTreeSet::new();
            for (at_number, (boot, seq)) in in_any_order.enumerate() {
                let claims = if at_number < cut { &mut first } else { &mut second };
                claims.claim_number(BOOTS[boot], seq, claim(seq + boot as u64), at(seq as i64));
                if ids.insert(seq as u8) {
                    claims.claim_id([seq as u8; 16], claim(seq % 256));
                }
            }
            for boot in BOOTS {
                let ranges = second.boot(boot).map(BootClaims::ranges).unwrap_or_default();
                prop_assert!((1..6_000).all(|seq| ranges.contains(seq).is_none_or(|held| held == second.number(boot, seq).is_some())));
            }
            both.merge(second.clone());
            both.merge(first.clone());
            prop_assert!(set.iter().all(|(boot, seq)| both.number(BOOTS[*boot], *seq) == Some(claim(seq + *boot as u64))));
            prop_assert_eq!(both.boots().map(|(_, claims)| claims.len()).sum::<usize>(), set.len());
            prop_assert_eq!((both.numbers, both.id_count()), (set.len(), ids.len()));
            let mut records = std::collections::BTreeMap::new();
            let mut last = Vec::new();
            claim_records(&[first.into(), second.into()], &mut |key, value| {
                assert!(last.as_slice() < key);
                last = key.to_vec();
                records.insert(key.to_vec(), value.to_vec());
                Ok::<_, std::convert::Infallible>(())
            }).unwrap();
            let mut key = Key::default();
            for (number, boot) in BOOTS.into_iter().enumerate() {
                for seq in (1..6_100).chain(9_990..13_010) {
                    let below = records.range(..=sequence_key(&mut key, boot, seq).to_vec()).next_back();
                    let found = below.and_then(|(key, value)| read_number_claim(key, value, boot, seq).unwrap_or(None));
                    prop_assert_eq!(found, set.contains(&(number, seq)).then(|| claim(seq + number as u64)));
                }
            }
            for id in 0..=255u8 {
                let found = records.get(id_key(&mut key, &[id; 16])).map(|value| read_id_claim(value).unwrap());
                prop_assert_eq!(found, ids.contains(&id).then(|| claim(u64::from(id))));
            }
        }
    }
}
