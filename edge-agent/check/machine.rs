//! What can be seen on the gateway itself: files, disk, spool, clock, serial ports.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::{DateTime, Datelike, Utc};

use super::Findings;
use crate::broker::Confirm;
use crate::bus::Address;
use crate::clock::system_synchronised;
use crate::config::Config;
use crate::fault::FaultCode;
use crate::key::{FileKey, KeyError};
use crate::receipt::ReceiptKeys;
use crate::spool::inspect;

/// What an entry of ten points takes in the spool, compressed and signed; rounded up from what was measured.
const ENTRY_BYTES: u64 = 120;
const HOURS_WANTED: u64 = 72;
/// Before this year the agent did not exist: such a clock was never set.
const YEAR_MIN: i32 = 2024;

pub(super) fn look(config: &Config, found: &mut Findings) {
    if config.devices.is_empty() {
        found.add(
            FaultCode::DevicesMissing,
            "device",
            "没有设备；至少写一个 [[device]]",
            "there is no device; add at least one [[device]]",
        );
    }
    key(config, found);
    receipt_keys(config, found);
    spool(config, found);
    clock(found);
    serial_ports(config, found);
}

fn key(config: &Config, found: &mut Findings) {
    let Some(path) = &config.gateway.key_file else { return };
    let Err(error) = FileKey::load(path, &config.gateway.id) else { return };
    let (code, zh) = match &error {
        KeyError::OpenToOthers { mode, .. } => {
            (FaultCode::KeyFileOpen, format!("其他用户能读取密钥（权限 {mode:04o}）；请 chmod 600，若已被他人读过请重新登记"))
        }
        KeyError::Form { .. } => (FaultCode::KeyFileInvalid, "不是密钥文件；请用 shangyun-edge enrol 生成".to_string()),
        _ => (FaultCode::FileUnreadable, "读不到密钥文件；请用 shangyun-edge enrol 生成，或检查权限".to_string()),
    };
    found.add(code, "gateway.key_file", zh, error.to_string());
}

fn receipt_keys(config: &Config, found: &mut Findings) {
    let Confirm::Receipt { keys_file, .. } = &config.delivery.confirm else { return };
    if let Err(error) = ReceiptKeys::load(keys_file.clone()) {
        found.add(
            FaultCode::ReceiptKeysInvalid,
            "delivery.receipt_keys_file",
            "读不到平台公钥；请从平台 /api/v1/keys 取得，没有它任何报告都不会从缓存删除",
            error.to_string(),
        );
    }
}

fn spool(config: &Config, found: &mut Findings) {
    let dir = &config.spool.dir;
    if let Err(error) = writable(dir) {
        found.add(
            FaultCode::SpoolUnusable,
            "spool.dir",
            format!("不能在 {} 写入：{error}；请检查目录与权限", dir.display()),
            format!("cannot write in {}: {error}; check the directory and its permissions", dir.display()),
        );
        return;
    }
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if let (Ok(stat), Ok(inspection)) = (rustix::fs::statvfs(existing), inspect(dir).or_else(absent)) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = config.spool.bytes_max.saturating_sub(inspection.bytes);
        if free < needed {
            let (free, needed) = (free >> 20, needed >> 20);
            found.add(
                FaultCode::DiskSpaceShort,
                "spool.bytes_max",
                format!("磁盘只剩 {free} MiB，缓存还可能需要 {needed} MiB；请清理磁盘或调小 spool.bytes_max"),
                format!("{free} MiB are free, the spool may need {needed} MiB more; free some, or lower spool.bytes_max"),
            );
        }
        damage(&inspection, found);
    }
    let polls: f64 = config.devices.iter().map(|device| 3600.0 / device.poll.as_secs_f64().max(0.05)).sum();
    let points: usize = config.devices.iter().map(|device| device.points.len()).sum();
    let entry_bytes = ENTRY_BYTES * (1 + (points / config.devices.len().max(1) / 10) as u64);
    let hours = config.spool.bytes_max / (polls as u64).saturating_mul(entry_bytes).max(1);
    if hours < HOURS_WANTED {
        found.add(
            FaultCode::SpoolSmall,
            "spool.bytes_max",
            format!("断网时缓存约可存 {hours} 小时，少于 {HOURS_WANTED} 小时；可调大 spool.bytes_max 或 poll_ms"),
            format!("holds about {hours} hours of an outage, less than {HOURS_WANTED}; raise spool.bytes_max or poll_ms"),
        );
    }
}

