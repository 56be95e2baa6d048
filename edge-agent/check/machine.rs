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
/// Variables of the package's unit.
const VARIABLES: &str = "/etc/default/shangyun-edge";
/// The user that the package makes.
const USER: &str = "shangyun-edge";

pub(super) fn look(config: &Config, path: &Path, deep: bool, found: &mut Findings) {
    if config.devices.is_empty() && !found.fault_at("device") {
        found.add(
            FaultCode::DevicesMissing,
            "device",
            "没有设备；至少写一个 [[device]]",
            "there is no device; add at least one [[device]]",
        );
    }
    credentials(config, found);
    token_open(config, path, found);
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
    variables(found);
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

/// Whoever has the token can speak as this gateway, where reports need not be signed.
fn token_open(config: &Config, config_path: &Path, found: &mut Findings) {
    let open = |path: &Path| fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0);
    if let Some(path) = config.gateway.token_file.as_deref().filter(|path| open(path)) {
        let shown = path.display();
        found.add(
            FaultCode::TokenOpen,
            "gateway.token_file",
            format!("其他用户能读取令牌文件 {shown}；请 chmod 600，若已被他人读过请重新登记"),
            format!("other users can read the token in {shown}; chmod 600, and enrol anew if others had access"),
        );
    }
    if token_within(config_path) && open(config_path) {
        let shown = config_path.display();
        found.add(
            FaultCode::TokenOpen,
            "gateway.token",
            format!("其他用户能读取配置文件 {shown} 中的令牌；请 chmod 640，或改用 token_file，若已被他人读过请重新登记"),
            format!("other users can read the token in {shown}; chmod 640 or use token_file, and enrol anew if others had access"),
        );
    }
}

/// The token may also come from the environment.
fn token_within(config_path: &Path) -> bool {
    let text = fs::read_to_string(config_path).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let token = table.get("gateway").and_then(|gateway| gateway.get("token")).and_then(toml::Value::as_str);
    token.is_some_and(|token| !token.is_empty() && token != PLACEHOLDER)
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
    let Err(error) = TcpListener::bind(address) else { return };
    let (code, zh, en) = not_had(error.kind());
    found.add(
        code,
        "local.listen",
        format!("{address} {zh}，否则没有状态页与 POST /usage（{error}）"),
        format!("{address} {en}; there is no page and no POST /usage else ({error})"),
    );
}

/// Why an address cannot be had, and what to do.
fn not_had(kind: io::ErrorKind) -> (FaultCode, &'static str, &'static str) {
    match kind {
        io::ErrorKind::AddrInUse => {
            (FaultCode::ListenTaken, "已被其他程序占用；请换一个端口", "is taken by another program; choose another port")
        }
        io::ErrorKind::PermissionDenied => (
            FaultCode::ListenUnusable,
            "不允许使用；1024 以下的端口须由 root 打开，请换一个更大的端口",
            "may not be used; ports below 1024 are root's, choose a higher one",
        ),
        io::ErrorKind::AddrNotAvailable => {
            (FaultCode::ListenUnusable, "不是本机的地址；请用 127.0.0.1", "is no address of this machine; write 127.0.0.1")
        }
        _ => (FaultCode::ListenUnusable, "无法使用；请换一个地址或端口", "cannot be used; choose another address or port"),
    }
}

/// What the service's own variables set is not seen from a shell.
fn variables(found: &mut Findings) {
    let text = fs::read_to_string(VARIABLES).unwrap_or_default();
    let unseen = unseen(&text, |name| std::env::var_os(name).is_some());
    if !unseen.is_empty() {
        let names = unseen.join(", ");
        found.add(
            FaultCode::VariablesUnseen,
            VARIABLES,
            format!("其中的 {names} 只对服务有效，本次检查没有用到；请这样检查：set -a; . {VARIABLES}; set +a; shangyun-edge check"),
            format!("{names} in it are for the service, and this check did not have them; check with: set -a; . {VARIABLES}; set +a; shangyun-edge check"),
        );
    }
}

/// The names of our variables in a file of `NAME=value` lines that are not there.
fn unseen(text: &str, there: impl Fn(&str) -> bool) -> Vec<&str> {
    let names = text.lines().filter_map(|line| line.trim().split_once('=')).map(|(name, _)| name);
    names.filter(|name| name.starts_with("SHANGYUN__") && !there(name)).collect()
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
            "读不到平台公钥；请从平台 /api/v1/keys 取得，没有它任何报告都不会从暂存中删除",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_nobody_has_is_not_called_taken() {
        assert_eq!(not_had(io::ErrorKind::AddrInUse).0, FaultCode::ListenTaken);
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::AddrNotAvailable, io::ErrorKind::Other] {
            assert_eq!(not_had(kind).0, FaultCode::ListenUnusable, "{kind}");
        }
    }

    #[test]
    fn variables_of_the_service_that_a_shell_has_not_are_named() {
        let text = "# SHANGYUN__BROKER__URL=x\nRUST_LOG=debug\n SHANGYUN__GATEWAY__TOKEN=secret\nSHANGYUN__SPOOL__DIR=/s\n";
        assert_eq!(unseen(text, |name| name == "SHANGYUN__SPOOL__DIR"), ["SHANGYUN__GATEWAY__TOKEN"]);
    }
}
