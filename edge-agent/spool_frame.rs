//! One report of the spool as bytes.
//!
//! Little-endian: length u32 of what follows the checksum, its highest bit set · CRC-32C u32 · position u64 · seq u64 · boot length u8 · boot ·
//! spooled_at_ms u64 · flags u8 · bytes of the body u32 · body, compressed where that makes it smaller.
//! Without the highest bit it is a record of the first format: the plain body stands right behind the boot.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::spool::{ReportKey, Stored};

/// Length, checksum and position: enough to tell whether a record may begin here.
pub(crate) const HEAD_BYTES: usize = 16;
const FRAME_BYTES: usize = 8;
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
const NEWER: u32 = 1 << 31;
const COMPRESSED: u8 = 1;
const SAYS_DROPPED: u8 = 2;
const MORE: u8 = 4;
/// The lowest level: higher ones cost several times as much and make reports no smaller.
const LEVEL: i32 = 1;
const WINDOW_LOG: u32 = 18;

/// A record as it stands in a file.
pub(crate) struct Frame<'a> {
    pub(crate) position: u64,
    pub(crate) boot: &'a str,
    pub(crate) seq: u64,
    /// 0 if that is not known.
    pub(crate) spooled_at_ms: u64,
    /// The report may say that others were dropped.
    pub(crate) says_dropped: bool,
    /// The record behind it belongs with it: neither was taken without the other.
    pub(crate) more: bool,
    compressed: bool,
    body_bytes: usize,
    body: &'a [u8],
}

/// How long the record is that begins with `head`, and its position, if its first bytes are plausible.
pub(crate) fn plausible(head: &[u8]) -> Option<(usize, u64)> {
    let length = (u32_at(head, 0)? & !NEWER) as usize;
    let position = u64_at(head, FRAME_BYTES)?;
    (length <= RECORD_BYTES_MAX).then_some((FRAME_BYTES + length, position))
}

impl<'a> Frame<'a> {
    /// Exactly one record; `None` if it is damaged.
    pub(crate) fn read(record: &'a [u8]) -> Option<Frame<'a>> {
        let content = record.get(FRAME_BYTES..)?;
        let length = u32_at(record, 0)?;
        if (length & !NEWER) as usize != content.len() || u32_at(record, 4)? != crc32c::crc32c(content) {
            return None;
        }
        let (fixed, rest) = content.split_at_checked(17)?;
        let (boot, rest) = rest.split_at_checked(usize::from(fixed[16]))?;
        let (position, boot, seq) = (u64_at(fixed, 0)?, std::str::from_utf8(boot).ok()?, u64_at(fixed, 8)?);
        if length & NEWER == 0 {
            let (body_bytes, body) = (rest.len(), rest);
            return Some(Frame {
                position,
                boot,
                seq,
                spooled_at_ms: 0,
                says_dropped: true,
                more: false,
                compressed: false,
                body_bytes,
                body,
            });
        }
        let (fixed, body) = rest.split_at_checked(13)?;
        Some(Frame {
            position,
            boot,
            seq,
            spooled_at_ms: u64_at(fixed, 0)?,
            says_dropped: fixed[8] & SAYS_DROPPED != 0,
            more: fixed[8] & MORE != 0,
            compressed: fixed[8] & COMPRESSED != 0,
            body_bytes: u32_at(fixed, 9)? as usize,
            body,
        })
    }
}

fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(start..start + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(start..start + 4)?.try_into().ok()?))
}

/// Makes records and opens them. Its working memory is used again and again.
pub(crate) struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Codec {
    pub(crate) fn new() -> io::Result<Codec> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Codec { compressor, decompressor: Decompressor::new()? })
    }

    /// Puts a record behind `out`; with `more` the next one belongs with it.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        position: u64,
        spooled_at_ms: u64,
        key: &ReportKey,
        body: &[u8],
        more: bool,
    ) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the report is too long for the spool");
        let boot_bytes = u8::try_from(key.boot.len()).map_err(|_| too_long())?;
        let body_bytes = u32::try_from(body.len()).ok().filter(|_| body.len() <= RECORD_BYTES_MAX / 2).ok_or_else(too_long)?;
        let packed = self.compressor.compress(body)?;
        let (compressed, stored) = if packed.len() < body.len() { (COMPRESSED, packed.as_slice()) } else { (0, body) };
        let says_dropped = if says_dropped(body) { SAYS_DROPPED } else { 0 };
        let more = if more { MORE } else { 0 };
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_BYTES]);
        out.extend_from_slice(&position.to_le_bytes());
        out.extend_from_slice(&key.seq.to_le_bytes());
        out.push(boot_bytes);
        out.extend_from_slice(key.boot.as_bytes());
        out.extend_from_slice(&spooled_at_ms.to_le_bytes());
        out.push(compressed | says_dropped | more);
        out.extend_from_slice(&body_bytes.to_le_bytes());
        out.extend_from_slice(stored);
        let content = start + FRAME_BYTES;
        let length = u32::try_from(out.len() - content).map_err(|_| too_long())? | NEWER;
        let crc = crc32c::crc32c(&out[content..]);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..content].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    pub(crate) fn open(&mut self, frame: &Frame<'_>) -> io::Result<Stored> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a record of the spool cannot be opened");
        let body = match frame.compressed {
            _ if frame.body_bytes > RECORD_BYTES_MAX => return Err(damaged()),
            true => self.decompressor.decompress(frame.body, frame.body_bytes).map_err(|_| damaged())?,
            false => frame.body.to_vec(),
        };
        if body.len() != frame.body_bytes {
            return Err(damaged());
        }
        Ok(Stored { key: ReportKey { boot: frame.boot.to_string(), seq: frame.seq }, body })
    }
}

/// Whether a report may say that others were dropped. Its payload stands unchanged in the envelope of a signed one.
pub(crate) fn says_dropped(body: &[u8]) -> bool {
    const DROPPED: &[u8] = b"\"dropped\"";
    body.windows(DROPPED.len()).any(|part| part == DROPPED)
}
