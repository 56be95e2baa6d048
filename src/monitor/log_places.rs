//! Where in the evidence log that lies on which findings rest: the blocks of the days on which it was received.

use std::collections::{BTreeMap, BTreeSet};

use policy::calendar::Day;
use policy::judge::FindingDays;
use policy::result::FindingBlocks;

/// By day of receipt: the first and the last block.
pub(crate) type BlocksByDay = BTreeMap<Day, (u64, u64)>;

pub(crate) fn blocks_of(findings: &[FindingDays], blocks: &BlocksByDay, log_size: u64) -> Vec<FindingBlocks> {
    let of = |finding: &FindingDays| FindingBlocks { code: finding.code, blocks: stretches(&finding.days, blocks, log_size) };
    findings.iter().map(of).filter(|found| !found.blocks.is_empty()).collect()
}

/// What follows on each other is taken together; nothing beyond the log as it was judged.
fn stretches(days: &BTreeSet<Day>, blocks: &BlocksByDay, log_size: u64) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for (first, last) in days.iter().filter_map(|day| blocks.get(day)).filter(|(first, _)| *first < log_size) {
        let last = (*last).min(log_size - 1);
        match stretches.last_mut() {
            Some(before) if *first <= before.1.saturating_add(1) => *before = (before.0.min(*first), before.1.max(last)),
            _ => stretches.push((*first, last)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::calendar::read_day;

    #[test]
    fn days_whose_blocks_follow_on_each_other_make_one_stretch_that_ends_with_the_log() {
        let day = |text: &str| read_day(text).unwrap();
        let blocks = [("2019-11-01", (0, 4)), ("2019-11-02", (4, 9)), ("2019-11-03", (10, 12)), ("2019-11-05", (15, 30))];
        let blocks: BlocksByDay = blocks.map(|(text, range)| (day(text), range)).into();
        let of = |days: &[&str], log_size| stretches(&days.iter().map(|text| day(text)).collect(), &blocks, log_size);
        assert_eq!(of(&["2019-11-01", "2019-11-02", "2019-11-03", "2019-11-04", "2019-11-05"], 40), [(0, 12), (15, 30)]);
        assert_eq!(of(&["2019-11-02", "2019-11-05"], 20), [(4, 9), (15, 19)]);
        assert_eq!(of(&["2019-11-05"], 15), [], "received after what was judged");
    }
}
