//! Several values of one display: a machine keeps them near each other, in one order of bytes and mostly in one way.

use super::expected::Expected;
use super::score::Candidate;
use super::structure::{Held, Structure};

/// So many partial explanations are followed at once.
const BEAM: usize = 400;
/// And so many whole ones are judged by the tables as a whole.
const JUDGED_TOGETHER: usize = 400;
/// So much of a place's improbability remains where a value like it was placed before.
const SAID_BY_OTHERS: f64 = 0.3;
/// A display is read from its top, and a machine keeps its values in the same order, mostly.
const IN_TURN: f64 = 1.3;
/// Values that look alike on the display, such as three voltages, and are kept in different ways.
const DIFFERS: f64 = -2.5;
/// An expected value that stands nowhere costs nothing and gives nothing; a candidate must be better than chance by so much.
pub(super) const PLAUSIBLE: f64 = 2.0;

/// One explanation of all expected values: for each the number of its candidate, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explanation {
    pub(super) chosen: Vec<Option<usize>>,
    pub(super) score: f64,
    /// The part of the score that takes the values' places one by one.
    one_by_one: f64,
}

/// The best explanations first. `candidates[i]` belong to `expected[i]`; `structure` says of each unit id and table what it holds.
pub(super) fn explanations<'a>(
    expected: &[Expected],
    candidates: &[Vec<Candidate>],
    structure: impl Fn(&Candidate) -> Option<&'a Structure>,
) -> Vec<Explanation> {
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_by_key(|&index| candidates[index].len());
    let mut beam = vec![Explanation { chosen: vec![None; expected.len()], score: 0.0, one_by_one: 0.0 }];
    for &index in &order {
        let mut next = Vec::new();
        for partial in &beam {
            next.push(partial.clone());
            let before = chosen(partial, candidates);
            for (number, candidate) in candidates[index].iter().enumerate() {
                let Some(together) = together(expected, index, candidate, &before) else { continue };
                let place = candidate.evidence.structure * if alike_before(candidate, &before) { SAID_BY_OTHERS } else { 1.0 };
                let score = candidate.evidence.without_structure() + place + together - PLAUSIBLE;
                if score > 0.0 {
                    let mut explanation = partial.clone();
                    explanation.chosen[index] = Some(number);
                    explanation.score += score;
                    explanation.one_by_one += place;
                    next.push(explanation);
                }
            }
        }
        next.sort_by(|a, b| b.score.total_cmp(&a.score));
        next.truncate(BEAM);
        beam = next;
    }
    beam.truncate(JUDGED_TOGETHER);
    for explanation in &mut beam {
        let together = places_together(&chosen(explanation, candidates), &structure);
        explanation.score += together - explanation.one_by_one;
    }
    beam.sort_by(|a, b| b.score.total_cmp(&a.score));
    beam
}

fn chosen<'a>(explanation: &Explanation, candidates: &'a [Vec<Candidate>]) -> Vec<(usize, &'a Candidate)> {
    explanation.chosen.iter().enumerate().filter_map(|(index, chosen)| Some((index, &candidates[index][(*chosen)?]))).collect()
}

fn same_table(one: &Candidate, two: &Candidate) -> bool {
    (one.unit_id, one.table) == (two.unit_id, two.table)
}

/// A place is no surprise where another like it is taken for granted.
fn alike_before(candidate: &Candidate, before: &[(usize, &Candidate)]) -> bool {
    let alike = |other: &Candidate| {
        let (one, two) = (&candidate.encoding, &other.encoding);
        same_table(candidate, other) && one.value_type.quantity() == two.value_type.quantity() && one.word_order == two.word_order
    };
    before.iter().any(|(_, other)| alike(other))
}

/// How probable it is that all chosen values begin where they are said to, each table as a whole.
fn places_together<'a>(chosen: &[(usize, &Candidate)], structure: impl Fn(&Candidate) -> Option<&'a Structure>) -> f64 {
    let mut score = 0.0;
    for (number, (_, candidate)) in chosen.iter().enumerate() {
        if chosen[..number].iter().all(|(_, before)| !same_table(before, candidate)) {
            let held: Vec<Held> =
                chosen.iter().filter(|(_, other)| same_table(other, candidate)).map(|(_, candidate)| candidate.held).collect();
            score += structure(candidate).map_or(0.0, |structure| structure.log_probability_of_all(&held));
        }
    }
    score
}

/// How well a candidate goes with what was chosen before.
fn together(expected: &[Expected], index: usize, candidate: &Candidate, before: &[(usize, &Candidate)]) -> Option<f64> {
    let quantity = |candidate: &Candidate| i32::from(candidate.encoding.value_type.quantity());
    let begin = |candidate: &Candidate| i32::from(candidate.address);
    if before.is_empty() {
        return Some(0.0);
    }
    let mut score = f64::NEG_INFINITY;
    let (mut differing, mut in_turn) = (0.0, 0.0);
    for (other_index, other) in before {
        let same_table = same_table(other, candidate);
        let gap = if begin(other) < begin(candidate) {
            begin(candidate) - begin(other) - quantity(other)
        } else {
            begin(other) - begin(candidate) - quantity(candidate)
        };
        if same_table && gap < 0 {
            return None;
        }
        let near = if same_table { 3.0 - 0.8 * f64::from(gap.min(5000) + 1).ln() } else { -6.0 };
        let (one, two) = (&candidate.encoding, &other.encoding);
        // One order of bytes holds for the whole machine.
        let order = match (one.multiword() && two.multiword(), one.word_order == two.word_order) {
            (true, false) => -6.0,
            (false, _) if one.multiword() == two.multiword() && one.bytes_usual() != two.bytes_usual() => -5.0,
            _ => 0.0,
        };
        let follows = (index > *other_index) == (begin(candidate) > begin(other));
        if same_table && follows {
            in_turn += IN_TURN / (expected.len() - 1) as f64;
        }
        if expected[index].is_like(&expected[*other_index]) && one != two {
            differing += DIFFERS;
        }
        let alike = expected[index].decimals == expected[*other_index].decimals && one.value_type == two.value_type;
        let scale = match (alike, one.scale.total_cmp(&two.scale).is_eq() && one.offset.total_cmp(&two.offset).is_eq()) {
            (true, true) => -0.8 * candidate.evidence.scale.max(-2.0),
            (true, false) => -0.7,
            _ => 0.0,
        };
        score = score.max(near + order + scale);
    }
    Some(score + differing + in_turn)
}
