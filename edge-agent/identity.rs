//! Who a machine is: as configured, or where its registers say so.

use wire::limits;

use crate::fault::FaultCode;
use crate::place::read_place;
use crate::point::{Block, DecodeError, Point, Table, Value, ValueType, WordOrder, text};
use crate::report::Identity;
use crate::requests::RequestLimits;
use crate::table::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    Vendor,
    Model,
    Serial,
}

impl IdentityField {
    pub const ALL: [(IdentityField, &str); 3] =
        [(IdentityField::Vendor, "vendor"), (IdentityField::Model, "model"), (IdentityField::Serial, "serial")];
}

/// Registers that hold a part of the identity: a text, or a number whose digits are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityPoint {
    pub field: IdentityField,
    pub table: Table,
    pub address: u16,
    pub quantity: u16,
    pub word_order: WordOrder,
    /// `None`: text.
    pub value_type: Option<ValueType>,
}

impl IdentityPoint {
    /// What the answer to a request for exactly these registers says; `None` if it says nothing.
    pub fn decode(&self, words: &[u16]) -> Result<Option<String>, DecodeError> {
        let words = words.get(..usize::from(self.quantity)).ok_or(DecodeError::Short)?;
        let said = match self.value_type {
            None => text(words, self.word_order),
            Some(value_type) => {
                let point = Point { word_order: self.word_order, ..Point::new("", self.table, self.address, value_type) };
                match point.decode(&Block::Words(words.to_vec()), 0)? {
                    Value::Number(number) => number.to_string(),
                    Value::Whole(whole) => whole.to_string(),
                    Value::Flag(flag) => flag.to_string(),
                }
            }
        };
        Ok(Some(said.chars().take(limits::TEXT_CHARS_MAX).collect::<String>()).filter(|said| !said.is_empty()))
    }
}

impl Identity {
    /// What `other` says takes the place of what stands here.
    pub fn updated(&self, other: &Identity) -> Identity {
        let newer = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
        Identity {
            vendor: newer(&other.vendor, &self.vendor),
            model: newer(&other.model, &self.model),
            serial: newer(&other.serial, &self.serial),
        }
    }

    pub fn set(&mut self, field: IdentityField, said: String) {
        match field {
            IdentityField::Vendor => self.vendor = Some(said),
            IdentityField::Model => self.model = Some(said),
            IdentityField::Serial => self.serial = Some(said),
        }
    }
}

pub(crate) fn read_identity(mut reader: Reader<'_>) -> Identity {
    let mut identity = Identity::default();
    for (field, key) in IdentityField::ALL {
        let Some(said) = reader.text(key) else { continue };
        if said.chars().count() > limits::TEXT_CHARS_MAX || said.chars().any(char::is_control) {
            reader.fault(
                key,
                FaultCode::NameInvalid,
                "至多 256 个字符，且不含控制字符",
                "must have at most 256 characters and no control characters",
            );
        }
        identity.set(field, said);
    }
    reader.finish();
    identity
}

pub(crate) fn read_identity_point(mut reader: Reader<'_>, limits: &RequestLimits) -> Option<IdentityPoint> {
    let field = reader.required_word("field", &IdentityField::ALL);
    let (table, address) = read_place(&mut reader);
    let mut types: Vec<(Option<ValueType>, &str)> = vec![(None, "text")];
    types.extend(
        ValueType::ALL
            .into_iter()
            .filter(|(value_type, _)| *value_type != ValueType::Bool)
            .map(|(value_type, name)| (Some(value_type), name)),
    );
    let value_type = reader.word("type", &types).flatten();
    let length = reader.integer("quantity", 1..=125).and_then(|quantity| u16::try_from(quantity).ok());
    let quantity = match (value_type, length) {
        (None, Some(quantity)) => quantity,
        (None, None) => {
            reader.fault("quantity", FaultCode::KeyMissing, "缺少此项：文字占几个寄存器", "is missing: how many registers the text takes");
            1
        }
        (Some(value_type), None) => value_type.quantity(),
        (Some(value_type), Some(_)) => {
            reader.fault("quantity", FaultCode::KeysConflict, "只用于 text 类型", "is only for the type text");
            value_type.quantity()
        }
    };
    let word_order = reader.word("word_order", &WordOrder::ALL).unwrap_or_default();
    if quantity > limits.registers_max {
        let most = limits.registers_max;
        reader.fault(
            "quantity",
            FaultCode::KeysConflict,
            format!("占 {quantity} 个寄存器，多于 registers_max = {most}，设备会拒绝"),
            format!("takes {quantity} registers, more than registers_max = {most}; the device would refuse it"),
        );
    }
    if table.holds_bits() {
        reader.fault(
            "table",
            FaultCode::KeysConflict,
            "身份只能从寄存器读取：holding 或 input",
            "an identity stands in registers: holding or input",
        );
    }
    if u32::from(address) + u32::from(quantity) > 65_536 {
        reader.fault("address", FaultCode::RegisterBeyondEnd, "超出最后一个寄存器 65535", "reaches beyond the last register, 65535");
    }
    reader.finish();
    Some(IdentityPoint { field: field?, table, address, quantity, word_order, value_type })
}
