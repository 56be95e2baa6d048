//! The stored audit entries against the evidence log: one that was changed, taken away or slipped in is named.

use std::collections::{BTreeMap, BTreeSet};

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

/// Entries in one look at the database.
const PAGE: i64 = 1000;

/// The stored entries in short.
#[derive(Debug, Default)]
pub struct StoredAudit {
    entries: Vec<Stored>,
    /// The last number that was given away.
    newest: i64,
}

#[derive(Debug)]
struct Stored {
    id: i64,
    sha256: [u8; 32],
    block: Option<u64>,
    /// Its columns say what its body says.
    agrees: bool,
    /// Read after the log: its block may lie beyond what was read of it.
    late: bool,
}

impl Store {
    /// To be read before the log: what is said to stand in it then does.
    pub async fn stored_audit(&self) -> Result<StoredAudit, StoreError> {
        let mut stored = StoredAudit::default();
        self.read_audit(&mut stored, false).await?;
        Ok(stored)
    }

    async fn read_audit(&self, stored: &mut StoredAudit, late: bool) -> Result<(), StoreError> {
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetch_optional(&self.readers).await?;
        let mut after = stored.newest;
        loop {
            let page = "SELECT id, at, who, act, subject, body, block FROM audit WHERE id > ? ORDER BY id LIMIT ?";
            let rows = sqlx::query(page).bind(after).bind(PAGE).fetch_all(&self.readers).await?;
            for row in &rows {
                let (id, at): (i64, i64) = (row.try_get("id")?, row.try_get("at")?);
                let (body, block): (&[u8], Option<i64>) = (row.try_get("body")?, row.try_get("block")?);
                let columns = [row.try_get::<&str, _>("who")?, row.try_get("act")?, row.try_get("subject")?];
                let (sha256, agrees) = (Sha256::digest(body).into(), agrees(body, id, at, columns));
                stored.entries.push(Stored { id, sha256, block: block.map(|block| block as u64), agrees, late });
                after = id;
            }
            if rows.len() < PAGE as usize {
                stored.newest = after.max(newest.unwrap_or(0));
                return Ok(());
            }
        }
    }

    /// Compares the stored entries with those of a log that was read after them, of so many blocks. Gives how many wait to be carried
    /// into the log, too.
    pub async fn audit_findings(&self, mut stored: StoredAudit, logged: &Logged, blocks: u64) -> Result<(Vec<Finding>, u64), StoreError> {
        self.read_audit(&mut stored, true).await?;
        let (mut findings, mut pending) = (Vec::new(), 0);
        for entry in &stored.entries {
            let id = entry.id;
            let mut found = |what: String| findings.push(Finding::Audit { id, what });
            if !entry.agrees {
                found("its columns say something else than its body".into());
            }
            let places = logged.get(&id).map(Vec::as_slice).unwrap_or_default();
            match (places, entry.block) {
                ([], None) => pending += 1,
                ([], Some(block)) if entry.late && block >= blocks => {}
                ([], Some(block)) => found(format!("it should stand in block {block} of the log and does not")),
                ([place], _) if place.sha256 != entry.sha256 => {
                    found(format!("it was changed: block {} of the log holds another", place.block));
                }
                ([place], Some(block)) if block != place.block => {
                    found(format!("it stands in block {}, not where the database says", place.block));
                }
                ([_], _) => {}
                (places, _) => found(format!("it stands in the log {} times", places.len())),
            }
        }
        missing(&stored, logged, &mut findings);
        Ok((findings, pending))
    }
}

/// Names what the database no longer holds: numbers are given away without a gap.
fn missing(stored: &StoredAudit, logged: &Logged, findings: &mut Vec<Finding>) {
    let held: BTreeSet<i64> = stored.entries.iter().map(|entry| entry.id).collect();
    let beyond = logged.keys().copied().filter(|id| *id > stored.newest || *id < 1);
    let mut gone = (1..=stored.newest).chain(beyond).filter(|id| !held.contains(id));
    for id in gone.by_ref().take(NAMED_MAX) {
        let what = match logged.get(&id).and_then(|places| places.first()) {
            Some(place) => format!("it was deleted from the database; block {} of the log still holds it", place.block),
            None => "it was deleted from the database before it stood in the log".into(),
        };
        findings.push(Finding::Audit { id, what });
    }
    if let Some(id) = gone.next() {
        let what = format!("it and {} more were deleted from the database", gone.count());
        findings.push(Finding::Audit { id, what });
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

    /// Whoever tampers would do so.
    async fn unguarded(store: &Store) {
        for guard in ["audit_kept", "audit_unchanged", "audit_follows"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {guard}"))).execute(&store.writer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_database_refuses_to_change_or_delete_an_entry_or_to_put_one_in_its_place() {
        let (_dir, store, logged) = case().await;
        for refused in [
            "DELETE FROM audit WHERE id = 3",
            "UPDATE audit SET who = 'x' WHERE id = 1",
            "UPDATE audit SET block = 7 WHERE id = 1",
            "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 2",
            "INSERT INTO audit SELECT 9, at, who, act, subject, body, sha256, NULL FROM audit WHERE id = 3",
        ] {
            assert!(sqlx::query(refused).execute(&store.writer).await.is_err(), "{refused}");
        }
        assert_eq!(told(&store, &logged).await, [""; 0]);
    }

    #[tokio::test]
    async fn an_entry_that_is_said_to_stand_beyond_the_log_and_one_deleted_before_it_stood_there_are_named() {
        let (_dir, store, mut logged) = case().await;
        unguarded(&store).await;
        logged.remove(&3);
        sqlx::query("UPDATE audit SET block = 999999999 WHERE id = 3").execute(&store.writer).await.unwrap();
        assert_eq!(told(&store, &logged).await, ["audit entry 3: it should stand in block 999999999 of the log and does not"]);
        sqlx::query("DELETE FROM audit WHERE id = 3").execute(&store.writer).await.unwrap();
        assert_eq!(told(&store, &logged).await, ["audit entry 3: it was deleted from the database before it stood in the log"]);
    }

    async fn told(store: &Store, logged: &Logged) -> Vec<String> {
        let stored = store.stored_audit().await.unwrap();
        store.audit_findings(stored, logged, 3).await.unwrap().0.iter().map(ToString::to_string).collect()
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
            unguarded(&store).await;
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
        unguarded(&store).await;
        sqlx::query("UPDATE audit SET block = NULL WHERE id = 1").execute(&store.writer).await.unwrap();
        let stored = store.stored_audit().await.unwrap();
        let (findings, waiting) = store.audit_findings(stored, &logged, 3).await.unwrap();
        assert_eq!((findings.len(), waiting), (0, 1));
    }
}
