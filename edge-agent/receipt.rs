//! The service's signed receipts: a compact JWS (RFC 7515) by Ed25519 that says which reports of a boot are durable with the service.
//!
//! Numbers that the agent has declared dropped lie below `through` too; nothing of them is in the spool.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use wire::PublicKey;

/// What a receipt says, its signature verified.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    gateway: Option<String>,
    pub boot: String,
    /// Up to this number every report is accepted, refused, or declared dropped.
    pub through: u64,
    #[serde(default)]
    pub refused: Vec<u64>,
}

/// Why a receipt is not followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("it is no compact JWS with alg EdDSA")]
    Form,
    #[error("none of the trusted keys has its kid `{0}`; fetch /api/v1/keys into delivery.receipt_keys_file again")]
    Key(String),
    #[error("its signature is wrong")]
    Signature,
    #[error("it is of gateway `{0}`")]
    Gateway(String),
    #[error("its content is no receipt: {0}")]
    Content(String),
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: is no JWK set with an Ed25519 key, as /api/v1/keys gives it")]
    Form { path: String },
}

/// The keys that may sign receipts.
#[derive(Debug)]
pub struct ReceiptKeys {
    path: PathBuf,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    key: PublicKey,
}

impl ReceiptKeys {
    /// Without a readable file there are no keys yet: they are looked for again when a receipt comes.
    pub fn of(path: PathBuf) -> ReceiptKeys {
        ReceiptKeys::load(path.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "no key verifies receipts: no report leaves the spool");
            ReceiptKeys { path, keys: Vec::new() }
        })
    }

    pub fn load(path: PathBuf) -> Result<ReceiptKeys, KeysError> {
        let shown = || path.display().to_string();
        let text = std::fs::read(&path).map_err(|source| KeysError::File { path: shown(), source })?;
        let keys = read_keys(&text).ok_or_else(|| KeysError::Form { path: shown() })?;
        Ok(ReceiptKeys { path, keys })
    }

    /// Reads the file again: the service may have a new key. What cannot be read leaves the keys as they are.
    pub fn refresh(&mut self) -> Result<(), KeysError> {
        *self = ReceiptKeys::load(self.path.clone())?;
        Ok(())
    }

    /// The receipt for this gateway, if a trusted key signed it.
    pub fn verify(&self, jws: &[u8], gateway: &str) -> Result<Receipt, Ignored> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            #[serde(default)]
            kid: String,
            crit: Option<serde_json::Value>,
        }
        let jws = std::str::from_utf8(jws).map_err(|_| Ignored::Form)?;
        let (signed, signature) = jws.rsplit_once('.').ok_or(Ignored::Form)?;
        let (header, content) = signed.split_once('.').ok_or(Ignored::Form)?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Ignored::Form);
        let header: Header = serde_json::from_slice(&part(header)?).map_err(|_| Ignored::Form)?;
        if header.alg != "EdDSA" || header.crit.is_some() {
            return Err(Ignored::Form);
        }
        let content = part(content)?;
        let signature = part(signature)?.try_into().map_err(|_| Ignored::Form)?;
        let mut candidates = self.keys.iter().filter(|key| key.kid.as_ref().is_none_or(|kid| *kid == header.kid)).peekable();
        if candidates.peek().is_none() {
            return Err(Ignored::Key(header.kid));
        }
        if !candidates.any(|candidate| candidate.key.verify(signed.as_bytes(), &signature)) {
            return Err(Ignored::Signature);
        }
        let receipt: Receipt = serde_json::from_slice(&content).map_err(|error| Ignored::Content(error.to_string()))?;
        match receipt.gateway {
            Some(other) if other != gateway => Err(Ignored::Gateway(other)),
            _ => Ok(receipt),
        }
    }
}

