//! The agent's configuration: a TOML file, then the environment. All faults are found at once.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table as TomlTable, Value as TomlValue};

use crate::broker::{self, Broker};
use crate::device::{self, Device};
use crate::table::Reader;

const ENVIRONMENT_PREFIX: &str = "SHANGYUN__";
const SECTIONS: [&str; 4] = ["gateway", "broker", "spool", "report"];

#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: Gateway,
    pub broker: Broker,
    pub spool: SpoolConfig,
    pub report: ReportConfig,
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub id: String,
    pub token: Secret,
    pub enterprise: Option<String>,
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
}

#[derive(Clone, Debug)]
pub struct ReportConfig {
    /// Waiting entries are reported after this time at the latest.
    pub every: Duration,
    pub devices_max: usize,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct ConfigError {
    pub faults: Vec<String>,
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            faults: vec![format!("{}: cannot be read ({error}); give the file with --config", path.display())],
        })?;
        Config::read(&text, std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))
    }

    /// Reads a configuration from its text and environment variables `SHANGYUN__SECTION__KEY`.
    pub fn read(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let mut table: TomlTable = text.parse().map_err(|error| ConfigError { faults: vec![format!("not valid TOML: {error}")] })?;
        override_from(&mut table, environment);
        let mut faults = Vec::new();
        let config = read_root(table, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }
    }
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

fn read_root(table: TomlTable, faults: &mut Vec<String>) -> Config {
    let mut root = Reader::new("", table, faults);
    let [gateway, broker, spool, report] = SECTIONS.map(|section| root.section(section).unwrap_or_default());
    let tables = root.list("device");
    root.finish();
    let config = Config {
        gateway: read_gateway(Reader::new("gateway", gateway, faults)),
        broker: broker::read(Reader::new("broker", broker, faults)),
        spool: read_spool(Reader::new("spool", spool, faults)),
        report: read_report(Reader::new("report", report, faults)),
        devices: tables.into_iter().enumerate().map(|(i, table)| device::read(i, table, faults)).collect(),
    };
    let mut names = BTreeSet::new();
    for device in &config.devices {
        if !names.insert(&device.name) {
            faults.push(format!("device: the name `{}` is given twice; each device needs its own", device.name));
        }
    }
    config
}

fn read_gateway(mut reader: Reader<'_>) -> Gateway {
    let id = reader.required_text("id", "the id that the register has for this gateway");
    if !id.is_empty() && !wire::topic::gateway_id_valid(&id) {
        reader.fault("id", format!("`{id}` must have 1 to 64 of the characters A-Z a-z 0-9 . _ -"));
    }
    let token = match (reader.text("token"), reader.text("token_file")) {
        (Some(token), None) => token,
        (None, Some(path)) => std::fs::read_to_string(&path).map(|text| text.trim().to_string()).unwrap_or_else(|error| {
            reader.fault("token_file", format!("`{path}` cannot be read: {error}"));
            String::new()
        }),
        (Some(_), Some(_)) => {
            reader.fault("token", "and token_file are both set; keep one of them");
            String::new()
        }
        (None, None) => {
            reader.fault("token", "is missing; set token, or token_file to a file that holds it");
            String::new()
        }
    };
    let enterprise = reader.text("enterprise");
    if let Some(Err(error)) = enterprise.as_deref().map(wire::credit_code::check) {
        reader.fault("enterprise", format!("is not a unified social credit code: {error}"));
    }
    reader.finish();
    Gateway { id, token: Secret(token), enterprise }
}

fn read_spool(mut reader: Reader<'_>) -> SpoolConfig {
    let spool = SpoolConfig {
        dir: reader.required_text("dir", "a directory on durable storage, such as /var/lib/shangyun-edge").into(),
        bytes_max: reader.integer("bytes_max", 1_048_576..=1 << 40).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(256 << 20),
    };
    reader.finish();
    spool
}

fn read_report(mut reader: Reader<'_>) -> ReportConfig {
    let report = ReportConfig {
        every: seconds(reader.number("every_s", 0.05..=3600.0), 60.0),
        devices_max: reader.integer("devices_max", 1..=1000).and_then(|count| usize::try_from(count).ok()).unwrap_or(50),
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
