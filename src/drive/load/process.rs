//! What a process costs, as the kernel counts it.

use std::ops::Sub;

/// The kernel tells processor time in hundredths of a second, on every machine that we build for.
const TICKS_PER_S: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Process(pub(super) u32);

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) user_s: f64,
    pub(super) system_s: f64,
}

impl Cpu {
    pub(super) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident_mib: u64,
    /// The most since the start, or since it was forgotten.
    pub(super) peak_mib: u64,
}

/// Seconds of processor time that all processes together have taken, and that the processors had nothing to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    pub(super) busy_s: f64,
    pub(super) idle_s: f64,
}

impl Machine {
    pub(super) fn now() -> Machine {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let seconds: Vec<f64> =
            line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse::<f64>().ok()).map(|ticks| ticks / TICKS_PER_S).collect();
        // user, nice, system, idle, waiting, interrupts, soft interrupts, stolen; guests are counted under user.
        let [user, nice, system, idle, waiting, hard, soft, stolen, ..] = seconds[..] else { return Machine::default() };
        Machine { busy_s: user + nice + system + hard + soft + stolen, idle_s: idle + waiting }
    }
}

impl Sub for Machine {
    type Output = Machine;

    fn sub(self, before: Machine) -> Machine {
        Machine { busy_s: self.busy_s - before.busy_s, idle_s: self.idle_s - before.idle_s }
    }
}

impl Process {
    pub(super) fn own() -> Process {
        Process(std::process::id())
    }

    /// All its threads, so far; nothing of one that is gone.
    pub(super) fn cpu(self) -> Cpu {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The name before may hold anything, also spaces and brackets.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let seconds =
            |at: usize| fields.split_whitespace().nth(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / TICKS_PER_S;
        Cpu { user_s: seconds(11), system_s: seconds(12) }
    }

    pub(super) fn memory(self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
        };
        Some(Memory { resident_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
    }

    /// From now on the peak is that of what comes. An older kernel may not allow it; then the peak since the start stands.
    pub(super) fn forget_peak(self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }
}

/// What a stretch of time cost whom.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) generator: Cpu,
    /// The service or broker, where we know its process.
    pub(super) served: Option<Cpu>,
    /// Everybody.
    pub(super) machine: Machine,
}

impl Cost {
    /// How much of the processors went to neither: what else runs here falsifies a measurement.
    pub(super) fn others_share(&self) -> Option<f64> {
        let ours = self.generator.total_s() + self.served?.total_s();
        Some(((self.machine.busy_s - ours) / (self.machine.busy_s + self.machine.idle_s)).max(0.0))
    }

    pub(super) fn idle_share(&self) -> f64 {
        self.machine.idle_s / (self.machine.busy_s + self.machine.idle_s)
    }
}

/// A stretch of time that is measured.
pub(super) struct Costs {
    served_by: Option<Process>,
    generator: Cpu,
    served: Option<Cpu>,
    machine: Machine,
}

impl Costs {
    pub(super) fn from_now(served_by: Option<Process>) -> Costs {
        Costs { served_by, generator: Process::own().cpu(), served: served_by.map(Process::cpu), machine: Machine::now() }
    }

    pub(super) fn until_now(&self) -> Cost {
        Cost {
            generator: Process::own().cpu() - self.generator,
            served: self.served_by.zip(self.served).map(|(process, before)| process.cpu() - before),
            machine: Machine::now() - self.machine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_and_time_are_told() {
        let began = Process::own().cpu();
        let mut sum = 0u64;
        while (Process::own().cpu() - began).total_s() < 0.03 {
            sum = (0..100_000u64).fold(sum, |sum, i| std::hint::black_box(sum.wrapping_add(i)));
        }
        let memory = Process::own().memory().unwrap();
        assert!(memory.resident_mib > 0 && memory.peak_mib >= memory.resident_mib);
    }
}
