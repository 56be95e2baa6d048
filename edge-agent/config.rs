//! The agent's configuration: a TOML file, then the environment. All faults are found at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table as TomlTable, Value as TomlValue};

use crate::broker::{self, Broker, DeliveryConfig};
use crate::bus::{self, Address, BusSettings};
use crate::device::{self, Device};
use crate::fault::{Fault, FaultCode};
use crate::local::{self, LocalConfig};
use crate::spool::SpoolBounds;
use crate::table::Reader;
use crate::usage::{self, UsageConfig};

const ENVIRONMENT_PREFIX: &str = "SHANGYUN__";
const SECTIONS: [&str; 7] = ["gateway", "broker", "delivery", "spool", "report", "local", "usage"];
/// Keys that name a file or a directory; a template does where it has a slash.
const PATHS: [&str; 8] =
    ["token_file", "key_file", "ca_file", "client_cert_file", "client_key_file", "receipt_keys_file", "pseudonym_key_file", "dir"];
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: Gateway,
    pub broker: Broker,
    pub delivery: DeliveryConfig,
    pub spool: SpoolConfig,
    pub report: ReportConfig,
    pub local: LocalConfig,
    pub usage: UsageConfig,
    /// Settings of buses that the configuration names; others have the defaults.
    pub buses: BTreeMap<Address, BusSettings>,
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub id: String,
    /// Empty where a client certificate says who we are.
    pub token: Secret,
    /// Where the token comes from, if it has a file of its own.
    pub token_file: Option<PathBuf>,
    pub enterprise: Option<String>,
    /// The private key that signs reports; without it they are not signed.
    pub key_file: Option<PathBuf>,
}

impl Gateway {
    /// The token may have been renewed in its file. What cannot be read, or is empty, changes nothing.
    pub(crate) fn renew_token(&mut self) {
        let Some(path) = &self.token_file else { return };
        match read_token(path) {
            Ok(token) if !token.is_empty() => self.token = Secret(token),
            Ok(_) => tracing::warn!(path = %path.display(), "the token's file is empty; the token of before is used"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "the token's file cannot be read; the token of before is used"),
        }
    }
}

fn read_token(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_string())
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Clone, Debug)]
pub struct SpoolConfig {
    pub dir: PathBuf,
    pub bytes_max: u64,
    /// Reports that could not be delivered for so long are given up.
    pub age_max: Duration,
    /// Reports stay on disk for so long after their acknowledgement, where there is room.
    pub keep_acknowledged: Duration,
}

impl SpoolConfig {
    pub fn bounds(&self) -> SpoolBounds {
        SpoolBounds { bytes_max: self.bytes_max, age_max: self.age_max, keep_acknowledged: self.keep_acknowledged }
    }
}

#[derive(Clone, Debug)]
pub struct ReportConfig {
    /// Waiting entries are reported after this time at the latest.
    pub every: Duration,
    pub devices_max: usize,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub faults: Vec<Fault>,
}

/// A configuration and its faults: what has one is left out, or has its default.
pub(crate) struct Examined {
    pub(crate) config: Config,
    pub(crate) faults: Vec<Fault>,
}

impl Examined {
    fn sound(self) -> Result<Config, ConfigError> {
        if self.faults.is_empty() { Ok(self.config) } else { Err(ConfigError { faults: self.faults }) }
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::examine_file(path)?.sound()
    }

    /// For `check` and `status`: all that can be known of a configuration with faults.
    pub(crate) fn examine_file(path: &Path) -> Result<Examined, ConfigError> {
        read_file(path).map(Config::examine)
    }

    /// Reads a configuration from its text and environment variables `SHANGYUN__SECTION__KEY`.
    pub fn read(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        Config::examine(parse(text, environment)?).sound()
    }

    fn examine(table: TomlTable) -> Examined {
        let mut faults = Vec::new();
        let config = read_root(table, &mut faults);
        Examined { config, faults }
    }

    /// The settings of the bus at this address.
    pub fn bus(&self, address: &Address) -> BusSettings {
        self.buses.get(address).cloned().unwrap_or_default()
    }
}

