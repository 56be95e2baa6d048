//! What a point's registers say, and what the refusal of one means.

use super::devices::place;
use super::{Findings, PointNow};
use crate::device::Device;
use crate::fault::FaultCode;
use crate::modbus::ReadTrouble;
use crate::point::{Block, Point, Value, ValueType, WordOrder};

/// Beyond these a float is more likely read in a wrong order than true.
const SANE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;
/// True where asking for further points makes no sense.
pub(super) fn refused(device: &Device, point: &Point, trouble: &ReadTrouble, found: &mut Findings) -> bool {
    let at = format!("{}.point ({})", place(device), point.name);
    let (table, address, reference) = (point.table.name(), point.address, point.table.reference(point.address));
    match trouble {
        ReadTrouble::Exception(1) => found.add(
            FaultCode::FunctionIllegal,
            at,
            format!("设备不支持读取 {table}；请核对 table（{reference}）"),
            format!("the device does not let a {table} be read; check table ({reference})"),
        ),
        ReadTrouble::Exception(2 | 3) => found.add(
            FaultCode::AddressIllegal,
            at,
            format!("设备没有 {table} 地址 {address}（{reference}）；请核对地址是从 0 还是从 1 起"),
            format!("the device has no {table} address {address} ({reference}); check whether addresses count from 0 or 1"),
        ),
        ReadTrouble::Exception(_) => found.add(FaultCode::DeviceException, at, trouble.zh(), trouble.en()),
        _ => {
            found.add(FaultCode::AnswerWrong, place(device), trouble.zh(), trouble.en());
            return true;
        }
    }
    false
}

pub(super) fn decode(device: &Device, point: &Point, block: &Block, found: &mut Findings) -> Option<Value> {
    let at = || format!("{}.point ({})", place(device), point.name);
    let value = match point.decode(block, 0) {
        Ok(value) => value,
        Err(error) => {
            found.add(
                FaultCode::ValueNotNumber,
                at(),
                format!("寄存器内容不是 {} 数值（{error}）；请核对 type 与 word_order", point.value_type.name()),
                format!("the registers hold no {} ({error}); check type and word_order", point.value_type.name()),
            );
            return None;
        }
    };
    let Some(number) = value.number() else { return Some(value) };
    if let Some(better) = likelier_order(point, block, number) {
        let (now, order) = (point.word_order.name(), better.name());
        found.add(
            FaultCode::WordOrderDoubtful,
            at(),
            format!("按 {now} 读得 {number:e}，不像真实数值；按 {order} 更合理，请核对 word_order"),
            format!("read as {now} it is {number:e}, hardly true; {order} gives a likelier value, check word_order"),
        );
    } else if point.min.is_some_and(|min| number < min) || point.max.is_some_and(|max| number > max) {
        found.add(
            FaultCode::ValueOutOfRange,
            at(),
            format!("读得 {number}，超出 min、max；若与设备显示不符，请核对地址、类型与倍率"),
            format!("is {number}, outside min and max; if the machine shows another value, check address, type and scale"),
        );
    }
    Some(value)
}

/// Only floats tell their order: in a wrong one they are far too small or too large.
fn likelier_order(point: &Point, block: &Block, number: f64) -> Option<WordOrder> {
    let float = matches!(point.value_type, ValueType::F32 | ValueType::F64);
    let sane = |number: f64| SANE.contains(&number.abs());
    if !float || sane(number) || number.abs() < f64::MIN_POSITIVE {
        return None;
    }
    let others = WordOrder::ALL.iter().map(|(order, _)| *order).filter(|order| *order != point.word_order);
    let likely = |order: &WordOrder| {
        let read = Point { word_order: *order, ..point.clone() }.decode(block, 0);
        read.ok().and_then(Value::number).is_some_and(sane)
    };
    others.into_iter().find(likely)
}

pub(super) fn shown(device: &Device, point: &Point, value: Option<Value>) -> PointNow {
    PointNow {
        device: device.name.clone(),
        point: point.name.to_string(),
        address: format!("{} {}", point.table.name(), point.address),
        reference: point.table.reference(point.address),
        value: value.map(|value| match value {
            Value::Number(number) => number.to_string(),
            Value::Whole(whole) => whole.to_string(),
            Value::Flag(flag) => flag.to_string(),
        }),
        unit: point.unit.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Table;

    fn float(word_order: WordOrder) -> Point {
        Point { word_order, ..Point::new("kw", Table::Holding, 9_998, ValueType::F32) }
    }

    #[test]
    fn a_float_in_a_wrong_order_is_doubted_and_one_in_the_right_order_is_not() {
        let words = Block::Words(float(WordOrder::Cdab).encode(Value::Number(230.1)));
        let read_as = |order| {
            let point = float(order);
            likelier_order(&point, &words, point.decode(&words, 0).unwrap().number().unwrap())
        };
        assert_eq!(read_as(WordOrder::Cdab), None);
        assert_eq!(read_as(WordOrder::Abcd), Some(WordOrder::Cdab));
        assert_eq!(likelier_order(&float(WordOrder::Abcd), &Block::Words(vec![0, 0]), 0.0), None, "0 is 0 in every order");
    }

    #[test]
    fn flags_are_shown_as_well_as_numbers() {
        let text = "name = \"SN-1\"\naddress = \"tcp://h\"\n[[point]]\nname = \"on\"\ntable = \"coil\"\naddress = 0";
        let device = crate::device::read(0, text.parse().unwrap(), &mut vec![]).unwrap();
        let mut found = Findings::default();
        assert_eq!(decode(&device, &device.points[0], &Block::Bits(vec![true]), &mut found), Some(Value::Flag(true)));
        assert_eq!(found.findings, []);
    }
}
