//! Waiting longer after each failure, with jitter, so that a thousand agents don't return at the same moment.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failure_count: u32,
}

impl Backoff {
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, failure_count: 0 }
    }

    pub fn reset(&mut self) {
        self.failure_count = 0;
    }

    /// How long to wait after one more failure: half of the doubled time, and up to as much again by `jitter` (0 to 1).
    pub fn after_failure(&mut self, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failure_count.min(16)).min(self.max);
        self.failure_count = self.failure_count.saturating_add(1);
        doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..4).map(|_| backoff.after_failure(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.after_failure(0.0), Duration::from_millis(500));
    }
}
