//! Proofs about an RFC 6962 tree that show some leaves, or an older size, by the fewest hashes.
//!
//! Walk the tree from its root: a range of leaves that is all alike (none of them shown; or, for two sizes, all before the smaller one
//! or all after) is given by its hash; another one is split where RFC 6962 §2.1 splits it (at the largest power of two below its
//! length), left half first; a single shown leaf is known. The hashes stand in the order of that walk.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use store::{Hash, node_hash};

/// What a leaf is to a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Shown,
    /// Of one kind: alike ones are taken together.
    Alike(bool),
}

/// Gathers the hashes of a proof while leaves come one by one.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    subtrees: Vec<Subtree>,
}

#[derive(Debug)]
struct Subtree {
    height: u32,
    root: Hash,
    /// `None` where leaves differ or are shown; then these hashes stand for it.
    alike: Option<bool>,
    hashes: Vec<Hash>,
}

impl Proof {
    pub(crate) fn push(&mut self, leaf: Hash, kind: Leaf) {
        let alike = if let Leaf::Alike(kind) = kind { Some(kind) } else { None };
        let mut grown = Subtree { height: 0, root: leaf, alike, hashes: Vec::new() };
        while let Some(left) = self.subtrees.pop_if(|left| left.height == grown.height) {
            grown = left.joined(grown);
        }
        self.subtrees.push(grown);
    }

    /// The root, and the proof's hashes.
    pub(crate) fn finish(self) -> (Hash, Vec<Hash>) {
        let mut subtrees = self.subtrees.into_iter().rev();
        match subtrees.next() {
            None => (Sha256::digest([]).into(), Vec::new()),
            Some(last) => {
                let whole = subtrees.fold(last, |right, left| left.joined(right));
                (whole.root, whole.into_hashes())
            }
        }
    }
}

impl Subtree {
    fn joined(self, right: Subtree) -> Subtree {
        let (height, root) = (self.height + 1, node_hash(&self.root, &right.root));
        if self.alike.is_some() && self.alike == right.alike {
            return Subtree { height, root, alike: self.alike, hashes: Vec::new() };
        }
        let mut hashes = self.into_hashes();
        hashes.extend(right.into_hashes());
        Subtree { height, root, alike: None, hashes }
    }

    fn into_hashes(self) -> Vec<Hash> {
        if self.alike.is_some() { vec![self.root] } else { self.hashes }
    }
}

/// The root of the tree of that many leaves, of which some are shown; `None` if the hashes do not fit.
pub(crate) fn root_with(size: u64, shown: &BTreeMap<u64, Hash>, hashes: &[Hash]) -> Option<Hash> {
    if size == 0 {
        return (shown.is_empty() && hashes.is_empty()).then(|| Sha256::digest([]).into());
    }
    if shown.keys().next_back().is_some_and(|last| *last >= size) {
        return None;
    }
    let mut rest = hashes.iter();
    let root = range_with(0, size, shown, &mut rest)?;
    rest.next().is_none().then_some(root)
}

fn range_with<'h>(from: u64, until: u64, shown: &BTreeMap<u64, Hash>, hashes: &mut impl Iterator<Item = &'h Hash>) -> Option<Hash> {
    if shown.range(from..until).next().is_none() {
        return hashes.next().copied();
    }
    if until - from == 1 {
        return shown.get(&from).copied();
    }
    let middle = from + half(until - from);
    let left = range_with(from, middle, shown, hashes)?;
    let right = range_with(middle, until, shown, hashes)?;
    Some(node_hash(&left, &right))
}

/// The roots of the tree when it had `before` leaves and when it has `now`; `None` if the hashes do not fit.
pub(crate) fn roots_of(before: u64, now: u64, hashes: &[Hash]) -> Option<(Hash, Hash)> {
    if before > now {
        return None;
    }
    let empty: Hash = Sha256::digest([]).into();
    if now == 0 {
        return hashes.is_empty().then_some((empty, empty));
    }
    let (mut rest, mut older) = (hashes.iter(), Vec::new());
    let root = range_over(0, now, before, &mut older, &mut rest)?;
    let root_before = older.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or(empty);
    rest.next().is_none().then_some((root_before, root))
}

fn range_over<'h>(from: u64, until: u64, before: u64, older: &mut Vec<Hash>, hashes: &mut impl Iterator<Item = &'h Hash>) -> Option<Hash> {
    if until <= before || from >= before {
        let hash = *hashes.next()?;
        if until <= before {
            older.push(hash);
        }
        return Some(hash);
    }
    let middle = from + half(until - from);
    let left = range_over(from, middle, before, older, hashes)?;
    let right = range_over(middle, until, before, older, hashes)?;
    Some(node_hash(&left, &right))
}

/// The largest power of two below a length of at least two.
fn half(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use store::{Frontier, leaf_hash};

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push_hash(*leaf));
        tree.root()
    }

    proptest! {
        #[test]
        fn shown_leaves_give_the_root_and_nothing_else_does(
            size in 0u64..80, picked in prop::collection::btree_set(0u64..80, 0..12), at in any::<prop::sample::Index>(),
        ) {
            let all = leaves(size);
            let shown: BTreeMap<u64, Hash> = picked.into_iter().filter(|i| *i < size).map(|i| (i, all[i as usize])).collect();
            let mut proof = Proof::default();
            for (i, leaf) in (0..).zip(&all) {
                proof.push(*leaf, if shown.contains_key(&i) { Leaf::Shown } else { Leaf::Alike(false) });
            }
            let (made, hashes) = proof.finish();
            prop_assert_eq!(made, root(&all));
            prop_assert_eq!(root_with(size, &shown, &hashes), Some(made));
            prop_assert!(shown.len() != 1 || hashes.len() as u32 <= size.max(1).next_power_of_two().ilog2(), "no longer than a path");
            if size > 0 {
                let more = [&hashes[..], &[[0; 32]]].concat();
                prop_assert_eq!(root_with(size, &shown, &more), None);
                let mut other = hashes.clone();
                if !other.is_empty() {
                    let at = at.index(other.len());
                    other[at][0] ^= 1;
                    prop_assert_ne!(root_with(size, &shown, &other), Some(made));
                    prop_assert_eq!(root_with(size, &shown, &hashes[1..]), None);
                }
                if let Some((i, leaf)) = shown.iter().next() {
                    let mut forged = shown.clone();
                    forged.insert(*i, leaf_hash(leaf));
                    prop_assert_ne!(root_with(size, &forged, &hashes), Some(made));
                }
            }
        }

        #[test]
        fn two_sizes_give_both_roots(now in 0u64..80, before in 0u64..80, at in any::<prop::sample::Index>()) {
            prop_assume!(before <= now);
            let all = leaves(now);
            let mut proof = Proof::default();
            (0..).zip(&all).for_each(|(i, leaf)| proof.push(*leaf, Leaf::Alike(i < before)));
            let (_, hashes) = proof.finish();
            let roots = (root(&all[..before as usize]), root(&all));
            prop_assert_eq!(roots_of(before, now, &hashes), Some(roots));
            if !hashes.is_empty() {
                let mut other = hashes.clone();
                let at = at.index(other.len());
                other[at][5] ^= 1;
                prop_assert_ne!(roots_of(before, now, &other), Some(roots));
                prop_assert_eq!(roots_of(before, now, &hashes[1..]), None);
            }
            prop_assert_eq!(roots_of(now + 1, now, &hashes), None);
        }
    }
}
