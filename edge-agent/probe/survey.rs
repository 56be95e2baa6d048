//! What a machine has to show: who answers, what can be read, and what moves.

use std::ops::Range;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::asker::Asker;
use super::expected::Expected;
use super::find::{self, Found};
use super::reader::Reader;
use super::region::Region;
use super::scan::{LEVELS, Stop, TableScan};
use super::units::{self, Units};
use crate::point::{Block, Table};

/// Unit ids beyond these are named, but not looked into unless they are asked for.
const UNITS_MAX: usize = 16;
/// Zeros farther than this from anything else say nothing.
const MARGIN: u32 = 40;
/// Later looks at what may be right, and the time from one to the next.
const LOOKS: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(600);
/// So many registers on each side of a place are looked at again with it: those that leap are parts of something longer.
const BESIDE: usize = 16;

pub(super) struct Wish {
    /// Unit ids to ask, in this order, and whether the user named them.
    pub(super) unit_ids: Vec<u8>,
    pub(super) named: bool,
    pub(super) tables: Vec<Table>,
    pub(super) bounds: Range<u32>,
    pub(super) expected: Vec<Expected>,
    pub(super) tolerance: f64,
}

pub(super) struct Survey {
    pub(super) units: Units,
    pub(super) identities: Vec<(u8, Vec<(u8, String)>)>,
    pub(super) scans: Vec<TableScan>,
    pub(super) found: Vec<Found>,
    /// The search was ended because everything was found.
    pub(super) settled: bool,
    pub(super) asked: u32,
}

/// `tell` hears how far it is.
pub(super) async fn survey<R: Reader>(asker: &mut Asker<R>, wish: &Wish, mut tell: impl FnMut(&str, &str)) -> Survey {
    let units = units::find(asker, &wish.unit_ids, wish.named, |index, present| {
        if index.is_multiple_of(16) {
            let (all, present) = (wish.unit_ids.len(), present.len());
            tell(
                &format!("查找单元号 {index}/{all}，已有 {present} 个应答"),
                &format!("looking for unit ids {index}/{all}, {present} answer"),
            );
        }
    })
    .await;
    let mut survey = Survey { units, identities: Vec::new(), scans: Vec::new(), found: Vec::new(), settled: false, asked: 0 };
    let looked_into = if wish.named { usize::MAX } else { UNITS_MAX };
    for &unit_id in survey.units.present.iter().take(looked_into) {
        if let Some(objects) = asker.identify(unit_id).await {
            survey.identities.push((unit_id, objects));
        }
        survey.scans.extend(wish.tables.iter().map(|table| TableScan::new(unit_id, *table, wish.bounds.clone())));
    }
    for level in 0..LEVELS {
        for scan in &mut survey.scans {
            let (unit_id, table) = (scan.unit_id, scan.table.name());
            let step = level + 1;
            tell(
                &format!("单元 {unit_id} {table}：第 {step}/{LEVELS} 遍，已问 {} 次", asker.asked()),
                &format!("unit {unit_id} {table}: pass {step} of {LEVELS}, {} requests so far", asker.asked()),
            );
            scan.look(asker, level).await;
        }
        if !wish.expected.is_empty() {
            survey.settled = find::settled(&find::find(&wish.expected, wish.tolerance, &regions(&survey.scans)));
        }
        if survey.settled || survey.scans.iter().all(|scan| scan.stop.is_some()) {
            break;
        }
    }
    if !wish.expected.is_empty() {
        tell("再读几次，看哪些值在变", "reading again, to see what moves");
        let mut regions = regions(&survey.scans);
        look_again(asker, wish, &survey.scans, &mut regions).await;
        survey.found = find::find(&wish.expected, wish.tolerance, &regions);
    }
    survey.asked = asker.asked();
    survey
}

/// What is not empty, with some empty registers around it.
fn regions(scans: &[TableScan]) -> Vec<Region> {
    let mut out = Vec::new();
    for scan in scans.iter().filter(|scan| !scan.table.holds_bits()) {
        for range in scan.ranges() {
            let mut begun: Option<Range<u32>> = None;
            for address in range.clone().filter(|address| scan.words(*address..address + 1)[0] != 0) {
                let around = address.saturating_sub(MARGIN).max(range.start)..(address + MARGIN + 1).min(range.end);
                match &mut begun {
                    Some(region) if region.end >= around.start => region.end = around.end,
                    begun => out.extend(begun.replace(around).map(|region| region_of(scan, region))),
                }
            }
            out.extend(begun.map(|region| region_of(scan, region)));
        }
    }
    out
}

fn region_of(scan: &TableScan, range: Range<u32>) -> Region {
    Region::new(scan.unit_id, scan.table, range.start as u16, scan.words(range).to_vec())
}

async fn look_again<R: Reader>(asker: &mut Asker<R>, wish: &Wish, scans: &[TableScan], regions: &mut [Region]) {
    let places = find::places(&wish.expected, wish.tolerance, regions);
    let mut wanted: Vec<Vec<bool>> = regions.iter().map(|region| vec![false; region.words.len()]).collect();
    for place in &places {
        for (region, wanted) in regions.iter().zip(&mut wanted) {
            if (region.unit_id, region.table) == (place.unit_id, place.table) && place.address >= region.start {
                let begin = usize::from(place.address - region.start);
                let first = begin.saturating_sub(BESIDE);
                let end = (begin + usize::from(place.encoding.value_type.quantity()) + BESIDE).min(wanted.len());
                if first < end {
                    wanted[first..end].fill(true);
                }
            }
        }
    }
    let mut next = Instant::now();
    for _ in 0..LOOKS {
        next += LOOK_EVERY;
        sleep_until(next).await;
        for (region, wanted) in regions.iter_mut().zip(&wanted) {
            let limit = scans
                .iter()
                .find(|scan| (scan.unit_id, scan.table) == (region.unit_id, region.table))
                .map_or(1, |scan| usize::from(scan.quantity_max()));
            let mut look = vec![None; wanted.len()];
            for (first, quantity) in requests(wanted, limit) {
                let address = region.address(first);
                if let Ok(Block::Words(words)) = asker.read(region.unit_id, region.table, address, quantity as u16).await {
                    look[first..first + quantity].iter_mut().zip(words).for_each(|(slot, word)| *slot = Some(word));
                }
            }
            region.later.push(look);
        }
    }
}

/// As few requests as cover what is wanted, each of `limit` registers at most.
fn requests(wanted: &[bool], limit: usize) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for index in wanted.iter().enumerate().filter_map(|(index, wanted)| wanted.then_some(index)) {
        match out.last_mut() {
            Some((first, quantity)) if index + 1 - *first <= limit => *quantity = index + 1 - *first,
            _ => out.push((index, 1)),
        }
    }
    out
}

/// Why the looking ended before its end, if it did.
pub(super) fn cut_short(scans: &[TableScan]) -> Option<&Stop> {
    scans.iter().filter_map(|scan| scan.stop.as_ref()).find(|stop| **stop != Stop::NoTable)
}
