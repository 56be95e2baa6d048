//! Which kinds of values fill a table, judged by all its registers: values of one kind stand next to each other, each where the last one
//! ends. What is computed is how probable it is that a value of a kind begins at an address (a hidden semi-Markov model, summed forwards
//! and backwards), and that several do at once.

use super::cell::{CELLS, Cell, ORDERS};
use super::region::Region;
use crate::point::WordOrder;

/// How often the next value is of the same kind.
const SAME: f64 = 0.86;
/// Machines are less regular than the model: of its certainty about the order so much is taken.
const TRUST: f64 = 0.25;
/// And so much of each answer is left to what is usual at all.
const DOUBT: f64 = 0.02;

/// Something for each kind of value.
type Row = [f64; CELLS.len()];
const NEVER: f64 = f64::NEG_INFINITY;

/// What the regions of one table say.
pub(super) struct Structure {
    orders: Vec<Order>,
}

/// A value of a kind that begins at a register of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) region: usize,
    pub(super) index: usize,
    pub(super) cell: Cell,
    pub(super) order: WordOrder,
}

impl Held {
    fn end(&self) -> usize {
        self.index + self.cell.width()
    }

    fn fits(&self, order: WordOrder) -> bool {
        self.cell.width() == 1 || self.order == order
    }
}

/// The table as it is if long values are kept in one order.
struct Order {
    order: WordOrder,
    probability: f64,
    chain: Chain,
    /// Of each region: the logarithm of the probability of its registers as each kind, of all of them together, and the probability
    /// of each kind to begin at each register.
    emitted: Vec<Vec<Row>>,
    likelihoods: Vec<f64>,
    beginnings: Vec<Vec<Row>>,
}

impl Structure {
    pub(super) fn of(regions: &[&Region]) -> Structure {
        let mut orders: Vec<Order> = ORDERS.into_iter().map(|(order, prior)| Order::of(order, prior, regions)).collect();
        let total = orders.iter().map(|order| order.probability).fold(NEVER, add);
        orders.iter_mut().for_each(|order| order.probability = (order.probability - total).exp());
        Structure { orders }
    }

    /// The probability that such a value begins there: for kinds of one register whatever the order, else in this order.
    pub(super) fn probability(&self, held: Held) -> f64 {
        let kind = kind(held.cell);
        let known = self.orders.iter().filter(|order| held.fits(order.order));
        known
            .map(|order| {
                let begins = order.beginnings[held.region][held.index][kind];
                order.probability * ((1.0 - DOUBT) * begins + DOUBT * held.cell.prior(order.order))
            })
            .sum()
    }

    /// The logarithm of the probability that all these values begin where they are said to.
    pub(super) fn log_probability_of_all(&self, held: &[Held]) -> f64 {
        let usual = |order: &Order| held.iter().map(|held| held.cell.prior(order.order).ln()).sum::<f64>();
        let fitting = self.orders.iter().filter(|order| held.iter().all(|held| held.fits(order.order)));
        let together = fitting.map(|order| {
            let all = add((1.0 - DOUBT).ln() + order.log_probability_of_all(held), DOUBT.ln() + usual(order));
            order.probability.ln() + all
        });
        together.fold(NEVER, add)
    }
}

impl Order {
    /// Its probability is a logarithm that lacks a common summand yet.
    fn of(order: WordOrder, prior: f64, regions: &[&Region]) -> Order {
        let chain = Chain::of(order);
        let emitted: Vec<Vec<Row>> = regions.iter().map(|region| emitted(order, &region.words)).collect();
        let (likelihoods, beginnings): (Vec<f64>, Vec<Vec<Row>>) = emitted.iter().map(|emitted| chain.beginnings(emitted)).unzip();
        let probability = prior.ln() + TRUST * likelihoods.iter().sum::<f64>();
        Order { order, probability, chain, emitted, likelihoods, beginnings }
    }

    fn log_probability_of_all(&self, held: &[Held]) -> f64 {
        let of_region = |region: usize| {
            let mut emitted = self.emitted[region].clone();
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
            self.chain.forwards(&emitted).1[emitted.len()] - self.likelihoods[region]
        };
        (0..self.emitted.len()).filter(|region| held.iter().any(|held| held.region == *region)).map(of_region).sum()
    }
}

/// How one kind follows another; logarithms.
struct Chain {
    first: Row,
    changed: Row,
    same: f64,
}

impl Chain {
    fn of(order: WordOrder) -> Chain {
        let priors = CELLS.map(|cell| cell.prior(order));
        let total: f64 = priors.iter().sum();
        Chain {
            first: priors.map(|prior| (prior / total).ln()),
            changed: priors.map(|prior| ((1.0 - SAME) * prior / total).ln()),
            same: SAME.ln(),
        }
    }

    /// For each register: the registers before it, the last value being of each kind and ending there; and of any kind.
    fn forwards(&self, emitted: &[Row]) -> (Vec<Row>, Vec<f64>) {
        let length = emitted.len();
        let mut before = vec![[NEVER; CELLS.len()]; length + 1];
        let mut any = vec![NEVER; length + 1];
        any[0] = 0.0;
        for end in 1..=length {
            for (kind, cell) in CELLS.iter().enumerate() {
                let Some(start) = end.checked_sub(cell.width()) else { continue };
                if emitted[start][kind] > NEVER {
                    let entered =
                        if start == 0 { self.first[kind] } else { add(before[start][kind] + self.same, any[start] + self.changed[kind]) };
                    before[end][kind] = entered + emitted[start][kind];
                }
            }
            any[end] = before[end].iter().copied().fold(NEVER, add);
        }
        (before, any)
    }

    /// For each register: those from it on, the last value before them being of each kind.
    fn backwards(&self, emitted: &[Row]) -> Vec<Row> {
        let length = emitted.len();
        let mut after = vec![[NEVER; CELLS.len()]; length + 1];
        after[length] = [0.0; CELLS.len()];
        for start in (0..length).rev() {
            let mut any = NEVER;
            let mut own = [NEVER; CELLS.len()];
            for (kind, cell) in CELLS.iter().enumerate() {
                if start + cell.width() <= length {
                    own[kind] = emitted[start][kind] + after[start + cell.width()][kind];
                    any = add(any, own[kind] + self.changed[kind]);
                }
            }
            after[start] = own.map(|own| add(own + self.same, any));
        }
        after
    }

    /// The logarithm of the probability of all registers, and the probability of each kind to begin at each of them.
    fn beginnings(&self, emitted: &[Row]) -> (f64, Vec<Row>) {
        let (before, any) = self.forwards(emitted);
        let after = self.backwards(emitted);
        let likelihood = any[emitted.len()];
        let begins = |start: usize, kind: usize| {
            let end = start + CELLS[kind].width();
            if end > emitted.len() { 0.0 } else { (before[end][kind] + after[end][kind] - likelihood).exp() }
        };
        let row = |start: usize| std::array::from_fn(|kind| begins(start, kind));
        (likelihood, (0..emitted.len()).map(row).collect())
    }
}

/// The logarithm of the probability of the registers from each one on as one value of each kind.
fn emitted(order: WordOrder, words: &[u16]) -> Vec<Row> {
    let probability =
        |start: usize, cell: Cell| words.get(start..start + cell.width()).map_or(NEVER, |words| cell.probability(order, words).ln());
    (0..words.len()).map(|start| CELLS.map(|cell| probability(start, cell))).collect()
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
