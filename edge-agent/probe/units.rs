//! Which unit ids answer.

use super::asker::Asker;
use super::reader::{Reader, Trouble};
use crate::modbus::Unreachable;
use crate::point::{Block, Table};

/// If these answer alike, the machine doesn't look at the unit id.
const FAR_APART: [u8; 4] = [1, 2, 100, 247];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) present: Vec<u8>,
    /// Every unit id is answered alike; the lowest stands for all.
    pub(super) any: bool,
    /// Asked for these, the connection ended.
    pub(super) closed: Vec<u8>,
    /// What keeps us from asking at all.
    pub(super) unreachable: Option<Unreachable>,
}

/// In this order: most machines are 1; on Modbus/TCP many are 255 or 0 too, which on a serial line would be a call to all.
pub(super) fn order(serial: bool) -> Vec<u8> {
    let first: &[u8] = if serial { &FAR_APART } else { &[1, 2, 100, 247, 255, 0] };
    first.iter().copied().chain((3..=246).filter(|unit_id| *unit_id != 100)).collect()
}

pub(super) async fn find<R: Reader>(asker: &mut Asker<R>, order: &[u8], all_asked_for: bool, mut tell: impl FnMut(usize, &[u8])) -> Units {
    let mut units = Units::default();
    for patience in [1, 3] {
        units = pass(asker, order, all_asked_for, patience, &mut tell).await;
        if !units.present.is_empty() || units.unreachable.is_some() {
            return units;
        }
    }
    // Who ends the connection is there, whatever it means by it.
    units.present.extend(units.closed.first().copied());
    units
}

async fn pass<R: Reader>(
    asker: &mut Asker<R>,
    order: &[u8],
    all_asked_for: bool,
    patience: u32,
    tell: &mut impl FnMut(usize, &[u8]),
) -> Units {
    let mut units = Units::default();
    let mut answers: Vec<Result<Block, Trouble>> = Vec::new();
    asker.patience = patience;
    for (index, &unit_id) in order.iter().enumerate() {
        tell(index, &units.present);
        let answer = ask(asker, unit_id).await;
        match &answer {
            Ok(_) => units.present.push(unit_id),
            Err(trouble) if trouble.shows_presence() => units.present.push(unit_id),
            Err(Trouble::Unreachable(why)) => {
                units.unreachable = Some(why.clone());
                break;
            }
            Err(Trouble::Spent) => break,
            Err(Trouble::Closed) => units.closed.push(unit_id),
            Err(_) => {}
        }
        answers.push(answer);
        let asked_far_apart = !all_asked_for && index + 1 == FAR_APART.len();
        if asked_far_apart && units.present.len() == FAR_APART.len() && answers.iter().all(|answer| alike(answer, &answers[0])) {
            units.present.truncate(1);
            units.any = true;
            break;
        }
    }
    asker.patience = 1;
    units.present.sort_unstable();
    units
}

/// One machine that moves may answer with other numbers.
fn alike(one: &Result<Block, Trouble>, other: &Result<Block, Trouble>) -> bool {
    match (one, other) {
        (Ok(_), Ok(_)) => true,
        (one, other) => one == other,
    }
}

/// A connection that ends at the first question may be a machine's way to say that it has no such address.
async fn ask<R: Reader>(asker: &mut Asker<R>, unit_id: u8) -> Result<Block, Trouble> {
    let mut answer = asker.call(unit_id, Table::Holding, 0, 1).await;
    for (table, address) in [(Table::Input, 0), (Table::Holding, 1), (Table::Coil, 0)] {
        if answer != Err(Trouble::Closed) {
            break;
        }
        answer = asker.call(unit_id, table, address, 1).await;
    }
    answer
}
