//! Commands that work on the stored data themselves, whether or not the service runs.

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
use store::{ApiKey, ImportError, LogError, LogPosition, Rebuild, RegisterState, Store, StoreError, Tail, read_from};

use crate::config::Config;

/// Tries of reading checkpoint and log while the service moves on.
const TRIES: usize = 20;

pub async fn create_key(config: &Config, key: &ApiKey) -> Result<()> {
    let store = Store::open(&config.path("data.dir")).await?;
    println!("{}", store.create_key(key, Clock::system().now()).await?);
    store.close().await;
    Ok(())
}

/// Gives whether the register took the files in.
pub async fn import(config: &Config, files: &[PathBuf]) -> Result<bool> {
    let mut contents = Vec::with_capacity(files.len());
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        contents.push(serde_json::from_str(&text).with_context(|| format!("{}: no JSON", file.display()))?);
    }
    let store = Store::open(&config.path("data.dir")).await?;
    let imported = store.import_register(&contents, &|id| config.rulebooks.get(id).is_some()).await;
    store.close().await;
    match imported {
        Ok(changed) => {
            println!("{changed} rows changed");
            Ok(true)
        }
        Err(ImportError::Faults(faults)) => {
            for fault in &faults {
                let place = match (&fault.list, fault.row, &fault.column) {
                    (Some(list), Some(row), Some(column)) => format!("{list} row {row}, column {column}"),
                    (Some(list), Some(row), None) => format!("{list} row {row}"),
                    _ => fault.path.clone(),
                };
                let file = files.get(fault.file).map_or("", |file| file.to_str().unwrap_or(""));
                println!("{file}: {place}: {} [{}] rule: {}", fault.detail, fault.code, fault.rule);
            }
            println!("{} faults; nothing was imported", faults.len());
            Ok(false)
        }
        Err(ImportError::Store(error)) => Err(error.into()),
    }
}

pub struct JudgeOptions {
    pub voucher: Option<String>,
    pub as_of: Option<Instant>,
    pub rulebook: Option<PathBuf>,
    pub json: bool,
}

pub async fn judge(config: &Config, options: &JudgeOptions) -> Result<()> {
    let rulebook = options.rulebook.as_deref().map(read_rulebook).transpose()?;
    let store = Store::open(&config.path("data.dir")).await?;
    let mut monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
    let vouchers = match &options.voucher {
        Some(voucher) => vec![voucher.clone()],
        None => monitor.parts().register.register().vouchers.keys().cloned().collect(),
    };
    let mut lines = Vec::with_capacity(vouchers.len());
    for voucher in &vouchers {
        let mut tries = 0;
        let line = loop {
            match judge_one(&monitor, voucher, options, rulebook.as_ref()).await {
                // The running service has written a checkpoint: look again from there.
                Err(JudgeError::CheckpointMoved) if tries < TRIES => {
                    tries += 1;
                    monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
                }
                other => break other?,
            }
        };
        lines.push(line);
    }
    show(&lines, options)?;
    store.close().await;
    Ok(())
}

struct Line {
    result: MonitoringResult,
    /// `None` where nothing is stored.
    new: Option<bool>,
}

async fn judge_one(monitor: &Monitor, voucher: &str, options: &JudgeOptions, rulebook: Option<&Rulebook>) -> Result<Line, JudgeError> {
    if rulebook.is_some() {
        let Judgement { result, .. } = monitor.try_out(voucher, options.as_of, rulebook).await?;
        return Ok(Line { result, new: None });
    }
    let Judged { stored, new } = monitor.judge_voucher(voucher, options.as_of).await?;
    let result =
        serde_json::from_str(&stored.body).map_err(|error| store::StoreError::Stored { what: "result", detail: error.to_string() })?;
    Ok(Line { result, new: Some(new) })
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

fn read_rulebook(path: &Path) -> Result<Rulebook> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    Rulebook::read(&text).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
        anyhow::anyhow!(lines.join("\n"))
    })
}

/// A monitor over the checkpoint and the log behind it, as they are on the disk now.
async fn offline_monitor(config: &Config, store: &Store, rulebook: Option<&Rulebook>) -> Result<Monitor> {
    let from = store.checkpoint_position().await?;
    let (replay, to) = read_log(&store.log_dir(), &from, None)?;
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

/// Reads a stretch of the log. Beside a running service a look at the wrong moment may see damage where there is none: it looks again.
fn read_log(dir: &Path, from: &LogPosition, until: Option<u64>) -> Result<(Replay, LogPosition)> {
    for tries in 0.. {
        let mut replay = Replay::default();
        match read_from(dir, from.clone(), until, |block, record| replay.take(block, record)) {
            Err(LogError::Damaged { .. }) if tries < 3 => {}
            Err(error) => return Err(error.into()),
            Ok(_) if replay.unreadable > 0 => {
                bail!("{} records of the log cannot be read by this version: use a newer one", replay.unreadable)
            }
            Ok(end) => return Ok((replay, end)),
        }
    }
    bail!("the log cannot be read")
}

/// Facts of so much memory are written before more of the log is read.
const REBUILD_BYTES_MAX: usize = 128 << 20;

/// Facts from the log anew, up to the checkpoint; gives whether they were the same before. The service may be running.
pub async fn rebuild_tally(config: &Config) -> Result<bool> {
    let store = Store::open(&config.path("data.dir")).await?;
    let mut rebuild = store.rebuild()?;
    let (mut end, mut records) = (LogPosition::default(), 0);
    for _ in 0..TRIES {
        let position = store.checkpoint_position().await?;
        let read = read_into(&mut rebuild, &store, &end, position.block())?;
        (end, records) = (read.0, records + read.1);
        if end.block() < position.block() {
            bail!("the log ends at block {}, before the checkpoint at block {}: restore it from a backup", end.block(), position.block());
        }
        // `None`: the running service has moved its checkpoint meanwhile; what was read stays.
        let Some((before, after)) = rebuild.finish(&position).await? else { continue };
        store.close().await;
        println!("records {records}, blocks {}, rows of facts {}", position.block(), after.rows);
        match &before {
            Some(before) => println!("before sha256:{}", before.sha256),
            None => println!("before: the facts could not be read"),
        }
        println!("after  sha256:{}", after.sha256);
        let same = before.as_ref() == Some(&after);
        println!("{}", if same { "the facts are the same" } else { "the facts DIFFERED and have been replaced" });
        return Ok(same);
    }
    bail!("the service moves on faster than its log can be read; try when it is less busy")
}

/// Reads a stretch of the log into a rebuild; gives where it ends and how many records it has.
fn read_into(rebuild: &mut Rebuild, store: &Store, from: &LogPosition, until: u64) -> Result<(LogPosition, u64)> {
    let (mut replay, mut failed) = (Replay::default(), None);
    let end = read_from(&store.log_dir(), from.clone(), Some(until), |block, record| {
        replay.take(block, record);
        if replay.facts.memory_bytes() + replay.identities.memory_bytes() >= REBUILD_BYTES_MAX && failed.is_none() {
            failed = add(rebuild, &mut replay).err();
        }
    })?;
    failed.map_or(Ok(()), Err)?;
    if replay.unreadable > 0 {
        bail!("{} records of the log cannot be read by this version: use a newer one", replay.unreadable);
    }
    add(rebuild, &mut replay)?;
    Ok((end, replay.records))
}

fn add(rebuild: &mut Rebuild, replay: &mut Replay) -> Result<(), StoreError> {
    rebuild.add(&replay.facts.hand_over(), std::mem::take(&mut replay.identities))
}
