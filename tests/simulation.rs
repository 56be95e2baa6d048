//! The commit path under a simulated disk, database, network and clock: acknowledged means counted exactly once, and the facts are
//! those of a plain model. Every run follows from its seed alone.
//!
//! `SHANGYUN_SEEDS=100000 cargo test --release --test simulation` runs any number; `SHANGYUN_SEED=17` one alone.
#![allow(clippy::unwrap_used)]

#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/world.rs"]
mod world;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use world::World;

const SEEDS: u64 = 2000;
const STEPS: u32 = 120;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

#[test]
fn acknowledged_is_counted_exactly_once_and_the_facts_are_the_models_for_every_seed() {
    if let Some(seed) = number("SHANGYUN_SEED") {
        return World::new(seed).run(STEPS);
    }
    let seeds = number("SHANGYUN_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let failed = catch_unwind(|| World::new(seed).run(STEPS)).is_err();
                    assert!(!failed, "seed {seed} fails; replay it: SHANGYUN_SEED={seed} cargo test --test simulation");
                }
            });
        }
    });
}
