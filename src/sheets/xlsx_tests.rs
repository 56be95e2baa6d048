use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook, Worksheet};
use serde_json::json;

use super::*;
use crate::{FileKind, template_csv, template_xlsx};

const READING: Reading<'_> = Reading { rulebook: "gd-2019", list: None };

/// A workbook with one sheet, filled by the test.
fn workbook(name: &str, fill: impl FnOnce(&mut Worksheet)) -> RegisterFile {
    let mut workbook = Workbook::new();
    fill(workbook.add_worksheet().set_name(name).unwrap());
    read(&workbook.save_to_buffer().unwrap(), &READING)
}

fn row(sheet: &mut Worksheet, row: u32, cells: &[&str]) {
    for (column, cell) in (0..).zip(cells) {
        sheet.write(row, column, *cell).unwrap();
    }
}

fn codes(file: &RegisterFile) -> Vec<(&str, Option<usize>, Option<&str>)> {
    file.faults.iter().map(|fault| (fault.code, fault.row, fault.column.as_deref())).collect()
}

#[test]
fn headings_and_sheets_are_known_by_both_names_and_rows_keep_their_numbers() {
    for (sheet, headings) in [("suppliers", ["id", "name", "city"]), ("供应商", ["供应商编号 id *", "供应商名称", "地市代码（city）"])]
    {
        let file = workbook(sheet, |sheet| {
            row(sheet, 0, &headings);
            row(sheet, 3, &["S-1", "东莞智联", "441900"]);
        });
        assert_eq!(
            file.content,
            json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "name": "东莞智联", "city": "441900"}]})
        );
        assert_eq!((file.place("suppliers", 0), codes(&file)), ((Some(sheet.to_string()), 4), vec![]));
    }
}

#[test]
fn true_cells_are_read_exactly_or_refused() {
    let file = workbook("vouchers", |sheet| {
        row(sheet, 0, &["id", "contract_signed_on", "applied_at", "contract_total", "contract_amount", "paid", "contract_no"]);
        let (day, moment) = (Format::new().set_num_format("yyyy-mm-dd"), Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"));
        for (at, id) in [(1, "V-1"), (2, "V-2")] {
            sheet.write(at, 0, id).unwrap();
        }
        let signed = ExcelDateTime::from_ymd(2019, 6, 1).unwrap();
        let applied = ExcelDateTime::from_ymd(2019, 9, 2).unwrap().and_hms(8, 5, 9.0).unwrap();
        sheet.write_with_format(1, 1, &signed, &day).unwrap();
        sheet.write_with_format(1, 2, &applied, &moment).unwrap();
        sheet.write(1, 3, 80000.1).unwrap();
        sheet.write(1, 4, 80000).unwrap();
        sheet.write(1, 6, 20_190_001).unwrap();
        sheet.write_with_format(2, 1, &applied, &moment).unwrap();
        sheet.write_with_format(2, 2, ExcelDateTime::from_ymd(2019, 9, 2).unwrap().and_hms(8, 5, 9.25).unwrap(), &moment).unwrap();
        sheet.write(2, 3, 0.1 + 0.2).unwrap();
        sheet.write(2, 4, 1.005).unwrap();
        sheet.write(2, 5, true).unwrap();
        sheet.write(2, 6, 914_403_001_922_038_216_u64 as f64).unwrap();
    });
    let expected = json!({"id": "V-1", "contract_signed_on": "2019-06-01", "applied_at": "2019-09-02T08:05:09+08:00",
        "contract_total": "80000.1", "contract_amount": "80000", "contract_no": "20190001"});
    assert_eq!(file.content["vouchers"][0], expected);
    let second: Vec<_> =
        codes(&file).into_iter().filter(|(_, row, _)| *row == Some(3)).map(|(code, _, column)| (code, column.unwrap())).collect();
    let expected = [
        ("day", "contract_signed_on"),
        ("instant", "applied_at"),
        ("money", "contract_total"),
        ("money", "contract_amount"),
        ("type", "paid"),
        ("type", "contract_no"),
    ];
    assert_eq!(second, expected);
}

#[test]
fn formulas_merged_cells_and_doubtful_headings_are_named_by_their_place() {
    let file = workbook("suppliers", |sheet| {
        row(sheet, 0, &["id", "name", "city", "id", "phone"]);
        row(sheet, 1, &["S-1", "", "440100"]);
        sheet.write_formula(1, 1, Formula::new("=\"东莞\"&\"智联\"").set_result("东莞智联")).unwrap();
        sheet.merge_range(2, 0, 3, 0, "S-2", &Format::new()).unwrap();
    });
    assert_eq!(
        codes(&file),
        [("merged", Some(3), None), ("heading", Some(1), Some("id")), ("heading", Some(1), None), ("formula", Some(2), Some("name"))]
    );
    assert!(file.faults[0].detail.contains("A3:A4"), "{:?}", file.faults[0]);
    assert!(file.faults[3].text.contains("“供应商”第 2 行“供应商名称”") && file.faults[3].text.contains("公式"), "{}", file.faults[3].text);
}

#[test]
fn hidden_foreign_and_doubled_sheets_are_refused_and_empty_ones_passed_over() {
    let of = |names: &[&str], hide: Option<usize>| {
        let mut workbook = Workbook::new();
        for (at, name) in names.iter().enumerate() {
            let sheet = workbook.add_worksheet().set_name(*name).unwrap();
            row(sheet, 0, &["id", "name", "city"]);
            sheet.set_hidden(hide == Some(at));
        }
        read(&workbook.save_to_buffer().unwrap(), &READING)
    };
    assert_eq!(codes(&of(&["carriers", "suppliers"], Some(1)))[..1], [("heading", Some(1), None)], "city is no column of carriers");
    let hidden = of(&["说明", "suppliers"], Some(1));
    assert_eq!(codes(&hidden), [("hidden", None, None)]);
    assert_eq!(hidden.content.get("suppliers"), None);
    assert_eq!(codes(&of(&["suppliers", "供应商"], None)), [("duplicate", None, None)]);
    let foreign = of(&["suppliers", "Sheet1"], None);
    assert_eq!((codes(&foreign), foreign.faults[0].sheet.as_deref()), (vec![("unknown_field", None, None)], Some("Sheet1")));
    let empty = workbook("Sheet1", |_| {});
    assert_eq!(codes(&empty), [("missing", None, None)], "no sheet is named as a list");
}

#[test]
fn a_workbook_cut_anywhere_is_told_and_never_half_read() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet().set_name("suppliers").unwrap();
    row(sheet, 0, &["id", "name", "city"]);
    (1..200).for_each(|n| row(sheet, n, &[&format!("S-{n}"), "供应商", "440100"]));
    let whole = workbook.save_to_buffer().unwrap();
    assert!(read(&whole, &READING).faults.is_empty());
    for length in (0..whole.len()).step_by(97) {
        let file = crate::read(FileKind::Xlsx, &whole[..length], &READING);
        assert_eq!((codes(&file), file.content.get("suppliers")), (vec![("unreadable", None, None)], None), "{length}");
    }
    assert_eq!(crate::read(FileKind::Xlsx, &[0xD0, 0xCF, 0x11, 0xE0, 0], &READING).faults[0].code, "unreadable");
}

