//! The files of the log: which segment begins at which block, raw or sealed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::sealed;

/// A file set aside, read as zeros, that waits to become the next segment.
pub(crate) const PREPARED: &str = "prepared";
/// Where what could not be read is kept.
pub(crate) const DAMAGED_DIR: &str = "damaged";
const RAW: &str = ".seg";
const SEALED: &str = ".segz";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    Sealed,
}

pub fn segment_path(dir: &Path, first_block: u64) -> PathBuf {
    dir.join(format!("{first_block:020}{RAW}"))
}

pub(crate) fn sealed_path(dir: &Path, first_block: u64) -> PathBuf {
    dir.join(format!("{first_block:020}{SEALED}"))
}

/// Every segment by its first block. Where both forms are there, sealing had not come to its end: the raw one counts.
pub(crate) fn segments<D: Disk>(disk: &D, dir: &Path) -> io::Result<BTreeMap<u64, Form>> {
    let mut found = BTreeMap::new();
    for name in disk.list(dir)? {
        if let Some(first) = name.strip_suffix(RAW).and_then(|first| first.parse().ok()) {
            found.insert(first, Form::Raw);
        } else if let Some(first) = name.strip_suffix(SEALED).and_then(|first| first.parse().ok()) {
            found.entry(first).or_insert(Form::Sealed);
        }
    }
    Ok(found)
}

/// A segment's blocks as raw bytes; `None` if there is no such segment. It may be sealed while we look.
pub(crate) fn read_segment<D: Disk>(disk: &D, dir: &Path, first_block: u64) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..2 {
        match disk.read(&segment_path(dir, first_block)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => return read.map(Some),
        }
        match disk.read(&sealed_path(dir, first_block)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // An index that cannot be read leaves nothing sound: all of its blocks are found missing.
            read => return Ok(Some(sealed::unseal(&read?).unwrap_or_default())),
        }
    }
    Ok(None)
}
