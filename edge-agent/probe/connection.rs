//! The connection to the machines behind one address: opened when it is needed, and anew when an answer did not come.

use std::time::Duration;

use super::reader::{Reader, Trouble};
use crate::bus::{Address, BusSettings};
use crate::modbus::{Answer, Connection, IdentityLevel, ReadRequest, ReadTrouble};
use crate::point::{Block, Table};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A machine that always has more to say is not listened to for ever.
const IDENTITY_ANSWERS_MAX: usize = 8;

pub(super) struct Line {
    address: Address,
    settings: BusSettings,
    connection: Option<Connection>,
}

impl Line {
    pub(super) fn new(address: Address, settings: BusSettings) -> Line {
        Line { address, settings, connection: None }
    }

    async fn ask(&mut self, unit_id: u8, request: &ReadRequest, limit: Duration) -> Result<Answer, Trouble> {
        let connection = match self.connection.take().filter(Connection::usable) {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.settings, CONNECT_LIMIT).await.map_err(Trouble::Unreachable)?,
        };
        let answer = self.connection.insert(connection).read(unit_id, request, limit).await;
        answer.map_err(|trouble| match trouble {
            ReadTrouble::Exception(code) => Trouble::Exception(code),
            ReadTrouble::Unreachable(why) => Trouble::Unreachable(why),
            ReadTrouble::Timeout | ReadTrouble::Short => Trouble::Silent,
            _ => Trouble::Closed,
        })
    }
}

impl Reader for Line {
    async fn read(&mut self, unit_id: u8, table: Table, address: u16, quantity: u16, limit: Duration) -> Result<Block, Trouble> {
        match self.ask(unit_id, &ReadRequest::Values { table, address, quantity }, limit).await? {
            Answer::Block(block) => Ok(block),
            Answer::Identity(_) => Err(Trouble::Closed),
        }
    }

    async fn identify(&mut self, unit_id: u8, limit: Duration) -> Result<Vec<(u8, String)>, Trouble> {
        let mut objects = Vec::new();
        let mut object = 0;
        for _ in 0..IDENTITY_ANSWERS_MAX {
            let request = ReadRequest::Identification { level: IdentityLevel::Basic, object };
            let Answer::Identity(said) = self.ask(unit_id, &request, limit).await? else { break };
            objects.extend(said.objects);
            match said.next_object {
                Some(next) => object = next,
                None => break,
            }
        }
        Ok(objects)
    }
}
