//! What results rest on, kept by its SHA-256 for as long as they are: register slices, rulebooks, catalogues, facts about refusals.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::results::ROWS_TOGETHER;
use crate::sql::{Store, StoreError};

/// A text with the name under which results refer to it.
#[derive(Clone, Debug)]
pub struct Kept {
    hash: String,
    /// zstd.
    content: Vec<u8>,
}

/// Texts are a few kilobytes each.
const LEVEL: i32 = 3;
const BYTES_MAX: usize = 256 << 20;
/// More names than this are not remembered at once.
const REMEMBERED_MAX: usize = 4096;

/// Names of what is known to be kept, so that texts of many results are packed once.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<HashSet<String>>);

impl Remembered {
    fn contains(&self, hash: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    pub(crate) fn add(&self, kept: &[Kept]) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= REMEMBERED_MAX {
            names.clear();
        }
        names.extend(kept.iter().map(|kept| kept.hash.clone()));
    }
}

impl Store {
    /// Packs a text to be kept with a result; `None` if it is known to be kept already.
    pub fn to_keep(&self, hash: &str, text: impl FnOnce() -> Vec<u8>) -> Result<Option<Kept>, StoreError> {
        if self.remembered.contains(hash) {
            return Ok(None);
        }
        let content = zstd::bulk::compress(&text(), LEVEL).map_err(|error| StoreError::stored("text", error))?;
        Ok(Some(Kept { hash: hash.to_string(), content }))
    }

    /// A text that results refer to by this name.
    pub async fn kept(&self, hash: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let content: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT content FROM kept WHERE hash = ?").bind(hash).fetch_optional(&self.readers).await?;
        let unpack = |content: Vec<u8>| {
            let bytes = zstd::zstd_safe::get_frame_content_size(&content).ok().flatten().unwrap_or(0);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(BYTES_MAX);
            zstd::bulk::decompress(&content, bytes).map_err(|error| StoreError::stored("text", format!("{hash}: {error}")))
        };
        content.map(unpack).transpose()
    }
}

pub(crate) async fn keep(connection: &mut SqliteConnection, kept: &[Kept]) -> Result<(), StoreError> {
    for some in kept.chunks(ROWS_TOGETHER) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO kept (hash, content) ");
        insert.push_values(some, |mut row, kept| {
            row.push_bind(&kept.hash).push_bind(&kept.content);
        });
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
