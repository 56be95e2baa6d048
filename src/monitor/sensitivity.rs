//! How much verdicts hang on each 平台参数: every voucher judged under each variation, its facts read once; nothing is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::calendar::Instant;
use policy::judge::{Case, verdict};
use policy::reasons::Verdict;
use policy::register::Voucher;
use policy::rulebook::Rulebook;
use policy::sensitivity::{Variation, variations};
use store::Wanted;

use crate::batch::{sort_as_facts_lie, wanted};
use crate::every_core::on_every_core;
use crate::run::{JudgeError, Monitor, find};

/// Vouchers whose facts are looked up together.
const TOGETHER_MAX: usize = 256;

/// A verdict that would be another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    pub voucher: String,
    pub from: Verdict,
    pub to: Verdict,
}

/// What changing one parameter of one rulebook does.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    pub rulebook: String,
    pub variation: Variation,
    /// In order of the voucher's id.
    pub flips: Vec<Flip>,
}

/// A rulebook in use, and every variation of it.
struct Varied {
    rulebook: Rulebook,
    variations: Vec<Variation>,
}

impl Monitor {
    /// Of these vouchers, under the rulebook in force for each: one row for each rulebook in use and variation of it.
    pub async fn sensitivity(&self, vouchers: &[String], as_of: Option<Instant>) -> Result<Vec<Sensitivity>, JudgeError> {
        let register = self.up_to_date().await?;
        let as_of = as_of.unwrap_or_else(|| self.parts().clock.now());
        let mut vouchers: Vec<&Voucher> = vouchers.iter().map(|id| find(&register, id)).collect::<Result<_, _>>()?;
        sort_as_facts_lie(&mut vouchers);
        let mut in_use: BTreeMap<String, Varied> = BTreeMap::new();
        for voucher in &vouchers {
            let rulebook = self.rulebook_of(voucher);
            if !in_use.contains_key(&rulebook.id) {
                let variations = variations(rulebook).map_err(|faults| JudgeError::Variation(format!("{faults:?}")))?;
                in_use.insert(rulebook.id.clone(), Varied { rulebook: rulebook.clone(), variations });
            }
        }
        let in_use = Arc::new(in_use);
        let mut flips: BTreeMap<(String, usize), Vec<Flip>> = BTreeMap::new();
        for some in vouchers.chunks(TOGETHER_MAX) {
            let tasks: Vec<(String, Wanted)> =
                some.iter().map(|voucher| (voucher.id.clone(), widest(voucher, &in_use[&self.rulebook_of(voucher).id], as_of))).collect();
            let wanted: Vec<Wanted> = tasks.iter().map(|(_, wanted)| wanted.clone()).collect();
            let grounds = self.grounds(&register, &wanted).await?;
            let (monitor, varied) = (self.clone(), in_use.clone());
            let judged = on_every_core(grounds, tasks, move |grounds, facts, (voucher, wanted)| {
                let voucher = find(&grounds.register, voucher)?;
                let catalogue = monitor.parts().catalogues.in_force(voucher.applied_at);
                let varied = &varied[&monitor.rulebook_of(voucher).id];
                let facts = facts.of(grounds, wanted.clone())?;
                let slice = grounds.slice(voucher);
                let under = |rulebook: &Rulebook| verdict(&Case { register: &slice, rulebook, catalogue, voucher, as_of, facts });
                let from = under(&varied.rulebook);
                let tried = varied.variations.iter().map(|variation| variation.rulebook.as_ref().map_or(from, under));
                let flipped = tried.enumerate().filter(|(_, to)| *to != from);
                let flips = flipped.map(|(at, to)| (at, Flip { voucher: voucher.id.clone(), from, to }));
                Ok((varied.rulebook.id.clone(), flips.collect::<Vec<_>>()))
            })
            .await;
            for judged in judged {
                let (rulebook, found) = judged?;
                found.into_iter().for_each(|(at, flip)| flips.entry((rulebook.clone(), at)).or_default().push(flip));
            }
        }
        let mut rows = Vec::new();
        for (id, varied) in in_use.iter() {
            for (at, variation) in varied.variations.iter().enumerate() {
                let mut flips = flips.remove(&(id.clone(), at)).unwrap_or_default();
                flips.sort_by(|a, b| a.voucher.cmp(&b.voucher));
                rows.push(Sensitivity { rulebook: id.clone(), variation: variation.clone(), flips });
            }
        }
        Ok(rows)
    }
}

/// The facts of the longest window of any variation.
fn widest(voucher: &Voucher, varied: &Varied, as_of: Instant) -> Wanted {
    let tried = varied.variations.iter().filter_map(|variation| variation.rulebook.as_ref());
    let mut widest = wanted(voucher, &varied.rulebook, as_of);
    for rulebook in tried {
        let days = wanted(voucher, rulebook, as_of).days;
        widest.days = (widest.days.0.min(days.0), widest.days.1.max(days.1));
    }
    widest
}
