//! The service's own signing keys (Ed25519): one signs, the public parts of those before it stay known, with when they signed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::public_keys::{PublicKey, PublicKeys, key_id, read_at, show_at};

const FILE: &str = "service-keys.json";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {what}: restore the file from a backup; a new one would not match what was signed before")]
    Unreadable { path: String, what: String },
}

/// Cheap to clone. A key that another process has put in its place is used from the next signature on.
#[derive(Clone, Debug)]
pub struct ServiceKeys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    held: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    stamp: Stamp,
    keys: Arc<Keys>,
}

/// By which a file that was put in the place of another is told from it.
type Stamp = (u64, i64, i64);

struct Keys {
    signing: SigningKey,
    /// The signing key last.
    public: PublicKeys,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.public.fmt(f)
    }
}

/// A JWK set (RFC 7517, RFC 8037), the newest last.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    keys: Vec<StoredJwk>,
}

#[derive(Serialize, Deserialize)]
struct StoredJwk {
    kty: String,
    crv: String,
    /// Public, base64url.
    x: String,
    /// Private, base64url; only of the key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_until: Option<String>,
}

impl ServiceKeys {
    /// Reads the keys in `dir`; makes the first one, readable by this user only, if there is no file yet.
    pub fn open(dir: &Path) -> Result<ServiceKeys, KeyError> {
        let path = dir.join(FILE);
        if matches!(std::fs::metadata(&path), Err(error) if error.kind() == ErrorKind::NotFound) {
            let _alone = lock(dir)?;
            if matches!(std::fs::metadata(&path), Err(error) if error.kind() == ErrorKind::NotFound) {
                let first = Keys::of(SigningKey::from_bytes(&rand::random()), Vec::new(), None);
                write(&path, &first)?;
            }
        }
        let held = RwLock::new(read(&path)?);
        Ok(ServiceKeys(Arc::new(Shared { path, held })))
    }

