//! Polling Modbus/TCP servers: one owner task per connection, one request at a time, a timeout on each.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{ExceptionCode, Request as ModbusRequest, Response, Slave};

use crate::backoff::Backoff;
use crate::bus::{Address, BusSettings};
use crate::clock::Clock;
use crate::device::Device;
use crate::point::{Block, DecodeError, Readings, Table};
use crate::report::{Entry, Item, Quality, State};
use crate::requests::{self, Request};

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why a device gave no readings.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("no connection: {0}")]
    Unreachable(std::io::Error),
    #[error("not asked, because it was silent just now")]
    Silent,
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Broken(tokio_modbus::Error),
    #[error("exception {0:?}")]
    Exception(ExceptionCode),
    #[error("the answer does not fit the request")]
    Answer,
}

impl ReadError {
    fn offline(&self) -> bool {
        match self {
            ReadError::Exception(code) => matches!(code, ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice),
            _ => true,
        }
    }
}

/// Polls the devices behind one address for ever; ends when nobody takes the entries any more.
pub async fn poll(address: Address, _settings: BusSettings, devices: Vec<Device>, clock: Arc<dyn Clock>, items: mpsc::Sender<Item>) {
    let (host, port) = match address {
        Address::Tcp { host, port } | Address::Tls { host, port } | Address::RtuOverTcp { host, port } => (host, port),
        Address::Rtu { port } => (port, 0),
    };
    let mut connection = Connection { host, port, context: None, backoff: Backoff::new(RETRY_FIRST, RETRY_MAX), retry_at: None };
    let alone = devices.len() == 1;
    let started = Instant::now();
    let mut polled: Vec<Polled> = devices.into_iter().map(|device| Polled::new(device, started)).collect();
    while let Some(next) = polled.iter_mut().min_by_key(|polled| polled.due) {
        sleep_until(next.due).await;
        let entry = next.entry(&mut connection, alone, &*clock).await;
        next.due = (next.due + next.device.poll).max(Instant::now());
        if items.send(entry.into()).await.is_err() {
            return;
        }
    }
}

struct Polled {
    device: Device,
    requests: Vec<Request>,
    due: Instant,
    backoff: Backoff,
    /// A silent device beside others is not asked before this, so that it doesn't delay them each time.
    ask_again_at: Option<Instant>,
    failing: bool,
}

impl Polled {
    fn new(device: Device, due: Instant) -> Polled {
        let requests = requests::requests(&device.points, &device.limits);
        Polled { device, requests, due, backoff: Backoff::new(RETRY_FIRST, RETRY_MAX), ask_again_at: None, failing: false }
    }

    async fn entry(&mut self, connection: &mut Connection, alone: bool, clock: &dyn Clock) -> Entry {
        let read =
            if self.ask_again_at.is_some_and(|at| Instant::now() < at) { Err(ReadError::Silent) } else { self.read(connection).await };
        let at = clock.now();
        match &read {
            Ok(_) => {
                self.backoff.reset();
                self.ask_again_at = None;
            }
            Err(ReadError::Timeout) if !alone => self.ask_again_at = Some(Instant::now() + self.backoff.after_failure(rand::random())),
            Err(_) => {}
        }
        let failing = read.is_err();
        match &read {
            Err(error) if !self.failing => tracing::warn!(device = self.device.name, %error, "the device gives no readings"),
            Ok(_) if self.failing => tracing::info!(device = self.device.name, "the device gives readings again"),
            _ => {}
        }
        self.failing = failing;
        let entry = Entry {
            device: self.device.name.clone(),
            at,
            quality: Quality::Communication,
            state: None,
            readings: Vec::new(),
            identity: self.device.identity.clone(),
        };
        match read.and_then(|blocks| self.decode(&blocks)) {
            Ok((Quality::Normal, readings)) => {
                Entry { quality: self.device.quality(&readings), state: self.device.state(&readings), readings, ..entry }
            }
            Ok((quality, readings)) => Entry { quality, state: self.device.state(&readings), readings, ..entry },
            Err(error) => Entry { state: error.offline().then_some(State::Offline), ..entry },
        }
    }

