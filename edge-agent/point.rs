//! Points: where a reading stands in a machine's tables, and how its registers become a value.

use serde::{Serialize, Serializer};

/// The four tables of a Modbus server. The agent only reads: function codes 1 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// What one request may ask for at most (Modbus specification 1.1b3).
    pub fn quantity_max(self) -> u16 {
        if self.holds_bits() { 2000 } else { 125 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Bool,
    U16,
    I16,
    U32,
    I32,
    F32,
}

impl ValueType {
    pub const ALL: [(ValueType, &str); 6] = [
        (ValueType::Bool, "bool"),
        (ValueType::U16, "u16"),
        (ValueType::I16, "i16"),
        (ValueType::U32, "u32"),
        (ValueType::I32, "i32"),
        (ValueType::F32, "f32"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(value_type, _)| *value_type == self).map_or("", |(_, name)| name)
    }

    pub fn quantity(self) -> u16 {
        match self {
            ValueType::Bool | ValueType::U16 | ValueType::I16 => 1,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 2,
        }
    }
}

/// In which order a 32-bit value's bytes A (highest) to D stand in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

    fn join(self, first: u16, second: u16) -> u32 {
        let (high, low) = match self {
            WordOrder::Abcd => (first, second),
            WordOrder::Cdab => (second, first),
            WordOrder::Badc => (first.swap_bytes(), second.swap_bytes()),
            WordOrder::Dcba => (second.swap_bytes(), first.swap_bytes()),
        };
        u32::from(high) << 16 | u32::from(low)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub name: String,
    pub table: Table,
    /// Zero-based, as it goes over the wire.
    pub address: u16,
    pub value_type: ValueType,
    pub word_order: WordOrder,
    /// value = raw × scale + offset
    pub scale: f64,
    pub offset: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Flag(bool),
}

impl Serialize for Value {
    /// Whole numbers are written without a fraction.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        match *self {
            Value::Flag(flag) => serializer.serialize_bool(flag),
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
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Bits(Vec<bool>),
    Words(Vec<u16>),
}

impl Point {
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
        let first = *words.first().ok_or(DecodeError::Short)?;
        let joined = |words: &[u16]| words.get(1).map(|second| self.word_order.join(first, *second)).ok_or(DecodeError::Short);
        let raw = match self.value_type {
            ValueType::Bool => return Ok(Value::Flag(first != 0)),
            ValueType::U16 => f64::from(first),
            ValueType::I16 => f64::from(first.cast_signed()),
            ValueType::U32 => f64::from(joined(words)?),
            ValueType::I32 => f64::from(joined(words)?.cast_signed()),
            // The shortest decimal that means the same f32: 4.2, not 4.199999809265137.
            ValueType::F32 => f32::from_bits(joined(words)?).to_string().parse().map_err(|_| DecodeError::NotFinite)?,
        };
        let value = round(raw * self.scale + self.offset);
        if value.is_finite() { Ok(Value::Number(value)) } else { Err(DecodeError::NotFinite) }
    }
}

/// To 12 significant digits, so that 3 × 0.1 is 0.3.
fn round(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// One request to a Modbus server, and which points its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub table: Table,
    pub address: u16,
    pub quantity: u16,
    /// (index of the point, where it begins in the answer)
    pub points: Vec<(usize, usize)>,
}

