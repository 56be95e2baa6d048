//! Commands that work on the stored data themselves, whether or not the service runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ingest::Replay;
use monitor::{EvidenceSource, JudgeError, Judged, Monitor, MonitorParts};
use observe::{Clock, Metrics};
use policy::calendar::Instant;
use policy::in_force::Versions;
use policy::judge::Judgement;
use policy::reasons::Group;
use policy::result::MonitoringResult;
use policy::rulebook::Rulebook;
use store::{
    Act, Actor, AddressesIgnored, ApiKey, AuditDraft, DamagedBlocks, LogPosition, OsDisk, Rebuild, RegisterState, Scanned, SignedHead,
    Store, StoreError, Tail, scan,
};

use crate::config::Config;
use crate::serve::policy_in_force;

/// Tries of reading checkpoint and log while the service moves on.
pub(crate) const TRIES: usize = 20;

/// The store with what the settings say of it.
pub async fn open_store(config: &Config) -> Result<Store, StoreError> {
    Ok(Store::open(&config.path("data.dir")).await?.ignoring(AddressesIgnored::new(config.networks("monitor.addresses_ignored"))))
}

pub async fn create_key(config: &Config, key: &ApiKey) -> Result<()> {
    let store = open_store(config).await?;
    println!("{}", store.create_key(key, &actor()).await?);
    store.close().await;
    Ok(())
}

/// Puts a new signing key in the place of the one before, which stays known; a running service takes it up by itself.
pub async fn rotate_key(config: &Config) -> Result<()> {
    let store = Store::open(&config.path("data.dir")).await?;
    println!("{}", store.rotate_key(&actor()).await?);
    store.close().await;
    Ok(())
}

/// Prints the audit log.
pub async fn audit(config: &Config, subject: Option<&str>, json: bool) -> Result<()> {
    let store = open_store(config).await?;
    let mut after = 0;
    loop {
        let (entries, next) = store.audit_entries(after, subject).await?;
        for entry in &entries {
            if json {
                println!("{}", serde_json::to_string(entry)?);
                continue;
            }
            let text = |name: &str| entry.entry[name].as_str().unwrap_or_default().to_string();
            let block = entry.block.map_or_else(|| "尚未入日志 · not in the log yet".to_string(), |block| format!("区块 · block {block}"));
            let (at, who, act, subject) = (text("at"), text("who"), text("act"), text("subject"));
            println!("{}  {at}  {who}  {act}  {subject}  {block}", entry.entry["id"]);
            for change in entry.entry["changes"].as_array().into_iter().flatten() {
                println!("    {}", shown_change(change));
            }
            if !entry.entry["detail"].is_null() {
                println!("    {}", entry.entry["detail"]);
            }
        }
        let Some(next) = next else { break };
        after = next;
    }
    store.close().await;
    Ok(())
}

/// What of a row has changed; of one that came or went all of it.
fn shown_change(change: &serde_json::Value) -> String {
    let text = |name: &str| change[name].as_str().unwrap_or_default();
    let row = format!("{} {}", text("list"), text("key"));
    match (change["before"].as_object(), change["after"].as_object()) {
        (Some(before), Some(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let shown = |value: Option<&serde_json::Value>| value.map_or("—".to_string(), ToString::to_string);
            let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
            let columns: Vec<String> =
                changed.map(|name| format!("{name}: {} → {}", shown(before.get(name)), shown(after.get(name)))).collect();
            format!("改 · changed {row}: {}", columns.join("; "))
        }
        (None, _) => format!("增 · added {row}: {}", change["after"]),
        (_, None) => format!("删 · removed {row}: {}", change["before"]),
    }
}

/// Whoever runs this command, for the audit log.
pub fn actor() -> Actor {
    let uid = rustix::process::getuid().as_raw().to_string();
    // The environment's word for it could be anything.
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut names = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.get(2) == Some(&uid.as_str()));
    let user = names.next().and_then(|fields| fields.first().map(ToString::to_string)).unwrap_or_else(|| format!("uid {uid}"));
    Actor::new(format!("command:{user}"), Clock::system().now())
}

