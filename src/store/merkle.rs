//! The Merkle tree of RFC 6962 over the blocks of the log, kept as its frontier: one hash per complete subtree.

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

/// Everything needed to append and to give the root: the roots of the complete subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    leaves: u64,
    subtrees: Vec<Hash>,
    last_leaf: Hash,
}

impl Frontier {
    pub fn push(&mut self, leaf: &[u8]) {
        self.push_hash(leaf_hash(leaf));
    }

    /// Adds a leaf of which only the hash is known.
    pub fn push_hash(&mut self, leaf: Hash) {
        self.last_leaf = leaf;
        self.push_subtree(leaf, 0);
    }

    /// Adds the same leaf so many times, in as many steps as the numbers have bits.
    pub fn push_repeated(&mut self, leaf: Hash, count: u64) {
        let mut left = count;
        while left > 0 {
            self.last_leaf = leaf;
            // The largest complete subtree that fits here, all of whose leaves are the same.
            let height = left.ilog2().min(self.leaves.trailing_zeros());
            let root = (0..height).fold(leaf, |root, _| node_hash(&root, &root));
            self.push_subtree(root, height);
            left -= 1 << height;
        }
    }

    /// Adds a complete subtree of 2^`height` leaves, of which the count so far is a multiple.
    fn push_subtree(&mut self, root: Hash, height: u32) {
        let mut hash = root;
        // Each trailing one bit of the count is a complete subtree that the new one completes further.
        for _ in 0..(self.leaves >> height).trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.leaves += 1 << height;
    }

    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The hash of the newest leaf; zeros while there is none.
    pub fn last_leaf(&self) -> Hash {
        self.last_leaf
    }

    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev();
        match subtrees.next() {
            None => Sha256::digest([]).into(),
            Some(last) => subtrees.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.leaves.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.last_leaf);
        self.subtrees.iter().for_each(|hash| bytes.extend_from_slice(hash));
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Frontier> {
        let (leaves, hashes) = bytes.split_first_chunk::<8>()?;
        let leaves = u64::from_le_bytes(*leaves);
        let (last_leaf, hashes) = hashes.split_first_chunk::<32>()?;
        let (subtrees, rest) = hashes.as_chunks::<32>();
        let whole = rest.is_empty() && subtrees.len() == leaves.count_ones() as usize;
        whole.then(|| Frontier { leaves, subtrees: subtrees.to_vec(), last_leaf: *last_leaf })
    }
}

pub fn leaf_hash(leaf: &[u8]) -> Hash {
    leaf_hash_of(&[leaf])
}

/// The hash of a leaf that stands in several places.
pub fn leaf_hash_of(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new().chain_update([0]), |hash, part| hash.chain_update(part)).finalize().into()
}

pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 §2.1, word for word.
    fn root_by_definition(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => leaf_hash(leaf),
            leaves => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&root_by_definition(&leaves[..split]), &root_by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_for_every_size() {
        let leaves: Vec<Vec<u8>> = (0u8..70).map(|i| vec![i; usize::from(i)]).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), root_by_definition(&leaves[..size]));
            assert_eq!(Frontier::from_bytes(&frontier.to_bytes()), Some(frontier.clone()));
            frontier.push(leaf);
        }
    }

    #[test]
    fn a_repeated_leaf_is_as_many_leaves() {
        for (before, count) in (0..9).flat_map(|before| (0..70).map(move |count| (before, count))) {
            let (mut singly, mut at_once) = (Frontier::default(), Frontier::default());
            for leaf in 0..before {
                singly.push(&[leaf]);
                at_once.push(&[leaf]);
            }
            (0..count).for_each(|_| singly.push(b"again"));
            at_once.push_repeated(leaf_hash(b"again"), count);
            assert_eq!(at_once, singly, "{before} and {count}");
        }
        let mut many = Frontier::default();
        many.push_repeated(leaf_hash(b"again"), u64::MAX - 1);
        assert_eq!(many.leaves(), u64::MAX - 1);
    }

    #[test]
    fn published_roots_of_certificate_transparency_hold() {
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let mut frontier = Frontier::default();
        frontier.push(&[]);
        assert_eq!(hex::encode(frontier.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        leaves[1..].iter().for_each(|leaf| frontier.push(&hex::decode(leaf).unwrap()));
        assert_eq!(hex::encode(frontier.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn a_frontier_cut_short_is_not_read() {
        let mut frontier = Frontier::default();
        frontier.push(b"a");
        let bytes = frontier.to_bytes();
        assert_eq!(Frontier::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Frontier::from_bytes(&bytes[..8]), None);
    }
}