    /// Whether there are keys in `dir`; opening would make some.
    pub fn exist(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Puts a new key in the place of the one that signs, whose private part is forgotten. Gives the new key's id.
    #[cfg(test)]
    pub fn rotate(dir: &Path, now: DateTime<Utc>) -> Result<String, KeyError> {
        NextKey::of(dir)?.put(now)
    }

    /// The keys as they stand in the file now; those last read if it cannot be read.
    fn now(&self) -> Arc<Keys> {
        let held = |held: &Held| (held.stamp, held.keys.clone());
        let (stamp, keys) = held(&self.0.held.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        if stamp_of(&self.0.path).is_ok_and(|found| found == stamp) {
            return keys;
        }
        match read(&self.0.path) {
            Ok(read) => {
                let keys = read.keys.clone();
                *self.0.held.write().unwrap_or_else(std::sync::PoisonError::into_inner) = read;
                keys
            }
            Err(error) => {
                tracing::error!(%error, "the signing keys cannot be read; the last ones are used");
                keys
            }
        }
    }

    /// The public keys, for whoever verifies.
    pub fn public(&self) -> PublicKeys {
        self.now().public.clone()
    }

    /// A compact JWS (RFC 7515) over exactly these bytes.
    pub fn jws(&self, payload: &[u8]) -> String {
        let detached = self.sign_detached(payload, Map::new());
        with_payload(&detached, payload).unwrap_or_default()
    }

    /// A compact JWS without its payload (RFC 7515, appendix F), with more members of its protected header.
    pub fn sign_detached(&self, payload: &[u8], header: Map<String, Value>) -> String {
        let keys = self.now();
        let protected = protected_header(&key_id(&keys.signing.verifying_key()), header);
        let signature = keys.signing.sign(format!("{protected}.{}", URL_SAFE_NO_PAD.encode(payload)).as_bytes());
        format!("{protected}..{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> ([u8; 64], VerifyingKey) {
        let keys = self.now();
        (keys.signing.sign(message).to_bytes(), keys.signing.verifying_key())
    }
}

/// A key that is to sign from now on. Nobody else makes one meanwhile.
pub(crate) struct NextKey {
    path: PathBuf,
    held: Held,
    signing: SigningKey,
    _alone: File,
}

impl NextKey {
    pub(crate) fn of(dir: &Path) -> Result<NextKey, KeyError> {
        ServiceKeys::open(dir)?;
        let (_alone, path) = (lock(dir)?, dir.join(FILE));
        Ok(NextKey { held: read(&path)?, path, signing: SigningKey::from_bytes(&rand::random()), _alone })
    }

    /// The id of the key that signs until then.
    pub(crate) fn before(&self) -> String {
        key_id(&self.held.keys.signing.verifying_key())
    }

    pub(crate) fn id(&self) -> String {
        key_id(&self.signing.verifying_key())
    }

    pub(crate) fn put(self, now: DateTime<Utc>) -> Result<String, KeyError> {
        let id = self.id();
        let mut public = self.held.keys.public.0.clone();
        public.iter_mut().filter(|key| key.signed_until.is_none()).for_each(|key| key.signed_until = Some(now));
        write(&self.path, &Keys::of(self.signing, public, Some(now)))?;
        Ok(id)
    }
}

/// The protected header of a JWS, encoded.
pub fn protected_header(kid: &str, mut header: Map<String, Value>) -> String {
    header.insert("alg".into(), json!("EdDSA"));
    header.insert("kid".into(), json!(kid));
    URL_SAFE_NO_PAD.encode(Value::Object(header).to_string())
}

/// A detached JWS with its payload put in; `None` if it is none.
pub fn with_payload(detached: &str, payload: &[u8]) -> Option<String> {
    let (protected, signature) = detached.split_once("..")?;
    Some(format!("{protected}.{}.{signature}", URL_SAFE_NO_PAD.encode(payload)))
}

impl Keys {
    fn of(signing: SigningKey, mut before: Vec<PublicKey>, signed_from: Option<DateTime<Utc>>) -> Keys {
        before.push(PublicKey { key: signing.verifying_key(), signed_from, signed_until: None });
        Keys { signing, public: PublicKeys(before) }
    }

    fn read(content: &[u8]) -> Result<Keys, String> {
        let file: KeyFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let public: Vec<PublicKey> = file.keys.iter().map(public_key).collect::<Result<_, _>>()?;
        let signing = private_key(file.keys.last().ok_or("it holds no key")?)?;
        Ok(Keys { signing, public: PublicKeys(public) })
    }

    fn file(&self) -> Vec<u8> {
        let signs = self.signing.verifying_key();
        let jwk = |key: &PublicKey| StoredJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: URL_SAFE_NO_PAD.encode(key.key.as_bytes()),
            d: (key.key == signs).then(|| URL_SAFE_NO_PAD.encode(self.signing.to_bytes())),
            signed_from: key.signed_from.map(show_at),
            signed_until: key.signed_until.map(show_at),
        };
        let file = KeyFile { keys: self.public.iter().map(jwk).collect() };
        serde_json::to_vec_pretty(&file).unwrap_or_default()
    }
}

fn public_key(jwk: &StoredJwk) -> Result<PublicKey, String> {
    let x = URL_SAFE_NO_PAD.decode(&jwk.x).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = x.and_then(|x| VerifyingKey::from_bytes(&x).ok()).ok_or("a public key is not one of Ed25519 in base64url")?;
    let at = |text: &Option<String>| read_at(&json!(text));
    Ok(PublicKey { key, signed_from: at(&jwk.signed_from)?, signed_until: at(&jwk.signed_until)? })
}

fn private_key(jwk: &StoredJwk) -> Result<SigningKey, String> {
    let seed = jwk.d.as_ref().and_then(|d| URL_SAFE_NO_PAD.decode(d).ok()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = SigningKey::from_bytes(&seed.ok_or("the last key has no private part of 32 bytes in base64url")?);
    let matches = jwk.crv == "Ed25519" && URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()) == jwk.x;
    if matches { Ok(key) } else { Err("a private key does not belong to its public one".into()) }
}

fn read(path: &Path) -> Result<Held, KeyError> {
    // Looked at before: a file that takes its place meanwhile is read again next time.
    let stamp = stamp_of(path).map_err(at(path))?;
    let content = std::fs::read(path).map_err(at(path))?;
    let keys = Keys::read(&content).map_err(|what| KeyError::Unreadable { path: path.display().to_string(), what })?;
    Ok(Held { stamp, keys: Arc::new(keys) })
}

fn stamp_of(path: &Path) -> io::Result<Stamp> {
    std::fs::metadata(path).map(|found| (found.ino(), found.mtime(), found.mtime_nsec()))
}

/// The file as a whole takes the place of the one before.
fn write(path: &Path, keys: &Keys) -> Result<(), KeyError> {
    let growing = path.with_extension("json.new");
    write_private(&growing, &keys.file()).and_then(|()| std::fs::rename(&growing, path)).map_err(at(path))?;
    let dir = path.parent().unwrap_or(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// One process at a time makes keys.
fn lock(dir: &Path) -> Result<File, KeyError> {
    let path = dir.join("service-keys.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    file.lock().map_err(at(&path))?;
    Ok(file)
}

fn at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |source| KeyError::File { path: path.clone(), source }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at_s(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(s, 0).unwrap()
    }

    #[test]
    fn keys_are_made_once_for_this_user_only_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = ServiceKeys::open(dir.path()).unwrap();
        assert_eq!(ServiceKeys::open(dir.path()).unwrap().public(), made.public());
        assert!(!made.public().jwks().to_string().contains("\"d\""), "the private part is not shown");
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_jws_is_that_of_rfc_8037_but_for_its_kid() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::of(SigningKey::from_bytes(&seed.try_into().unwrap()), Vec::new(), None);
        write(&dir.path().join(FILE), &keys).unwrap();
        let keys = ServiceKeys::open(dir.path()).unwrap();
        let jws = keys.jws(b"Example of Ed25519 signing");
        assert_eq!(jws.split('.').nth(1), Some("RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"));
        let verified = keys.public().verify_jws(&jws).unwrap();
        assert_eq!((verified.payload, verified.header.len()), (b"Example of Ed25519 signing".to_vec(), 2));
    }

    #[test]
    fn after_a_rotation_a_running_service_signs_with_the_new_key_and_what_the_old_one_signed_stays_verified() {
        let dir = tempfile::tempdir().unwrap();
        let running = ServiceKeys::open(dir.path()).unwrap();
        let before = running.jws(b"before");
        let kid = ServiceKeys::rotate(dir.path(), at_s(1_572_940_800)).unwrap();
        let after = running.jws(b"after");
        let keys = running.public();
        let (before, after) = (keys.verify_jws(&before).unwrap(), keys.verify_jws(&after).unwrap());
        assert_eq!((before.key.signed_from, before.key.signed_until), (None, Some(at_s(1_572_940_800))));
        assert_eq!((after.key.id(), after.key.signed_from, after.key.signed_until), (kid, Some(at_s(1_572_940_800)), None));
        ServiceKeys::rotate(dir.path(), at_s(1_572_950_000)).unwrap();
        let until: Vec<_> = running.public().iter().map(|key| key.signed_until).collect();
        assert_eq!(until, [Some(at_s(1_572_940_800)), Some(at_s(1_572_950_000)), None], "each keeps its own time");
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text.matches("\"d\"").count(), 1, "only the key that signs keeps its private part");
        assert_eq!(PublicKeys::read(&running.public().jwks().to_string()), Ok(running.public()));
    }

    #[test]
    fn a_damaged_key_file_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let running = ServiceKeys::open(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap().replace("Ed25519", "Ed25518").replacen("\"x\": \"", "\"x\": \"A", 1);
        std::fs::write(&path, &text).unwrap();
        let error = ServiceKeys::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains(FILE), "{error}");
        assert!(ServiceKeys::rotate(dir.path(), at_s(0)).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(running.public().verify_jws(&running.jws(b"on")).unwrap().payload, b"on", "a running service goes on");
    }
}
