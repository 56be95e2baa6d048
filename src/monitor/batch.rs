//! Judging many vouchers: grounds are looked at once for all, facts are read in the order in which they lie, every core judges, and
//! what is judged is stored meanwhile, some results together. Each result is what judging the voucher by itself would give.

use std::sync::Arc;

use policy::calendar::Instant;
use policy::canonical::{bytes_of, hash_of_bytes};
use policy::facts::VoucherFacts;
use policy::judge::{Case, Judgement, judge};
use policy::refusals::RefusalFacts;
use policy::register::{Register, Voucher};
use policy::result::{EvidenceRef, MonitoringResult};
use policy::rulebook::Rulebook;
use policy::window::window;
use store::{FactsOfMany, FactsReader, NewResult, ResultGrounds, StoreError, StoredResult, Wanted};

use crate::every_core::answers_as_they_come;
use crate::evidence::EvidenceSource;
use crate::log_places::{BlocksByDay, blocks_of};
use crate::run::{JudgeError, Judged, Monitor, RegisterIndex, find, unreadable, unwritable};

/// Vouchers that are judged and stored together: few enough that somebody who asks for one of them need not wait long.
const TOGETHER_MAX: usize = 256;
/// Results that one transaction stores.
const STORED_TOGETHER_MAX: usize = 64;
/// Tries of storing a voucher's result while other processes store theirs.
const TRIES: usize = 20;

/// A look at everything that judgements of some vouchers rest on.
pub(crate) struct Grounds {
    pub(crate) register: Arc<Register>,
    index: Arc<RegisterIndex>,
    facts: FactsOfMany,
    evidence: EvidenceRef,
    blocks: BlocksByDay,
}

/// What was wanted, and read last: vouchers of one enterprise, product and window share it.
#[derive(Default)]
pub(crate) struct FactsAtHand {
    reader: FactsReader,
    last: Option<(Wanted, VoucherFacts)>,
}

/// How a round of judging went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub judged: usize,
    pub new: usize,
    /// Vouchers that could not be judged.
    pub failed: Vec<String>,
}

/// One voucher's judgement held against the result that is newest now.
enum Weighed {
    Unchanged(Box<StoredResult>),
    New(Box<NewResult>, Box<MonitoringResult>),
}

impl Monitor {
    /// Judges these vouchers, and gives the answers in their order.
    pub async fn judge_vouchers(&self, vouchers: &[&str], as_of: Option<Instant>) -> Result<Vec<Result<Judged, JudgeError>>, JudgeError> {
        self.up_to_date().await?;
        let mut judged = Vec::with_capacity(vouchers.len());
        for some in vouchers.chunks(TOGETHER_MAX) {
            judged.extend(self.judge_and_store(some, as_of).await?);
        }
        Ok(judged)
    }

    /// Judges these vouchers, in the order of their enterprises. Those that have left the register are passed over.
    pub async fn judge_round(&self, vouchers: impl IntoIterator<Item = String>, as_of: Option<Instant>) -> Result<Round, JudgeError> {
        let register = self.up_to_date().await?;
        let mut vouchers: Vec<&Voucher> = vouchers.into_iter().filter_map(|id| register.vouchers.get(&id)).collect();
        sort_as_facts_lie(&mut vouchers);
        let mut round = Round::default();
        for some in vouchers.chunks(TOGETHER_MAX) {
            let ids: Vec<&str> = some.iter().map(|voucher| voucher.id.as_str()).collect();
            let judged = self.judge_and_store(&ids, as_of).await?;
            for (id, judged) in ids.iter().zip(judged) {
                match judged {
                    Ok(judged) => {
                        round.judged += 1;
                        round.new += usize::from(judged.new);
                    }
                    Err(JudgeError::UnknownVoucher(_)) => {}
                    Err(error) => {
                        tracing::error!(voucher = id, %error, "a voucher could not be judged");
                        round.failed.push((*id).to_string());
                    }
                }
            }
        }
        Ok(round)
    }

