//! The connection to a bus, made anew where it is of no more use.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::overdue::Overdue;
use super::request::{Answer, ReadRequest};
use super::trouble::{ReadTrouble, Unreachable};
use crate::backoff::Backoff;
use crate::bus::{Address, BusSettings};

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) struct Line {
    address: Address,
    settings: BusSettings,
    connection: Option<Connection>,
    /// What the machines owed when the last connection ended.
    overdue: Overdue,
    backoff: Backoff,
    retry_at: Option<Instant>,
    loss_count: u64,
}

impl Line {
    pub fn new(address: Address, settings: BusSettings) -> Line {
        Line {
            address,
            settings,
            connection: None,
            overdue: Overdue::default(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            retry_at: None,
            loss_count: 0,
        }
    }

    /// How often the other side was gone. Whoever answers now may be another machine.
    pub fn loss_count(&self) -> u64 {
        self.loss_count
    }

    /// What was lost since the count was this says nothing of the machines.
    pub fn forgive(&mut self, loss_count: u64) {
        self.loss_count = loss_count;
    }

    /// Has the next request begin a connection of its own, if that means anything here.
    pub fn renew(&mut self) {
        if !self.address.rtu_frames() {
            self.connection = None;
        }
    }

    pub async fn read(&mut self, unit_id: u8, request: &ReadRequest, limit: Duration) -> Result<Answer, ReadTrouble> {
        let kept = self.connection.is_some();
        let mut answer = self.ask(unit_id, request, limit).await;
        // Many servers close what was idle for a while: where the next connection holds, it was no loss.
        if kept && ended(&answer) {
            answer = self.ask(unit_id, request, limit).await;
        }
        if ended(&answer) {
            self.loss_count += 1;
        }
        answer
    }

    async fn ask(&mut self, unit_id: u8, request: &ReadRequest, limit: Duration) -> Result<Answer, ReadTrouble> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let connection = self.connect(limit).await?;
                self.connection.insert(connection.owed_before(std::mem::take(&mut self.overdue)))
            }
        };
        let answer = connection.read(unit_id, request, limit).await;
        if let Some(spent) = self.connection.take_if(|connection| !connection.usable()) {
            self.overdue = spent.into_overdue();
        }
        answer
    }

    async fn connect(&mut self, limit: Duration) -> Result<Connection, Unreachable> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(Unreachable::Waiting);
        }
        match Connection::open(&self.address, &self.settings, limit).await {
            Ok(connection) => {
                self.backoff.reset();
                self.retry_at = None;
                Ok(connection)
            }
            Err(reason) => {
                self.retry_at = Some(Instant::now() + self.backoff.after_failure(rand::random()));
                self.loss_count += 1;
                Err(reason)
            }
        }
    }
}

fn ended(answer: &Result<Answer, ReadTrouble>) -> bool {
    matches!(answer, Err(ReadTrouble::Closed | ReadTrouble::Broken(_)))
}
