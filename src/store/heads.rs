//! Signed heads of the log: how large it was, under which root, and when. A head that was handed out can never be denied: a log that
//! was cut or changed since has another root.
//!
//! The form is that of transparency logs (C2SP tlog-checkpoint, a signed note): origin, size, root in base64, the instant, an empty
//! line, and the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::log::LogPosition;
use crate::merkle::Hash;
use crate::public_keys::PublicKeys;
use crate::result_seals::ResultsEnd;
use crate::signing::ServiceKeys;
use crate::sql::{Store, StoreError};

pub const ORIGIN: &str = "shangyun-monitor/evidence-log";
/// Begins the line that says where the stored results ended.
const RESULTS: &str = "results ";
/// Ed25519 in signed notes.
const ALGORITHM: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    pub size: u64,
    pub root: Hash,
    pub at: DateTime<Utc>,
    /// Where the stored results ended; `None` in heads of an earlier version.
    pub results: Option<ResultsEnd>,
    /// As it is handed out.
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("it is no signed head of {ORIGIN}")]
    Form,
    #[error("its signature is by no key of this service")]
    Signature,
}

impl SignedHead {
    pub fn sign(position: &LogPosition, results: ResultsEnd, at: DateTime<Utc>, keys: &ServiceKeys) -> SignedHead {
        let (size, root) = (position.block(), position.root());
        let at = DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at);
        let (root_text, at_text) = (STANDARD.encode(root), at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let results_text = format!("{RESULTS}{} {}", results.position, STANDARD.encode(results.chain));
        let text = format!("{ORIGIN}\n{size}\n{root_text}\n{at_text}\n{results_text}\n");
        let (signature, key) = keys.sign(text.as_bytes());
        let signed = [&key_hash(&key)[..], &signature].concat();
        let note = format!("{text}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(signed));
        SignedHead { size, root, at, results: Some(results), note }
    }

    /// Reads a head and verifies that one of the service's keys has signed it.
    pub fn read(note: &str, keys: &PublicKeys) -> Result<SignedHead, HeadError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(HeadError::Form)?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let origin = lines.next() == Some(ORIGIN);
        let size = lines.next().and_then(|line| line.parse().ok());
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let at = lines.next().and_then(|line| DateTime::parse_from_rfc3339(line).ok());
        let (true, Some(size), Some(root), Some(at)) = (origin, size, root, at) else { return Err(HeadError::Form) };
        let results = lines.next().map(|line| read_results(line).ok_or(HeadError::Form)).transpose()?;
        let signed = |line: &str| signed_by(line, &text, keys);
        if !signatures.lines().any(signed) {
            return Err(HeadError::Signature);
        }
        Ok(SignedHead { size, root, at: at.to_utc(), results, note: note.to_string() })
    }
}

fn read_results(line: &str) -> Option<ResultsEnd> {
    let (position, chain) = line.strip_prefix(RESULTS)?.split_once(' ')?;
    Some(ResultsEnd { position: position.parse().ok()?, chain: STANDARD.decode(chain).ok()?.try_into().ok()? })
}

fn signed_by(line: &str, text: &str, keys: &PublicKeys) -> bool {
    let signature = line.strip_prefix("\u{2014} ").and_then(|rest| rest.strip_prefix(ORIGIN)).map(str::trim_start);
    let Some(signed) = signature.and_then(|signature| STANDARD.decode(signature).ok()) else { return false };
    let Some((hash, signature)) = signed.split_first_chunk::<4>() else { return false };
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    keys.iter().any(|key| key_hash(&key.key) == *hash && key.key.verify_strict(text.as_bytes(), &signature).is_ok())
}

fn key_hash(key: &VerifyingKey) -> [u8; 4] {
    let name = Sha256::new().chain_update(ORIGIN).chain_update([b'\n', ALGORITHM]);
    let full = name.chain_update(key.as_bytes()).finalize();
    std::array::from_fn(|i| full[i])
}

impl Store {
    /// Keeps a head; one of a size and of the same results is enough.
    pub async fn put_head(&self, head: &SignedHead) -> Result<(), StoreError> {
        sqlx::query("INSERT OR IGNORE INTO log_head (size, results, note) VALUES (?, ?, ?)")
            .bind(i64::try_from(head.size).map_err(|error| StoreError::stored("size of the log", error))?)
            .bind(head.results.unwrap_or_default().position.cast_signed())
            .bind(&head.note)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Every head that was signed, the smallest first, as handed out.
    pub async fn heads(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT note FROM log_head ORDER BY size, results").fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get("note")?)).collect()
    }

    pub async fn newest_head(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT note FROM log_head ORDER BY size DESC, results DESC LIMIT 1").fetch_optional(&self.readers).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Frontier;

    #[test]
    fn a_signed_head_is_read_again_and_no_changed_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ServiceKeys::open(dir.path()).unwrap();
        let mut frontier = Frontier::default();
        frontier.push(b"a block");
        let position = LogPosition { segment: 0, byte: 7, frontier };
        let results = ResultsEnd { position: 3, chain: [7; 32] };
        let head = SignedHead::sign(&position, results, DateTime::from_timestamp(1_572_940_800, 5).unwrap(), &keys);
        assert_eq!(SignedHead::read(&head.note, &keys.public()), Ok(head.clone()));
        assert_eq!(head.note.lines().next(), Some(ORIGIN));
        for (at, _) in head.note.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
            let mut changed = head.note.clone();
            let other = if &changed[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert!(SignedHead::read(&changed, &keys.public()).is_err(), "character {at} of {}", head.note);
        }
        let others = ServiceKeys::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(SignedHead::read(&head.note, &others.public()), Err(HeadError::Signature));
    }
}
