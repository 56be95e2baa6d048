//! Reads a point from the configuration: where it stands, said as an address or as a reference, and how it is read.

use crate::fault::FaultCode;
use crate::point::{Point, Table, ValueType, WordOrder};
use crate::table::Reader;

pub(crate) fn read_point(mut reader: Reader<'_>) -> Point {
    let name = reader.required_name("name", "此读数在上报中的名称", "what the reading is called in reports");
    let (table, address) = read_place(&mut reader);
    let type_default = if table.holds_bits() { ValueType::Bool } else { ValueType::U16 };
    let value_type = reader.word("type", &ValueType::ALL).unwrap_or(type_default);
    if table.holds_bits() && value_type != ValueType::Bool {
        let table = table.name();
        reader.fault(
            "type",
            FaultCode::KeysConflict,
            format!("{table} 只有一位；请删去 type 或写 bool"),
            format!("a {table} holds one bit; leave type out, or write bool"),
        );
    }
    let bit = reader.integer("bit", 0..=15).and_then(|bit| u8::try_from(bit).ok());
    if bit.is_some() && (table.holds_bits() || value_type != ValueType::Bool) {
        reader.fault("bit", FaultCode::KeysConflict, "只用于寄存器中的 bool", "is only for a bool within a register");
    }
    let word_order = reader.word("word_order", &WordOrder::ALL);
    if word_order.is_some() && table.holds_bits() {
        reader.fault("word_order", FaultCode::KeysConflict, "对一位没有意义，请删去", "has no meaning for one bit; leave it out");
    }
    if word_order.is_some_and(|order| matches!(order, WordOrder::Cdab | WordOrder::Dcba)) && value_type.quantity() == 1 {
        reader.fault(
            "word_order",
            FaultCode::KeysConflict,
            "只有一个寄存器：只能是 abcd，或高低字节对调的 badc",
            "there is one register only: abcd, or badc for swapped bytes",
        );
    }
    for key in ["scale", "offset", "min", "max"] {
        if value_type == ValueType::Bool && reader.has(key) {
            reader.fault(key, FaultCode::KeysConflict, "对 bool 没有意义，请删去", "has no meaning for bool; leave it out");
        }
    }
    let scale = reader.number("scale", -1e12..=1e12);
    if scale.is_some_and(|scale| scale.abs() < f64::MIN_POSITIVE) {
        reader.fault(
            "scale",
            FaultCode::ScaleZero,
            "为 0 会使所有读数相同；倍率为 1 时请删去",
            "0 would make every reading the same; leave it out for 1",
        );
    }
    let offset = reader.number("offset", -1e12..=1e12).unwrap_or(0.0);
    let (min, max) = (reader.number("min", -1e15..=1e15), reader.number("max", -1e15..=1e15));
    if min.zip(max).is_some_and(|(min, max)| min >= max) {
        reader.fault("min", FaultCode::ValueRange, "须小于 max", "must be below max");
    }
    let unit = reader.text("unit");
    if u32::from(address) + u32::from(value_type.quantity()) > 65_536 {
        let value_type = value_type.name();
        reader.fault(
            "address",
            FaultCode::RegisterBeyondEnd,
            format!("{address} 之后放不下 {value_type} 的其余寄存器；请核对地址与 type"),
            format!("{address} leaves no room for the other registers of {value_type}; check address and type"),
        );
    }
    reader.finish();
    Point {
        name: name.into(),
        table,
        address,
        value_type,
        word_order: word_order.unwrap_or_default(),
        bit,
        scale: scale.unwrap_or(1.0),
        offset,
        unit,
        min,
        max,
    }
}

/// Either `table` and zero-based `address`, or the `reference` that handbooks print: 0xxxx coil, 1xxxx discrete, 3xxxx input, 4xxxx holding.
pub(crate) fn read_place(reader: &mut Reader<'_>) -> (Table, u16) {
    let table = reader.word("table", &Table::ALL);
    let has_address = reader.has("address");
    let address = reader.integer_or("address", 0..=65_535, 0);
    if !reader.has("reference") {
        // Asked for, so that it stands among the known keys.
        let _ = reader.text("reference");
        if table.is_none() || !has_address {
            reader.fault(
                "address",
                FaultCode::KeyMissing,
                "请给出 table 与从零起的 address，或手册上的 reference（如 \"40001\"）",
                "give either table and address (zero-based), or reference (such as \"40001\")",
            );
        }
        return (table.unwrap_or(Table::Holding), address);
    }
    let reference = reader.text("reference").unwrap_or_default();
    if table.is_some() || has_address {
        reader.fault(
            "reference",
            FaultCode::KeysConflict,
            "已说明 table 与 address；两种写法只留一种",
            "already says table and address; keep one of the two ways",
        );
    }
    read_reference(&reference).unwrap_or_else(|| {
        reader.fault(
            "reference",
            FaultCode::ReferenceInvalid,
            "须为以 0、1、3 或 4 开头的 5 或 6 位数字文字，如首个保持寄存器 \"40001\"",
            "must be a text of 5 or 6 digits that begins with 0, 1, 3 or 4, such as \"40001\" for the first holding register",
        );
        (Table::Holding, 0)
    })
}

pub(crate) fn read_reference(text: &str) -> Option<(Table, u16)> {
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let table = match text.as_bytes()[0] {
        b'0' => Table::Coil,
        b'1' => Table::Discrete,
        b'3' => Table::Input,
        b'4' => Table::Holding,
        _ => return None,
    };
    let number: u32 = text[1..].parse().ok()?;
    Some((table, u16::try_from(number.checked_sub(1)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_say_the_table_and_count_from_one() {
        for (reference, expected) in [
            ("40001", Some((Table::Holding, 0))),
            ("30011", Some((Table::Input, 10))),
            ("10002", Some((Table::Discrete, 1))),
            ("00003", Some((Table::Coil, 2))),
            ("465536", Some((Table::Holding, 65_535))),
            ("465537", None),
            ("40000", None),
            ("20001", None),
            ("4001", None),
        ] {
            assert_eq!(read_reference(reference), expected, "{reference}");
        }
    }
}
