//! `shangyun`: the service and the commands around it. Composes the rooms, nothing else.

mod cli;
mod config;
mod demo;
mod descriptors;
mod housekeeping;
mod http;
mod offline;
mod pack;
mod quarantine;
mod register_files;
mod sensitivity;
mod serve;
mod settings;
mod spot_check;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Whoever speaks TLS here uses this one; a second could only be installed by a mistake, and the first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run()
}
