//! The exact facts that the tally keeps and the rules weigh: enough to judge at any cut-off, under any `late_days_max`,
//! without going back to the log.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use sha2::{Digest, Sha256};

use crate::arrivals::ArrivalHour;
use crate::calendar::{Day, Instant};
use crate::values_seen::ValuesSeen;

/// Through which door evidence came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Gateway,
    Supplier,
}

/// Something seen once: when it occurred, and how many started days of 24 h it took to reach us.
/// It counts for a cut-off `c` and a bound `l` exactly when `occurred_at <= c` and `days_late <= l`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Microseconds since the Unix epoch.
    pub occurred_us: i64,
    pub days_late: u32,
}

impl Seen {
    pub fn new(occurred_at: Instant, days_late: u32) -> Seen {
        Seen { occurred_us: occurred_at.timestamp_micros(), days_late }
    }
}

/// The Pareto-minimal `Seen`: ascending in `occurred_us`, strictly descending in `days_late`. Merging is commutative,
/// associative and idempotent. Mostly there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings(SmallVec<[Seen; 1]>);

impl From<Seen> for Sightings {
    fn from(seen: Seen) -> Sightings {
        Sightings(smallvec![seen])
    }
}

impl Sightings {
    pub fn add(&mut self, seen: Seen) {
        let at = self.0.partition_point(|kept| kept.occurred_us <= seen.occurred_us);
        if at > 0 && self.0[at - 1].days_late <= seen.days_late {
            return;
        }
        // An equal instant before `at` has more days late and is dominated, as is everything after that is not less late.
        let from = if at > 0 && self.0[at - 1].occurred_us == seen.occurred_us { at - 1 } else { at };
        let until = at + self.0[at..].iter().take_while(|kept| kept.days_late >= seen.days_late).count();
        self.0.drain(from..until);
        self.0.insert(from, seen);
    }

    pub fn merge(&mut self, other: &Sightings) {
        other.0.iter().for_each(|seen| self.add(*seen));
    }

    /// Anything up to the cut-off that was not later than `late_days_max`?
    pub fn count_at(&self, cut_off_us: i64, late_days_max: u32) -> bool {
        self.0.iter().any(|seen| seen.occurred_us <= cut_off_us && seen.days_late <= late_days_max)
    }

    /// Anything up to the cut-off, however late?
    pub fn any_at(&self, cut_off_us: i64) -> bool {
        self.0.first().is_some_and(|seen| seen.occurred_us <= cut_off_us)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[Seen] {
        &self.0
    }
}

/// How many readings there are of each quality, in the order `N F M S D C T B`. Mostly all are `N`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QualityCounts {
    normal: u64,
    /// Only where there are any.
    others: Option<Box<[u64; 7]>>,
}

impl QualityCounts {
    pub const QUALITIES: usize = 8;

    pub fn normal(count: u64) -> QualityCounts {
        QualityCounts { normal: count, others: None }
    }

    pub fn get(&self, quality: usize) -> u64 {
        if quality == 0 { self.normal } else { self.others.as_ref().map_or(0, |others| others[quality - 1]) }
    }

    pub fn all(&self) -> [u64; Self::QUALITIES] {
        std::array::from_fn(|quality| self.get(quality))
    }

    pub fn all_normal(&self) -> bool {
        self.others.is_none()
    }

    pub fn add(&mut self, quality: usize, count: u64) {
        if count == 0 {
            return;
        }
        let kept = if quality == 0 { &mut self.normal } else { &mut self.others.get_or_insert_default()[quality - 1] };
        *kept = kept.saturating_add(count);
    }

    pub fn merge(&mut self, other: &QualityCounts) {
        self.add(0, other.normal);
        let others = other.others.iter().flat_map(|others| others.iter());
        others.enumerate().for_each(|(at, count)| self.add(at + 1, *count));
    }
}

/// What a device said within one clock hour of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourFacts {
    /// Readings of quality `N`.
    pub normal: Sightings,
    /// Readings of any other quality.
    pub other: Sightings,
    pub counts: QualityCounts,
    /// What the values of those of quality `N` tell.
    pub values: ValuesSeen,
}

/// Stands for a gateway's id where there is little room: four bytes of its SHA-256.
pub type GatewayMark = u32;

pub fn gateway_mark(gateway: &str) -> GatewayMark {
    let digest: [u8; 32] = Sha256::digest(gateway).into();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Marks of some gateways, ascending; of more than can be kept the smallest. Merging is commutative, associative and idempotent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayMarks {
    marks: [GatewayMark; GatewayMarks::MAX],
    count: u8,
}

impl GatewayMarks {
    pub const MAX: usize = 8;

    pub fn add(&mut self, mark: GatewayMark) {
        let count = usize::from(self.count);
        let Err(at) = self.marks[..count].binary_search(&mark) else { return };
        if at < Self::MAX {
            let end = count.min(Self::MAX - 1);
            self.marks.copy_within(at..end, at + 1);
            self.marks[at] = mark;
            self.count = (end + 1) as u8;
        }
    }

    pub fn as_slice(&self) -> &[GatewayMark] {
        &self.marks[..usize::from(self.count)]
    }
}

/// A device on one day: by clock hour (Asia/Shanghai) and channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceDay {
    pub hours: LiteMap<(u8, Channel), HourFacts>,
    /// By which gateways it was reported.
    pub gateways: GatewayMarks,
}

