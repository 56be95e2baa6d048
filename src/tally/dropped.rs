//! Numbers that a gateway says it will never send: its spool was full. A fold of its own, for receipts: nothing counts less for it.

use std::collections::HashMap;

use wire::Report;
use wire::identity::Sender;

use crate::claims::SequenceKey;
use crate::fold::Origin;
use crate::ranges::{RANGES_MAX, Ranges};

pub type Dropped = HashMap<SequenceKey, Ranges>;

pub(crate) fn apply_dropped(dropped: &mut Dropped, origin: &Origin, report: &Report) {
    let Sender::Gateway(gateway) = &origin.sender else { return };
    for event in report.events.iter().filter(|event| event.event == "dropped") {
        if let Some((boot, first, last)) = event.detail.as_deref().and_then(run) {
            let ranges = dropped.entry(SequenceKey { gateway: gateway.clone(), boot: boot.into() }).or_default();
            insert(ranges, first, last);
        }
    }
}

pub fn merge_dropped(kept: &mut Dropped, other: &Dropped) {
    for (key, ranges) in other {
        merge_dropped_ranges(kept.entry(key.clone()).or_default(), ranges);
    }
}

pub fn merge_dropped_ranges(kept: &mut Ranges, other: &Ranges) {
    other.as_slice().iter().for_each(|(first, last)| insert(kept, *first, *last));
}

/// More runs of one boot than can be kept apart are not kept.
fn insert(ranges: &mut Ranges, first: u64, last: u64) {
    if ranges.as_slice().len() < RANGES_MAX {
        ranges.insert(first, last);
    }
}

/// `boot:first-last`, as the agent writes it.
fn run(detail: &str) -> Option<(&str, u64, u64)> {
    let (boot, numbers) = detail.rsplit_once(':')?;
    let (first, last) = numbers.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first >= 1 && first <= last).then_some((boot, first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_as_the_agent_writes_them_and_nothing_else_is() {
        assert_eq!(run("b7:3-9"), Some(("b7", 3, 9)));
        assert_eq!(run("a:b:3-3"), Some(("a:b", 3, 3)));
        for other in ["entries:3", "b7:9-3", "b7:0-3", "b7:-3", "", "b7:1-2-3"] {
            assert_eq!(run(other), None, "{other}");
        }
    }
}
