//! Points: where a reading stands in a machine's tables, and how its registers become a value.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The four tables of a Modbus server. The agent only reads: function codes 1 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Coil,
    Discrete,
    Input,
    Holding,
}

impl Table {
    pub const ALL: [(Table, &str); 4] =
        [(Table::Coil, "coil"), (Table::Discrete, "discrete"), (Table::Input, "input"), (Table::Holding, "holding")];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(table, _)| *table == self).map_or("", |(_, name)| name)
    }

    pub fn holds_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }

    /// An address as handbooks write it: 40001 is holding register 0.
    pub fn reference(self, address: impl Into<u32>) -> String {
        let first = match self {
            Table::Coil => 0,
            Table::Discrete => 1,
            Table::Input => 3,
            Table::Holding => 4,
        };
        let number = address.into() + 1;
        if number > 9999 { format!("{first}{number:05}") } else { format!("{first}{number:04}") }
    }

    /// What one request may ask for at most (Modbus specification 1.1b3).
    pub fn quantity_max(self) -> u16 {
        if self.holds_bits() { 2000 } else { 125 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Binary coded decimal: four digits a register.
    Bcd16,
    Bcd32,
    Bcd64,
}

impl ValueType {
    pub const ALL: [(ValueType, &str); 12] = [
        (ValueType::Bool, "bool"),
        (ValueType::U16, "u16"),
        (ValueType::I16, "i16"),
        (ValueType::U32, "u32"),
        (ValueType::I32, "i32"),
        (ValueType::U64, "u64"),
        (ValueType::I64, "i64"),
        (ValueType::F32, "f32"),
        (ValueType::F64, "f64"),
        (ValueType::Bcd16, "bcd16"),
        (ValueType::Bcd32, "bcd32"),
        (ValueType::Bcd64, "bcd64"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(value_type, _)| *value_type == self).map_or("", |(_, name)| name)
    }

    pub fn quantity(self) -> u16 {
        match self {
            ValueType::Bool | ValueType::U16 | ValueType::I16 | ValueType::Bcd16 => 1,
            ValueType::U32 | ValueType::I32 | ValueType::F32 | ValueType::Bcd32 => 2,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::Bcd64 => 4,
        }
    }
}

/// In which order a value's bytes stand in its registers, named after four bytes A (highest) to D; longer values follow the same two
/// questions: do the registers begin with the highest, and does each register begin with its higher byte?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum WordOrder {
    #[default]
    Abcd,
    Cdab,
    Badc,
    Dcba,
}

impl WordOrder {
    pub const ALL: [(WordOrder, &str); 4] =
        [(WordOrder::Abcd, "abcd"), (WordOrder::Cdab, "cdab"), (WordOrder::Badc, "badc"), (WordOrder::Dcba, "dcba")];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(order, _)| *order == self).map_or("", |(_, name)| name)
    }

    fn words_reversed(self) -> bool {
        matches!(self, WordOrder::Cdab | WordOrder::Dcba)
    }

    fn bytes_swapped(self) -> bool {
        matches!(self, WordOrder::Badc | WordOrder::Dcba)
    }

    /// Up to four registers as one number.
    pub(crate) fn join(self, words: &[u16]) -> u64 {
        let append = |joined: u64, word: &u16| joined << 16 | u64::from(if self.bytes_swapped() { word.swap_bytes() } else { *word });
        if self.words_reversed() { words.iter().rev().fold(0, append) } else { words.iter().fold(0, append) }
    }

    /// The registers, `quantity` of them, that `join` reads as this number.
    fn split(self, joined: u64, quantity: u16) -> Vec<u16> {
        let word = |index: u16| {
            let word = (joined >> (16 * index)) as u16;
            if self.bytes_swapped() { word.swap_bytes() } else { word }
        };
        if self.words_reversed() { (0..quantity).map(word).collect() } else { (0..quantity).rev().map(word).collect() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub name: Arc<str>,
    pub table: Table,
    /// Zero-based, as it goes over the wire.
    pub address: u16,
    pub value_type: ValueType,
    pub word_order: WordOrder,
    /// Of a register, for `Bool`: this bit, 0 being the lowest; without it any bit makes true.
    pub bit: Option<u8>,
    /// value = raw × scale + offset
    pub scale: f64,
    pub offset: f64,
    /// Physical unit, for people.
    pub unit: Option<String>,
    /// A reading outside makes the entry's quality T (over range).
    pub min: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    /// A whole number beyond what `Number` holds exactly.
    Whole(i128),
    Flag(bool),
}

/// What was read of a device at one moment, by the names of its points.
pub type Readings = Vec<(Arc<str>, Value)>;

/// Whole numbers up to this are exact as f64.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Value {
    /// `None` for a flag.
    pub fn number(self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(number),
            Value::Whole(whole) => Some(whole as f64),
            Value::Flag(_) => None,
        }
    }
}

impl Serialize for Value {
    /// Whole numbers are written without a fraction.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Value::Flag(flag) => serializer.serialize_bool(flag),
            Value::Whole(whole) => match i64::try_from(whole) {
                Ok(whole) => serializer.serialize_i64(whole),
                Err(_) => serializer.serialize_u64(u64::try_from(whole).unwrap_or(u64::MAX)),
            },
            Value::Number(number) if number.fract().abs() < f64::MIN_POSITIVE && number.abs() < WHOLE_MAX => {
                serializer.serialize_i64(number as i64)
            }
            Value::Number(number) => serializer.serialize_f64(number),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the answer is shorter than asked for")]
    Short,
    #[error("the value is not a finite number")]
    NotFinite,
    #[error("the registers hold no decimal digits")]
    NotDecimal,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Bits(Vec<bool>),
    Words(Vec<u16>),
}

