//! The one table of commands. Exit codes: 0 well, 1 the answer is no, 2 wrong use or configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use chrono::TimeDelta;
use clap::{Args, Parser, Subcommand};
use policy::calendar::{Instant, read_instant};
use store::{ApiKey, KeyRole};

use crate::config::Config;
use crate::offline::{self, JudgeOptions};
use crate::quarantine::{self, QuarantineCommand};
use crate::register_files::{self, ImportArgs};
use crate::{demo, pack, sensitivity, serve, spot_check, tls};

#[derive(Parser)]
#[command(name = "shangyun", version, about = "Shangyun Monitor 上云监测: monitors cloud adoption and judges service vouchers")]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, such as --set data.dir=/var/lib/shangyun; wins over file and environment
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve,
    /// Run everything on this machine: machines, agents, suppliers, a carrier, and the service with vouchers of every verdict
    Demo,
    /// Say everything that is wrong with the configuration
    CheckConfig,
    /// Show the configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Take register files in (JSON, XLSX, CSV): all of them, or none and every fault
    Import(ImportArgs),
    /// What was done by whom, the oldest first
    Audit {
        /// Of this only, such as vouchers/V-1; with a stroke at its end, of all below it
        #[arg(long)]
        subject: Option<String>,
        /// Print the entries as JSON, one a line
        #[arg(long)]
        json: bool,
    },
    /// Judge vouchers from the stored evidence
    Judge(JudgeArgs),
    /// Write the evidence pack of a voucher's result: everything that it rests on, with proofs
    Pack {
        #[arg(long, value_name = "ID")]
        voucher: String,
        /// Which result of the voucher; otherwise the newest
        #[arg(long, value_name = "N")]
        sequence: Option<i64>,
        /// Where to; otherwise ID-N.pack.tar in this directory
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Verify a signed result or an evidence pack offline, with public keys alone
    Verify {
        file: PathBuf,
        /// The service's public keys (GET /api/v1/keys); otherwise those of the configured store
        #[arg(long, value_name = "JWKS")]
        keys: Option<PathBuf>,
    },
    /// Say which vouchers to check on site: by risk × amount, and a share drawn by the seed
    SpotCheck(SpotCheckArgs),
    /// Facts from the log
    #[command(subcommand)]
    Tally(TallyCommand),
    /// The evidence log
    #[command(subcommand)]
    Log(LogCommand),
    /// Refused messages of the running service
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Bearer keys of the API, and the key that signs results
    #[command(subcommand)]
    Key(KeyCommand),
    /// Measure accepted reports per second and acknowledgement latency
    Load(drive::load::LoadArgs),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Each value with its origin
    Print,
}

#[derive(Subcommand)]
enum TallyCommand {
    /// Compute the facts from the log anew, and say whether they were the same
    Rebuild,
}

#[derive(Subcommand)]
enum LogCommand {
    /// Read every block and say whether anything is damaged, was changed, or is missing; the service may be running
    Verify {
        /// A signed head that was kept: the log must still be what it was then
        #[arg(long, value_name = "CHECKPOINT")]
        since: Option<PathBuf>,
    },
    /// Print the newest signed head, to be kept elsewhere
    Head,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key and print it, once
    Create {
        /// admin, supplier, carrier, platform, or enrol: a gateway's, which it uses once to send in its public key
        #[arg(long)]
        role: String,
        /// Whose key it is, for people
        #[arg(long)]
        name: String,
        /// Of whom: a supplier, a carrier, a city's code, or a gateway (enrol needs one); it need not be in the register yet
        #[arg(long)]
        scope: Option<String>,
    },
    /// Put a new signing key in the place of the one that signs results, and print its id; what was signed before stays verifiable
    Rotate,
}

#[derive(Args)]
struct JudgeArgs {
    /// Only this voucher; otherwise all
    #[arg(long, value_name = "ID")]
    voucher: Option<String>,
    /// As of this instant (RFC 3339 with an offset); otherwise now
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
    /// Try another rulebook; nothing is stored
    #[arg(long, value_name = "FILE")]
    rulebook: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long)]
    json: bool,
    /// Say how many verdicts, and which, would be others with each platform parameter a tenth and a quarter less and more; nothing
    /// is stored
    #[arg(long)]
    sensitivity: bool,
}

