//! CBOR (RFC 8949) as another writing of JSON: what JSON knows is read and written, everything else is an error with its place.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder, decode, encode};

use crate::json::Json;
use crate::limits::DEPTH_MAX;

/// Entries that room is made for on the strength of a length alone; a length proves nothing.
const RESERVED_MAX: u64 = 32;

type Field<'a> = (Cow<'a, str>, Json<'a>);

/// What was found that may not stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CborError {
    /// Bytes before it.
    pub at: usize,
    pub found: Cow<'static, str>,
}

impl CborError {
    pub(crate) fn new(at: usize, found: impl Into<Cow<'static, str>>) -> CborError {
        CborError { at, found: found.into() }
    }
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.found)
    }
}

impl std::error::Error for CborError {}

impl<'a> Json<'a> {
    /// The whole input must be one CBOR item. Lengths may be definite or not; only text of definite length is borrowed.
    pub fn read_cbor(input: &'a [u8]) -> Result<Json<'a>, CborError> {
        let mut decoder = Decoder::new(input);
        let json = item(&mut decoder, DEPTH_MAX)?;
        end(&decoder)?;
        Ok(json)
    }

    /// Whole numbers are written as short as they go, floats in single precision where that loses nothing.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = write(&mut Encoder::new(&mut out), self);
        out
    }
}

fn item<'a>(decoder: &mut Decoder<'a>, depth: usize) -> Result<Json<'a>, CborError> {
    let at = decoder.position();
    let damaged = |error| damaged(at, &error);
    Ok(match kind(decoder)? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Json::Unsigned(decoder.u64().map_err(damaged)?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Json::Signed(decoder.i64().map_err(damaged)?),
        Type::F16 | Type::F32 | Type::F64 => Json::Float(decoder.f64().map_err(damaged)?),
        Type::Bool => Json::Bool(decoder.bool().map_err(damaged)?),
        Type::Null => decoder.null().map(|()| Json::Null).map_err(damaged)?,
        Type::String | Type::StringIndef => Json::Text(text(decoder)?),
        Type::Array | Type::ArrayIndef => Json::List(list(decoder, deeper(at, depth)?)?),
        Type::Map | Type::MapIndef => Json::Object(object(decoder, deeper(at, depth)?)?),
        other => return Err(CborError::new(at, name(other))),
    })
}

fn text<'a>(decoder: &mut Decoder<'a>) -> Result<Cow<'a, str>, CborError> {
    let at = decoder.position();
    let damaged = |error| damaged(at, &error);
    match kind(decoder)? {
        Type::String => Ok(Cow::Borrowed(decoder.str().map_err(damaged)?)),
        Type::StringIndef => decoder.str_iter().and_then(Iterator::collect::<Result<String, _>>).map(Cow::Owned).map_err(damaged),
        other => Err(CborError::new(at, format!("a key that is {}", name(other)))),
    }
}

fn list<'a>(decoder: &mut Decoder<'a>, depth: usize) -> Result<Vec<Json<'a>>, CborError> {
    let at = decoder.position();
    let mut left = decoder.array().map_err(|error| damaged(at, &error))?;
    let mut list = Vec::with_capacity(reserved(left));
    while another(decoder, &mut left)? {
        list.push(item(decoder, depth)?);
    }
    Ok(list)
}

fn object<'a>(decoder: &mut Decoder<'a>, depth: usize) -> Result<Vec<Field<'a>>, CborError> {
    let at = decoder.position();
    let mut left = decoder.map().map_err(|error| damaged(at, &error))?;
    let mut fields = Vec::with_capacity(reserved(left));
    while another(decoder, &mut left)? {
        let key = text(decoder)?;
        fields.push((key, item(decoder, depth)?));
    }
    Ok(fields)
}

fn reserved(length: Option<u64>) -> usize {
    length.unwrap_or(0).min(RESERVED_MAX) as usize
}

/// Does another entry follow? Counts a definite length down, takes the break off the end of an indefinite one.
fn another(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, CborError> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None => {
            let ended = kind(decoder)? == Type::Break;
            decoder.set_position(decoder.position() + usize::from(ended));
            Ok(!ended)
        }
    }
}

fn deeper(at: usize, depth: usize) -> Result<usize, CborError> {
    depth.checked_sub(1).ok_or_else(|| CborError::new(at, format!("a list or an object in {DEPTH_MAX} others")))
}

pub(crate) fn kind(decoder: &Decoder<'_>) -> Result<Type, CborError> {
    decoder.datatype().map_err(|error| damaged(decoder.position(), &error))
}

/// A byte string of definite length; `what` says of what use it is.
pub(crate) fn byte_string<'a>(decoder: &mut Decoder<'a>, what: &str) -> Result<&'a [u8], CborError> {
    let at = decoder.position();
    match kind(decoder)? {
        Type::Bytes => decoder.bytes().map_err(|error| damaged(at, &error)),
        other => Err(CborError::new(at, format!("{} where the {what} stands, a byte string of definite length", name(other)))),
    }
}

/// Nothing may follow.
pub(crate) fn end(decoder: &Decoder<'_>) -> Result<(), CborError> {
    match decoder.input().len() - decoder.position() {
        0 => Ok(()),
        more => Err(CborError::new(decoder.position(), format!("{more} bytes too many"))),
    }
}

pub(crate) fn damaged(at: usize, error: &decode::Error) -> CborError {
    let found = if error.is_end_of_input() {
        "the end of the input within an item"
    } else if error.is_type_mismatch() {
        "an item of another kind within a text"
    } else {
        "text that is not UTF-8"
    };
    CborError::new(error.position().unwrap_or(at), found)
}

/// How a kind of item is called in messages.
pub(crate) fn name(kind: Type) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        Type::Bool => "a boolean",
        Type::Null => "null",
        Type::Undefined => "undefined",
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => "a whole number",
        Type::Int => "a whole number below -2^63",
        Type::F16 | Type::F32 | Type::F64 => "a float",
        Type::Simple => "a simple value",
        Type::Bytes => "a byte string",
        Type::BytesIndef => "a byte string of indefinite length",
        Type::String => "a text",
        Type::StringIndef => "a text of indefinite length",
        Type::Array => "a list",
        Type::ArrayIndef => "a list of indefinite length",
        Type::Map => "a map",
        Type::MapIndef => "a map of indefinite length",
        Type::Tag => "a tag",
        Type::Break => "a break",
        Type::Unknown(byte) => return Cow::Owned(format!("a byte 0x{byte:02x} that begins no item")),
    })
}

fn write(encoder: &mut Encoder<&mut Vec<u8>>, json: &Json<'_>) -> Result<(), encode::Error<Infallible>> {
    match json {
        Json::Null => encoder.null()?.ok(),
        Json::Bool(flag) => encoder.bool(*flag)?.ok(),
        Json::Unsigned(number) => encoder.u64(*number)?.ok(),
        Json::Signed(number) => encoder.i64(*number)?.ok(),
        Json::Float(number) => {
            let single = *number as f32;
            if f64::from(single).to_bits() == number.to_bits() { encoder.f32(single)?.ok() } else { encoder.f64(*number)?.ok() }
        }
        Json::Text(text) => encoder.str(text)?.ok(),
        Json::List(list) => {
            encoder.array(list.len() as u64)?;
            list.iter().try_for_each(|item| write(encoder, item))
        }
        Json::Object(fields) => {
            encoder.map(fields.len() as u64)?;
            fields.iter().try_for_each(|(key, value)| write(encoder.str(key)?, value))
        }
    }
}

#[cfg(test)]
#[path = "cbor_tests.rs"]
mod tests;
