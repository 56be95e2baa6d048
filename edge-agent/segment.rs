//! One file of the spool: records are appended, each with its own checksum; a torn tail is cut when the file is opened.
//!
//! File: 8 bytes `SYSPOOL1`, then records. Record, little-endian:
//! length u32 of what follows the checksum · CRC-32C u32 · position u64 · seq u64 · boot length u8 · boot · body.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::spool::{ReportKey, Stored};

const MAGIC: &[u8; 8] = b"SYSPOOL1";
const FRAME_BYTES: usize = 8;
const FIXED_BYTES: usize = 17;
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
const ENDING: &str = "spool";

pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    /// Position of the first record.
    pub(crate) first: u64,
    pub(crate) bytes: u64,
    /// Where each record begins.
    starts: Vec<u64>,
    /// After a failed write nothing more is appended here.
    pub(crate) closed: bool,
}

pub(crate) fn encode(position: u64, key: &ReportKey, body: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the report is too long for the spool");
    let boot_bytes = u8::try_from(key.boot.len()).map_err(|_| too_long())?;
    let length = FIXED_BYTES + key.boot.len() + body.len();
    if length > RECORD_BYTES_MAX {
        return Err(too_long());
    }
    let mut out = Vec::with_capacity(FRAME_BYTES + length);
    out.extend_from_slice(&u32::try_from(length).map_err(|_| too_long())?.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&key.seq.to_le_bytes());
    out.push(boot_bytes);
    out.extend_from_slice(key.boot.as_bytes());
    out.extend_from_slice(body);
    let crc = crc32c::crc32c(&out[FRAME_BYTES..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(start..start + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], start: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(start..start + 4)?.try_into().ok()?) as usize)
}

/// The first record of `bytes`, and how long it is; `None` if it is torn or damaged.
fn decode(bytes: &[u8], position: u64) -> Option<(Stored, usize)> {
    let length = u32_at(bytes, 0)?;
    let content = bytes.get(FRAME_BYTES..FRAME_BYTES.checked_add(length)?)?;
    let sound = u32_at(bytes, 4)? == crc32c::crc32c(content) as usize && u64_at(content, 0)? == position;
    let boot_end = FIXED_BYTES + usize::from(*content.get(16)?);
    let boot = std::str::from_utf8(content.get(FIXED_BYTES..boot_end)?).ok()?.to_string();
    let stored = Stored { key: ReportKey { boot, seq: u64_at(content, 8)? }, body: content.get(boot_end..)?.to_vec() };
    sound.then_some((stored, FRAME_BYTES + length))
}

impl Segment {
    pub(crate) fn create(dir: &Path, first: u64) -> io::Result<Segment> {
        let path = dir.join(format!("{first:016x}.{ENDING}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(MAGIC, 0)?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(Segment { path, file, first, bytes: MAGIC.len() as u64, starts: Vec::new(), closed: false })
    }

    /// The segments of a directory, oldest first, as (first position, path).
    pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|ending| ending == ENDING)
                && let Some(first) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())
            {
                out.push((first, path));
            }
        }
        out.sort();
        Ok(out)
    }

    /// Reads a segment up to the first record that is not whole, or up to position `end`.
    pub(crate) fn open(path: PathBuf, first: u64, end: u64) -> io::Result<Segment> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if !content.starts_with(MAGIC) {
            file.write_all_at(MAGIC, 0)?;
        }
        let mut starts = Vec::new();
        let mut reached = MAGIC.len();
        while first + (starts.len() as u64) < end {
            let rest = content.get(reached..).unwrap_or_default();
            let Some((_, length)) = decode(rest, first + starts.len() as u64) else { break };
            starts.push(reached as u64);
            reached += length;
        }
        Ok(Segment { path, file, first, bytes: reached as u64, starts, closed: false })
    }

    /// Cuts what stands behind the last whole record; says how many bytes that were.
    pub(crate) fn cut_tail(&mut self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        if length != self.bytes {
            self.file.set_len(self.bytes)?;
            self.file.sync_all()?;
        }
        Ok(length.saturating_sub(self.bytes))
    }

    /// The position after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.starts.len() as u64
    }

    /// Writes a record and syncs it.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(record, self.bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.closed = true;
            if let Err(error) = self.file.set_len(self.bytes) {
                tracing::warn!(path = %self.path.display(), %error, "a failed record could not be cut from the spool; it is skipped at the next start");
            }
            return Err(error);
        }
        self.starts.push(self.bytes);
        self.bytes += record.len() as u64;
        Ok(())
    }

    pub(crate) fn read(&self, position: u64) -> io::Result<Option<Stored>> {
        let Some(index) = position.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else { return Ok(None) };
        let Some(&start) = self.starts.get(index) else { return Ok(None) };
        let end = self.starts.get(index + 1).copied().unwrap_or(self.bytes);
        let mut record = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut record, start)?;
        match decode(&record, position) {
            Some((stored, _)) => Ok(Some(stored)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "a record of the spool fails its checksum")),
        }
    }

    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
