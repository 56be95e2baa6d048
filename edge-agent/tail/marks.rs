//! Up to where each log is read, kept beside the spool. A place is written before the report with its usage is spooled, together with the
//! position that the report will have: at the next start the spool itself says whether the report, and with it the place, was reached.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

const FILE: &str = "usage-logs.json";
const FRESH: &str = "usage-logs.new";

/// What stands before this is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub device: u64,
    pub inode: u64,
    pub position: u64,
    pub head: Head,
}

impl Place {
    pub fn names(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

/// The first bytes of a file. They stay the same while it grows, and differ after it was cut and filled anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub bytes: u64,
    pub crc32c: u32,
}

impl Head {
    /// The one before, unless more is known now.
    pub fn of(file: &File, bytes: u64, before: Head) -> io::Result<Head> {
        if bytes <= before.bytes { Ok(before) } else { Ok(Head::read(file, bytes)?.unwrap_or(before)) }
    }

    pub fn is_of(&self, file: &File) -> io::Result<bool> {
        Ok(self.bytes == 0 || Head::read(file, self.bytes)? == Some(*self))
    }

    fn read(file: &File, bytes: u64) -> io::Result<Option<Head>> {
        let mut head = vec![0; usize::try_from(bytes).unwrap_or(0)];
        match file.read_exact_at(&mut head, 0) {
            Ok(()) => Ok(Some(Head { bytes, crc32c: crc32c::crc32c(&head) })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A place in the log of this name.
#[derive(Clone, Debug)]
pub(crate) struct LogMark {
    pub name: String,
    pub place: Place,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    reached: Place,
    /// Reached with the report at this position of the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Next {
    report: u64,
    place: Place,
}

impl Kept {
    /// Settles what is reached when the spool will give its next report this position.
    fn at(self, spool_next: u64) -> Kept {
        match self.next {
            Some(next) if next.report < spool_next => Kept { reached: next.place, next: None },
            _ => Kept { reached: self.reached, next: None },
        }
    }
}

type Logs = BTreeMap<String, Kept>;

#[derive(Clone)]
pub(crate) struct LogMarks {
    dir: PathBuf,
    kept: Arc<Mutex<KeptLogs>>,
    /// Why no log is followed: with the places lost, usage would count twice or not at all.
    unreadable: Option<Arc<str>>,
}

struct KeptLogs {
    logs: Logs,
    /// Up to where a log was handed over in this life: whatever stands before that is spooled, or the agent ends.
    handed_over: BTreeMap<String, Place>,
    /// The file says the same. An intention that came to nothing must not stay in it: its position is another report's soon.
    stored: bool,
}

impl LogMarks {
    /// What is reached when the spool will give its next report this position.
    pub fn open(spool_dir: &Path, spool_next: u64) -> LogMarks {
        let (found, unreadable) = match read(&spool_dir.join(FILE)) {
            Ok(found) => (found, None),
            Err(error) => {
                tracing::error!(dir = %spool_dir.display(), file = FILE, %error, "up to where logs were read is unreadable: no log is followed");
                (Logs::new(), Some(error.to_string().into()))
            }
        };
        let stored = unreadable.is_some() || found.values().all(|kept| kept.next.is_none());
        let logs = found.into_iter().map(|(name, kept)| (name, kept.at(spool_next))).collect();
        let marks = LogMarks {
            dir: spool_dir.to_path_buf(),
            kept: Arc::new(Mutex::new(KeptLogs { logs, handed_over: BTreeMap::new(), stored })),
            unreadable,
        };
        if let Err(error) = marks.settle() {
            tracing::warn!(%error, "up to where logs were read cannot be written down; nothing is spooled before it is");
        }
        marks
    }

    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Nothing may be spooled before this has succeeded once.
    pub fn settle(&self) -> io::Result<()> {
        let mut kept = self.kept();
        if !kept.stored {
            self.store(&kept.logs)?;
            kept.stored = true;
        }
        Ok(())
    }

    /// Where reading goes on.
    pub fn of(&self, name: &str) -> Option<Place> {
        let kept = self.kept();
        kept.handed_over.get(name).or(kept.logs.get(name).map(|log| &log.reached)).cloned()
    }

    /// The usage up to here is handed over. A tail that begins anew while the agent runs on does not hand it over again.
    pub fn hand_over(&self, mark: &LogMark) {
        self.kept().handed_over.insert(mark.name.clone(), mark.place.clone());
    }

    /// The log is read up to here, and no report waits for that.
    pub fn write(&self, name: &str, place: Place) -> io::Result<()> {
        let mut kept = self.kept();
        kept.handed_over.insert(name.to_string(), place.clone());
        kept.logs.insert(name.to_string(), Kept { reached: place, next: None });
        self.store(&kept.logs)?;
        kept.stored = true;
        Ok(())
    }

    /// Each place is reached with the report at its position, the first of which the spool will give next.
    pub fn intend(&self, spool_next: u64, marks: &[(u64, LogMark)]) -> io::Result<()> {
        let mut kept = self.kept();
        let mut changed: Logs = kept.logs.iter().map(|(name, kept)| (name.clone(), kept.clone().at(spool_next))).collect();
        for (report, mark) in marks {
            if let Some(log) = changed.get_mut(&mark.name) {
                log.next = Some(Next { report: *report, place: mark.place.clone() });
            }
        }
        self.store(&changed)?;
        (kept.logs, kept.stored) = (changed, true);
        Ok(())
    }

    fn store(&self, logs: &Logs) -> io::Result<()> {
        let fresh = self.dir.join(FRESH);
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(logs)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }

    fn kept(&self) -> MutexGuard<'_, KeptLogs> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None where there is no file.
fn read(path: &Path) -> io::Result<Logs> {
    match std::fs::read(path) {
        Ok(content) => Ok(serde_json::from_slice(&content)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Logs::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64) -> Place {
        Place { device: 1, inode: 2, position, head: Head::default() }
    }

    fn mark(position: u64) -> LogMark {
        LogMark { name: "/l".into(), place: place(position) }
    }

    fn reopened(dir: &Path, spool_next: u64) -> u64 {
        LogMarks::open(dir, spool_next).of("/l").unwrap().position
    }

    /// What a start would find, on a copy: starting writes it down.
    fn found(dir: &Path, spool_next: u64) -> u64 {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.join(FILE), copy.path().join(FILE)).unwrap();
        reopened(copy.path(), spool_next)
    }

    #[test]
    fn a_place_is_reached_only_if_its_report_came_into_the_spool() {
        let dir = tempfile::tempdir().unwrap();
        let marks = LogMarks::open(dir.path(), 0);
        assert_eq!(marks.of("/l"), None);
        marks.write("/l", place(10)).unwrap();
        marks.intend(5, &[(6, mark(20))]).unwrap();
        // The crash came before the report was written, or after.
        for (spool_next, position) in [(5, 10), (6, 10), (7, 20), (100, 20)] {
            assert_eq!(found(dir.path(), spool_next), position, "{spool_next}");
        }
    }

    #[test]
    fn a_report_that_is_tried_again_at_another_position_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let marks = LogMarks::open(dir.path(), 0);
        marks.write("/l", place(10)).unwrap();
        marks.intend(5, &[(5, mark(20))]).unwrap();
        marks.intend(5, &[(6, mark(20))]).unwrap();
        assert_eq!(found(dir.path(), 6), 10);
        marks.intend(7, &[(7, mark(30))]).unwrap();
        assert_eq!(found(dir.path(), 7), 20, "the one before was reached meanwhile");
        assert_eq!(found(dir.path(), 8), 30);
    }

    #[test]
    fn an_intention_that_came_to_nothing_is_not_reached_with_the_report_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let marks = LogMarks::open(dir.path(), 0);
        marks.write("/l", place(10)).unwrap();
        marks.intend(5, &[(5, mark(20))]).unwrap();
        // Killed before the report was spooled; the next one at this position tells of the start alone.
        assert_eq!(reopened(dir.path(), 5), 10);
        assert_eq!(reopened(dir.path(), 6), 10);
    }

    #[test]
    fn nothing_is_spooled_before_what_is_reached_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let marks = LogMarks::open(dir.path(), 0);
        marks.write("/l", place(10)).unwrap();
        marks.intend(5, &[(5, mark(20))]).unwrap();
        // No file can be made under this name.
        std::fs::create_dir(dir.path().join(FRESH)).unwrap();
        let marks = LogMarks::open(dir.path(), 5);
        assert!(marks.settle().is_err());
        std::fs::remove_dir(dir.path().join(FRESH)).unwrap();
        marks.settle().unwrap();
        assert_eq!(reopened(dir.path(), 6), 10);
    }

    #[test]
    fn marks_that_cannot_be_read_are_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LogMarks::open(dir.path(), 0).unreadable(), None);
        std::fs::write(dir.path().join(FILE), b"{\"/l\":").unwrap();
        assert!(LogMarks::open(dir.path(), 0).unreadable().unwrap().contains("EOF"));
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), b"{\"/l\":", "what it was stays to be looked at");
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(LogMarks::open(dir.path(), 0).unreadable().is_some());
    }
}
