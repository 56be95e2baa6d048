//! What makes a stored result provable: it is signed when it is stored, by the key of that time, and its signature covers a chain over
//! all results before it, so that none can be changed, removed or moved unseen.
//!
//! The chain begins with 32 zero bytes; the next link is SHA-256 over the link before, the result's position (u64, little-endian),
//! SHA-256 of its JSON and SHA-256 of what the page shows beside it.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::heads::SignedHead;
use crate::kept::Kept;
use crate::merkle::Hash;
use crate::public_keys::{JwsError, PublicKeys};
use crate::results::{ROWS_TOGETHER, StoredResult};
use crate::signing::{ServiceKeys, with_payload};
use crate::sql::{Store, StoreError};

/// What a judgement rested on beside the evidence log.
#[derive(Clone, Debug)]
pub struct ResultGrounds {
    /// As of when it was asked for.
    pub as_of: DateTime<Utc>,
    /// Under which hash the facts about refused messages are kept.
    pub refusals: String,
    pub kept: Vec<Kept>,
}

/// How far the results have come: the position of the newest, and the chain up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultsEnd {
    pub position: u64,
    pub chain: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultFinding {
    #[error("results: positions {first} to {last} are missing: results were deleted")]
    Missing { first: i64, last: i64 },
    #[error("result {sequence} of voucher {voucher} (position {position}) {what}")]
    Changed { voucher: String, sequence: i64, position: i64, what: String },
    #[error("the head signed at {at} says {position} results, there are {found}: the last ones were deleted")]
    Cut { at: String, position: u64, found: u64 },
    #[error("the head signed at {at} stands on other results than the first {position} of now: one was changed, removed or moved")]
    Other { at: String, position: u64 },
}

impl ResultsEnd {
    #[must_use]
    pub fn followed_by(&self, position: i64, body: &str, explanation: &str) -> ResultsEnd {
        let position = position.unsigned_abs();
        let chain = Sha256::new()
            .chain_update(self.chain)
            .chain_update(position.to_le_bytes())
            .chain_update(Sha256::digest(body))
            .chain_update(Sha256::digest(explanation));
        ResultsEnd { position, chain: chain.finalize().into() }
    }
}

/// What is stored beside a result.
pub(crate) struct Seal {
    position: i64,
    chain: Hash,
    /// Detached.
    jws: String,
}

impl Seal {
    /// Signs a result. `end`: where the results end with it.
    pub(crate) fn of(keys: &ServiceKeys, end: ResultsEnd, result: &StoredResult, grounds: &ResultGrounds) -> Seal {
        let mut header = Map::new();
        header.insert("as_of".into(), json!(grounds.as_of.to_rfc3339_opts(SecondsFormat::Micros, true)));
        header.insert("chain".into(), shown_chain(end.chain));
        header.insert("position".into(), json!(result.position));
        header.insert("refusals".into(), json!(grounds.refusals));
        Seal { position: result.position, chain: end.chain, jws: keys.sign_detached(result.body.as_bytes(), header) }
    }
}