impl Point {
    pub fn new(name: &str, table: Table, address: u16, value_type: ValueType) -> Point {
        Point {
            name: name.into(),
            table,
            address,
            value_type,
            word_order: WordOrder::default(),
            bit: None,
            scale: 1.0,
            offset: 0.0,
            unit: None,
            min: None,
            max: None,
        }
    }

    /// The value of this point, whose registers begin at `start` within the answer.
    pub fn decode(&self, block: &Block, start: usize) -> Result<Value, DecodeError> {
        match block {
            Block::Bits(bits) => bits.get(start).map(|bit| Value::Flag(*bit)).ok_or(DecodeError::Short),
            Block::Words(words) => {
                let end = start + usize::from(self.value_type.quantity());
                self.decode_words(words.get(start..end).ok_or(DecodeError::Short)?)
            }
        }
    }

    fn decode_words(&self, words: &[u16]) -> Result<Value, DecodeError> {
        let joined = self.word_order.join(words);
        let whole = match self.value_type {
            ValueType::Bool => return Ok(Value::Flag(self.bit.map_or(joined != 0, |bit| joined >> bit & 1 == 1))),
            ValueType::U16 | ValueType::U32 | ValueType::U64 => i128::from(joined),
            ValueType::I16 => i128::from((joined as u16).cast_signed()),
            ValueType::I32 => i128::from((joined as u32).cast_signed()),
            ValueType::I64 => i128::from(joined.cast_signed()),
            ValueType::Bcd16 | ValueType::Bcd32 | ValueType::Bcd64 => i128::from(decimal(joined)?),
            // The shortest decimal that means the same f32: 4.2, not 4.199999809265137.
            ValueType::F32 => {
                let shortest = f32::from_bits(joined as u32).to_string();
                return self.scaled(shortest.parse().map_err(|_| DecodeError::NotFinite)?);
            }
            ValueType::F64 => return self.scaled(f64::from_bits(joined)),
        };
        if self.plain() && whole.unsigned_abs() > WHOLE_MAX as u128 { Ok(Value::Whole(whole)) } else { self.scaled(whole as f64) }
    }

    /// Neither scaled nor moved.
    fn plain(&self) -> bool {
        self.scale.to_bits() == 1.0_f64.to_bits() && self.offset.to_bits() == 0.0_f64.to_bits()
    }

    fn scaled(&self, raw: f64) -> Result<Value, DecodeError> {
        let value = if self.plain() { raw } else { round(raw * self.scale + self.offset) };
        if value.is_finite() { Ok(Value::Number(value)) } else { Err(DecodeError::NotFinite) }
    }

    /// The registers that `decode` reads as this value, or as the nearest that they can hold.
    pub fn encode(&self, value: Value) -> Vec<u16> {
        let quantity = self.value_type.quantity();
        let raw = match value {
            Value::Flag(flag) => return self.word_order.split(u64::from(flag) << self.bit.unwrap_or(0), quantity),
            Value::Whole(whole) if self.plain() => return self.word_order.split(whole as u64, quantity),
            number => (number.number().unwrap_or(0.0) - self.offset) / self.scale,
        };
        let nearest = raw.round();
        let joined = match self.value_type {
            ValueType::Bool => u64::from(nearest.abs() >= 1.0) << self.bit.unwrap_or(0),
            ValueType::U16 => u64::from(nearest as u16),
            ValueType::I16 => u64::from((nearest as i16).cast_unsigned()),
            ValueType::U32 => u64::from(nearest as u32),
            ValueType::I32 => u64::from((nearest as i32).cast_unsigned()),
            ValueType::U64 => nearest as u64,
            ValueType::I64 => (nearest as i64).cast_unsigned(),
            ValueType::F32 => u64::from((raw as f32).to_bits()),
            ValueType::F64 => raw.to_bits(),
            ValueType::Bcd16 | ValueType::Bcd32 | ValueType::Bcd64 => {
                let digits = 4 * u32::from(quantity);
                let most = 10_u64.saturating_pow(digits) - 1;
                let number = (nearest as u64).min(most);
                (0..digits).fold(0, |coded, digit| coded | (number / 10_u64.pow(digit) % 10) << (4 * digit))
            }
        };
        self.word_order.split(joined, quantity)
    }
}

/// The number whose decimal digits these are, four bits each.
pub(crate) fn decimal(coded: u64) -> Result<u64, DecodeError> {
    (0..16).rev().try_fold(0, |number, digit| match coded >> (4 * digit) & 0xF {
        digit @ 0..=9 => Ok(number * 10 + digit),
        _ => Err(DecodeError::NotDecimal),
    })
}

/// To 12 significant digits, so that 3 × 0.1 is 0.3.
fn round(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// The text that registers hold, two bytes each: up to the first NUL, without the blanks around it. Bytes of no meaning are left out.
pub fn text(words: &[u16], word_order: WordOrder) -> String {
    let words = words.iter().map(|word| if word_order.bytes_swapped() { word.swap_bytes() } else { *word });
    let bytes: Vec<u8> = if word_order.words_reversed() {
        words.rev().flat_map(u16::to_be_bytes).take_while(|byte| *byte != 0).collect()
    } else {
        words.flat_map(u16::to_be_bytes).take_while(|byte| *byte != 0).collect()
    };
    String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER, "").trim().to_string()
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
