//! The register on disk: rows as JSON by list and key, and a revision that rises with every change.

use std::collections::BTreeMap;

use policy::columns::{self, LISTS};
use policy::register::{Enterprise, Gateway, Register};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sheets::{RegisterFault, RegisterFile};
use sqlx::{Row, SqliteConnection};

use crate::audit::{Actor, put_audit};
use crate::register_audit::RowActs;
use crate::register_import::{Draft, Needed, RowMap, SoundDraft};
use crate::sql::{Store, StoreError};

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
        let draft = Draft::read(files, rulebook_known);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let current = read_needed(&mut transaction, &draft.needed()).await?;
        let SoundDraft { changes, warnings, corrections } = draft.against(&current).map_err(ImportError::Faults)?;
        let mut changed = 0;
        let mut acts = RowActs::new(&corrections);
        for ((list, key), row) in &changes {
            let before = current.get(&(*list, key.clone()));
            if before == row.as_ref() {
                continue;
            }
            changed += 1;
            acts.add(list, key, before, row.as_ref());
            match row {
                Some(row) => {
                    let row = serde_json::to_string(row).map_err(|error| StoreError::stored("row", error))?;
                    sqlx::query("INSERT OR REPLACE INTO register_row (list, key, row) VALUES (?, ?, ?)").bind(*list).bind(key).bind(row)
                }
                None => sqlx::query("DELETE FROM register_row WHERE list = ? AND key = ?").bind(*list).bind(key),
            }
            .execute(&mut *transaction)
            .await?;
        }
        if changed > 0 {
            put_audit(&mut transaction, actor, acts.drafts()).await?;
            sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'register_revision'").execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Imported { changed, warnings })
    }

    pub async fn register_revision(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = 'register_revision'").fetch_one(&self.readers).await?)
    }

    /// The whole register with its revision.
    pub async fn load_register(&self) -> Result<(i64, Register), StoreError> {
        let mut transaction = self.readers.begin().await?;
        let revision = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'register_revision'").fetch_one(&mut *transaction).await?;
        let rows = read_rows(&mut transaction).await?;
        transaction.rollback().await?;
        Ok((revision, typed(rows)?))
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
            row.remove("token_sha256");
            list.push(Value::Object(row));
        }
        Ok(Some(list))
    }
}

/// The rows that are named, and every row of the lists that are named.
async fn read_needed(connection: &mut SqliteConnection, needed: &Needed) -> Result<RowMap, StoreError> {
    let mut map = RowMap::new();
    for list in &needed.lists {
        let rows = sqlx::query("SELECT key, row FROM register_row WHERE list = ?").bind(*list).fetch_all(&mut *connection).await?;
        for row in rows {
            map.insert((*list, row.try_get("key")?), read_row(row.try_get("row")?)?);
        }
    }
    for (list, key) in needed.rows.iter().filter(|(list, _)| !needed.lists.contains(list)) {
        let row = sqlx::query("SELECT row FROM register_row WHERE list = ? AND key = ?").bind(*list).bind(key);
        if let Some(row) = row.fetch_optional(&mut *connection).await? {
            map.insert((*list, key.clone()), read_row(row.try_get("row")?)?);
        }
    }
    Ok(map)
}

async fn read_rows(connection: &mut SqliteConnection) -> Result<RowMap, StoreError> {
    let rows = sqlx::query("SELECT list, key, row FROM register_row").fetch_all(connection).await?;
    let mut map = RowMap::new();
    for row in rows {
        let list: String = row.try_get("list")?;
        let list = columns::list(&list).ok_or_else(|| StoreError::stored("register list", list))?;
        map.insert((list.name, row.try_get("key")?), read_row(row.try_get("row")?)?);
    }
    Ok(map)
}

fn read_row(text: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::stored("register row", error))
}

fn typed(rows: RowMap) -> Result<Register, StoreError> {
    let mut lists: BTreeMap<&str, Vec<Map<String, Value>>> = LISTS.iter().map(|list| (list.name, Vec::new())).collect();
    for ((list, _), row) in rows {
        lists.entry(list).or_default().push(row);
    }
    let mut register = Register::default();
    let mut take = |name: &str| lists.remove(name).unwrap_or_default();
    register.enterprises = by(take("enterprises"), |row: &Enterprise| row.id.clone())?;
    register.suppliers = by(take("suppliers"), |row: &policy::register::Supplier| row.id.clone())?;
    register.products = by(take("products"), |row: &policy::register::Product| row.id.clone())?;
    register.periods = by(take("periods"), |row: &policy::register::IssuancePeriod| row.id.clone())?;
    register.quotas = by(take("quotas"), |row: &policy::register::Quota| (row.party.clone(), row.period.clone()))?;
    register.pilots = by(take("pilots"), |row: &policy::register::Pilot| row.id.clone())?;
    register.vouchers = by(take("vouchers"), |row: &policy::register::Voucher| row.id.clone())?;
    register.devices = by(take("devices"), |row: &policy::register::DeclaredDevice| (row.voucher.clone(), row.device.clone()))?;
    register.gateways = by(take("gateways"), |row: &Gateway| row.id.clone())?;
    register.lines = by(take("lines"), |row: &policy::register::Line| (row.enterprise.clone(), row.line.clone()))?;
    register.carriers = by(take("carriers"), |row: &policy::register::Carrier| row.id.clone())?;
    Ok(register)
}

fn by<K: Ord, T: DeserializeOwned>(rows: Vec<Map<String, Value>>, key: impl Fn(&T) -> K) -> Result<BTreeMap<K, T>, StoreError> {
    let mut map = BTreeMap::new();
    for row in rows {
        let row: T = serde_json::from_value(Value::Object(row)).map_err(|error| StoreError::stored("register row", error))?;
        map.insert(key(&row), row);
    }
    Ok(map)
}
