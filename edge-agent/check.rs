//! `shangyun-edge check`: everything that would keep the agent from working, all at once, before the technician leaves.
//!
//! Without `--deep` nothing goes over the network or a bus; with it each broker is tried and each point is read once.

mod certificates;
mod devices;
mod machine;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::Config;
use crate::connect::try_address;
use crate::fault::{Fault, FaultCode};
use crate::trouble::TroubleKind;

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
    /// The configuration could not be read at all.
    #[serde(skip)]
    unreadable: bool,
}

impl Findings {
    fn add(&mut self, code: FaultCode, place: impl Into<String>, zh: impl Into<String>, en: impl Into<String>) {
        self.findings.push(Fault::new(code, place, zh, en).into());
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
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            found.unreadable = error.faults.iter().any(|fault| matches!(fault.code, FaultCode::ConfigUnreadable | FaultCode::ConfigSyntax));
            found.findings.extend(error.faults.into_iter().map(Finding::from));
            return found;
        }
    };
    machine::look(&config, &mut found);
    certificates::look(&config, &mut found);
    if args.deep {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                brokers(&config, &mut found).await;
                devices::look(&config, &mut found).await;
            }),
            Err(error) => found.add(FaultCode::CheckFailed, "runtime", format!("无法开始：{error}"), format!("cannot start: {error}")),
        }
    }
    found
}

async fn brokers(config: &Config, found: &mut Findings) {
    for address in &config.broker.addresses {
        let Err(trouble) = try_address(&config.broker, address, &config.gateway).await else { continue };
        // What is wrong with a file was found without the network.
        if trouble.kind == TroubleKind::FileUnusable && found.findings.iter().any(|finding| finding.place.starts_with("broker.")) {
            continue;
        }
        found.findings.push(Finding {
            name: trouble.name(),
            warning: false,
            place: address.to_string(),
            zh: trouble.zh(),
            en: trouble.to_string(),
        });
    }
}
