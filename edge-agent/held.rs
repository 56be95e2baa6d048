//! Reports that wait although there is a connection, each for a reason of its own. Others pass them by; from time to time one of them is tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backoff::Backoff;

/// However long one waits in vain, it is tried again after this time at the latest.
const TRY_EVERY_MAX: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The service refuses it for who speaks: it may be taken once register or key is mended.
    Doubted,
    /// It is refused for good, and could not be set aside.
    Unkept,
}

/// Times are monotonic milliseconds.
pub(crate) struct Held {
    doubted: BTreeSet<u64>,
    unkept: BTreeSet<u64>,
    /// The one that is tried now: it is on its way.
    trying: Option<(u64, Why)>,
    try_at_ms: u64,
    patience: Backoff,
    /// Which one is tried next, from 0 to 1 of those that wait: among many there may be some that can be taken.
    pick: f64,
    /// A report was doubted that had not been tried before, and none was taken since.
    doubted_anew: bool,
}

impl Held {
    pub(crate) fn new(first: Duration) -> Held {
        let patience = Backoff::new(first, TRY_EVERY_MAX.max(first));
        Held { doubted: BTreeSet::new(), unkept: BTreeSet::new(), trying: None, try_at_ms: 0, patience, pick: 0.0, doubted_anew: false }
    }

    /// The longer they wait in vain, the more rarely is one tried.
    pub(crate) fn hold(&mut self, position: u64, why: Why, now_ms: u64, jitter: f64) {
        let new = self.forget(position).is_none();
        self.doubted_anew |= new && why == Why::Doubted;
        self.of(why).insert(position);
        if now_ms >= self.try_at_ms {
            let wait_ms = u64::try_from(self.patience.after_failure(jitter).as_millis()).unwrap_or(u64::MAX);
            (self.try_at_ms, self.pick) = (now_ms.saturating_add(wait_ms), jitter.clamp(0.0, 1.0));
        }
    }

    fn of(&mut self, why: Why) -> &mut BTreeSet<u64> {
        match why {
            Why::Doubted => &mut self.doubted,
            Why::Unkept => &mut self.unkept,
        }
    }

    /// When the next one may be tried.
    pub(crate) fn ready_at_ms(&self) -> Option<u64> {
        let some_wait = !(self.doubted.is_empty() && self.unkept.is_empty());
        (some_wait && self.trying.is_none()).then_some(self.try_at_ms)
    }

