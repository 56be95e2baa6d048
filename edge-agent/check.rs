//! `shangyun-edge check`: everything that would keep the agent from working, all at once, before the technician leaves.
//!
//! Without `--deep` nothing goes over the network or a bus; with it each broker is tried and each point is read once.

mod brokers;
mod certificates;
mod devices;
mod machine;
mod points;
mod show;
mod spool;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::config::{Config, Examined};
use crate::fault::{Fault, FaultCode};

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The configuration (TOML)
    #[arg(long, value_name = "FILE", default_value = "/etc/shangyun-edge/config.toml")]
    pub config: PathBuf,
    /// Also try each broker and read each point once (function codes 1 to 4 and 43 only)
    #[arg(long)]
    pub deep: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Something that keeps the agent from working, or, as a warning, may one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stays the same over versions.
    pub name: &'static str,
    pub warning: bool,
    pub place: String,
    pub zh: String,
    pub en: String,
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Finding {
        Finding { name: fault.code.name(), warning: fault.code.warns(), place: fault.place, zh: fault.zh, en: fault.en }
    }
}

/// What a point says now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointNow {
    pub device: String,
    pub point: String,
    /// Zero-based, with its table.
    pub address: String,
    /// As handbooks print it.
    pub reference: String,
    pub value: Option<String>,
    pub unit: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub findings: Vec<Finding>,
    pub points: Vec<PointNow>,
    /// What was left alone, because a fault that was found before would only show again.
    pub untried: Vec<String>,
    /// The configuration could not be read at all.
    #[serde(skip)]
    unreadable: bool,
}

impl Findings {
    fn add(&mut self, code: FaultCode, place: impl Into<String>, zh: impl Into<String>, en: impl Into<String>) {
        self.findings.push(Fault::new(code, place, zh, en).into());
    }

    /// Whether there is a fault at a place that begins so.
    fn fault_at(&self, place: &str) -> bool {
        self.findings.iter().any(|finding| !finding.warning && finding.place.starts_with(place))
    }

    /// 0: nothing but warnings; 1: faults; 2: there is no configuration to check.
    fn exit_code(&self) -> u8 {
        match (self.unreadable, self.findings.iter().any(|finding| !finding.warning)) {
            (true, _) => 2,
            (false, faults) => u8::from(faults),
        }
    }
}

pub fn run(args: &CheckArgs) -> ExitCode {
    let found = find(args);
    if args.json {
        // Plain data has no way to fail.
        println!("{}", serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        print!("{}", show::text(&found, args.deep));
    }
    ExitCode::from(found.exit_code())
}

fn find(args: &CheckArgs) -> Findings {
    let mut found = Findings::default();
    let Examined { config, faults } = match Config::examine_file(&args.config) {
        Ok(examined) => examined,
        Err(error) => {
            found.unreadable = true;
            found.findings.extend(error.faults.into_iter().map(Finding::from));
            return found;
        }
    };
    found.findings.extend(faults.into_iter().map(Finding::from));
    machine::look(&config, &args.config, args.deep, &mut found);
    certificates::look(&config, &mut found);
    if args.deep {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                brokers::look(&config, &mut found).await;
                devices::look(Arc::new(config), &mut found).await;
            }),
            Err(error) => found.add(FaultCode::CheckFailed, "runtime", format!("无法开始：{error}"), format!("cannot start: {error}")),
        }
    }
    found
}
