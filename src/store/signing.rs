//! The service's own signing keys (Ed25519): the newest signs, all of them stay known.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const FILE: &str = "service-keys.json";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {what}: restore the file from a backup; a new one would not match what was signed before")]
    Unreadable { path: String, what: String },
}

/// Keys as a JWK set (RFC 7517, RFC 8037), the newest last.
#[derive(Clone)]
pub struct ServiceKeys {
    keys: Vec<SigningKey>,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    keys: Vec<PrivateJwk>,
}

#[derive(Serialize, Deserialize)]
struct PrivateJwk {
    kty: String,
    crv: String,
    /// Public, base64url.
    x: String,
    /// Private, base64url.
    d: String,
}

impl ServiceKeys {
    /// Reads the keys in `dir`; makes the first one, readable by this user only, if there is no file yet.
    pub fn open(dir: &Path) -> Result<ServiceKeys, KeyError> {
        let path = dir.join(FILE);
        let shown = path.display().to_string();
        let file_error = |source| KeyError::File { path: shown.clone(), source };
        match std::fs::read(&path) {
            Ok(content) => ServiceKeys::read(&content).map_err(|what| KeyError::Unreadable { path: shown, what }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let keys = ServiceKeys { keys: vec![SigningKey::from_bytes(&rand::random())] };
                let growing = dir.join(format!("{FILE}.new"));
                write_private(&growing, &keys.file()).and_then(|()| std::fs::rename(&growing, &path)).map_err(file_error)?;
                std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(file_error)?;
                Ok(keys)
            }
            Err(error) => Err(file_error(error)),
        }
    }

    fn read(content: &[u8]) -> Result<ServiceKeys, String> {
        let file: KeyFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let keys: Vec<SigningKey> = file.keys.iter().map(private_key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("it holds no key".into()) } else { Ok(ServiceKeys { keys }) }
    }

    fn file(&self) -> Vec<u8> {
        let jwk = |key: &SigningKey| PrivateJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
            d: URL_SAFE_NO_PAD.encode(key.to_bytes()),
        };
        let file = KeyFile { keys: self.keys.iter().map(jwk).collect() };
        serde_json::to_vec_pretty(&file).unwrap_or_default()
    }

    /// The key that signs now.
    fn newest(&self) -> &SigningKey {
        // Reading and making have seen to it that there is one.
        &self.keys[self.keys.len() - 1]
    }

    /// The public keys as a JWK set, for whoever verifies.
    pub fn jwks(&self) -> Value {
        let jwk = |key: &SigningKey| {
            let key = key.verifying_key();
            json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.as_bytes()), "kid": key_id(&key), "alg": "EdDSA", "use": "sig" })
        };
        json!({ "keys": self.keys.iter().map(jwk).collect::<Vec<_>>() })
    }

    /// A compact JWS (RFC 7515) over exactly these bytes.
    pub fn jws(&self, payload: &[u8]) -> String {
        let key = self.newest();
        let header = json!({ "alg": "EdDSA", "kid": key_id(&key.verifying_key()) });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> ([u8; 64], VerifyingKey) {
        let key = self.newest();
        (key.sign(message).to_bytes(), key.verifying_key())
    }

    pub(crate) fn public(&self) -> impl Iterator<Item = VerifyingKey> + '_ {
        self.keys.iter().map(SigningKey::verifying_key)
    }
}

fn private_key(jwk: &PrivateJwk) -> Result<SigningKey, String> {
    let seed = URL_SAFE_NO_PAD.decode(&jwk.d).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = SigningKey::from_bytes(&seed.ok_or("a private key is not 32 bytes in base64url")?);
    let matches = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()) == jwk.x;
    if matches { Ok(key) } else { Err("a private key does not belong to its public one".into()) }
}

/// The thumbprint of a key (RFC 7638).
fn key_id(key: &VerifyingKey) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(key.as_bytes()));
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_for_this_user_only_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = ServiceKeys::open(dir.path()).unwrap();
        assert_eq!(ServiceKeys::open(dir.path()).unwrap().jwks(), made.jwks());
        assert!(!made.jwks().to_string().contains("\"d\""), "the private part is not shown");
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        assert_eq!(key_id(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_jws_is_that_of_rfc_8037_but_for_its_kid() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let keys = ServiceKeys { keys: vec![SigningKey::from_bytes(&seed.try_into().unwrap())] };
        let jws = keys.jws(b"Example of Ed25519 signing");
        let parts: Vec<_> = jws.split('.').collect();
        assert_eq!(parts[1], "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap().try_into().unwrap();
        let signed = format!("{}.{}", parts[0], parts[1]);
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        assert!(keys.newest().verifying_key().verify_strict(signed.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn a_damaged_key_file_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        ServiceKeys::open(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap().replace("Ed25519", "Ed25518").replacen("\"x\": \"", "\"x\": \"A", 1);
        std::fs::write(&path, &text).unwrap();
        let error = ServiceKeys::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains(FILE), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
