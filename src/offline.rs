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
use store::{ApiKey, Checkpoint, ImportError, LogPosition, RegisterState, Store, read_from};

use crate::config::Config;
use crate::serve::lock_dir;

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
    for _ in 0..TRIES {
        let monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
        let judged = match &rulebook {
            Some(rulebook) => try_out(&monitor, options, rulebook).await,
            None => judge_and_store(&monitor, options).await,
        };
        match judged {
            Err(JudgeError::CheckpointMoved) => continue,
            Err(error) => return Err(error.into()),
            Ok(lines) => {
                show(&lines, options)?;
                store.close().await;
                return Ok(());
            }
        }
    }
    bail!("the service moves on faster than its data can be read; ask it over HTTP: POST /api/v1/vouchers/ID/judge")
}

struct Line {
    result: MonitoringResult,
    /// `None` where nothing is stored.
    new: Option<bool>,
}

async fn judge_and_store(monitor: &Monitor, options: &JudgeOptions) -> Result<Vec<Line>, JudgeError> {
    let judged = match &options.voucher {
        Some(voucher) => vec![monitor.judge_voucher(voucher, options.as_of).await?],
        None => monitor.judge_all(options.as_of).await?,
    };
    let line = |judged: Judged| {
        let result = serde_json::from_str(&judged.stored.body)
            .map_err(|error| store::StoreError::Stored { what: "result", detail: error.to_string() })?;
        Ok(Line { result, new: Some(judged.new) })
    };
    judged.into_iter().map(line).collect()
}

async fn try_out(monitor: &Monitor, options: &JudgeOptions, rulebook: &Rulebook) -> Result<Vec<Line>, JudgeError> {
    let vouchers = match &options.voucher {
        Some(voucher) => vec![voucher.clone()],
        None => monitor.parts().register.register().vouchers.keys().cloned().collect(),
    };
    let mut lines = Vec::with_capacity(vouchers.len());
    for voucher in &vouchers {
        let Judgement { result, .. } = monitor.try_out(voucher, options.as_of, Some(rulebook)).await?;
        lines.push(Line { result, new: None });
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
    let mut replay = Replay::default();
    let to = read_from(&store.log_dir(), from.clone(), |record| replay.take(record))?;
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
        evidence: EvidenceSource::Tail { facts: Arc::new(replay.facts), from, to },
        announce: None,
    }))
}

/// Facts from the log anew; gives whether they were the same before.
pub async fn rebuild_tally(config: &Config) -> Result<bool> {
    let dir = config.path("data.dir");
    let store = Store::open(&dir).await?;
    let _lock = lock_dir(&dir)?;
    // What the log holds behind the checkpoint belongs to the facts before, too.
    let from = store.checkpoint_position().await?;
    let mut tail = Replay::default();
    let position = read_from(&store.log_dir(), from, |record| tail.take(record))?;
    store.write_checkpoint(&Checkpoint { facts: tail.facts, identities: tail.identities, position }).await?;
    let before = store.facts_digest().await?;
    let mut replay = Replay::default();
    let position = read_from(&store.log_dir(), LogPosition::default(), |record| replay.take(record))?;
    let (records, blocks) = (replay.records, position.block());
    store.replace_facts(&Checkpoint { facts: replay.facts, identities: replay.identities, position }).await?;
    let after = store.facts_digest().await?;
    store.close().await;
    println!("records {records}, blocks {blocks}, rows of facts {}", after.rows);
    println!("before sha256:{}", before.sha256);
    println!("after  sha256:{}", after.sha256);
    println!("{}", if before == after { "the facts are the same" } else { "the facts DIFFERED and have been replaced" });
    Ok(before == after)
}
