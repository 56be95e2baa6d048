use std::iter;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::config::Config;

const POLL_MS: u64 = 50;

fn polled(states: &DeviceStates, due: Instant) -> Polled {
    let text = format!(
        "[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n[[device]]\nname = \"SN\"\naddress = \"tcp://h\"\npoll_ms = {POLL_MS}\n\
         [[device.point]]\nname = \"n\"\ntable = \"holding\"\naddress = 0\n"
    );
    Polled::new(Config::read(&text, []).unwrap().devices.remove(0), due, true, states.clone())
}

#[derive(Clone, Copy, PartialEq)]
enum Move {
    Read,
    Skip,
}

/// Where the next poll stands on the grid, and how many were left out so far.
fn after(moves: impl IntoIterator<Item = (Move, u64)>) -> (u64, u64, bool) {
    let (states, begin) = (DeviceStates::default(), Instant::now());
    let mut polled = polled(&states, begin);
    for (go, now_ms) in moves {
        let now = begin + Duration::from_millis(now_ms);
        match go {
            Move::Read => polled.advance(now),
            Move::Skip => polled.skip(now),
        }
    }
    assert_eq!(polled.ready_at, polled.due);
    let state = states.snapshot().remove("SN").unwrap();
    let place_ms = (polled.due - begin).as_millis() as u64;
    assert_eq!(place_ms % POLL_MS, 0, "on the grid");
    (place_ms / POLL_MS, state.skipped_count, state.behind)
}

#[test]
fn a_poll_that_ends_late_costs_the_places_that_have_passed_but_for_the_last() {
    assert_eq!(after([(Move::Read, 10)]), (1, 0, false));
    assert_eq!(after([(Move::Read, 50)]), (1, 0, false));
    assert_eq!(after([(Move::Read, 99)]), (1, 0, false));
    assert_eq!(after([(Move::Read, 100)]), (2, 1, true));
    assert_eq!(after([(Move::Read, 249)]), (4, 3, true));
    assert_eq!(after([(Move::Read, 249), (Move::Read, 250)]), (5, 3, false), "it has caught up");
}

#[test]
fn a_poll_that_is_left_out_takes_everything_with_it_that_has_come_by_then() {
    assert_eq!(after([(Move::Skip, 0)]), (1, 1, true));
    assert_eq!(after([(Move::Skip, 49)]), (1, 1, true));
    assert_eq!(after([(Move::Skip, 50)]), (2, 2, true));
    assert_eq!(after([(Move::Skip, 249)]), (5, 5, true));
}

#[test]
fn every_place_on_the_grid_is_read_or_counted_as_left_out() {
    let mut random = StdRng::seed_from_u64(1);
    let mut now_ms = 0;
    let moves: Vec<(Move, u64)> = iter::repeat_with(|| {
        now_ms += random.random_range(0..4 * POLL_MS);
        (if random.random() { Move::Read } else { Move::Skip }, now_ms)
    })
    .take(1000)
    .collect();
    let read_count = moves.iter().filter(|(go, _)| *go == Move::Read).count() as u64;
    let (place, skipped_count, _) = after(moves);
    assert_eq!(place, read_count + skipped_count);
}
