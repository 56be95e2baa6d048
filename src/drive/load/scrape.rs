//! The service's own metrics, read from outside.

use anyhow::Result;

/// The text of `/metrics` at one moment.
pub(super) struct Scrape(String);

/// A histogram's buckets: upper bound in seconds, and how many lie below it.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    below: Vec<(f64, f64)>,
    sum_s: f64,
    count: f64,
}

impl Scrape {
    pub(super) fn of(admin: &str) -> Result<Scrape> {
        Ok(Scrape(ureq::get(format!("{admin}/metrics")).call()?.body_mut().with_config().limit(64 << 20).read_to_string()?))
    }

    /// 0 where it is not told.
    pub(super) fn value(&self, name: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    pub(super) fn buckets(&self, name: &str) -> Buckets {
        let start = format!("{name}_bucket{{le=\"");
        let below = self.0.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(&start)?.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        });
        Buckets { below: below.collect(), sum_s: self.value(&format!("{name}_sum")), count: self.value(&format!("{name}_count")) }
    }
}

impl Buckets {
    /// What has come since.
    pub(super) fn since(&self, before: &Buckets) -> Buckets {
        let before_below = |at: usize| before.below.get(at).map_or(0.0, |(_, count)| *count);
        Buckets {
            below: self.below.iter().enumerate().map(|(at, (bound, count))| (*bound, count - before_below(at))).collect(),
            sum_s: self.sum_s - before.sum_s,
            count: self.count - before.count,
        }
    }

    pub(super) fn count(&self) -> f64 {
        self.count
    }

    pub(super) fn mean_ms(&self) -> f64 {
        if self.count > 0.0 { self.sum_s / self.count * 1000.0 } else { 0.0 }
    }

    /// Within a bucket we take everything as spread evenly.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = self.count * share;
        let (mut bound_before, mut below_before) = (0.0, 0.0);
        for (bound, below) in &self.below {
            if *below >= wanted && *below > below_before {
                let into = (wanted - below_before) / (below - below_before);
                let within = if bound.is_finite() { bound - bound_before } else { 0.0 };
                return (bound_before + within * into) * 1000.0;
            }
            (bound_before, below_before) = (*bound, *below);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP h x\nh_bucket{le=\"0.001\"} 10\nh_bucket{le=\"0.002\"} 30\nh_bucket{le=\"+Inf\"} 40\nh_sum 0.08\nh_count 40\nn_total{outcome=\"accepted\"} 5\n";

    #[test]
    fn values_and_quantiles_are_read_from_the_text() {
        let scrape = Scrape(TEXT.into());
        assert!((scrape.value("n_total{outcome=\"accepted\"}") - 5.0).abs() < 1e-9);
        let buckets = scrape.buckets("h");
        assert!((buckets.mean_ms() - 2.0).abs() < 1e-9);
        assert!((buckets.quantile_ms(0.5) - 1.5).abs() < 1e-9);
        assert!((buckets.quantile_ms(0.99) - 2.0).abs() < 1e-9, "beyond the last bound we know no more than that");
        assert!(buckets.since(&buckets).quantile_ms(0.5).abs() < 1e-9);
    }
}
