//! Reads a growing file line by line, across rotation: renamed with a new file in its place, or copied and cut to nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::tail::marks::{Head, Place};

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// A longer line is passed over.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// By its first bytes a file is known again.
const HEAD_BYTES_MAX: u64 = 256;
/// A file that was renamed counts as finished when nothing came to it for so many looks.
const QUIET_LOOKS: u8 = 3;

/// A line, or one that was too long.
pub(super) struct Piece {
    /// Without its end; `None` if it was too long.
    pub line: Option<Vec<u8>>,
    /// What it takes in the file.
    pub bytes: u64,
    /// Up to here the file is read with this line.
    pub place: Place,
    pub written_at: DateTime<Utc>,
}

pub(super) struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// Up to here lines were given out.
    place: Option<Place>,
    /// Behind `place` only within a line that is too long.
    cursor: u64,
    quiet_looks: u8,
    /// A file that appears later is read from its start anyway.
    from_start: bool,
}

impl Follower {
    pub fn new(path: PathBuf, place: Option<Place>, from_start: bool) -> Follower {
        let cursor = place.as_ref().map_or(0, |place| place.position);
        Follower { path, file: None, place, cursor, quiet_looks: 0, from_start }
    }

    /// `None` while the log was never there.
    pub fn place(&self) -> Option<Place> {
        self.place.clone()
    }

    /// The next lines; none if there are none yet.
    pub fn read(&mut self) -> io::Result<Vec<Piece>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let known = self.place.is_some();
                match self.open()? {
                    Some(file) if known => file,
                    // Where a new log begins is written down first.
                    opened => {
                        self.file = opened;
                        return Ok(Vec::new());
                    }
                }
            }
        };
        let read = self.read_from(&file);
        self.file = Some(file);
        let pieces = read?;
        if pieces.is_empty() { self.look_for_rotation() } else { Ok(pieces) }
    }

    fn open(&mut self) -> io::Result<Option<File>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Absent at first: whatever will stand in it is new.
                self.from_start = true;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let Some(place) = &self.place else {
            self.begin(&metadata, if self.from_start { 0 } else { whole_lines(&file, metadata.len())? });
            if let Some(place) = &mut self.place {
                place.head = Head::of(&file, metadata.len().min(HEAD_BYTES_MAX), place.head)?;
            }
            return Ok(Some(file));
        };
        if place.names(&metadata) {
            return Ok(Some(file));
        }
        if let Some((path, renamed)) = renamed(&self.path, place) {
            tracing::info!(file = %path.display(), "the log was renamed meanwhile; its rest is read first");
            return Ok(Some(renamed));
        }
        tracing::warn!(file = %self.path.display(), "the log that was read before is gone; what it had left cannot be counted");
        self.begin(&metadata, 0);
        Ok(Some(file))
    }

    fn begin(&mut self, metadata: &Metadata, position: u64) {
        self.place = Some(Place { device: metadata.dev(), inode: metadata.ino(), position, head: Head::default() });
        self.cursor = position;
        self.quiet_looks = 0;
    }

    fn read_from(&mut self, file: &File) -> io::Result<Vec<Piece>> {
        let metadata = file.metadata()?;
        let Some(place) = &mut self.place else { return Ok(Vec::new()) };
        if metadata.len() < self.cursor || !place.head.is_of(file)? {
            tracing::info!(file = %self.path.display(), "the log was cut; it is read from its start");
            *place = Place { position: 0, head: Head::default(), ..place.clone() };
            self.cursor = 0;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = read_at(file, &mut chunk, self.cursor)?;
        chunk.truncate(length);
        place.head = Head::of(file, (self.cursor + length as u64).min(HEAD_BYTES_MAX), place.head)?;
        let written_at = DateTime::<Utc>::from(metadata.modified()?);

        let mut pieces = Vec::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let rest = chunk.split_off(end + 1);
            let line = std::mem::replace(&mut chunk, rest);
            pieces.push(give(place, &mut self.cursor, line, written_at));
        }
        if chunk.len() > LINE_BYTES_MAX {
            self.cursor += chunk.len() as u64;
        }
        Ok(pieces)
    }

    /// At the end of a file that has another in its place.
    fn look_for_rotation(&mut self) -> io::Result<Vec<Piece>> {
        let (Some(file), Some(place)) = (&self.file, &mut self.place) else { return Ok(Vec::new()) };
        let (current, length) = (std::fs::metadata(&self.path), file.metadata()?.len());
        let current = match current {
            Ok(current) => current,
            // Between the renaming and the new file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let more = length > self.cursor && length - self.cursor > LINE_BYTES_MAX as u64;
        if place.names(&current) || more {
            self.quiet_looks = 0;
            return Ok(Vec::new());
        }
        self.quiet_looks += 1;
        if self.quiet_looks < QUIET_LOOKS {
            return Ok(Vec::new());
        }
        let mut last = vec![0; LINE_BYTES_MAX];
        let read = read_at(file, &mut last, self.cursor)?;
        last.truncate(read);
        let written_at = DateTime::<Utc>::from(file.metadata()?.modified()?);
        // Nobody will end the last line of a file that was put aside.
        let pieces = if last.is_empty() { Vec::new() } else { vec![give(place, &mut self.cursor, last, written_at)] };
        self.file = None;
        self.begin(&current, 0);
        Ok(pieces)
    }
}

fn give(place: &mut Place, cursor: &mut u64, mut line: Vec<u8>, written_at: DateTime<Utc>) -> Piece {
    *cursor += line.len() as u64;
    let bytes = *cursor - place.position;
    place.position = *cursor;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    let whole = bytes <= LINE_BYTES_MAX as u64;
    Piece { line: whole.then_some(line), bytes, place: place.clone(), written_at }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], position + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Where the last whole line ends: a line that is being written belongs to what comes.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let from = length.saturating_sub(LINE_BYTES_MAX as u64);
    let mut tail = vec![0; LINE_BYTES_MAX];
    let read = read_at(file, &mut tail, from)?;
    Ok(tail[..read].iter().rposition(|byte| *byte == b'\n').map_or(length, |end| from + end as u64 + 1))
}

/// The file in the same directory that is the one read before, under another name.
fn renamed(path: &Path, place: &Place) -> Option<(PathBuf, File)> {
    let siblings = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let same = |metadata: &Metadata| metadata.is_file() && place.names(metadata);
    let sibling = siblings.filter(|entry| entry.metadata().is_ok_and(|metadata| same(&metadata))).map(|entry| entry.path()).next()?;
    let file = File::open(&sibling).ok()?;
    // The number of a deleted file is soon another's: its beginning must be the same too.
    place.head.is_of(&file).ok()?.then_some((sibling, file))
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
