//! Reads each point of each device once, alone, so that a wrong address is named and not the request it was merged into.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Findings, PointNow};
use crate::bus::Address;
use crate::config::Config;
use crate::device::Device;
use crate::fault::FaultCode;
use crate::modbus::{Answer, Connection, IdentityLevel, ReadRequest, ReadTrouble};
use crate::point::{Block, Point, Table, Value, ValueType, WordOrder};

const SERIAL_OBJECT_FIRST: u8 = 0x80;
/// Beyond these a float is more likely read in a wrong order than true.
const SANE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

pub(super) async fn look(config: &Config, found: &mut Findings) {
    let mut buses: BTreeMap<&Address, Vec<&Device>> = BTreeMap::new();
    for device in &config.devices {
        buses.entry(&device.address).or_default().push(device);
    }
    for (address, devices) in buses {
        let mut bus = Bus { config, address, connection: None };
        let mut silent = Vec::new();
        let mut answered = false;
        for device in devices {
            match bus.look(device, found).await {
                Seen::Answered => answered = true,
                Seen::Silent => silent.push(device),
                Seen::Unreachable => break,
            }
        }
        for device in silent {
            say_silent(device, answered, found);
        }
    }
}

enum Seen {
    Answered,
    Silent,
    /// Nothing is to be had at the whole address.
    Unreachable,
}

fn say_silent(device: &Device, others_answer: bool, found: &mut Findings) {
    let (unit_id, address) = (device.unit_id, &device.address);
    if others_answer {
        found.add(
            FaultCode::UnitSilent,
            place(device),
            format!("{address} 上其他单元有应答，单元号 {unit_id} 没有；请核对 unit_id 与该设备的电源、接线"),
            format!("other units answer at {address}, unit id {unit_id} does not; check unit_id, and this device's power and wiring"),
        );
    } else {
        found.add(
            FaultCode::DeviceSilent,
            place(device),
            format!("{address} 单元号 {unit_id} 没有应答；请核对单元号、波特率、接线与设备电源"),
            format!("unit id {unit_id} at {address} does not answer; check unit id, baud rate, wiring and power"),
        );
    }
}

fn place(device: &Device) -> String {
    format!("device ({})", device.name)
}

struct Bus<'c> {
    config: &'c Config,
    address: &'c Address,
    connection: Option<Connection>,
}

