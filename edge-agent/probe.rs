//! `shangyun-edge probe`: what answers at an address, and where the values of a machine's display stand in its registers. For whoever
//! stands before a machine with a bad handbook.
//!
//! `units` finds who answers, `scan` what can be read, through `asker`, which keeps manners. `find` judges, from what was read alone.

mod asker;
mod cell;
mod connection;
mod encoding;
mod expected;
mod find;
mod joint;
mod movement;
mod paste;
mod reader;
mod region;
mod scan;
mod score;
mod show;
mod structure;
mod style;
mod survey;
mod units;

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::bus::{Address, BusSettings, Parity};
use crate::modbus::ReadTrouble;
use crate::point::Table;
use asker::{Asker, Manners};
use connection::Line;
use expected::Expected;
use survey::{Survey, Wish, survey};

/// A serial line belongs to the machines on it: no more than twenty questions a second.
const PAUSE_SERIAL: Duration = Duration::from_millis(50);
const QUESTIONS_MAX_SERIAL: u32 = 3_000;
const QUESTIONS_MAX: u32 = 25_000;
const TIME_MAX: Duration = Duration::from_secs(900);
const ADDRESSES: u32 = 65_536;

#[derive(Args)]
pub struct ProbeArgs {
    /// tcp://HOST:PORT, tls://HOST:PORT, rtu+tcp://HOST:PORT or rtu:///dev/ttyUSB0
    address: String,
    /// Unit ids: 7, or 1,2,5, or 1-247; without it all are tried
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    unit_id: Vec<String>,
    /// holding, input, coil, discrete; with --expect holding and input by default, else all
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    table: Vec<String>,
    /// First address, zero-based
    #[arg(long, value_name = "ADDRESS")]
    from: Option<u16>,
    /// Last address, zero-based
    #[arg(long, value_name = "ADDRESS")]
    to: Option<u16>,
    /// Values as they stand on the machine's display, with all their digits
    #[arg(long, value_name = "VALUE", num_args = 1.., allow_negative_numbers = true)]
    expect: Vec<String>,
    /// The same with names for the configuration: 电压=230.1
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    expect_name: Vec<String>,
    /// How far the value may be from the display's by now
    #[arg(long, value_name = "PERCENT", default_value = "0.5%")]
    tolerance: String,
    /// The longest wait for one answer
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    timeout_ms: u64,
    /// Questions in all; default 25000, on serial lines 3000
    #[arg(long, value_name = "COUNT")]
    requests_max: Option<u32>,
    /// Of a serial line
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,
    /// none, even, odd
    #[arg(long, default_value = "none")]
    parity: String,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: u8,
    /// For tls:// addresses: the CA that has issued the device's certificate
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// For a tls:// device that asks who we are: our certificate and its key
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    client_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    client_key_file: Option<PathBuf>,
    /// The name in the tls:// device's certificate, where that is not the address
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

/// What of the command line is wrong, in Chinese and English.
struct WrongUse(String);

struct Plan {
    address: Address,
    settings: BusSettings,
    manners: Manners,
    wish: Wish,
}

pub fn run(args: &ProbeArgs) -> ExitCode {
    let plan = match plan(args) {
        Ok(plan) => plan,
        Err(WrongUse(why)) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut asker = Asker::new(Line::new(plan.address.clone(), plan.settings.clone()), plan.manners);
    let surveyed = runtime.block_on(survey(&mut asker, &plan.wish, |zh, en| eprintln!("{zh} · {en}")));
    tell(&plan, &surveyed)
}

fn tell(plan: &Plan, surveyed: &Survey) -> ExitCode {
    if surveyed.units.present.is_empty() {
        match &surveyed.units.unreachable {
            Some(why) => {
                let why = ReadTrouble::from(why.clone());
                println!("{}\n{}", why.zh(), why.en());
            }
            None => {
                println!("没有单元号应答；请核对地址、单元号、接线与串口参数（波特率、校验）");
                println!("no unit id answers; check the address, the unit id, the wiring and the serial line's settings (baud, parity)");
            }
        }
        return ExitCode::FAILURE;
    }
    print!("{}", show::map(surveyed));
    let (found, all) = (&surveyed.found, plan.wish.expected.len());
    found.iter().for_each(|found| print!("{}", show::found(found)));
    let place_count = found.iter().filter(|found| !found.ranked.is_empty()).count();
    if place_count > 0 {
        let registers_max = |candidate: &score::Candidate| {
            let scan = surveyed.scans.iter().find(|scan| (scan.unit_id, scan.table) == (candidate.unit_id, candidate.table));
            scan.map_or(125, scan::TableScan::quantity_max)
        };
        println!("\n# 粘贴到配置文件 to paste into the configuration");
        print!("{}", paste::toml(&plan.address, &plan.settings, found, registers_max));
    }
    eprintln!("共问 {} 次 · {} requests in all", surveyed.asked, surveyed.asked);
    let readable = surveyed.scans.iter().any(|scan| !scan.ranges().is_empty());
    let complete = if all > 0 { place_count == all } else { readable };
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan(args: &ProbeArgs) -> Result<Plan, WrongUse> {
    let wrong = |zh: &str, en: &str| WrongUse(format!("{zh}\n{en}"));
    let address = Address::read(&args.address).ok_or_else(|| {
        wrong(
            "地址应为 tcp://主机:端口、rtu+tcp://主机:端口、tls://主机:端口 或 rtu:///dev/ttyUSB0",
            "the address must look like tcp://HOST:PORT, rtu+tcp://HOST:PORT, tls://HOST:PORT or rtu:///dev/ttyUSB0",
        )
    })?;
    let expected = expected(args).ok_or_else(|| {
        wrong(
            "期望值应为不等于零的数，写法同显示屏，如 --expect 230.1 或 --expect-name 电压=230.1；地址写在最前面",
            "expected values must be numbers other than zero, written as the display does, such as --expect 230.1 or --expect-name U=230.1; the address goes first",
        )
    })?;
    let tables = tables(&args.table, !expected.is_empty())
        .ok_or_else(|| wrong("--table 只能是 holding、input、coil、discrete", "--table takes holding, input, coil, discrete"))?;
    let serial = address.rtu_frames();
    let named = !args.unit_id.is_empty();
    let unit_ids = if named { unit_ids(&args.unit_id, serial) } else { Some(units::order(serial)) };
    let unit_ids = unit_ids
        .ok_or_else(|| {
            let (first, last) = unit_ids_valid(serial).into_inner();
            WrongUse(format!(
                "此地址的 --unit-id 应为 {first} 到 {last}，如 7、1,2,5 或 1-247\n--unit-id takes {first} to {last} here, such as 7, or 1,2,5, or 1-247"
            ))
        })?;
    let tolerance = args.tolerance.trim_end_matches('%').trim().parse::<f64>().ok().filter(|percent| (0.0..=20.0).contains(percent));
    let tolerance =
        tolerance.ok_or_else(|| wrong("--tolerance 应为 0% 到 20%，如 0.5%", "--tolerance takes 0% to 20%, such as 0.5%"))? / 100.0;
    let parity = Parity::ALL.iter().find(|(_, name)| *name == args.parity).map(|(parity, _)| *parity);
    let parity = parity.ok_or_else(|| wrong("--parity 只能是 none、even、odd", "--parity takes none, even, odd"))?;
    let bounds = bounds(args).ok_or_else(|| wrong("--from 不能大于 --to", "--from must not be above --to"))?;
    Ok(Plan {
        settings: BusSettings {
            baud: args.baud,
            parity,
            stop_bits: args.stop_bits,
            ca_file: args.ca_file.clone(),
            client_cert_file: args.client_cert_file.clone(),
            client_key_file: args.client_key_file.clone(),
            server_name: args.server_name.clone(),
            ..BusSettings::default()
        },
        manners: Manners {
            timeout: Duration::from_millis(args.timeout_ms),
            pause: if serial { PAUSE_SERIAL } else { Duration::ZERO },
            questions_max: args.requests_max.unwrap_or(if serial { QUESTIONS_MAX_SERIAL } else { QUESTIONS_MAX }),
            time_max: TIME_MAX,
        },
        address,
        wish: Wish { unit_ids, named, tables, bounds, expected, tolerance },
    })
}

fn expected(args: &ProbeArgs) -> Option<Vec<Expected>> {
    let plain = args.expect.iter().enumerate().map(|(index, text)| Expected::read(&format!("value_{}", index + 1), text));
    let named = args.expect_name.iter().map(|text| {
        let (name, value) = text.rsplit_once('=')?;
        Expected::read(name.trim(), value).filter(|expected| !expected.name.is_empty())
    });
    plain.chain(named).map(|expected| expected.filter(|expected| expected.value.abs() > 0.0)).collect()
}

fn tables(words: &[String], values_expected: bool) -> Option<Vec<Table>> {
    if words.is_empty() {
        let registers = [Table::Holding, Table::Input];
        return Some(if values_expected { registers.to_vec() } else { [registers, [Table::Coil, Table::Discrete]].concat() });
    }
    words.iter().map(|word| Table::ALL.iter().find(|(_, name)| name == word).map(|(table, _)| *table)).collect()
}

/// On a serial line 0 would speak to all, and what is above 247 is reserved.
fn unit_ids_valid(serial: bool) -> RangeInclusive<u8> {
    if serial { 1..=247 } else { 0..=255 }
}

fn unit_ids(words: &[String], serial: bool) -> Option<Vec<u8>> {
    let valid = unit_ids_valid(serial);
    let mut out = Vec::new();
    for word in words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last): (u8, u8) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || !valid.contains(&first) || !valid.contains(&last) {
            return None;
        }
        out.extend((first..=last).filter(|unit_id| !out.contains(unit_id)).collect::<Vec<_>>());
    }
    Some(out)
}

fn bounds(args: &ProbeArgs) -> Option<Range<u32>> {
    let bounds = args.from.map_or(0, u32::from)..args.to.map_or(ADDRESSES, |to| u32::from(to) + 1);
    (bounds.start < bounds.end).then_some(bounds)
}

#[cfg(test)]
#[path = "probe/tests.rs"]
mod tests;
