//! Workbooks: one sheet per list, named as the list is. Read cell by cell within bounds; nothing is computed.

use std::io::Cursor;

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use policy::columns::{LISTS, List};
use serde_json::json;

use crate::cell::Cell;
use crate::fault::{FILE_RULE, RegisterFault, RegisterFile};
use crate::table::{COLUMNS_MAX, Table, Taken, letters};
use crate::{Reading, bounds, unreadable};

/// Sheets that hold no rows of a list.
pub(crate) const NOTES_SHEET: &str = "说明";
/// Says `rulebook`, where it is not the newest.
pub(crate) const META_SHEET: &str = "登记";

pub(crate) fn read(bytes: &[u8], reading: &Reading<'_>) -> RegisterFile {
    if let Err(detail) = bounds::check(bytes) {
        return unreadable(detail);
    }
    let mut file = RegisterFile { content: json!({ "v": 1, "rulebook": reading.rulebook }), ..RegisterFile::default() };
    if let Err(error) = read_sheets(bytes, &mut file) {
        let detail = format!("the workbook cannot be read: {error}");
        file.faults.push(RegisterFault::of_file("unreadable", FILE_RULE, "", detail));
    }
    file
}

fn list_of(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == name.trim() || list.text == name.trim())
}

fn read_sheets(bytes: &[u8], file: &mut RegisterFile) -> Result<(), XlsxError> {
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes))?;
    let sheets = workbook.sheets_metadata().to_vec();
    let (mut lists_read, mut taken) = (0, Taken::default());
    for sheet in sheets {
        let hidden = sheet.visible != SheetVisible::Visible;
        let Some(list) = list_of(&sheet.name) else {
            if sheet.name == META_SHEET {
                read_meta(&mut workbook, &sheet.name, file)?;
            } else if sheet.name != NOTES_SHEET && !hidden && sheet.typ == SheetType::WorkSheet && has_cells(&mut workbook, &sheet.name)? {
                let names: Vec<String> = LISTS.iter().map(|list| format!("{} ({})", list.name, list.text)).collect();
                let detail = format!("there is no list {:?}; lists are {}", sheet.name, names.join(", "));
                let mut fault = RegisterFault::of_file("unknown_field", FILE_RULE, "", detail);
                fault.sheet = Some(sheet.name);
                file.faults.push(fault);
            }
            continue;
        };
        lists_read += 1;
        let twice = file.places.contains_key(list.name);
        let merged = workbook.merge_cells_by_sheet_name(&sheet.name)?;
        let mut table = Table::new(list, Some(sheet.name.clone()), file, &mut taken);
        if hidden {
            table.put("hidden", None, None, "sheets that are read are seen".into(), "the sheet is hidden".into());
        }
        if twice {
            table.put("duplicate", None, None, "one sheet per list".into(), "the list has two sheets".into());
        }
        for cells in merged {
            if table.full() {
                break;
            }
            let (first, last) = (cells.start, cells.end);
            let place = |(row, column): (u32, u32)| format!("{}{}", letters(column as usize), row + 1);
            let detail = format!("{}:{} are merged", place(first), place(last));
            table.put("merged", Some(first.0 as usize + 1), None, "cells are not merged".into(), detail);
        }
        if !hidden && !twice {
            read_cells(&mut workbook, &sheet.name, &mut table)?;
            let full = table.full();
            table.finish();
            if full {
                break;
            }
        }
    }
    if lists_read == 0 && file.faults.is_empty() {
        let detail = "the workbook has no sheet that is named as a list".into();
        file.faults.push(RegisterFault::of_file("missing", FILE_RULE, "", detail));
    }
    Ok(())
}

fn read_cells(workbook: &mut Xlsx<Cursor<&[u8]>>, sheet: &str, table: &mut Table<'_>) -> Result<(), XlsxError> {
    let mut reader = workbook.worksheet_cells_reader(sheet)?;
    let (mut row, mut cells): (u32, Vec<(usize, Cell)>) = (0, Vec::new());
    while let Some(record) = reader.next_cell_with_formula_metadata()? {
        let (at_row, at_column) = record.pos;
        if at_row < row {
            return Err(XlsxError::Unexpected("rows are not in their order"));
        }
        if at_row > row {
            table.row(row as usize + 1, &cells);
            (row, cells) = (at_row, Vec::new());
            if table.full() {
                return Ok(());
            }
        }
        let cell = if record.formula.is_some() { Some(Cell::Formula) } else { cell_of(&record.value) };
        if let Some(cell) = cell {
            if cells.len() >= COLUMNS_MAX {
                return Err(XlsxError::Unexpected("a row has more than 256 cells"));
            }
            cells.push((at_column as usize, cell));
        }
    }
    table.row(row as usize + 1, &cells);
    Ok(())
}

/// `None` for an empty cell.
fn cell_of(value: &DataRef<'_>) -> Option<Cell> {
    Some(match value {
        DataRef::Empty => return None,
        DataRef::String(text) => Cell::text(text),
        DataRef::SharedString(text) => Cell::text(text),
        DataRef::Int(number) => Cell::Number(number.to_string()),
        // The shortest decimal that is this very number: what the sheet's author wrote, if it has at most 15 digits.
        DataRef::Float(number) => Cell::Number(number.to_string()),
        DataRef::Bool(flag) => Cell::Bool(*flag),
        DataRef::DateTime(moment) => Cell::Moment(moment_of(moment)),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Cell::text(text),
        DataRef::Error(error) => Cell::Error(error.to_string()),
    })
}

fn moment_of(moment: &ExcelDateTime) -> Option<(String, String)> {
    let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
    let of_this_programme = moment.is_datetime() && (1970..9999).contains(&year) && milli == 0;
    of_this_programme.then(|| (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}")))
}

fn has_cells(workbook: &mut Xlsx<Cursor<&[u8]>>, sheet: &str) -> Result<bool, XlsxError> {
    Ok(workbook.worksheet_cells_reader(sheet)?.next_cell()?.is_some())
}

/// Rows of a name and a value.
fn read_meta(workbook: &mut Xlsx<Cursor<&[u8]>>, sheet: &str, file: &mut RegisterFile) -> Result<(), XlsxError> {
    const ROWS_MAX: u32 = 20;
    let mut reader = workbook.worksheet_cells_reader(sheet)?;
    let mut names: Vec<(u32, String)> = Vec::new();
    while let Some(cell) = reader.next_cell()? {
        let (row, column) = cell.get_position();
        if row >= ROWS_MAX {
            break;
        }
        let text = match cell_of(cell.get_value()) {
            Some(Cell::Text(text)) => text.trim().to_string(),
            Some(Cell::Number(number)) => number,
            _ => continue,
        };
        match column {
            0 => names.push((row, text)),
            1 if names.contains(&(row, "rulebook".into())) => file.content["rulebook"] = json!(text),
            1 if names.contains(&(row, "v".into())) => file.content["v"] = text.parse::<u64>().map_or(json!(text), |v| json!(v)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "xlsx_tests.rs"]
mod tests;
