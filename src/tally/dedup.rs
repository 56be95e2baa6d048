//! Tells a repeat from a new report, exactly, with bounded memory. Of the boots that were heard of lately it is known here which
//! numbers were accepted, so that a new number needs no look at the disk; contents are here only until a checkpoint has them, and
//! then in the index on disk.

use std::sync::Arc;

use hashbrown::HashMap;
use policy::calendar::Instant;
use wire::identity::IdentityKey;
use wire::report::ContentDigest;

use crate::claims::{Boot, BootClaims, Claim, Claims, SequenceKey};
use crate::ranges::Ranges;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Never accepted.
    New,
    /// Accepted before, with equal content.
    Duplicate,
    /// Accepted before, with other content.
    Conflict,
    /// The numbers of this boot are not known here: they must be learned first.
    AskBoot,
    /// The index on disk knows; if it does not, the report is new.
    AskIndex,
}

/// What may be kept of boots, in ranges of 16 bytes; a boot itself weighs as much as twelve.
const WEIGHT_MAX: usize = 2 << 20;
const BOOT_WEIGHT: usize = 12;

#[derive(Debug)]
struct KnownBoot {
    accepted: Ranges,
    /// Whether it was heard of since the last time that boots were forgotten.
    lately: bool,
}

#[derive(Debug, Default)]
pub struct RecentIdentities {
    current: Claims,
    /// Handed to a checkpoint that is not yet committed.
    handed_over: Vec<Arc<Claims>>,
    boots: HashMap<SequenceKey, KnownBoot>,
    weight: usize,
}

impl RecentIdentities {
    /// Begins with what a stretch of the log claims that no checkpoint holds.
    pub fn of(current: Claims) -> RecentIdentities {
        RecentIdentities { current, ..RecentIdentities::default() }
    }

    pub fn look_up_number(&self, boot: Boot<'_>, seq: u64, digest: &ContentDigest) -> Novelty {
        let unless_pending = match self.boots.get(&boot) {
            Some(known) if known.accepted.contains(seq) == Some(false) => return Novelty::New,
            Some(_) => Novelty::AskIndex,
            // It may be forgotten while a group is looked up: what is pending is told all the same.
            None => Novelty::AskBoot,
        };
        self.pending().find_map(|claims| claims.number(boot, seq)).map_or(unless_pending, |claim| Self::compare(&claim.digest, digest))
    }

    pub fn look_up_id(&self, key: &IdentityKey, digest: &ContentDigest) -> Novelty {
        self.pending().find_map(|claims| claims.id(key)).map_or(Novelty::AskIndex, |claim| Self::compare(&claim.digest, digest))
    }

    pub fn compare(accepted: &ContentDigest, digest: &ContentDigest) -> Novelty {
        if accepted == digest { Novelty::Duplicate } else { Novelty::Conflict }
    }

    /// What no checkpoint holds for certain.
    pub fn pending(&self) -> impl Iterator<Item = &Claims> {
        std::iter::once(&self.current).chain(self.handed_over.iter().map(|claims| &**claims))
    }

    /// Learns which numbers of a boot the last checkpoint holds; those that came after it are known here.
    pub fn learn_boot(&mut self, boot: Boot<'_>, stored: Ranges) {
        let mut accepted = stored;
        self.pending().filter_map(|claims| claims.boot(boot)).map(BootClaims::ranges).for_each(|ranges| accepted.merge(&ranges));
        if self.weight >= WEIGHT_MAX {
            self.forget_boots();
        }
        self.weight += BOOT_WEIGHT + accepted.as_slice().len();
        if let Some(before) = self.boots.insert(boot.to_key(), KnownBoot { accepted, lately: true }) {
            self.weight -= BOOT_WEIGHT + before.accepted.as_slice().len();
        }
    }

    /// Those not heard of lately; all of them, if that is not half. A forgotten boot is learned again.
    fn forget_boots(&mut self) {
        self.boots.retain(|_, known| std::mem::take(&mut known.lately));
        let weight = |known: &KnownBoot| BOOT_WEIGHT + known.accepted.as_slice().len();
        self.weight = self.boots.values().map(weight).sum();
        if self.weight > WEIGHT_MAX / 2 {
            self.boots.clear();
            self.weight = 0;
        }
    }