    /// The one that is tried now, if it is time.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<u64> {
        self.ready_at_ms().filter(|at_ms| now_ms >= *at_ms)?;
        let last = self.doubted.len() + self.unkept.len() - 1;
        let picked = (self.pick * last as f64).round() as usize;
        let position = self.doubted.iter().chain(&self.unkept).nth(picked).copied()?;
        let why = self.forget(position)?;
        self.trying = Some((position, why));
        Some(position)
    }

    /// A report was taken: says which ones are to be sent again because of it. These are no longer held.
    pub(crate) fn taken(&mut self, position: u64, now_ms: u64) -> BTreeSet<u64> {
        match self.forget(position) {
            // What had to be mended has been.
            Some(Why::Doubted) => {
                self.patience.reset();
                self.doubted_anew = false;
                return std::mem::take(&mut self.doubted);
            }
            // It may have been.
            None if std::mem::take(&mut self.doubted_anew) => {
                self.patience.reset();
                self.try_at_ms = now_ms;
            }
            _ => {}
        }
        BTreeSet::new()
    }

    /// It is settled, or the spool has it no more.
    pub(crate) fn forget(&mut self, position: u64) -> Option<Why> {
        if let Some((_, why)) = self.trying.take_if(|(trying, _)| *trying == position) {
            return Some(why);
        }
        [Why::Doubted, Why::Unkept].into_iter().find(|why| self.of(*why).remove(&position))
    }

    /// Everything below this position is settled.
    pub(crate) fn forget_below(&mut self, position: u64) {
        self.doubted = self.doubted.split_off(&position);
        self.unkept = self.unkept.split_off(&position);
    }

    /// The one that was tried had no answer.
    pub(crate) fn disconnected(&mut self) {
        if let Some((position, why)) = self.trying.take() {
            self.of(why).insert(position);
        }
    }

    pub(crate) fn contains(&self, position: u64) -> bool {
        self.tries(position).is_some() || self.doubted.contains(&position) || self.unkept.contains(&position)
    }

    /// The reason for which it waited, if it is being tried.
    pub(crate) fn tries(&self, position: u64) -> Option<Why> {
        self.trying.filter(|(trying, _)| *trying == position).map(|(_, why)| why)
    }

    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> {
        self.doubted.iter().chain(&self.unkept).copied().chain(self.trying.map(|(position, _)| position))
    }

    pub(crate) fn any_below(&self, position: u64) -> bool {
        let first = [self.doubted.first().copied(), self.unkept.first().copied(), self.trying.map(|(trying, _)| trying)];
        first.into_iter().flatten().any(|first| first < position)
    }

    pub(crate) fn count(&self, why: Why) -> usize {
        let waiting = match why {
            Why::Doubted => &self.doubted,
            Why::Unkept => &self.unkept,
        };
        waiting.len() + usize::from(self.trying.is_some_and(|(_, other)| other == why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tried for the first time after a second.
    fn held(positions: &[u64]) -> Held {
        let mut held = Held::new(Duration::from_secs(1));
        positions.iter().for_each(|position| held.hold(*position, Why::Doubted, 0, 1.0));
        held
    }

    #[test]
    fn one_is_tried_at_a_time_and_ever_more_rarely() {
        let mut held = held(&[4, 5, 6]);
        let mut waits_s = Vec::new();
        for _ in 0..12 {
            let at_ms = held.ready_at_ms().unwrap();
            assert_eq!(held.next(at_ms - 1), None);
            let position = held.next(at_ms).unwrap();
            assert_eq!((held.next(u64::MAX), held.ready_at_ms()), (None, None), "while one is tried no other is");
            held.hold(position, Why::Doubted, at_ms, 1.0);
            waits_s.push((held.ready_at_ms().unwrap() - at_ms) / 1000);
        }
        assert_eq!(waits_s, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(held.count(Why::Doubted), 3);
    }

    #[test]
    fn more_that_are_held_do_not_put_off_the_next_attempt() {
        let mut held = held(&[4]);
        held.hold(5, Why::Doubted, 999, 1.0);
        assert!(held.next(1000).is_some());
    }

    #[test]
    fn which_one_is_tried_is_spread_over_all_that_wait() {
        for (jitter, expected) in [(0.0, 4), (0.5, 5), (1.0, 6)] {
            let mut held = held(&[4, 5, 6]);
            assert_eq!(held.next(1000), Some(6));
            held.hold(6, Why::Doubted, 1000, jitter);
            assert_eq!(held.next(3000), Some(expected));
        }
    }

    #[test]
    fn when_one_that_was_doubted_is_taken_all_of_them_are_free() {
        let mut held = held(&[4, 5, 6]);
        held.hold(3, Why::Unkept, 0, 1.0);
        let free = held.taken(5, 1000);
        assert_eq!((free, held.positions().collect::<Vec<_>>()), ([4, 6].into(), vec![3]));
        assert_eq!((held.taken(3, 1000), held.ready_at_ms()), ([].into(), None));
    }

    #[test]
    fn a_new_report_taken_after_others_were_doubted_lets_one_of_them_be_tried_at_once_and_only_once() {
        let mut held = held(&[4]);
        assert_eq!((held.taken(9, 10), held.next(10)), ([].into(), Some(4)));
        held.hold(4, Why::Doubted, 10, 1.0);
        assert_eq!((held.taken(10, 20), held.next(20)), ([].into(), None), "the same one was doubted again, and no new one");
        assert_eq!(held.next(1010), Some(4), "patience is as at first");
    }

    #[test]
    fn what_is_settled_or_gone_is_forgotten_and_what_had_no_answer_waits_on() {
        let mut held = held(&[4, 5, 6]);
        assert_eq!(held.next(1000), Some(6));
        assert!(held.contains(6) && held.count(Why::Doubted) == 3);
        held.disconnected();
        assert_eq!((held.contains(6), held.ready_at_ms()), (true, Some(1000)));
        held.forget_below(5);
        assert_eq!(held.positions().collect::<Vec<_>>(), [5, 6]);
        assert!(held.any_below(6) && !held.any_below(5));
        assert_eq!((held.forget(6), held.forget(6)), (Some(Why::Doubted), None));
    }
}
