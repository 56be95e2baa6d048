//! The outlook of open vouchers: what is missing today, and where the pace leads. Nothing is stored.

use policy::judge::Case;
use policy::outlook::{Outlook, open, outlook, pace_from};
use policy::register::Voucher;
use store::Wanted;

use crate::batch::{sort_as_facts_lie, wanted};
use crate::every_core::on_every_core;
use crate::run::{JudgeError, Monitor, find};

/// Vouchers whose facts are looked up together.
const TOGETHER_MAX: usize = 256;

impl Monitor {
    /// Of these vouchers, as far as they are open, in order of their id.
    pub async fn outlooks(&self, vouchers: &[&str]) -> Result<Vec<Outlook>, JudgeError> {
        let register = self.up_to_date().await?;
        let now = self.parts().clock.now();
        let mut vouchers: Vec<&Voucher> = vouchers.iter().map(|id| find(&register, id)).collect::<Result<_, _>>()?;
        vouchers.retain(|voucher| open(voucher, now));
        sort_as_facts_lie(&mut vouchers);
        let mut outlooks = Vec::with_capacity(vouchers.len());
        for some in vouchers.chunks(TOGETHER_MAX) {
            let task = |voucher: &&Voucher| {
                let mut wanted = wanted(voucher, self.rulebook_of(voucher), now);
                wanted.days = (wanted.days.0.min(pace_from(now)), wanted.days.1);
                (voucher.id.clone(), wanted)
            };
            let tasks: Vec<(String, Wanted)> = some.iter().map(task).collect();
            let all: Vec<Wanted> = tasks.iter().map(|(_, wanted)| wanted.clone()).collect();
            let grounds = self.grounds(&register, &all).await?;
            let monitor = self.clone();
            let seen = on_every_core(grounds, tasks, move |grounds, facts, (voucher, wanted)| {
                let voucher = find(&grounds.register, voucher)?;
                let (rulebook, catalogue) = (monitor.rulebook_of(voucher), monitor.parts().catalogues.in_force(voucher.applied_at));
                let facts = facts.of(grounds, wanted.clone())?;
                let slice = grounds.slice(voucher);
                Ok(outlook(&Case { register: &slice, rulebook, catalogue, voucher, as_of: now, facts }))
            })
            .await;
            for outlook in seen {
                outlooks.push(outlook?);
            }
        }
        outlooks.sort_by(|a, b| a.voucher.cmp(&b.voucher));
        Ok(outlooks)
    }
}
