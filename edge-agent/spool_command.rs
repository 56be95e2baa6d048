//! `shangyun-edge spool`: what was acknowledged and is kept on disk, as proof of what was delivered. Nothing is written, also while the agent runs.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;
use wire::cose::Signed;

use crate::config::Config;
use crate::spool::{KeptReport, acknowledged};
use crate::spool_refused::refused_positions;
use crate::status::words;

#[derive(Args, Debug)]
pub struct SpoolArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List the reports that were acknowledged and are still on disk (spool.keep_acknowledged_h), oldest first
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print one of them: the report as it was signed
    Show {
        /// As the list names it, and the service too: BOOT:SEQ
        report: String,
        #[command(flatten)]
        place: Place,
        /// What was sent, byte for byte: the COSE_Sign1 of a signed report
        #[arg(long)]
        raw: bool,
    },
}

#[derive(Args, Debug)]
struct Place {
    /// The configuration (TOML), for where the spool is
    #[arg(long, value_name = "FILE", default_value = "/etc/shangyun-edge/config.toml")]
    config: PathBuf,
    /// The spool itself, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// 0 it was shown, 1 there is no such report, 2 wrong use.
pub fn run(args: &SpoolArgs) -> ExitCode {
    let shown = match &args.what {
        What::List { place, json } => place.dir().and_then(|dir| list(&dir, *json)).map(|()| true),
        What::Show { report, place, raw } => place.dir().and_then(|dir| show(&dir, report, *raw)),
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(said) => {
            eprintln!("{said}");
            ExitCode::from(2)
        }
    }
}

impl Place {
    fn dir(&self) -> Result<PathBuf, String> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Config::examine_file(&self.config).map(|examined| examined.config.spool.dir).map_err(|error| error.to_string()),
        }
    }
}

/// One line of the list. The names stay; new ones may come.
#[derive(Serialize)]
struct Line {
    boot: String,
    seq: u64,
    spooled_at: Option<DateTime<Utc>>,
    /// At the latest: of the reports of one file the last acknowledgement is written down.
    settled_by: Option<DateTime<Utc>>,
    /// The service has refused it for good; it stands in refused/ too.
    refused: bool,
    signed: bool,
    bytes: usize,
}

impl Line {
    fn of(kept: &KeptReport, refused: &BTreeSet<u64>) -> Line {
        let at = |ms: u64| DateTime::from_timestamp_millis(i64::try_from(ms).ok()?).filter(|_| ms > 0);
        Line {
            boot: kept.stored.key.boot.clone(),
            seq: kept.stored.key.seq,
            spooled_at: at(kept.spooled_at_ms),
            settled_by: at(kept.settled_by_ms),
            refused: refused.contains(&kept.position),
            signed: Signed::read(&kept.stored.body).is_ok(),
            bytes: kept.stored.body.len(),
        }
    }
}

fn list(dir: &Path, json: bool) -> Result<(), String> {
    let refused = refused_positions(dir).map_err(|error| unreadable(dir, &error))?;
    let mut lines = Vec::new();
    let read = acknowledged(dir, |kept| {
        lines.push(Line::of(&kept, &refused));
        Ok(())
    });
    read.map_err(|error| unreadable(dir, &error))?;
    let mut out = io::stdout().lock();
    let written = if json {
        serde_json::to_writer(&mut out, &serde_json::json!({ "v": 1, "reports": lines }))
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        out.write_all(table(&lines).as_bytes())
    };
    written.map_err(|error| error.to_string())
}

fn table(lines: &[Line]) -> String {
    let headers =
        ["报告 report", "写盘 spooled", "确认不晚于 acknowledged by", "结果 fate", "签名 signed", "字节 bytes"].map(str::to_string);
    let time = |at: Option<DateTime<Utc>>| at.map_or("—".to_string(), words::time);
    let rows = lines.iter().map(|line| {
        [
            format!("{}:{}", line.boot, line.seq),
            time(line.spooled_at),
            time(line.settled_by),
            if line.refused { "拒收 refused" } else { "已确认 acknowledged" }.to_string(),
            if line.signed { "是 yes" } else { "否 no" }.to_string(),
            line.bytes.to_string(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(headers).chain(rows).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell}{}  ", " ".repeat(width - cell.width())));
        out += cells.collect::<String>().trim_end();
        out.push('\n');
    }
    out += &format!(
        "共 {} 份；最近一分钟内确认的可能尚未列出 · {} reports; acknowledgements of the last minute may be missing\n",
        lines.len(),
        lines.len()
    );
    out
}

fn show(dir: &Path, report: &str, raw: bool) -> Result<bool, String> {
    let wanted = report.rsplit_once(':').and_then(|(boot, seq)| Some((boot, seq.parse::<u64>().ok()?)));
    let Some((boot, seq)) = wanted else {
        return Err(format!("“{report}”应为 BOOT:SEQ，如 spool list 所列\n`{report}` must be BOOT:SEQ, as spool list shows it"));
    };
    let mut found = None;
    let read = acknowledged(dir, |kept| {
        if (kept.stored.key.boot.as_str(), kept.stored.key.seq) == (boot, seq) {
            found = Some(kept.stored.body);
        }
        Ok(())
    });
    read.map_err(|error| unreadable(dir, &error))?;
    let Some(body) = found else {
        eprintln!("没有这份报告：尚未确认，或已过保留期（spool.keep_acknowledged_h）");
        eprintln!("there is no such report: it is not yet acknowledged, or was kept as long as spool.keep_acknowledged_h says");
        return Ok(false);
    };
    let mut out = io::stdout().lock();
    let written = match Signed::read(&body) {
        _ if raw => out.write_all(&body),
        Ok(signed) => {
            eprintln!("签名者 signed by: {}", String::from_utf8_lossy(signed.kid));
            out.write_all(signed.payload).and_then(|()| writeln!(out))
        }
        Err(_) => {
            eprintln!("未签名 not signed");
            out.write_all(&body).and_then(|()| writeln!(out))
        }
    };
    written.map_err(|error| error.to_string())?;
    Ok(true)
}

fn unreadable(dir: &Path, error: &io::Error) -> String {
    let shown = dir.display();
    format!(
        "暂存目录 {shown} 读不到（{error}）；请以其用户运行，如 sudo -u shangyun-edge shangyun-edge spool list\nthe spool at {shown} cannot be read ({error}); run this as its user, for example sudo -u shangyun-edge shangyun-edge spool list"
    )
}