pub type DeviceDays = LiteMap<Day, DeviceDay>;

/// Identity of usage facts within one enterprise and product.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageKey {
    pub day: Day,
    pub user: String,
    pub function_module: String,
    pub channel: Channel,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFacts {
    pub seen: Sightings,
    pub actions: u64,
    pub active_s: u64,
}

/// What the carriers said of one line and one day towards one product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierDay {
    pub sessions: u64,
    pub bytes: u64,
    /// Distinct machine SIMs; `None` where the carrier cannot tell.
    pub devices: Option<u64>,
}

/// What a gateway's reports said of its clock on one day of receipt. Device time never moves by it: it only tells how far to trust it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockDay {
    pub reports: u64,
    /// `sent_at` less the receipt, in microseconds: the least and the greatest. A report may have waited long before it reached us,
    /// so only the greatest tells of the clock itself.
    pub offset_us: Option<(i64, i64)>,
    /// Reports that said their clock was not synchronised.
    pub unsynchronised: u64,
    /// Events `clock_jump`.
    pub jumps: u64,
    pub newest: Option<ClockReading>,
    /// How regularly its reports came, by clock hour of receipt, in order.
    pub arrivals: Vec<ArrivalHour>,
}

/// What one report said of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockReading {
    pub received_at: Instant,
    pub offset_us: Option<i64>,
    pub synchronised: Option<bool>,
}

/// Who sent something, by kind (`gateway`, `supplier`, `carrier`) and id.
pub type SenderName = (String, String);

/// Messages of one sender that were refused because their identity stands for another accepted message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderConflicts {
    /// Identities with at least one such message, and different contents in all.
    pub identities: u64,
    pub contents: u64,
    /// Days of receipt on which there were any.
    pub days: u64,
    /// Some of the identities, in order.
    pub some: Vec<String>,
    /// Where some of them were put into the quarantine: for people, no part of the judgement.
    pub positions: Vec<i64>,
}

/// A gateway at one network address, until it came from another one: when it was heard from there first and last, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStay {
    pub address: String,
    pub first_us: i64,
    pub last_us: i64,
}

/// Everything about one voucher's enterprise and product that lies in the window (whole days, so a little more than the window).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoucherFacts {
    /// Every device of the enterprise that said anything, declared or not.
    pub devices: BTreeMap<String, DeviceDays>,
    /// Usage of the voucher's product by its enterprise.
    pub usage: BTreeMap<UsageKey, UsageFacts>,
    /// Carrier records of the enterprise towards the product, by (day, line).
    pub carrier: BTreeMap<(Day, String), CarrierDay>,
    /// Clocks of the enterprise's gateways, by (gateway, day of receipt).
    pub clocks: BTreeMap<(String, Day), ClockDay>,
    /// Days of receipt on which reports of a gateway were refused because they spoke of the future.
    pub future_refusals: BTreeSet<(String, Day)>,
    /// Refused for an identity that was taken, whoever sent it, as far as it was about the enterprise.
    pub conflicts: BTreeMap<SenderName, SenderConflicts>,
    /// By gateway of the enterprise, in order; only of those that came back to an address.
    pub stays: BTreeMap<String, Vec<GatewayStay>>,
    /// By address from which gateways of the enterprise connected: all enterprises whose gateways did, where there are several.
    /// Of very many the first ones.
    pub enterprises_of_address: BTreeMap<String, BTreeSet<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(at: i64, days_late: u32) -> Seen {
        Seen { occurred_us: at * 1_000_000, days_late }
    }

    proptest! {
        #[test]
        fn of_gateways_the_smallest_marks_stay_in_any_order(list in prop::collection::vec(0u32..30, 0..40)) {
            let mut marks = GatewayMarks::default();
            list.iter().for_each(|mark| marks.add(*mark));
            let smallest: Vec<u32> = list.iter().copied().collect::<BTreeSet<_>>().into_iter().take(GatewayMarks::MAX).collect();
            prop_assert_eq!(marks.as_slice(), smallest);
        }

        #[test]
        fn sightings_answer_like_the_full_list_in_any_order(list in prop::collection::vec((0i64..20, 0u32..6), 0..30), cut in 0i64..21, late in 0u32..7) {
            let mut forward = Sightings::default();
            let mut backward = Sightings::default();
            list.iter().for_each(|(at, days)| forward.add(seen(*at, *days)));
            list.iter().rev().for_each(|(at, days)| backward.add(seen(*at, *days)));
            prop_assert_eq!(&forward, &backward);
            let cut_off_us = cut * 1_000_000;
            prop_assert_eq!(forward.count_at(cut_off_us, late), list.iter().any(|(at, days)| *at <= cut && *days <= late));
            prop_assert_eq!(forward.any_at(cut_off_us), list.iter().any(|(at, _)| *at <= cut));
            let mut twice = forward.clone();
            twice.merge(&backward);
            prop_assert_eq!(twice, forward);
        }
    }
}
