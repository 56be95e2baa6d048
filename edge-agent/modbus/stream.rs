//! Ways to a bus: TCP, TLS, a serial port.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_serial::{DataBits, ErrorKind, SerialStream, StopBits};

use super::tls;
use super::trouble::Unreachable;
use crate::bus::{Address, BusSettings, Parity};

/// Whatever carries bytes to machines and back.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A stream to what answers at an address.
pub(super) async fn open(address: &Address, settings: &BusSettings, limit: Duration) -> Result<Box<dyn Transport>, Unreachable> {
    let opened = async {
        let stream: Box<dyn Transport> = match address {
            Address::Tcp { host, port } | Address::RtuOverTcp { host, port } => Box::new(tcp(host, *port).await?),
            Address::Tls { host, port } => {
                let config = tls::config(settings).await?;
                let stream = tcp(host, *port).await?;
                Box::new(tls::handshake(config, settings.server_name.as_deref().unwrap_or(host), stream).await?)
            }
            Address::Rtu { port } => Box::new(serial(port, settings)?),
        };
        Ok(stream)
    };
    timeout(limit, opened).await.unwrap_or(Err(Unreachable::Timeout))
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Unreachable> {
    let mut failure = Unreachable::Dns;
    for address in lookup_host((host, port)).await.map_err(|_| Unreachable::Dns)? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and wait for their answers: nothing is gained by collecting them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = Unreachable::of(&error),
        }
    }
    Err(failure)
}

fn serial(port: &str, settings: &BusSettings) -> Result<SerialStream, Unreachable> {
    let builder = tokio_serial::new(port, settings.baud)
        .data_bits(if settings.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .stop_bits(if settings.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .parity(match settings.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        });
    SerialStream::open(&builder).map_err(|error| match error.kind() {
        ErrorKind::NoDevice => Unreachable::PortBusy,
        ErrorKind::Io(std::io::ErrorKind::NotFound) => Unreachable::PortMissing,
        ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => Unreachable::PortDenied,
        _ => Unreachable::Other(error.to_string()),
    })
}
