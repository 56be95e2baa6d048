//! The spool, shared by the task that fills it and the task that empties it. Disk work runs on threads made for blocking.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::spool::Spool;

#[derive(Clone)]
pub struct SharedSpool {
    spool: Arc<Mutex<Spool>>,
    filled: Arc<Notify>,
}

impl SharedSpool {
    pub fn new(spool: Spool) -> SharedSpool {
        SharedSpool { spool: Arc::new(Mutex::new(spool)), filled: Arc::new(Notify::new()) }
    }

    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let spool = self.spool.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(io::Error::other)?
    }

    /// There is something new to send.
    pub fn fill_notify(&self) {
        self.filled.notify_one();
    }

    pub async fn filled(&self) {
        self.filled.notified().await;
    }
}
