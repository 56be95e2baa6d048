//! Why a gateway was not enrolled, and what to do, in both languages.

use std::fmt;
use std::io;
use std::path::Path;

/// The answer is no.
const NO: u8 = 1;
/// Wrong use or configuration.
const WRONG_USE: u8 = 2;

#[derive(Debug)]
pub(super) struct Failure {
    pub exit: u8,
    place: String,
    zh: String,
    en: String,
}

impl Failure {
    /// Of what was given: an argument, a key of the configuration, a file.
    pub(super) fn use_of(place: impl fmt::Display, zh: impl Into<String>, en: impl Into<String>) -> Failure {
        Failure { exit: WRONG_USE, place: place.to_string(), zh: zh.into(), en: en.into() }
    }

    pub(super) fn no(place: impl fmt::Display, zh: impl Into<String>, en: impl Into<String>) -> Failure {
        Failure { exit: NO, place: place.to_string(), zh: zh.into(), en: en.into() }
    }

    pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
        Failure::use_of(
            path.display(),
            format!("写不了：{error}。请检查目录是否存在、用户权限和剩余空间，再用同一个一次性密钥运行一次"),
            format!(
                "cannot be written: {error}. Look at its directory, this user's permissions and the free space, then run this again with the same one-time key"
            ),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}\n    {}", self.place, self.zh, self.en)
    }
}
