//! Public keys that signed for a service, and what can be verified with them alone: compact JWS (RFC 7515) by Ed25519.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// A key, and when it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub key: VerifyingKey,
    /// `None`: from the beginning.
    pub signed_from: Option<DateTime<Utc>>,
    /// `None`: it still signs.
    pub signed_until: Option<DateTime<Utc>>,
}

/// The oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys(pub(crate) Vec<PublicKey>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    #[error("it is no compact JWS with alg EdDSA")]
    Form,
    #[error("its key {0} is not among the keys that are trusted")]
    Key(String),
    #[error("its signature is wrong: header or content was changed")]
    Signature,
}

/// What a JWS says, its signature verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedJws {
    pub header: Map<String, Value>,
    pub payload: Vec<u8>,
    pub key: PublicKey,
}

impl PublicKeys {
    /// Reads a JWK set; keys of other kinds in it are passed over.
    pub fn read(jwks: &str) -> Result<PublicKeys, String> {
        let set: Value = serde_json::from_str(jwks).map_err(|error| format!("no JSON: {error}"))?;
        let keys = set["keys"].as_array().ok_or("no JWK set: there is no list \"keys\"")?;
        let keys: Vec<PublicKey> =
            keys.iter().filter(|jwk| jwk["kty"] == "OKP" && jwk["crv"] == "Ed25519").map(read_key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("there is no Ed25519 key in it".into()) } else { Ok(PublicKeys(keys)) }
    }

    pub fn jwks(&self) -> Value {
        json!({ "keys": self.0.iter().map(jwk).collect::<Vec<_>>() })
    }

    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }

    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key_id(&key.key) == kid)
    }

    /// Verifies a compact JWS. No other algorithm and no critical extension is taken; a key inside it is not looked at.
    pub fn verify_jws(&self, jws: &str) -> Result<VerifiedJws, JwsError> {
        let parts: Vec<&str> = jws.split('.').collect();
        let [protected, payload, signature] = parts[..] else { return Err(JwsError::Form) };
        let header = URL_SAFE_NO_PAD.decode(protected).ok().and_then(|header| serde_json::from_slice::<Map<String, Value>>(&header).ok());
        let header = header.filter(|header| header.get("alg") == Some(&json!("EdDSA")) && !header.contains_key("crit"));
        let (Some(header), Ok(content)) = (header, URL_SAFE_NO_PAD.decode(payload)) else { return Err(JwsError::Form) };
        let kid = header.get("kid").and_then(Value::as_str).ok_or(JwsError::Form)?;
        let key = self.get(kid).ok_or_else(|| JwsError::Key(kid.to_string()))?;
        let signature =
            URL_SAFE_NO_PAD.decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok()).ok_or(JwsError::Signature)?;
        let signed = format!("{protected}.{payload}");
        key.key.verify_strict(signed.as_bytes(), &signature).map_err(|_| JwsError::Signature)?;
        Ok(VerifiedJws { header, payload: content, key: key.clone() })
    }
}

impl PublicKey {
    pub fn id(&self) -> String {
        key_id(&self.key)
    }
}

fn read_key(jwk: &Value) -> Result<PublicKey, String> {
    let x = jwk["x"].as_str().and_then(|x| URL_SAFE_NO_PAD.decode(x).ok()).and_then(|x| x.try_into().ok());
    let key = x.and_then(|x| VerifyingKey::from_bytes(&x).ok()).ok_or("a public key is not one of Ed25519 in base64url")?;
    let kid = &jwk["kid"];
    if !kid.is_null() && *kid != key_id(&key) {
        return Err(format!("kid {kid} is not the thumbprint of its key (RFC 7638)"));
    }
    Ok(PublicKey { key, signed_from: read_at(&jwk["signed_from"])?, signed_until: read_at(&jwk["signed_until"])? })
}

pub(crate) fn read_at(value: &Value) -> Result<Option<DateTime<Utc>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => {
            DateTime::parse_from_rfc3339(text).map(|at| Some(at.to_utc())).map_err(|_| format!("{text:?} is no RFC 3339 instant"))
        }
        other => Err(format!("{other} is no RFC 3339 instant")),
    }
}

pub(crate) fn show_at(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn jwk(key: &PublicKey) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.key.as_bytes());
    let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": key.id(), "alg": "EdDSA", "use": "sig" });
    let times = [("signed_from", key.signed_from), ("signed_until", key.signed_until)];
    for (name, at) in times.into_iter().filter_map(|(name, at)| Some((name, at?))) {
        jwk[name] = json!(show_at(at));
    }
    jwk
}

/// The thumbprint of a key (RFC 7638).
pub(crate) fn key_id(key: &VerifyingKey) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(key.as_bytes()));
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::ServiceKeys;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        assert_eq!(key_id(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_jws_changed_in_any_character_or_by_another_key_is_not_verified() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (keys, others) = (ServiceKeys::open(dir.path()).unwrap(), ServiceKeys::open(other.path()).unwrap());
        let jws = keys.jws(b"{}");
        let read = PublicKeys::read(&keys.public().jwks().to_string()).unwrap();
        assert_eq!(read.verify_jws(&jws).unwrap().payload, b"{}");
        assert!(matches!(others.public().verify_jws(&jws), Err(JwsError::Key(_))));
        for at in 0..jws.len() {
            let mut changed = jws.clone();
            changed.replace_range(at..=at, if &jws[at..=at] == "A" { "B" } else { "A" });
            assert!(read.verify_jws(&changed).is_err(), "character {at} of {jws}");
        }
        let none = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"a"}"#));
        assert_eq!(read.verify_jws(&none), Err(JwsError::Form));
    }

    #[test]
    fn a_set_without_a_usable_key_is_no_set_of_keys() {
        assert!(PublicKeys::read("{}").is_err());
        assert!(PublicKeys::read(r#"{"keys":[{"kty":"RSA"}]}"#).is_err());
        assert!(PublicKeys::read(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#).is_err());
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert!(PublicKeys::read(&format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"another"}}]}}"#)).is_err());
    }
}
