#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Register files as JSON, XLSX and CSV: what is in them, where it stands for whoever filled them in, and what is wrong with them; and
//! templates to fill in. Bytes in, bytes out: no I/O.

mod bounds;
mod cell;
mod csv_file;
mod fault;
mod json_file;
mod table;
mod template;
mod xlsx;

pub use fault::{RegisterFault, RegisterFile, SheetRows, short, text_of};
pub use template::{TemplateError, template_csv, template_json, template_xlsx};

use fault::FILE_RULE;

/// The three forms of a register file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Json,
    Xlsx,
    Csv,
}

pub const XLSX_MEDIA_TYPE: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

impl FileKind {
    pub fn of_extension(extension: &str) -> Option<FileKind> {
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(FileKind::Json),
            "xlsx" => Some(FileKind::Xlsx),
            "csv" => Some(FileKind::Csv),
            _ => None,
        }
    }

    /// By how it begins.
    pub fn of_content(bytes: &[u8]) -> FileKind {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            _ if bytes.starts_with(b"PK") || bytes.starts_with(&OLD_EXCEL) => FileKind::Xlsx,
            Some(b'{' | b'[') | None => FileKind::Json,
            Some(_) => FileKind::Csv,
        }
    }
}

/// How a compound file (`.xls`, or a workbook with a password) begins.
const OLD_EXCEL: [u8; 4] = [0xD0, 0xCF, 0x11, 0xE0];

/// What a table does not say itself.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The rulebook of a table that names none.
    pub rulebook: &'a str,
    /// The list of a CSV file, by its name or its Chinese name.
    pub list: Option<&'a str>,
}

/// Reads a register file; whatever is wrong with it stands in its faults.
pub fn read(kind: FileKind, bytes: &[u8], reading: &Reading<'_>) -> RegisterFile {
    match kind {
        FileKind::Json => read_json(bytes).unwrap_or_else(|error| unreadable(format!("the file is no JSON: {error}"))),
        FileKind::Csv => csv_file::read(bytes, reading),
        FileKind::Xlsx if bytes.starts_with(&OLD_EXCEL) => {
            unreadable("the file is an old Excel workbook (.xls), or has a password: save it as .xlsx without one".into())
        }
        // A mistake in reading costs this file, and nothing else.
        FileKind::Xlsx => std::panic::catch_unwind(|| xlsx::read(bytes, reading))
            .unwrap_or_else(|_| unreadable("the workbook cannot be read: save it anew and try again".into())),
    }
}

/// Reads a register file in JSON, or says why it is none.
pub fn read_json(bytes: &[u8]) -> Result<RegisterFile, serde_json::Error> {
    json_file::read(bytes)
}

fn unreadable(detail: String) -> RegisterFile {
    RegisterFile { faults: vec![RegisterFault::of_file("unreadable", FILE_RULE, "", detail)], ..RegisterFile::default() }
}