/// The file, and over it the environment. Relative paths are those of the file's directory, wherever the agent or a command is started.
pub(crate) fn read_file(path: &Path) -> Result<TomlTable, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
        faults: vec![Fault::new(
            FaultCode::ConfigUnreadable,
            path.display().to_string(),
            format!("读不到配置文件（{error}）；请用 --config 指定文件并检查权限"),
            format!("cannot be read ({error}); name the file with --config, and check its permissions"),
        )],
    })?;
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut table = parse(&text, environment)?;
    resolve(&mut table, path.parent().unwrap_or(Path::new("")));
    Ok(table)
}

pub(crate) fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<TomlTable, ConfigError> {
    let mut table: TomlTable = text.parse().map_err(|error: toml::de::Error| ConfigError { faults: vec![not_toml(text, &error)] })?;
    override_from(&mut table, environment);
    Ok(table)
}

fn resolve(table: &mut TomlTable, dir: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            TomlValue::String(text) if PATHS.contains(&key.as_str()) || key == "template" && text.contains('/') => {
                if let Some(resolved) = dir.join(&text).to_str().filter(|_| !text.is_empty()) {
                    *text = resolved.to_string();
                }
            }
            // Its keys are what a log writes.
            TomlValue::Table(inner) if key != "function_modules" => resolve(inner, dir),
            TomlValue::Array(items) => items.iter_mut().filter_map(TomlValue::as_table_mut).for_each(|inner| resolve(inner, dir)),
            _ => {}
        }
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> Fault {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let said = error.message();
    Fault::new(
        FaultCode::ConfigSyntax,
        format!("line {line}"),
        format!("第 {line} 行不符合 TOML 语法：{said}"),
        format!("not valid TOML: {said}"),
    )
}

/// Variables of other sections belong to other programs on this machine.
fn override_from(table: &mut TomlTable, environment: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in environment {
        let Some((section, key)) = name.strip_prefix(ENVIRONMENT_PREFIX).and_then(|rest| rest.split_once("__")) else { continue };
        let section = section.to_lowercase();
        if !SECTIONS.contains(&section.as_str()) {
            continue;
        }
        let section = table.entry(section).or_insert_with(|| TomlValue::Table(TomlTable::new()));
        if let TomlValue::Table(section) = section {
            section.insert(key.to_lowercase(), TomlValue::String(value));
        }
    }
}

fn read_root(table: TomlTable, faults: &mut Vec<Fault>) -> Config {
    let mut root = Reader::new("", table, faults);
    let [gateway, broker, delivery, spool, report, local, usage] = SECTIONS.map(|section| root.section(section).unwrap_or_default());
    let bus_tables = root.list("bus");
    let device_tables = root.list("device");
    root.finish();
    let certified = broker.contains_key("client_cert_file");
    let config = Config {
        gateway: read_gateway(Reader::new("gateway", gateway, faults), certified),
        broker: broker::read(Reader::new("broker", broker, faults)),
        delivery: broker::read_delivery(Reader::new("delivery", delivery, faults)),
        spool: read_spool(Reader::new("spool", spool, faults)),
        report: read_report(Reader::new("report", report, faults)),
        local: local::read(Reader::new("local", local, faults)),
        usage: usage::read(usage, faults),
        devices: device_tables.into_iter().enumerate().filter_map(|(i, table)| device::read(i, table, faults)).collect(),
        buses: BTreeMap::new(),
    };
    check_devices(&config.devices, faults);
    let buses = read_buses(bus_tables, &config.devices, faults);
    Config { buses, ..config }
}

fn check_devices(devices: &[Device], faults: &mut Vec<Fault>) {
    let mut names = BTreeSet::new();
    for device in devices {
        let name = &device.name;
        if !names.insert(name) {
            faults.push(Fault::new(
                FaultCode::DeviceTwice,
                "device",
                format!("设备编号“{name}”重复；每台设备须有自己的编号"),
                format!("the name `{name}` is given twice; each device needs its own"),
            ));
        }
    }
    device::check_units(devices, faults);
}

