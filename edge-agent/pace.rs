//! A bounded rate: so many each second, and never more than those of one second at once.

/// Times are monotonic milliseconds.
pub(crate) struct Pace {
    per_ms: f64,
    most: f64,
    left: f64,
    filled_ms: u64,
}

impl Pace {
    pub(crate) fn new(per_s: f64) -> Pace {
        let most = per_s.max(1.0);
        Pace { per_ms: per_s / 1000.0, most, left: most, filled_ms: 0 }
    }

    fn left_at(&self, now_ms: u64) -> f64 {
        (self.left + now_ms.saturating_sub(self.filled_ms) as f64 * self.per_ms).min(self.most)
    }

    /// May one more go now? Then it is counted.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        let left = self.left_at(now_ms);
        if left < 1.0 {
            return false;
        }
        (self.left, self.filled_ms) = (left - 1.0, self.filled_ms.max(now_ms));
        true
    }

    /// What was counted did not go after all.
    pub(crate) fn give_back(&mut self) {
        self.left = (self.left + 1.0).min(self.most);
    }

    pub(crate) fn ready_at_ms(&self, now_ms: u64) -> u64 {
        let missing = (1.0 - self.left_at(now_ms)).max(0.0);
        now_ms.saturating_add((missing / self.per_ms).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, now_ms: u64) -> usize {
        (0..10_000).take_while(|_| pace.take(now_ms)).count()
    }

    #[test]
    fn no_more_than_one_seconds_worth_goes_at_once_and_then_the_rate() {
        let mut pace = Pace::new(50.0);
        assert_eq!(taken(&mut pace, 7), 50);
        assert_eq!(taken(&mut pace, 26), 0);
        assert_eq!(taken(&mut pace, 27), 1, "one each 20 ms");
        assert_eq!(taken(&mut pace, 10_000), 50, "what was not used does not add up");
        pace.give_back();
        assert_eq!(taken(&mut pace, 10_000), 1);
    }

    #[test]
    fn it_says_when_the_next_may_go() {
        let mut pace = Pace::new(0.5);
        assert_eq!(pace.ready_at_ms(5), 5);
        assert!(pace.take(5));
        let ready = pace.ready_at_ms(5);
        assert!(!pace.take(ready - 1) && pace.take(ready), "{ready}");
        assert_eq!(ready, 2005);
    }
}
