//! Rows of cells, as sheets and CSV files have them, into the list of a register file.

use policy::columns::{Column, ColumnKind, List};
use serde_json::{Map, Value};

use crate::cell::{self, Cell};
use crate::fault::{FAULTS_MAX, RegisterFault, RegisterFile, SheetRows, short, text_of};

/// Rows of a file, over all of its lists.
pub(crate) const ROWS_MAX: usize = 400_000;
/// What the values of a file's rows may take in memory: in a workbook many cells may share one text.
pub(crate) const BYTES_MAX: usize = 256 << 20;
/// Columns of a table, headings or not.
pub(crate) const COLUMNS_MAX: usize = 256;
/// How an example in a template begins; such a row is passed over.
pub(crate) const EXAMPLE: &str = "示例";
const REMOVED: Column = Column { name: "removed", text: "删除", kind: ColumnKind::Bool, required: false, stored: true, refers_to: &[] };

/// What a column of the table is, by its heading.
enum Heading {
    Column(&'static Column),
    Removed,
    /// It was told.
    Unknown,
    Empty,
}

/// What was taken from a file, over all of its tables.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) full: bool,
}

pub(crate) struct Table<'f> {
    list: &'static List,
    sheet: Option<String>,
    headings: Option<Vec<Heading>>,
    rows: Vec<Value>,
    numbers: Vec<usize>,
    file: &'f mut RegisterFile,
    taken: &'f mut Taken,
}

