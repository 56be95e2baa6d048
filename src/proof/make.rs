//! Makes the evidence pack of one result.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use ingest::concerns;
use policy::calendar::day_start;
use policy::canonical::bytes_of;
use policy::register::Register;
use policy::result::MonitoringResult;
use policy::slice::read_register_slice;
use serde_json::Value;
use store::{Hash, LogError, OsDisk, SignedHead, Store, StoreError, StoredResult, scan_tree};

use crate::archive::push;
use crate::evidence::{Carried, write};
use crate::seal::seal;
use crate::tree::{Leaf, Proof};
use crate::verify::verify_file;

pub(crate) const README: &str = include_str!("readme.txt");

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("this result is of an earlier version, which kept not all that it rests on: judge the voucher again")]
    Earlier,
    #[error("{0} is not kept any more")]
    NotKept(String),
    #[error("blocks of the evidence log from {0} on are damaged: restore the log from a backup (shangyun log verify names them)")]
    Damaged(u64),
    #[error("the evidence log gives another root than the result has: shangyun log verify says where it was changed")]
    Root,
    #[error("the result cannot be proved from what is stored now: {0}")]
    Unprovable(String),
    #[error("the result cannot be read: {0}")]
    Result(String),
    #[error("the pack cannot be packed: {0}")]
    Io(#[from] std::io::Error),
    #[error("making the pack was stopped")]
    Stopped,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PackError {
    /// Whether trying again later gives the same answer: there is no pack of this result.
    pub fn lasts(&self) -> bool {
        match self {
            PackError::Earlier
            | PackError::NotKept(_)
            | PackError::Damaged(_)
            | PackError::Root
            | PackError::Unprovable(_)
            | PackError::Result(_)
            | PackError::Store(StoreError::Unsealed { .. }) => true,
            PackError::Io(_) | PackError::Stopped | PackError::Log(_) | PackError::Store(_) => false,
        }
    }
}

/// Everything that the result rests on, proved. Reads the log once, up to the newest signed head.
pub async fn make_pack(store: &Store, stored: &StoredResult, now: DateTime<Utc>) -> Result<Vec<u8>, PackError> {
    let pack = pack_from(store, stored, now, None).await?;
    let keys = store.keys().public();
    // What would not be verified elsewhere is not handed out.
    let verified = tokio::task::spawn_blocking(move || (verify_file(&pack, &keys), pack)).await;
    let (account, pack) = verified.map_err(|_| PackError::Stopped)?;
    if account.good { Ok(pack) } else { Err(PackError::Unprovable(account.lines.join("; "))) }
}

/// With the records received from that instant on (microseconds), instead of all that can bear on the result.
pub(crate) async fn pack_from(
    store: &Store,
    stored: &StoredResult,
    now: DateTime<Utc>,
    received_from_us: Option<i64>,
) -> Result<Vec<u8>, PackError> {
    let unreadable = |error: &dyn ToString| PackError::Result(error.to_string());
    let result: MonitoringResult = serde_json::from_str(&stored.body).map_err(|error| unreadable(&error))?;
    let jws = store.result_jws(stored).await?;
    let keys = store.keys().public();
    let header = keys.verify_jws(&jws).map_err(|error| unreadable(&error))?.header;
    let refusals = header.get("refusals").and_then(Value::as_str).ok_or(PackError::Earlier)?;
    let kept = async |hash: &str| store.kept(hash).await?.ok_or_else(|| PackError::NotKept(hash.to_string()));
    let register = kept(&result.register_hash).await?;
    let (rulebook, catalogue) = (kept(&result.rulebook.hash).await?, kept(&result.catalogue.hash).await?);
    let refusals = kept(refusals).await?;
    let slice = serde_json::from_slice(&register).map_err(|error| unreadable(&error))?;
    let (part, _) = read_register_slice(slice).map_err(|error| unreadable(&error))?;
    let enterprise = part.vouchers.get(&result.voucher).map(|voucher| voucher.enterprise.clone());
    let enterprise = enterprise.ok_or_else(|| unreadable(&"its voucher is not in its register"))?;
    let gateways = gateway_keys(&store.load_register().await?.1, &enterprise);
    let wanted = Wanted {
        enterprise,
        // A reading may lie a day at most in the future of its receipt, whatever the rulebook says.
        received_from_us: received_from_us.unwrap_or_else(|| (day_start(result.window.from) - TimeDelta::days(1)).timestamp_micros()),
        log_size: result.evidence.log_size,
    };
    let head = newest_head(store, wanted.log_size).await?;
    let until = head.as_ref().map_or(wanted.log_size, |head| head.size);
    let log = store.log_dir();
    let proved = tokio::task::spawn_blocking(move || proved(&log, &wanted, until)).await.map_err(|_| PackError::Stopped)??;
    if format!("sha256:{}", hex::encode(proved.root)) != result.evidence.root {
        return Err(PackError::Root);
    }
    let head = match head {
        Some(head) => head,
        None => {
            let head = SignedHead::sign(&proved.end, store.results_end().await?, now, store.keys());
            store.put_head(&head).await?;
            head
        }
    };
    let readme = README
        .replace("{voucher}", &result.voucher)
        .replace("{sequence}", &result.sequence.to_string())
        .replace("{version}", env!("CARGO_PKG_VERSION"));
    let mut pack = Vec::new();
    let jwks = keys.jwks().to_string();
    let consistency = proved.consistency.concat();
    for (name, content) in [
        ("README.txt", readme.as_bytes()),
        ("result.json", stored.body.as_bytes()),
        ("result.jws", jws.as_bytes()),
        ("register.json", &register),
        ("rulebook.toml", &rulebook),
        ("catalogue.toml", &catalogue),
        ("refusals.json", &refusals),
        ("evidence.bin.gz", &proved.evidence),
        ("gateways.json", &gateways),
        ("head.txt", head.note.as_bytes()),
        ("consistency.bin", &consistency),
        ("keys.json", jwks.as_bytes()),
    ] {
        push(&mut pack, name, content);
    }
    Ok(seal(pack, store.keys()))
}

/// The enterprise's gateways that sign, with their keys as they are registered now.
fn gateway_keys(register: &Register, enterprise: &str) -> Vec<u8> {
    let own = register.gateways.values().filter(|gateway| gateway.enterprise == enterprise);
    let keys: BTreeMap<&str, &str> = own.filter_map(|gateway| Some((gateway.id.as_str(), gateway.public_key.as_deref()?))).collect();
    bytes_of(&keys)
}

/// The newest head that was signed over at least so many blocks.
async fn newest_head(store: &Store, size: u64) -> Result<Option<SignedHead>, StoreError> {
    let note = store.newest_head().await?;
    let head = note.and_then(|note| SignedHead::read(&note, &store.keys().public()).ok());
    Ok(head.filter(|head| head.size >= size))
}

/// Which records bear on a result.
struct Wanted {
    enterprise: String,
    received_from_us: i64,
    log_size: u64,
}

struct Proved {
    evidence: Vec<u8>,
    root: Hash,
    consistency: Vec<Hash>,
    end: store::LogPosition,
}

/// What was read and is not yet in the proofs.
struct Reading {
    /// Leaves of which the blocks have not come yet.
    leaves: Vec<Hash>,
    next: u64,
    damaged: Option<u64>,
    carried: Vec<Carried>,
    inclusion: Proof,
    consistency: Proof,
}

impl Reading {
    fn settle(&mut self, shown: &BTreeSet<u64>, log_size: u64) {
        for leaf in self.leaves.drain(..) {
            let before = self.next < log_size;
            if before {
                self.inclusion.push(leaf, if shown.contains(&self.next) { Leaf::Shown } else { Leaf::Alike(false) });
            }
            self.consistency.push(leaf, Leaf::Alike(before));
            self.next += 1;
        }
    }
}

fn proved(log: &std::path::Path, wanted: &Wanted, until: u64) -> Result<Proved, PackError> {
    let reading = RefCell::new(Reading {
        leaves: Vec::new(),
        next: 0,
        damaged: None,
        carried: Vec::new(),
        inclusion: Proof::default(),
        consistency: Proof::default(),
    });
    let log_size = wanted.log_size;
    let scanned = scan_tree(
        &OsDisk,
        log,
        store::LogPosition::default(),
        Some(until),
        |stretch| {
            let mut reading = reading.borrow_mut();
            let mut shown = BTreeSet::new();
            for block in stretch.blocks.iter().filter(|block| store::block_number(block) < log_size) {
                let carried =
                    Carried::of(block, |record| record.received_at_us >= wanted.received_from_us && concerns(record, &wanted.enterprise));
                if let Some(carried) = carried {
                    reading.carried.push(carried);
                    shown.insert(store::block_number(block));
                }
            }
            reading.settle(&shown, log_size);
        },
        |tree| {
            let mut reading = reading.borrow_mut();
            let expected = reading.next + reading.leaves.len() as u64 + 1;
            if tree.leaves() == expected {
                reading.leaves.push(tree.last_leaf());
            } else {
                reading.damaged.get_or_insert(expected - 1);
            }
        },
    )?;
    let mut reading = reading.into_inner();
    if let Some(block) = reading.damaged {
        return Err(PackError::Damaged(block));
    }
    reading.settle(&BTreeSet::new(), log_size);
    if reading.next < until {
        return Err(PackError::Damaged(reading.next));
    }
    let (root, log_proof) = reading.inclusion.finish();
    Ok(Proved { evidence: write(&reading.carried, &log_proof)?, root, consistency: reading.consistency.finish().1, end: scanned.end })
}
