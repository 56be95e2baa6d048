//! The two independent channels: what the interface saw and what the carriers saw (verdict 3 of the rules).

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::{Decimal, RoundingStrategy};

use crate::calendar::Day;
use crate::facts::VoucherFacts;
use crate::register::Register;
use crate::result::{ChannelComparison, ChannelFigures};
use crate::window::Window;

/// The carriers' figures in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierWeighed {
    /// By day with at least one session: the sessions.
    pub by_day: BTreeMap<Day, u64>,
    /// The largest sum over the lines on one day; `None` where no carrier gave it.
    pub devices: Option<u64>,
    /// Whether there is any record at all that counts.
    pub records: bool,
    /// Whether the enterprise has no registered line, so that every named line counts.
    pub lines_unregistered: bool,
    /// Lines named by carriers that are not registered for the enterprise and were left out.
    pub lines_left_out: BTreeSet<String>,
}

impl CarrierWeighed {
    pub fn figures(&self) -> Option<ChannelFigures> {
        self.records.then_some(ChannelFigures { days: self.by_day.len() as u64, devices: self.devices })
    }
}

pub fn weigh(register: &Register, enterprise: &str, window: &Window, facts: &VoucherFacts) -> CarrierWeighed {
    let lines: BTreeSet<&str> = register.lines_of(enterprise).map(|line| line.line.as_str()).collect();
    let mut weighed = CarrierWeighed { lines_unregistered: lines.is_empty(), ..CarrierWeighed::default() };
    let mut devices_by_day: BTreeMap<Day, u64> = BTreeMap::new();
    for ((day, line), record) in facts.carrier.iter().filter(|((day, _), _)| window.contains(*day)) {
        if !weighed.lines_unregistered && !lines.contains(line.as_str()) {
            weighed.lines_left_out.insert(line.clone());
            continue;
        }
        weighed.records = true;
        if record.sessions > 0 {
            let sessions = weighed.by_day.entry(*day).or_default();
            *sessions = sessions.saturating_add(record.sessions);
        }
        if let Some(devices) = record.devices {
            let sum = devices_by_day.entry(*day).or_default();
            *sum = sum.saturating_add(devices);
        }
    }
    weighed.devices = devices_by_day.values().max().copied();
    weighed
}

/// |a − b| ÷ max(a, b) as a fraction; 0 ÷ 1 where both are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    apart: u64,
    larger: u64,
}

impl Difference {
    fn of(a: u64, b: u64) -> Difference {
        Difference { apart: a.abs_diff(b), larger: a.max(b).max(1) }
    }

    /// The larger of two, by cross-multiplication.
    fn or_larger(self, other: Difference) -> Difference {
        let larger = u128::from(other.apart) * u128::from(self.larger) > u128::from(self.apart) * u128::from(other.larger);
        if larger { other } else { self }
    }

    /// apart ≤ tolerance × larger, exactly.
    fn within(self, tolerance: Decimal) -> bool {
        match tolerance.checked_mul(Decimal::from(self.larger)) {
            Some(bound) => Decimal::from(self.apart) <= bound,
            None => true,
        }
    }

    /// Four places, half up, for showing.
    fn shown(self) -> String {
        let share = Decimal::from(self.apart) / Decimal::from(self.larger);
        format!("{:.4}", share.round_dp_with_strategy(4, RoundingStrategy::MidpointAwayFromZero))
    }
}

pub fn compare(interface: ChannelFigures, carrier: Option<ChannelFigures>, tolerance: Decimal) -> ChannelComparison {
    let difference = carrier.map(|carrier| {
        let days = Difference::of(interface.days, carrier.days);
        match (interface.devices, carrier.devices) {
            (Some(ours), Some(theirs)) => days.or_larger(Difference::of(ours, theirs)),
            _ => days,
        }
    });
    ChannelComparison {
        interface,
        carrier,
        difference: difference.map(Difference::shown),
        agree: difference.map(|difference| difference.within(tolerance)),
    }
}