/// In the transaction that stores their results.
pub(crate) async fn insert_seals(connection: &mut SqliteConnection, seals: &[Seal]) -> Result<(), StoreError> {
    for some in seals.chunks(ROWS_TOGETHER) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO result_seal (position, chain, jws) ");
        insert.push_values(some, |mut row, seal| {
            row.push_bind(seal.position).push_bind(&seal.chain[..]).push_bind(&seal.jws);
        });
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Where the results end before this position. Results of an earlier version have no link of their own: theirs are reckoned.
pub(crate) async fn end_before(connection: &mut SqliteConnection, position: i64) -> Result<ResultsEnd, StoreError> {
    let newest = sqlx::query("SELECT position, chain FROM result_seal WHERE position < ? ORDER BY position DESC LIMIT 1")
        .bind(position)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = newest {
        return Ok(ResultsEnd { position: row.try_get::<i64, _>("position")?.unsigned_abs(), chain: link(&row)? });
    }
    let rows = sqlx::query("SELECT position, body, explanation FROM result WHERE position < ? ORDER BY position").bind(position);
    let mut end = ResultsEnd::default();
    for row in rows.fetch_all(connection).await? {
        end = end.followed_by(row.try_get("position")?, row.try_get("body")?, row.try_get("explanation")?);
    }
    Ok(end)
}

/// As it stands in the header of a signature.
fn shown_chain(chain: Hash) -> Value {
    json!(format!("sha256:{}", hex::encode(chain)))
}

fn link(row: &SqliteRow) -> Result<Hash, StoreError> {
    let chain: Vec<u8> = row.try_get("chain")?;
    chain.try_into().map_err(|_| StoreError::stored("result", "its link of the chain is not 32 bytes"))
}

impl Store {
    /// Where the results end now.
    pub async fn results_end(&self) -> Result<ResultsEnd, StoreError> {
        end_before(&mut *self.readers.acquire().await?, i64::MAX).await
    }

    /// The compact JWS over exactly the bytes of a result: signed when it was stored. One of an earlier version is signed now, if it is
    /// still what was first signed after it says; one that has lost its signature never is.
    pub async fn result_jws(&self, result: &StoredResult) -> Result<String, StoreError> {
        let detached: Option<String> = sqlx::query_scalar("SELECT jws FROM result_seal WHERE position = ?")
            .bind(result.position)
            .fetch_optional(&self.readers)
            .await?;
        let payload = result.body.as_bytes();
        match detached {
            Some(detached) => with_payload(&detached, payload).ok_or_else(|| StoreError::stored("result", "its signature cannot be read")),
            None if self.stood_before_signing(result).await? => Ok(self.keys().jws(payload)),
            None => Err(StoreError::Unsealed { voucher: result.voucher.clone(), sequence: result.sequence }),
        }
    }

    /// Whether a result is one from before results were signed, unchanged: the chain of the first signed result covers all before it, and
    /// where there is none, that of the newest signed head.
    async fn stood_before_signing(&self, result: &StoredResult) -> Result<bool, StoreError> {
        let keys = self.keys().public();
        let head = self.newest_head().await?.map(|note| SignedHead::read(&note, &keys));
        let head = head.transpose().map_err(|error| StoreError::stored("head", error))?;
        let mut connection = self.readers.acquire().await?;
        let first = sqlx::query(
            "SELECT position, body, explanation, jws FROM result JOIN result_seal USING (position)
             WHERE position = (SELECT min(position) FROM result_seal)",
        );
        if let Some(row) = first.fetch_optional(&mut *connection).await? {
            let (position, body, jws): (i64, &str, &str) = (row.try_get("position")?, row.try_get("body")?, row.try_get("jws")?);
            let end = end_before(&mut connection, position).await?.followed_by(position, body, row.try_get("explanation")?);
            let signed = with_payload(jws, body.as_bytes()).and_then(|jws| keys.verify_jws(&jws).ok());
            return Ok(result.position < position && signed.is_some_and(|jws| jws.header.get("chain") == Some(&shown_chain(end.chain))));
        }
        match head.and_then(|head| head.results) {
            Some(signed) => {
                let end = end_before(&mut connection, signed.position.cast_signed() + 1).await?;
                Ok(result.position <= signed.position.cast_signed() && end == signed)
            }
            // Nothing was signed since.
            None => Ok(true),
        }
    }

    /// Holds every stored result against its signature, the chain, and what signed heads say of the results.
    pub async fn verify_results(&self, heads: &[SignedHead], keys: &PublicKeys) -> Result<(u64, Vec<ResultFinding>), StoreError> {
        let mut walk = Walk { keys, end: ResultsEnd::default(), sequences: HashMap::new(), sealed: false, findings: Vec::new() };
        let mut links = HashMap::from([(0, Hash::default())]);
        let (mut count, mut after) = (0, 0i64);
        loop {
            let rows = sqlx::query(
                "SELECT result.position, voucher, sequence, verdict, body, explanation, chain, jws
                 FROM result LEFT JOIN result_seal USING (position) WHERE result.position > ? ORDER BY result.position LIMIT 1000",
            )
            .bind(after)
            .fetch_all(&self.readers)
            .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get("position")?;
            count += rows.len() as u64;
            for row in &rows {
                walk.take(row)?;
                links.insert(walk.end.position, walk.end.chain);
            }
        }
        let used: i64 = sqlx::query_scalar("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'result'), 0)")
            .fetch_one(&self.readers)
            .await?;
        let found = walk.end.position;
        if used.unsigned_abs() > found {
            walk.findings.push(ResultFinding::Missing { first: found.cast_signed() + 1, last: used });
        }
        for head in heads {
            let Some(results) = head.results else { continue };
            let at = head.at.to_rfc3339();
            if results.position > found {
                walk.findings.push(ResultFinding::Cut { at, position: results.position, found });
            } else if links.get(&results.position) != Some(&results.chain) {
                walk.findings.push(ResultFinding::Other { at, position: results.position });
            }
        }
        Ok((count, walk.findings))
    }
}

/// Goes through all results in their order.
struct Walk<'k> {
    keys: &'k PublicKeys,
    end: ResultsEnd,
    /// By voucher, its last number.
    sequences: HashMap<String, i64>,
    /// Whether a result with a signature has come.
    sealed: bool,
    findings: Vec<ResultFinding>,
}

