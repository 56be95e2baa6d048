//! Asks gently: so many questions a second, so many in all, and waits no longer for an answer than this machine has shown to need.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::reader::{Reader, Trouble};
use crate::point::{Block, Table};

/// Nobody is taken for silent sooner.
const LIMIT_MIN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// The longest wait for one answer.
    pub(super) timeout: Duration,
    /// From one question to the next.
    pub(super) pause: Duration,
    pub(super) questions_max: u32,
    pub(super) time_max: Duration,
}

pub(super) struct Asker<R> {
    reader: R,
    manners: Manners,
    asked: u32,
    until: Instant,
    next_at: Instant,
    slowest: Option<Duration>,
    /// A multiple of the usual wait, for a second look.
    pub(super) patience: u32,
}

impl<R: Reader> Asker<R> {
    pub(super) fn new(reader: R, manners: Manners) -> Asker<R> {
        let now = Instant::now();
        Asker { reader, manners, asked: 0, until: now + manners.time_max, next_at: now, slowest: None, patience: 1 }
    }

    pub(super) fn asked(&self) -> u32 {
        self.asked
    }

    #[cfg(test)]
    pub(super) fn into_reader(self) -> R {
        self.reader
    }

    /// How long somebody unknown is waited for.
    fn limit(&self) -> Duration {
        let usual = self.slowest.map_or(LIMIT_MIN * 2, |slowest| slowest * 3 + LIMIT_MIN / 2).max(LIMIT_MIN);
        (usual * self.patience).min(self.manners.timeout)
    }

    async fn turn(&mut self) -> Result<(), Trouble> {
        if self.asked >= self.manners.questions_max || Instant::now() >= self.until {
            return Err(Trouble::Spent);
        }
        self.asked += 1;
        sleep_until(self.next_at).await;
        self.next_at = Instant::now() + self.manners.pause;
        Ok(())
    }

    fn learn(&mut self, began: Instant, trouble: Option<&Trouble>) {
        // A gateway's word that somebody doesn't answer comes after its own wait: it says how long that is.
        if matches!(trouble, None | Some(Trouble::Exception(_))) {
            let took = began.elapsed();
            // One slow answer among quick ones is forgotten in time.
            self.slowest = Some(self.slowest.map_or(took, |slowest| took.max(slowest.mul_f64(0.99))));
        }
    }

    /// Asks once.
    pub(super) async fn call(&mut self, unit_id: u8, table: Table, address: u16, quantity: u16) -> Result<Block, Trouble> {
        self.turn().await?;
        let (began, limit) = (Instant::now(), self.limit());
        let answer = self.reader.read(unit_id, table, address, quantity, limit).await;
        self.learn(began, answer.as_ref().err());
        answer
    }

    /// Asks a machine that is known to be there: silence and a lost connection are looked at twice.
    pub(super) async fn read(&mut self, unit_id: u8, table: Table, address: u16, quantity: u16) -> Result<Block, Trouble> {
        match self.call(unit_id, table, address, quantity).await {
            Err(Trouble::Silent | Trouble::Closed) => {}
            answer => return answer,
        }
        self.turn().await?;
        let began = Instant::now();
        let answer = self.reader.read(unit_id, table, address, quantity, self.manners.timeout).await;
        self.learn(began, answer.as_ref().err());
        answer
    }

    pub(super) async fn identify(&mut self, unit_id: u8) -> Option<Vec<(u8, String)>> {
        self.turn().await.ok()?;
        self.reader.identify(unit_id, self.limit() * 2).await.ok().filter(|objects| !objects.is_empty())
    }
}
