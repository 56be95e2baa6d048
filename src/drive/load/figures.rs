//! What one run came to, and how it is printed.

use super::process::{Cost, Cpu, Memory};
use super::sender::Measured;

/// One run.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) measured: Measured,
    pub(super) seconds: f64,
    pub(super) cost: Cost,
    pub(super) memory: Option<Memory>,
    /// What a subscriber had received.
    pub(super) relayed: Option<u64>,
    /// Groups of reports that were synced together.
    pub(super) groups: Option<f64>,
}

impl Figures {
    pub(super) fn per_second(&self) -> f64 {
        self.measured.accepted_in_time as f64 / self.seconds
    }

    pub(super) fn relayed_per_second(&self) -> Option<f64> {
        Some(self.relayed? as f64 / self.seconds)
    }

    /// Microseconds of processor time for each report.
    pub(super) fn us_per_report(&self, cpu: Cpu) -> f64 {
        cpu.total_s() * 1e6 / self.measured.accepted.max(1) as f64
    }

    pub(super) fn print(&self, served_by: &str, devices: u16) {
        println!(
            "  accepted {} of {} bytes in {:.2} s: {:.0} reports/s, {:.0} readings/s",
            self.measured.accepted_in_time,
            self.measured.report_bytes,
            self.seconds,
            self.per_second(),
            self.per_second() * f64::from(devices)
        );
        if let Some(relayed) = self.relayed_per_second() {
            println!("  relayed to one subscriber: {relayed:.0} reports/s");
        }
        println!("  refused {}", self.measured.refused);
        println!("  {}", self.latency_line());
        let cpu = |name: &str, cpu: Cpu| {
            let each = |seconds: f64| seconds * 1e6 / self.measured.accepted.max(1) as f64;
            format!(
                "{name} {:.1} (user {:.1}, system {:.1}; {:.2} s)",
                self.us_per_report(cpu),
                each(cpu.user_s),
                each(cpu.system_s),
                cpu.total_s()
            )
        };
        let served = self.cost.served.map(|served| cpu(served_by, served) + ", ").unwrap_or_default();
        println!("  processor µs per report: {served}{}", cpu("generator", self.cost.generator));
        if let Some(others) = self.cost.others_share() {
            println!("  processors idle {:.0} %, taken by other programs {:.0} %", self.cost.idle_share() * 100.0, others * 100.0);
        }
        if let Some(groups) = self.groups.filter(|groups| *groups > 0.0) {
            println!("  synced {:.0} groups/s of {:.1} reports", groups / self.seconds, self.measured.accepted as f64 / groups);
        }
        if let Some(memory) = self.memory {
            println!("  {served_by} memory {} MiB, at most {} MiB", memory.resident_mib, memory.peak_mib);
        }
    }

    pub(super) fn latency_line(&self) -> String {
        let latencies = &self.measured.latencies;
        let ms = |share| latencies.quantile_ms(share);
        format!("acknowledgement ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  max {:.2}", ms(0.5), ms(0.9), ms(0.99), latencies.max_ms())
    }
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The median of one figure of several runs.
pub(super) fn median_of(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    median(runs.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        let of = |values: &[f64], expected: f64| assert!((median(values.to_vec()) - expected).abs() < 1e-9, "{values:?}");
        of(&[3.0, 1.0, 2.0], 2.0);
        of(&[4.0, 1.0], 2.5);
        of(&[], 0.0);
    }
}
