//! Machines behind a real Modbus/TCP server.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use edge::simulate::answer_read;
use tokio::net::TcpListener;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::machines::Machine;

/// Serves machines as the unit ids 1, 2, … of one Modbus/TCP server, until an accept fails. At most 255 units.
pub async fn serve(listener: TcpListener, units: Vec<Machine>, now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> io::Result<()> {
    let units = Units { machines: units.into(), now: Arc::new(now) };
    let accept = |stream, from| {
        let units = units.clone();
        async move { accept_tcp_connection(stream, from, move |_| Ok(Some(units.clone()))) }
    };
    // A client that goes away is no fault of the machine.
    Server::new(listener).serve(&accept, |_| {}).await
}

#[derive(Clone)]
struct Units {
    machines: Arc<[Machine]>,
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl Units {
    fn answer(&self, unit_id: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        answer_read(request, |table, address, quantity| {
            if quantity == 0 || quantity > table.quantity_max() {
                return Err(ExceptionCode::IllegalDataValue);
            }
            let index = usize::from(unit_id).checked_sub(1);
            let machine = index.and_then(|index| self.machines.get(index)).ok_or(ExceptionCode::GatewayTargetDevice)?;
            machine.registers((self.now)()).read(table, address, quantity).ok_or(ExceptionCode::IllegalDataAddress)
        })
    }
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(self.answer(request.slave, &request.request))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use edge::point::{Block, Table};
    use edge::requests::{RequestLimits, requests};
    use tokio_modbus::client::{Client, tcp};
    use tokio_modbus::{Slave, slave::SlaveContext};

    use super::*;
    use crate::machines::MachineKind;

    const WEDNESDAY_MORNING: &str = "2019-11-06T10:02:03+08:00";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    async fn serve_all(now: DateTime<Utc>) -> (SocketAddr, Vec<Machine>) {
        let machines: Vec<Machine> = MachineKind::ALL.iter().zip(7..).map(|(kind, seed)| Machine::new(*kind, seed)).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, machines.clone(), move || now));
        (address, machines)
    }

    #[tokio::test]
    async fn what_is_read_over_tcp_equals_readings_at() {
        let now = at(WEDNESDAY_MORNING);
        let (address, machines) = serve_all(now).await;
        let mut client = tcp::connect(address).await.unwrap();
        for (unit_id, machine) in (1..).zip(&machines) {
            client.set_slave(Slave(unit_id));
            let points = machine.kind().points();
            let mut read = vec![None; points.len()];
            for request in requests(&points, &RequestLimits::default()) {
                let (address, quantity) = (request.address, request.quantity);
                let block = match request.table {
                    Table::Coil => client.call(Request::ReadCoils(address, quantity)).await,
                    Table::Discrete => client.call(Request::ReadDiscreteInputs(address, quantity)).await,
                    Table::Input => client.call(Request::ReadInputRegisters(address, quantity)).await,
                    Table::Holding => client.call(Request::ReadHoldingRegisters(address, quantity)).await,
                };
                let block = match block.unwrap().unwrap() {
                    Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => Block::Bits(bits),
                    Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => Block::Words(words),
                    other => panic!("{other:?}"),
                };
                request
                    .points
                    .iter()
                    .for_each(|(i, start)| read[*i] = Some((points[*i].name.clone(), points[*i].decode(&block, *start).unwrap())));
            }
            assert_eq!(read.into_iter().map(Option::unwrap).collect::<Vec<_>>(), machine.readings_at(now), "{:?}", machine.kind());
        }
    }

    #[tokio::test]
    async fn absent_units_and_registers_and_writes_answer_with_exceptions() {
        let (address, _) = serve_all(at(WEDNESDAY_MORNING)).await;
        let mut client = tcp::connect(address).await.unwrap();
        for (unit_id, request, expected) in [
            (1, Request::ReadInputRegisters(0, 8), ExceptionCode::IllegalDataAddress),
            (9, Request::ReadInputRegisters(0, 1), ExceptionCode::GatewayTargetDevice),
            (1, Request::WriteSingleRegister(0, 1), ExceptionCode::IllegalFunction),
        ] {
            client.set_slave(Slave(unit_id));
            assert_eq!(client.call(request).await.unwrap(), Err(expected));
        }
    }
}
