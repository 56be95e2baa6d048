//! What the service says of reports beside acknowledging them: refusals, and signed receipts.

use std::io;
use std::ops::Range;

use wire::FaultCode;

use crate::delivery::{self, Why};
use crate::receipt::{Ignored, Receipt};
use crate::refusals::Refusal;
use crate::spool::{ReportKey, Spool};
use crate::uplink::{End, Link, Uplink};

/// A receipt lists the newest refused numbers, at most so many: of those below a full list it says nothing.
const REFUSED_LISTED_MAX: usize = 1000;

impl Uplink {
    /// What is said of a report is kept until it is known what becomes of the report. Where receipts settle, a doubt is followed at
    /// once: a receipt does not tell it from other refusals.
    pub(super) async fn refusal(&mut self, link: &Link, faults: &[u8]) -> Result<(), End> {
        let refusal = Refusal::read(faults);
        let Some(key) = refusal.key.filter(|_| self.keys.is_some() && !refusal.doubts.is_empty()) else {
            self.refusals.push(faults.to_vec());
            return Ok(());
        };
        let Some(position) = self.spool.with(move |spool| Ok(spool.position(&key))).await? else { return Ok(()) };
        self.doubt(position, &refusal.doubts);
        self.apply(link, held(position, Why::Doubted)).await
    }

    /// What follows for a report that was forbidden. If the service has said why, it doubts who speaks; else it was somebody else.
    pub(super) async fn forbidden(&mut self, position: u64, reason: &'static str) -> io::Result<delivery::Event<'static>> {
        let Some(stored) = self.spool.with(move |spool| spool.read(position)).await? else {
            return Ok(delivery::Event::Gone { position, next: position + 1 });
        };
        let Some(faults) = self.refusals.take(&stored.key) else {
            return Ok(delivery::Event::Untold { position, reason, jitter: rand::random() });
        };
        self.doubt(position, &Refusal::read(&faults).doubts);
        Ok(held(position, Why::Doubted))
    }

    fn doubt(&mut self, position: u64, doubts: &[FaultCode]) {
        let codes: Vec<&str> = doubts.iter().map(|code| code.as_str()).collect();
        let gateway = &self.gateway.id;
        tracing::warn!(
            gateway,
            position,
            faults = codes.join(", "),
            "the service refuses a report for who speaks; it waits in the spool and is tried again"
        );
        self.shown.with(|state| state.obstacles.doubts.extend(codes.into_iter().map(str::to_string)));
    }

    /// A report that is refused for good moves aside, with what the service said. Where the disk does not take it, it waits, and others go on.
    pub(super) async fn refuse(&mut self, position: u64, reason: &'static str) -> Option<delivery::Event<'static>> {
        let error = self.set_aside(position, reason).await.err()?;
        let gateway = &self.gateway.id;
        tracing::error!(gateway, position, reason, %error, "a refused report cannot be set aside; it waits in the spool");
        self.shown.with(|state| state.obstacles.unkept_error = Some(error.to_string()));
        Some(held(position, Why::Unkept))
    }

    async fn set_aside(&mut self, position: u64, reason: &'static str) -> io::Result<()> {
        let Some(stored) = self.spool.with(move |spool| spool.read(position)).await? else { return Ok(()) };
        let faults = self.refusals.take(&stored.key);
        let path = self.spool.with(move |spool| spool.refuse(position, reason, faults.as_deref())).await?.unwrap_or_default();
        self.shown.with(|state| state.refused_total += 1);
        let (gateway, ReportKey { boot, seq }) = (&self.gateway.id, stored.key);
        tracing::error!(gateway, boot, seq, reason, path = %path.display(), "the service refused a report; it is kept with its faults");
        Ok(())
    }

    pub(super) async fn receipt(&mut self, link: &Link, jws: &[u8]) -> Result<(), End> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let mut verified = keys.verify(jws, &self.gateway.id);
        if let Err(Ignored::Key(_)) = verified {
            if let Err(error) = keys.refresh() {
                tracing::warn!(%error, "the keys that sign receipts cannot be read");
            }
            verified = keys.verify(jws, &self.gateway.id);
        }
        match verified {
            Ok(receipt) => self.settle_by(link, receipt).await,
            Err(ignored) => {
                tracing::warn!(gateway = self.gateway.id, why = %ignored, "a receipt is ignored");
                self.shown.with(|state| state.receipts_ignored_total += 1);
                Ok(())
            }
        }
    }

    async fn settle_by(&mut self, link: &Link, receipt: Receipt) -> Result<(), End> {
        let (boot, through) = (receipt.boot, receipt.through);
        let mut waits: Vec<Range<u64>> = Vec::new();
        for seq in &receipt.refused {
            let key = ReportKey { boot: boot.clone(), seq: *seq };
            let wanted = key.clone();
            let Some(position) = self.spool.with(move |spool| Ok(spool.position(&wanted))).await? else { continue };
            if self.undecided(position, &key) {
                waits.push(position..position + 1);
            } else if let Some(held) = self.refuse(position, "refused in a receipt").await {
                waits.push(position..position + 1);
                self.apply(link, held).await?;
            }
        }
        let listed_from = receipt.refused.iter().min().filter(|_| receipt.refused.len() >= REFUSED_LISTED_MAX).copied();
        let known = self.delivery.unsettled();
        let settle = move |spool: &mut Spool| {
            waits.extend(listed_from.map(|seq| spool.positions_below(&boot, seq)).unwrap_or_default());
            let count = spool.settle_through(&boot, through, &waits)?;
            let settled = known.into_iter().filter(|position| spool.unsettled(*position, 1).first() != Some(position)).collect::<Vec<_>>();
            Ok((count, settled))
        };
        let (count, settled) = self.spool.with(settle).await?;
        if count > 0 {
            self.acknowledged(count as u64);
        }
        self.apply(link, delivery::Event::Receipted { settled: &settled }).await
    }

    /// A receipt lists this report among the refused. That decides nothing where the service doubts who speaks, nor of a report from before
    /// this start: why it was refused then is not known any more, and is told again when it is sent again.
    fn undecided(&self, position: u64, key: &ReportKey) -> bool {
        let doubted = self.delivery.holds(position) && self.delivery.tries(position) != Some(Why::Unkept);
        (doubted || position < self.own_from) && !self.refusals.name(key)
    }
}

fn held(position: u64, why: Why) -> delivery::Event<'static> {
    delivery::Event::Held { position, why, jitter: rand::random() }
}
