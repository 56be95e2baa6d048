//! Answers Modbus requests for simulated machines, as real ones do: reads of what is there, exceptions for all else.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::server::{Service, rtu, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_serial::SerialStream;

use crate::point::{Block, Table};
use crate::simulate::machine::{Machine, Refusal, VENDOR};

/// Where machines are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(String),
    RtuOverTcp(String),
    Rtu(String),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let rest = |scheme: &str| text.strip_prefix(scheme).filter(|rest| !rest.is_empty()).map(str::to_string);
        rest("tcp://")
            .map(Listen::Tcp)
            .or_else(|| rest("rtu+tcp://").map(Listen::RtuOverTcp))
            .or_else(|| rest("rtu://").map(Listen::Rtu))
            .ok_or_else(|| "write tcp://HOST:PORT, rtu+tcp://HOST:PORT or rtu:///dev/ttyUSB0".to_string())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(host) => write!(f, "tcp://{host}"),
            Listen::RtuOverTcp(host) => write!(f, "rtu+tcp://{host}"),
            Listen::Rtu(port) => write!(f, "rtu://{port}"),
        }
    }
}

/// What time it is for the machines: now, or always the same instant.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime(pub Option<DateTime<Utc>>);

impl MachineTime {
    fn now(self) -> DateTime<Utc> {
        self.0.unwrap_or_else(|| SystemTime::now().into())
    }
}

/// The machines behind one address, by unit id.
#[derive(Clone)]
pub struct Bus {
    pub machines: Arc<Vec<(u8, Machine)>>,
    pub time: MachineTime,
    /// On a line nobody answers for a unit that is not there; a gateway on TCP says so.
    pub line: bool,
}

impl Service for Bus {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, SlaveRequest { slave, request }: Self::Request) -> Self::Future {
        let machine = self.machines.iter().find(|(unit_id, _)| *unit_id == slave);
        ready(match machine {
            Some((_, machine)) => answer(machine, &request, self.time.now()).map(Some),
            None if self.line => Ok(None),
            None => Err(ExceptionCode::GatewayTargetDevice),
        })
    }
}

fn answer(machine: &Machine, request: &Request<'_>, at: DateTime<Utc>) -> Result<Response, ExceptionCode> {
    if let Request::ReadDeviceIdentification(read_code, object) = *request
        && machine.identifies
    {
        return identity(machine, read_code, object);
    }
    answer_read(request, |table, address, quantity| {
        machine.read(table, address, quantity, at).map_err(|refusal| match refusal {
            Refusal::IllegalAddress => ExceptionCode::IllegalDataAddress,
            Refusal::IllegalQuantity => ExceptionCode::IllegalDataValue,
        })
    })
}

/// Answers requests of the function codes 1 to 4 from what `read` finds. Nothing else can be asked for: no simulated machine can be changed.
pub fn answer_read(
    request: &Request<'_>,
    read: impl FnOnce(Table, u16, u16) -> Result<Block, ExceptionCode>,
) -> Result<Response, ExceptionCode> {
    let (table, address, quantity) = match *request {
        Request::ReadCoils(address, quantity) => (Table::Coil, address, quantity),
        Request::ReadDiscreteInputs(address, quantity) => (Table::Discrete, address, quantity),
        Request::ReadInputRegisters(address, quantity) => (Table::Input, address, quantity),
        Request::ReadHoldingRegisters(address, quantity) => (Table::Holding, address, quantity),
        _ => return Err(ExceptionCode::IllegalFunction),
    };
    match (table, read(table, address, quantity)?) {
        (Table::Coil, Block::Bits(bits)) => Ok(Response::ReadCoils(bits)),
        (Table::Discrete, Block::Bits(bits)) => Ok(Response::ReadDiscreteInputs(bits)),
        (Table::Input, Block::Words(words)) => Ok(Response::ReadInputRegisters(words)),
        (Table::Holding, Block::Words(words)) => Ok(Response::ReadHoldingRegisters(words)),
        _ => Err(ExceptionCode::ServerDeviceFailure),
    }
}

/// Objects 0 to 2 are the basic ones, 4 and 5 the names of the product and of the model; from 128 on each vendor has its own.
fn identity(machine: &Machine, read_code: ReadCode, object: u8) -> Result<Response, ExceptionCode> {
    let Machine { model, serial, .. } = machine;
    let version = env!("CARGO_PKG_VERSION");
    let objects = [(0, VENDOR), (1, model), (2, version), (4, "simulated machine"), (5, model), (128, serial)];
    let wanted = |id: u8| match read_code {
        ReadCode::Basic => (object..=2).contains(&id),
        ReadCode::Regular => (object..128).contains(&id),
        ReadCode::Extended => id >= object,
        ReadCode::Specific => id == object,
    };
    let device_id_objects: Vec<DeviceIdObject> = objects
        .into_iter()
        .filter(|(id, _)| wanted(*id))
        .map(|(id, said)| DeviceIdObject { id, value: said.as_bytes().to_vec().into() })
        .collect();
    if device_id_objects.is_empty() {
        return Err(ExceptionCode::IllegalDataAddress);
    }
    Ok(Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
        read_code,
        conformity_level: ConformityLevel::ExtendedIdentification,
        more_follows: false,
        next_object_id: 0,
        device_id_objects,
    }))
}

/// An address that is already taken: machines are served there once `serve` runs.
pub enum Door {
    Tcp(TcpListener),
    RtuOverTcp(TcpListener),
    Rtu { port: String, baud: u32 },
}

impl Door {
    pub async fn open(listen: &Listen, baud: u32) -> io::Result<Door> {
        Ok(match listen {
            Listen::Tcp(host) => Door::Tcp(TcpListener::bind(host.as_str()).await?),
            Listen::RtuOverTcp(host) => Door::RtuOverTcp(TcpListener::bind(host.as_str()).await?),
            Listen::Rtu(port) => {
                drop(open_serial(port, baud)?);
                Door::Rtu { port: port.clone(), baud }
            }
        })
    }

    /// What a configuration calls it.
    pub fn address(&self) -> io::Result<String> {
        let (scheme, listener) = match self {
            Door::Tcp(listener) => ("tcp", listener),
            Door::RtuOverTcp(listener) => ("rtu+tcp", listener),
            Door::Rtu { port, .. } => return Ok(format!("rtu://{port}")),
        };
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        Ok(format!("{scheme}://{address}"))
    }

    /// Answers until the address fails.
    pub async fn serve(self, bus: Bus) -> io::Result<()> {
        // A connection that ends is the client's affair.
        let failed = |_: io::Error| {};
        match self {
            Door::Tcp(listener) => tcp::Server::new(listener).serve(&async |stream, _| Ok(Some((bus.clone(), stream))), failed).await,
            Door::RtuOverTcp(listener) => {
                rtu_over_tcp::Server::new(listener).serve(&async |stream, _| Ok(Some((bus.clone(), stream))), failed).await
            }
            Door::Rtu { port, baud } => loop {
                // Noise on the line ends the server; the next request finds a new one.
                let _ = rtu::Server::new(open_serial(&port, baud)?).serve_forever(bus.clone()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
        }
    }
}

fn open_serial(port: &str, baud: u32) -> io::Result<SerialStream> {
    Ok(SerialStream::open(&tokio_serial::new(port, baud))?)
}
