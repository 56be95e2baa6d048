//! Many latencies in little room: counted in buckets that are 1.6 % wide at most.

/// Each power of two is cut into this many buckets.
const CUTS: u32 = 64;
const CUTS_LOG2: u32 = 6;
const BUCKETS: usize = ((64 - CUTS_LOG2 + 1) * CUTS) as usize;

#[derive(Clone, Debug)]
pub(super) struct Latencies {
    /// By microseconds.
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; BUCKETS], total: 0, max_us: 0 }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, latency: std::time::Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(kept, more)| *kept += more);
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(super) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1000.0
    }

    /// Below it lies this share of all, in milliseconds; 0 where there are none.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return lowest_us(index).min(self.max_us) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(us: u64) -> usize {
    let power = us.max(1).ilog2();
    if power < CUTS_LOG2 {
        return us as usize;
    }
    let cut = (us >> (power - CUTS_LOG2)) - u64::from(CUTS);
    ((power - CUTS_LOG2 + 1) * CUTS) as usize + cut as usize
}

/// The least that falls into a bucket.
fn lowest_us(index: usize) -> u64 {
    let (row, cut) = (index as u64 / u64::from(CUTS), index as u64 % u64::from(CUTS));
    if row == 0 { cut } else { (u64::from(CUTS) + cut) << (row - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_latency_falls_into_the_bucket_whose_bounds_hold_it() {
        for us in (0..200_000).chain([1 << 30, (1 << 40) + 12_345, u64::MAX]) {
            let at = bucket(us);
            assert!(lowest_us(at) <= us, "{us}");
            assert!(at + 1 == BUCKETS || us < lowest_us(at + 1), "{us}");
            assert!((us - lowest_us(at)) as f64 <= us as f64 / 60.0, "{us}");
        }
    }

    #[test]
    fn quantiles_of_merged_latencies_are_those_of_all() {
        let (mut some, mut others) = (Latencies::default(), Latencies::default());
        (1..=900).for_each(|ms| some.add(Duration::from_millis(ms)));
        (901..=1000).for_each(|ms| others.add(Duration::from_millis(ms)));
        some.merge(&others);
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            assert!((some.quantile_ms(share) - ms).abs() <= ms * 0.02, "{share}: {}", some.quantile_ms(share));
        }
        assert!((some.max_ms() - 1000.0).abs() < 1e-9);
        assert!(Latencies::default().quantile_ms(0.5).abs() < 1e-9);
    }
}
