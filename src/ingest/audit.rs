//! Carries entries of the audit log, which any process may write into the database, to the committing thread.

use std::sync::mpsc::Sender as Commands;
use std::time::Duration;

use store::Store;
use tokio::sync::oneshot;

use crate::commit::Command;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs until the committing thread has ended.
pub(crate) async fn carry(store: Store, commands: Commands<Command>) {
    // Everything up to here stands in the log, though no checkpoint may have noted it yet.
    let mut carried = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        loop {
            let entries = match store.pending_audit(carried).await {
                Ok(entries) => entries,
                Err(_) if store.closed() => return,
                Err(error) => {
                    tracing::warn!(%error, "the audit log cannot be read; it is tried again");
                    break;
                }
            };
            let Some(last) = entries.last().map(|entry| entry.id) else { break };
            let (done, written) = oneshot::channel();
            if commands.send(Command::Audit(entries, done)).is_err() {
                return;
            }
            match written.await {
                Ok(true) => carried = last,
                Ok(false) => break,
                Err(_) => return,
            }
        }
    }
}
