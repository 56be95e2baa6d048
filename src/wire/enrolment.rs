//! With what a gateway shows, when it is enrolled, that the private key is its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::public_key::PublicKey;

/// What is signed. No report begins like this, and no report is signed without an envelope: neither can stand for the other.
pub fn to_be_signed(gateway: &str) -> Vec<u8> {
    format!("shangyun-enrol-v1:{gateway}").into_bytes()
}

/// As it is sent: 64 bytes in standard base64.
pub fn write_proof(signature: &[u8; 64]) -> String {
    STANDARD.encode(signature)
}

/// Is this the proof of the gateway, by this key?
pub fn proven(gateway: &str, key: &PublicKey, proof: &str) -> bool {
    let mut signature = [0; 64];
    STANDARD.decode_slice(proof, &mut signature) == Ok(signature.len()) && key.verify(&to_be_signed(gateway), &signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    /// RFC 8032, 7.1, test 1: seed, and the proof of gateway gw-1 as OpenSSL signs it.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PROOF: &str = "lzsWUbe/KKZfZUC7QLHlu5Aon8etr7iTL3f4cjQgrzRYPlQNjiabV41nJlgndD8YulKH3W9wdFxQPbMkycW2Cw==";

    fn key() -> SigningKey {
        let seed: [u8; 32] = hex::decode(SEED).unwrap().try_into().unwrap();
        SigningKey::from_bytes(&seed)
    }

    #[test]
    fn a_proof_is_what_any_other_program_makes_of_key_and_gateway() {
        let signature = key().sign(&to_be_signed("gw-1")).to_bytes();
        assert_eq!(write_proof(&signature), PROOF);
        assert!(proven("gw-1", &PublicKey::from(&key()), PROOF));
    }

    #[test]
    fn a_proof_is_of_one_gateway_and_one_key_and_of_64_bytes() {
        let public = PublicKey::from(&key());
        let other = PublicKey::from(&SigningKey::from_bytes(&[7; 32]));
        assert!(!proven("gw-2", &public, PROOF));
        assert!(!proven("gw-1", &other, PROOF));
        for proof in ["", "=", &PROOF[..84], &format!("{PROOF}AAAA"), &PROOF.replace("==", "")] {
            assert!(!proven("gw-1", &public, proof), "{proof}");
        }
    }
}