    /// An accepted report claims its number.
    pub fn claim_number(&mut self, boot: Boot<'_>, seq: u64, claim: Claim, received_at: Instant) {
        self.current.claim_number(boot, seq, claim, received_at);
        if let Some(known) = self.boots.get_mut(&boot) {
            let before = known.accepted.as_slice().len();
            known.accepted.insert(seq, seq);
            known.lately = true;
            self.weight = self.weight + known.accepted.as_slice().len() - before;
        }
        if self.weight > WEIGHT_MAX {
            self.forget_boots();
        }
    }

    /// An accepted message claims its id.
    pub fn claim_id(&mut self, key: IdentityKey, claim: Claim) {
        self.current.claim_id(key, claim);
    }

    /// What a checkpoint has to write. It stays known here until `forget_handed_over`.
    pub fn hand_over(&mut self) -> Vec<Arc<Claims>> {
        let current = std::mem::take(&mut self.current);
        if !current.is_empty() {
            self.handed_over.push(Arc::new(current));
        }
        self.handed_over.clone()
    }

    /// The checkpoint is committed: the index on disk knows them now.
    pub fn forget_handed_over(&mut self) {
        self.handed_over.clear();
    }

    /// Whether the checkpoints hold everything.
    pub fn nothing_pending(&self) -> bool {
        self.pending().all(Claims::is_empty)
    }

