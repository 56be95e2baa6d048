//! What can be seen on the gateway itself: files, disk, spool, clock, serial ports.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use chrono::{DateTime, Datelike, Utc};

use super::{Findings, spool};
use crate::broker::Confirm;
use crate::bus::Address;
use crate::clock::system_synchronised;
use crate::config::Config;
use crate::fault::FaultCode;
use crate::key::{FileKey, KeyError};
use crate::receipt::ReceiptKeys;

/// Before this year the agent did not exist: such a clock was never set.
const YEAR_MIN: i32 = 2024;

/// What the packaged configuration holds where something is to be filled in.
const PLACEHOLDER: &str = "change-me";
/// The user that the package makes.
const USER: &str = "shangyun-edge";

pub(super) fn look(config: &Config, deep: bool, found: &mut Findings) {
    if config.devices.is_empty() && !found.fault_at("device") {
        found.add(
            FaultCode::DevicesMissing,
            "device",
            "没有设备；至少写一个 [[device]]",
            "there is no device; add at least one [[device]]",
        );
    }
    credentials(config, found);
    key(config, found);
    receipt_keys(config, found);
    spool::look(config, found);
    clock(found);
    if agent_runs(&config.spool.dir) {
        if deep && !serial_ports_of(config).is_empty() {
            found.add(
                FaultCode::AgentRunning,
                "spool.dir",
                "本网关的采集程序正在运行：串口由它占用，未检查；需要时先 systemctl stop shangyun-edge，再检查一次",
                "the agent is at work and has the serial ports, so they were left alone; to check them, systemctl stop shangyun-edge first",
            );
        }
    } else {
        serial_ports(config, found);
        listen(config, found);
    }
    logs(config, found);
    checked_as_root(found);
}

/// A running agent has locked its spool. Taking the lock ourselves to find out could keep an agent from starting just then.
pub(super) fn agent_runs(spool_dir: &Path) -> bool {
    let Ok(lock) = fs::metadata(spool_dir.join("lock")) else { return false };
    let inode = format!(":{}", lock.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| line.contains(" FLOCK ") && line.split_whitespace().any(|field| field.ends_with(&inode)))
}

fn checked_as_root(found: &mut Findings) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if rustix::process::geteuid().is_root() && users.lines().any(|line| line.split(':').next() == Some(USER)) {
        found.add(
            FaultCode::CheckedAsRoot,
            "user",
            format!("以 root 检查：采集程序以 {USER} 运行，权限问题看不出来；请用 sudo -u {USER} shangyun-edge check 再检查一次"),
            format!("checked as root, who may do what the agent's user may not; check again with sudo -u {USER} shangyun-edge check"),
        );
    }
}

fn credentials(config: &Config, found: &mut Findings) {
    let gateway = &config.gateway;
    for (place, value) in [("gateway.id", &gateway.id), ("gateway.token", &gateway.token.0)] {
        if value == PLACEHOLDER {
            found.add(
                FaultCode::PlaceholderLeft,
                place,
                format!("还是示例中的“{PLACEHOLDER}”；请填写登记的值"),
                format!("is still the example's `{PLACEHOLDER}`; write what the register has"),
            );
        }
    }
    if gateway.token.0.is_empty() && config.broker.client_certificate.is_none() && !found.fault_at("gateway.token") {
        found.add(
            FaultCode::TokenMissing,
            "gateway.token",
            "令牌是空的；请填登记的令牌（shangyun-edge enrol 可取得）",
            "is empty; write the register's token (shangyun-edge enrol fetches one)",
        );
    }
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
    found.add(code, "gateway.key_file", zh, format!("{error}; shangyun-edge enrol makes one"));
}

/// Nobody else may have the address of the agent's own page; the agent itself has it while it runs.
fn listen(config: &Config, found: &mut Findings) {
    let Some(address) = config.local.listen else { return };
    if let Err(error) = TcpListener::bind(address) {
        found.add(
            FaultCode::ListenTaken,
            "local.listen",
            format!("{address} 已被其他程序占用（{error}）：状态页与 POST /usage 不可用；请换一个端口"),
            format!("{address} is taken by another program ({error}): no page, and no POST /usage; choose another port"),
        );
    }
}

fn logs(config: &Config, found: &mut Findings) {
    for log in &config.usage.logs {
        let Err(error) = fs::File::open(&log.file) else { continue };
        let shown = log.file.display();
        found.add(
            FaultCode::LogUnreadable,
            "usage.log",
            format!("读不到日志 {shown}（{error}）；请核对路径，并让运行用户可读"),
            format!("the log {shown} cannot be read ({error}); check its path, and let the agent's user read it"),
        );
    }
}

fn receipt_keys(config: &Config, found: &mut Findings) {
    let Confirm::Receipt { keys_file, .. } = &config.delivery.confirm else { return };
    if let Err(error) = ReceiptKeys::load(keys_file.clone()) {
        found.add(
            FaultCode::ReceiptKeysInvalid,
            "delivery.receipt_keys_file",
            "读不到平台公钥；请从平台 /api/v1/keys 取得，没有它任何报告都不会从缓存删除",
            format!("{error}; fetch it, for without it no report ever leaves the spool"),
        );
    }
}

fn clock(found: &mut Findings) {
    if found.fault_at("clock") {
        return;
    }
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

fn serial_ports_of(config: &Config) -> BTreeSet<&str> {
    let ports = config.devices.iter().filter_map(|device| match &device.address {
        Address::Rtu { port } => Some(port.as_str()),
        _ => None,
    });
    ports.collect()
}

fn serial_ports(config: &Config, found: &mut Findings) {
    for port in serial_ports_of(config) {
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
