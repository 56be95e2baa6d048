//! Work for every core: each thread does what comes next, and hands an answer over as soon as there is one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{Receiver, channel};

use crate::batch::{FactsAtHand, Grounds};
use crate::run::JudgeError;

/// Answers that wait to be taken.
const WAITING_MAX: usize = 64;

/// Does all tasks, and gives the answers in the order of the tasks.
pub(crate) async fn on_every_core<T, A>(
    grounds: Grounds,
    tasks: Vec<T>,
    work: impl Fn(&Grounds, &mut FactsAtHand, &T) -> Result<A, JudgeError> + Send + Sync + 'static,
) -> Vec<Result<A, JudgeError>>
where
    T: Send + Sync + 'static,
    A: Send + 'static,
{
    let mut answers: Vec<Option<Result<A, JudgeError>>> = tasks.iter().map(|_| None).collect();
    let mut coming = answers_as_they_come(grounds, tasks, work);
    while let Some((at, answer)) = coming.recv().await {
        answers[at] = Some(answer);
    }
    answers.into_iter().map(|answer| answer.unwrap_or(Err(JudgeError::Stopped))).collect()
}

/// Does all tasks; each answer comes with its task's place. A task that panics is answered with an error, and the others go on.
pub(crate) fn answers_as_they_come<T, A>(
    grounds: Grounds,
    tasks: Vec<T>,
    work: impl Fn(&Grounds, &mut FactsAtHand, &T) -> Result<A, JudgeError> + Send + Sync + 'static,
) -> Receiver<(usize, Result<A, JudgeError>)>
where
    T: Send + Sync + 'static,
    A: Send + 'static,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let shared = Arc::new((grounds, tasks, work, AtomicUsize::new(0)));
    let (answers, coming) = channel(WAITING_MAX);
    for _ in 0..threads {
        let (shared, answers) = (shared.clone(), answers.clone());
        tokio::task::spawn_blocking(move || {
            let (grounds, tasks, work, next) = &*shared;
            let mut facts = FactsAtHand::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(at) else { return };
                let answer = catch_unwind(AssertUnwindSafe(|| work(grounds, &mut facts, task))).unwrap_or_else(|_| {
                    facts = FactsAtHand::default();
                    Err(JudgeError::Panicked)
                });
                if answers.blocking_send((at, answer)).is_err() {
                    return;
                }
            }
        });
    }
    coming
}
