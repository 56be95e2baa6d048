//! Users become pseudonyms: the same user is the same pseudonym at every gateway and supplier of the enterprise, and nobody reads a name from it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// 64 hexadecimal characters and a line's end. More than that is no key file.
const FILE_BYTES_MAX: u64 = 128;

/// The enterprise's key, as enrolment gives it.
#[derive(Clone)]
pub struct Pseudonyms([u8; 32]);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PseudonymsError {
    #[error("mode {0:04o} lets other users read the key; chmod 600")]
    OpenToOthers(u32),
    #[error("is not a key: it must hold 64 hexadecimal characters")]
    Form,
    #[error("cannot be read: {0}")]
    File(#[from] io::Error),
}

impl Pseudonyms {
    pub fn new(key: [u8; 32]) -> Pseudonyms {
        Pseudonyms(key)
    }

    pub fn load(path: &Path) -> Result<Pseudonyms, PseudonymsError> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PseudonymsError::OpenToOthers(mode));
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim_ascii(), &mut key).map_err(|_| PseudonymsError::Form)?;
        Ok(Pseudonyms(key))
    }

    /// Hexadecimal HMAC-SHA256 of the name under the enterprise's key.
    pub fn of(&self, user: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(user.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pseudonym_is_the_hmac_that_others_compute() {
        // python3: hmac.new(bytes(range(32)), "张三".encode(), "sha256").hexdigest()
        let pseudonyms = Pseudonyms::new(std::array::from_fn(|i| i as u8));
        assert_eq!(pseudonyms.of("张三"), "f816bf03f906c81a577a6e55c71fb0f25258befe2deafb9334b12c0a9a74d804");
        assert_eq!(pseudonyms.of("op-7"), "dfb67c6a1cfd5fc3ed3239bf0dd9a30dba390f5af95f41611f4efc41483d3e4d");
    }

    #[test]
    fn the_key_is_read_from_a_file_that_only_its_user_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pseudonym.key");
        let write = |text: &[u8], mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Pseudonyms::load(&path)
        };
        assert!(matches!(write(b"", 0o600), Err(PseudonymsError::Form)));
        assert!(matches!(write("0f".repeat(31).as_bytes(), 0o600), Err(PseudonymsError::Form)));
        assert!(matches!(write("zz".repeat(32).as_bytes(), 0o600), Err(PseudonymsError::Form)));
        for mode in [0o640, 0o604] {
            assert!(matches!(write(format!("{}\n", "0f".repeat(32)).as_bytes(), mode), Err(PseudonymsError::OpenToOthers(m)) if m == mode));
        }
        let loaded = write(format!("{}\n", "0f".repeat(32)).as_bytes(), 0o600).unwrap();
        assert_eq!(loaded.of("x"), Pseudonyms::new([0x0f; 32]).of("x"));
        assert!(matches!(Pseudonyms::load(&dir.path().join("none")), Err(PseudonymsError::File(_))));
    }

    #[test]
    fn the_key_is_never_shown() {
        assert_eq!(format!("{:?}", Pseudonyms::new([1; 32])), "Pseudonyms(…)");
    }
}
