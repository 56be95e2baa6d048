//! Entries of the same user, function module and minute become one, so that reports stay small.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use wire::limits::{ACTIONS_MAX, ACTIVE_S_MAX};

use crate::report::UsageEntry;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    product: String,
    function_module: String,
    user: String,
    minute: i64,
}

impl Key {
    fn of(entry: &UsageEntry) -> Key {
        let UsageEntry { product, function_module, user, at, .. } = entry.clone();
        Key { product, function_module, user, minute: minute(at) }
    }
}

fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

/// At most so many entries as are given at the start.
pub(crate) struct Merge {
    entries_max: usize,
    entries: Vec<UsageEntry>,
    latest: HashMap<Key, usize>,
}

impl Merge {
    pub fn new(entries_max: usize) -> Merge {
        Merge { entries_max, entries: Vec::new(), latest: HashMap::new() }
    }

    pub fn empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the entry back if there is no room for it.
    pub fn add(&mut self, entry: UsageEntry) -> Result<(), UsageEntry> {
        let key = Key::of(&entry);
        if let Some(kept) = self.latest.get(&key).and_then(|index| self.entries.get_mut(*index))
            && let Some((actions, active_s)) = sums(kept, &entry)
        {
            (kept.actions, kept.active_s) = (actions, active_s);
            kept.at = kept.at.min(entry.at);
            return Ok(());
        }
        if self.entries.len() >= self.entries_max {
            return Err(entry);
        }
        self.latest.insert(key, self.entries.len());
        self.entries.push(entry);
        Ok(())
    }

    pub fn take(&mut self) -> Vec<UsageEntry> {
        self.latest.clear();
        std::mem::take(&mut self.entries)
    }
}

/// `None` if a sum is more than a report may say of one entry.
fn sums(one: &UsageEntry, other: &UsageEntry) -> Option<(u32, Option<u32>)> {
    let within = |sum: u32, max: u64| (u64::from(sum) <= max).then_some(sum);
    let actions = within(one.actions.checked_add(other.actions)?, ACTIONS_MAX)?;
    let active_s = match (one.active_s, other.active_s) {
        (Some(a), Some(b)) => Some(within(a.checked_add(b)?, ACTIVE_S_MAX)?),
        (a, b) => a.or(b),
    };
    Some((actions, active_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: &str, second: u32, actions: u32, active_s: Option<u32>) -> UsageEntry {
        let at = DateTime::from_timestamp(1_572_912_000 + i64::from(second), 0).unwrap();
        UsageEntry { product: "P".into(), function_module: "m".into(), user: user.into(), at, actions, active_s }
    }

    #[test]
    fn a_minute_of_one_user_and_module_is_one_entry_at_its_first_moment() {
        let mut merge = Merge::new(10);
        for (user, second, active_s) in [("u", 5, None), ("u", 3, Some(10)), ("v", 4, None), ("u", 59, Some(20)), ("u", 60, None)] {
            merge.add(entry(user, second, 1, active_s)).unwrap();
        }
        let other = UsageEntry { function_module: "n".into(), ..entry("u", 5, 1, None) };
        merge.add(other.clone()).unwrap();
        assert_eq!(merge.take(), [entry("u", 3, 3, Some(30)), entry("v", 4, 1, None), entry("u", 60, 1, None), other]);
        assert!(merge.empty());
        merge.add(entry("u", 3, 1, None)).unwrap();
        assert_eq!(merge.take(), [entry("u", 3, 1, None)]);
    }

    #[test]
    fn no_action_is_lost_where_a_sum_passes_the_bound() {
        let mut merge = Merge::new(10);
        for (actions, active_s) in [(60_000, None), (60_000, None), (1, Some(86_400)), (1, Some(1))] {
            merge.add(entry("u", 0, actions, active_s)).unwrap();
        }
        let entries = merge.take();
        assert_eq!(entries.iter().map(|entry| entry.actions).sum::<u32>(), 120_002);
        assert_eq!(entries.iter().filter_map(|entry| entry.active_s).sum::<u32>(), 86_401);
        assert!(entries.iter().all(|entry| entry.actions <= 100_000 && entry.active_s.is_none_or(|s| s <= 86_400)));
    }

    #[test]
    fn what_has_no_room_comes_back_and_what_can_be_merged_still_is() {
        let mut merge = Merge::new(1);
        merge.add(entry("u", 0, 1, None)).unwrap();
        assert_eq!(merge.add(entry("v", 0, 1, None)), Err(entry("v", 0, 1, None)));
        assert_eq!(merge.add(entry("u", 1, 1, None)), Ok(()));
    }
}
