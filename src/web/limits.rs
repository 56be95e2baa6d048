//! How many requests one key may send.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::problem::Problem;

/// One bucket a key, filled anew each second. Only known keys have one.
pub struct RequestLimits {
    buckets: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl RequestLimits {
    pub fn new(requests_per_s: NonZeroU32) -> RequestLimits {
        RequestLimits { buckets: RateLimiter::keyed(Quota::per_second(requests_per_s)), clock: DefaultClock::default() }
    }

    pub fn check(&self, key: &str) -> Result<(), Problem> {
        self.buckets.check_key(&key.to_string()).map_err(|not_until| {
            let wait: Duration = not_until.wait_time_from(self.clock.now());
            let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
            Problem::too_many(seconds, "the key has sent more requests than it may (http.key_requests_per_s)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn a_key_beyond_its_rate_is_told_to_wait_and_others_are_not() {
        let limits = RequestLimits::new(NonZeroU32::new(3).expect("not zero"));
        let told: Vec<_> = (0..5).map(|_| limits.check("a").map_err(|problem| problem.status())).collect();
        assert_eq!(told[..3], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(told[4], Err(StatusCode::TOO_MANY_REQUESTS));
        assert!(limits.check("b").is_ok());
    }
}
