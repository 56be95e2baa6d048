//! Walking through a file of the spool. What is damaged is stepped over: it costs itself, never what follows it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::spool_frame::{Frame, HEAD_BYTES, plausible};

pub(crate) const MAGIC: &[u8; 8] = b"SYSPOOL2";
const WINDOW_BYTES: usize = 64 * 1024;

/// Shows each sound record with one of `positions` to `visit`, with where it begins; says where the last of them ends.
///
/// Positions only rise within a file, so bytes that look like a record with another position are none.
pub(crate) fn scan(file: &File, positions: Range<u64>, mut visit: impl FnMut(u64, &Frame<'_>) -> io::Result<()>) -> io::Result<u64> {
    let mut window = Window { file, start: 0, bytes: Vec::new() };
    let mut expected = positions.start;
    let mut at = MAGIC.len() as u64;
    let mut reached = at;
    loop {
        let head = window.bytes(at, HEAD_BYTES)?;
        if head.len() < HEAD_BYTES {
            return Ok(reached);
        }
        let begins = plausible(head).filter(|(_, position)| (expected..positions.end).contains(position));
        if let Some((length, _)) = begins
            && let Some(frame) = Frame::read(window.bytes(at, length)?)
        {
            visit(at, &frame)?;
            expected = frame.position + 1;
            at += length as u64;
            reached = at;
        } else {
            at += 1;
        }
    }
}

/// A piece of the file in memory.
struct Window<'a> {
    file: &'a File,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `count` bytes from `at` on, or fewer at the end of the file.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let held =
            at.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok()).filter(|skipped| *skipped <= self.bytes.len());
        let skipped = match held {
            Some(skipped) if self.bytes.len() - skipped >= count => skipped,
            _ => {
                self.read(at, count.max(WINDOW_BYTES))?;
                0
            }
        };
        Ok(&self.bytes[skipped..self.bytes.len().min(skipped + count)])
    }

    fn read(&mut self, at: u64, count: usize) -> io::Result<()> {
        self.start = at;
        self.bytes.resize(count, 0);
        let mut filled = 0;
        while filled < count {
            match self.file.read_at(&mut self.bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if bad_sector(&error) => {
                    // As if nothing were written there; the block size of file systems.
                    let to = (filled + 4096).min(count);
                    self.bytes[filled..to].fill(0);
                    filled = to;
                }
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

/// The disk itself cannot read this place.
pub(crate) fn bad_sector(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}
