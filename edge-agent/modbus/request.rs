//! What may be asked of a machine. There is no way to say anything else: no request here changes a machine.

use tokio_modbus::Response;
use tokio_modbus::bytes::Bytes;
use tokio_modbus::prelude::ReadDeviceIdentificationResponse;

use super::trouble::ReadTrouble;
use crate::point::{Block, Table};

const READ_COILS: u8 = 1;
const READ_DISCRETE_INPUTS: u8 = 2;
const READ_HOLDING_REGISTERS: u8 = 3;
const READ_INPUT_REGISTERS: u8 = 4;
const ENCAPSULATED_INTERFACE: u8 = 43;
/// The one encapsulated interface that is used: it says who the machine is.
const DEVICE_IDENTIFICATION: u8 = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRequest {
    Values {
        table: Table,
        address: u16,
        quantity: u16,
    },
    /// Who are you? From this object on.
    Identification {
        level: IdentityLevel,
        object: u8,
    },
}

/// How much of its identity a machine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityLevel {
    /// Vendor, product code, revision.
    Basic = 1,
    /// The vendor's address, product name, model name and more.
    Regular = 2,
    /// The vendor's own objects.
    Extended = 3,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Block(Block),
    Identity(IdentityObjects),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityObjects {
    pub objects: Vec<(u8, String)>,
    /// The machine has more to say than the basic objects.
    pub regular: bool,
    /// Where to go on asking.
    pub next_object: Option<u8>,
}

impl ReadRequest {
    pub fn function_code(&self) -> u8 {
        match self {
            ReadRequest::Values { table: Table::Coil, .. } => READ_COILS,
            ReadRequest::Values { table: Table::Discrete, .. } => READ_DISCRETE_INPUTS,
            ReadRequest::Values { table: Table::Holding, .. } => READ_HOLDING_REGISTERS,
            ReadRequest::Values { table: Table::Input, .. } => READ_INPUT_REGISTERS,
            ReadRequest::Identification { .. } => ENCAPSULATED_INTERFACE,
        }
    }

    /// Appends the request as it goes over the wire, without the frame around it.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.push(self.function_code());
        match *self {
            ReadRequest::Values { address, quantity, .. } => {
                out.extend_from_slice(&address.to_be_bytes());
                out.extend_from_slice(&quantity.to_be_bytes());
            }
            ReadRequest::Identification { level, object } => out.extend_from_slice(&[DEVICE_IDENTIFICATION, level as u8, object]),
        }
    }

    /// How many bytes an answer has behind its function code, told from its first bytes; `None` while these are too few.
    pub(super) fn answer_length(&self, pdu: &[u8]) -> Result<Option<usize>, ReadTrouble> {
        match *self {
            ReadRequest::Values { table, quantity, .. } => {
                let quantity = usize::from(quantity);
                let expected = if table.holds_bits() { quantity.div_ceil(8) } else { 2 * quantity };
                match pdu.get(1).map(|count| usize::from(*count)) {
                    Some(count) if count != expected => Err(ReadTrouble::WrongLength { expected, answered: count }),
                    _ => Ok(Some(1 + expected)),
                }
            }
            ReadRequest::Identification { .. } => {
                let Some(count) = pdu.get(6) else { return Ok(None) };
                let mut length = 6;
                for _ in 0..*count {
                    let Some(object_length) = pdu.get(length + 2) else { return Ok(None) };
                    length += 2 + usize::from(*object_length);
                }
                Ok(Some(length))
            }
        }
    }

    /// What a whole answer says, its function code being the one that was asked for.
    pub(super) fn decode(&self, pdu: &[u8]) -> Result<Answer, ReadTrouble> {
        let response = Response::try_from(Bytes::copy_from_slice(pdu)).map_err(|_| ReadTrouble::Garbage)?;
        match (*self, response) {
            (ReadRequest::Values { table: Table::Coil, quantity, .. }, Response::ReadCoils(bits))
            | (ReadRequest::Values { table: Table::Discrete, quantity, .. }, Response::ReadDiscreteInputs(bits)) => {
                // Bits come in whole bytes: there are as many as asked for, and up to seven more.
                let mut bits = bits;
                bits.truncate(usize::from(quantity));
                Ok(Answer::Block(Block::Bits(bits)))
            }
            (ReadRequest::Values { table: Table::Input, quantity, .. }, Response::ReadInputRegisters(words))
            | (ReadRequest::Values { table: Table::Holding, quantity, .. }, Response::ReadHoldingRegisters(words))
                if words.len() == usize::from(quantity) =>
            {
                Ok(Answer::Block(Block::Words(words)))
            }
            (ReadRequest::Identification { .. }, Response::ReadDeviceIdentification(response)) => Ok(Answer::Identity(response.into())),
            _ => Err(ReadTrouble::Garbage),
        }
    }
}

impl From<ReadDeviceIdentificationResponse> for IdentityObjects {
    fn from(response: ReadDeviceIdentificationResponse) -> IdentityObjects {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        IdentityObjects {
            objects: response.device_id_objects.iter().map(|object| (object.id, text(&object.value))).collect(),
            regular: response.conformity_level.value() & 0x7F >= IdentityLevel::Regular as u8,
            next_object: response.more_follows.then_some(response.next_object_id),
        }
    }
}
