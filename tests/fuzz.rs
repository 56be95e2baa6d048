//! Every decoder of bytes from outside, over damaged inputs. Each input follows from its seed alone.
//!
//! `SHANGYUN_FUZZ=1000000 cargo test --release --test fuzz` runs so many of each; `SHANGYUN_SEED=17 cargo test --test fuzz report` one alone.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/lib.rs"]
mod decoders;
#[path = "fuzz/mutator.rs"]
mod mutator;

use std::panic::catch_unwind;

use decoders::TARGETS;
use mutator::Mutator;

/// A failing input is shown up to here.
const SHOWN_BYTES_MAX: usize = 2048;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

/// Runs a target over its seeds as they are, and over so many inputs made from them.
fn fuzz(name: &str, inputs: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    let input = |seed| Mutator::new(seed, &seeds, target.words).input();
    if let Some(seed) = number("SHANGYUN_SEED") {
        return (target.run)(&input(seed));
    }
    seeds.iter().for_each(|seed| (target.run)(seed));
    for seed in 0..number("SHANGYUN_FUZZ").unwrap_or(inputs) {
        let input = input(seed);
        if catch_unwind(|| (target.run)(&input)).is_err() {
            let shown = input[..input.len().min(SHOWN_BYTES_MAX)].escape_ascii();
            panic!("seed {seed} fails; replay it: SHANGYUN_SEED={seed} cargo test --test fuzz {name}\n{} bytes: {shown}", input.len());
        }
    }
}

macro_rules! fuzzed {
    ($($name:ident $inputs:literal;)*) => {
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name), $inputs);
            }
        )*

        #[test]
        fn no_target_is_left_out() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

fuzzed! {
    report 30000;
    carrier 20000;
    cbor 30000;
    cose 15000;
    log 20000;
    sparkplug 15000;
    register 15000;
    mqtt 5000;
}