fn read_buses(tables: Vec<TomlTable>, devices: &[Device], faults: &mut Vec<Fault>) -> BTreeMap<Address, BusSettings> {
    let mut buses = BTreeMap::new();
    for (index, address, settings) in bus::read_all(tables, faults) {
        let place = format!("bus[{index}]");
        if !devices.iter().any(|device| device.address == address) {
            faults.push(Fault::new(
                FaultCode::BusUnused,
                place.clone(),
                format!("没有设备使用地址 {address}；请核对 [[device]] 的 address"),
                format!("no device has the address {address}; compare it with the address of each [[device]]"),
            ));
        }
        if buses.insert(address.clone(), settings).is_some() {
            faults.push(Fault::new(
                FaultCode::BusTwice,
                place,
                format!("地址 {address} 的总线设置写了两次"),
                format!("the bus {address} is set twice"),
            ));
        }
    }
    for address in devices.iter().map(|device| &device.address) {
        if matches!(address, Address::Tls { .. }) && !buses.contains_key(address) {
            faults.push(Fault::new(
                FaultCode::KeyMissing,
                format!("{address}"),
                "tls:// 地址须有一段 [[bus]]，写明 address 与 ca_file",
                "a tls:// address needs its [[bus]] with address and ca_file",
            ));
        }
    }
    buses
}

fn read_gateway(mut reader: Reader<'_>, certified: bool) -> Gateway {
    let id = reader.required_text("id", "登记的网关编号", "the id that the register has for this gateway");
    if !id.is_empty() && !wire::topic::gateway_id_valid(&id) {
        reader.fault(
            "id",
            FaultCode::GatewayIdInvalid,
            format!("“{id}”须为 1 至 64 个字符，只用 A-Z a-z 0-9 . _ -"),
            format!("`{id}` must have 1 to 64 of the characters A-Z a-z 0-9 . _ -"),
        );
    }
    let (own, token_file) = (reader.text("token"), reader.text("token_file"));
    let file = token_file.as_ref().filter(|_| own.is_none()).map(PathBuf::from);
    let token = match (own, token_file) {
        (Some(token), None) => token,
        (None, Some(path)) => read_token(Path::new(&path)).unwrap_or_else(|error| {
            reader.fault(
                "token_file",
                FaultCode::FileUnreadable,
                format!("读不到“{path}”（{error}）；请用 shangyun-edge enrol 取得，或检查权限"),
                format!("`{path}` cannot be read ({error}); fetch it with shangyun-edge enrol, or check its permissions"),
            );
            String::new()
        }),
        (Some(_), Some(_)) => {
            reader.fault("token", FaultCode::KeysConflict, "token 与 token_file 只留一个", "and token_file are both set; keep one of them");
            String::new()
        }
        (None, None) => {
            if !certified {
                reader.fault(
                    "token",
                    FaultCode::TokenMissing,
                    "缺少令牌；请填 token，或用 token_file 指明存放令牌的文件（shangyun-edge enrol 可取得）",
                    "is missing; set token, or token_file to a file that holds it (shangyun-edge enrol fetches one)",
                );
            }
            String::new()
        }
    };
    let enterprise = reader.text("enterprise");
    if let Some(Err(error)) = enterprise.as_deref().map(wire::credit_code::check) {
        reader.fault(
            "enterprise",
            FaultCode::EnterpriseInvalid,
            format!("不是有效的统一社会信用代码：{error}"),
            format!("is not a unified social credit code: {error}"),
        );
    }
    let key_file = reader.text("key_file").map(PathBuf::from);
    reader.finish();
    Gateway { id, token: Secret(token), token_file: file, enterprise, key_file }
}

fn read_spool(mut reader: Reader<'_>) -> SpoolConfig {
    let hours = |hours: u32| HOUR.saturating_mul(hours);
    let spool = SpoolConfig {
        dir: reader
            .required_text(
                "dir",
                "可靠存储上的目录，如 /var/lib/shangyun-edge/spool",
                "a directory on durable storage, such as /var/lib/shangyun-edge/spool",
            )
            .into(),
        bytes_max: reader.integer_or("bytes_max", 1_048_576..=1 << 40, 256 << 20),
        age_max: hours(reader.integer_or("age_h_max", 1..=87_600, 720)),
        keep_acknowledged: hours(reader.integer_or("keep_acknowledged_h", 0..=8_760, 24)),
    };
    reader.finish();
    spool
}

fn read_report(mut reader: Reader<'_>) -> ReportConfig {
    let report = ReportConfig {
        every: seconds(reader.number("every_s", 0.05..=3600.0), 60.0),
        devices_max: reader.integer_or("devices_max", 1..=1000, 50),
    };
    reader.finish();
    report
}

pub(crate) fn seconds(given: Option<f64>, default: f64) -> Duration {
    Duration::from_secs_f64(given.unwrap_or(default))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
