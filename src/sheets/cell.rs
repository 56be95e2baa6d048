//! One cell of a table against its column: the JSON value that a register file would hold, or what is wrong.

use policy::columns::ColumnKind;
use serde_json::{Value, json};

use crate::fault::short;

/// A cell as it was read. Numbers are decimal texts: nothing here counts with floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(String),
    /// More than a cell may hold; it was not taken over.
    TooLong,
    /// The shortest decimal that is this number, without exponent.
    Number(String),
    Bool(bool),
    /// `YYYY-MM-DD` and `HH:MM:SS`, by the clock in the cell; `None` if it lies outside, or between whole seconds.
    Moment(Option<(String, String)>),
    /// Such as #N/A.
    Error(String),
    Formula,
}

impl Cell {
    /// A text that may be shared by many cells: what is too long is never copied.
    pub(crate) fn text(text: &str) -> Cell {
        let too_long = text.len() > 4 * CHARS_MAX || (text.len() > CHARS_MAX && text.chars().count() > CHARS_MAX);
        if too_long { Cell::TooLong } else { Cell::Text(text.to_string()) }
    }
}

/// Characters in a cell, as spreadsheets have it.
const CHARS_MAX: usize = 32_767;
/// Characters of what is no list; the columns allow less.
const PLAIN_CHARS_MAX: usize = 1024;
/// Entries of a list in a cell.
const ENTRIES_MAX: usize = 1000;

