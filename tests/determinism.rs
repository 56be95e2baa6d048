//! Random registers and evidence in random order, in two data directories and with two thread counts, give the same judgements to
//! the byte: one of them is restarted, checkpointed at other moments and rebuilt from its log in between.
//!
//! `SHANGYUN_WORLDS=1000 cargo test --test determinism` tries more worlds; `SHANGYUN_SEED=17 SHANGYUN_WORLDS=1` one again.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;
#[path = "second_opinion/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use ingest::{Batch, Intake, IntakeOptions, Outcome, RawMessage};
use monitor::{EvidenceSource, FlushEvidence, FlushFailed, Monitor, MonitorParts};
use observe::{Clock, Health, Metrics};
use policy::catalogue::{CATALOGUE_2019, Catalogue};
use policy::in_force::Versions;
use policy::rulebook::{RULEBOOK_2019, Rulebook};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use store::{Actor, LogOptions, RegisterState, Store, Vouched};
use support::rebuild_tally;
use tokio::runtime::{Builder, Runtime};
use wire::identity::Sender;

const WORLDS: u64 = 60;
const SHARES: u64 = 2;

/// How one side works.
#[derive(Clone, Copy)]
struct Side {
    /// Of the runtime.
    threads: usize,
    /// On one core, reading and replaying have one thread.
    one_core: bool,
    checkpoint_every: Duration,
    /// Chance of a restart, and of a rebuild from the log at each, and of a checkpoint, after a message.
    restart: f64,
    flush: f64,
    /// How many messages are handed over before their answers are awaited.
    under_way: usize,
    /// Vouchers are judged together, or each by itself.
    together: bool,
}

const PLAIN: Side = Side {
    threads: 1,
    one_core: true,
    checkpoint_every: Duration::from_secs(3600),
    restart: 0.0,
    flush: 0.0,
    under_way: 1,
    together: true,
};
const TROUBLED: Side = Side {
    threads: 4,
    one_core: false,
    checkpoint_every: Duration::from_millis(20),
    restart: 0.1,
    flush: 0.2,
    under_way: 16,
    together: false,
};

/// What may differ between the two sides without making a difference: when the service's clock stands, and by whom it was asked.
struct Given<'w> {
    world: &'w Value,
    now: DateTime<Utc>,
}

struct Running {
    store: Store,
    intake: Intake,
    monitor: Monitor,
}

struct Flusher(Intake);

impl FlushEvidence for Flusher {
    fn flush(&self) -> BoxFuture<'_, Result<(), FlushFailed>> {
        self.0.flush().map(|flushed| flushed.map_err(|_| FlushFailed)).boxed()
    }
}

fn instant(value: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
}

/// The printed rulebook with the world's parameters in it.
fn rulebook(world: &Value) -> Rulebook {
    let mut rulebook = Rulebook::read(RULEBOOK_2019).unwrap();
    for (name, value) in world["rulebooks"][0]["parameters"].as_object().unwrap() {
        rulebook = rulebook.with(name, &value.to_string()).unwrap();
    }
    rulebook
}

impl Running {
    async fn start(dir: &Path, side: Side, given: &Given<'_>) -> Running {
        let store = Store::open(dir).await.unwrap();
        let actor = Actor::new("command:test", given.now);
        store.import_register(&[given.world["register"].clone().into()], &|id| id == "gd-2019", &actor).await.unwrap();
        let register = RegisterState::load(store.clone()).await.unwrap();
        let (metrics, now) = (Metrics::new(), given.now);
        let clock = Clock::new(move || now);
        let options = IntakeOptions {
            future_skew_s_max: u32::try_from(given.world["future_skew_s_max"].as_u64().unwrap()).unwrap(),
            log: LogOptions { segment_bytes: 1 << 20, grow_bytes: 1 << 16 },
            free_bytes_min: 0,
            group_delay: Duration::ZERO,
            checkpoint_every: side.checkpoint_every,
        };
        let keys = store.keys().clone();
        let intake = Intake::start(store.clone(), register.clone(), clock.clone(), metrics.clone(), Health::default(), keys, options);
        let intake = intake.await.unwrap().0;
        let monitor = Monitor::new(MonitorParts {
            store: store.clone(),
            register,
            rulebooks: Versions::new(vec![rulebook(given.world)]).unwrap(),
            catalogues: Versions::new(vec![Catalogue::read(CATALOGUE_2019).unwrap()]).unwrap(),
            clock,
            metrics,
            evidence: EvidenceSource::Live(Arc::new(Flusher(intake.clone()))),
            announce: None,
            judging: Default::default(),
        });
        Running { store, intake, monitor }
    }

    async fn stop(self) {
        self.intake.stop().await;
        self.store.close().await;
    }

