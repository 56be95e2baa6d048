//! What the service manager hears of the agent: started, alive, stopping.
//!
//! The agent is alive while the loops turn that report and deliver. Each has a `Pulse` and beats it each time round; the sign of life is left out
//! as soon as one of them was silent for too long, and the service manager then starts the agent anew. The words are those of
//! sd_notify(3); without a service manager nothing is said.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::shared::SharedSpool;

/// A loop that waits beats so often, or more often where the service manager asks for it.
const BEAT: Duration = Duration::from_secs(5);

/// The loops of the agent, as the watchdog sees them.
pub struct Heartbeat {
    began: Instant,
    every: Duration,
    pulses: Vec<Pulse>,
}

/// The sign of life of one loop.
#[derive(Clone)]
pub struct Pulse {
    name: &'static str,
    began: Instant,
    every: Duration,
    beat_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    fn new(every: Duration) -> Heartbeat {
        Heartbeat { began: Instant::now(), every, pulses: Vec::new() }
    }

    /// A new loop, which counts as alive now.
    pub fn pulse(&mut self, name: &'static str) -> Pulse {
        let pulse = Pulse { name, began: self.began, every: self.every, beat_ms: Arc::default() };
        pulse.beat();
        self.pulses.push(pulse.clone());
        pulse
    }

    /// The loops that have not beaten within `limit`.
    fn silent(&self, limit: Duration) -> Vec<&'static str> {
        self.pulses.iter().filter(|pulse| pulse.silence() > limit).map(|pulse| pulse.name).collect()
    }
}

impl Pulse {
    /// The loop has come round.
    pub fn beat(&self) {
        self.beat_ms.store(milliseconds(self.began.elapsed()), Ordering::Relaxed);
    }

    /// Until the next beat is due.
    pub async fn due(&self) {
        sleep(self.every).await;
    }

    /// Waits, and beats meanwhile: for waiting that may last as long as it likes.
    pub async fn during<T>(&self, waiting: impl Future<Output = T>) -> T {
        tokio::pin!(waiting);
        loop {
            self.beat();
            tokio::select! {
                done = &mut waiting => return done,
                () = self.due() => {}
            }
        }
    }

    fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }
}

/// The way to the service manager; without one it says nothing.
#[derive(Clone, Default)]
pub struct Watchdog {
    socket: Option<SocketAddr>,
    /// The agent is started anew after so long without a sign of life.
    limit: Option<Duration>,
}

impl Watchdog {
    /// As the service manager gave it to this process.
    pub fn from_environment() -> Watchdog {
        Watchdog::from_variables(std::process::id(), |name| std::env::var_os(name))
    }

    pub fn from_variables(process_id: u32, variable: impl Fn(&str) -> Option<OsString>) -> Watchdog {
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|wanted| wanted == u64::from(process_id));
        let limit = number("WATCHDOG_USEC").filter(|limit_us| *limit_us > 0 && for_us).map(Duration::from_micros);
        let socket = variable("NOTIFY_SOCKET")
            .and_then(|name| address(&name).inspect_err(|error| tracing::warn!(%error, "the service manager's socket is not usable")).ok());
        Watchdog { socket, limit }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(self.limit.map_or(BEAT, |limit| BEAT.min(limit / 8)))
    }

    pub fn ready(&self) {
        self.say("READY=1");
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    /// Says in regular intervals that the agent lives, and how much waits, while every loop does turn. Never ends.
    pub async fn watch(self, heartbeat: Heartbeat, spool: SharedSpool) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        let mut silent_before = Vec::new();
        loop {
            let silent = heartbeat.silent(limit / 2);
            if silent.is_empty() {
                self.say("WATCHDOG=1");
            } else if silent != silent_before {
                tracing::error!(loops = ?silent, "a part of the agent does not answer; the service manager will start the agent anew");
            }
            silent_before = silent;
            if let Ok(count) = spool.with(|spool| Ok(spool.unsettled_count())).await {
                self.say(&format!("STATUS=reporting; {count} reports wait for acknowledgement"));
            }
            sleep(limit / 4).await;
        }
    }

    fn say(&self, words: &str) {
        let Some(socket) = &self.socket else { return };
        let said = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            from.send_to_addr(words.as_bytes(), socket)
        });
        if let Err(error) = said {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// A path, or with a leading `@` a name that is in no file system.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
