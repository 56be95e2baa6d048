//! Templates to fill in: every list with its columns, what each expects, and an example that is passed over.

use policy::columns::{Column, ColumnKind, LISTS, List};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use serde_json::{Map, Value, json};

use crate::table::EXAMPLE;
use crate::xlsx::{META_SHEET, NOTES_SHEET};

#[derive(Debug)]
pub struct TemplateError(XlsxError);

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the workbook cannot be written: {}", self.0)
    }
}

impl std::error::Error for TemplateError {}

impl From<XlsxError> for TemplateError {
    fn from(error: XlsxError) -> TemplateError {
        TemplateError(error)
    }
}

/// Chinese, then the technical name; `*` where a value is required.
fn heading(column: &Column) -> String {
    let required = if column.required { " *" } else { "" };
    format!("{} {}{required}", column.text, column.name)
}

/// What might stand in a column.
fn example(column: &Column) -> String {
    match column.kind {
        ColumnKind::Names => "设备OEE分析;停机管理".into(),
        ColumnKind::GatewayId => "gw-1".into(),
        ColumnKind::Token => "a-long-secret".into(),
        ColumnKind::PublicKey => "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".into(),
        ColumnKind::CreditCode => "91440300708461136T".into(),
        ColumnKind::City | ColumnKind::Party => "440100".into(),
        ColumnKind::Province => "44".into(),
        ColumnKind::Money => "80000.00".into(),
        ColumnKind::Bool => "否".into(),
        ColumnKind::CatalogueRow => "5".into(),
        ColumnKind::Instant => "2019-09-02T09:00:00+08:00".into(),
        ColumnKind::Day => "2019-06-01".into(),
        ColumnKind::Word(words) => words.first().copied().unwrap_or_default().into(),
        ColumnKind::CostLines => "软件:60000.00;实施:20000.00".into(),
        ColumnKind::Name | ColumnKind::Text | ColumnKind::TextOrBool if column.required => column.text.into(),
        ColumnKind::Name | ColumnKind::Text | ColumnKind::TextOrBool => String::new(),
    }
}

/// The example's cells; the first says that it is one.
fn example_row(list: &List) -> Vec<String> {
    list.columns
        .iter()
        .enumerate()
        .map(|(at, column)| match at {
            0 => format!("{EXAMPLE} {}（本行不导入）", example(column)),
            _ => example(column),
        })
        .collect()
}

/// A workbook with a sheet per list, notes, and the sheet that names the rulebook.
pub fn template_xlsx(rulebook: &str) -> Result<Vec<u8>, TemplateError> {
    let mut workbook = Workbook::new();
    let (bold, text) = (Format::new().set_bold(), Format::new().set_num_format("@"));
    let notes = workbook.add_worksheet().set_name(NOTES_SHEET)?;
    write_notes(notes, &bold)?;
    let meta = workbook.add_worksheet().set_name(META_SHEET)?;
    meta.write(0, 0, "v")?.write(0, 1, "1")?.write(1, 0, "rulebook")?.write(1, 1, rulebook)?;
    for list in LISTS {
        let sheet = workbook.add_worksheet().set_name(list.text)?;
        for (at, (column, example)) in (0_u16..).zip(list.columns.iter().zip(example_row(list))) {
            // Otherwise a spreadsheet makes numbers and dates of codes, and loses digits.
            sheet.set_column_format(at, &text)?.set_column_width(at, 22)?;
            sheet.write_with_format(0, at, heading(column), &bold)?;
            sheet.write_with_format(1, at, example, &text)?;
        }
        sheet.set_freeze_panes(1, 0)?;
    }
    Ok(workbook.save_to_buffer()?)
}

fn write_notes(notes: &mut Worksheet, bold: &Format) -> Result<(), XlsxError> {
    let general = [
        "每张工作表对应一个清单，表名与表头请勿改动；不需要的清单可以留空。",
        "以“示例”开头的行不会导入。多个值写在同一单元格内，用分号（;）或换行分隔。",
        "不支持公式、合并单元格和隐藏的工作表。金额可以是文本，也可以是至多两位小数的数值。",
        "整份文件要么全部导入，要么一行也不导入，并一次列出全部问题。",
    ];
    for (row, line) in (0..).zip(general) {
        notes.write(row, 0, line)?;
    }
    let top = general.len() as u32 + 1;
    for (at, title) in (0..).zip(["清单 / list", "栏目", "column", "必填 / required", "填写要求", "rule"]) {
        notes.write_with_format(top, at, title, bold)?;
        notes.set_column_width(at, [14, 20, 24, 16, 60, 60][usize::from(at)])?;
    }
    let columns = LISTS.iter().flat_map(|list| list.columns.iter().map(move |column| (list, column)));
    for (row, (list, column)) in (top + 1..).zip(columns) {
        let required = if column.required { "是 / yes" } else { "" };
        let cells =
            [format!("{} / {}", list.text, list.name), column.text.into(), column.name.into(), required.into(), column.kind.rule_text()];
        for (at, cell) in (0..).zip(cells.into_iter().chain([column.kind.rule()])) {
            notes.write(row, at, cell)?;
        }
    }
    Ok(())
}

/// One list, with a byte order mark, so that spreadsheets know the encoding. `None` if there is no such list.
pub fn template_csv(list: &str) -> Option<Vec<u8>> {
    let list = LISTS.iter().find(|known| known.name == list || known.text == list)?;
    let mut writer = csv::Writer::from_writer(b"\xEF\xBB\xBF".to_vec());
    writer.write_record(list.columns.iter().map(heading)).ok()?;
    writer.write_record(example_row(list)).ok()?;
    writer.into_inner().ok()
}

/// Every list, empty: JSON knows no rows that are passed over.
pub fn template_json(rulebook: &str) -> Vec<u8> {
    let mut file = Map::from_iter([("v".to_string(), json!(1)), ("rulebook".to_string(), json!(rulebook))]);
    file.extend(LISTS.iter().map(|list| (list.name.to_string(), json!([]))));
    format!("{:#}\n", Value::Object(file)).into_bytes()
}