    /// Hands the messages over and sees that each was accepted, or refused for the future only.
    async fn send(&self, messages: &[&Value]) {
        let mut all = Vec::new();
        for message in messages {
            let kind = message["sender"]["kind"].as_str().unwrap();
            let sender = Sender::of_kind(kind, message["sender"]["id"].as_str().unwrap()).unwrap();
            let vouched = if kind == "gateway" { Vouched::Token } else { Vouched::Key };
            let body = RawMessage::of(Bytes::from(message["body"].to_string()));
            let (batch, answers) = Batch::answered(sender, vouched, instant(&message["received_at"]), vec![body]);
            self.intake.submit(batch).await.unwrap();
            all.push(answers);
        }
        for answers in all {
            for settled in answers.await.unwrap() {
                if let Outcome::Refused(faults) = &settled.outcome {
                    assert!(faults.iter().all(|fault| fault.code == wire::FaultCode::Future), "{faults:?}");
                }
            }
        }
    }

    /// (judgement_hash, register_hash, verdict) by voucher.
    async fn judged(&self, side: Side, given: &Given<'_>) -> BTreeMap<String, [String; 3]> {
        let as_of = Some(instant(&given.world["as_of"]));
        if side.together {
            let round = self.monitor.judge_all(as_of).await.unwrap();
            assert_eq!(round.failed, Vec::<String>::new());
        }
        let mut judged = BTreeMap::new();
        for voucher in given.world["register"]["vouchers"].as_array().unwrap() {
            let id = voucher["id"].as_str().unwrap();
            let answer = self.monitor.judge_voucher(id, as_of).await.unwrap();
            assert_eq!(answer.new, !side.together, "what was judged together is not judged anew: {id}");
            let result: Value = serde_json::from_str(&answer.stored.body).unwrap();
            judged.insert(
                id.to_string(),
                ["judgement_hash", "register_hash", "verdict"].map(|name| result[name].as_str().unwrap().to_string()),
            );
        }
        judged
    }
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// Everything that one side says of a world whose messages come in some order, some of them repeated.
fn side(given: &Given<'_>, side: Side, order: u64) -> BTreeMap<String, [String; 3]> {
    if side.one_core {
        // Threads begin on the cores of the thread that begins them.
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let thread = thread.file_name().unwrap().to_str().unwrap().to_string();
        let pinned = Command::new("taskset").args(["-cp", "0", &thread]).output().unwrap();
        assert!(pinned.status.success(), "{pinned:?}");
        assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(order);
    let mut messages: Vec<&Value> = given.world["messages"].as_array().unwrap().iter().collect();
    let repeats = messages.len() / 8;
    messages.extend_from_within(..repeats);
    messages.shuffle(&mut random);
    let mut runtime = runtime(side.threads);
    let mut running = runtime.block_on(Running::start(dir.path(), side, given));
    for some in messages.chunks(side.under_way) {
        runtime.block_on(running.send(some));
        if random.random_bool(side.flush) {
            runtime.block_on(running.intake.flush()).unwrap();
        }
        if random.random_bool(side.restart) {
            runtime.block_on(running.stop());
            runtime = self::runtime(side.threads);
            running = runtime.block_on(Running::start(dir.path(), side, given));
        }
    }
    if side.restart > 0.0 {
        runtime.block_on(running.stop());
        let (same, digest) = rebuild_tally(dir.path());
        assert!(same, "{digest}");
        runtime = self::runtime(side.threads);
        running = runtime.block_on(Running::start(dir.path(), side, given));
    }
    let judged = runtime.block_on(running.judged(side, given));
    runtime.block_on(running.stop());
    judged
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn sides_agree(share: u64) {
    let (first, count) = (number("SHANGYUN_SEED").unwrap_or(1), number("SHANGYUN_WORLDS").unwrap_or(WORLDS));
    let (mut vouchers, mut hashes) = (0, std::collections::BTreeSet::new());
    for seed in (first..first + count).skip(share as usize).step_by(SHARES as usize) {
        let world = world::world(seed);
        let now = instant(&world["as_of"]) + TimeDelta::days(400);
        let plain = Given { world: &world, now };
        let troubled = Given { world: &world, now: now + TimeDelta::hours(5) };
        // Each on a thread of its own, for its cores.
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| side(&plain, PLAIN, seed)).join().unwrap();
            (one, scope.spawn(|| side(&troubled, TROUBLED, seed + 1_000_000)).join().unwrap())
        });
        assert_eq!(one, other, "world {seed} (SHANGYUN_SEED={seed} SHANGYUN_WORLDS=1)");
        vouchers += one.len();
        hashes.extend(one.into_values().map(|[judgement, ..]| judgement));
    }
    assert_eq!(hashes.len(), vouchers, "every judgement is another");
}

#[test]
fn random_worlds_give_the_same_judgements_in_two_directories_with_one_thread_and_four_first_half() {
    sides_agree(0);
}

#[test]
fn random_worlds_give_the_same_judgements_in_two_directories_with_one_thread_and_four_second_half() {
    sides_agree(1);
}
