//! Outcomes of spot checks: append-only; a correction is a row of its own that names the one whose place it takes. And which lists were
//! drawn, in the audit log.

use policy::calendar::{Day, read_day};
use policy::credit::OutcomeRow;
use policy::reasons::SpotOutcome;
use policy::spot_check::SpotCheckList;
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::audit::{Act, Actor, AuditDraft, put_audit};
use crate::results::instant;
use crate::sql::{Store, StoreError};

/// An outcome that is to be recorded, checked as far as it can be without the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOutcome {
    pub voucher: String,
    /// Of the voucher's product now; a correction is laid to whom the row that it corrects was.
    pub supplier: String,
    pub outcome: SpotOutcome,
    pub note: String,
    pub on: Day,
    pub corrects: Option<i64>,
}

/// Why a correction cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorrectionFault {
    #[error("the voucher has no outcome of this number")]
    Unknown,
    #[error("another outcome corrects it already: correct that one")]
    Corrected,
}

const COLUMNS: &str = "number, voucher, supplier, outcome, note, checked_on, corrects, recorded_at, recorded_by";

impl Store {
    /// Adds an outcome, durably, with its entry in the audit log.
    pub async fn add_outcome(&self, new: &NewOutcome, actor: &Actor) -> Result<Result<OutcomeRow, CorrectionFault>, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut supplier = new.supplier.clone();
        if let Some(corrects) = new.corrects {
            let known = "SELECT supplier FROM spot_check_outcome WHERE number = ? AND voucher = ?";
            let known = sqlx::query(known).bind(corrects).bind(&new.voucher).fetch_optional(&mut *transaction).await?;
            let Some(known) = known else { return Ok(Err(CorrectionFault::Unknown)) };
            supplier = known.try_get("supplier")?;
            let corrected = sqlx::query("SELECT 1 FROM spot_check_outcome WHERE corrects = ?").bind(corrects);
            if corrected.fetch_optional(&mut *transaction).await?.is_some() {
                return Ok(Err(CorrectionFault::Corrected));
            }
        }
        let sql = format!(
            "INSERT INTO spot_check_outcome (voucher, supplier, outcome, note, checked_on, corrects, recorded_at, recorded_by)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&new.voucher)
            .bind(&supplier)
            .bind(new.outcome.code())
            .bind(&new.note)
            .bind(new.on.to_string())
            .bind(new.corrects)
            .bind(actor.at.timestamp_micros())
            .bind(&actor.who)
            .fetch_one(&mut *transaction)
            .await?;
        let added = outcome(&row)?;
        let detail = json!({
            "number": added.number, "outcome": added.outcome, "note": added.note, "on": added.on, "corrects": added.corrects,
            "supplier": added.supplier,
        });
        let draft = AuditDraft::of(Act::SpotCheckRecorded, format!("vouchers/{}", new.voucher), detail);
        put_audit(&mut transaction, actor, [draft]).await?;
        transaction.commit().await?;
        Ok(Ok(added))
    }

    /// Writes down, durably and once, that a list was drawn, so that no seeds can be tried unseen until a list suits.
    pub async fn record_draw(&self, list: &SpotCheckList, actor: &Actor) -> Result<(), StoreError> {
        let subject = list.period.as_ref().map_or_else(|| "spot-checks/all".to_string(), |period| format!("spot-checks/period/{period}"));
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query(
            "SELECT 1 FROM audit WHERE subject = ?1 AND act = ?2 AND json_extract(CAST(body AS TEXT), '$.detail.seed') = ?3
             AND json_extract(CAST(body AS TEXT), '$.detail.count') = ?4
             AND json_extract(CAST(body AS TEXT), '$.detail.candidates_hash') = ?5",
        );
        let known = known.bind(&subject).bind(Act::SpotCheckDrawn.as_str()).bind(&list.seed).bind(list.count.cast_signed());
        if known.bind(&list.candidates_hash).fetch_optional(&mut *transaction).await?.is_some() {
            return Ok(());
        }
        let drawn: Vec<&str> = list.places.iter().map(|place| place.candidate.voucher.as_str()).collect();
        let detail = json!({
            "seed": list.seed, "period": list.period, "count": list.count, "candidates_hash": list.candidates_hash, "vouchers": drawn,
        });
        put_audit(&mut transaction, actor, [AuditDraft::of(Act::SpotCheckDrawn, subject, detail)]).await?;
        Ok(transaction.commit().await?)
    }

    /// All outcomes, in order of their numbers; of one voucher if it is named.
    pub async fn outcomes(&self, voucher: Option<&str>) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM spot_check_outcome WHERE ?1 IS NULL OR voucher = ?1 ORDER BY number");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(voucher).fetch_all(&self.readers).await?.iter().map(outcome).collect()
    }
}