impl Bus<'_> {
    async fn ask(&mut self, device: &Device, request: &ReadRequest) -> Result<Answer, ReadTrouble> {
        let mut last = ReadTrouble::Timeout;
        for _ in 0..=device.retries {
            let connection = match self.connection.take().filter(Connection::usable) {
                Some(connection) => connection,
                None => Connection::open(self.address, &self.config.bus(self.address), device.timeout.max(Duration::from_secs(3)))
                    .await
                    .map_err(ReadTrouble::Unreachable)?,
            };
            let connection = self.connection.insert(connection);
            match connection.read(device.unit_id, request, device.timeout).await {
                Ok(answer) => return Ok(answer),
                Err(trouble @ ReadTrouble::Exception(_)) => return Err(trouble),
                Err(trouble) => last = trouble,
            }
        }
        Err(last)
    }

    async fn look(&mut self, device: &Device, found: &mut Findings) -> Seen {
        let mut values = Vec::new();
        let mut spent = Duration::ZERO;
        for point in &device.points {
            let begun = Instant::now();
            let request = ReadRequest::Values { table: point.table, address: point.address, quantity: point.value_type.quantity() };
            let answer = self.ask(device, &request).await;
            spent += begun.elapsed();
            let value = match answer {
                Ok(Answer::Block(block)) => decode(device, point, &block, found),
                Ok(Answer::Identity(_)) => None,
                Err(ReadTrouble::Unreachable(reason)) => {
                    let trouble = ReadTrouble::Unreachable(reason);
                    found.add(FaultCode::DeviceUnreachable, self.address.to_string(), trouble.zh(), trouble.en());
                    return Seen::Unreachable;
                }
                // 11: the gateway in front of the machine says that nobody answered it.
                Err(ReadTrouble::Timeout | ReadTrouble::Exception(10 | 11)) => return Seen::Silent,
                Err(trouble) => {
                    let whole = refused(device, point, &trouble, found);
                    if whole {
                        return Seen::Answered;
                    }
                    None
                }
            };
            values.push(value);
            found.points.push(shown(device, point, value));
        }
        let numbers: Vec<f64> = values.iter().flatten().filter_map(|value| value.number()).collect();
        if numbers.len() > 1 && numbers.iter().all(|number| number.abs() < f64::MIN_POSITIVE) {
            found.add(
                FaultCode::ValuesAllZero,
                place(device),
                "所有数值都是 0；若设备正在运行，请核对地址",
                "all numbers are 0; if the machine runs, check the addresses",
            );
        }
        if spent > device.poll {
            let (spent_ms, poll_ms) = (spent.as_millis(), device.poll.as_millis());
            found.add(
                FaultCode::DeviceSlow,
                place(device),
                format!("逐点读完用了 {spent_ms} ms，超过 poll_ms = {poll_ms}；采集会跟不上，请调大 poll_ms"),
                format!("reading point by point took {spent_ms} ms, longer than poll_ms = {poll_ms}; raise poll_ms"),
            );
        }
        self.identity(device, found).await;
        Seen::Answered
    }

    /// What the machine itself says is its serial number, against the configuration.
    async fn identity(&mut self, device: &Device, found: &mut Findings) {
        let Some(configured) = device.identity.serial.as_deref().filter(|_| device.identify) else { return };
        let request = ReadRequest::Identification { level: IdentityLevel::Basic, object: 0 };
        let Ok(Answer::Identity(identity)) = self.ask(device, &request).await else { return };
        // Vendors put the serial number among their own objects, where they give it at all.
        let own: Vec<&str> =
            identity.objects.iter().filter(|(object, _)| *object >= SERIAL_OBJECT_FIRST).map(|(_, said)| said.as_str()).collect();
        if !own.is_empty() && !own.contains(&configured) {
            let said = own.join(", ");
            found.add(
                FaultCode::SerialDiffers,
                place(device),
                format!("设备自报“{said}”，配置的序列号是“{configured}”；请确认接的是这台设备"),
                format!("the machine says `{said}`, the configured serial is `{configured}`; make sure that this is the machine"),
            );
        }
    }
}

/// True where asking for further points makes no sense.
fn refused(device: &Device, point: &Point, trouble: &ReadTrouble, found: &mut Findings) -> bool {
    let at = format!("{}.point ({})", place(device), point.name);
    let (table, address, reference) = (point.table.name(), point.address, reference(point));
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

fn decode(device: &Device, point: &Point, block: &Block, found: &mut Findings) -> Option<Value> {
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
    let number = value.number()?;
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

fn reference(point: &Point) -> String {
    let first = match point.table {
        Table::Coil => 0,
        Table::Discrete => 1,
        Table::Input => 3,
        Table::Holding => 4,
    };
    let number = u32::from(point.address) + 1;
    if number > 9999 { format!("{first}{number:05}") } else { format!("{first}{number:04}") }
}

fn shown(device: &Device, point: &Point, value: Option<Value>) -> PointNow {
    PointNow {
        device: device.name.clone(),
        point: point.name.to_string(),
        address: format!("{} {}", point.table.name(), point.address),
        reference: reference(point),
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
    fn references_are_written_as_handbooks_do() {
        assert_eq!(reference(&float(WordOrder::Abcd)), "49999");
        assert_eq!(reference(&Point { address: 9_999, ..float(WordOrder::Abcd) }), "410000");
        assert_eq!(reference(&Point { address: 0, table: Table::Coil, ..float(WordOrder::Abcd) }), "00001");
    }
}