pub struct JudgeOptions {
    pub voucher: Option<String>,
    pub as_of: Option<Instant>,
    pub rulebook: Option<PathBuf>,
    pub json: bool,
}

pub async fn judge(config: &Config, options: &JudgeOptions) -> Result<()> {
    let rulebook = options.rulebook.as_deref().map(read_rulebook).transpose()?;
    let store = open_store(config).await?;
    let mut lines = Vec::new();
    let mut monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
    let chosen = chosen(&monitor, options)?;
    if rulebook.is_none() {
        let subject = options.voucher.as_ref().map_or("vouchers".to_string(), |voucher| format!("vouchers/{voucher}"));
        // The command's configuration may name other files than the service's.
        let as_of = options.as_of.map(policy::calendar::show_instant);
        let detail = serde_json::json!({ "as_of": as_of, "policy": policy_in_force(config) });
        store.record_act(&actor(), AuditDraft::of(Act::JudgingAsked, subject, detail)).await?;
    }
    for some in chosen.chunks(JUDGED_TOGETHER) {
        let mut tries = 0;
        lines.extend(loop {
            match judge_some(&monitor, some, options, rulebook.as_ref()).await {
                // The running service has written a checkpoint: look again from there.
                Err(JudgeError::CheckpointMoved) if tries < TRIES => {
                    tries += 1;
                    monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
                }
                other => break other?,
            }
        });
    }
    show(&lines, options)?;
    store.close().await;
    Ok(())
}

/// Vouchers between two looks at where the service stands.
const JUDGED_TOGETHER: usize = 256;

/// The voucher that was asked for, else all.
pub(crate) fn chosen(monitor: &Monitor, options: &JudgeOptions) -> Result<Vec<String>, JudgeError> {
    let register = monitor.parts().register.register();
    match &options.voucher {
        Some(voucher) if !register.vouchers.contains_key(voucher) => Err(JudgeError::UnknownVoucher(voucher.clone())),
        Some(voucher) => Ok(vec![voucher.clone()]),
        None => Ok(register.vouchers.keys().cloned().collect()),
    }
}

struct Line {
    result: MonitoringResult,
    /// `None` where nothing is stored.
    new: Option<bool>,
}

async fn judge_some(
    monitor: &Monitor,
    vouchers: &[String],
    options: &JudgeOptions,
    rulebook: Option<&Rulebook>,
) -> Result<Vec<Line>, JudgeError> {
    let mut lines = Vec::with_capacity(vouchers.len());
    if rulebook.is_some() {
        for voucher in vouchers {
            let Judgement { result, .. } = monitor.try_out(voucher, options.as_of, rulebook).await?;
            lines.push(Line { result, new: None });
        }
        return Ok(lines);
    }
    let ids: Vec<&str> = vouchers.iter().map(String::as_str).collect();
    for judged in monitor.judge_vouchers(&ids, options.as_of).await? {
        let Judged { stored, new } = judged?;
        let result =
            serde_json::from_str(&stored.body).map_err(|error| StoreError::Stored { what: "result", detail: error.to_string() })?;
        lines.push(Line { result, new: Some(new) });
    }
    Ok(lines)
}

fn show(lines: &[Line], options: &JudgeOptions) -> Result<()> {
    if options.json {
        let results: Vec<_> = lines.iter().map(|line| &line.result).collect();
        match (&options.voucher, results.first()) {
            (Some(_), Some(result)) => println!("{}", serde_json::to_string(result)?),
            _ => println!("{}", serde_json::to_string(&results)?),
        }
        return Ok(());
    }
    for Line { result, new } in lines {
        let stored = match new {
            Some(true) => format!("第 {} 次结果（新）", result.sequence),
            Some(false) => format!("第 {} 次结果（无变化）", result.sequence),
            None => "试算，不保存".to_string(),
        };
        println!("{}  {} {}  {stored}", result.voucher, result.verdict_text, result.verdict.code());
        for check in result.checks.iter().filter(|check| check.group == Group::Deciding) {
            println!("    {} {}：{}", check.rule, check.outcome.text(), check.text);
        }
        println!("    {}", result.judgement_hash);
    }
    Ok(())
}

