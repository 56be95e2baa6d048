//! The tables [[usage.log]]: which log, and what its lines say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use regex_lite::Regex;
use toml::{Table as TomlTable, Value as TomlValue};

use crate::fault::{Fault, FaultCode};
use crate::table::{Reader, name_valid};

pub(crate) const GROUPS: [&str; 6] = ["user", "function_module", "at", "actions", "active_s", "product"];
const RFC_3339: &str = "rfc3339";
/// Some moment whose parts all differ.
const SAMPLE: &str = "2019-11-05T18:09:12+08:00";

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub file: PathBuf,
    pub pattern: Regex,
    /// Of lines whose pattern names none.
    pub product: Option<String>,
    pub function_module: Option<String>,
    /// What the log calls the function modules; empty if it calls them by their names.
    pub function_modules: BTreeMap<String, String>,
    pub(crate) time: TimeFormat,
    pub encoding: Encoding,
    /// A log that was never read before is read from its start.
    pub from_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Gbk,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    Rfc3339,
    /// As strftime writes it; the offset counts where the format has none.
    Format(String, FixedOffset),
}

impl TimeFormat {
    pub fn read(&self, text: &str) -> Option<DateTime<Utc>> {
        let at = match self {
            TimeFormat::Rfc3339 => DateTime::parse_from_rfc3339(text).ok()?,
            TimeFormat::Format(format, offset) => DateTime::parse_from_str(text, format)
                .or_else(|_| NaiveDateTime::parse_from_str(text, format).map(|local| local.and_utc().fixed_offset() - *offset))
                .ok()?,
        };
        Some(at.to_utc())
    }

    /// Reads what it has written: then it says the whole date and the time of day.
    fn complete(&self) -> bool {
        let (TimeFormat::Format(format, offset), Ok(sample)) = (self, DateTime::parse_from_rfc3339(SAMPLE)) else { return true };
        if StrftimeItems::new(format).any(|item| item == Item::Error) {
            return false;
        }
        let written = sample.with_timezone(offset).format(format).to_string();
        self.read(&written).is_some_and(|read| (sample.to_utc() - read).num_seconds().abs() < 60)
    }
}

pub(super) fn read_all(tables: Vec<TomlTable>, product_given: bool, faults: &mut Vec<Fault>) -> Vec<LogConfig> {
    let mut files = BTreeSet::new();
    let read = |(index, table)| {
        let mut reader = Reader::new(format!("usage.log[{index}]"), table, faults);
        let log = read_log(&mut reader, product_given);
        let again = log.as_ref().is_some_and(|log| !files.insert(log.file.clone()));
        if again {
            reader.fault(
                "file",
                FaultCode::LogTwice,
                "同一日志写了两次，其中的使用会被重复计数；请只留一个",
                "the same log is named twice, and its usage would count twice; keep one of them",
            );
        }
        reader.finish();
        log
    };
    tables.into_iter().enumerate().filter_map(read).collect()
}

fn read_log(reader: &mut Reader<'_>, product_given: bool) -> Option<LogConfig> {
    let file = reader.required_text("file", "日志文件的绝对路径", "the path of the log file");
    if !file.is_empty() && !file.starts_with('/') {
        reader.fault("file", FaultCode::AddressInvalid, "须为绝对路径", "must be an absolute path");
    }
    let pattern = read_pattern(reader);
    let name = |reader: &mut Reader<'_>, key| reader.has(key).then(|| reader.required_name(key, "名称", "a name"));
    let product = name(reader, "product");
    let function_module = name(reader, "function_module");
    let function_modules = read_modules(reader);
    let time = read_time(reader);
    let encoding = reader.word("encoding", &[(Encoding::Utf8, "utf-8"), (Encoding::Gbk, "gbk")]).unwrap_or(Encoding::Utf8);
    let from_start = reader.boolean("from_start").unwrap_or(false);
    let pattern = pattern?;
    let has = |group: &str| pattern.capture_names().flatten().any(|name| name == group);
    if !has("product") && product.is_none() && !product_given {
        reader.fault(
            "product",
            FaultCode::KeyMissing,
            "缺少此项：模式中没有 (?<product>…)，[usage] 中也没有 product",
            "is missing: neither the pattern has (?<product>…) nor [usage] a product",
        );
    }
    if !has("function_module") && function_module.is_none() {
        reader.fault(
            "function_module",
            FaultCode::KeyMissing,
            "缺少此项：模式中没有 (?<function_module>…)",
            "is missing: the pattern has no (?<function_module>…)",
        );
    }
    if !has("function_module") && !function_modules.is_empty() {
        reader.fault(
            "function_modules",
            FaultCode::KeysConflict,
            "模式中没有 (?<function_module>…)，对照表用不上",
            "has no meaning: the pattern has no (?<function_module>…)",
        );
    }
    Some(LogConfig { file: file.into(), pattern, product, function_module, function_modules, time, encoding, from_start })
}

