//! Tasks that go on: one that panics is said, and begun anew.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// What panics at once each time shall not fill the log.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs what `begin` makes until it ends. Dropping this ends it too.
pub(crate) async fn kept_going<F>(what: String, begin: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut task = JoinSet::new();
    loop {
        task.spawn(begin());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(what, %error, "a part of the agent failed; it begins anew, please tell the makers");
                sleep(AGAIN).await;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_until_it_ends_of_itself() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        kept_going("test".into(), move || {
            let count = count.clone();
            async move { assert!(count.fetch_add(1, Ordering::Relaxed) == 2, "this panic is meant") }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn dropping_it_ends_the_task() {
        let (held, running) = (Arc::new(()), Arc::new(Notify::new()));
        let (inside, told) = (held.clone(), running.clone());
        let kept = tokio::spawn(kept_going("test".into(), move || {
            let (inside, told) = (inside.clone(), told.clone());
            async move {
                let _inside = inside;
                told.notify_one();
                std::future::pending::<()>().await;
            }
        }));
        running.notified().await;
        kept.abort();
        assert!(kept.await.unwrap_err().is_cancelled());
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