impl<'f> Table<'f> {
    pub(crate) fn new(list: &'static List, sheet: Option<String>, file: &'f mut RegisterFile, taken: &'f mut Taken) -> Table<'f> {
        Table { list, sheet, headings: None, rows: Vec::new(), numbers: Vec::new(), file, taken }
    }

    /// The next row; `number` as the sheet shows it, cells with their columns counted from 0. Rows without content are passed over.
    pub(crate) fn row(&mut self, number: usize, cells: &[(usize, Cell)]) {
        if self.full() || cells.iter().all(|(_, cell)| empty(cell)) {
            return;
        }
        let Some(headings) = self.headings.take() else {
            self.headings = Some(self.read_headings(number, cells));
            return;
        };
        self.taken.rows += 1;
        if self.taken.rows > ROWS_MAX {
            self.end(number, format!("the file has more than {ROWS_MAX} rows: split it"));
            return;
        }
        match cells.iter().find(|(_, cell)| !empty(cell)) {
            Some((0, Cell::Text(text))) if text.trim_start().starts_with(EXAMPLE) => {
                let warning =
                    self.fault("example", Some(number), None, "rows that begin with 示例 are examples".into(), "passed over".into());
                self.file.warnings.push(warning);
            }
            _ => {
                let row = Value::Object(self.read_row(number, cells, &headings));
                self.taken.bytes += bytes_of(&row);
                if self.taken.bytes > BYTES_MAX {
                    self.end(number, format!("up to here the file's rows take more than {} MiB: split it", BYTES_MAX >> 20));
                    return;
                }
                self.rows.push(row);
                self.numbers.push(number);
            }
        }
        self.headings = Some(headings);
    }

    fn read_row(&mut self, number: usize, cells: &[(usize, Cell)], headings: &[Heading]) -> Map<String, Value> {
        let mut row = Map::new();
        for (at, cell) in cells.iter().filter(|(_, cell)| !empty(cell)) {
            let column = match headings.get(*at).unwrap_or(&Heading::Empty) {
                Heading::Column(column) => *column,
                Heading::Removed => &REMOVED,
                Heading::Unknown => continue,
                Heading::Empty => {
                    let rule = "every value stands below a heading".into();
                    self.put("heading", Some(number), None, rule, format!("column {} has no heading", letters(*at)));
                    continue;
                }
            };
            match cell::value(column.kind, cell) {
                Ok(Some(value)) => {
                    row.insert(column.name.to_string(), value);
                }
                Ok(None) => {}
                Err(fault) => self.put(fault.code, Some(number), Some(column), column.kind.rule(), fault.detail),
            }
        }
        row
    }

    fn read_headings(&mut self, number: usize, cells: &[(usize, Cell)]) -> Vec<Heading> {
        let mut headings: Vec<Heading> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        let rule = || {
            let names: Vec<String> = self.list.columns.iter().map(|column| format!("{} {}", column.text, column.name)).collect();
            format!("headings of {}: {}", self.list.name, names.join(", "))
        };
        let mut faults = Vec::new();
        for (at, cell) in cells.iter().filter(|(at, cell)| *at < COLUMNS_MAX && !empty(cell)) {
            headings.resize_with(at + 1, || Heading::Empty);
            let text = if let Cell::Text(text) = cell { text.as_str() } else { "" };
            let column = heading_of(self.list, text);
            let name = match column {
                Some(column) => column.name,
                None => {
                    faults.push((None, format!("column {}: there is no column {:?}", letters(*at), short(text))));
                    headings[*at] = Heading::Unknown;
                    continue;
                }
            };
            if seen.contains(&name) {
                faults.push((column, format!("column {}: the heading stands twice", letters(*at))));
                headings[*at] = Heading::Unknown;
                continue;
            }
            seen.push(name);
            headings[*at] = match self.list.columns.iter().find(|column| column.name == name) {
                Some(column) => Heading::Column(column),
                None => Heading::Removed,
            };
        }
        for column in self.list.columns.iter().filter(|column| column.required && !seen.contains(&column.name)) {
            // Rows that only retire others need their key alone.
            if self.list.key.contains(&column.name) || !seen.contains(&REMOVED.name) {
                faults.push((Some(column), "the heading is missing".into()));
            }
        }
        let rule = rule();
        for (column, detail) in faults {
            let row = if detail == "the heading is missing" { None } else { Some(number) };
            self.put("heading", row, column, rule.clone(), detail);
        }
        headings
    }

    pub(crate) fn put(&mut self, code: &'static str, row: Option<usize>, column: Option<&Column>, rule: String, detail: String) {
        if self.file.faults.len() < FAULTS_MAX {
            let fault = self.fault(code, row, column, rule, detail);
            self.file.faults.push(fault);
        }
    }

    /// Nothing behind this row is read.
    fn end(&mut self, number: usize, detail: String) {
        if !self.taken.full {
            self.taken.full = true;
            self.put("bound", Some(number), None, format!("a file has at most {ROWS_MAX} rows, of {} MiB", BYTES_MAX >> 20), detail);
        }
    }

    /// No more of the file is worth reading.
    pub(crate) fn full(&self) -> bool {
        self.taken.full || self.file.faults.len() >= FAULTS_MAX
    }

    fn fault(&self, code: &'static str, row: Option<usize>, column: Option<&Column>, rule: String, detail: String) -> RegisterFault {
        let tail = column.map(|column| format!("/{}", column.name)).unwrap_or_default();
        let index = row.map(|_| format!("/{}", self.rows.len())).unwrap_or_default();
        RegisterFault {
            file: 0,
            code,
            path: format!("/{}{index}{tail}", self.list.name),
            list: Some(self.list.name.into()),
            sheet: self.sheet.clone(),
            row,
            column: column.map(|column| column.name.to_string()),
            rule,
            detail,
            text: text_of(code, Some(self.list), row, column),
        }
    }

    /// Puts what was read into the file.
    pub(crate) fn finish(self) {
        let Table { list, sheet, rows, numbers, file, .. } = self;
        if let Some(content) = file.content.as_object_mut() {
            content.insert(list.name.into(), Value::Array(rows));
        }
        file.places.insert(list.name, SheetRows { sheet, rows: numbers });
    }
}

/// The column that a heading names: by its own name, its Chinese one, or both as in the templates.
fn heading_of(list: &'static List, text: &str) -> Option<&'static Column> {
    let words: Vec<&str> =
        text.split(|letter: char| letter.is_whitespace() || "()（）*＊".contains(letter)).filter(|word| !word.is_empty()).collect();
    let all = || list.columns.iter().chain([&REMOVED]);
    all().find(|column| !words.is_empty() && words.iter().all(|word| *word == column.name || *word == column.text))
}

/// What a value takes in memory, roughly.
fn bytes_of(value: &Value) -> usize {
    let within = match value {
        Value::String(text) => text.len(),
        Value::Array(entries) => entries.iter().map(bytes_of).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + bytes_of(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + within
}

fn empty(cell: &Cell) -> bool {
    matches!(cell, Cell::Text(text) if text.trim().is_empty())
}

/// A column as sheets show it: A, B, … AA.
pub(crate) fn letters(mut at: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.insert(0, char::from(b'A' + (at % 26) as u8));
        match (at / 26).checked_sub(1) {
            Some(more) => at = more,
            None => return letters.into_iter().collect(),
        }
    }
}
