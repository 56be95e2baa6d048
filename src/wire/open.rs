//! From the body that a gateway sends to the report within: the envelope, if there is one, and whether there must be one.

use crate::cose::{self, Signed};
use crate::fault::{Fault, FaultCode};
use crate::limits::{ENVELOPE_BYTES_MAX, REPORT_BYTES_MAX};
use crate::public_key::PublicKey;

/// How a body is written; its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Cbor,
    Signed,
}

impl Format {
    pub fn of(body: &[u8]) -> Option<Format> {
        match body.first()? {
            b'{' => Some(Format::Json),
            0xA0..=0xBF => Some(Format::Cbor),
            &cose::FIRST_BYTE => Some(Format::Signed),
            _ => None,
        }
    }
}

/// A report, in JSON or CBOR, out of its envelope.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    pub report: &'a [u8],
    /// The envelope, if it came in one.
    pub signed: Option<Signed<'a>>,
}

/// A body that keeps every rule but the one that takes time: its signature has not been verified.
#[derive(Clone, Copy, Debug)]
pub struct Unverified<'a> {
    opened: Opened<'a>,
    /// Of a signed report, the key that it must be signed with.
    key: Option<PublicKey>,
}

impl<'a> Unverified<'a> {
    /// Is there a signature to verify?
    pub fn signed(&self) -> bool {
        self.key.is_some()
    }

    /// Verifies the signature, if there is one: work for a thread that may be busy.
    pub fn verify(self) -> Result<Opened<'a>, Fault> {
        match (self.opened.signed, self.key) {
            (Some(signed), Some(key)) if !signed.verify(&key) => {
                Err(Fault::new(FaultCode::Signature, "", format!("it is not by {key}, or something was changed")))
            }
            _ => Ok(self.opened),
        }
    }
}

/// Opens the body of a gateway that has this public key in the register, or none.
pub fn open_report<'a>(body: &'a [u8], public_key: Option<&PublicKey>, gateway: &str) -> Result<Opened<'a>, Fault> {
    examine_report(body, public_key, gateway)?.verify()
}

/// Opens a body but for verifying: quick enough for the thread that serves many connections.
pub fn examine_report<'a>(body: &'a [u8], public_key: Option<&PublicKey>, gateway: &str) -> Result<Unverified<'a>, Fault> {
    let opened = reopen_report(body)?;
    let Some(signed) = &opened.signed else {
        return match public_key {
            Some(_) => Err(Fault::new(FaultCode::Unsigned, "", format!("{gateway} has a public_key, and this report is not signed"))),
            None => Ok(Unverified { opened, key: None }),
        };
    };
    if signed.kid != gateway.as_bytes() {
        let kid: String = String::from_utf8_lossy(signed.kid).chars().take(64).collect();
        return Err(Fault::new(FaultCode::Kid, "", format!("kid is {kid:?}, the gateway {gateway}")));
    }
    match public_key {
        Some(key) => Ok(Unverified { opened, key: Some(*key) }),
        None => Err(Fault::new(FaultCode::NoPublicKey, "", format!("{gateway} has no public_key in the register"))),
    }
}

/// Opens a body without asking who sent it: for one that was opened by the rules before, such as one in the evidence log.
pub fn reopen_report(body: &[u8]) -> Result<Opened<'_>, Fault> {
    match Format::of(body) {
        Some(Format::Json | Format::Cbor) => Ok(Opened { report: body, signed: None }),
        Some(Format::Signed) => {
            if body.len() > REPORT_BYTES_MAX + ENVELOPE_BYTES_MAX {
                return Err(Fault::new(FaultCode::Size, "", format!("{} bytes", body.len())));
            }
            let signed = Signed::read(body).map_err(|error| Fault::new(FaultCode::Cose, "", error.to_string()))?;
            match Format::of(signed.payload) {
                Some(Format::Json | Format::Cbor) => Ok(Opened { report: signed.payload, signed: Some(signed) }),
                _ => Err(Fault::new(FaultCode::Format, "", "the payload begins with another byte")),
            }
        }
        None => Err(Fault::new(FaultCode::Format, "", "it begins with another byte")),
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
