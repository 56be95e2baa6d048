//! What a machine refuses to give, and when it is asked for that again.

use std::time::Duration;

use tokio::time::Instant;

use super::trouble::ReadTrouble;

/// A machine that starts or loads another program refuses for a moment what it has; each time that it refuses again, it is left in
/// peace for twice as long …
const AGAIN_FIRST: Duration = Duration::from_secs(60);
/// … and never for longer than this.
const AGAIN_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Refused {
    points: Vec<(usize, ReadTrouble)>,
    last_at: Option<Instant>,
    wait: Duration,
}

impl Refused {
    pub fn new() -> Refused {
        Refused { points: Vec::new(), last_at: None, wait: AGAIN_FIRST }
    }

    /// By their indices, each with how it was refused.
    pub fn points(&self) -> &[(usize, ReadTrouble)] {
        &self.points
    }

    pub fn add(&mut self, points: impl Iterator<Item = usize>, trouble: &ReadTrouble, now: Instant) {
        self.points.extend(points.map(|index| (index, trouble.clone())));
        self.last_at = Some(now);
    }

    /// Whether everything is to be asked for again now. Where everything was refused, the wait stays short: nothing else is asked.
    pub fn ask_again(&mut self, everything_refused: bool, now: Instant) -> bool {
        let wait = if everything_refused { AGAIN_FIRST } else { self.wait };
        if self.last_at.is_none_or(|at| now.duration_since(at) < wait) {
            return false;
        }
        if !everything_refused {
            self.wait = (self.wait * 2).min(AGAIN_MAX);
        }
        self.points.clear();
        self.last_at = None;
        true
    }

    /// All requests of a poll are answered.
    pub fn settle(&mut self) {
        if self.points.is_empty() {
            self.wait = AGAIN_FIRST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which seconds of a day a machine is asked again that refuses at each of them until `gives_at`.
    fn asked_again_at(everything_refused: bool, gives_at: u64) -> Vec<u64> {
        let begun = Instant::now();
        let mut refused = Refused::new();
        refused.add([3].into_iter(), &ReadTrouble::Exception(2), begun);
        let asked_again = |second: &u64| {
            let now = begun + Duration::from_secs(*second);
            let asked = refused.ask_again(everything_refused, now);
            if asked && *second < gives_at {
                refused.add([3].into_iter(), &ReadTrouble::Exception(2), now);
            }
            refused.settle();
            asked
        };
        (0..20_000).filter(asked_again).collect()
    }

    #[test]
    fn what_is_refused_again_is_asked_for_after_twice_as_long_up_to_an_hour() {
        assert_eq!(asked_again_at(false, 86_400), [60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180]);
        assert_eq!(asked_again_at(false, 420), [60, 180, 420], "then it gives everything");
        assert_eq!(asked_again_at(true, 300), [60, 120, 180, 240, 300]);
    }

    #[test]
    fn a_machine_that_has_given_everything_is_asked_again_soon_when_it_refuses_anew() {
        let begun = Instant::now();
        let mut refused = Refused::new();
        refused.add([3].into_iter(), &ReadTrouble::Exception(2), begun);
        assert!(refused.ask_again(false, begun + AGAIN_FIRST));
        refused.settle();
        let anew = begun + AGAIN_MAX;
        refused.add([3].into_iter(), &ReadTrouble::Exception(2), anew);
        refused.settle();
        assert!(!refused.ask_again(false, anew + AGAIN_FIRST - Duration::from_secs(1)));
        assert!(refused.ask_again(false, anew + AGAIN_FIRST));
    }
}
