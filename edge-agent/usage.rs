//! Usage of products as the factory's own systems tell it: the section [usage] of the configuration, and what the ways in share.
//! Users are pseudonymised before anything is stored or sent.

mod batch;
mod counts;
mod entry;
mod log_config;
mod merge;
mod posted;
mod pseudonym;

use std::path::{Path, PathBuf};

use toml::Table as TomlTable;

pub(crate) use batch::{Batch, ENTRIES_MAX};
pub(crate) use counts::{LineOutcome, UsageCounts};
pub(crate) use entry::Rule;
#[cfg(test)]
pub(crate) use log_config::TimeFormat;
pub use log_config::{Encoding, LogConfig};
pub(crate) use merge::Merge;
pub(crate) use posted::read_posted;
pub use pseudonym::{Pseudonyms, PseudonymsError};

use crate::fault::{Fault, FaultCode};
use crate::table::Reader;

#[derive(Clone, Debug, Default)]
pub struct UsageConfig {
    /// Without the enterprise's key no usage is taken.
    pub pseudonyms: Option<Pseudonyms>,
    /// Of entries that name none.
    pub product: Option<String>,
    pub logs: Vec<LogConfig>,
}

pub(crate) fn read(table: TomlTable, faults: &mut Vec<Fault>) -> UsageConfig {
    let mut reader = Reader::new("usage", table, faults);
    let key_file = reader.text("pseudonym_key_file").map(PathBuf::from);
    let product = reader.has("product").then(|| reader.required_name("product", "应用产品编号", "the product's id"));
    let log_tables = reader.list("log");
    let pseudonyms = key_file.as_deref().and_then(|path| load(&mut reader, path));
    if !log_tables.is_empty() && key_file.is_none() {
        reader.fault(
            "pseudonym_key_file",
            FaultCode::KeyMissing,
            "缺少此项；日志中的用户名须先变成假名，密钥由 shangyun-edge enrol 取得",
            "is missing; users in logs become pseudonyms first, with the key that shangyun-edge enrol fetches",
        );
    }
    reader.finish();
    let logs = log_config::read_all(log_tables, product.is_some(), faults);
    UsageConfig { pseudonyms, product, logs }
}

fn load(reader: &mut Reader<'_>, path: &Path) -> Option<Pseudonyms> {
    let error = match Pseudonyms::load(path) {
        Ok(pseudonyms) => return Some(pseudonyms),
        Err(error) => error,
    };
    let path = path.display();
    let (code, zh) = match &error {
        PseudonymsError::File(error) => (FaultCode::FileUnreadable, format!("读不到“{path}”：{error}")),
        PseudonymsError::OpenToOthers(mode) => {
            (FaultCode::KeyFileOpen, format!("“{path}”的权限 {mode:04o} 让其他用户可读密钥；请执行 chmod 600"))
        }
        PseudonymsError::Form => (FaultCode::KeyFileInvalid, format!("“{path}”不是密钥：应为 64 个十六进制字符")),
    };
    reader.fault("pseudonym_key_file", code, zh, format!("`{path}`: {error}"));
    None
}

#[cfg(test)]
#[path = "usage/config_tests.rs"]
mod tests;
