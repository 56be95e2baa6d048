//! `shangyun-edge simulate`: machines that are none, for a dry run of an installation.

mod derived;
mod machine;
mod movement;
mod printed;
mod server;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use toml::Table as TomlTable;

use crate::bus::{Address, BusSettings};
use crate::config::{Config, ConfigError, read_file};
use crate::device::{self, Device};
use crate::fault::Fault;
use crate::template::Template;

pub use machine::{Machine, Refusal};
pub use movement::{Movement, Phase, Simulation, Span, Step};
use server::{Bus, Door, MachineTime};
pub use server::{Listen, answer_read};

/// Unit ids of machines end here; those above have other uses on a line.
const UNIT_ID_MAX: u8 = 247;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["list", "template", "config"])))]
pub struct Args {
    /// Show the templates
    #[arg(long)]
    list: bool,
    /// A template's id, or the path of a template file
    #[arg(long, value_name = "ID")]
    template: Option<String>,
    /// Serve every device of a configuration, each address at a port of its own from --listen's upwards; nothing of it is changed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// tcp://HOST:PORT, rtu+tcp://HOST:PORT or rtu:///dev/ttyUSB0
    #[arg(long, value_name = "ADDRESS", default_value = "tcp://127.0.0.1:1502")]
    listen: Listen,
    /// Of a serial port
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,
    /// Of the first machine; the others follow
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(UNIT_ID_MAX)))]
    unit_id: u8,
    /// How many machines of the template answer there
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(UNIT_ID_MAX)))]
    devices: u8,
    /// Machines of other seeds do other things at the same time
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The time stands still for the machines, so that their values do
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
}

/// What is served at one address.
struct Served {
    listen: Listen,
    devices: Vec<(Device, Machine)>,
}

enum Failed {
    /// Wrong use or configuration.
    Use(String),
    Io(String),
}

impl From<Vec<Fault>> for Failed {
    fn from(faults: Vec<Fault>) -> Failed {
        Failed::Use(ConfigError { faults }.to_string())
    }
}

