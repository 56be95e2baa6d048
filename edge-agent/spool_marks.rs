//! What is settled, dropped and kept, written down beside the segments. Lost or damaged marks only cause duplicates.
//!
//! Two files are overwritten in place by turns, so that one of them is always whole and nothing is allocated on the disk.
//! Each: 8 bytes `SYMARKS2` · generation u64 · length u32 · CRC-32C u32 of all but these 16 bytes' magic · JSON.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::segment::sync_dir;
use crate::spool_ranges::DroppedRange;

const MAGIC: &[u8; 8] = b"SYMARKS2";
const HEAD_BYTES: usize = 24;
const NAMES: [&str; 2] = ["marks.a", "marks.b"];
/// The marks of the first format.
const FIRST_FORMAT: &str = "marks.json";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// The next position.
    pub(crate) next: u64,
    /// Settled positions, as (first, end).
    pub(crate) settled: Vec<(u64, u64)>,
    /// For segments with settled reports: its first position, when the last of them was settled.
    pub(crate) settled_ms: Vec<(u64, u64)>,
    /// Dropped, and not yet said in a report.
    pub(crate) dropped: Vec<DroppedRange>,
    /// A day since the epoch, in Shanghai, and how many reports were acknowledged on it.
    pub(crate) acknowledged: (u64, u64),
}

pub(crate) enum Found {
    Whole(Marks),
    FirstFormat(Marks),
    /// There were marks, and none can be read.
    Damaged,
    Nothing,
}

pub(crate) struct MarksFiles {
    dir: PathBuf,
    generation: u64,
}

impl MarksFiles {
    pub(crate) fn read(dir: &Path) -> (MarksFiles, Found) {
        let contents = NAMES.map(|name| std::fs::read(dir.join(name)).ok());
        let there = contents.iter().any(Option::is_some);
        let newest = contents.iter().flatten().filter_map(|content| decode(content)).max_by_key(|(generation, _)| *generation);
        let generation = newest.as_ref().map_or(0, |(generation, _)| *generation);
        let found = match newest {
            Some((_, marks)) => Found::Whole(marks),
            None => match std::fs::read(dir.join(FIRST_FORMAT)).map(|content| decode_first_format(&content)) {
                Ok(Some(marks)) => Found::FirstFormat(marks),
                Err(_) if !there => Found::Nothing,
                _ => Found::Damaged,
            },
        };
        (MarksFiles { dir: dir.to_path_buf(), generation }, found)
    }

    /// A few kilobytes over the older of the two files.
    pub(crate) fn write(&mut self, marks: &Marks) -> io::Result<()> {
        self.write_next(&encode(self.generation + 1, marks)?)?;
        Ok(())
    }

    /// Over both files, and to the disk: before something is deleted on the strength of it.
    pub(crate) fn write_surely(&mut self, marks: &Marks) -> io::Result<()> {
        for _ in NAMES {
            self.write_next(&encode(self.generation + 1, marks)?)?.sync_all()?;
        }
        sync_dir(&self.dir)?;
        match std::fs::remove_file(self.dir.join(FIRST_FORMAT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write_next(&mut self, content: &[u8]) -> io::Result<File> {
        let name = NAMES[usize::from(self.generation.is_multiple_of(2))];
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join(name))?;
        file.write_all_at(content, 0)?;
        self.generation += 1;
        Ok(file)
    }
}

fn encode(generation: u64, marks: &Marks) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(marks)?;
    let mut out = Vec::with_capacity(HEAD_BYTES + json.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&u32::try_from(json.len()).map_err(io::Error::other)?.to_le_bytes());
    out.extend_from_slice(&checksum(generation, &json).to_le_bytes());
    out.extend_from_slice(&json);
    Ok(out)
}

fn checksum(generation: u64, json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), json)
}

fn decode(content: &[u8]) -> Option<(u64, Marks)> {
    let (head, rest) = content.split_at_checked(HEAD_BYTES)?;
    let generation = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(head[16..20].try_into().ok()?);
    let crc = u32::from_le_bytes(head[20..24].try_into().ok()?);
    let json = rest.get(..usize::try_from(length).ok()?)?;
    let whole = head.starts_with(MAGIC) && crc == checksum(generation, json);
    Some((generation, serde_json::from_slice(json).ok().filter(|_| whole)?))
}

fn decode_first_format(content: &[u8]) -> Option<Marks> {
    #[derive(Deserialize)]
    struct First {
        through: u64,
        above: Vec<u64>,
        dropped: Vec<DroppedRange>,
    }
    let First { through, above, dropped } = serde_json::from_slice(content).ok()?;
    let next = above.iter().max().map_or(through, |last| through.max(last + 1));
    let settled = std::iter::once((0, through)).chain(above.into_iter().map(|at| (at, at + 1))).collect();
    Some(Marks { next, settled, dropped, ..Marks::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(next: u64) -> Marks {
        let dropped = vec![DroppedRange { boot: "b7".into(), first: 1, last: 4 }];
        Marks { next, settled: vec![(0, 7), (9, 10)], settled_ms: vec![(0, 5)], dropped, acknowledged: (20_000, 8) }
    }

    fn read(dir: &Path) -> Option<Marks> {
        match MarksFiles::read(dir).1 {
            Found::Whole(marks) => Some(marks),
            _ => None,
        }
    }

    #[test]
    fn a_flipped_or_cut_byte_gives_the_marks_before_and_never_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = MarksFiles::read(dir.path()).0;
        files.write(&marks(10)).unwrap();
        files.write(&marks(11)).unwrap();
        assert_eq!(read(dir.path()), Some(marks(11)));
        let newest = dir.path().join(NAMES[0]);
        let whole = std::fs::read(&newest).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for damaged in [&flipped[..], &whole[..at]] {
                std::fs::write(&newest, damaged).unwrap();
                assert_eq!(read(dir.path()), Some(marks(10)), "byte {at}");
            }
        }
        std::fs::write(dir.path().join(NAMES[1]), b"").unwrap();
        assert!(matches!(MarksFiles::read(dir.path()).1, Found::Damaged));
    }

    #[test]
    fn after_a_restart_the_older_file_is_overwritten_and_shorter_marks_are_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        MarksFiles::read(dir.path()).0.write_surely(&marks(10)).unwrap();
        for next in 11..15 {
            let short = Marks { next, ..Marks::default() };
            MarksFiles::read(dir.path()).0.write(&short).unwrap();
            assert_eq!(read(dir.path()), Some(short));
        }
    }

    #[test]
    fn marks_of_the_first_format_are_read_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FIRST_FORMAT), r#"{"through":3,"above":[5,7],"dropped":[{"boot":"b7","first":1,"last":2}]}"#)
            .unwrap();
        let (mut files, found) = MarksFiles::read(dir.path());
        let Found::FirstFormat(marks) = found else { panic!("not of the first format") };
        assert_eq!((marks.next, &marks.settled[..]), (8, &[(0, 3), (5, 6), (7, 8)][..]));
        assert_eq!(marks.dropped.len(), 1);
        files.write_surely(&marks).unwrap();
        assert_eq!(read(dir.path()), Some(marks));
        assert!(!dir.path().join(FIRST_FORMAT).exists());
    }
}
