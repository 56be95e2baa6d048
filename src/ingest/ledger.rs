//! What the committing core needs of the database. The simulation brings one that forgets what was not committed.

use store::{LogPosition, RefusedMessage, Store, StoreError};
use tally::{Boot, Claim, Ranges};
use tokio::runtime::Handle;
use wire::identity::IdentityKey;

pub trait Ledger: Send + 'static {
    /// Where the facts stand: everything in the log before is taken in.
    fn position(&mut self) -> Result<LogPosition, StoreError>;
    /// Which numbers of a boot a checkpoint holds.
    fn ranges_of_boot(&mut self, boot: Boot<'_>) -> Result<Ranges, StoreError>;
    /// What a checkpoint holds under these numbers of boots, in their order.
    fn find_numbers(&mut self, asked: &[(Boot<'_>, u64)]) -> Result<Vec<Option<Claim>>, StoreError>;
    /// What a checkpoint holds under these ids, in their order.
    fn find_ids(&mut self, asked: &[IdentityKey]) -> Result<Vec<Option<Claim>>, StoreError>;
    /// Keeps refused messages, durably.
    fn quarantine(&mut self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError>;
}

/// The store's database, asked from the committing thread.
pub(crate) struct SqlLedger {
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
}

impl Ledger for SqlLedger {
    fn position(&mut self) -> Result<LogPosition, StoreError> {
        self.runtime.block_on(self.store.checkpoint_position())
    }

    fn ranges_of_boot(&mut self, boot: Boot<'_>) -> Result<Ranges, StoreError> {
        self.runtime.block_on(self.store.ranges_of_boot(boot))
    }

    fn find_numbers(&mut self, asked: &[(Boot<'_>, u64)]) -> Result<Vec<Option<Claim>>, StoreError> {
        self.runtime.block_on(self.store.find_numbers(asked))
    }

    fn find_ids(&mut self, asked: &[IdentityKey]) -> Result<Vec<Option<Claim>>, StoreError> {
        self.runtime.block_on(self.store.find_ids(asked))
    }

    fn quarantine(&mut self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.quarantine(refused))
    }
}
