//! Frames around requests and answers: Modbus/TCP's header, or RTU's unit id and checksum. Pure: bytes in, verdict out.
//!
//! Because the request is known, so is the one length that its answer may have: a corrupted length is found at once, not waited for.

use std::ops::Range;

use super::request::{Answer, ReadRequest};
use super::trouble::ReadTrouble;

const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);
/// Transaction, protocol, length; the unit id follows and is counted in the length.
const HEADER_BYTES: usize = 6;
/// The longest answer, with a unit id before it.
const BODY_BYTES_MAX: usize = 254;
/// Set in the function code of an answer that is an exception.
const EXCEPTION: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Tcp,
    Rtu,
}

/// One request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub framing: Framing,
    pub unit_id: u8,
    /// Of no meaning with RTU.
    pub transaction: u16,
    pub request: ReadRequest,
}

/// An answer that is all there and belongs to the request.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    /// Of the frame; what comes behind it was not asked for.
    pub length: usize,
    pub said: Result<Answer, ReadTrouble>,
}

impl Asked {
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self.framing {
            Framing::Tcp => {
                out.extend_from_slice(&self.transaction.to_be_bytes());
                out.extend_from_slice(&[0, 0, 0, 0]);
                let begin = out.len();
                out.push(self.unit_id);
                self.request.write_to(out);
                let length = (out.len() - begin) as u16;
                out[begin - 2..begin].copy_from_slice(&length.to_be_bytes());
            }
            Framing::Rtu => {
                let begin = out.len();
                out.push(self.unit_id);
                self.request.write_to(out);
                let crc = CRC.checksum(&out[begin..]);
                out.extend_from_slice(&crc.to_le_bytes());
            }
        }
    }

    /// What the bytes that came so far are: `None` if they may become the answer.
    pub fn answered(&self, bytes: &[u8]) -> Result<Option<Answered>, ReadTrouble> {
        match self.framing {
            Framing::Tcp => self.answered_tcp(bytes),
            Framing::Rtu => self.answered_rtu(bytes),
        }
    }

    fn answered_tcp(&self, bytes: &[u8]) -> Result<Option<Answered>, ReadTrouble> {
        let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let body_length = usize::from(word(4));
        if word(2) != 0 || !(3..=BODY_BYTES_MAX).contains(&body_length) {
            return Err(ReadTrouble::Garbage);
        }
        if word(0) != self.transaction {
            return Err(ReadTrouble::WrongTransaction);
        }
        let told = self.pdu_length(body)?;
        let whole = body.len() >= body_length;
        match told {
            Some(pdu_length) if 1 + pdu_length != body_length => {
                Err(ReadTrouble::WrongLength { expected: pdu_length, answered: body_length - 1 })
            }
            Some(_) if whole => Ok(Some(self.said(bytes, HEADER_BYTES + 1..HEADER_BYTES + body_length, HEADER_BYTES + body_length))),
            // All is there that was announced, and it still does not say how long it is.
            None if whole => Err(ReadTrouble::Garbage),
            _ => Ok(None),
        }
    }

    fn answered_rtu(&self, bytes: &[u8]) -> Result<Option<Answered>, ReadTrouble> {
        let Some(pdu_length) = self.pdu_length(bytes)? else {
            return if bytes.len() > BODY_BYTES_MAX { Err(ReadTrouble::Garbage) } else { Ok(None) };
        };
        let end = 1 + pdu_length;
        if end > BODY_BYTES_MAX {
            return Err(ReadTrouble::Garbage);
        }
        let Some(crc) = bytes.get(end..end + 2) else { return Ok(None) };
        if CRC.checksum(&bytes[..end]).to_le_bytes() != crc {
            return Err(ReadTrouble::Crc);
        }
        Ok(Some(self.said(bytes, 1..end, end + 2)))
    }

    /// How long the answer is from its function code on; `None` while too few bytes are there.
    fn pdu_length(&self, body: &[u8]) -> Result<Option<usize>, ReadTrouble> {
        let Some((unit_id, pdu)) = body.split_first() else { return Ok(None) };
        if *unit_id != self.unit_id {
            return Err(ReadTrouble::WrongUnit { asked: self.unit_id, answered: *unit_id });
        }
        let asked = self.request.function_code();
        match pdu.first() {
            None => Ok(None),
            Some(function) if *function == asked => Ok(self.request.answer_length(pdu)?.map(|length| 1 + length)),
            Some(function) if *function == asked | EXCEPTION => Ok(Some(2)),
            Some(function) => Err(ReadTrouble::WrongFunction { asked, answered: *function }),
        }
    }

    fn said(&self, bytes: &[u8], pdu: Range<usize>, length: usize) -> Answered {
        let pdu = &bytes[pdu];
        let said = if pdu[0] & EXCEPTION == 0 { self.request.decode(pdu) } else { Err(ReadTrouble::Exception(pdu[1])) };
        Answered { length, said }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
