//! Many senders on one thread, and what they measured together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::packets::{Protocol, Publishes};
use super::process::{Cost, Costs, Process};
use super::sender::{Measured, Plan, Sender, connect};
use super::window::Window;

pub(super) struct Fleet {
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) plans: Vec<Plan>,
    pub(super) seconds: f64,
    /// A subscriber, with QoS 0, to this.
    pub(super) subscribe: Option<&'static str>,
    /// Whose processor time is to be told, beside our own.
    pub(super) served_by: Option<Process>,
}

pub(super) struct Ran {
    /// By sender, in the order of the plans.
    pub(super) each: Vec<Measured>,
    pub(super) seconds: f64,
    /// What the subscriber had received by the end of the window.
    pub(super) relayed: u64,
    pub(super) cost: Cost,
}

impl Fleet {
    pub(super) fn run(self) -> Result<Ran> {
        one_thread()?.block_on(self.work())
    }

    async fn work(self) -> Result<Ran> {
        let subscriber = match self.subscribe {
            Some(filter) => Some(subscribe(self.address, self.protocol, filter).await.context("subscribing")?),
            None => None,
        };
        let mut connected = Vec::new();
        for plan in self.plans {
            let named = plan.client_id.clone();
            connected.push(Sender::connect(self.address, self.protocol, plan).await.with_context(|| format!("connecting as {named}"))?);
        }
        let costs = Costs::from_now(self.served_by);
        let window = Window::of(Duration::from_secs_f64(self.seconds));
        let listening = subscriber.map(|stream| tokio::spawn(listen(stream, window.clone())));
        let sending: Vec<_> = connected.into_iter().map(|connected| tokio::spawn(connected(window.clone()).run())).collect();
        let mut each = Vec::new();
        for sender in sending {
            each.push(sender.await??);
        }
        let relayed = match listening {
            Some(listening) => listening.await??,
            None => 0,
        };
        Ok(Ran { each, seconds: window.length().as_secs_f64(), relayed, cost: costs.until_now() })
    }
}

/// Sending on one thread costs least: nobody wakes another.
pub(super) fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn subscribe(address: SocketAddr, protocol: Protocol, filter: &str) -> std::io::Result<TcpStream> {
    let mut stream = connect(address, &protocol.connect("subscriber", "subscriber", "")).await?;
    stream.write_all(&protocol.subscribe(filter)).await?;
    Ok(stream)
}

/// Takes everything that comes; counts what came before the window ended.
async fn listen(stream: TcpStream, window: Window) -> std::io::Result<u64> {
    let mut publishes = Publishes::default();
    let mut input = vec![0; 1 << 20];
    loop {
        tokio::select! {
            ready = stream.readable() => ready?,
            () = tokio::time::sleep_until(window.end().into()) => return Ok(publishes.count),
        }
        match stream.try_read(&mut input) {
            Ok(0) => return Ok(publishes.count),
            Ok(_) if Instant::now() > window.end() => return Ok(publishes.count),
            Ok(count) => publishes.take(&input[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