    /// One answer for each voucher, in their order.
    pub(crate) async fn judge_and_store(
        &self,
        vouchers: &[&str],
        as_of: Option<Instant>,
    ) -> Result<Vec<Result<Judged, JudgeError>>, JudgeError> {
        // One at a time, from looking at the grounds to storing: a result never supersedes one that stands on newer grounds.
        let _one_at_a_time = self.parts().judging.lock().await;
        let mut answers: Vec<Option<Result<Judged, JudgeError>>> = vouchers.iter().map(|_| None).collect();
        for _ in 0..TRIES {
            let waiting: Vec<usize> = (0..vouchers.len()).filter(|at| answers[*at].is_none()).collect();
            if waiting.is_empty() {
                break;
            }
            let asked: Vec<&str> = waiting.iter().map(|at| vouchers[*at]).collect();
            for (at, answer) in waiting.into_iter().zip(self.try_judge_and_store(&asked, as_of).await?) {
                answers[at] = answer;
            }
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(JudgeError::Overtaken))).collect())
    }

    /// `None` for a voucher of which another process has stored a result meanwhile.
    async fn try_judge_and_store(
        &self,
        vouchers: &[&str],
        as_of: Option<Instant>,
    ) -> Result<Vec<Option<Result<Judged, JudgeError>>>, JudgeError> {
        let now = self.parts().clock.now();
        let register = self.parts().register.register();
        let found: Vec<Result<&Voucher, JudgeError>> = vouchers.iter().map(|id| find(&register, id)).collect();
        let known: Vec<&Voucher> = found.iter().flatten().copied().collect();
        let at = as_of.unwrap_or(now);
        let wanted: Vec<Wanted> = known.iter().map(|voucher| wanted(voucher, self.rulebook_of(voucher), at)).collect();
        let grounds = self.grounds(&register, &wanted).await?;
        let mut newest = self.parts().store.newest_results_of(vouchers).await?;
        let places: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_ok()).collect();
        let tasks: Vec<(String, Option<StoredResult>)> =
            known.iter().map(|voucher| (voucher.id.clone(), newest.remove(&voucher.id))).collect();
        let monitor = self.clone();
        let mut coming = answers_as_they_come(grounds, tasks, move |grounds, facts, (voucher, newest)| {
            let voucher = find(&grounds.register, voucher)?;
            monitor.weigh(grounds, facts, voucher, newest.clone(), as_of, now)
        });
        let mut answers: Vec<Option<Result<Judged, JudgeError>>> =
            found.iter().map(|voucher| voucher.is_ok().then_some(Err(JudgeError::Stopped))).collect();
        let mut weighed = Vec::new();
        // What is weighed is stored while others are still being weighed.
        while coming.recv_many(&mut weighed, STORED_TOGETHER_MAX).await > 0 {
            let (mut rows, mut results) = (Vec::new(), Vec::new());
            for (at, weighed) in weighed.drain(..) {
                match weighed {
                    Ok(Weighed::New(row, result)) => {
                        rows.push(*row);
                        results.push((places[at], result));
                    }
                    Ok(Weighed::Unchanged(newest)) => answers[places[at]] = Some(Ok(Judged { stored: *newest, new: false })),
                    Err(error) => answers[places[at]] = Some(Err(error)),
                }
            }
            for ((at, result), stored) in results.into_iter().zip(self.parts().store.add_results(rows).await?) {
                answers[at] = stored.map(|stored| {
                    self.parts().metrics.results.inc();
                    self.announce(&register, &register.vouchers[&stored.voucher], &result);
                    Ok(Judged { stored, new: true })
                });
            }
        }
        let unknown = found.into_iter().map(|voucher| voucher.err().map(Err));
        Ok(answers.into_iter().zip(unknown).map(|(answer, unknown)| unknown.or(answer)).collect())
    }

    /// Looks once at everything that is wanted of the store.
    pub(crate) async fn grounds(&self, register: &Arc<Register>, wanted: &[Wanted]) -> Result<Grounds, JudgeError> {
        let tail = match &self.parts().evidence {
            EvidenceSource::Live(_) => None,
            EvidenceSource::Tail { facts, .. } => Some(facts.clone()),
        };
        let facts = self.parts().store.facts_of_many(wanted, tail.clone()).await?;
        let position = match &self.parts().evidence {
            EvidenceSource::Live(_) => facts.position(),
            EvidenceSource::Tail { from, .. } if from != facts.position() => return Err(JudgeError::CheckpointMoved),
            EvidenceSource::Tail { to, .. } => to,
        };
        let root = format!("sha256:{}", hex::encode(position.root()));
        let evidence = EvidenceRef { log_size: position.block(), root, findings: Vec::new() };
        let mut blocks = match wanted.iter().map(|wanted| wanted.days.0).min() {
            Some(from) => self.parts().store.blocks_since(from).await?,
            None => BlocksByDay::new(),
        };
        tail.iter().try_for_each(|tail| tail.add_blocks(&mut blocks))?;
        Ok(Grounds { register: register.clone(), index: self.index_of(register).await?, facts, evidence, blocks })
    }

    pub(crate) fn rulebook_of(&self, voucher: &Voucher) -> &Rulebook {
        self.parts().rulebooks.in_force(voucher.applied_at)
    }

    pub(crate) fn judgement(
        &self,
        grounds: &Grounds,
        facts: &mut FactsAtHand,
        voucher: &Voucher,
        as_of: Instant,
        rulebook: &Rulebook,
    ) -> Result<Judgement, JudgeError> {
        let _timer = self.parts().metrics.judge_seconds.start_timer();
        let catalogue = self.parts().catalogues.in_force(voucher.applied_at);
        let facts = facts.of(grounds, wanted(voucher, rulebook, as_of))?;
        let slice = grounds.slice(voucher);
        Ok(judge(&Case { register: &slice, rulebook, catalogue, voucher, as_of, facts }))
    }

    fn weigh(
        &self,
        grounds: &Grounds,
        facts: &mut FactsAtHand,
        voucher: &Voucher,
        newest: Option<StoredResult>,
        as_of: Option<Instant>,
        now: Instant,
    ) -> Result<Weighed, JudgeError> {
        let Judgement { mut result, explanation, finding_days, register_slice } =
            self.judgement(grounds, facts, voucher, as_of.unwrap_or(now), self.rulebook_of(voucher))?;
        let verdict = result.verdict.code();
        self.parts().metrics.judgements.with_label_values(&[verdict]).inc();
        let previous = newest.as_ref().map(|newest| serde_json::from_str::<MonitoringResult>(&newest.body));
        let previous = previous.transpose().map_err(unreadable)?;
        // A cut-off of "now" moves on by itself; that alone is no change. One that was asked for, or set by the request, is.
        let floating = as_of.is_none() && voucher.redeem_at.is_none_or(|redeem_at| redeem_at > now);
        let unchanged = previous.as_ref().is_some_and(|previous| {
            // Another process has judged on newer evidence meanwhile.
            previous.evidence.log_size > grounds.evidence.log_size
                || previous.judgement_hash == result.judgement_hash
                || (floating && previous.same_but_for_cut_off(&result))
        });
        if let Some(newest) = newest.filter(|_| unchanged) {
            return Ok(Weighed::Unchanged(Box::new(newest)));
        }
        result.judged_at = now;
        result.evidence = grounds.evidence.clone();
        result.evidence.findings = blocks_of(&finding_days, &grounds.blocks, grounds.evidence.log_size);
        result.supersedes = previous.as_ref().map(|previous| previous.sequence);
        result.sequence = previous.as_ref().map_or(1, |previous| previous.sequence + 1);
        let row = NewResult {
            voucher: voucher.id.clone(),
            sequence: i64::try_from(result.sequence).map_err(|error| StoreError::Stored { what: "result", detail: error.to_string() })?,
            verdict: verdict.to_string(),
            judged_at: now,
            body: serde_json::to_string(&result).map_err(unwritable)?,
            explanation: serde_json::to_string(&explanation).map_err(unwritable)?,
            grounds: self.kept_with(voucher, as_of.unwrap_or(now), facts.refusals(), &result.register_hash, register_slice)?,
        };
        Ok(Weighed::New(Box::new(row), Box::new(result)))
    }
}