fn outcome(row: &SqliteRow) -> Result<OutcomeRow, StoreError> {
    let (code, on): (String, String) = (row.try_get("outcome")?, row.try_get("checked_on")?);
    let known = SpotOutcome::ALL.iter().find(|outcome| outcome.code() == code);
    Ok(OutcomeRow {
        number: row.try_get("number")?,
        voucher: row.try_get("voucher")?,
        supplier: row.try_get("supplier")?,
        outcome: *known.ok_or_else(|| StoreError::stored("outcome", code))?,
        note: row.try_get("note")?,
        on: read_day(&on).ok_or_else(|| StoreError::stored("day", on))?,
        corrects: row.try_get("corrects")?,
        recorded_at: instant(row.try_get("recorded_at")?)?,
        recorded_by: row.try_get("recorded_by")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn new(voucher: &str, corrects: Option<i64>) -> NewOutcome {
        NewOutcome {
            voucher: voucher.to_string(),
            supplier: "S-1".to_string(),
            outcome: SpotOutcome::Fraud,
            note: "现场无此设备".to_string(),
            on: Day::default(),
            corrects,
        }
    }

    fn actor() -> Actor {
        Actor::new("key:admin:省厅", DateTime::from_timestamp(1_572_900_000, 0).unwrap())
    }

    #[tokio::test]
    async fn an_outcome_is_corrected_once_by_one_of_the_same_voucher() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let first = store.add_outcome(&new("V-1", None), &actor()).await.unwrap().unwrap();
        assert_eq!(store.add_outcome(&new("V-2", Some(first.number)), &actor()).await.unwrap(), Err(CorrectionFault::Unknown));
        assert_eq!(store.add_outcome(&new("V-1", Some(first.number + 1)), &actor()).await.unwrap(), Err(CorrectionFault::Unknown));
        let of_new_supplier = NewOutcome { supplier: "S-2".to_string(), ..new("V-1", Some(first.number)) };
        let second = store.add_outcome(&of_new_supplier, &actor()).await.unwrap().unwrap();
        assert_eq!(second.supplier, "S-1", "as the outcome that it corrects");
        assert_eq!(store.add_outcome(&new("V-1", Some(first.number)), &actor()).await.unwrap(), Err(CorrectionFault::Corrected));
        assert_eq!(store.outcomes(None).await.unwrap(), [first, second.clone()]);
        assert_eq!(store.outcomes(Some("V-2")).await.unwrap(), []);
        assert_eq!(second.note, "现场无此设备");
        let (acts, _) = store.audit_entries(0, Some("vouchers/V-1")).await.unwrap();
        assert_eq!(acts.len(), 2, "an act for each outcome that was added, and for no other");
    }

    #[tokio::test]
    async fn a_list_is_written_down_once_and_another_seed_or_period_or_count_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let list = |seed: &str, period: Option<&str>, count| policy::spot_check::select(seed, period, count, 0.into(), Vec::new());
        for list in [list("s", None, 1), list("s", None, 1), list("t", None, 1), list("s", Some("2019"), 1), list("s", Some("2019"), 2)] {
            store.record_draw(&list, &actor()).await.unwrap();
        }
        let drawn = |entries: Vec<crate::audit::AuditEntry>| {
            entries.iter().map(|entry| (entry.entry["detail"]["seed"].clone(), entry.entry["detail"]["count"].clone())).collect::<Vec<_>>()
        };
        let (all, _) = store.audit_entries(0, Some("spot-checks/all")).await.unwrap();
        assert_eq!(drawn(all), [(json!("s"), json!(1)), (json!("t"), json!(1))]);
        let (of_period, _) = store.audit_entries(0, Some("spot-checks/period/2019")).await.unwrap();
        assert_eq!(drawn(of_period), [(json!("s"), json!(1)), (json!("s"), json!(2))]);
    }

    #[tokio::test]
    async fn the_database_itself_refuses_to_change_replace_or_delete_an_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        store.add_outcome(&new("V-1", None), &actor()).await.unwrap().unwrap();
        store.add_outcome(&new("V-1", Some(1)), &actor()).await.unwrap().unwrap();
        let before = store.outcomes(None).await.unwrap();
        for statement in [
            "UPDATE spot_check_outcome SET outcome = 'confirmed'",
            "DELETE FROM spot_check_outcome",
            "INSERT OR REPLACE INTO spot_check_outcome VALUES (1, 'V-1', 'S-1', 'confirmed', '', '2019-11-05', NULL, 0, '')",
            "INSERT OR REPLACE INTO spot_check_outcome VALUES (9, 'V-1', 'S-1', 'confirmed', '', '2019-11-05', 1, 0, '')",
        ] {
            let error = sqlx::query(statement).execute(&store.writer).await.unwrap_err().to_string();
            assert!(error.contains("an outcome"), "{statement}: {error}");
        }
        assert_eq!(store.outcomes(None).await.unwrap(), before);
    }
}
