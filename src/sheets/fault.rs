//! A register file as it was read, and faults that name their place in it.

use std::collections::BTreeMap;

use policy::columns::{Column, List};
use serde::Serialize;
use serde_json::Value;

/// Faults kept of one file; whoever imports bounds those of all of them.
pub(crate) const FAULTS_MAX: usize = 1000;
pub(crate) const FILE_RULE: &str = "a register file is JSON, XLSX with one sheet per list, or CSV with one list";

/// One fault of a register file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterFault {
    /// Which of the files given, counted from 0.
    #[serde(skip)]
    pub file: usize,
    pub code: &'static str,
    /// JSON Pointer into the file, or into what a table says as JSON.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The sheet, where the file has sheets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// Counted from 1, as people count rows; in a table the number that the sheet shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    pub rule: String,
    pub detail: String,
    /// The same for whoever has filled the file in.
    pub text: String,
}

/// Where the rows of a list stand in its sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetRows {
    /// `None` for files without sheets.
    pub sheet: Option<String>,
    /// By index in the list: the row that the sheet shows.
    pub rows: Vec<usize>,
}

/// A register file as it was read: its lists as JSON, and what was wrong with it already.
#[derive(Clone, Debug, Default)]
pub struct RegisterFile {
    pub content: Value,
    /// By list, where the file is a table.
    pub places: BTreeMap<&'static str, SheetRows>,
    pub faults: Vec<RegisterFault>,
    pub warnings: Vec<RegisterFault>,
}

impl From<Value> for RegisterFile {
    fn from(content: Value) -> RegisterFile {
        RegisterFile { content, ..RegisterFile::default() }
    }
}

impl RegisterFile {
    /// Sheet and number of the row at this index of a list.
    pub fn place(&self, list: &str, index: usize) -> (Option<String>, usize) {
        match self.places.get(list) {
            Some(places) => (places.sheet.clone(), places.rows.get(index).copied().unwrap_or(index + 1)),
            None => (None, index + 1),
        }
    }
}

impl RegisterFault {
    /// Of a file as a whole, or of a place that stands in no list.
    pub fn of_file(code: &'static str, rule: &str, path: &str, detail: String) -> RegisterFault {
        let (path, text) = (path.to_string(), text_of(code, None, None, None));
        RegisterFault { file: 0, code, path, list: None, sheet: None, row: None, column: None, rule: rule.into(), detail, text }
    }

    /// The place in words: file aside.
    pub fn place(&self) -> String {
        let Some(list) = &self.list else { return self.path.clone() };
        let name = match &self.sheet {
            Some(sheet) if sheet != list => format!("sheet {sheet} ({list})"),
            _ => list.clone(),
        };
        match (self.row, &self.column) {
            (Some(row), Some(column)) => format!("{name} row {row}, column {column}"),
            (Some(row), None) => format!("{name} row {row}"),
            (None, Some(column)) => format!("{name} column {column}"),
            (None, None) => name,
        }
    }
}

/// What a code says, in Chinese.
pub fn text_of(code: &str, list: Option<&List>, row: Option<usize>, column: Option<&Column>) -> String {
    let place = match (list, row) {
        (Some(list), Some(row)) => format!("“{}”第 {row} 行", list.text),
        (Some(list), None) => format!("“{}”", list.text),
        _ => String::new(),
    };
    let column_name = column.map(|column| format!("“{}”", column.text)).unwrap_or_default();
    let expected = column.map(|column| format!("，应填：{}", column.kind.rule_text())).unwrap_or_default();
    let said = match code {
        "missing" => format!("必填，但未填写{expected}"),
        "duplicate" => "同一条记录出现了两次".into(),
        "duplicate_field" => "同一个名称写了两次，只会有一个生效，请删去其中一个".into(),
        "reference" if column.is_some() => "所引用的记录不存在".into(),
        "period" => "起始时间须早于截止时间".into(),
        "reference" => "仍被其他记录引用，不能删除".into(),
        "unknown_field" => "没有这个栏目或清单".into(),
        "version" | "rulebook" => "版本号或规则版本不正确".into(),
        "state" => "状态变更不符合规定（R10、R11、五(四)、六(二)）；确需更正的，请填写“状态更正说明”".into(),
        "objection" => "公示异议尚未处理完，不得兑付（六(三)）".into(),
        "formula" => "单元格是公式，请改为填写数值（选择性粘贴—数值）".into(),
        "merged" => "有合并单元格，请取消合并后逐行填写".into(),
        "hidden" => "工作表被隐藏，请取消隐藏并核对内容".into(),
        "heading" => "表头不正确".into(),
        "bound" => "超出允许的大小或数量".into(),
        "unreadable" => "文件无法读取，可能已损坏或格式不符".into(),
        "encoding" => "文字编码不是 UTF-8，已按 GBK 读取，请核对".into(),
        "more" => "其余提醒从略".into(),
        "example" => "示例行，已跳过".into(),
        "voucher_before_contract" => "申领时间早于合同签订日期（R4），将在形式核查中列出".into(),
        "organisation_code" => "信用代码第 9–17 位的组织机构代码校验位不符（GB 11714），请核对".into(),
        "correction_unused" => "填写了状态更正说明，但这次状态变更并不需要更正".into(),
        _ => format!("填写不正确{expected}"),
    };
    format!("{place}{column_name}{said}。")
}

/// The beginning of a text that somebody has sent, for a message.
pub fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
