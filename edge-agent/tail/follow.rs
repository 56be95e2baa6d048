//! Reads a growing file line by line, across rotation: renamed with a new file in its place, or copied and cut to nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::tail::marks::{Head, Place};
use crate::tail::rotated;

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
    /// Reading goes on where it ended in another life: what happened to the log since then nobody saw.
    resumed: bool,
    /// Files, or rests of files, that were gone before they were read.
    lost_count: u64,
}

impl Follower {
    pub fn new(path: PathBuf, place: Option<Place>, from_start: bool) -> Follower {
        let cursor = place.as_ref().map_or(0, |place| place.position);
        let resumed = place.is_some();
        Follower { path, file: None, place, cursor, quiet_looks: 0, from_start, resumed, lost_count: 0 }
    }

    /// `None` while the log was never there.
    pub fn place(&self) -> Option<Place> {
        self.place.clone()
    }

    /// How many files were lost since the last time.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost_count)
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
        if let Some((path, renamed)) = rotated::renamed(&self.path, place) {
            tracing::info!(file = %path.display(), "the log was renamed meanwhile; its rest is read first");
            return Ok(Some(renamed));
        }
        tracing::warn!(file = %self.path.display(), "the log that was read before is gone; what it had left cannot be counted");
        self.lost_count += 1;
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
            if self.resumed {
                tracing::warn!(file = %self.path.display(), "the log was cut meanwhile; what had not been read cannot be counted");
                self.lost_count += 1;
            } else {
                tracing::info!(file = %self.path.display(), "the log was cut; it is read from its start");
            }
            *place = Place { position: 0, head: Head::default(), ..place.clone() };
            self.cursor = 0;
        }
        self.resumed = false;
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = read_at(file, &mut chunk, self.cursor)?;
        chunk.truncate(length);
        place.head = Head::of(file, (self.cursor + length as u64).min(HEAD_BYTES_MAX), place.head)?;

        let mut pieces = Vec::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let rest = chunk.split_off(end + 1);
            let line = std::mem::replace(&mut chunk, rest);
            pieces.push(give(place, &mut self.cursor, line));
        }
        if chunk.len() > LINE_BYTES_MAX {
            self.cursor += chunk.len() as u64;
        }
        Ok(pieces)
    }

    /// At the end of a file that has another in its place.
    fn look_for_rotation(&mut self) -> io::Result<Vec<Piece>> {
        let (Some(file), Some(place)) = (&self.file, &mut self.place) else { return Ok(Vec::new()) };
        let (current, finished) = (std::fs::metadata(&self.path), file.metadata()?);
        let current = match current {
            Ok(current) => current,
            // Between the renaming and the new file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let more = finished.len().saturating_sub(self.cursor) > LINE_BYTES_MAX as u64;
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
        // Nobody will end the last line of a file that was put aside.
        let pieces = if last.is_empty() { Vec::new() } else { vec![give(place, &mut self.cursor, last)] };
        self.file = None;
        let later = rotated::later(&self.path, &finished, &current);
        if later.packed > 0 {
            tracing::warn!(file = %self.path.display(), count = later.packed, "the log was put aside and packed before it was read; that cannot be counted");
            self.lost_count += later.packed;
        }
        self.begin(later.oldest.as_ref().unwrap_or(&current), 0);
        Ok(pieces)
    }
}

fn give(place: &mut Place, cursor: &mut u64, mut line: Vec<u8>) -> Piece {
    *cursor += line.len() as u64;
    let bytes = *cursor - place.position;
    place.position = *cursor;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    let whole = bytes <= LINE_BYTES_MAX as u64;
    Piece { line: whole.then_some(line), bytes, place: place.clone() }
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

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
