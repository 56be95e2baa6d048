//! A gateway's public key, as the register has it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

/// An Ed25519 public key that signatures can be verified with: never a weak one, under which one signature fits many messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub(crate) VerifyingKey);

impl PublicKey {
    /// Reads 32 bytes in standard base64; `Err` says what is wrong.
    pub fn read(text: &str) -> Result<PublicKey, &'static str> {
        let mut bytes = [0; 32];
        if STANDARD.decode_slice(text, &mut bytes) != Ok(bytes.len()) {
            return Err("it is not 32 bytes in base64");
        }
        PublicKey::of(&bytes)
    }

    pub fn of(bytes: &[u8; 32]) -> Result<PublicKey, &'static str> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| "it is not a point of Ed25519")?;
        if key.is_weak() { Err("it is a weak key") } else { Ok(PublicKey(key)) }
    }

    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Is this the key's signature of the message?
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl From<&SigningKey> for PublicKey {
    fn from(key: &SigningKey) -> PublicKey {
        PublicKey(key.verifying_key())
    }
}

/// As the register has it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 1.
    const SOUND: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_is_written_as_it_was_read() {
        assert_eq!(PublicKey::read(SOUND).unwrap().to_string(), SOUND);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let of = |bytes: &[u8]| PublicKey::read(&STANDARD.encode(bytes));
        let no_base64 = Err("it is not 32 bytes in base64");
        for text in ["", "=", &SOUND[..43], &SOUND.replace('/', "_"), &format!("{SOUND} ")] {
            assert_eq!(PublicKey::read(text), no_base64, "{text}");
        }
        for length in [0, 1, 31, 33, 34, 64] {
            assert_eq!(of(&vec![1; length]), no_base64, "{length} bytes");
        }
        assert_eq!(of(&[&[2][..], &[0; 31]].concat()), Err("it is not a point of Ed25519"));
    }

    #[test]
    fn a_signature_is_verified_of_its_own_message_only() {
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        let signature = hex::decode(signature).unwrap().try_into().unwrap();
        let key = PublicKey::read(SOUND).unwrap();
        assert_eq!(PublicKey::of(&key.to_bytes()), Ok(key));
        assert!(key.verify(b"", &signature));
        assert!(!key.verify(b"a", &signature));
    }

    #[test]
    fn every_weak_key_is_refused() {
        // The eight points of small order.
        for point in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        ] {
            assert_eq!(PublicKey::read(&STANDARD.encode(hex::decode(point).unwrap())), Err("it is a weak key"), "{point}");
        }
    }
}
