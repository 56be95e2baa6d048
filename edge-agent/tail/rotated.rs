//! The files into which a log was put aside, beside it: `mes.log.1`, `mes.log-20191105`, `mes-2019-11-05.log`.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::tail::marks::Place;

/// What packs a log and leaves it the time of its last line.
const PACKED: [&str; 4] = ["gz", "xz", "zst", "bz2"];

/// What was put aside after a file that was read to its end, and before the log of now.
pub(super) struct Later {
    /// The one to be read next.
    pub oldest: Option<Metadata>,
    /// Files that cannot be read any more.
    pub packed: u64,
}

pub(super) fn later(path: &Path, finished: &Metadata, current: &Metadata) -> Later {
    let mut later = Later { oldest: None, packed: 0 };
    let known = [finished, current].map(|metadata| (metadata.dev(), metadata.ino()));
    for (sibling, metadata) in siblings(path) {
        let new = !known.contains(&(metadata.dev(), metadata.ino())) && written(&metadata) > written(finished);
        match put_aside(path, &sibling) {
            Some(PutAside::Packed) if new => later.packed += 1,
            Some(PutAside::Plain) if new && later.oldest.as_ref().is_none_or(|oldest| written(&metadata) < written(oldest)) => {
                later.oldest = Some(metadata);
            }
            _ => {}
        }
    }
    later
}

/// The file that is read up to this place, under another name.
pub(super) fn renamed(path: &Path, place: &Place) -> Option<(PathBuf, File)> {
    let (sibling, _) = siblings(path).find(|(_, metadata)| place.names(metadata))?;
    let file = File::open(&sibling).ok()?;
    // The number of a deleted file is soon another's: its beginning must be the same too.
    place.head.is_of(&file).ok()?.then_some((sibling, file))
}

fn siblings(path: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).filter(|(_, metadata)| metadata.is_file())
}

fn written(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

#[derive(Debug, PartialEq, Eq)]
enum PutAside {
    Plain,
    Packed,
}

/// Whether the name is the log's with a number or a date; other names are other files.
fn put_aside(path: &Path, sibling: &Path) -> Option<PutAside> {
    let (name, log, stem) = (sibling.file_name()?.to_str()?, path.file_name()?.to_str()?, path.file_stem()?.to_str()?);
    let (name, kind) = match name.rsplit_once('.') {
        Some((plain, ending)) if PACKED.contains(&ending) => (plain, PutAside::Packed),
        _ => (name, PutAside::Plain),
    };
    let numbered = |added: &str| {
        added.starts_with(['.', '-', '_'])
            && added.contains(|c: char| c.is_ascii_digit())
            && added.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | 'T'))
    };
    let behind = name.strip_prefix(log).is_some_and(numbered);
    let ending = &log[stem.len()..];
    let within = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)).is_some_and(numbered);
    (behind || within).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_number_or_a_date_is_the_logs_and_no_other_is() {
        let of = |name: &str| put_aside(Path::new("/l/mes.log"), &Path::new("/l").join(name));
        for name in
            ["mes.log.1", "mes.log-20191105", "mes.log.2019-11-05_10", "mes-2019-11-05.log", "mes.3.log", "mes.log.2019-11-05T10:00"]
        {
            assert_eq!(of(name), Some(PutAside::Plain), "{name}");
        }
        for name in ["mes.log.1.gz", "mes-20191105.log.zst"] {
            assert_eq!(of(name), Some(PutAside::Packed), "{name}");
        }
        for name in ["mes.log", "mes.log.bak", "mes-error.log", "mes.log.", "other.log.1", "mes.log1", "mes.log.swp1"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
