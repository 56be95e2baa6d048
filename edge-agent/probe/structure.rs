//! Which kinds of values fill a table, judged by all its registers: values of one kind stand next to each other, each where the last one
//! ends. What is computed is how probable it is that a value of a kind begins at an address (a hidden semi-Markov model, summed forwards
//! and backwards), and that several do at once.

use super::cell::{CELLS, Cell, EMPTY, ORDERS, values};
use super::movement;
use super::region::Region;
use super::style::{Fit, STYLES, Style};
use crate::point::WordOrder;

/// How often the next value is of the same kind.
const SAME: f64 = 0.5;
/// How often an empty register follows a value, and another one. What comes then is mostly of the kind that was before.
const EMPTY_AFTER: f64 = 0.2;
const EMPTY_AFTER_EMPTY: f64 = 0.92;
/// Machines are less regular than the model: of its certainty about the manner so much is taken from the registers around a value, and
/// so much from those elsewhere.
const TRUST: f64 = 1.0;
const TRUST_ELSEWHERE: f64 = 0.03;
/// And so much of each answer is left to what is usual at all.
const DOUBT: f64 = 0.02;
/// Handbooks begin their blocks at round addresses: a value that begins before one and ends behind it is so unusual.
const ACROSS_ROUND: f64 = 0.2;

/// Something for each kind of value.
type Row = [f64; CELLS.len()];
const NEVER: f64 = f64::NEG_INFINITY;

/// What the regions of one table say.
pub(super) struct Structure {
    manners: Vec<Manner>,
    /// For values in each region, the logarithm of the probability of each manner.
    by_region: Vec<Vec<f64>>,
    /// For each order, of each region: the logarithm of the probability of its registers as each kind.
    emitted: Vec<Vec<Vec<Row>>>,
}

/// A value of a kind that begins at a register of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) region: usize,
    pub(super) index: usize,
    pub(super) cell: Cell,
    pub(super) order: WordOrder,
    pub(super) fit: Fit,
}

impl Held {
    fn end(&self) -> usize {
        self.index + self.cell.width()
    }

    fn fits(&self, order: WordOrder) -> bool {
        self.cell.width() == 1 || self.order == order
    }
}

/// The table as it is if long values are kept in one order and most values in one style.
struct Manner {
    order: usize,
    style: usize,
    /// A logarithm.
    prior: f64,
    chain: Chain,
    /// Of each region: the logarithm of the probability of all its registers together, and the probability of each kind to begin at
    /// each register.
    likelihoods: Vec<f64>,
    beginnings: Vec<Vec<Row>>,
}

impl Structure {
    pub(super) fn of(regions: &[&Region]) -> Structure {
        let emitted: Vec<Vec<Vec<Row>>> =
            ORDERS.iter().map(|(order, _)| regions.iter().map(|region| emitted(*order, region)).collect()).collect();
        let every = (0..ORDERS.len()).flat_map(|order| (0..STYLES.len()).map(move |style| (order, style)));
        let manners: Vec<Manner> = every.map(|(order, style)| Manner::of(order, style, &emitted[order])).collect();
        let mut structure = Structure { manners, emitted, by_region: Vec::new() };
        structure.by_region = (0..regions.len()).map(|region| structure.log_probabilities(|other| other == region)).collect();
        structure
    }

    /// The logarithm of the probability of each manner for values in some of the regions.
    fn log_probabilities(&self, own: impl Fn(usize) -> bool) -> Vec<f64> {
        let trust = |region: usize| if own(region) { TRUST } else { TRUST_ELSEWHERE };
        let known =
            |manner: &Manner| manner.likelihoods.iter().enumerate().map(|(region, likelihood)| trust(region) * likelihood).sum::<f64>();
        let all: Vec<f64> = self.manners.iter().map(|manner| manner.prior + known(manner)).collect();
        let total = all.iter().copied().fold(NEVER, add);
        all.iter().map(|log| log - total).collect()
    }

    /// The probability that such a value begins there: for kinds of one register whatever the order, else in this order.
    pub(super) fn probability(&self, held: Held) -> f64 {
        let kind = kind(held.cell);
        let known = self.manners.iter().zip(&self.by_region[held.region]).filter(|(manner, _)| held.fits(manner.order()));
        known
            .map(|(manner, log_probability)| {
                let begins = manner.beginnings[held.region][held.index][kind];
                let usual = held.cell.prior(manner.order(), manner.style());
                (log_probability + held.fit[manner.style]).exp() * ((1.0 - DOUBT) * begins + DOUBT * usual)
            })
            .sum()
    }