/// A spool that is not there yet holds nothing.
fn absent(error: io::Error) -> io::Result<crate::spool::Inspection> {
    if error.kind() == io::ErrorKind::NotFound { Ok(crate::spool::Inspection::default()) } else { Err(error) }
}

fn damage(inspection: &crate::spool::Inspection, found: &mut Findings) {
    let (damaged, refused) = (inspection.damaged, inspection.refused);
    if damaged > 0 {
        found.add(
            FaultCode::SpoolDamaged,
            "spool.dir",
            format!("缓存中有 {damaged} 份报告已损坏，将以“dropped”上报；请检查存储介质与电源"),
            format!("{damaged} reports in the spool are damaged and will be declared dropped; check the storage and the power supply"),
        );
    }
    if inspection.marks_damaged {
        found.add(
            FaultCode::SpoolMarksDamaged,
            "spool.dir",
            "送达记录已损坏：缓存中的报告会再送一次，不影响计数",
            "what is acknowledged cannot be read: everything in the spool is sent again, which changes no count",
        );
    }
    if refused > 0 {
        found.add(
            FaultCode::ReportsRefused,
            "spool.dir/refused",
            format!("平台拒收过 {refused} 份报告；原因写在该目录的文件里"),
            format!("the service has refused {refused} reports; the files there say why"),
        );
    }
}

/// Makes the directory if it can, and writes a byte.
fn writable(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let probe = dir.join(".check");
    fs::write(&probe, b"x")?;
    fs::remove_file(probe)
}

fn clock(found: &mut Findings) {
    let year = DateTime::<Utc>::from(std::time::SystemTime::now()).year();
    if year < YEAR_MIN {
        found.add(
            FaultCode::ClockWrong,
            "clock",
            format!("本机时钟停在 {year} 年；请先校时，否则报告会被拒收或算作迟到"),
            format!("this machine's clock says {year}; set it first, else reports are refused or late"),
        );
    }
    match system_synchronised() {
        Some(true) => {}
        Some(false) => found.add(
            FaultCode::ClockUnsynchronised,
            "clock",
            "本机时钟未与时间服务器同步；请启用 systemd-timesyncd 或 chrony",
            "the clock follows no time server; enable systemd-timesyncd or chrony",
        ),
        None => found.add(
            FaultCode::ClockUnknown,
            "clock",
            "无法得知本机时钟是否同步；请确认已启用 systemd-timesyncd 或 chrony",
            "whether the clock follows a time server is not known; make sure that systemd-timesyncd or chrony runs",
        ),
    }
}

fn serial_ports(config: &Config, found: &mut Findings) {
    let mut ports: Vec<&str> = config
        .devices
        .iter()
        .filter_map(|device| match &device.address {
            Address::Rtu { port } => Some(port.as_str()),
            _ => None,
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        // Not waiting for a carrier, and not becoming anybody's terminal.
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
        let Err(error) = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(port) else { continue };
        let (code, zh, en) = match error.kind() {
            io::ErrorKind::NotFound => (
                FaultCode::SerialPortMissing,
                "没有此串口；请核对名称，以及 USB 转换器是否插好",
                "no such serial port; check its name, and that the USB adapter is plugged in",
            ),
            io::ErrorKind::PermissionDenied => (
                FaultCode::SerialPortDenied,
                "无权打开此串口；请把运行用户加入 dialout 组",
                "not allowed to open the serial port; add the agent's user to the group dialout",
            ),
            _ => (
                FaultCode::SerialPortUnusable,
                "串口打不开，可能被其他程序占用",
                "the serial port cannot be opened; another program may have it",
            ),
        };
        found.add(code, port, format!("{zh}（{error}）"), format!("{en} ({error})"));
    }
}
