//! The register on disk: rows as JSON by list and key, and a revision that rises with every change.

use std::collections::BTreeMap;

use policy::columns;
use policy::register::{
    Carrier, DeclaredDevice, Enterprise, Gateway, IssuancePeriod, Line, Pilot, Product, Quota, Register, Supplier, Voucher,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sheets::{RegisterFault, RegisterFile};
use sqlx::{Row, SqliteConnection};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::audit::{Actor, AuditDraft, put_audit};
use crate::register_audit::RowActs;
use crate::register_import::{Changes, Correction, Draft, ENROLLED, Needed, RowMap, SoundDraft, TOKEN_SHA256};
use crate::sql::{Store, StoreError};

/// Rows in one statement.
const ROWS_AT_ONCE: usize = 4_000;
/// How often an import looks at the register before it holds the one writer while it does.
const TRIES: usize = 3;

/// What an import has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Rows.
    pub changed: usize,
    /// What is no fault, but worth a second look.
    pub warnings: Vec<RegisterFault>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the register has {} faults and was not changed", .0.len())]
    Faults(Vec<RegisterFault>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> ImportError {
        ImportError::Store(error.into())
    }
}

impl Store {
    /// Takes in register files whole, or says everything that is wrong with them; what was changed is written to the audit log.
    pub async fn import_register(
        &self,
        files: &[RegisterFile],
        rulebook_known: &(dyn Fn(&str) -> bool + Sync),
        actor: &Actor,
    ) -> Result<Imported, ImportError> {
        let mut tries = 0;
        loop {
            tries += 1;
            // Reading and checking keep no writer waiting, unless others change the register again and again meanwhile.
            let mut writing = if tries > TRIES { Some(self.writer.begin_with("BEGIN IMMEDIATE").await?) } else { None };
            let draft = apart(|| Draft::read(files, rulebook_known));
            let (revision, current) = match &mut writing {
                Some(writing) => read_needed(writing, &draft.needed()).await?,
                None => read_needed(&mut *self.readers.begin().await?, &draft.needed()).await?,
            };
            let SoundDraft { changes, warnings, corrections } = apart(|| draft.against(&current)).map_err(ImportError::Faults)?;
            let planned = apart(|| Planned::of(&changes, &current, &corrections))?;
            if planned.changed == 0 {
                return Ok(Imported { changed: 0, warnings });
            }
            let mut writing = match writing {
                Some(writing) => writing,
                None => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            };
            if revision_now(&mut writing).await? != revision {
                continue;
            }
            let changed = planned.changed;
            planned.write(&mut writing).await?;
            put_audit(&mut writing, actor, planned.acts).await?;
            revision_risen(&mut writing).await?;
            writing.commit().await?;
            return Ok(Imported { changed, warnings });
        }
    }

    pub async fn register_revision(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = 'register_revision'").fetch_one(&self.readers).await?)
    }

    /// The whole register with its revision.
    pub async fn load_register(&self) -> Result<(i64, Register), StoreError> {
        let mut reading = self.readers.begin().await?;
        let revision = revision_now(&mut reading).await?;
        let register = Register {
            enterprises: load(&mut reading, "enterprises", |row: &Enterprise| row.id.clone()).await?,
            suppliers: load(&mut reading, "suppliers", |row: &Supplier| row.id.clone()).await?,
            products: load(&mut reading, "products", |row: &Product| row.id.clone()).await?,
            periods: load(&mut reading, "periods", |row: &IssuancePeriod| row.id.clone()).await?,
            quotas: load(&mut reading, "quotas", |row: &Quota| (row.party.clone(), row.period.clone())).await?,
            pilots: load(&mut reading, "pilots", |row: &Pilot| row.id.clone()).await?,
            vouchers: load(&mut reading, "vouchers", |row: &Voucher| row.id.clone()).await?,
            devices: load(&mut reading, "devices", |row: &DeclaredDevice| (row.voucher.clone(), row.device.clone())).await?,
            gateways: load(&mut reading, "gateways", |row: &Gateway| row.id.clone()).await?,
            lines: load(&mut reading, "lines", |row: &Line| (row.enterprise.clone(), row.line.clone())).await?,
            carriers: load(&mut reading, "carriers", |row: &Carrier| row.id.clone()).await?,
            derived: None,
        };
        reading.rollback().await?;
        Ok((revision, register))
    }

    /// The rows of one list as they are stored; `None` if there is no such list. Secrets and their hashes are left out.
    pub async fn register_list(&self, list: &str) -> Result<Option<Vec<Value>>, StoreError> {
        if columns::list(list).is_none() {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT row FROM register_row WHERE list = ? ORDER BY key").bind(list).fetch_all(&self.readers).await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let mut row = read_row(row.try_get("row")?)?;
            row.remove(TOKEN_SHA256);
            row.remove(ENROLLED);
            list.push(Value::Object(row));
        }
        Ok(Some(list))
    }
}

/// What an import will write.
pub(crate) struct Planned {
    changed: usize,
    /// List, key and row as JSON texts, some thousands in each.
    put: Vec<String>,
    /// List and key.
    taken_away: Vec<String>,
    acts: Vec<AuditDraft>,
}

impl Planned {
    pub(crate) fn of(changes: &Changes, current: &RowMap, corrections: &BTreeMap<String, Correction>) -> Result<Planned, StoreError> {
        let (mut acts, mut put, mut taken_away) = (RowActs::new(corrections), Vec::new(), Vec::new());
        for (id, row) in changes {
            let (list, key) = id;
            let before = current.get(id);
            if before == row.as_ref() {
                continue;
            }
            acts.add(list, key, before, row.as_ref());
            match row {
                Some(row) => put.push((list, key, serde_json::to_string(row).map_err(|error| StoreError::stored("row", error))?)),
                None => taken_away.push((list, key)),
            }
        }
        let text = |rows: Result<String, serde_json::Error>| rows.map_err(|error| StoreError::stored("row", error));
        Ok(Planned {
            changed: put.len() + taken_away.len(),
            put: put.chunks(ROWS_AT_ONCE).map(|rows| text(serde_json::to_string(rows))).collect::<Result<_, _>>()?,
            taken_away: taken_away.chunks(ROWS_AT_ONCE).map(|rows| text(serde_json::to_string(rows))).collect::<Result<_, _>>()?,
            acts: acts.drafts().collect(),
        })
    }

    /// What stands in the entries of the audit log, for an entry of another act.
    pub(crate) fn into_changes(self) -> Vec<Value> {
        self.acts.into_iter().flat_map(|draft| draft.changes).collect()
    }

    pub(crate) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        for rows in &self.put {
            let put = "INSERT OR REPLACE INTO register_row (list, key, row) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)";
            sqlx::query(put).bind(rows).execute(&mut *connection).await?;
        }
        for rows in &self.taken_away {
            let take_away = "DELETE FROM register_row WHERE (list, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))";
            sqlx::query(take_away).bind(rows).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// With every change of rows, in its transaction: who keeps the register in memory looks again.
pub(crate) async fn revision_risen(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'register_revision'").execute(connection).await?;
    Ok(())
}

async fn revision_now(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = 'register_revision'").fetch_one(connection).await?)
}

/// The rows that are named, and every row of the lists that are named; in one transaction with their revision.
pub(crate) async fn read_needed(connection: &mut SqliteConnection, needed: &Needed) -> Result<(i64, RowMap), StoreError> {
    let (revision, mut map) = (revision_now(connection).await?, RowMap::new());
    for list in &needed.lists {
        take_rows(&mut map, list, pages(connection, list, true).await?)?;
    }
    let mut by_list: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for (list, key) in needed.rows.iter().filter(|(list, _)| !needed.lists.contains(list)) {
        by_list.entry(list).or_default().push(key);
    }
    for (list, keys) in by_list {
        for some in keys.chunks(ROWS_AT_ONCE) {
            let asked = serde_json::to_string(some).map_err(|error| StoreError::stored("keys", error))?;
            let page: Option<String> = sqlx::query_scalar(
                "SELECT group_concat(json_quote(register_row.key) || ',' || row) FROM json_each(?) AS asked
                 CROSS JOIN register_row ON list = ? AND register_row.key = asked.value",
            )
            .bind(asked)
            .bind(list)
            .fetch_one(&mut *connection)
            .await?;
            take_rows(&mut map, list, page)?;
        }
    }
    Ok((revision, map))
}

/// A list's rows, some thousands at once, each page as what stands between the brackets of a JSON list: one text costs a small part of so
/// many rows of the database. `keyed`: each row after its key.
async fn pages(connection: &mut SqliteConnection, list: &str, keyed: bool) -> Result<Vec<String>, StoreError> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let row = sqlx::query(
            "SELECT group_concat(CASE WHEN ? THEN json_quote(key) || ',' || row ELSE row END) AS page, max(key) AS last
             FROM (SELECT key, row FROM register_row WHERE list = ? AND key > ? ORDER BY key LIMIT ?)",
        )
        .bind(keyed)
        .bind(list)
        .bind(&after)
        .bind(ROWS_AT_ONCE as i64)
        .fetch_one(&mut *connection)
        .await?;
        let (Some(page), Some(last)) = (row.try_get("page")?, row.try_get("last")?) else { return Ok(pages) };
        pages.push(page);
        after = last;
    }
}

/// Takes in pages of keyed rows.
fn take_rows(map: &mut RowMap, list: &'static str, pages: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
    for page in pages {
        let mut keyed = read_page::<Value>(&page)?.into_iter();
        while let (Some(Value::String(key)), Some(Value::Object(row))) = (keyed.next(), keyed.next()) {
            map.insert((list, key), row);
        }
    }
    Ok(())
}

fn read_page<T: DeserializeOwned>(page: &str) -> Result<Vec<T>, StoreError> {
    apart(|| serde_json::from_str(&format!("[{page}]"))).map_err(|error| StoreError::stored("register row", error))
}

fn read_row(text: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::stored("register row", error))
}

async fn load<K: Ord, T: DeserializeOwned>(
    connection: &mut SqliteConnection,
    list: &str,
    key: impl Fn(&T) -> K,
) -> Result<BTreeMap<K, T>, StoreError> {
    let mut rows = Vec::new();
    for page in pages(connection, list, false).await? {
        rows.extend(read_page(&page)?);
    }
    Ok(apart(|| rows.into_iter().map(|row| (key(&row), row)).collect()))
}

/// Runs what takes long beside the other tasks of this thread.
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