pub(crate) fn read_rulebook(path: &Path) -> Result<Rulebook> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    Rulebook::read(&text).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
        anyhow::anyhow!(lines.join("\n"))
    })
}

/// A monitor over the checkpoint and the log behind it, as they are on the disk now.
pub(crate) async fn offline_monitor(config: &Config, store: &Store, rulebook: Option<&Rulebook>) -> Result<Monitor> {
    let from = store.checkpoint_position().await?;
    let (replay, scanned) = read_log(&store.log_dir(), &from)?;
    let to = scanned.end;
    let rulebooks = match rulebook {
        Some(rulebook) => Versions::new(vec![rulebook.clone()])?,
        None => config.rulebooks.clone(),
    };
    Ok(Monitor::new(MonitorParts {
        store: store.clone(),
        register: RegisterState::load(store.clone()).await?,
        rulebooks,
        catalogues: config.catalogues.clone(),
        clock: Clock::system(),
        metrics: Metrics::new(),
        evidence: EvidenceSource::Tail { facts: Arc::new(Tail::of(&replay.facts)), from, to },
        announce: None,
        judging: Default::default(),
    }))
}

/// Reads what the log holds from there on. Beside a running service a look at the wrong moment may see damage where there is none: it looks again.
fn read_log(dir: &Path, from: &LogPosition) -> Result<(Replay, Scanned)> {
    for tries in 0.. {
        let mut replay = Replay::default();
        let scanned = scan(&OsDisk, dir, from.clone(), None, |stretch| replay.take(&stretch))?;
        if !scanned.damaged.is_empty() && tries < 3 {
            continue;
        }
        if replay.unreadable > 0 {
            bail!("{} records of the log cannot be read by this version: use a newer one", replay.unreadable)
        }
        name_damaged(&scanned.damaged);
        return Ok((replay, scanned));
    }
    bail!("the log cannot be read")
}

/// Facts of so much memory are written before more of the log is read.
const REBUILD_BYTES_MAX: usize = 128 << 20;
/// Looks at the log, if it seems damaged.
const LOOKS: u32 = 3;

/// Facts from the log anew, up to the checkpoint; gives whether they were the same before. The service may be running.
pub async fn rebuild_tally(config: &Config) -> Result<bool> {
    let store = open_store(config).await?;
    for looks in 1..=LOOKS {
        let mut rebuild = store.rebuild()?;
        let mut read = ReadInto::default();
        for _ in 0..TRIES {
            let position = store.checkpoint_position().await?;
            read.on(&mut rebuild, &store, position.block())?;
            if !read.damaged.is_empty() && looks < LOOKS {
                break;
            }
            if read.end.block() < position.block() {
                let (end, stands) = (read.end.block(), position.block());
                bail!("the log ends at block {end}, before the checkpoint at block {stands}: restore it from a backup");
            }
            // `None`: the running service has moved its checkpoint meanwhile; what was read stays.
            let Some((before, after)) = rebuild.finish(&position, &actor()).await? else { continue };
            store.close().await;
            name_damaged(&read.damaged);
            println!("records {}, blocks {}, rows of facts {}", read.records, position.block(), after.rows);
            match &before {
                Some(before) => println!("before sha256:{}", before.sha256),
                None => println!("before: the facts could not be read"),
            }
            println!("after  sha256:{}", after.sha256);
            let same = before.as_ref() == Some(&after);
            println!("{}", if same { "the facts are the same" } else { "the facts DIFFERED and have been replaced" });
            return Ok(same);
        }
        if read.damaged.is_empty() {
            break;
        }
    }
    bail!("the service moves on faster than its log can be read; try when it is less busy")
}

