//! Gateways that are connected and send nothing.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::packets::Protocol;
use super::sender::connect;

/// Descriptors that are needed beside those of the connections.
const DESCRIPTORS_BESIDE: u64 = 1_000;

/// As long as it lives, they are connected.
pub(super) struct Idle {
    pub(super) connections: Vec<TcpStream>,
    /// Streams belong to it.
    _runtime: tokio::runtime::Runtime,
}

impl Idle {
    pub(super) fn connect(address: SocketAddr, protocol: Protocol, ids: &[String], token: &str) -> Result<Idle> {
        let runtime = super::fleet::one_thread()?;
        let connections = runtime.block_on(async {
            let mut connections = Vec::with_capacity(ids.len());
            for id in ids {
                let connected = connect(address, &protocol.connect(id, id, token)).await;
                connections.push(connected.with_context(|| format!("connecting {id}, after {} others", connections.len()))?);
            }
            anyhow::Ok(connections)
        })?;
        Ok(Idle { connections, _runtime: runtime })
    }
}

/// Allows this process, and those that it starts, so many open connections.
pub(super) fn allow_connections(count: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = count + DESCRIPTORS_BESIDE;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(maximum) })
        .with_context(|| format!("{wanted} open files are needed: raise the limit (ulimit -n)"))
}