/// Merges points that touch or overlap into one request. Gaps are never read: what lies there may answer with an exception.
pub fn requests(points: &[Point]) -> Vec<Request> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&index| (points[index].table, points[index].address));
    let mut out: Vec<Request> = Vec::new();
    for index in order {
        let point = &points[index];
        let begin = u32::from(point.address);
        let end = begin + u32::from(point.value_type.quantity());
        if let Some(last) = out.last_mut() {
            let last_begin = u32::from(last.address);
            let last_end = last_begin + u32::from(last.quantity);
            let merged = last_end.max(end) - last_begin;
            if last.table == point.table && begin <= last_end && merged <= u32::from(point.table.quantity_max()) {
                last.quantity = u16::try_from(merged).unwrap_or(u16::MAX);
                last.points.push((index, usize::from(point.address - last.address)));
                continue;
            }
        }
        out.push(Request { table: point.table, address: point.address, quantity: point.value_type.quantity(), points: vec![(index, 0)] });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(table: Table, address: u16, value_type: ValueType) -> Point {
        Point {
            name: format!("{}{address}", table.name()),
            table,
            address,
            value_type,
            word_order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
        }
    }

    fn decoded(value_type: ValueType, word_order: WordOrder, words: &[u16]) -> Result<Value, DecodeError> {
        Point { word_order, ..point(Table::Holding, 0, value_type) }.decode(&Block::Words(words.to_vec()), 0)
    }

    #[test]
    fn every_type_is_decoded() {
        use ValueType::*;
        for (value_type, words, expected) in [
            (Bool, vec![0], Value::Flag(false)),
            (Bool, vec![2], Value::Flag(true)),
            (U16, vec![0xFFFF], Value::Number(65535.0)),
            (I16, vec![0xFFFF], Value::Number(-1.0)),
            (U32, vec![0x0001, 0x0002], Value::Number(65538.0)),
            (I32, vec![0xFFFF, 0xFFFE], Value::Number(-2.0)),
            (F32, vec![0x4086, 0x6666], Value::Number(4.2)),
        ] {
            assert_eq!(decoded(value_type, WordOrder::Abcd, &words), Ok(expected), "{value_type:?}");
        }
    }

    #[test]
    fn every_word_order_gives_the_same_value() {
        for (order, words) in [
            (WordOrder::Abcd, [0x0A0B, 0x0C0D]),
            (WordOrder::Cdab, [0x0C0D, 0x0A0B]),
            (WordOrder::Badc, [0x0B0A, 0x0D0C]),
            (WordOrder::Dcba, [0x0D0C, 0x0B0A]),
        ] {
            assert_eq!(decoded(ValueType::U32, order, &words), Ok(Value::Number(f64::from(0x0A0B_0C0Du32))), "{order:?}");
        }
    }

    #[test]
    fn scale_and_offset_apply_without_binary_noise() {
        let scaled = Point { scale: 0.1, offset: -40.0, ..point(Table::Input, 0, ValueType::U16) };
        assert_eq!(scaled.decode(&Block::Words(vec![423]), 0), Ok(Value::Number(2.3)));
        let tenth = Point { scale: 0.1, ..scaled };
        assert_eq!(Point { offset: 0.0, ..tenth }.decode(&Block::Words(vec![3]), 0), Ok(Value::Number(0.3)));
    }

    #[test]
    fn a_short_answer_and_a_number_that_is_none_are_told_apart() {
        assert_eq!(decoded(ValueType::U32, WordOrder::Abcd, &[1]), Err(DecodeError::Short));
        assert_eq!(point(Table::Coil, 0, ValueType::Bool).decode(&Block::Bits(vec![]), 0), Err(DecodeError::Short));
        assert_eq!(decoded(ValueType::F32, WordOrder::Abcd, &[0x7FC0, 0]), Err(DecodeError::NotFinite));
        assert_eq!(decoded(ValueType::F32, WordOrder::Abcd, &[0x7F80, 0]), Err(DecodeError::NotFinite));
    }

    #[test]
    fn points_that_touch_share_a_request_and_others_do_not() {
        let points = [
            point(Table::Holding, 12, ValueType::U16),
            point(Table::Holding, 10, ValueType::F32),
            point(Table::Holding, 14, ValueType::U16),
            point(Table::Input, 10, ValueType::U16),
            point(Table::Holding, 10, ValueType::U16),
        ];
        assert_eq!(
            requests(&points),
            [
                Request { table: Table::Input, address: 10, quantity: 1, points: vec![(3, 0)] },
                Request { table: Table::Holding, address: 10, quantity: 3, points: vec![(1, 0), (4, 0), (0, 2)] },
                Request { table: Table::Holding, address: 14, quantity: 1, points: vec![(2, 0)] },
            ]
        );
    }

    #[test]
    fn a_request_never_asks_for_more_than_the_protocol_allows_nor_splits_a_value() {
        let points: Vec<Point> = (0..64).map(|i| point(Table::Holding, i * 2, ValueType::U32)).collect();
        let quantities: Vec<u16> = requests(&points).iter().map(|request| request.quantity).collect();
        assert_eq!(quantities, [124, 4]);
        let last = [point(Table::Holding, 65534, ValueType::U32)];
        assert_eq!(requests(&last)[0].quantity, 2);
    }
}