/// What of the log a rebuild has taken in.
#[derive(Default)]
struct ReadInto {
    end: LogPosition,
    records: u64,
    damaged: Vec<DamagedBlocks>,
}

impl ReadInto {
    /// Reads on, up to the block of that number.
    fn on(&mut self, rebuild: &mut Rebuild, store: &Store, until: u64) -> Result<()> {
        let (mut replay, mut failed) = (Replay::default(), None);
        let scanned = scan(&OsDisk, &store.log_dir(), self.end.clone(), Some(until), |stretch| {
            if failed.is_some() {
                return;
            }
            replay.take(&stretch);
            if replay.facts.memory_bytes() + replay.identities.memory_bytes() >= REBUILD_BYTES_MAX {
                failed = add(rebuild, &mut replay).err();
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        if replay.unreadable > 0 {
            bail!("{} records of the log cannot be read by this version: use a newer one", replay.unreadable)
        }
        add(rebuild, &mut replay)?;
        self.end = scanned.end;
        self.records += replay.records;
        self.damaged.extend(scanned.damaged);
        Ok(())
    }
}

fn add(rebuild: &mut Rebuild, replay: &mut Replay) -> Result<(), StoreError> {
    rebuild.add(&replay.facts.hand_over(), std::mem::take(&mut replay.identities))
}

fn name_damaged(damaged: &[DamagedBlocks]) {
    for damaged in damaged {
        eprintln!("{}: blocks {:?} are damaged ({}) and not counted", damaged.path.display(), damaged.blocks, damaged.fault);
    }
}

/// Reads the whole log and every signed head; gives whether all is as it was.
pub async fn verify_log(config: &Config, since: Option<&Path>) -> Result<bool> {
    let store = open_store(config).await?;
    let keys = store.keys().public();
    let mut notes = store.heads().await?;
    if let Some(path) = since {
        notes.push(std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?);
    }
    let stored_audit = store.stored_audit().await?;
    let mut tries = 0;
    let verified = loop {
        // Beside a running service a look at the wrong moment may see damage where there is none: it looks again.
        let verified = store::verify_log(&OsDisk, &store.log_dir(), &notes, &keys)?;
        tries += 1;
        if verified.findings.is_empty() || tries == 3 {
            break verified;
        }
    };
    // A head that cannot be read is named above.
    let heads: Vec<SignedHead> = notes.iter().filter_map(|note| SignedHead::read(note, &keys).ok()).collect();
    let (results, of_results) = store.verify_results(&heads, &keys).await?;
    let (audit_findings, audit_pending) = store.audit_findings(stored_audit, &verified.audited, verified.blocks).await?;
    store.close().await;
    for finding in verified.findings.iter().chain(&audit_findings) {
        println!("{finding}");
    }
    for finding in &of_results {
        println!("{finding}");
    }
    println!("已核对 · blocks {}, records {}, signed heads {}, results {results}", verified.blocks, verified.records, verified.heads);
    println!("树根 · root {}", hex::encode(verified.root));
    println!("操作记录 · audit entries {}, waiting {audit_pending}", verified.audited.len());
    let whole = verified.findings.is_empty() && audit_findings.is_empty();
    println!("{}", if whole { "日志完整 · the log is whole" } else { "日志不完整 · the log is NOT whole" });
    println!("{}", if of_results.is_empty() { "结果完整 · the results are whole" } else { "结果不完整 · the results are NOT whole" });
    Ok(whole && of_results.is_empty())
}

/// Prints the newest signed head; `false` if there is none.
pub async fn print_head(config: &Config) -> Result<bool> {
    let store = open_store(config).await?;
    let head = store.newest_head().await?;
    store.close().await;
    match &head {
        Some(note) => print!("{note}"),
        None => eprintln!("no head has been signed yet: the service signs one a minute, and when it stops"),
    }
    Ok(head.is_some())
}