impl Monitor {
    /// What a result rests on beside the evidence log, so that it can be recomputed at any time.
    fn kept_with(
        &self,
        voucher: &Voucher,
        as_of: Instant,
        refusals: RefusalFacts,
        register_hash: &str,
        register_slice: Vec<u8>,
    ) -> Result<ResultGrounds, StoreError> {
        let parts = self.parts();
        let rulebook = parts.rulebooks.in_force(voucher.applied_at);
        let catalogue = parts.catalogues.in_force(voucher.applied_at);
        let refusals = bytes_of(&refusals.to_json());
        let refusals_hash = hash_of_bytes(&refusals);
        let store = &parts.store;
        let kept = [
            store.to_keep(register_hash, || register_slice)?,
            store.to_keep(&refusals_hash, || refusals)?,
            store.to_keep(rulebook.hash(), || rulebook.text().as_bytes().to_vec())?,
            store.to_keep(catalogue.hash(), || catalogue.text().as_bytes().to_vec())?,
        ];
        Ok(ResultGrounds { as_of, refusals: refusals_hash, kept: kept.into_iter().flatten().collect() })
    }
}

impl Grounds {
    /// The part of the register that decides about a voucher.
    pub(crate) fn slice(&self, voucher: &Voucher) -> Register {
        self.index.slice(voucher)
    }
}

impl FactsAtHand {
    pub(crate) fn of(&mut self, grounds: &Grounds, wanted: Wanted) -> Result<&VoucherFacts, StoreError> {
        let facts = match self.last.take() {
            Some((last, facts)) if last == wanted => facts,
            _ => grounds.facts.read(&wanted, &mut self.reader)?,
        };
        Ok(&self.last.insert((wanted, facts)).1)
    }

    /// What was read last of refused messages.
    fn refusals(&self) -> RefusalFacts {
        self.last.as_ref().map_or_else(RefusalFacts::default, |(_, facts)| RefusalFacts::of(facts))
    }
}

/// The facts of the voucher's window.
pub(crate) fn wanted(voucher: &Voucher, rulebook: &Rulebook, as_of: Instant) -> Wanted {
    let window = window(voucher, rulebook, as_of);
    Wanted { enterprise: voucher.enterprise.clone(), product: voucher.product.clone(), days: (window.from, window.to) }
}

/// Keys of facts tell a name's length before the name.
pub(crate) fn sort_as_facts_lie(vouchers: &mut [&Voucher]) {
    vouchers.sort_by_key(|voucher| (voucher.enterprise.len(), &voucher.enterprise, &voucher.product, &voucher.id));
}
