//! Simulated machines behind Modbus/TCP. What a machine does follows from its kind, its seed and the instant alone,
//! so that a poll over the wire and a history made without one tell the same story.

use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use edge::point::{Block, Point, Table, Value, ValueType, WordOrder, requests};
use edge::report::{Entry, Identity, Quality, State};
use tokio::net::TcpListener;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

const POWER: &str = "功率_kw";
const RUNNING: &str = "运行";
const ALARM: &str = "报警";
const TEMPERATURE: &str = "温度_c";

/// A machine's week is planned in slots; week after week repeats, the noise does not.
const SLOT_S: i64 = 300;
const WEEK_S: i64 = 7 * 86_400;
const WEEK_SLOTS: usize = (WEEK_S / SLOT_S) as usize;
/// Monday, 2018-01-01 00:00 in Shanghai: counters begin here.
const COUNTERS_FROM_S: i64 = 1_514_736_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    EnergyMeter,
    InjectionMoulding,
    AirCompressor,
    Cnc,
}

impl MachineKind {
    pub const ALL: [MachineKind; 4] =
        [MachineKind::EnergyMeter, MachineKind::InjectionMoulding, MachineKind::AirCompressor, MachineKind::Cnc];

    pub fn name(self) -> &'static str {
        match self {
            MachineKind::EnergyMeter => "电表",
            MachineKind::InjectionMoulding => "注塑机",
            MachineKind::AirCompressor => "空压机",
            MachineKind::Cnc => "数控机床",
        }
    }

    fn rated_kw(self) -> f64 {
        match self {
            MachineKind::EnergyMeter => 55.0,
            MachineKind::InjectionMoulding => 22.0,
            MachineKind::AirCompressor => 37.0,
            MachineKind::Cnc => 11.0,
        }
    }

    /// The points of this kind, as they stand in its registers.
    pub fn points(self) -> Vec<Point> {
        use ValueType::*;
        use WordOrder::*;
        let point = |name: &str, table, address, value_type, word_order, scale| Point {
            name: name.to_string(),
            table,
            address,
            value_type,
            word_order,
            scale,
            offset: 0.0,
        };
        let flag = |name: &str, table, address| point(name, table, address, Bool, Abcd, 1.0);
        match self {
            MachineKind::EnergyMeter => vec![
                point(POWER, Table::Input, 0, F32, Abcd, 1.0),
                point("电压_v", Table::Input, 2, U16, Abcd, 0.1),
                point("电流_a", Table::Input, 3, U16, Abcd, 0.1),
                point("电量_kwh", Table::Input, 4, U32, Abcd, 0.1),
                point(TEMPERATURE, Table::Input, 6, I16, Abcd, 0.1),
                flag(RUNNING, Table::Discrete, 0),
            ],
            MachineKind::InjectionMoulding => vec![
                point(POWER, Table::Holding, 0, F32, Cdab, 1.0),
                point("模次", Table::Holding, 2, U32, Cdab, 1.0),
                point(TEMPERATURE, Table::Holding, 4, U16, Abcd, 0.1),
                flag(RUNNING, Table::Discrete, 0),
                flag(ALARM, Table::Coil, 0),
            ],
            MachineKind::AirCompressor => vec![
                point(POWER, Table::Input, 10, U16, Abcd, 0.01),
                point("排气压力_bar", Table::Input, 11, U16, Abcd, 0.01),
                point(TEMPERATURE, Table::Input, 12, I16, Abcd, 0.1),
                point("运行_min", Table::Input, 13, U32, Badc, 1.0),
                flag(RUNNING, Table::Coil, 0),
            ],
            MachineKind::Cnc => vec![
                point(POWER, Table::Holding, 100, U16, Abcd, 0.01),
                point("主轴转速_rpm", Table::Holding, 101, U16, Abcd, 1.0),
                point("产量", Table::Holding, 102, U32, Dcba, 1.0),
                point(TEMPERATURE, Table::Holding, 104, F32, Abcd, 1.0),
                flag(RUNNING, Table::Discrete, 2),
                flag(ALARM, Table::Discrete, 3),
            ],
        }
    }

    /// The rules by which an agent derives the state, first match first.
    fn rules(self) -> Vec<(&'static str, String)> {
        let mut rules = vec![
            ("running_when", format!(r#"{{ point = "{RUNNING}", is = true }}"#)),
            ("stopped_when", format!(r#"{{ point = "{POWER}", below = 0.05 }}"#)),
        ];
        if self.points().iter().any(|point| point.name == ALARM) {
            rules.insert(0, ("fault_when", format!(r#"{{ point = "{ALARM}", is = true }}"#)));
        }
        rules
    }
}

/// The four tables of a machine; each as long as its points need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registers {
    pub coils: Vec<bool>,
    pub discrete: Vec<bool>,
    pub input: Vec<u16>,
    pub holding: Vec<u16>,
}

impl Registers {
    fn bits(&mut self, table: Table) -> &mut Vec<bool> {
        if table == Table::Coil { &mut self.coils } else { &mut self.discrete }
    }

    fn words(&mut self, table: Table) -> &mut Vec<u16> {
        if table == Table::Input { &mut self.input } else { &mut self.holding }
    }

    fn write(&mut self, point: &Point, value: Value) {
        let start = usize::from(point.address);
        let end = start + usize::from(point.value_type.quantity());
        if point.table.holds_bits() {
            let bits = self.bits(point.table);
            bits.resize(bits.len().max(end), false);
            bits[start] = value == Value::Flag(true);
        } else {
            let words = self.words(point.table);
            words.resize(words.len().max(end), 0);
            words[start..end].copy_from_slice(&encode(point, value));
        }
    }

    /// The answer to a read; `None` if it reaches beyond the table.
    fn read(&self, table: Table, address: u16, quantity: u16) -> Option<Block> {
        let range = usize::from(address)..usize::from(address) + usize::from(quantity);
        Some(match table {
            Table::Coil => Block::Bits(self.coils.get(range)?.to_vec()),
            Table::Discrete => Block::Bits(self.discrete.get(range)?.to_vec()),
            Table::Input => Block::Words(self.input.get(range)?.to_vec()),
            Table::Holding => Block::Words(self.holding.get(range)?.to_vec()),
        })
    }
}

/// The registers of a value: the reverse of what the agent decodes. Casts saturate.
fn encode(point: &Point, value: Value) -> Vec<u16> {
    let number = match value {
        Value::Number(number) => (number - point.offset) / point.scale,
        Value::Flag(flag) => f64::from(u8::from(flag)),
    };
    let wide = match point.value_type {
        ValueType::Bool | ValueType::U16 => return vec![number.round() as u16],
        ValueType::I16 => return vec![(number.round() as i16).cast_unsigned()],
        ValueType::U32 => number.round() as u32,
        ValueType::I32 => (number.round() as i32).cast_unsigned(),
        ValueType::F32 => (number as f32).to_bits(),
    };
    let (high, low) = ((wide >> 16) as u16, (wide & 0xFFFF) as u16);
    match point.word_order {
        WordOrder::Abcd => vec![high, low],
        WordOrder::Cdab => vec![low, high],
        WordOrder::Badc => vec![high.swap_bytes(), low.swap_bytes()],
        WordOrder::Dcba => vec![low.swap_bytes(), high.swap_bytes()],
    }
}

#[derive(Clone)]
pub struct Machine {
    kind: MachineKind,
    seed: u64,
    week: Arc<Week>,
    points: Arc<[Point]>,
}

/// What a machine does in each slot of a week, and how many slots it has run before each.
struct Week {
    states: Vec<State>,
    running_before: Vec<u32>,
    running_total: u32,
}

/// A number in 0..1 that follows from its arguments (SplitMix64).
fn noise(seed: u64, of: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(of).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Week {
    fn plan(kind: MachineKind, seed: u64) -> Week {
        let shift = noise(seed, 1);
        let (from_h, to_h) = if shift < 0.5 {
            (8, 18)
        } else if shift < 0.85 {
            (8, 24)
        } else {
            (0, 24)
        };
        let rests_on_sunday = noise(seed, 2) < 0.6;
        let alarms = kind.points().iter().any(|point| point.name == ALARM);
        let mut week = Week { states: Vec::with_capacity(WEEK_SLOTS), running_before: Vec::with_capacity(WEEK_SLOTS), running_total: 0 };
        for slot in 0..WEEK_SLOTS {
            let second = slot as i64 * SLOT_S;
            let (day, hour) = (second / 86_400, second % 86_400 / 3600);
            let of_slot = noise(seed, 1000 + slot as u64);
            let state = if (rests_on_sunday && day == 6) || !(from_h..to_h).contains(&hour) {
                State::Stopped
            } else if alarms && noise(seed, 5000 + slot as u64 / 3) < 0.01 {
                State::Fault
            } else if hour == 12 || of_slot < 0.12 {
                State::Idle
            } else {
                State::Running
            };
            week.states.push(state);
            week.running_before.push(week.running_total);
            week.running_total += u32::from(state == State::Running);
        }
        week
    }
}

impl Machine {
    pub fn new(kind: MachineKind, seed: u64) -> Machine {
        Machine { kind, seed, week: Arc::new(Week::plan(kind, seed)), points: kind.points().into() }
    }

    pub fn kind(&self) -> MachineKind {
        self.kind
    }

    pub fn state_at(&self, at: DateTime<Utc>) -> State {
        self.week.states[slot_of(at).0]
    }

    /// Seconds that this machine has run since the counters began; whole within a millisecond.
    fn running_s(&self, at: DateTime<Utc>) -> f64 {
        let (slot, in_slot_s) = slot_of(at);
        let weeks = (at.timestamp() - COUNTERS_FROM_S).div_euclid(WEEK_S).max(0);
        let slots = weeks * i64::from(self.week.running_total) + i64::from(self.week.running_before[slot]);
        let partial_s = if self.week.states[slot] == State::Running { in_slot_s } else { 0.0 };
        (slots * SLOT_S) as f64 + partial_s
    }

    fn value(&self, point: &Point, at: DateTime<Utc>) -> Value {
        let state = self.state_at(at);
        let running = state == State::Running;
        let running_s = self.running_s(at);
        let ten_seconds = at.timestamp().div_euclid(10).cast_unsigned();
        let flutter = noise(self.seed, ten_seconds);
        let rated_kw = self.kind.rated_kw() * (0.8 + 0.4 * noise(self.seed, 3));
        let power_kw = match state {
            State::Running => rated_kw * (0.6 + 0.35 * flutter),
            State::Stopped => 0.0,
            _ => rated_kw * (0.04 + 0.02 * flutter),
        };
        let warm = if running { 1.0 } else { 0.2 };
        Value::Number(match point.name.as_str() {
            RUNNING => return Value::Flag(running),
            ALARM => return Value::Flag(state == State::Fault),
            POWER => power_kw,
            "电压_v" => 376.0 + 8.0 * flutter,
            "电流_a" => power_kw * 1000.0 / (380.0 * 1.732 * 0.9),
            "电量_kwh" => rated_kw * 0.775 * running_s / 3600.0,
            "模次" | "产量" => (running_s / (20.0 + 40.0 * noise(self.seed, 4))).floor(),
            "运行_min" => (running_s / 60.0).floor(),
            "排气压力_bar" => {
                if running {
                    6.5 + flutter
                } else {
                    0.2
                }
            }
            "主轴转速_rpm" => {
                if running {
                    (3000.0 + 5000.0 * flutter).round()
                } else {
                    0.0
                }
            }
            _ => match self.kind {
                MachineKind::InjectionMoulding => 60.0 + 160.0 * warm + 5.0 * flutter,
                MachineKind::AirCompressor => 25.0 + 55.0 * warm + 4.0 * flutter,
                MachineKind::EnergyMeter | MachineKind::Cnc => 24.0 + 20.0 * warm + 2.0 * flutter,
            },
        })
    }

    pub fn registers(&self, at: DateTime<Utc>) -> Registers {
        let mut registers = Registers::default();
        for point in self.points.iter() {
            registers.write(point, self.value(point, at));
        }
        registers
    }

    /// What an agent reads from this machine at this instant, in the order of its points.
    pub fn readings_at(&self, at: DateTime<Utc>) -> Vec<(String, Value)> {
        let registers = self.registers(at);
        let mut readings: Vec<(usize, Value)> = Vec::with_capacity(self.points.len());
        for request in requests(&self.points) {
            let Some(block) = registers.read(request.table, request.address, request.quantity) else { continue };
            for (index, start) in request.points {
                readings.extend(self.points[index].decode(&block, start).ok().map(|value| (index, value)));
            }
        }
        readings.sort_by_key(|(index, _)| *index);
        readings.into_iter().map(|(index, value)| (self.points[index].name.clone(), value)).collect()
    }

    /// The entry of a report for this machine, as an agent would make it at this instant.
    pub fn entry_at(&self, device: &str, at: DateTime<Utc>) -> Entry {
        Entry {
            device: device.to_string(),
            at,
            quality: Quality::Normal,
            state: Some(self.state_at(at)),
            readings: self.readings_at(at),
            identity: Identity::default(),
        }
    }
}

/// The slot of the week, and the seconds since it began.
fn slot_of(at: DateTime<Utc>) -> (usize, f64) {
    let second = (at.timestamp() - COUNTERS_FROM_S).rem_euclid(WEEK_S);
    let slot = usize::try_from(second / SLOT_S).unwrap_or_default();
    (slot, (second % SLOT_S) as f64 + f64::from(at.timestamp_subsec_millis().min(999)) / 1000.0)
}

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
        let (table, address, quantity) = match *request {
            Request::ReadCoils(address, quantity) => (Table::Coil, address, quantity),
            Request::ReadDiscreteInputs(address, quantity) => (Table::Discrete, address, quantity),
            Request::ReadInputRegisters(address, quantity) => (Table::Input, address, quantity),
            Request::ReadHoldingRegisters(address, quantity) => (Table::Holding, address, quantity),
            _ => return Err(ExceptionCode::IllegalFunction),
        };
        if quantity == 0 || quantity > table.quantity_max() {
            return Err(ExceptionCode::IllegalDataValue);
        }
        let index = usize::from(unit_id).checked_sub(1);
        let machine = index.and_then(|index| self.machines.get(index)).ok_or(ExceptionCode::GatewayTargetDevice)?;
        let block = machine.registers((self.now)()).read(table, address, quantity).ok_or(ExceptionCode::IllegalDataAddress)?;
        match (table, block) {
            (Table::Coil, Block::Bits(bits)) => Ok(Response::ReadCoils(bits)),
            (Table::Discrete, Block::Bits(bits)) => Ok(Response::ReadDiscreteInputs(bits)),
            (Table::Input, Block::Words(words)) => Ok(Response::ReadInputRegisters(words)),
            (Table::Holding, Block::Words(words)) => Ok(Response::ReadHoldingRegisters(words)),
            _ => Err(ExceptionCode::ServerDeviceFailure),
        }
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

/// What an agent's configuration needs to know beside the machines.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    pub gateway: String,
    pub token: String,
    pub enterprise: Option<String>,
    pub broker_url: String,
    pub spool_dir: String,
    pub report_every_s: f64,
    pub poll_ms: u64,
    pub devices: Vec<DeviceSetup>,
}

#[derive(Clone, Debug)]
pub struct DeviceSetup {
    pub name: String,
    pub address: SocketAddr,
    pub unit_id: u8,
    pub kind: MachineKind,
}

/// The configuration (TOML) of an agent that reads these machines.
pub fn agent_config(setup: &AgentSetup) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_string()).to_string();
    let mut out = format!("[gateway]\nid = {}\ntoken = {}\n", quoted(&setup.gateway), quoted(&setup.token));
    // Writing to a String cannot fail.
    if let Some(enterprise) = &setup.enterprise {
        let _ = writeln!(out, "enterprise = {}", quoted(enterprise));
    }
    let _ = writeln!(out, "\n[broker]\nurl = {}\n\n[spool]\ndir = {}", quoted(&setup.broker_url), quoted(&setup.spool_dir));
    let _ = writeln!(out, "\n[report]\nevery_s = {:?}", setup.report_every_s);
    for device in &setup.devices {
        let _ = writeln!(out, "\n[[device]]\nname = {}\naddress = \"tcp://{}\"", quoted(&device.name), device.address);
        let _ = writeln!(out, "unit_id = {}\npoll_ms = {}", device.unit_id, setup.poll_ms);
        for (key, rule) in device.kind.rules() {
            let _ = writeln!(out, "{key} = {rule}");
        }
        for point in device.kind.points() {
            let _ = writeln!(out, "\n[[device.point]]\nname = {}\ntable = {:?}", quoted(&point.name), point.table.name());
            let _ = writeln!(out, "address = {}\ntype = {:?}", point.address, point.value_type.name());
            if point.value_type.quantity() == 2 {
                let order = WordOrder::ALL.iter().find(|(order, _)| *order == point.word_order).map_or("", |(_, name)| name);
                let _ = writeln!(out, "word_order = {order:?}");
            }
            if point.value_type != ValueType::Bool {
                let _ = writeln!(out, "scale = {:?}", point.scale);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio_modbus::client::{Client, tcp};
    use tokio_modbus::{Slave, slave::SlaveContext};

    use super::*;

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
            for request in requests(&points) {
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

    #[test]
    fn an_agent_with_the_generated_configuration_sees_every_state_as_it_is() {
        let devices = MachineKind::ALL.map(|kind| DeviceSetup {
            name: format!("{} \"一号\"", kind.name()),
            address: SocketAddr::from(([127, 0, 0, 1], 1502)),
            unit_id: 1,
            kind,
        });
        let setup = AgentSetup {
            gateway: "gw-1".into(),
            token: "t\\".into(),
            enterprise: Some("91440300708461136T".into()),
            broker_url: "mqtt://127.0.0.1:1883".into(),
            spool_dir: "/tmp/spool".into(),
            report_every_s: 1.0,
            poll_ms: 500,
            devices: devices.to_vec(),
        };
        let config = edge::Config::read(&agent_config(&setup), []).unwrap();
        assert_eq!(config.devices.len(), MachineKind::ALL.len());
        let mut seen = std::collections::BTreeSet::new();
        for (device, kind) in config.devices.iter().zip(MachineKind::ALL) {
            assert_eq!(device.points, kind.points());
            let machine = Machine::new(kind, 3);
            for slot in 0..2 * WEEK_SLOTS as i64 {
                let now = at(WEDNESDAY_MORNING) + chrono::Duration::seconds(slot * SLOT_S);
                let readings = machine.readings_at(now);
                assert_eq!(readings.len(), device.points.len());
                assert_eq!(device.state(&readings), Some(machine.state_at(now)), "{kind:?} {now}");
                seen.insert(format!("{:?}", machine.state_at(now)));
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Fault", "Idle", "Running", "Stopped"]);
    }

    #[test]
    fn counters_never_go_back_and_seeds_differ() {
        for kind in MachineKind::ALL {
            let machine = Machine::new(kind, 5);
            let counter = machine.points.iter().position(|point| point.value_type == ValueType::U32).unwrap();
            let mut before = -1.0;
            for minute in 0..3 * 7 * 24 * 60 {
                let (_, value) = machine.readings_at(at(WEDNESDAY_MORNING) + chrono::Duration::minutes(minute))[counter].clone();
                let Value::Number(number) = value else { panic!("{value:?}") };
                assert!(number >= before, "{kind:?} minute {minute}: {number} after {before}");
                before = number;
            }
            assert!(before > 0.0);
            assert_ne!(machine.readings_at(at(WEDNESDAY_MORNING)), Machine::new(kind, 6).readings_at(at(WEDNESDAY_MORNING)));
        }
    }
}
