//! The dead-letter folder `refused/`: reports that the service refused for good, readable, with what it said of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::segment::sync_dir;
use crate::spool::Stored;
use crate::spool_ranges::payload;

pub(crate) const REFUSED: &str = "refused";
const FILES_MAX: usize = 1000;

#[derive(Serialize)]
struct Refused<'a> {
    reason: &'a str,
    faults: Option<&'a RawValue>,
    /// The report as JSON, also when it was signed.
    report: Option<&'a RawValue>,
    /// What was sent, in base64, where that is not the report itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<String>,
}

/// Writes a refused report and syncs it; the oldest files give way to it.
pub(crate) fn keep_refused(
    spool_dir: &Path,
    bytes_max: u64,
    position: u64,
    stored: &Stored,
    reason: &str,
    faults: Option<&[u8]>,
) -> io::Result<PathBuf> {
    let report = serde_json::from_slice(payload(&stored.body)).ok();
    let bare = report.is_some_and(|report: &RawValue| report.get().len() == stored.body.len());
    let refused = Refused {
        reason,
        faults: faults.and_then(|faults| serde_json::from_slice(faults).ok()),
        report,
        envelope: (!bare).then(|| STANDARD.encode(&stored.body)),
    };
    let dir = spool_dir.join(REFUSED);
    let path = dir.join(format!("{position:016x}-{}-{}.json", stored.key.boot, stored.key.seq));
    let text = serde_json::to_vec_pretty(&refused)?;
    if let Err(error) = write(&path, &text) {
        // Half a file says nothing; if it cannot be removed, the next attempt writes over it.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    sync_dir(&dir)?;
    bound(&dir, bytes_max)?;
    Ok(path)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// The newest stays, however large it is.
fn bound(dir: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.path(), entry.metadata()?.len()));
    }
    files.sort_by(|a, b| b.0.cmp(&a.0));
    let mut bytes = 0;
    for (index, (path, file_bytes)) in files.iter().enumerate() {
        bytes += file_bytes;
        if index >= FILES_MAX || (bytes > bytes_max && index > 0) {
            tracing::warn!(path = %path.display(), "too many refused reports are kept: the oldest are deleted");
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Which of the spool's reports stand in `refused/`.
pub(crate) fn refused_positions(spool_dir: &Path) -> io::Result<BTreeSet<u64>> {
    let entries = match std::fs::read_dir(spool_dir.join(REFUSED)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut positions = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let position = name.to_str().and_then(|name| u64::from_str_radix(name.split('-').next()?, 16).ok());
        positions.extend(position);
    }
    Ok(positions)
}

/// How many refused reports are kept.
pub(crate) fn refused_count(spool_dir: &Path) -> io::Result<u64> {
    match std::fs::read_dir(spool_dir.join(REFUSED)) {
        Ok(entries) => Ok(entries.count() as u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::ReportKey;

    #[test]
    fn on_a_full_disk_no_half_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(REFUSED)).unwrap();
        let stored = Stored { key: ReportKey { boot: "b7".into(), seq: 1 }, body: b"{}".to_vec() };
        let path = dir.path().join(REFUSED).join("0000000000000000-b7-1.json");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let kept = keep_refused(dir.path(), 1 << 20, 0, &stored, "why", None);
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(refused_count(dir.path()).unwrap(), 0);
        assert!(keep_refused(dir.path(), 1 << 20, 0, &stored, "why", None).is_ok());
    }
}
