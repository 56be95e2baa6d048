//! CSV files: one list, UTF-8 with or without a byte order mark, or GBK as Chinese spreadsheets write it.

use std::borrow::Cow;

use encoding_rs::GB18030;
use policy::columns::{LISTS, List};
use serde_json::json;

use crate::cell::Cell;
use crate::fault::{FILE_RULE, RegisterFault, RegisterFile};
use crate::table::{COLUMNS_MAX, Table, Taken};
use crate::{Reading, unreadable};

pub(crate) fn read(bytes: &[u8], reading: &Reading<'_>) -> RegisterFile {
    read_beside(bytes, reading, &mut Taken::default())
}

fn read_beside(bytes: &[u8], reading: &Reading<'_>, taken: &mut Taken) -> RegisterFile {
    let Some(list) = reading.list.and_then(list_of) else {
        let names: Vec<&str> = LISTS.iter().map(|list| list.name).collect();
        let found = reading.list.map(|list| format!("there is no list {list:?}; ")).unwrap_or_default();
        return unreadable(format!("{found}say which list a CSV file holds: {}", names.join(", ")));
    };
    let mut file = RegisterFile { content: json!({ "v": 1, "rulebook": reading.rulebook }), ..RegisterFile::default() };
    let text = match decoded(bytes) {
        Some((text, gbk)) => {
            if gbk {
                let detail = "the file is not UTF-8 and was read as GBK".into();
                file.warnings.push(RegisterFault::of_file("encoding", FILE_RULE, "", detail));
            }
            text
        }
        None => return unreadable("the file is neither UTF-8 nor GBK: save it as CSV UTF-8".into()),
    };
    // One kind of line end, so that lines can be counted.
    let text = if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { text };
    let ended = quotes_sound(&text).and_then(|()| read_rows(&text, Table::new(list, None, &mut file, taken)));
    if let Err(detail) = ended {
        file.faults.push(RegisterFault::of_file("unreadable", FILE_RULE, "", detail));
    }
    file
}

fn list_of(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == name || list.text == name)
}

/// And whether it was GBK.
fn decoded(bytes: &[u8]) -> Option<(Cow<'_, str>, bool)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.contains(&0) {
        return None;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some((Cow::Borrowed(text), false));
    }
    GB18030.decode_without_bom_handling_and_without_replacement(bytes).map(|text| (text, true))
}

