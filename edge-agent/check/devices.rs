//! Reads each point of each device once, alone, so that a wrong address is named and not the request it was merged into.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::agent_runs;
use super::points::{decode, refused, shown};
use super::{Finding, Findings};
use crate::bus::Address;
use crate::config::Config;
use crate::device::Device;
use crate::fault::FaultCode;
use crate::identity::IdentityField;
use crate::modbus::{Answer, Connection, IdentityLevel, ReadRequest, ReadTrouble};
use crate::point::{Block, Table};

const SERIAL_OBJECT_FIRST: u8 = 0x80;
/// A machine that always has more to say is not listened to for ever.
const IDENTITY_ANSWERS_MAX: usize = 16;
/// Where a single machine most often answers.
const UNITS_USUAL: [u8; 3] = [1, 255, 2];

/// Addresses are looked at side by side: a silent one does not make the technician wait for all others.
pub(super) async fn look(config: Arc<Config>, found: &mut Findings) {
    let mut buses: BTreeMap<&Address, Vec<(Device, Trust)>> = BTreeMap::new();
    for device in &config.devices {
        match trust(device, &config.spool.dir, found) {
            Some(trust) => buses.entry(&device.address).or_default().push((device.clone(), trust)),
            None => found.untried.push(place(device)),
        }
    }
    let looks: Vec<_> =
        buses.into_iter().map(|(address, devices)| tokio::spawn(look_at(config.clone(), address.clone(), devices))).collect();
    for look in looks {
        match look.await {
            Ok(seen) => {
                found.findings.extend(seen.findings);
                found.points.extend(seen.points);
            }
            Err(error) => {
                found.add(FaultCode::CheckFailed, "device", format!("检查中断：{error}"), format!("the check broke off: {error}"))
            }
        }
    }
}

/// How far the configuration of a device can be relied on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Whole,
    /// Its points have faults: only whether it answers is of interest.
    Reachability,
}

/// `None`: its faults, or those of its bus, would only show again.
fn trust(device: &Device, spool_dir: &Path, found: &Findings) -> Option<Trust> {
    let address = &device.address;
    let bus_spoilt = match address {
        Address::Rtu { port } => found.fault_at(port) || found.fault_at("bus[") || agent_runs(spool_dir),
        Address::Tls { .. } => {
            found.fault_at(&format!("bus ({address})")) || found.fault_at("bus[") || found.fault_at(&address.to_string())
        }
        Address::Tcp { .. } | Address::RtuOverTcp { .. } => false,
    };
    let name = format!(" ({})", device.name);
    let faulty = |finding: &Finding| Some(finding.place.strip_prefix("device[")?.split_once(&name)?.1.to_string());
    let keys: Vec<String> = found.findings.iter().filter_map(faulty).collect();
    let any = |starts: &[&str]| keys.iter().any(|key| starts.iter().any(|start| key.starts_with(start)));
    if bus_spoilt || any(&[".unit_id", ".timeout_ms", ".template"]) {
        None
    } else if any(&[".point"]) || keys.iter().any(String::is_empty) {
        Some(Trust::Reachability)
    } else {
        Some(Trust::Whole)
    }
}

async fn look_at(config: Arc<Config>, address: Address, devices: Vec<(Device, Trust)>) -> Findings {
    let mut found = Findings::default();
    let mut bus = Bus { config: &config, address: &address, connection: None };
    // Serial ports are left alone then.
    let beside_agent = agent_runs(&config.spool.dir);
    let mut silent = Vec::new();
    let mut answered = false;
    for (device, trust) in &devices {
        let mut of_device = Findings::default();
        match bus.look(device, &mut of_device).await {
            Seen::Answered => answered = true,
            Seen::Silent => silent.push(device),
            Seen::Unreachable => {
                found.findings.append(&mut of_device.findings);
                say_agent_may_hold(&mut found, beside_agent);
                return found;
            }
        }
        if *trust == Trust::Reachability {
            of_device.findings.retain(|finding| finding.name == FaultCode::AnswerWrong.name());
            of_device.points.clear();
        }
        found.findings.append(&mut of_device.findings);
        found.points.append(&mut of_device.points);
    }
    let others = match silent.first() {
        Some(device) if !answered => bus.units_that_answer(device).await,
        _ => Vec::new(),
    };
    for device in silent {
        say_silent(device, answered, &others, &mut found);
    }
    say_agent_may_hold(&mut found, beside_agent);
    found
}

/// Many machines admit one connection at a time: what does not answer `check` may answer the agent at that moment.
fn say_agent_may_hold(found: &mut Findings, beside_agent: bool) {
    let names = [FaultCode::DeviceUnreachable, FaultCode::DeviceSilent, FaultCode::AnswerWrong].map(FaultCode::name);
    for finding in found.findings.iter_mut().filter(|finding| beside_agent && names.contains(&finding.name)) {
        finding.zh += "。采集程序正在运行，设备可能只允许一个连接：请先看 shangyun-edge status，或 systemctl stop shangyun-edge 后再检查";
        finding.en += ". The agent is running, and the device may admit one connection only: look at shangyun-edge status, or stop the agent \
                       (systemctl stop shangyun-edge) and check again";
    }
}

