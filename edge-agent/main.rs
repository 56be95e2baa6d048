//! `shangyun-edge`: the command line of the edge agent. Exit codes: 0 well, 1 the answer is no, 2 wrong use or configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use edge::check::CheckArgs;
use edge::enrol::EnrolArgs;
use edge::probe::ProbeArgs;
use edge::status::command::StatusArgs;
use edge::{Config, RunError, SystemClock, Watchdog};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(name = "shangyun-edge", version, about = "Reads machines over Modbus, spools reports on disk and delivers them over MQTT")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Poll the configured devices and report until SIGINT or SIGTERM
    Run {
        /// The configuration (TOML); SHANGYUN__SECTION__KEY in the environment overrides it
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Find everything that would keep the agent from working
    Check(CheckArgs),
    /// Make this gateway known to the service by its own key, with a one-time key of the service
    Enrol(EnrolArgs),
    /// Serve simulated machines over Modbus, for a dry run
    Simulate(edge::simulate::Args),
    /// Show how the agent that runs here is doing: devices, broker, spool, what the service counts
    Status(StatusArgs),
    /// Show the acknowledged reports that are kept on disk, as proof of what was delivered
    Spool(edge::spool_command::SpoolArgs),
    /// Find out what answers at an address, and where the values of a machine's display stand
    Probe(ProbeArgs),
}

fn main() -> ExitCode {
    let config = match Cli::parse().command {
        Command::Run { config } => config,
        Command::Check(args) => return edge::check::run(&args),
        Command::Enrol(args) => return edge::enrol::run(&args),
        Command::Simulate(args) => return edge::simulate::run(&args),
        Command::Status(args) => return edge::status::command::run(&args),
        Command::Spool(args) => return edge::spool_command::run(&args),
        Command::Probe(args) => return edge::probe::run(&args),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_env_filter(filter).init();
    let config = match Config::load(&config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let configuration = matches!(error.downcast_ref(), Some(RunError::Spool { .. } | RunError::Key(_)));
            ExitCode::from(if configuration { 2 } else { 1 })
        }
    }
}

fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("finishing");
        };
        edge::run_watched(config, Arc::new(SystemClock::default()), Watchdog::from_environment(), shutdown).await?;
        Ok(())
    })
}
