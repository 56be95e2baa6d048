//! The gateway's own key. It is made on the gateway and never leaves it: the rest of the agent sees what it signs, and its public part.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;
use wire::PublicKey;
use wire::cose::{self, SigningKey};

/// A seed of 32 bytes in base64, and a line's end. More than that is no key file.
const FILE_BYTES_MAX: u64 = 256;

/// Whoever can sign reports for this gateway: a key in a file, or a token or TPM that keeps the key to itself.
pub trait Signer: Send + Sync {
    /// The COSE_Sign1 around this payload.
    fn seal(&self, payload: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// The bare Ed25519 signature of what is no report.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;

    /// As the register has it, but for its base64.
    fn public_key(&self) -> [u8; 32];
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: there is a file already; a key is never replaced, move it away first if a new one is wanted")]
    Exists { path: String },
    #[error("{path}: mode {mode:04o} lets other users read the key; chmod 600, and enrol anew if others had access")]
    OpenToOthers { path: String, mode: u32 },
    #[error("{path}: is not a key: it must hold 32 bytes in base64")]
    Form { path: String },
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("the report cannot be signed: {0}")]
    Signing(String),
}

/// An Ed25519 key in a file that only the agent's user may read: the seed of 32 bytes in base64.
pub struct FileKey {
    gateway: String,
    key: SigningKey,
}

impl FileKey {
    /// Makes a key for the gateway. A file that is there is never overwritten.
    pub fn create(path: &Path, gateway: &str) -> Result<FileKey, KeyError> {
        let key = SigningKey::from_bytes(&rand::random());
        let shown = || path.display().to_string();
        let failed = |source| KeyError::File { path: shown(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Half a key would stand in the way of the next attempt: it gets its name when it is whole. Its mode is 0600 from the start.
        let mut file = NamedTempFile::new_in(dir).map_err(failed)?;
        let written = file.write_all(format!("{}\n", STANDARD.encode(key.to_bytes())).as_bytes()).and_then(|()| file.as_file().sync_all());
        written.map_err(failed)?;
        file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: shown() },
            _ => failed(error.error),
        })?;
        // A key that was registered must not vanish with a power cut.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(FileKey { gateway: gateway.to_string(), key })
    }

    pub fn load(path: &Path, gateway: &str) -> Result<FileKey, KeyError> {
        let shown = || path.display().to_string();
        let failed = |source| KeyError::File { path: shown(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::OpenToOthers { path: shown(), mode });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| KeyError::Form { path: shown() })?;
        let seed = STANDARD.decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        let key = SigningKey::from_bytes(&seed.ok_or(KeyError::Form { path: shown() })?);
        Ok(FileKey { gateway: gateway.to_string(), key })
    }
}

impl Signer for FileKey {
    fn seal(&self, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(cose::seal(payload, &self.gateway, &self.key))
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        Ok(cose::sign(message, &self.key))
    }

    fn public_key(&self) -> [u8; 32] {
        PublicKey::from(&self.key).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use wire::cose::Signed;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_for_its_user_only_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        let made = FileKey::create(&path, "gw-1").unwrap();
        assert_eq!((mode_of(&path), fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
        let loaded = FileKey::load(&path, "gw-1").unwrap();
        assert_eq!(loaded.public_key(), made.public_key());
        assert_ne!(made.public_key(), FileKey::create(&dir.path().join("other.key"), "gw-1").unwrap().public_key());
    }

    #[test]
    fn a_sealed_report_is_verified_with_the_public_key_and_names_the_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let signer: Box<dyn Signer> = Box::new(FileKey::create(&dir.path().join("gateway.key"), "gw-1").unwrap());
        let sealed = signer.seal(b"{}").unwrap();
        let signed = Signed::read(&sealed).unwrap();
        assert_eq!((signed.kid, signed.payload), (&b"gw-1"[..], &b"{}"[..]));
        assert!(signed.verify(&PublicKey::of(&signer.public_key()).unwrap()));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        let made = FileKey::create(&path, "gw-1").unwrap();
        assert!(matches!(FileKey::create(&path, "gw-1"), Err(KeyError::Exists { .. })));
        assert_eq!(FileKey::load(&path, "gw-1").unwrap().public_key(), made.public_key());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        FileKey::create(&path, "gw-1").unwrap();
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(FileKey::load(&path, "gw-1"), Err(KeyError::OpenToOthers { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(FileKey::load(&path, "gw-1").is_ok());
    }

    #[test]
    fn what_is_no_key_is_said_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        assert!(FileKey::load(&path, "gw-1").err().unwrap().to_string().contains("gateway.key: No such file"));
        for content in [&b""[..], b"AAAA", &[0xFF; 44], STANDARD.encode([0; 31]).as_bytes(), &[b'A'; 4096]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(FileKey::load(&path, "gw-1"), Err(KeyError::Form { .. })), "{content:?}");
        }
    }
}