enum Seen {
    Answered,
    Silent,
    /// Nothing is to be had at the whole address.
    Unreachable,
}

fn say_silent(device: &Device, configured_answer: bool, others: &[u8], found: &mut Findings) {
    let (unit_id, address) = (device.unit_id, &device.address);
    if let Some(other) = others.first() {
        found.add(
            FaultCode::UnitSilent,
            place(device),
            format!("{address} 上单元号 {unit_id} 没有应答，单元号 {other} 有；请核对 unit_id，多半应为 {other}"),
            format!("at {address} unit id {unit_id} does not answer, {other} does; check unit_id, most likely it is {other}"),
        );
    } else if configured_answer {
        found.add(
            FaultCode::UnitSilent,
            place(device),
            format!("{address} 上其他单元有应答，单元号 {unit_id} 没有；请核对 unit_id 与该设备的电源、接线"),
            format!("other units answer at {address}, unit id {unit_id} does not; check unit_id, and this device's power and wiring"),
        );
    } else {
        let (settings_zh, settings_en) =
            if address.rtu_frames() { ("、波特率与校验位", ", baud rate and parity") } else { ("", "") };
        found.add(
            FaultCode::DeviceSilent,
            place(device),
            format!("{address} 单元号 {unit_id} 没有应答；请核对单元号{settings_zh}、接线与设备电源"),
            format!("unit id {unit_id} at {address} does not answer; check unit id{settings_en}, wiring and power"),
        );
    }
}

pub(super) fn place(device: &Device) -> String {
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

    /// Of the usual unit ids, those that answer where the configured one does not.
    async fn units_that_answer(&mut self, device: &Device) -> Vec<u8> {
        let mut units = Vec::new();
        for unit_id in UNITS_USUAL.into_iter().filter(|unit_id| *unit_id != device.unit_id) {
            let asked = Device { unit_id, retries: 0, ..device.clone() };
            let request = ReadRequest::Values { table: Table::Holding, address: 0, quantity: 1 };
            match self.ask(&asked, &request).await {
                Err(ReadTrouble::Exception(10 | 11)) => {}
                Ok(_) | Err(ReadTrouble::Exception(_)) => units.push(unit_id),
                Err(_) => {}
            }
        }
        units
    }

    /// What the machine itself says is its serial number, against the configuration.
    async fn identity(&mut self, device: &Device, found: &mut Findings) {
        let Some(configured) = device.identity.serial.as_deref() else { return };
        let said = self.serial_in_registers(device).await;
        if let Some(said) = &said
            && said != configured
        {
            found.add(
                FaultCode::SerialDiffers,
                place(device),
                format!("设备自报序列号“{said}”，配置的是“{configured}”；请确认接的是这台设备"),
                format!(
                    "the machine says that its serial is `{said}`, the configuration `{configured}`; make sure that this is the machine"
                ),
            );
        }
        if said.is_some() || !device.identify {
            return;
        }
        // Vendors put the serial number among their own objects, where they give it at all.
        let own = self.vendor_objects(device).await;
        if !own.is_empty() && !own.iter().any(|said| said.trim() == configured) {
            let said = own.join(", ");
            found.add(
                FaultCode::SerialUnconfirmed,
                place(device),
                format!("设备自报“{said}”，其中没有配置的序列号“{configured}”；请确认接的是这台设备"),
                format!(
                    "the machine says `{said}` of itself, not the configured serial `{configured}`; make sure that this is the machine"
                ),
            );
        }
    }

    async fn serial_in_registers(&mut self, device: &Device) -> Option<String> {
        let point = device.identity_points.iter().find(|point| point.field == IdentityField::Serial)?;
        let request = ReadRequest::Values { table: point.table, address: point.address, quantity: point.quantity };
        match self.ask(device, &request).await {
            Ok(Answer::Block(Block::Words(words))) => point.decode(&words).ok().flatten(),
            _ => None,
        }
    }

    async fn vendor_objects(&mut self, device: &Device) -> Vec<String> {
        let mut own = Vec::new();
        let mut object = SERIAL_OBJECT_FIRST;
        for _ in 0..IDENTITY_ANSWERS_MAX {
            let request = ReadRequest::Identification { level: IdentityLevel::Extended, object };
            let Ok(Answer::Identity(said)) = self.ask(device, &request).await else { break };
            own.extend(said.objects.into_iter().filter(|(object, _)| *object >= SERIAL_OBJECT_FIRST).map(|(_, said)| said));
            let Some(next) = said.next_object else { break };
            object = next;
        }
        own.dedup();
        own
    }
}