#[derive(Args)]
struct SpotCheckArgs {
    /// Any text: the same one draws the same vouchers
    #[arg(long, value_name = "TEXT")]
    seed: String,
    /// Places on the list
    #[arg(long, value_name = "N")]
    count: u64,
    /// Only vouchers of this issuance period
    #[arg(long, value_name = "ID")]
    period: Option<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

const NO: u8 = 1;
const WRONG_USE: u8 = 2;

pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Asking for help or the version is no wrong use.
            let code = if error.use_stderr() { ExitCode::from(WRONG_USE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    match run_command(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NO),
        Err(error) => {
            eprintln!("shangyun: {}", with_causes(&error));
            ExitCode::from(WRONG_USE)
        }
    }
}

/// An error and its causes in one line, each said once.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

fn run_command(cli: Cli) -> Result<bool> {
    let quiet = matches!(cli.command, Command::Demo | Command::Load(_));
    observe::start_logging(if quiet { "error" } else { "info" });
    let load = || Config::load(cli.config.as_deref(), std::env::vars(), &cli.set).map_err(anyhow::Error::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        Command::Serve => runtime.block_on(serve::run(&load()?)).map(|()| true),
        Command::Demo => runtime.block_on(demo::run(&cli.set)).map(|()| true),
        Command::CheckConfig => {
            for warning in tls::check(&load()?, observe::Clock::system().now())? {
                println!("warning: {warning}");
            }
            println!("the configuration is sound");
            Ok(true)
        }
        Command::Config(ConfigCommand::Print) => {
            print!("{}", load()?.shown());
            Ok(true)
        }
        Command::Import(args) => match &args.template {
            Some(path) => register_files::write_template(&load()?, path, args.list.as_deref()).map(|()| true),
            None => runtime.block_on(register_files::import(&load()?, &args)),
        },
        Command::Audit { subject, json } => runtime.block_on(offline::audit(&load()?, subject.as_deref(), json)).map(|()| true),
        Command::Judge(args) => {
            let as_of = args
                .as_of
                .map(|text| read_instant(&text).ok_or_else(|| anyhow!("--as-of {text}: no RFC 3339 instant with an offset")))
                .transpose()?;
            if as_of.is_some_and(|as_of| as_of > observe::Clock::system().now()) {
                bail!("--as-of lies in the future: nothing can be judged as of then");
            }
            let options = JudgeOptions { voucher: args.voucher, as_of, rulebook: args.rulebook, json: args.json };
            match args.sensitivity {
                true => runtime.block_on(sensitivity::run(&load()?, &options)).map(|()| true),
                false => runtime.block_on(offline::judge(&load()?, &options)).map(|()| true),
            }
        }
        Command::Pack { voucher, sequence, out } => runtime.block_on(pack::make(&load()?, &voucher, sequence, out)),
        Command::Verify { file, keys } => pack::verify(&file, keys.as_deref(), load),
        Command::SpotCheck(SpotCheckArgs { seed, count, period, json }) => {
            let asked = monitor::SpotCheckAsked { seed, period, count };
            runtime.block_on(spot_check::run(&load()?, &asked, json)).map(|()| true)
        }
        Command::Tally(TallyCommand::Rebuild) => runtime.block_on(offline::rebuild_tally(&load()?)),
        Command::Log(LogCommand::Verify { since }) => runtime.block_on(offline::verify_log(&load()?, since.as_deref())),
        Command::Log(LogCommand::Head) => runtime.block_on(offline::print_head(&load()?)),
        Command::Quarantine(command) => quarantine::run(&load()?, command),
        Command::Key(KeyCommand::Create { role, name, scope }) => {
            let (config, role) = (load()?, key_role(&role)?);
            let expires_at = match role {
                KeyRole::Enrol => Some(enrol_key_end(&config, scope.as_deref())?),
                KeyRole::Admin | KeyRole::Supplier | KeyRole::Carrier | KeyRole::Platform => None,
            };
            let key = ApiKey { role, name, scope, expires_at };
            runtime.block_on(offline::create_key(&config, &key)).map(|()| true)
        }
        Command::Key(KeyCommand::Rotate) => runtime.block_on(offline::rotate_key(&load()?)).map(|()| true),
        Command::Load(args) => drive::load::run(&args).map(|()| true),
    }
}

fn key_role(name: &str) -> Result<KeyRole> {
    KeyRole::read(name).ok_or_else(|| {
        let known: Vec<_> = KeyRole::ALL.iter().map(|(_, name)| *name).collect();
        anyhow!("--role {name}: the roles are {}", known.join(", "))
    })
}

/// A gateway's one-time key names its gateway, and ends.
fn enrol_key_end(config: &Config, gateway: Option<&str>) -> Result<Instant> {
    match gateway {
        Some(gateway) if wire::topic::gateway_id_valid(gateway) => {
            Ok(observe::Clock::system().now() + TimeDelta::days(config.count("enrol.key_days") as i64))
        }
        Some(gateway) => bail!("--scope {gateway}: no gateway has this id: 1 to 64 of A-Z a-z 0-9 . _ -"),
        None => bail!("--role enrol: name the gateway with --scope"),
    }
}
