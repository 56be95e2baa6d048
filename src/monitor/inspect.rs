//! What inspections rest on: weekly data quality and credit of suppliers, and the spot-check list. Gathers facts, register, results
//! and outcomes; every figure is made in `policy`. Nothing here enters a judgement.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::calendar::{Instant, day_of, day_start};
use policy::credit::{CreditRecord, credit};
use policy::quality::{Expected, QualityFigures, WeekQuality, expected};
use policy::register::{Register, Voucher};
use policy::result::MonitoringResult;
use policy::rulebook::Rulebook;
use policy::spot_check::{Candidate, SpotCheckList, risk, select};
use policy::week::Week;
use store::{FactsOfMany, FactsReader, StoreError, Wanted};

use crate::evidence::EvidenceSource;
use crate::run::{JudgeError, Monitor, RegisterIndex, unreadable};

/// Results that are looked at together: their bodies are large.
const RESULTS_TOGETHER: usize = 256;

/// By supplier: also those of whom nothing was expected.
pub type QualityOfSuppliers = BTreeMap<String, BTreeMap<Week, WeekQuality>>;

/// Which list is asked for.
#[derive(Clone, Debug)]
pub struct SpotCheckAsked {
    pub seed: String,
    /// Only vouchers of this period.
    pub period: Option<String>,
    pub count: u64,
}

/// What one enterprise and product owe a supplier's weeks.
struct Owed {
    supplier: String,
    wanted: Wanted,
    weeks: Vec<(Week, Expected)>,
}

impl Monitor {
    /// Data quality of these weeks, of one supplier or of all.
    pub async fn quality(&self, weeks: &[Week], supplier: Option<&str>) -> Result<QualityOfSuppliers, JudgeError> {
        let register = self.up_to_date().await?;
        self.quality_of(&register, weeks, supplier, self.parts().clock.now()).await
    }

    async fn quality_of(
        &self,
        register: &Register,
        weeks: &[Week],
        supplier: Option<&str>,
        now: Instant,
    ) -> Result<QualityOfSuppliers, JudgeError> {
        let asked = |id: &str| supplier.is_none_or(|supplier| supplier == id);
        let (mut all, mut owed) = (QualityOfSuppliers::new(), BTreeMap::new());
        // The gateways of the enterprises concerned, by supplier and week.
        let mut enterprises: BTreeMap<(String, Week), BTreeSet<String>> = BTreeMap::new();
        for week in weeks {
            let by_supplier = expected(register, &self.parts().catalogues, *week, day_of(now));
            for (supplier, pairs) in by_supplier.into_iter().filter(|(id, _)| asked(id)) {
                all.entry(supplier.clone()).or_default().insert(*week, WeekQuality::default());
                for ((enterprise, product), expected) in pairs {
                    enterprises.entry((supplier.clone(), *week)).or_default().insert(enterprise.clone());
                    owed.entry((enterprise.len(), enterprise, product, supplier.clone())).or_insert_with(Vec::new).push((*week, expected));
                }
            }
        }
        let owed = owed.into_iter().map(|((_, enterprise, product, supplier), weeks)| {
            let from = weeks.iter().map(|(week, _)| week.from()).min().unwrap_or_default();
            let to = weeks.iter().map(|(week, _)| week.to()).max().unwrap_or_default();
            Owed { supplier, wanted: Wanted { enterprise, product, days: (from, to) }, weeks }
        });
        for (supplier, week, figures) in self.count_owed(owed.collect()).await? {
            all.entry(supplier).or_default().entry(week).or_default().figures.add(&figures);
        }
        for week in weeks {
            self.add_refused_and_missing(register, *week, &enterprises, &mut all).await?;
        }
        Ok(all)
    }

    /// Reads facts in the order in which they lie, on every core.
    async fn count_owed(&self, owed: Vec<Owed>) -> Result<Vec<(String, Week, QualityFigures)>, JudgeError> {
        let tail = match &self.parts().evidence {
            EvidenceSource::Live(_) => None,
            EvidenceSource::Tail { facts, .. } => Some(facts.clone()),
        };
        let wanted: Vec<Wanted> = owed.iter().map(|owed| owed.wanted.clone()).collect();
        let facts = Arc::new(self.parts().store.facts_of_many(&wanted, tail).await?);
        if let EvidenceSource::Tail { from, .. } = &self.parts().evidence
            && from != facts.position()
        {
            return Err(JudgeError::CheckpointMoved);
        }
        let share = owed.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        let (mut rest, mut threads) = (owed.into_iter().peekable(), Vec::new());
        while rest.peek().is_some() {
            let (facts, some): (Arc<FactsOfMany>, Vec<Owed>) = (facts.clone(), rest.by_ref().take(share).collect());
            threads.push(tokio::task::spawn_blocking(move || count_some(&facts, &some)));
        }
        let mut counted = Vec::new();
        for thread in threads {
            counted.extend(thread.await.map_err(|_| JudgeError::Stopped)??);
        }
        Ok(counted)
    }

