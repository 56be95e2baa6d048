//! The two headers of a COSE_Sign1: what is signed names algorithm and gateway, what is not signed names nothing.

use std::convert::Infallible;

use minicbor::data::{Token, Type};
use minicbor::{Decoder, Encoder, encode};

use crate::cbor::{CborError, byte_string, damaged, end, kind, name};

const ALG: i64 = 1;
const CRIT: i64 = 2;
const KID: i64 = 4;
const EDDSA: i64 = -8;
/// Lists, maps and tags within one another in a parameter that is ignored.
const DEPTH_MAX: usize = 16;

/// The protected header that we write.
pub(crate) fn write_protected(out: &mut Encoder<&mut Vec<u8>>, kid: &str) -> Result<(), encode::Error<Infallible>> {
    out.map(2)?.i64(ALG)?.i64(EDDSA)?.i64(KID)?.bytes(kid.as_bytes())?.ok()
}

/// Reads a protected header that begins after `before` bytes of the body; gives its kid. Parameters that are not critical are ignored.
pub(crate) fn read_protected(header: &[u8], before: usize) -> Result<&[u8], CborError> {
    protected_kid(header).map_err(|error| CborError { at: before + error.at, ..error })
}

fn protected_kid(header: &[u8]) -> Result<&[u8], CborError> {
    let mut decoder = Decoder::new(header);
    let (mut alg, mut kid) = (None, None);
    let mut last: &[u8] = &[];
    for _ in 0..entries(&mut decoder)? {
        let at = decoder.position();
        let label = label(&mut decoder)?;
        let written = &header[at..decoder.position()];
        if written <= last {
            return Err(CborError::new(at, "a protected parameter twice, or not in ascending order"));
        }
        last = written;
        let at = decoder.position();
        match label {
            Some(ALG) => {
                alg = Some(decoder.i64().ok().filter(|alg| *alg == EDDSA).ok_or(CborError::new(at, "an alg other than EdDSA (-8)"))?)
            }
            Some(KID) => kid = Some(byte_string(&mut decoder, "kid")?),
            Some(CRIT) => return Err(CborError::new(at, "critical parameters, of which none is known")),
            _ => step_over(&mut decoder, DEPTH_MAX)?,
        }
    }
    end(&decoder)?;
    if !written_shortest(header) {
        return Err(CborError::new(0, "a protected header that is not in its shortest form"));
    }
    match (alg, kid) {
        (Some(_), Some(kid)) => Ok(kid),
        (None, _) => Err(CborError::new(0, "a protected header without alg")),
        (_, None) => Err(CborError::new(0, "a protected header without kid")),
    }
}

/// Steps over the unprotected header. Anybody can write it, so it may not say what only the signer may.
pub(crate) fn step_over_unprotected(decoder: &mut Decoder<'_>) -> Result<(), CborError> {
    for _ in 0..entries(decoder)? {
        let at = decoder.position();
        if let Some(ALG | CRIT | KID) = label(decoder)? {
            return Err(CborError::new(at, "alg, crit or kid in the unprotected header"));
        }
        step_over(decoder, DEPTH_MAX)?;
    }
    Ok(())
}

/// Entries of a map of definite length.
fn entries(decoder: &mut Decoder<'_>) -> Result<u64, CborError> {
    let at = decoder.position();
    match decoder.map() {
        Ok(Some(entries)) => Ok(entries),
        _ => Err(CborError::new(at, "a header that is no map of definite length")),
    }
}

/// A parameter's number; `None` for a text, which names nothing that we know.
fn label(decoder: &mut Decoder<'_>) -> Result<Option<i64>, CborError> {
    let at = decoder.position();
    match kind(decoder)? {
        Type::String => decoder.str().map(|_| None).map_err(|error| damaged(at, &error)),
        _ => decoder.i64().map(Some).map_err(|_| CborError::new(at, "a parameter without a label")),
    }
}

/// Steps over one item of definite lengths.
fn step_over(decoder: &mut Decoder<'_>, depth: usize) -> Result<(), CborError> {
    let at = decoder.position();
    let items = match kind(decoder)? {
        Type::Array => decoder.array().map(Option::unwrap_or_default),
        Type::Map => decoder.map().map(|entries| entries.unwrap_or_default().saturating_mul(2)),
        Type::Tag => decoder.tag().map(|_| 1),
        kind @ (Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef | Type::Break | Type::Unknown(_)) => {
            return Err(CborError::new(at, name(kind)));
        }
        _ => decoder.skip().map(|()| 0),
    };
    let items = items.map_err(|error| damaged(at, &error))?;
    if items > 0 && depth == 0 {
        return Err(CborError::new(at, format!("a parameter nested deeper than {DEPTH_MAX}")));
    }
    (0..items).try_for_each(|_| step_over(decoder, depth - 1))
}

/// Is every length and number of these items in its shortest form?
fn written_shortest(items: &[u8]) -> bool {
    let mut out = Vec::with_capacity(items.len());
    let mut encoder = Encoder::new(&mut out);
    let written = Decoder::new(items).tokens().all(|token: Result<Token<'_>, _>| token.is_ok_and(|token| encoder.encode(token).is_ok()));
    written && out == items
}
