//! The stored audit entries against the evidence log: one that was changed, taken away or slipped in is named.

use std::collections::BTreeMap;

use policy::calendar::show_instant;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::audit::AuditPlace;
use crate::sql::{Store, StoreError};
use crate::verify::Finding;

/// Entries as they stand in the log, by number.
pub(crate) type Logged = BTreeMap<i64, Vec<AuditPlace>>;

/// Numbers named of a gap; the rest is counted.
const NAMED_MAX: usize = 20;

impl Store {
    /// Compares the stored entries with those of a log that was read before. Gives how many wait to be carried into the log, too.
    pub async fn audit_findings(&self, logged: &Logged, blocks: u64) -> Result<(Vec<Finding>, u64), StoreError> {
        let rows = sqlx::query("SELECT id, at, who, act, subject, body, block FROM audit ORDER BY id").fetch_all(&self.readers).await?;
        let (mut findings, mut pending, mut stored) = (Vec::new(), 0, Vec::new());
        for row in &rows {
            let id: i64 = row.try_get("id")?;
            let (body, block): (&[u8], Option<i64>) = (row.try_get("body")?, row.try_get("block")?);
            stored.push(id);
            let found = |what: String| Finding::Audit { id, what };
            let at: i64 = row.try_get("at")?;
            let columns = [row.try_get::<&str, _>("who")?, row.try_get("act")?, row.try_get("subject")?];
            if !agrees(body, id, at, columns) {
                findings.push(found("its columns say something else than its body".into()));
            }
            let places = logged.get(&id).map(Vec::as_slice).unwrap_or_default();
            let sha256: [u8; 32] = Sha256::digest(body).into();
            match (places, block) {
                ([], None) => pending += 1,
                ([], Some(block)) if block as u64 >= blocks => {}
                ([], Some(block)) => findings.push(found(format!("it should stand in block {block} of the log and does not"))),
                ([place], block) => {
                    if place.sha256 != sha256 {
                        findings.push(found(format!("it was changed: block {} of the log holds another", place.block)));
                    } else if block.is_some_and(|block| block as u64 != place.block) {
                        findings.push(found(format!("it stands in block {}, not where the database says", place.block)));
                    }
                }
                (places, _) => findings.push(found(format!("it stands in the log {} times", places.len()))),
            }
        }
        let missing: Vec<&AuditPlace> =
            logged.iter().filter(|(id, _)| stored.binary_search(id).is_err()).flat_map(|(_, places)| places).collect();
        for place in missing.iter().take(NAMED_MAX) {
            let what = format!("it was deleted from the database; block {} of the log still holds it", place.block);
            findings.push(Finding::Audit { id: place.id, what });
        }
        if let Some(place) = missing.get(NAMED_MAX) {
            let what = format!("it and {} more were deleted from the database", missing.len() - NAMED_MAX - 1);
            findings.push(Finding::Audit { id: place.id, what });
        }
        Ok((findings, pending))
    }
}

/// Whether an entry's columns, by which it is found, say what its body says.
fn agrees(body: &[u8], id: i64, at_us: i64, [who, act, subject]: [&str; 3]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let at = chrono::DateTime::from_timestamp_micros(at_us).map(show_instant);
    body["id"] == id && body["who"] == who && body["act"] == act && body["subject"] == subject && body["at"].as_str() == at.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Actor, AuditDraft};

    /// A store with three entries, and the log that holds them in blocks 0, 1 and 2.
    async fn case() -> (tempfile::TempDir, Store, Logged) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let actor = Actor::new("command:test", chrono::DateTime::UNIX_EPOCH);
        for subject in ["a", "b", "c"] {
            store.record_act(&actor, AuditDraft::of(Act::JudgingAsked, subject, Value::Null)).await.unwrap();
        }
        let mut logged = Logged::new();
        for (block, entry) in (0..).zip(store.pending_audit(0).await.unwrap()) {
            logged.insert(entry.id, vec![AuditPlace::of(&entry.record(), block).unwrap()]);
        }
        sqlx::query("UPDATE audit SET block = id - 1").execute(&store.writer).await.unwrap();
        (dir, store, logged)
    }

    async fn told(store: &Store, logged: &Logged) -> Vec<String> {
        store.audit_findings(logged, 3).await.unwrap().0.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn entries_that_were_edited_deleted_or_slipped_in_are_named() {
        for (tampering, expected) in [
            ("UPDATE audit SET id = id", vec![]),
            ("UPDATE audit SET body = replace(body, '\"b\"', '\"x\"'), subject = 'x' WHERE id = 2", vec!["audit entry 2: it was changed"]),
            ("UPDATE audit SET who = 'key:admin:other' WHERE id = 2", vec!["audit entry 2: its columns"]),
            ("DELETE FROM audit WHERE id = 3", vec!["audit entry 3: it was deleted"]),
            ("UPDATE audit SET block = 1 WHERE id = 3", vec!["audit entry 3: it stands in block 2"]),
            (
                "INSERT INTO audit SELECT 4, at, who, act, subject, replace(body, '\"id\":3', '\"id\":4'), sha256, 2 FROM audit WHERE id = 3",
                vec!["audit entry 4: it should stand in block 2"],
            ),
        ] {
            let (_dir, store, logged) = case().await;
            sqlx::query(tampering).execute(&store.writer).await.unwrap();
            let told = told(&store, &logged).await;
            assert_eq!(told.len(), expected.len(), "{tampering}: {told:?}");
            assert!(told.iter().zip(&expected).all(|(told, expected)| told.starts_with(expected)), "{tampering}: {told:?}");
        }
    }

    #[tokio::test]
    async fn an_entry_that_stands_in_the_log_twice_is_named_and_one_that_waits_is_counted() {
        let (_dir, store, mut logged) = case().await;
        let again = AuditPlace { block: 2, ..logged[&1][0] };
        logged.get_mut(&1).unwrap().push(again);
        assert_eq!(told(&store, &logged).await, ["audit entry 1: it stands in the log 2 times"]);
        logged.remove(&1);
        sqlx::query("UPDATE audit SET block = NULL WHERE id = 1").execute(&store.writer).await.unwrap();
        let (findings, waiting) = store.audit_findings(&logged, 3).await.unwrap();
        assert_eq!((findings.len(), waiting), (0, 1));
    }
}