fn read_pattern(reader: &mut Reader<'_>) -> Option<Regex> {
    let text = reader.required_text(
        "pattern",
        "正则表达式，如 user=(?<user>\\S+) module=(?<function_module>\\S+)",
        "a regular expression, such as user=(?<user>\\S+) module=(?<function_module>\\S+)",
    );
    if text.is_empty() {
        return None;
    }
    let pattern = match Regex::new(&text) {
        Ok(pattern) => pattern,
        Err(error) => {
            reader.fault(
                "pattern",
                FaultCode::PatternInvalid,
                format!("不是有效的正则表达式：{error}"),
                format!("is no valid regular expression: {error}"),
            );
            return None;
        }
    };
    let known = GROUPS.join(", ");
    for name in pattern.capture_names().flatten().filter(|name| !GROUPS.contains(name)) {
        reader.fault(
            "pattern",
            FaultCode::PatternInvalid,
            format!("不认识分组“{name}”；可用：{known}"),
            format!("the group `{name}` is not known; known are {known}"),
        );
    }
    let has = |group: &str| pattern.capture_names().flatten().any(|name| name == group);
    if !has("user") {
        reader.fault("pattern", FaultCode::PatternInvalid, "须有分组 (?<user>…)", "needs a group (?<user>…)");
    }
    if !has("at") {
        reader.fault(
            "pattern",
            FaultCode::PatternInvalid,
            "须有分组 (?<at>…)：行内没有时间，停机期间的使用就会记到错误的日子",
            "needs a group (?<at>…): without a time of its own, a line's usage would count on the day when it is read",
        );
    }
    Some(pattern)
}

fn read_modules(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    for (written, name) in reader.section("function_modules").unwrap_or_default() {
        match name {
            TomlValue::String(name) if name_valid(&name) => {
                modules.insert(written, name);
            }
            _ => reader.fault(
                "function_modules",
                FaultCode::NameInvalid,
                format!("“{written}”对应的功能模块须为 1 至 64 个字符的名称"),
                format!("`{written}` must be set to a function module's name of 1 to 64 characters"),
            ),
        }
    }
    modules
}

fn read_time(reader: &mut Reader<'_>) -> TimeFormat {
    let offset_text = reader.text("offset").unwrap_or_else(|| "+08:00".to_string());
    let offset = offset_text.parse::<FixedOffset>().unwrap_or_else(|_| {
        reader.fault(
            "offset",
            FaultCode::ValueWord,
            format!("“{offset_text}”应为 +08:00 的样式"),
            format!("`{offset_text}` must look like +08:00"),
        );
        chrono::Offset::fix(&Utc)
    });
    let format = reader.text("time_format").unwrap_or_else(|| RFC_3339.to_string());
    if format == RFC_3339 {
        return TimeFormat::Rfc3339;
    }
    let time = TimeFormat::Format(format.clone(), offset);
    if !time.complete() {
        reader.fault(
            "time_format",
            FaultCode::PatternInvalid,
            format!("“{format}”不能还原出完整的日期和时间；例如 %Y-%m-%d %H:%M:%S"),
            format!("a full date and time cannot be read back with `{format}`; write for example %Y-%m-%d %H:%M:%S"),
        );
    }
    time
}
