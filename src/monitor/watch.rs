//! Judging by itself: waits for what may change judgements, lets the schedule decide, and judges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policy::register::Register;
use store::RefusalRevision;
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;

use crate::batch::Round;
use crate::run::{JudgeError, Monitor};
use crate::schedule::{Effect, Event, Schedule};

/// Judges whatever may have changed, looking for changes `every` so often.
pub async fn watch(monitor: Monitor, every: Duration, mut stopping: channel::Receiver<bool>) {
    let mut watched = Watched::new(&monitor, every);
    loop {
        let now = monitor.parts().clock.now();
        let wake = (watched.schedule.wake_at() - now).to_std().unwrap_or(Duration::ZERO).min(every);
        let ended = tokio::select! {
            // A moment that has come already must not turn this into a busy loop.
            () = tokio::time::sleep(wake.max(every / 10)) => None,
            ended = Watched::ended(&mut watched.round) => Some(ended),
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => return,
        };
        let events = match ended {
            Some(ended) => vec![ended],
            None => watched.changes(&monitor).await,
        };
        for event in events {
            for Effect::Judge(vouchers) in watched.schedule.apply(event, monitor.parts().clock.now()) {
                let monitor = monitor.clone();
                let asked = vouchers.clone();
                let round = tokio::spawn(async move { monitor.judge_round(vouchers, None).await });
                watched.round = Some((asked, round));
            }
        }
    }
}

/// The vouchers that a round was asked for, and the round.
type UnderWay = Option<(BTreeSet<String>, JoinHandle<Result<Round, JudgeError>>)>;

struct Watched {
    schedule: Schedule,
    register: Arc<Register>,
    refusals: RefusalRevision,
    round: UnderWay,
}

impl Watched {
    fn new(monitor: &Monitor, every: Duration) -> Watched {
        let register = monitor.parts().register.register();
        let schedule = Schedule::new(register.clone(), every, monitor.parts().clock.now());
        Watched { schedule, register, refusals: RefusalRevision::default(), round: None }
    }

    /// What has changed since the last look.
    async fn changes(&mut self, monitor: &Monitor) -> Vec<Event> {
        let mut events = Vec::new();
        let parts = monitor.parts();
        if let Err(error) = parts.register.refresh().await {
            tracing::warn!(%error, "the register could not be looked at; it is tried again");
        }
        let register = parts.register.register();
        if !Arc::ptr_eq(&register, &self.register) {
            self.register = register.clone();
            events.push(Event::Register(register));
        }
        let mut touched = parts.store.take_touched();
        match parts.store.refusals_since(self.refusals).await {
            Ok((refused, revision)) => {
                self.refusals = revision;
                touched.extend(refused);
            }
            Err(error) => tracing::warn!(%error, "refused messages could not be looked at; it is tried again"),
        }
        if !touched.is_empty() {
            events.push(Event::Evidence(touched));
        }
        events.push(Event::Time);
        events
    }

    /// Waits for the round that is under way; for ever where there is none.
    async fn ended(round: &mut UnderWay) -> Event {
        let Some((asked, task)) = round else { return std::future::pending().await };
        let failed = match task.await {
            Ok(Ok(Round { judged, new, failed })) => {
                tracing::info!(judged, new, failed = failed.len(), "vouchers judged");
                failed.into_iter().collect()
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "vouchers could not be judged; it is tried again");
                asked.clone()
            }
            Err(error) => {
                tracing::error!(%error, "judging broke down; it is tried again");
                asked.clone()
            }
        };
        *round = None;
        Event::Ended { failed }
    }
}
