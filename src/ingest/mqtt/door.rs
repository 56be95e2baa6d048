//! Listening and accepting.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use observe::{Health, Metrics, Part};
use store::{ServiceKeys, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::limits::{ENVELOPE_BYTES_MAX, REPORT_BYTES_MAX};

use super::connection::Connection;
use super::handshake::shake_hands;
use super::opening::Opening;
use super::sessions::Sessions;
use super::stream::Stream;
use super::tls::Tls;
use crate::intake::Intake;
use crate::places::{Full, Places};
use crate::receipts::{Receipts, Settlings};
use crate::whereabouts::Whereabouts;

/// How often sessions that are over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct DoorOptions {
    pub connections_max: usize,
    pub connections_of_address_max: usize,
    /// TLS handshakes under way; a quarter of them for one address.
    pub handshakes_max: usize,
    pub handshake_timeout: Duration,
    /// From accepting, or the end of the handshake, to the whole CONNECT.
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
            connections_of_address_max: 12_000,
            handshakes_max: 1_000,
            handshake_timeout: Duration::from_secs(10),
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
pub struct Door {
    pub(crate) intake: Intake,
    pub(crate) sessions: Sessions,
    pub(crate) settlings: Settlings,
    pub(crate) metrics: Metrics,
    pub(crate) options: DoorOptions,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) whereabouts: Whereabouts,
    health: Health,
    /// Connections of either kind.
    places: Places,
    /// Those whose CONNECT has not been accepted yet: never more than half, so that strangers leave room for others.
    openings: Places,
    handshakes: Places,
}

impl Door {
    pub fn new(
        intake: Intake,
        feeds: &crate::Feeds,
        metrics: Metrics,
        health: Health,
        whereabouts: Whereabouts,
        options: DoorOptions,
        stopping: watch::Receiver<bool>,
    ) -> Arc<Door> {
        let DoorOptions { connections_max, connections_of_address_max, handshakes_max, .. } = options;
        Arc::new(Door {
            intake,
            sessions: feeds.sessions(),
            settlings: Settlings::default(),
            metrics,
            options,
            stopping,
            whereabouts,
            health,
            places: Places::new(connections_max, connections_of_address_max),
            openings: Places::new(connections_max / 2, connections_of_address_max / 2),
            handshakes: Places::new(handshakes_max, handshakes_max / 4),
        })
    }

    /// Who writes receipts for this door's gateways.
    pub fn receipts(&self, store: Store, keys: ServiceKeys, every: Duration) -> Receipts {
        Receipts { store, intake: self.intake.clone(), keys, sessions: self.sessions.clone(), settlings: self.settlings.clone(), every }
    }

    /// Accepts until told to stop, by TLS if there is any. Each connection is a task of its own: a fault in one ends that one only.
    pub async fn listen(self: Arc<Door>, listener: TcpListener, tls: Option<watch::Receiver<Arc<Tls>>>) {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.health.works(Part::MqttDoor);
                    tokio::spawn(self.clone().serve(stream, peer, tls.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.health.fails(Part::MqttDoor, error.to_string());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Ends sessions whose time is over and tells wills that are due, until told to stop.
    pub async fn tend_sessions(self: Arc<Door>) {
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => self.sessions.sweep(Instant::now()),
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Serves one connection and counts how it ended.
    async fn serve(self: Arc<Door>, stream: TcpStream, peer: SocketAddr, tls: Option<watch::Receiver<Arc<Tls>>>) {
        let _counted = PanicCounted(&self.metrics);
        let reason = match self.places.take(peer.ip()) {
            Ok(_place) => {
                let _open = self.metrics.connection_open();
                // Kept apart: connections are open for days, and should not carry the room that opening them takes.
                let opened = Box::pin(self.open(stream, peer, tls)).await;
                match opened {
                    Ok(mut connection) => connection.run().await.as_str(),
                    Err(reason) => reason,
                }
            }
            Err(Full::InAll) => "too_many",
            Err(Full::OfAddress) => "too_many_of_address",
        };
        self.metrics.connections_ended.with_label_values(&[reason]).inc();
        tracing::debug!(%peer, reason, "mqtt connection ended");
    }

    /// From the TLS handshake to the CONNACK.
    async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<watch::Receiver<Arc<Tls>>>,
    ) -> Result<Box<Connection<'_>>, &'static str> {
        let _opening = self.openings.take(peer.ip()).map_err(|_| "too_many_openings")?;
        // Small answers should not wait for more; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let (stream, trust) = match tls {
            None => (Box::new(stream) as Stream, None),
            Some(tls) => {
                let _handshake = self.handshakes.take(peer.ip()).map_err(|_| "too_many_handshakes")?;
                shake_hands(stream, &tls, self.intake.clock(), self.options.handshake_timeout).await?
            }
        };
        Opening::new(self, stream, peer.ip(), trust).run().await
    }
}

/// Counts a connection that a panic has ended; its task takes nobody else along.
struct PanicCounted<'m>(&'m Metrics);

impl Drop for PanicCounted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.with_label_values(&["connection"]).inc();
            self.0.connections_ended.with_label_values(&["panic"]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_one_connection_is_counted_and_takes_no_other_along() {
        let metrics = Metrics::new();
        let (go, gone) = tokio::sync::oneshot::channel();
        let (of_one, of_other) = (metrics.clone(), metrics.clone());
        let one = tokio::spawn(async move {
            let _open = of_one.connection_open();
            let _counted = PanicCounted(&of_one);
            panic!("a mistake of ours");
        });
        let other = tokio::spawn(async move {
            let _open = of_other.connection_open();
            let _counted = PanicCounted(&of_other);
            gone.await
        });
        assert!(one.await.unwrap_err().is_panic());
        assert_eq!(metrics.connections.get(), 1, "the other is still there");
        go.send(7).unwrap();
        assert_eq!(other.await.unwrap(), Ok(7));
        assert_eq!(metrics.panics.with_label_values(&["connection"]).get(), 1);
        assert_eq!(metrics.connections_ended.with_label_values(&["panic"]).get(), 1);
        assert_eq!(metrics.connections.get(), 0);
    }
}