    async fn add_refused_and_missing(
        &self,
        register: &Register,
        week: Week,
        enterprises: &BTreeMap<(String, Week), BTreeSet<String>>,
        all: &mut QualityOfSuppliers,
    ) -> Result<(), StoreError> {
        let (from, until) = (day_start(week.from()), day_start(week.after().from()));
        let refused = self.parts().store.refused_between(from, until).await?;
        let missing = self.parts().store.gaps_between(from, until).await?;
        for (supplier, of_supplier) in all {
            let Some(quality) = of_supplier.get_mut(&week) else { continue };
            let of = |kind: &str, id: &str| refused.get(&(kind.to_string(), id.to_string())).copied().unwrap_or(0);
            quality.refused_of_supplier = of("supplier", supplier);
            let Some(concerned) = enterprises.get(&(supplier.clone(), week)) else { continue };
            for gateway in register.gateways.values().filter(|gateway| concerned.contains(&gateway.enterprise)) {
                quality.refused_of_gateways += of("gateway", &gateway.id);
                if let Some(gaps) = missing.get(&gateway.id) {
                    quality.missing_numbers += gaps.reports;
                    quality.missing_boots += gaps.boots;
                }
            }
        }
        Ok(())
    }

    /// Whose parameters inspections go by now.
    pub fn inspection_rulebook(&self) -> &Rulebook {
        self.parts().rulebooks.in_force(self.parts().clock.now())
    }

    /// The credit record of one supplier or of all, from outcomes and the weeks before this one.
    pub async fn credit(&self, supplier: Option<&str>) -> Result<BTreeMap<String, CreditRecord>, JudgeError> {
        let register = self.up_to_date().await?;
        let now = self.parts().clock.now();
        let parameters = &self.parts().rulebooks.in_force(now).parameters;
        let this = Week::of(day_of(now));
        let weeks: Vec<Week> = (1..=parameters.credit_weeks).map(|before| this.before(before)).collect();
        let quality = self.quality_of(&register, &weeks, supplier, now).await?;
        let outcomes = self.parts().store.outcomes(None).await?;
        let of = |id: &String| credit(id, &outcomes, quality.get(id).unwrap_or(&BTreeMap::new()), parameters);
        let asked = register.suppliers.keys().filter(|id| supplier.is_none_or(|supplier| supplier == *id));
        Ok(asked.map(|id| (id.clone(), of(id))).collect())
    }

    pub async fn spot_checks(&self, asked: &SpotCheckAsked) -> Result<SpotCheckList, JudgeError> {
        let credit = self.credit(None).await?;
        let register = self.parts().register.register();
        let index = self.index_of(&register).await?;
        let rulebook = self.inspection_rulebook();
        let vouchers: Vec<&Voucher> = register
            .vouchers
            .values()
            .filter(|voucher| voucher.status.takes_from_cap())
            .filter(|voucher| asked.period.is_none() || voucher.period == asked.period)
            .collect();
        let mut candidates = Vec::with_capacity(vouchers.len());
        for some in vouchers.chunks(RESULTS_TOGETHER) {
            let ids: Vec<&str> = some.iter().map(|voucher| voucher.id.as_str()).collect();
            let newest = self.parts().store.newest_results_of(&ids).await?;
            let newest: HashMap<&str, MonitoringResult> = newest
                .iter()
                .map(|(id, stored)| Ok::<_, StoreError>((id.as_str(), serde_json::from_str(&stored.body).map_err(unreadable)?)))
                .collect::<Result<_, StoreError>>()?;
            candidates.extend(some.iter().map(|voucher| self.candidate(&index, voucher, newest.get(voucher.id.as_str()), &credit)));
        }
        Ok(select(&asked.seed, asked.period.as_deref(), asked.count, rulebook.parameters.spot_check_random_share, candidates))
    }

    fn candidate(
        &self,
        index: &RegisterIndex,
        voucher: &Voucher,
        newest: Option<&MonitoringResult>,
        credit: &BTreeMap<String, CreditRecord>,
    ) -> Candidate {
        let supplier = index.register().products.get(&voucher.product).map(|product| product.supplier.clone()).unwrap_or_default();
        let findings: Vec<_> = newest.into_iter().flat_map(|result| &result.findings).map(|finding| finding.code).collect();
        let parameters = &self.inspection_rulebook().parameters;
        Candidate {
            voucher: voucher.id.clone(),
            // The approved amount, else that of the newest result, else what it would be.
            amount: voucher.amount.or(newest.map(|result| result.amount.computed)).unwrap_or_else(|| index.takes(&voucher.id)),
            risk: risk(&findings, newest.map(|result| result.verdict), credit.get(&supplier), parameters),
            judgement_hash: newest.map(|result| result.judgement_hash.clone()),
            supplier,
        }
    }
}

fn count_some(facts: &FactsOfMany, owed: &[Owed]) -> Result<Vec<(String, Week, QualityFigures)>, StoreError> {
    let (mut reader, mut counted) = (FactsReader::default(), Vec::new());
    for Owed { supplier, wanted, weeks } in owed {
        let facts = facts.read(wanted, &mut reader)?;
        counted.extend(weeks.iter().map(|(week, expected)| (supplier.clone(), *week, QualityFigures::count(expected, &facts))));
    }
    Ok(counted)
}
