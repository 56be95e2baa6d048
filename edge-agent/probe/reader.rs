//! One question to a machine, over whatever it is connected by. Questions are all there is: function codes 1 to 4 and 43/14.

use std::time::Duration;

use crate::modbus::Unreachable;
use crate::point::{Block, Table};

/// No path to the unit id, and nobody who answers there.
const GATEWAY_EXCEPTIONS: [u8; 2] = [0x0A, 0x0B];

/// Why a question had no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no connection.
    Unreachable(Unreachable),
    /// No answer in time.
    Silent,
    /// The connection ended, or something else than an answer came.
    Closed,
    /// The machine's own no, by its exception code.
    Exception(u8),
    /// As many questions were asked as are allowed, or the time is over.
    Spent,
}

impl Trouble {
    /// Somebody with this unit id is there: only a gateway's word says otherwise.
    pub(super) fn shows_presence(&self) -> bool {
        matches!(self, Trouble::Exception(code) if !GATEWAY_EXCEPTIONS.contains(code))
    }
}

pub(super) trait Reader {
    async fn read(&mut self, unit_id: u8, table: Table, address: u16, quantity: u16, limit: Duration) -> Result<Block, Trouble>;

    /// The texts by which the machine says who it is.
    async fn identify(&mut self, unit_id: u8, limit: Duration) -> Result<Vec<(u8, String)>, Trouble>;
}