fn read_keys(jwks: &[u8]) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Jwk>,
    }
    #[derive(Deserialize)]
    struct Jwk {
        kty: String,
        crv: Option<String>,
        x: Option<String>,
        kid: Option<String>,
    }
    let set: Set = serde_json::from_slice(jwks).ok()?;
    let ours = set.keys.into_iter().filter(|jwk| jwk.kty == "OKP" && jwk.crv.as_deref() == Some("Ed25519"));
    let read = |jwk: Jwk| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk.x?).ok()?.try_into().ok()?;
        Some(Key { kid: jwk.kid, key: PublicKey::of(&bytes).ok()? })
    };
    let keys: Vec<Key> = ours.map(read).collect::<Option<_>>()?;
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by cryptography 50.0.2 with the seed of RFC 8032, 7.1, test 1.
    const KEYS: &str = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","alg":"EdDSA","use":"sig"}]}"#;
    const RECEIPT: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ.eyJnYXRld2F5IjoiZ3ctMSIsImJvb3QiOiJiNyIsInRocm91Z2giOjUsInJlZnVzZWQiOlsyXSwiZHJvcHBlZCI6W1szLDRdXSwicmVjZWl2ZWRfYXQiOiIyMDE5LTExLTA1VDAwOjAwOjAwLjAwMDAwMFoiLCJoZWFkIjp7InNpemUiOjksInJvb3QiOiIwMCJ9fQ.HBg4XVHPK401wDcxNQXTQDBnbP49M4xCgMtklrvHEcR54D4Qkbp8hg7U03P94nG4MoAYf3w0_I8KiuKbtJwbAw";
    const NO_RECEIPT: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ.eyJ2IjoxLCJ2b3VjaGVyIjoiVi0xIn0.i4MxrnkTBL4mhAlEFpneWySaJ4DflYEGd0hXuiCAiYpSAP2yojpEI-bbRW5sDx9JxfFLxrXoTfJgdUq9vHvqDw";

    fn keys(jwks: &str) -> ReceiptKeys {
        ReceiptKeys { path: PathBuf::new(), keys: read_keys(jwks.as_bytes()).unwrap() }
    }

    #[test]
    fn what_others_have_signed_is_verified_and_read() {
        let receipt = keys(KEYS).verify(RECEIPT.as_bytes(), "gw-1").unwrap();
        assert_eq!(receipt, Receipt { gateway: Some("gw-1".into()), boot: "b7".into(), through: 5, refused: vec![2] });
        let without_kid = KEYS.replace(r#","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k""#, "");
        assert_eq!(keys(&without_kid).verify(RECEIPT.as_bytes(), "gw-1"), Ok(receipt));
    }

    #[test]
    fn a_receipt_changed_in_any_character_is_ignored() {
        let keys = keys(KEYS);
        for at in 0..RECEIPT.len() {
            let mut changed = RECEIPT.to_string();
            changed.replace_range(at..=at, if &RECEIPT[at..=at] == "A" { "B" } else { "A" });
            assert!(keys.verify(changed.as_bytes(), "gw-1").is_err(), "character {at}");
        }
    }

    #[test]
    fn a_receipt_of_another_key_gateway_or_kind_is_ignored_and_says_why() {
        assert_eq!(keys(KEYS).verify(RECEIPT.as_bytes(), "gw-2"), Err(Ignored::Gateway("gw-1".into())));
        assert!(matches!(keys(KEYS).verify(NO_RECEIPT.as_bytes(), "gw-1"), Err(Ignored::Content(_))));
        let other = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"@}]}"#;
        assert_eq!(keys(&other.replace('@', "")).verify(RECEIPT.as_bytes(), "gw-1"), Err(Ignored::Signature));
        let named = keys(&other.replace('@', r#","kid":"k2""#)).verify(RECEIPT.as_bytes(), "gw-1");
        assert_eq!(named, Err(Ignored::Key("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into())));
        for text in ["", "a.b", "e30.e30.", "e30.e30.e30.e30"] {
            assert_eq!(keys(KEYS).verify(text.as_bytes(), "gw-1"), Err(Ignored::Form), "{text}");
        }
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), RECEIPT.split('.').nth(1).unwrap());
        assert_eq!(keys(KEYS).verify(unsigned.as_bytes(), "gw-1"), Err(Ignored::Form));
    }

    #[test]
    fn a_file_without_a_usable_key_is_refused_and_a_new_key_is_found_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        assert!(matches!(ReceiptKeys::load(path.clone()), Err(KeysError::File { .. })));
        for text in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(ReceiptKeys::load(path.clone()), Err(KeysError::Form { .. })), "{text}");
        }
        std::fs::write(&path, r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"}]}"#).unwrap();
        let mut keys = ReceiptKeys::load(path.clone()).unwrap();
        assert!(keys.verify(RECEIPT.as_bytes(), "gw-1").is_err());
        std::fs::write(&path, "{}").unwrap();
        assert!(keys.refresh().is_err());
        std::fs::write(&path, KEYS).unwrap();
        keys.refresh().unwrap();
        assert!(keys.verify(RECEIPT.as_bytes(), "gw-1").is_ok());
    }
}
