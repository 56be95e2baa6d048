//! `shangyun import`: register files in, templates out.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use policy::in_force::Dated;
use sheets::{FileKind, Reading, RegisterFault, RegisterFile};
use store::{ImportError, Imported, Store};

use crate::config::Config;
use crate::offline::actor;

#[derive(Args)]
pub struct ImportArgs {
    #[arg(required_unless_present = "template", conflicts_with = "template", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a template to fill in: .xlsx, .json, or .csv with --list
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// The list of CSV files; without it a CSV file is named after its list (vouchers.csv)
    #[arg(long, value_name = "NAME")]
    pub list: Option<String>,
    /// The rulebook of tables that name none; without it the newest that is configured
    #[arg(long, value_name = "ID")]
    pub rulebook: Option<String>,
}

/// Larger files are not read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Gives whether the register took the files in.
pub async fn import(config: &Config, args: &ImportArgs) -> Result<bool> {
    let rulebook = args.rulebook.as_deref().unwrap_or_else(|| config.rulebooks.newest().id());
    let files: Vec<RegisterFile> = args.files.iter().map(|path| read(path, args.list.as_deref(), rulebook)).collect::<Result<_>>()?;
    let store = Store::open(&config.path("data.dir")).await?;
    let imported = store.import_register(&files, &|id| config.rulebooks.get(id).is_some(), &actor()).await;
    store.close().await;
    let name = |fault: &RegisterFault| args.files.get(fault.file).map_or(String::new(), |path| path.display().to_string());
    match imported {
        Ok(Imported { changed, warnings }) => {
            for warning in &warnings {
                println!("{}: warning: {}: {} [{}] {}", name(warning), warning.place(), warning.detail, warning.code, warning.text);
            }
            println!("{changed} rows changed");
            Ok(true)
        }
        Err(ImportError::Faults(faults)) => {
            for fault in &faults {
                println!("{}: {}: {} [{}] rule: {} {}", name(fault), fault.place(), fault.detail, fault.code, fault.rule, fault.text);
            }
            println!("{} faults; nothing was imported", faults.len());
            Ok(false)
        }
        Err(ImportError::Store(error)) => Err(error.into()),
    }
}

fn read(path: &Path, list: Option<&str>, rulebook: &str) -> Result<RegisterFile> {
    let shown = || path.display().to_string();
    let bytes = std::fs::metadata(path).with_context(shown)?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{}: {} MiB, at most {} are read", shown(), bytes >> 20, FILE_BYTES_MAX >> 20);
    }
    let content = std::fs::read(path).with_context(shown)?;
    let kind = extension(path).unwrap_or_else(|| FileKind::of_content(&content));
    let named = path.file_stem().and_then(|stem| stem.to_str());
    Ok(sheets::read(kind, &content, &Reading { rulebook, list: list.or(named) }))
}

fn extension(path: &Path) -> Option<FileKind> {
    path.extension().and_then(|extension| extension.to_str()).and_then(FileKind::of_extension)
}

pub fn write_template(config: &Config, path: &Path, list: Option<&str>) -> Result<()> {
    let rulebook = config.rulebooks.newest().id();
    let kind = extension(path).ok_or_else(|| anyhow!("{}: a template is .xlsx, .csv or .json", path.display()))?;
    let content = match (kind, list) {
        (FileKind::Xlsx, _) => sheets::template_xlsx(rulebook)?,
        (FileKind::Json, _) => sheets::template_json(rulebook),
        (FileKind::Csv, Some(list)) => sheets::template_csv(list).ok_or_else(|| anyhow!("--list {list}: there is no such list"))?,
        (FileKind::Csv, None) => bail!("a CSV file holds one list: say which with --list"),
    };
    // What is there already may have been filled in.
    let file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow!("{} is there already: name another file, or remove it first", path.display()),
        _ => anyhow!("{}: {error}", path.display()),
    });
    file?.write_all(&content).with_context(|| path.display().to_string())
}
