//! What a workbook may take, found out before anything of it is read: the archive is unpacked once into nothing, counting. What stands
//! in its directory is not believed.

use std::io::{Cursor, Read};

use zip::ZipArchive;

/// All parts together, unpacked.
const BYTES_MAX: u64 = 512 << 20;
/// Everything but sheets and shared texts, each.
const PART_BYTES_MAX: u64 = 8 << 20;
const SHARED_BYTES_MAX: u64 = 128 << 20;
const SHARED_TEXTS_MAX: usize = 3_000_000;
const PARTS_MAX: usize = 1000;

/// What is wrong, if the workbook is not to be read.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    check_within(bytes, BYTES_MAX)
}

fn check_within(bytes: &[u8], bytes_max: u64) -> Result<(), String> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("the file is no XLSX workbook, or is cut short: {error}"))?;
    if archive.len() > PARTS_MAX {
        return Err(format!("the workbook has {} parts, at most {PARTS_MAX} are read", archive.len()));
    }
    let mut left = bytes_max;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|error| format!("a part of the workbook cannot be read: {error}"))?;
        let name = part.name().map_err(|error| format!("a part of the workbook has no name: {error}"))?.to_ascii_lowercase();
        let shared = name.ends_with("sharedstrings.xml");
        let own_max = match () {
            () if shared => SHARED_BYTES_MAX,
            () if name.contains("worksheets/") && name.ends_with(".xml") => bytes_max,
            () => PART_BYTES_MAX,
        };
        let bound = own_max.min(left);
        let taken = if shared { shared_texts(&mut part, bound)? } else { counted(&mut part, bound, name.ends_with(".xml"))? };
        if taken > bound {
            let bytes_max = own_max.min(bytes_max) >> 20;
            return Err(format!("{name} is larger than {bytes_max} MiB when unpacked: split the workbook, or import CSV"));
        }
        left -= taken;
    }
    Ok(())
}

/// Bytes of a part, one more than the bound if it has more.
fn counted(part: &mut impl Read, bound: u64, xml: bool) -> Result<u64, String> {
    let (mut buffer, mut taken) = ([0; 64 << 10], 0);
    let mut part = part.take(bound + 1);
    loop {
        match part.read(&mut buffer).map_err(|error| format!("the workbook is damaged: {error}"))? {
            0 => return Ok(taken),
            // In another encoding the parts would say something else than what was looked at here.
            read if xml && buffer[..read].contains(&0) => return Err("a part of the workbook is not in UTF-8".into()),
            read => taken += read as u64,
        }
    }
}

/// As before; also how many texts there are, and how many there are said to be: room is made for those at once.
fn shared_texts(part: &mut impl Read, bound: u64) -> Result<u64, String> {
    let mut content = Vec::new();
    part.take(bound + 1).read_to_end(&mut content).map_err(|error| format!("the workbook is damaged: {error}"))?;
    if content.contains(&0) {
        return Err("a part of the workbook is not in UTF-8".into());
    }
    let texts = content.windows(3).filter(|window| window == b"<si").count();
    if texts > SHARED_TEXTS_MAX || said_counts(&content).any(|count| count.is_none_or(|count| count > SHARED_TEXTS_MAX)) {
        return Err(format!("the workbook has more than {SHARED_TEXTS_MAX} different texts, or says so"));
    }
    Ok(content.len() as u64)
}

/// Every `uniqueCount` in the file; `None` for one that is no plain number.
fn said_counts(content: &[u8]) -> impl Iterator<Item = Option<usize>> + '_ {
    const NAME: &[u8] = b"uniqueCount";
    content.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).map(|(at, _)| {
        let rest = content[at + NAME.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        let quote = rest.first().filter(|quote| matches!(quote, b'"' | b'\''))?;
        let value = &rest[1..rest.iter().skip(1).position(|byte| byte == quote)? + 1];
        std::str::from_utf8(value).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn what_unpacks_to_more_than_the_bound_is_refused_whatever_the_directory_says() {
        let zeros = vec![b' '; 3 << 20];
        let mut bomb = archive(&[("xl/worksheets/sheet1.xml", &zeros), ("xl/worksheets/sheet2.xml", &zeros)]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(check_within(&bomb, 6 << 20), Ok(()));
        assert!(check_within(&bomb, 5 << 20).unwrap_err().contains("larger than"));
        // The directory says one byte.
        let said = (3_u32 << 20).to_le_bytes();
        for at in 0..bomb.len() - 4 {
            if bomb[at..at + 4] == said {
                bomb[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
            }
        }
        assert!(check_within(&bomb, 5 << 20).is_err());
    }

    #[test]
    fn parts_other_than_sheets_are_small() {
        let spaces = vec![b' '; (PART_BYTES_MAX + 1) as usize];
        assert!(check(&archive(&[("xl/styles.xml", &spaces)])).is_err());
        assert!(check(&archive(&[("xl/styles.xml", &spaces[1..])])).is_ok());
    }

    #[test]
    fn texts_are_counted_and_their_number_is_not_believed() {
        let of = |content: &str| check(&archive(&[("xl/sharedStrings.xml", content.as_bytes())]));
        assert_eq!(of("<sst uniqueCount=\"2\"><si/><si/></sst>"), Ok(()));
        for count in
            ["uniqueCount=\"99999999999\"", "uniqueCount = '99999999999999999999999'", "a='' uniqueCount=\"4000000\"", "uniqueCount=1"]
        {
            assert!(of(&format!("<sst {count}></sst>")).is_err(), "{count}");
        }
        assert!(of(&format!("<sst>{}</sst>", "<si/>".repeat(SHARED_TEXTS_MAX + 1))).is_err());
        assert!(of("<\0s\0s\0t\0").is_err());
    }

    #[test]
    fn too_many_parts_and_what_is_no_archive_are_told() {
        let names: Vec<String> = (0..=PARTS_MAX).map(|i| format!("p{i}")).collect();
        let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(check(&archive(&parts)).unwrap_err().contains("parts"));
        let sound = archive(&[("a", b"b")]);
        assert!(check(&sound[..sound.len() - 10]).is_err() && check(b"PK").is_err());
    }
}
