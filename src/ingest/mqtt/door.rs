//! Listening and accepting.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use observe::{Health, Metrics, Part};
use store::{ServiceKeys, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use wire::limits::{ENVELOPE_BYTES_MAX, REPORT_BYTES_MAX};

use super::opening::Opening;
use super::sessions::Sessions;
use crate::intake::Intake;
use crate::receipts::{Receipts, Settlings};

/// How often sessions that are over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct DoorOptions {
    pub connections_max: usize,
    /// From accepting to the whole CONNECT.
    pub connect_timeout: Duration,
    /// A packet that has begun must come whole within this time, and an answer be taken.
    pub stall_timeout: Duration,
    /// QoS 1 publishes of one connection that may wait for their PUBACK.
    pub receive_maximum: NonZeroU16,
    /// Where a client asks for no keep alive, or a longer one.
    pub keep_alive_max_s: u16,
    /// Where a client asks for its session to be kept longer.
    pub session_expiry_max_s: u32,
}

impl Default for DoorOptions {
    fn default() -> Self {
        DoorOptions {
            connections_max: 16_000,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            receive_maximum: NonZeroU16::MIN.saturating_add(999),
            keep_alive_max_s: 600,
            session_expiry_max_s: 4 * 3600,
        }
    }
}

impl DoorOptions {
    /// A report, its envelope, its topic, and the packet's own fields.
    pub(crate) fn packet_bytes_max(&self) -> u32 {
        (REPORT_BYTES_MAX + ENVELOPE_BYTES_MAX + 1024) as u32
    }
}

/// Everything that a connection needs.
#[derive(Clone)]
pub struct Door {
    pub(crate) intake: Intake,
    pub(crate) sessions: Sessions,
    pub(crate) settlings: Settlings,
    pub(crate) metrics: Metrics,
    pub(crate) options: DoorOptions,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Door {
    pub fn new(intake: Intake, feeds: &crate::Feeds, metrics: Metrics, options: DoorOptions, stopping: watch::Receiver<bool>) -> Door {
        Door { intake, sessions: feeds.sessions(), settlings: Settlings::default(), metrics, options, stopping }
    }

    /// Who writes receipts for this door's gateways.
    pub fn receipts(&self, store: Store, keys: ServiceKeys, every: Duration) -> Receipts {
        Receipts { store, intake: self.intake.clone(), keys, sessions: self.sessions.clone(), settlings: self.settlings.clone(), every }
    }

    /// Accepts until told to stop. Each connection is a task of its own: a fault in one ends that one only.
    pub async fn listen(mut self, listener: TcpListener, health: Health) {
        let places = Arc::new(Semaphore::new(self.options.connections_max));
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = sweep.tick() => {
                    self.sessions.sweep(Instant::now());
                    continue;
                }
                _ = self.stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    health.works(Part::MqttDoor);
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        self.metrics.connections_ended.with_label_values(&["too_many"]).inc();
                        continue;
                    };
                    let door = self.clone();
                    tokio::spawn(async move {
                        let _open = door.metrics.connection_open();
                        door.serve(stream, peer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    health.fails(Part::MqttDoor, error.to_string());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Serves one connection and counts how it ended.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Small answers should not wait for more; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let reason = match Opening::new(self, Box::new(stream)).run().await {
            Ok(connection) => connection.run().await.as_str(),
            Err(reason) => reason,
        };
        self.metrics.connections_ended.with_label_values(&[reason]).inc();
        tracing::debug!(%peer, reason, "mqtt connection ended");
    }
}