#[test]
fn templates_are_read_without_a_fault_and_their_examples_passed_over_visibly() {
    let file = read(&template_xlsx("gd-2020").unwrap(), &READING);
    assert_eq!((codes(&file), &file.content["rulebook"]), (vec![], &json!("gd-2020")));
    assert_eq!(file.warnings.iter().filter(|warning| warning.code == "example" && warning.row == Some(2)).count(), LISTS.len());
    for list in LISTS {
        assert_eq!(file.content[list.name], json!([]));
        let read = crate::read(FileKind::Csv, &template_csv(list.name).unwrap(), &Reading { list: Some(list.text), ..READING });
        assert_eq!((codes(&read), read.warnings.len()), (vec![], 1), "{}", list.name);
    }
}

/// A workbook of products whose lists are all one text, put in the place of a short one in the shared texts.
fn of_one_text(text: &str) -> RegisterFile {
    const SHORT: &str = "SHORT";
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet().set_name("products").unwrap();
    row(sheet, 0, &["id", "supplier", "name", "class", "row", "function_modules", "aliases"]);
    [1, 2].into_iter().for_each(|at| row(sheet, at, &[&format!("P-{at}"), "S-1", "n", "A", "5", SHORT, SHORT]));
    let mut archive = zip::ZipArchive::new(Cursor::new(workbook.save_to_buffer().unwrap())).unwrap();
    let mut changed = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        let mut content = String::new();
        std::io::Read::read_to_string(&mut part, &mut content).unwrap();
        changed.start_file(part.name().unwrap().to_string(), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut changed, content.replace(SHORT, text).as_bytes()).unwrap();
    }
    read(&changed.finish().unwrap().into_inner(), &READING)
}

#[test]
fn a_long_text_that_many_cells_share_is_not_copied_for_each() {
    let file = of_one_text(&"厂".repeat(2 << 20));
    let expected: Vec<_> =
        [2, 3].iter().flat_map(|row| ["function_modules", "aliases"].map(|name| ("bound", Some(*row), Some(name)))).collect();
    assert_eq!(codes(&file), expected);
}
