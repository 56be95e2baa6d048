//! A second, deliberately naive implementation of tally and judgement agrees with the product on random worlds.
//!
//! `SHANGYUN_WORLDS=20000 cargo test --test second_opinion` tries more of them; `SHANGYUN_SEED=17 SHANGYUN_WORLDS=1` one again.
#![allow(clippy::unwrap_used)]

#[path = "second_opinion/naive.rs"]
mod naive;
#[path = "second_opinion/real.rs"]
mod real;
#[path = "second_opinion/seen.rs"]
mod seen;
#[path = "second_opinion/shrink.rs"]
mod shrink;
#[path = "second_opinion/world.rs"]
mod world;

use std::path::Path;

use real::{Bench, deciding_part};
use seen::Seen;
use serde_json::Value;

const SHARES: u64 = 4;
const WORLDS: u64 = 2_800;
/// Worlds in one store: more would only be merged.
const WORLDS_PER_STORE: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The first voucher on which the two do not agree: what the product says, and what the second opinion.
fn disagreement(world: &Value, bench: &mut Bench, seen: &mut Seen) -> Option<(String, Value, Value)> {
    let order = world["seed"].as_u64().unwrap();
    let results = bench.results(world, order);
    let (accepted, as_of) = (naive::accepted(world), naive::instant(&world["as_of"]));
    for voucher in world["register"]["vouchers"].as_array().unwrap() {
        let id = voucher["id"].as_str().unwrap();
        let opinion = naive::judge(world, &accepted, voucher, as_of);
        seen.take(world, voucher, &opinion);
        let said = deciding_part(&results[id]);
        if said != opinion.said {
            return Some((id.to_string(), said, opinion.said));
        }
    }
    None
}

fn tell(world: &Value) -> ! {
    eprintln!("world {seed} (SHANGYUN_SEED={seed} SHANGYUN_WORLDS=1) is not agreed upon; making it smaller", seed = world["seed"]);
    let fails = |world: &Value| disagreement(world, &mut Bench::new(), &mut Seen::default()).is_some();
    // Candidates that do not hang together panic; that is of no interest.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let small = shrink::shrunk(world, &fails);
    std::panic::set_hook(hook);
    let (voucher, said, opinion) = disagreement(&small, &mut Bench::new(), &mut Seen::default()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("world-{}.json", world["seed"]));
    std::fs::write(&path, serde_json::to_vec_pretty(&small).unwrap()).unwrap();
    panic!(
        "world {seed} (SHANGYUN_SEED={seed} SHANGYUN_WORLDS=1), voucher {voucher}\n the product says {said}\nthe second opinion {opinion}\nthe world, made smaller: {}\n{small}",
        path.display(),
        seed = world["seed"],
    );
}

fn worlds_agree(share: u64) {
    let (first, count) = (number("SHANGYUN_SEED").unwrap_or(1), number("SHANGYUN_WORLDS").unwrap_or(WORLDS));
    let (mut bench, mut seen) = (Bench::new(), Seen::default());
    for (n, seed) in (1..).zip((first..first + count).skip(share as usize).step_by(SHARES as usize)) {
        if n % WORLDS_PER_STORE == 0 {
            bench = Bench::new();
        }
        let world = world::world(seed);
        if disagreement(&world, &mut bench, &mut seen).is_some() {
            tell(&world);
        }
    }
    println!("{seen}");
    if count >= WORLDS {
        seen.assert_everything_occurred();
    }
}

#[test]
fn a_naive_second_opinion_agrees_on_random_worlds_of_the_first_share() {
    worlds_agree(0);
}

#[test]
fn a_naive_second_opinion_agrees_on_random_worlds_of_the_second_share() {
    worlds_agree(1);
}

#[test]
fn a_naive_second_opinion_agrees_on_random_worlds_of_the_third_share() {
    worlds_agree(2);
}

#[test]
fn a_naive_second_opinion_agrees_on_random_worlds_of_the_fourth_share() {
    worlds_agree(3);
}

#[test]
fn a_judgement_is_the_same_to_the_byte_whatever_the_order_and_the_stretches() {
    let mut benches = [Bench::new(), Bench::new(), Bench::new()];
    for seed in 1..=150 {
        let world = world::world(seed);
        let [first, others @ ..] = [0, 1, 2].map(|n| benches[n].results(&world, seed + n as u64));
        others.iter().for_each(|other| assert_eq!(*other, first, "world {seed}"));
    }
}