pub(crate) struct CellFault {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

/// Digits that a number in a sheet can hold without loss.
const NUMBER_DIGITS_MAX: usize = 15;

/// `None` for an empty cell.
pub(crate) fn value(kind: ColumnKind, cell: &Cell) -> Result<Option<Value>, CellFault> {
    let fault = |code, detail: String| Err(CellFault { code, detail });
    match cell {
        Cell::Text(text) => of_text(kind, text.trim()),
        Cell::TooLong => fault("bound", format!("the cell holds more than {CHARS_MAX} characters")),
        Cell::Formula => fault("formula", "the cell is a formula: write its value".into()),
        Cell::Error(error) => fault("type", format!("the cell is an error: {error}")),
        Cell::Bool(flag) if matches!(kind, ColumnKind::Bool | ColumnKind::TextOrBool) => Ok(Some(json!(flag))),
        Cell::Bool(_) => fault("type", "the cell is true or false".into()),
        Cell::Moment(None) => fault("instant", "the cell is a time between whole seconds, or none of this programme".into()),
        Cell::Moment(Some((day, time))) => match kind {
            ColumnKind::Day if time == "00:00:00" => Ok(Some(json!(day))),
            ColumnKind::Day => fault("day", format!("the cell says {day} {time}: a day has no time")),
            ColumnKind::Instant => Ok(Some(json!(format!("{day}T{time}+08:00")))),
            _ => fault("type", format!("the cell is a date ({day}): format it as text and write it again")),
        },
        Cell::Number(number) => of_number(kind, number),
    }
}

fn of_number(kind: ColumnKind, number: &str) -> Result<Option<Value>, CellFault> {
    let fault = |code, detail: String| Err(CellFault { code, detail });
    let (whole, places) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.trim_start_matches('-').len() + places.len();
    match kind {
        ColumnKind::Money if places.len() <= 2 && digits <= NUMBER_DIGITS_MAX => Ok(Some(json!(number))),
        ColumnKind::Money => {
            fault("money", format!("the cell holds {number}, which is no amount of two places: round it in the sheet, or write it as text"))
        }
        ColumnKind::CatalogueRow if places.is_empty() => match whole.parse::<u64>() {
            Ok(row) => Ok(Some(json!(row))),
            Err(_) => fault("catalogue_row", format!("the cell holds {number}")),
        },
        ColumnKind::Day | ColumnKind::Instant => fault("type", format!("the cell holds the number {number}: format it as a date")),
        ColumnKind::Bool | ColumnKind::CostLines | ColumnKind::CatalogueRow => fault("type", format!("the cell holds the number {number}")),
        _ if places.is_empty() && digits <= NUMBER_DIGITS_MAX => of_text(kind, whole),
        _ => fault(
            "type",
            format!("the cell holds the number {number}, of which a sheet keeps 15 digits: format it as text and write it again"),
        ),
    }
}

fn of_text(kind: ColumnKind, text: &str) -> Result<Option<Value>, CellFault> {
    if text.is_empty() {
        return Ok(None);
    }
    let list = matches!(kind, ColumnKind::Names | ColumnKind::CostLines);
    if !list && text.len() > PLAIN_CHARS_MAX && text.chars().count() > PLAIN_CHARS_MAX {
        return Err(CellFault {
            code: "bound",
            detail: format!("the cell holds more than {PLAIN_CHARS_MAX} characters: {:?}…", short(text)),
        });
    }
    if list && entries(text).nth(ENTRIES_MAX).is_some() {
        return Err(CellFault { code: "list", detail: format!("the cell has more than {ENTRIES_MAX} entries") });
    }
    let flag = match text {
        "是" => Some(true),
        "否" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    Ok(Some(match kind {
        ColumnKind::Bool | ColumnKind::TextOrBool if flag.is_some() => json!(flag),
        ColumnKind::Bool => return Err(CellFault { code: "type", detail: format!("{:?} is neither 是 nor 否", short(text)) }),
        ColumnKind::CatalogueRow => match text.parse::<u64>() {
            Ok(row) => json!(row),
            Err(_) => return Err(CellFault { code: "catalogue_row", detail: format!("{:?} is no number", short(text)) }),
        },
        ColumnKind::Names => Value::Array(entries(text).map(Value::from).collect()),
        ColumnKind::CostLines => Value::Array(entries(text).map(cost_line).collect::<Result<_, _>>()?),
        _ => json!(text),
    }))
}

/// Entries of a list in one cell: by semicolon or line. Not by 、, which stands within the names of function modules.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split([';', '；', '\n', '\r']).map(str::trim).filter(|entry| !entry.is_empty())
}

fn cost_line(entry: &str) -> Result<Value, CellFault> {
    match entry.rsplit_once([':', '：']) {
        Some((kind, amount)) => Ok(json!({ "kind": kind.trim(), "amount": amount.trim() })),
        None => Err(CellFault { code: "list", detail: format!("{:?} is not kind:amount", short(entry)) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: ColumnKind, cell: Cell) -> Result<Value, &'static str> {
        value(kind, &cell).map(|value| value.unwrap_or(Value::Null)).map_err(|fault| fault.code)
    }

    fn number(text: &str) -> Cell {
        Cell::Number(text.into())
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    #[test]
    fn money_of_a_number_is_exact_or_refused() {
        for exact in ["80000", "80000.5", "0.01", "1000000000000.01"] {
            assert_eq!(of(ColumnKind::Money, number(exact)), Ok(json!(exact)));
        }
        for inexact in ["80000.005", "0.30000000000000004", "12345678901234.56"] {
            assert_eq!(of(ColumnKind::Money, number(inexact)), Err("money"), "{inexact}");
        }
    }

    #[test]
    fn dates_and_times_are_taken_as_the_cell_shows_them() {
        let moment = |day: &str, time: &str| Cell::Moment(Some((day.into(), time.into())));
        assert_eq!(of(ColumnKind::Day, moment("2019-06-01", "00:00:00")), Ok(json!("2019-06-01")));
        assert_eq!(of(ColumnKind::Day, moment("2019-06-01", "08:00:00")), Err("day"));
        assert_eq!(of(ColumnKind::Instant, moment("2019-06-01", "08:05:09")), Ok(json!("2019-06-01T08:05:09+08:00")));
        assert_eq!(of(ColumnKind::Instant, Cell::Moment(None)), Err("instant"));
        assert_eq!(of(ColumnKind::Text, moment("2019-01-02", "00:00:00")), Err("type"), "1-2 has become a date");
        assert_eq!(of(ColumnKind::Day, number("43617")), Err("type"));
    }

    #[test]
    fn numbers_stand_for_names_only_where_no_digit_is_lost() {
        assert_eq!(of(ColumnKind::Name, number("20190001")), Ok(json!("20190001")));
        assert_eq!(of(ColumnKind::City, number("440100")), Ok(json!("440100")));
        assert_eq!(of(ColumnKind::CatalogueRow, number("5")), Ok(json!(5)));
        assert_eq!(of(ColumnKind::CreditCode, number("914403001922038200")), Err("type"));
        assert_eq!(of(ColumnKind::Name, number("1.5")), Err("type"));
    }

    #[test]
    fn lists_and_flags_are_written_as_people_write_them() {
        assert_eq!(of(ColumnKind::Names, text(" a；b;\n故障、告警 ")), Ok(json!(["a", "b", "故障、告警"])));
        let lines = json!([{"kind": "软件", "amount": "60000.00"}, {"kind": "a:b", "amount": "1"}]);
        assert_eq!(of(ColumnKind::CostLines, text("软件：60000.00;a:b:1")), Ok(lines));
        assert_eq!(of(ColumnKind::CostLines, text("软件")), Err("list"));
        assert_eq!(of(ColumnKind::Bool, text("是")), Ok(json!(true)));
        assert_eq!(of(ColumnKind::Bool, text("maybe")), Err("type"));
        assert_eq!(of(ColumnKind::TextOrBool, text("FALSE")), Ok(json!(false)));
        assert_eq!(of(ColumnKind::TextOrBool, text("金额有误")), Ok(json!("金额有误")));
        assert_eq!(of(ColumnKind::Text, text("  ")), Ok(Value::Null));
    }

    #[test]
    fn texts_and_lists_are_bounded() {
        assert_eq!(Cell::text(&"厂".repeat(CHARS_MAX)), text(&"厂".repeat(CHARS_MAX)));
        for long in ["厂".repeat(CHARS_MAX + 1), "a".repeat(CHARS_MAX + 1), "a".repeat(5 * CHARS_MAX)] {
            assert_eq!(Cell::text(&long), Cell::TooLong);
        }
        assert_eq!(of(ColumnKind::Text, Cell::TooLong), Err("bound"));
        assert_eq!(of(ColumnKind::Text, text(&"厂".repeat(PLAIN_CHARS_MAX))), Ok(json!("厂".repeat(PLAIN_CHARS_MAX))));
        assert_eq!(of(ColumnKind::Name, text(&"厂".repeat(PLAIN_CHARS_MAX + 1))), Err("bound"));
        let names = |count: usize| text(&(0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(";"));
        assert!(of(ColumnKind::Names, names(ENTRIES_MAX)).is_ok());
        assert_eq!(of(ColumnKind::Names, names(ENTRIES_MAX + 1)), Err("list"));
    }

    #[test]
    fn formulas_and_errors_are_named() {
        assert_eq!(of(ColumnKind::Money, Cell::Formula), Err("formula"));
        assert_eq!(of(ColumnKind::Text, Cell::Error("#N/A".into())), Err("type"));
    }
}
