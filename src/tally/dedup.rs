//! Tells a repeat from a new report, exactly, with bounded memory: identities since the last checkpoints are here, older ones in
//! the index on disk. What is certainly new (a number above all that a boot has sent) needs no look at the disk.

use std::collections::HashMap;
use std::mem;

use compact_str::CompactString;
use wire::identity::{IdentityKey, MessageIdentity, Sender};
use wire::report::ContentDigest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Never accepted.
    New,
    /// Accepted before, with equal content.
    Duplicate,
    /// Accepted before, with other content.
    Conflict,
    /// Not among the recent ones: the index on disk knows.
    AskIndex,
}

/// How many boots are remembered for the short cut; the index is asked about those beyond.
const BOOTS_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub struct RecentIdentities {
    current: HashMap<IdentityKey, ContentDigest>,
    /// Handed to a checkpoint that is not yet committed.
    handed_over: HashMap<IdentityKey, ContentDigest>,
    /// The highest number accepted of a boot that was looked up or seen from its number 1.
    highest: HashMap<(Sender, CompactString), u64>,
}

impl RecentIdentities {
    pub fn look_up(&self, sender: &Sender, identity: &MessageIdentity, key: &IdentityKey, digest: &ContentDigest) -> Novelty {
        if let Some(accepted) = self.current.get(key).or_else(|| self.handed_over.get(key)) {
            return Self::compare(accepted, digest);
        }
        match identity {
            MessageIdentity::Sequence { boot, seq } => match self.highest.get(&(sender.clone(), boot.clone())) {
                Some(highest) if seq > highest => Novelty::New,
                _ => Novelty::AskIndex,
            },
            MessageIdentity::Id(_) => Novelty::AskIndex,
        }
    }

    pub fn compare(accepted: &ContentDigest, digest: &ContentDigest) -> Novelty {
        if accepted == digest { Novelty::Duplicate } else { Novelty::Conflict }
    }

    /// An accepted message claims its identity.
    pub fn claim(&mut self, key: IdentityKey, digest: ContentDigest) {
        self.current.insert(key, digest);
    }

    /// The highest number of a boot, once it is known from the index: only then is a higher one certainly new.
    pub fn learn_highest(&mut self, sender: &Sender, boot: &CompactString, highest: u64) {
        if self.highest.len() >= BOOTS_MAX && !self.knows_boot(sender, boot) {
            return;
        }
        let known = self.highest.entry((sender.clone(), boot.clone())).or_default();
        *known = (*known).max(highest);
    }

    /// Raises the highest number of a boot that is already known; an unknown boot stays unknown.
    pub fn raise_highest(&mut self, sender: &Sender, boot: &CompactString, seq: u64) {
        if let Some(known) = self.highest.get_mut(&(sender.clone(), boot.clone())) {
            *known = (*known).max(seq);
        }
    }

    pub fn knows_boot(&self, sender: &Sender, boot: &CompactString) -> bool {
        self.highest.contains_key(&(sender.clone(), boot.clone()))
    }

    /// What a checkpoint has to write. It stays known here until `forget_handed_over`.
    pub fn hand_over(&mut self) -> Vec<(IdentityKey, ContentDigest)> {
        let taken = mem::take(&mut self.current);
        self.handed_over.extend(taken);
        let mut list: Vec<_> = self.handed_over.iter().map(|(key, digest)| (*key, *digest)).collect();
        list.sort_unstable();
        list
    }

    /// The checkpoint is committed: the index on disk knows them now. Only while nothing is pending may the boots be forgotten too:
    /// the index then has the highest number of each.
    pub fn forget_handed_over(&mut self) {
        self.handed_over.clear();
        if self.highest.len() >= BOOTS_MAX && self.current.is_empty() {
            self.highest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seq: u64) -> (Sender, MessageIdentity) {
        (Sender::Gateway("g".into()), MessageIdentity::Sequence { boot: "b".into(), seq })
    }

    #[test]
    fn a_repeat_is_known_before_and_after_the_hand_over_until_the_index_has_it() {
        let mut recent = RecentIdentities::default();
        let (sender, id) = identity(1);
        recent.claim([1; 16], [9; 16]);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[9; 16]), Novelty::Duplicate);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[8; 16]), Novelty::Conflict);
        assert_eq!(recent.hand_over().len(), 1);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[9; 16]), Novelty::Duplicate);
        recent.forget_handed_over();
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[9; 16]), Novelty::AskIndex);
    }

    #[test]
    fn a_higher_number_is_certainly_new_only_when_the_boot_is_known() {
        let mut recent = RecentIdentities::default();
        let (sender, id) = identity(8);
        let boot = CompactString::from("b");
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[0; 16]), Novelty::AskIndex);
        recent.raise_highest(&sender, &boot, 7);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[0; 16]), Novelty::AskIndex);
        recent.learn_highest(&sender, &boot, 7);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[0; 16]), Novelty::New);
        recent.raise_highest(&sender, &boot, 8);
        assert_eq!(recent.look_up(&sender, &id, &[1; 16], &[0; 16]), Novelty::AskIndex);
    }
}
