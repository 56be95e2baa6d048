//! What the committing core needs of the database. The simulation brings one that forgets what was not committed.

use store::{LogPosition, RefusedMessage, Store, StoreError};
use tokio::runtime::Handle;
use wire::identity::IdentityKey;
use wire::report::ContentDigest;

pub trait Ledger: Send + 'static {
    /// Where the facts stand: everything in the log before is taken in.
    fn position(&mut self) -> Result<LogPosition, StoreError>;
    /// What was accepted under these identities, as far as a checkpoint holds it.
    fn find_identities(&mut self, keys: &[IdentityKey]) -> Result<Vec<(IdentityKey, ContentDigest)>, StoreError>;
    /// The highest number of a boot that a checkpoint holds; 0 for none.
    fn highest_sequence(&mut self, gateway: &str, boot: &str) -> Result<u64, StoreError>;
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

    fn find_identities(&mut self, keys: &[IdentityKey]) -> Result<Vec<(IdentityKey, ContentDigest)>, StoreError> {
        self.runtime.block_on(self.store.find_identities(keys))
    }

    fn highest_sequence(&mut self, gateway: &str, boot: &str) -> Result<u64, StoreError> {
        self.runtime.block_on(self.store.highest_sequence(gateway, boot))
    }

    fn quarantine(&mut self, refused: &[RefusedMessage<'_>]) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.quarantine(refused))
    }
}