impl Walk<'_> {
    fn take(&mut self, row: &SqliteRow) -> Result<(), StoreError> {
        let (position, sequence): (i64, i64) = (row.try_get("position")?, row.try_get("sequence")?);
        let (voucher, body): (String, String) = (row.try_get("voucher")?, row.try_get("body")?);
        let next = self.end.position.cast_signed() + 1;
        if position > next {
            self.findings.push(ResultFinding::Missing { first: next, last: position - 1 });
        }
        let wrong = self.wrong(row, position, sequence, &voucher, &body)?;
        self.sequences.insert(voucher.clone(), sequence);
        if let Some(what) = wrong {
            self.findings.push(ResultFinding::Changed { voucher, sequence, position, what });
        }
        Ok(())
    }

    /// What is wrong with a result. The chain then goes on from the link that was stored with it: what follows is judged by itself.
    fn wrong(&mut self, row: &SqliteRow, position: i64, sequence: i64, voucher: &str, body: &str) -> Result<Option<String>, StoreError> {
        let reckoned = self.end.followed_by(position, body, row.try_get("explanation")?);
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        let verdict: String = row.try_get("verdict")?;
        let row_fits = said["voucher"] == voucher && said["sequence"] == sequence && said["verdict"] == verdict;
        let follows = self.sequences.get(voucher).map_or(1, |last| last + 1) == sequence;
        self.end = reckoned;
        let jws: Option<String> = row.try_get("jws")?;
        let Some(jws) = jws else {
            return Ok(self
                .sealed
                .then(|| "has lost its signature".to_string())
                .or_else(|| (!row_fits).then(|| "was changed".to_string())));
        };
        self.sealed = true;
        let stored = link(row)?;
        self.end.chain = stored;
        let verified = with_payload(&jws, body.as_bytes()).ok_or(JwsError::Form).and_then(|jws| self.keys.verify_jws(&jws));
        Ok(match verified {
            Err(error) => Some(format!("was changed, or its signature was: {error}")),
            Ok(_) if !row_fits => Some("stands under another voucher, number or verdict than it says".into()),
            Ok(_) if !follows => Some("does not follow the one before of its voucher".into()),
            Ok(jws) if jws.header.get("position") != Some(&json!(position)) => Some("was moved".into()),
            Ok(jws) if jws.header.get("chain") != Some(&shown_chain(stored)) => {
                Some("has a link of the chain that it was not signed with".into())
            }
            Ok(_) if reckoned.chain != stored => {
                Some("does not follow what stands before it: that, or what its page shows, was changed".into())
            }
            Ok(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogPosition;
    use crate::results::NewResult;
    use sqlx::Executor;

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_572_900_000 + s, 0).unwrap()
    }

    fn new(voucher: &str, sequence: i64) -> NewResult {
        let body = json!({"voucher": voucher, "sequence": sequence, "verdict": "met"}).to_string();
        let grounds = ResultGrounds { as_of: at(1), refusals: "sha256:00".into(), kept: Vec::new() };
        let (voucher, verdict, explanation) = (voucher.to_string(), "met".to_string(), "{}".to_string());
        NewResult { voucher, sequence, verdict, judged_at: at(2), body, explanation, grounds }
    }

    /// Seven results of two vouchers, and a head after the fourth and the last.
    async fn case(dir: &std::path::Path) -> (Store, Vec<SignedHead>) {
        let store = Store::open(dir).await.unwrap();
        let mut heads = Vec::new();
        for some in [vec![new("A", 1), new("B", 1), new("A", 2), new("A", 3)], vec![new("B", 2), new("A", 4), new("B", 3)]] {
            assert!(store.add_results(some).await.unwrap().iter().all(Option::is_some));
            let end = store.results_end().await.unwrap();
            heads.push(SignedHead::sign(&LogPosition::default(), end, at(3), store.keys()));
        }
        (store, heads)
    }

    async fn findings(store: &Store, heads: &[SignedHead]) -> Vec<ResultFinding> {
        store.verify_results(heads, &store.keys().public()).await.unwrap().1
    }

    /// Somebody who can write to the database may also remove what guards it.
    async fn tamper(store: &Store, statement: impl sqlx::SqlSafeStr) {
        for trigger in ["result_unchanged", "result_kept", "result_follows"] {
            store.writer.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TRIGGER IF EXISTS {trigger}")))).await.unwrap();
        }
        store.writer.execute(sqlx::raw_sql(statement)).await.unwrap();
    }

    #[tokio::test]
    async fn untouched_results_have_no_findings_and_their_signature_is_over_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (store, heads) = case(dir.path()).await;
        assert_eq!(findings(&store, &heads).await, []);
        let result = store.newest_result("A").await.unwrap().unwrap();
        ServiceKeys::rotate(dir.path(), at(5)).unwrap();
        let jws = store.result_jws(&result).await.unwrap();
        let verified = store.keys().public().verify_jws(&jws).unwrap();
        assert_eq!((verified.payload, &verified.header["position"]), (result.body.into_bytes(), &json!(6)));
        assert_eq!(verified.key.signed_until, Some(at(5)), "by the key of the time when it was stored");
        assert_eq!(store.result_jws(&store.newest_result("A").await.unwrap().unwrap()).await.unwrap(), jws);
        assert_eq!(findings(&store, &heads).await, [], "also after a rotation");
    }

    #[tokio::test]
    async fn a_changed_deleted_moved_or_swapped_result_is_named() {
        let changes = [
            ("UPDATE result SET body = replace(body, 'met', 'not_met') WHERE position = 3", "position 3"),
            ("UPDATE result SET verdict = 'not_met' WHERE position = 3", "position 3"),
            ("UPDATE result SET explanation = '{\"a\":1}' WHERE position = 3", "position 3"),
            ("UPDATE result SET voucher = 'C' WHERE position = 3", "position 3"),
            ("DELETE FROM result WHERE position = 3", "positions 3 to 3 are missing"),
            ("DELETE FROM result WHERE position >= 6", "positions 6 to 7 are missing"),
            ("DELETE FROM result WHERE position >= 6; UPDATE sqlite_sequence SET seq = 5", "says 7 results, there are 5"),
            ("DELETE FROM result", "positions 1 to 7 are missing"),
            (
                "UPDATE result SET position = -1 WHERE position = 3; UPDATE result SET position = 3 WHERE position = 4; UPDATE result SET position = 4 WHERE position = -1",
                "position 3",
            ),
            ("DELETE FROM result_seal WHERE position = 3", "has lost its signature"),
            (
                "DELETE FROM result_seal; UPDATE result SET body = replace(body, 'B', 'C'), voucher = 'C' WHERE voucher = 'B'",
                "stands on other results",
            ),
            (
                "DELETE FROM result WHERE position = 4; UPDATE result SET position = position - 1 WHERE position > 4; DELETE FROM result_seal WHERE position = 4; UPDATE result_seal SET position = position - 1 WHERE position > 4; UPDATE sqlite_sequence SET seq = 6",
                "position 4",
            ),
        ];
        for (statement, named) in changes {
            let dir = tempfile::tempdir().unwrap();
            let (store, heads) = case(dir.path()).await;
            tamper(&store, statement).await;
            let told: Vec<String> = findings(&store, &heads).await.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|finding| finding.contains(named)), "{statement}: {told:?}");
        }
    }

    #[tokio::test]
    async fn results_of_an_earlier_version_are_in_the_chain_and_signed_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = case(dir.path()).await;
        tamper(&store, "DELETE FROM result_seal").await;
        let result = store.newest_result("A").await.unwrap().unwrap();
        let jws = store.result_jws(&result).await.unwrap();
        assert_eq!(store.keys().public().verify_jws(&jws).unwrap().payload, result.body.as_bytes());
        store.add_results(vec![new("A", 5)]).await.unwrap();
        assert_eq!(store.result_jws(&result).await.unwrap(), jws, "the chain of the first signed result covers it");
        assert_eq!(findings(&store, &[]).await, []);
        tamper(&store, "UPDATE result SET explanation = '[]' WHERE position = 2").await;
        assert_eq!(findings(&store, &[]).await.len(), 1);
    }

    #[tokio::test]
    async fn a_result_that_has_lost_its_signature_gets_no_other() {
        let edit = "UPDATE result SET body = replace(body, 'met', 'not_met') WHERE position = 6";
        let older = "DELETE FROM result_seal WHERE position <= 6";
        // What is done, and whether a head of all seven results is at hand.
        let cases = [
            ("DELETE FROM result_seal WHERE position = 6".to_string(), false),
            (format!("{older}; {edit}"), false),
            ("DELETE FROM result_seal WHERE position >= 6".to_string(), false),
            (format!("DELETE FROM result_seal; {edit}"), true),
            (format!("{older}; UPDATE result_seal SET jws = replace(jws, '..', 'A..')"), false),
        ];
        for (done, head) in cases {
            let dir = tempfile::tempdir().unwrap();
            let (store, heads) = case(dir.path()).await;
            if head {
                store.put_head(&heads[1]).await.unwrap();
            }
            tamper(&store, sqlx::AssertSqlSafe(done.clone())).await;
            let result = store.result("A", 4).await.unwrap().unwrap();
            let refused = store.result_jws(&result).await;
            assert!(matches!(&refused, Err(StoreError::Unsealed { sequence: 4, .. })), "{done}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn what_a_head_of_an_earlier_versions_results_covers_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, heads) = case(dir.path()).await;
        store.put_head(&heads[0]).await.unwrap();
        tamper(&store, "DELETE FROM result_seal").await;
        assert!(store.result_jws(&store.result("A", 3).await.unwrap().unwrap()).await.is_ok());
        let behind = store.result_jws(&store.result("A", 4).await.unwrap().unwrap()).await;
        assert!(matches!(behind, Err(StoreError::Unsealed { .. })), "stored after the head, so it was signed");
    }
}
