//! Repeats told from new messages: what is known in memory, and where that does not suffice, what the index on disk says.

use std::collections::{HashMap, HashSet};

use store::StoreError;
use tally::{Boot, Claim, Claims, Novelty, RecentIdentities, SequenceKey};
use wire::identity::{IdentityKey, MessageIdentity};
use wire::report::ContentDigest;

use crate::item::{Content, Item, Sound};
use crate::ledger::Ledger;

pub(crate) struct Identities {
    pub(crate) recent: RecentIdentities,
    /// What the index could not be asked the last time: it is asked again, so that it is known when it can be read.
    unanswered: Option<Questions>,
}

/// What the index on disk says of a group.
#[derive(Default)]
pub(crate) struct Known {
    accepted: HashMap<IdentityKey, ContentDigest>,
    unreadable: HashSet<IdentityKey>,
    pub(crate) failed: Option<StoreError>,
}

type Found = Result<Vec<Option<Claim>>, StoreError>;

/// What the index on disk is asked.
#[derive(Default)]
struct Questions {
    boots: Vec<SequenceKey>,
    numbers: Vec<(SequenceKey, u64)>,
    ids: Vec<IdentityKey>,
}

/// What a message is, as far as its identity goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Duplicate,
    Conflict,
    /// Whether it was accepted before cannot be found out now.
    Unknown,
}

impl Identities {
    /// Begins with what a stretch of the log claims that no checkpoint holds.
    pub(crate) fn of(claims: Claims) -> Identities {
        Identities { recent: RecentIdentities::of(claims), unanswered: None }
    }

    /// Asks the index about those of a group that are not certainly new and not among the recent ones. Where it cannot be read, only
    /// who was asked about has to come again.
    pub(crate) fn look_up(&mut self, ledger: &mut impl Ledger, items: &[Item]) -> Known {
        let (mut known, mut boots) = (Known::default(), Vec::new());
        let (mut numbers, mut keys_of_numbers, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            let Content::Sound(sound) = &item.content else { continue };
            if let Some((boot, seq)) = number(sound) {
                let mut novelty = self.recent.look_up_number(boot, seq, &sound.digest);
                if novelty == Novelty::AskBoot {
                    match ledger.ranges_of_boot(boot) {
                        Ok(ranges) => self.recent.learn_boot(boot, ranges),
                        Err(error) => {
                            known.fails(sound.key, error);
                            boots.push(boot.to_key());
                        }
                    }
                    novelty = self.recent.look_up_number(boot, seq, &sound.digest);
                }
                if novelty == Novelty::AskIndex {
                    numbers.push((boot, seq));
                    keys_of_numbers.push(sound.key);
                }
            } else if self.recent.look_up_id(&sound.key, &sound.digest) == Novelty::AskIndex {
                ids.push(sound.key);
            }
        }
        if !numbers.is_empty() {
            let at_once = ledger.find_numbers(&numbers);
            known.take(&keys_of_numbers, at_once, |at| ledger.find_numbers(&numbers[at..at + 1]));
        }
        if !ids.is_empty() {
            let at_once = ledger.find_ids(&ids);
            known.take(&ids, at_once, |at| ledger.find_ids(&ids[at..at + 1]));
        }
        if known.failed.is_some() {
            let numbers = numbers.into_iter().map(|(boot, seq)| (boot.to_key(), seq)).collect();
            self.unanswered = Some(Questions { boots, numbers, ids });
        }
        known
    }

    /// Asks the index anew what it did not answer; `None` if there is nothing.
    pub(crate) fn ask_again(&mut self, ledger: &mut impl Ledger) -> Option<Result<(), StoreError>> {
        let unanswered = self.unanswered.take()?;
        let numbers: Vec<_> = unanswered.numbers.iter().map(|(boot, seq)| (boot.as_boot(), *seq)).collect();
        let boots = unanswered.boots.iter().try_for_each(|boot| ledger.ranges_of_boot(boot.as_boot()).map(drop));
        let answered = boots.and_then(|()| ledger.find_numbers(&numbers)).and_then(|_| ledger.find_ids(&unanswered.ids)).map(drop);
        if answered.is_err() {
            self.unanswered = Some(unanswered);
        }
        Some(answered)
    }

    /// `claimed`: what this group is to accept already.
    pub(crate) fn standing(&self, sound: &Sound, known: &Known, claimed: &HashMap<IdentityKey, ContentDigest>) -> Standing {
        let accepted = claimed.get(&sound.key).or_else(|| known.accepted.get(&sound.key));
        let novelty = match (accepted, number(sound)) {
            (Some(accepted), _) => RecentIdentities::compare(accepted, &sound.digest),
            (None, Some((boot, seq))) => self.recent.look_up_number(boot, seq, &sound.digest),
            (None, None) => self.recent.look_up_id(&sound.key, &sound.digest),
        };
        match novelty {
            Novelty::Duplicate => Standing::Duplicate,
            Novelty::Conflict => Standing::Conflict,
            Novelty::AskIndex | Novelty::AskBoot if known.unreadable.contains(&sound.key) => Standing::Unknown,
            // The index was asked, and does not know it; also where its boot was forgotten again since.
            Novelty::New | Novelty::AskIndex | Novelty::AskBoot => Standing::New,
        }
    }

    /// An accepted message claims its identity; `block`: where it stands in the log.
    pub(crate) fn claim(&mut self, sound: &Sound, block: u64) {
        let claim = Claim { digest: sound.digest, block };
        match number(sound) {
            Some((boot, seq)) => self.recent.claim_number(boot, seq, claim, sound.origin.received_at),
            None => self.recent.claim_id(sound.key, claim),
        }
    }
}

impl Known {
    /// Where they cannot be found all at once, `one` is asked for each: damage holds up nobody else.
    fn take(&mut self, keys: &[IdentityKey], at_once: Found, mut one: impl FnMut(usize) -> Found) {
        if let Ok(found) = at_once {
            return self.accepted.extend(keys.iter().zip(found).filter_map(|(key, claim)| Some((*key, claim?.digest))));
        }
        for (at, key) in keys.iter().enumerate() {
            match one(at) {
                Ok(found) => self.accepted.extend(found.first().copied().flatten().map(|claim| (*key, claim.digest))),
                Err(error) => self.fails(*key, error),
            }
        }
    }

    fn fails(&mut self, key: IdentityKey, error: StoreError) {
        self.unreadable.insert(key);
        self.failed = Some(error);
    }
}

fn number(sound: &Sound) -> Option<(Boot<'_>, u64)> {
    match &sound.identity {
        MessageIdentity::Sequence { boot, seq } => Some((Boot { gateway: sound.origin.sender.id(), boot }, *seq)),
        MessageIdentity::Id(_) => None,
    }
}