/// Serves until SIGINT or SIGTERM.
pub fn run(args: &Args) -> ExitCode {
    let done = if args.list { written(&printed::list()) } else { serve(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Use(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
        Err(Failed::Io(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads this may have gone: then there is nobody to tell.
fn written(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failed::Io(error.to_string())),
        _ => Ok(()),
    }
}

fn serve(args: &Args) -> Result<(), Failed> {
    let (served, device_tables) = match (&args.template, &args.config) {
        (Some(named), _) => of_template(args, named)?,
        (None, Some(file)) => of_config(args, file)?,
        (None, None) => return Err(Failed::Use("name a template or a configuration".to_string())),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failed::Io(error.to_string()))?.block_on(serve_all(args, served, device_tables))
}

async fn serve_all(args: &Args, served: Vec<Served>, mut device_tables: Vec<TomlTable>) -> Result<(), Failed> {
    let stopped = |error: io::Error| Failed::Io(error.to_string());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let mut doors = JoinSet::new();
    let mut said = printed::beginning(args.at);
    for Served { listen, devices } in served {
        let door = Door::open(&listen, args.baud)
            .await
            .map_err(|error| Failed::Io(format!("{listen}: 无法监听（{error}）/ cannot be served ({error})")))?;
        let address = door.address().map_err(stopped)?;
        for (index, (device, machine)) in devices.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &devices[before].0);
            said.push_str(&printed::device(&address, device, machine, before));
            let table = device_tables.iter_mut().find(|table| table.get("name").and_then(|name| name.as_str()) == Some(&device.name));
            if let Some(table) = table {
                table.insert("address".into(), address.clone().into());
            }
        }
        let machines = Arc::new(devices.into_iter().map(|(device, machine)| (device.unit_id, machine)).collect());
        doors.spawn(door.serve(Bus { machines, time: MachineTime(args.at), line: !matches!(listen, Listen::Tcp(_)) }));
    }
    let config = printed::config(device_tables, serial_bus(args)).map_err(|error| Failed::Io(error.to_string()))?;
    written(&format!("{said}{config}{}", printed::READY))?;
    tokio::select! {
        Some(ended) = doors.join_next() => match ended {
            Ok(Err(error)) => Err(stopped(error)),
            _ => Ok(()),
        },
        _ = async { terminate.as_mut().ok()?.recv().await } => Ok(()),
        _ = async { interrupt.as_mut().ok()?.recv().await } => Ok(()),
    }
}

/// What a configuration must say of the serial port.
fn serial_bus(args: &Args) -> Option<TomlTable> {
    let serial = matches!(args.listen, Listen::Rtu(_)) && args.baud != BusSettings::default().baud;
    let keys = [("address".to_string(), args.listen.to_string().into()), ("baud".to_string(), i64::from(args.baud).into())];
    serial.then(|| keys.into_iter().collect())
}

/// Machines of one template behind one address, and the `[[device]]` of each.
fn of_template(args: &Args, named: &str) -> Result<(Vec<Served>, Vec<TomlTable>), Failed> {
    let template = Template::find(named)?;
    let last = u16::from(args.unit_id) + u16::from(args.devices) - 1;
    if last > u16::from(UNIT_ID_MAX) {
        return Err(Failed::Use(format!(
            "单元号会到 {last}，至多 {UNIT_ID_MAX}；请减小 --unit-id 或 --devices / unit ids would reach {last}, {UNIT_ID_MAX} at most: lower --unit-id or --devices"
        )));
    }
    let mut faults = Vec::new();
    let (mut devices, mut tables) = (Vec::new(), Vec::new());
    for (number, unit_id) in (1..).zip(args.unit_id..=last as u8) {
        let mut table = TomlTable::new();
        table.insert("name".into(), format!("SIM-{number:04}").into());
        table.insert("address".into(), "tcp://127.0.0.1".into());
        table.insert("unit_id".into(), i64::from(unit_id).into());
        table.insert("template".into(), named.into());
        tables.push(table.clone());
        let Some(device) = device::read(number - 1, table, &mut faults) else { continue };
        let seed = args.seed.wrapping_add(number as u64 - 1);
        let machine = Machine::new(&device, template.simulation.as_ref(), &template.id, seed);
        devices.push((device, machine));
    }
    if faults.is_empty() { Ok((vec![Served { listen: args.listen.clone(), devices }], tables)) } else { Err(faults.into()) }
}

/// Every device of a configuration; what shares an address there shares one here.
fn of_config(args: &Args, file: &Path) -> Result<(Vec<Served>, Vec<TomlTable>), Failed> {
    let wrong = |error: ConfigError| Failed::Use(error.to_string());
    let config = Config::load(file).map_err(wrong)?;
    let mut table = read_file(file).map_err(wrong)?;
    let tables: Vec<TomlTable> = match table.remove("device") {
        Some(toml::Value::Array(devices)) => devices.into_iter().filter_map(|device| device.as_table().cloned()).collect(),
        _ => Vec::new(),
    };
    if config.devices.is_empty() {
        return Err(Failed::Use(format!("{}: 没有设备 / has no devices", file.display())));
    }
    let mut served: Vec<(Address, Served)> = Vec::new();
    for (number, device) in (0..).zip(config.devices) {
        let named = tables.get(number as usize).and_then(|table| table.get("template")).and_then(|named| named.as_str());
        let simulation = match named {
            Some(named) => Template::find(named)?.simulation,
            None => None,
        };
        let machine = Machine::new(&device, simulation.as_ref(), named.unwrap_or("own"), args.seed.wrapping_add(number));
        match served.iter_mut().find(|(address, _)| *address == device.address) {
            Some((_, served)) => served.devices.push((device, machine)),
            None => {
                let listen = beside(&args.listen, &device.address, served.len())?;
                served.push((device.address.clone(), Served { listen, devices: vec![(device, machine)] }));
            }
        }
    }
    Ok((served.into_iter().map(|(_, served)| served).collect(), tables))
}

/// The n-th port from the first on, with the frames that the address itself has.
fn beside(first: &Listen, address: &Address, n: usize) -> Result<Listen, Failed> {
    let refused = || Failed::Use("--config 须配 --listen tcp://主机:端口 / --config needs --listen tcp://HOST:PORT".to_string());
    let Listen::Tcp(host) = first else { return Err(refused()) };
    let (host, port) = host.rsplit_once(':').ok_or_else(refused)?;
    let port: u16 = port.parse().map_err(|_| refused())?;
    let nth = if port == 0 { Some(0) } else { u16::try_from(n).ok().and_then(|n| port.checked_add(n)) };
    let host = format!("{host}:{}", nth.ok_or_else(refused)?);
    Ok(if address.rtu_frames() { Listen::RtuOverTcp(host) } else { Listen::Tcp(host) })
}
