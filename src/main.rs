//! `shangyun`: the service and the commands around it. Composes the rooms, nothing else.

mod cli;
mod config;
mod demo;
mod housekeeping;
mod offline;
mod quarantine;
mod serve;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