    /// About how much memory is taken by what no checkpoint holds.
    pub fn memory_bytes(&self) -> usize {
        self.pending().map(Claims::memory_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const BOOT: Boot<'static> = Boot { gateway: "g", boot: "b" };

    fn claim(digest: u8) -> Claim {
        Claim { digest: [digest; 16], block: 7 }
    }

    fn now() -> Instant {
        DateTime::from_timestamp(1_572_940_800, 0).unwrap()
    }

    #[test]
    fn a_repeat_is_known_before_and_after_the_hand_over_until_the_index_has_it() {
        let mut recent = RecentIdentities::default();
        recent.learn_boot(BOOT, Ranges::default());
        recent.claim_number(BOOT, 1, claim(9), now());
        recent.claim_id([1; 16], claim(9));
        let look_up = |recent: &RecentIdentities, digest: u8| {
            (recent.look_up_number(BOOT, 1, &[digest; 16]), recent.look_up_id(&[1; 16], &[digest; 16]))
        };
        assert_eq!(look_up(&recent, 9), (Novelty::Duplicate, Novelty::Duplicate));
        assert_eq!(look_up(&recent, 8), (Novelty::Conflict, Novelty::Conflict));
        assert_eq!(recent.hand_over().len(), 1);
        assert!(!recent.nothing_pending());
        recent.claim_number(BOOT, 2, claim(9), now());
        assert_eq!(recent.hand_over().len(), 2, "the first checkpoint failed, the second one has both");
        assert_eq!(look_up(&recent, 9), (Novelty::Duplicate, Novelty::Duplicate));
        recent.forget_handed_over();
        assert_eq!(look_up(&recent, 9), (Novelty::AskIndex, Novelty::AskIndex));
        assert!(recent.nothing_pending());
    }

    #[test]
    fn above_the_highest_and_in_a_gap_a_number_is_new_without_asking_once_the_boot_is_known() {
        let mut recent = RecentIdentities::default();
        recent.claim_number(BOOT, 8, claim(1), now());
        assert_eq!(recent.look_up_number(BOOT, 9, &[1; 16]), Novelty::AskBoot);
        assert_eq!(recent.look_up_number(BOOT, 8, &[1; 16]), Novelty::Duplicate, "also while the boot is not known");
        let mut stored = Ranges::default();
        stored.insert(1, 5);
        recent.learn_boot(BOOT, stored);
        let novelties = [5, 6, 7, 8, 9].map(|seq| recent.look_up_number(BOOT, seq, &[1; 16]));
        assert_eq!(novelties, [Novelty::AskIndex, Novelty::New, Novelty::New, Novelty::Duplicate, Novelty::New]);
        recent.claim_number(BOOT, 6, claim(1), now());
        assert_eq!(recent.look_up_number(BOOT, 6, &[1; 16]), Novelty::Duplicate);
    }

    #[test]
    fn boots_without_end_and_gaps_without_end_take_bounded_memory() {
        let mut recent = RecentIdentities::default();
        for boot in 0..400_000 {
            let boot = boot.to_string();
            let boot = Boot { gateway: "g", boot: &boot };
            if recent.look_up_number(boot, 1, &[0; 16]) == Novelty::AskBoot {
                recent.learn_boot(boot, Ranges::default());
            }
            recent.claim_number(boot, 1, claim(0), now());
            assert_eq!(recent.look_up_number(boot, 1, &[0; 16]), Novelty::Duplicate);
        }
        assert!(recent.weight <= WEIGHT_MAX + 16, "{}", recent.weight);
        recent.forget_handed_over();
        (1..100_000).for_each(|n| recent.claim_number(Boot { gateway: "g", boot: "399999" }, 2 * n, claim(0), now()));
        assert!(recent.weight <= WEIGHT_MAX + 300);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Report { boot: u8, seq: u64, digest: u8 },
        HandOver,
        Written,
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = prop_oneof![3 => 1u64..30, 1 => (1u64..2_000).prop_map(|n| 2 * n)];
        prop_oneof![
            30 => (0u8..2, number, 0u8..2).prop_map(|(boot, seq, digest)| Step::Report { boot, seq, digest }),
            1 => Just(Step::HandOver),
            1 => Just(Step::Written),
            1 => Just(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn novelty_is_that_of_a_list_of_everything_accepted(steps in prop::collection::vec(step(), 0..900)) {
            let mut recent = RecentIdentities::default();
            let mut all: BTreeMap<(u8, u64), u8> = BTreeMap::new();
            // What the index on disk holds: the digests, and the ranges as they are merged there.
            let mut index: BTreeMap<(u8, u64), u8> = BTreeMap::new();
            let mut stored = [Ranges::default(), Ranges::default()];
            let boots = [Boot { gateway: "g", boot: "0" }, Boot { gateway: "g", boot: "1" }];
            for step in steps {
                match step {
                    Step::HandOver => drop(recent.hand_over()),
                    Step::Written => {
                        for (number, boot) in boots.iter().enumerate() {
                            for claims in recent.hand_over().iter().filter_map(|claims| claims.boot(*boot)) {
                                stored[number].merge(&claims.ranges());
                                index.extend(claims.numbers().map(|(seq, claim)| ((number as u8, seq), claim.digest[0])));
                            }
                        }
                        recent.forget_handed_over();
                    }
                    Step::Forget => recent.boots.clear(),
                    Step::Report { boot, seq, digest } => {
                        let name = boots[usize::from(boot)];
                        let mut novelty = recent.look_up_number(name, seq, &[digest; 16]);
                        if novelty == Novelty::AskBoot {
                            recent.learn_boot(name, stored[usize::from(boot)].clone());
                            novelty = recent.look_up_number(name, seq, &[digest; 16]);
                        }
                        if novelty == Novelty::AskIndex {
                            let found = index.get(&(boot, seq));
                            novelty = found.map_or(Novelty::New, |accepted| RecentIdentities::compare(&[*accepted; 16], &[digest; 16]));
                        }
                        let expected = match all.get(&(boot, seq)) {
                            None => Novelty::New,
                            Some(accepted) => RecentIdentities::compare(&[*accepted; 16], &[digest; 16]),
                        };
                        prop_assert_eq!(novelty, expected);
                        if novelty == Novelty::New {
                            all.insert((boot, seq), digest);
                            recent.claim_number(name, seq, claim(digest), now());
                        }
                    }
                }
            }
        }
    }
}