    async fn read(&self, connection: &mut Connection) -> Result<Vec<Block>, ReadError> {
        let mut blocks = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            blocks.push(connection.read(self.device.unit_id, request, self.device.timeout).await?);
        }
        Ok(blocks)
    }

    /// A reading that is no finite number is left out, and the entry is marked as faulty.
    fn decode(&self, blocks: &[Block]) -> Result<(Quality, Readings), ReadError> {
        let mut quality = Quality::Normal;
        let mut readings = Vec::with_capacity(self.device.points.len());
        for (request, block) in self.requests.iter().zip(blocks) {
            for &(index, start) in &request.points {
                let point = &self.device.points[index];
                match point.decode(block, start) {
                    Ok(value) => readings.push((index, point.name.clone(), value)),
                    Err(DecodeError::NotFinite | DecodeError::NotDecimal) => quality = Quality::Fault,
                    Err(DecodeError::Short) => return Err(ReadError::Answer),
                }
            }
        }
        readings.sort_by_key(|(index, ..)| *index);
        Ok((quality, readings.into_iter().map(|(_, name, value)| (name, value)).collect()))
    }
}

struct Connection {
    host: String,
    port: u16,
    context: Option<Context>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl Connection {
    async fn read(&mut self, unit_id: u8, request: &Request, limit: Duration) -> Result<Block, ReadError> {
        let context = match &mut self.context {
            Some(context) => context,
            None => {
                let context = self.connect(limit).await?;
                self.context.insert(context)
            }
        };
        context.set_slave(Slave(unit_id));
        let answer = match timeout(limit, context.call(modbus_request(request))).await {
            Err(_) => Err(ReadError::Timeout),
            Ok(Err(error)) => Err(ReadError::Broken(error)),
            Ok(Ok(Err(code))) => return Err(ReadError::Exception(code)),
            Ok(Ok(Ok(response))) => block(request, response).ok_or(ReadError::Answer),
        };
        if answer.is_err() {
            // A late answer would be taken for the next one's: the connection is of no more use.
            self.context = None;
        }
        answer
    }

    async fn connect(&mut self, limit: Duration) -> Result<Context, ReadError> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(ReadError::Silent);
        }
        let connected = match timeout(limit, TcpStream::connect((self.host.as_str(), self.port))).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(stream) => {
                self.backoff.reset();
                self.retry_at = None;
                // Requests are small and wait for their answers: nothing is gained by collecting them.
                let _ = stream.set_nodelay(true);
                Ok(tcp::attach(stream))
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + self.backoff.after_failure(rand::random()));
                Err(ReadError::Unreachable(error))
            }
        }
    }
}

fn modbus_request(request: &Request) -> ModbusRequest<'static> {
    let (address, quantity) = (request.address, request.quantity);
    match request.table {
        Table::Coil => ModbusRequest::ReadCoils(address, quantity),
        Table::Discrete => ModbusRequest::ReadDiscreteInputs(address, quantity),
        Table::Input => ModbusRequest::ReadInputRegisters(address, quantity),
        Table::Holding => ModbusRequest::ReadHoldingRegisters(address, quantity),
    }
}

/// `None` if the answer is of another kind or shorter than asked for. Bits come in whole bytes, so there may be more.
fn block(request: &Request, response: Response) -> Option<Block> {
    let quantity = usize::from(request.quantity);
    match (request.table, response) {
        (Table::Coil, Response::ReadCoils(bits)) | (Table::Discrete, Response::ReadDiscreteInputs(bits)) => {
            (bits.len() >= quantity).then_some(Block::Bits(bits))
        }
        (Table::Input, Response::ReadInputRegisters(words)) | (Table::Holding, Response::ReadHoldingRegisters(words)) => {
            (words.len() == quantity).then_some(Block::Words(words))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "modbus_tests.rs"]
mod tests;