    /// The logarithm of the probability that all these values begin where they are said to.
    pub(super) fn log_probability_of_all(&self, held: &[Held]) -> f64 {
        let usual = |manner: &Manner| held.iter().map(|held| held.cell.prior(manner.order(), manner.style()).ln()).sum::<f64>();
        let probabilities = self.log_probabilities(|region| held.iter().any(|held| held.region == region));
        let fitting = self.manners.iter().zip(probabilities).filter(|(manner, _)| held.iter().all(|held| held.fits(manner.order())));
        let together = fitting.map(|(manner, log_probability)| {
            let fit: f64 = held.iter().map(|held| held.fit[manner.style]).sum();
            let certain = manner.log_probability_of_all(&self.emitted[manner.order], held);
            let all = add((1.0 - DOUBT).ln() + certain, DOUBT.ln() + usual(manner));
            log_probability + fit + all
        });
        together.fold(NEVER, add)
    }
}

impl Manner {
    fn of(order: usize, style: usize, emitted: &[Vec<Row>]) -> Manner {
        let chain = Chain::of(ORDERS[order].0, STYLES[style].0);
        let (likelihoods, beginnings): (Vec<f64>, Vec<Vec<Row>>) = emitted.iter().map(|emitted| chain.beginnings(emitted)).unzip();
        let prior = ORDERS[order].1.ln() + STYLES[style].1.ln();
        Manner { order, style, prior, chain, likelihoods, beginnings }
    }

    fn order(&self) -> WordOrder {
        ORDERS[self.order].0
    }

    fn style(&self) -> Style {
        STYLES[self.style].0
    }

    fn log_probability_of_all(&self, emitted: &[Vec<Row>], held: &[Held]) -> f64 {
        let of_region = |region: usize| {
            let mut emitted = emitted[region].clone();
            for held in held.iter().filter(|held| held.region == region) {
                let reach = held.index.saturating_sub(3)..held.end();
                for (start, row) in emitted.iter_mut().enumerate().take(reach.end).skip(reach.start) {
                    for (slot, cell) in row.iter_mut().zip(CELLS) {
                        // Nothing else may cover its registers.
                        if start + cell.width() > held.index && (start, cell) != (held.index, held.cell) {
                            *slot = NEVER;
                        }
                    }
                }
            }
            self.chain.likelihood(&emitted) - self.likelihoods[region]
        };
        (0..emitted.len()).filter(|region| held.iter().any(|held| held.region == *region)).map(of_region).sum()
    }
}

/// How one kind follows another, with empty registers between them or none; logarithms.
struct Chain {
    first: Row,
    changed: Row,
}

/// The registers before each one: the last value being of each kind and ending there, or followed by empty registers up to there.
struct Before {
    ended: Vec<Row>,
    empty: Vec<Row>,
}

impl Before {
    /// Whichever it was, a value begins now.
    fn begins(&self, start: usize) -> Row {
        std::array::from_fn(|kind| {
            add(self.ended[start][kind] + (1.0 - EMPTY_AFTER).ln(), self.empty[start][kind] + (1.0 - EMPTY_AFTER_EMPTY).ln())
        })
    }

    /// Whichever it was, the next register is empty.
    fn is_empty(&self, start: usize) -> Row {
        std::array::from_fn(|kind| add(self.ended[start][kind] + EMPTY_AFTER.ln(), self.empty[start][kind] + EMPTY_AFTER_EMPTY.ln()))
    }
}

impl Chain {
    fn of(order: WordOrder, style: Style) -> Chain {
        let priors = CELLS.map(|cell| cell.prior(order, style));
        let total: f64 = priors.iter().sum();
        Chain { first: priors.map(|prior| (prior / total).ln()), changed: priors.map(|prior| ((1.0 - SAME) * prior / total).ln()) }
    }

