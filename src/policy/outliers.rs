//! Contract amounts beside those of the same catalogue row (R20): median and median absolute deviation, exact.

use rust_decimal::Decimal;

use crate::calendar::Instant;
use crate::derived::{Peers, Spread};
use crate::judge::Case;
use crate::reasons::ContractFigure;
use crate::register::Voucher;

/// At most so many contracts are compared with: the last before the voucher.
pub const PEERS_MAX: usize = 200;

/// What a contract is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    applied_at: Instant,
    id: String,
    pub amount: Decimal,
    pub amount_per_device: Option<Decimal>,
    pub amount_per_module: Option<Decimal>,
}

impl Peer {
    /// `devices`: how many the voucher declares.
    pub fn of(voucher: &Voucher, devices: u64) -> Peer {
        let amount = voucher.contract_amount.decimal();
        // Money is below 10^12 and a count below 2^64: the quotient has a place within `Decimal`, cut to six decimals.
        let share = |count: u64| (count > 0).then(|| (amount / Decimal::from(count)).trunc_with_scale(6));
        Peer {
            applied_at: voucher.applied_at,
            id: voucher.id.clone(),
            amount,
            amount_per_device: share(devices),
            amount_per_module: share(voucher.contract_modules.len() as u64),
        }
    }
}

/// `peers` of one catalogue row in order of application: those before the voucher, so that later applications change nothing.
pub fn peers_of(peers: &[Peer], voucher: &Voucher) -> Peers {
    let until = peers.partition_point(|peer| (peer.applied_at, &peer.id) < (voucher.applied_at, &voucher.id));
    let before = &peers[until.saturating_sub(PEERS_MAX)..until];
    Peers {
        amount: spread_of_enough(before.iter().map(|peer| peer.amount).collect()),
        amount_per_device: spread_of_enough(before.iter().filter_map(|peer| peer.amount_per_device).collect()),
        amount_per_module: spread_of_enough(before.iter().filter_map(|peer| peer.amount_per_module).collect()),
    }
}

/// Fewer are never compared, whatever the rulebook says: they need not stand in a slice, where it would change with them.
pub const CONTRACTS_MIN: u32 = 5;

fn spread_of_enough(figures: Vec<Decimal>) -> Option<Spread> {
    if figures.len() < CONTRACTS_MIN as usize { None } else { spread(figures) }
}

/// `None` of nothing.
pub fn spread(figures: Vec<Decimal>) -> Option<Spread> {
    let count = figures.len() as u64;
    let median = median(figures.clone())?;
    let deviation = self::median(figures.into_iter().map(|figure| (figure - median).abs()).collect())?;
    Some(Spread { count, median: median.normalize(), deviation: deviation.normalize() })
}

fn median(mut figures: Vec<Decimal>) -> Option<Decimal> {
    figures.sort_unstable();
    let upper = figures.get(figures.len() / 2)?;
    if figures.len() % 2 == 1 {
        return Some(*upper);
    }
    Some((figures[figures.len() / 2 - 1] + upper) / Decimal::TWO)
}

/// One figure of a contract beside its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub figure: ContractFigure,
    pub observed: Decimal,
    pub spread: Spread,
    /// 0.6745 × (observed − median) ÷ deviation, two places cut; negative below the median.
    pub score: String,
    /// Whether the score reaches the rulebook's.
    pub above: bool,
}

impl Compared {
    pub fn said(&self) -> String {
        let Compared { figure, observed, spread, score, .. } = self;
        format!("{} {observed:.2} 元，{} 份的中位数 {:.2} 元，分数 {score}", figure.text(), spread.count, spread.median)
    }
}

/// The figures that there are enough earlier contracts for. A deviation below the rulebook's share of the median counts as that share,
/// so that a row with one list price does not flag every fen above it.
pub fn compare(case: &Case<'_>) -> Vec<Compared> {
    let parameters = &case.rulebook.parameters;
    let Some(derived) = case.register.derived_for(case.voucher) else { return Vec::new() };
    let own = Peer::of(case.voucher, case.register.devices_of(&case.voucher.id).count() as u64);
    let peers = &derived.peers;
    let figures = [
        (ContractFigure::Amount, Some(own.amount), peers.amount),
        (ContractFigure::AmountPerDevice, own.amount_per_device, peers.amount_per_device),
        (ContractFigure::AmountPerModule, own.amount_per_module, peers.amount_per_module),
    ];
    let compared = figures.into_iter().filter_map(|(figure, observed, spread)| {
        let (observed, spread) = (observed?, spread.filter(|spread| spread.count >= u64::from(parameters.outlier_contracts_min))?);
        // Four places are more than fen; amounts are below 10^12, so that nothing here overflows.
        let least = (spread.median * parameters.outlier_deviation_min).trunc_with_scale(4);
        let deviation = spread.deviation.max(least);
        let apart = (observed - spread.median) * Decimal::new(6745, 4);
        let above = apart > Decimal::ZERO && apart >= deviation * Decimal::from(parameters.outlier_score_min);
        let score = apart.checked_div(deviation).map_or_else(|| "—".to_string(), |score| format!("{:.2}", score.trunc_with_scale(2)));
        Some(Compared { figure, observed, spread, score, above })
    });
    compared.collect()
}
