//! Finds where the values of a display stand, from what was read.

use super::expected::Expected;
use super::joint::{self, Explanation};
use super::region::Region;
use super::score::{self, Candidate};
use super::structure::Structure;

/// Of each expected value so many candidates are weighed with those of the others.
const WEIGHED: usize = 150;
/// So many of its candidates are read again, to see how they move.
const LOOKED_AT_AGAIN: usize = 24;
/// So many explanations are told.
const TOLD: usize = 5;

/// An expected value, where it stands most probably, and where else it may.
#[derive(Clone, Debug)]
pub struct Found {
    pub expected: Expected,
    /// The most plausible first; empty if there is none.
    pub ranked: Vec<Ranked>,
}

#[derive(Clone, Debug)]
pub struct Ranked {
    pub candidate: Candidate,
    /// Of all explanations looked at, the part that says so: 0 to 1.
    pub share: f64,
}

/// `tolerance` is a part of the value: 0.005 is half a percent.
pub fn find(expected: &[Expected], tolerance: f64, regions: &[Region]) -> Vec<Found> {
    let tables = tables(regions);
    let candidates: Vec<Vec<Candidate>> =
        expected.iter().map(|expected| score::candidates(expected, tolerance, &tables, WEIGHED)).collect();
    let structure = |candidate: &Candidate| {
        let own =
            |(regions, _): &&(Vec<&Region>, Structure)| (regions[0].unit_id, regions[0].table) == (candidate.unit_id, candidate.table);
        tables.iter().find(own).map(|(_, structure)| structure)
    };
    let explanations = joint::explanations(expected, &candidates, structure);
    expected
        .iter()
        .enumerate()
        .map(|(index, expected)| Found { expected: expected.clone(), ranked: ranked(index, &candidates[index], &explanations) })
        .collect()
}

/// The regions of each table, with what they say together.
fn tables(regions: &[Region]) -> Vec<(Vec<&Region>, Structure)> {
    let mut tables: Vec<Vec<&Region>> = Vec::new();
    for region in regions {
        match tables.iter_mut().find(|table| (table[0].unit_id, table[0].table) == (region.unit_id, region.table)) {
            Some(table) => table.push(region),
            None => tables.push(vec![region]),
        }
    }
    tables
        .into_iter()
        .map(|regions| {
            let structure = Structure::of(&regions);
            (regions, structure)
        })
        .collect()
}

/// The places that are worth a second look.
pub(super) fn places(expected: &[Expected], tolerance: f64, regions: &[Region]) -> Vec<Candidate> {
    let tables = tables(regions);
    expected.iter().flat_map(|expected| score::candidates(expected, tolerance, &tables, LOOKED_AT_AGAIN)).collect()
}

/// There is nothing to be gained by looking further: each value is found near the others, and hardly anything else explains it.
pub(super) fn settled(found: &[Found]) -> bool {
    let certain = |found: &Found| {
        found.ranked.first().is_some_and(|first| {
            let alike = |other: &&Ranked| {
                let (one, two) = (&first.candidate, &other.candidate);
                one.reads_the_same_as(two) || one.address == two.address && one.encoding == two.encoding
            };
            let shown = (first.candidate.value - found.expected.value).abs() <= found.expected.unit();
            shown && found.ranked.iter().filter(alike).map(|ranked| ranked.share).sum::<f64>() > 0.9
        })
    };
    let addresses: Vec<u16> = found.iter().filter_map(|found| Some(found.ranked.first()?.candidate.address)).collect();
    let near = addresses.iter().max().zip(addresses.iter().min()).is_some_and(|(max, min)| max - min < 200);
    found.len() > 1 && near && found.iter().all(certain)
}

fn ranked(index: usize, candidates: &[Candidate], explanations: &[Explanation]) -> Vec<Ranked> {
    let best = explanations.first().map_or(0.0, |explanation| explanation.score);
    let total: f64 = explanations.iter().map(|explanation| (explanation.score - best).exp()).sum();
    let mut order: Vec<usize> = Vec::new();
    for explanation in explanations {
        match explanation.chosen[index] {
            Some(number) if !order.contains(&number) => order.push(number),
            // The best explanation leaves it out: it stands nowhere.
            None if order.is_empty() => return Vec::new(),
            _ => {}
        }
    }
    let share = |number: usize| {
        let saying = explanations.iter().filter(|explanation| explanation.chosen[index] == Some(number));
        saying.map(|explanation| (explanation.score - best).exp()).sum::<f64>() / total
    };
    let told = order.into_iter().take(TOLD);
    told.map(|number| Ranked { candidate: candidates[number].clone(), share: share(number) }).collect()
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