/// The reader takes whatever stands between quotes for one field, however many rows it swallows: a quote that is never closed, and text
/// behind a closing one, as there is where the wrong quote closes.
fn quotes_sound(text: &str) -> Result<(), String> {
    enum At {
        Begin,
        Plain,
        /// Since this line.
        Quoted(usize),
        Closed,
    }
    let (mut at, mut line) = (At::Begin, 1);
    for byte in text.bytes() {
        at = match (at, byte) {
            (At::Quoted(_), b'"') => At::Closed,
            (At::Quoted(since), _) => At::Quoted(since),
            // Two quotes are one within the field.
            (At::Begin | At::Closed, b'"') => At::Quoted(line),
            (_, b',' | b'\n' | b'\r') => At::Begin,
            (At::Closed, _) => {
                return Err(format!("line {line}: text follows a closing quote: a quote before it is not closed, or not doubled"));
            }
            (At::Begin | At::Plain, _) => At::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    match at {
        At::Quoted(since) => Err(format!("the quote in line {since} is never closed")),
        _ => Ok(()),
    }
}

fn read_rows(text: &str, mut table: Table<'_>) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    // As a spreadsheet counts: a quoted field may go over several lines, and lines without anything count.
    let mut number = 0;
    loop {
        let before = reader.position().line();
        if !reader.read_record(&mut record).map_err(|error| format!("the file is no CSV: {error}"))? {
            break;
        }
        let lines = reader.position().line() - before;
        let within: u64 = record.iter().map(|field| field.matches('\n').count() as u64).sum();
        number += 1 + lines.saturating_sub(within + 1) as usize;
        if record.len() > COLUMNS_MAX {
            return Err(format!("row {number} has more than {COLUMNS_MAX} columns"));
        }
        let cells: Vec<(usize, Cell)> = record.iter().enumerate().map(|(at, field)| (at, Cell::text(field))).collect();
        table.row(number, &cells);
        if table.full() {
            break;
        }
    }
    table.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{BYTES_MAX, ROWS_MAX};

    fn suppliers(bytes: &[u8]) -> RegisterFile {
        read(bytes, &Reading { rulebook: "gd-2019", list: Some("供应商") })
    }

    #[test]
    fn rows_keep_the_number_that_a_spreadsheet_shows() {
        let file = suppliers("\u{FEFF}id,供应商名称,城市,city\r\nS-1,\"第一行\n第二行\",x,440100\n\n\nS-2,b,,440100\n".as_bytes());
        assert_eq!(file.places["suppliers"].rows, [2, 5]);
        assert_eq!(file.content["suppliers"][0]["name"], "第一行\n第二行");
        let told: Vec<_> = file.faults.iter().map(|fault| (fault.code, fault.row)).collect();
        assert_eq!(told, [("heading", Some(1))], "城市 is no heading");
    }

    #[test]
    fn a_quote_that_swallows_rows_is_told() {
        let rows = "id,name,city\nS-1,\"a\",440100\n";
        for (more, told) in [
            ("S-2,\"b,440100\nS-3,c,440100\n", "the quote in line 3 is never closed"),
            ("S-2,\"b\",\"440100", "the quote in line 3 is never closed"),
            ("S-2,\"b\"\"\n", "the quote in line 3 is never closed"),
            // The quote before c closes the one before b.
            ("S-2,\"b,440100\nS-3,\"c\",440100\n", "line 4: text follows a closing quote"),
        ] {
            let file = suppliers(format!("{rows}{more}").as_bytes());
            assert_eq!((file.faults[0].code, file.faults.len()), ("unreadable", 1), "{more}");
            assert!(file.faults[0].detail.starts_with(told), "{}", file.faults[0].detail);
        }
        let sound = suppliers(format!("{rows}S-2,\"b \"\"c\"\"\nd\",440100\nS-3,5\" e,440100\n\"S-4\",\"\",\"440100\"").as_bytes());
        assert_eq!((sound.faults.len(), &sound.content["suppliers"][1]["name"]), (0, &json!("b \"c\"\nd")), "{:?}", sound.faults);
        assert_eq!((&sound.content["suppliers"][2]["name"], &sound.content["suppliers"][3]["id"]), (&json!("5\" e"), &json!("S-4")));
    }

    #[test]
    fn rows_beyond_the_bound_are_told_once_and_not_read() {
        let of = |rows: usize, mut taken: Taken| {
            let text = format!("id,removed\n{}", "1,\n".repeat(rows));
            let file = read_beside(text.as_bytes(), &Reading { rulebook: "r", list: Some("suppliers") }, &mut taken);
            let told: Vec<_> = file.faults.iter().map(|fault| (fault.code, fault.row)).collect();
            (told, file.content["suppliers"].as_array().map(Vec::len))
        };
        let rows = || Taken { rows: ROWS_MAX - 3, ..Taken::default() };
        assert_eq!(of(3, rows()), (vec![], Some(3)));
        assert_eq!(of(9, rows()), (vec![("bound", Some(5))], Some(3)));
        let bytes = || Taken { bytes: BYTES_MAX - 1000, ..Taken::default() };
        assert_eq!(of(3, bytes()), (vec![], Some(3)));
        let (told, kept) = of(99, bytes());
        assert!(matches!(told[..], [("bound", Some(5..=40))]) && matches!(kept, Some(3..40)), "{told:?} {kept:?}");
    }

    #[test]
    fn gbk_is_read_and_said() {
        let (gbk, ..) = GB18030.encode("供应商编号,供应商名称,地市代码\nS-1,东莞智联,441900\n");
        assert!(std::str::from_utf8(&gbk).is_err());
        let file = suppliers(&gbk);
        assert_eq!(file.content["suppliers"][0], json!({"id": "S-1", "name": "东莞智联", "city": "441900"}));
        assert_eq!((file.warnings[0].code, file.faults.len()), ("encoding", 0));
        assert_eq!(suppliers(b"id,name\n\xFF\xFF,\xFE").faults[0].code, "unreadable");
        assert_eq!(suppliers("id\0".as_bytes()).faults[0].code, "unreadable");
    }

    #[test]
    fn duplicate_and_missing_headings_and_values_without_one_are_told() {
        let file = suppliers("id,供应商编号,name\nS-1,S-2,b,beyond\n".as_bytes());
        let told: Vec<_> = file.faults.iter().map(|fault| (fault.row, fault.column.as_deref(), fault.detail.as_str())).collect();
        let expected = [
            (Some(1), Some("id"), "column B: the heading stands twice"),
            (None, Some("city"), "the heading is missing"),
            (Some(2), None, "column D has no heading"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn without_a_list_nothing_is_read() {
        assert_eq!(read(b"id\n", &Reading { rulebook: "r", list: None }).faults[0].code, "unreadable");
        assert!(read(b"id\n", &Reading { rulebook: "r", list: Some("gadgets") }).faults[0].detail.contains("gadgets"));
    }
}
