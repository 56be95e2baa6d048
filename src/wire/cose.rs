//! The envelope of a signed report: COSE_Sign1 (RFC 9052) with Ed25519.

use std::convert::Infallible;

use ed25519_dalek::Signer as _;
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder, encode};

pub use ed25519_dalek::SigningKey;

use crate::cbor::{CborError, byte_string, end};
use crate::cose_header::{read_protected, step_over_unprotected, write_protected};
use crate::public_key::PublicKey;

/// Tag 18 as the first byte.
pub const FIRST_BYTE: u8 = 0xD2;
const TAG: u64 = 18;

/// An envelope of the right form. Nothing says yet that the signature is right.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    pub kid: &'a [u8],
    pub payload: &'a [u8],
    pub signature: &'a [u8; 64],
    protected: &'a [u8],
}

impl<'a> Signed<'a> {
    /// The whole body must be one COSE_Sign1 of definite lengths, its protected header in canonical form.
    pub fn read(body: &'a [u8]) -> Result<Signed<'a>, CborError> {
        let mut decoder = Decoder::new(body);
        if body.first() != Some(&FIRST_BYTE) {
            return Err(CborError::new(0, "no tag 18"));
        }
        decoder.set_position(1);
        if !matches!(decoder.array(), Ok(Some(4))) {
            return Err(CborError::new(1, "no list of 4"));
        }
        let protected = byte_string(&mut decoder, "protected header")?;
        let kid = read_protected(protected, decoder.position() - protected.len())?;
        step_over_unprotected(&mut decoder)?;
        let payload = byte_string(&mut decoder, "payload")?;
        let at = decoder.position();
        let signature = byte_string(&mut decoder, "signature")?;
        let signature =
            signature.try_into().map_err(|_| CborError::new(at, format!("a signature of {} bytes, not 64", signature.len())))?;
        end(&decoder)?;
        Ok(Signed { kid, payload, signature, protected })
    }

    /// What is signed: the Sig_structure of RFC 9052, 4.4, without external data.
    pub fn to_be_signed(&self) -> Vec<u8> {
        to_be_signed(self.protected, self.payload)
    }

    /// Is the signature by this key? Takes a hundred times as long as reading.
    pub fn verify(&self, key: &PublicKey) -> bool {
        key.verify(&self.to_be_signed(), self.signature)
    }
}

/// The Ed25519 signature of a message, without an envelope.
pub fn sign(message: &[u8], key: &SigningKey) -> [u8; 64] {
    key.sign(message).to_bytes()
}

/// Signs a report as the gateway `kid`.
pub fn seal(payload: &[u8], kid: &str, key: &SigningKey) -> Vec<u8> {
    let Ok(sealed) = seal_with(payload, kid, |message| Ok::<_, Infallible>(sign(message, key)));
    sealed
}

/// The same with a key that may lie elsewhere: `sign` makes the Ed25519 signature of what it is given.
pub fn seal_with<E>(payload: &[u8], kid: &str, sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>) -> Result<Vec<u8>, E> {
    let protected = written(kid.len() + 16, |out| write_protected(out, kid));
    let signature = sign(&to_be_signed(&protected, payload))?;
    Ok(written(payload.len() + protected.len() + 96, |out| {
        out.tag(Tag::new(TAG))?.array(4)?.bytes(&protected)?.map(0)?.bytes(payload)?.bytes(&signature)?.ok()
    }))
}

fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    written(payload.len() + protected.len() + 32, |out| out.array(4)?.str("Signature1")?.bytes(protected)?.bytes(&[])?.bytes(payload)?.ok())
}

fn written(capacity: usize, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), encode::Error<Infallible>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    // Writing to a Vec cannot fail.
    let _ = write(&mut Encoder::new(&mut out));
    out
}

#[cfg(test)]
#[path = "cose_tests.rs"]
mod tests;