    fn forwards(&self, emitted: &[Row]) -> Before {
        let length = emitted.len();
        let mut before = Before { ended: vec![[NEVER; CELLS.len()]; length + 1], empty: vec![[NEVER; CELLS.len()]; length + 1] };
        before.ended[0] = self.first;
        for (start, row) in emitted.iter().enumerate() {
            let begins = before.begins(start);
            let any = begins.iter().copied().fold(NEVER, add);
            for (kind, cell) in values() {
                if row[kind] > NEVER {
                    let entered = add(begins[kind] + SAME.ln(), any + self.changed[kind]);
                    before.ended[start + cell.width()][kind] = entered + row[kind];
                }
            }
            before.empty[start + 1] = before.is_empty(start).map(|before| before + row[EMPTY]);
        }
        before
    }

    /// For each register: those from it on, the last value before them being of each kind and ending there, or followed by empty
    /// registers up to there.
    fn backwards(&self, emitted: &[Row]) -> Before {
        let length = emitted.len();
        let mut after = Before { ended: vec![[0.0; CELLS.len()]; length + 1], empty: vec![[0.0; CELLS.len()]; length + 1] };
        for start in (0..length).rev() {
            let mut any = NEVER;
            let mut own = [NEVER; CELLS.len()];
            for (kind, cell) in values() {
                if emitted[start][kind] > NEVER {
                    own[kind] = emitted[start][kind] + after.ended[start + cell.width()][kind];
                    any = add(any, own[kind] + self.changed[kind]);
                }
            }
            let value = own.map(|own| add(own + SAME.ln(), any));
            let empty = after.empty[start + 1].map(|after| after + emitted[start][EMPTY]);
            let mix =
                |empty_share: f64| std::array::from_fn(|kind| add(value[kind] + (1.0 - empty_share).ln(), empty[kind] + empty_share.ln()));
            after.ended[start] = mix(EMPTY_AFTER);
            after.empty[start] = mix(EMPTY_AFTER_EMPTY);
        }
        after
    }

    fn likelihood(&self, emitted: &[Row]) -> f64 {
        let before = self.forwards(emitted);
        let all = |rows: &[Row]| rows[emitted.len()].iter().copied().fold(NEVER, add);
        add(all(&before.ended), all(&before.empty))
    }

    /// The logarithm of the probability of all registers, and the probability of each kind to begin at each of them.
    fn beginnings(&self, emitted: &[Row]) -> (f64, Vec<Row>) {
        let before = self.forwards(emitted);
        let after = self.backwards(emitted);
        let likelihood = self.likelihood(emitted);
        let row = |start: usize| {
            let begins = |kind: usize| {
                let end = start + CELLS[kind].width();
                if end > emitted.len() || emitted[start][kind] <= NEVER {
                    return 0.0;
                }
                let ended = before.begins(start);
                let any = ended.iter().copied().fold(NEVER, add);
                let entered = add(ended[kind] + SAME.ln(), any + self.changed[kind]);
                (entered + emitted[start][kind] + after.ended[end][kind] - likelihood).exp()
            };
            let empty = before.is_empty(start).iter().zip(after.empty[start + 1]).map(|(before, after)| before + after).fold(NEVER, add);
            let mut row: Row = std::array::from_fn(begins);
            row[EMPTY] = (empty + emitted[start][EMPTY] - likelihood).exp();
            row
        };
        (likelihood, (0..emitted.len()).map(row).collect())
    }
}

/// The logarithm of the probability of the registers from each one on as one value of each kind, and of how they moved.
fn emitted(order: WordOrder, region: &Region) -> Vec<Row> {
    let probability = |start: usize, cell: Cell| {
        let range = start..start + cell.width();
        let Some(words) = region.words.get(range.clone()) else { return NEVER };
        let mut log = cell.probability(order, words).ln();
        if log > NEVER {
            let mut before = words.to_vec();
            for after in region.later_words(range) {
                log += movement::log_probability(cell, order, &before, &after);
                before = after;
            }
        }
        let address = u32::from(region.start) + start as u32;
        let across = (address + 1..address + cell.width() as u32).any(round);
        log + if across { ACROSS_ROUND.ln() } else { 0.0 }
    };
    (0..region.words.len()).map(|start| CELLS.map(|cell| probability(start, cell))).collect()
}

fn round(address: u32) -> bool {
    address.is_multiple_of(100) || address.is_multiple_of(256)
}

fn kind(cell: Cell) -> usize {
    CELLS.iter().position(|other| *other == cell).unwrap_or(0)
}

/// ln(eᵃ + eᵇ)
fn add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low.is_infinite() { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
#[path = "structure_tests.rs"]
mod tests;
