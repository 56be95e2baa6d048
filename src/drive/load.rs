//! `shangyun load`: how many reports a second are accepted, durably, how long an acknowledgement takes, and what it costs.

mod broker;
mod figures;
mod fleet;
mod idle;
mod latencies;
mod measure;
mod overload;
mod packets;
mod process;
mod push;
mod recovery;
mod reports;
mod scrape;
mod sealed;
mod sender;
mod signed;
mod site;
mod window;
mod workload;

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;

pub use packets::Protocol;

#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The service's MQTT address; without it each round starts a service in a temporary directory
    #[arg(long, requires_all = ["http", "key"])]
    mqtt: Option<SocketAddr>,
    /// The service's HTTP address, such as http://127.0.0.1:8080
    #[arg(long)]
    http: Option<String>,
    /// An admin key, to register the gateways that send
    #[arg(long)]
    key: Option<String>,
    /// Connections, each a gateway of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Reports of one connection that wait for their acknowledgement
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    in_flight: u16,
    /// Devices in each report
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    devices: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// At most this many reports a second in all; latency counts from when a report was due. 0: as many as go
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// After the peak, once more at this share of it, such as 0.8
    #[arg(long, conflicts_with = "rate")]
    at_share: Option<f64>,
    /// Measure so many times and tell the median
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// MQTT version
    #[arg(long, value_enum, default_value = "5")]
    protocol: Protocol,
    /// Measure a Mosquitto in the same rounds: it relays the same reports, in memory, to one subscriber
    #[arg(long)]
    mosquitto: bool,
    /// Signed reports: CBOR in COSE_Sign1, signed beforehand
    #[arg(long)]
    signed: bool,
    /// So many devices take turns in the reports
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9_999_999))]
    active_devices: Option<u64>,
    /// So many more gateways are connected and send nothing
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=19_000))]
    idle_connections: u16,
    /// Wait until the log's full segments are sealed, and tell their size
    #[arg(long, conflicts_with = "mqtt")]
    sealed: bool,
    /// Instead of MQTT: a supplier pushes batches of so many reports over HTTP, in gzip
    #[arg(long, value_name = "REPORTS", conflicts_with_all = ["mqtt", "mosquitto", "signed", "rate", "at_share"], value_parser = clap::value_parser!(u16).range(1..=1_000))]
    http_batch: Option<u16>,
    /// Offer so many times the peak; also a noisy gateway beside quiet ones, and a supplier beyond its share
    #[arg(long, value_name = "FACTOR", conflicts_with_all = ["mqtt", "http_batch", "mosquitto", "signed", "rate", "at_share"])]
    overload: Option<f64>,
    /// Kill the service with so many MiB of reports behind its checkpoint, and tell how long a start takes
    #[arg(long, value_name = "MIB", num_args = 0..=1, default_missing_value = "1024", value_parser = clap::value_parser!(u64).range(1..=65_536), conflicts_with_all = ["mqtt", "http_batch", "overload", "mosquitto", "signed", "rate", "at_share"])]
    recovery: Option<u64>,
}

pub fn run(args: &LoadArgs) -> Result<()> {
    println!("reports of {} devices; {} connections × {} in flight, {} s", args.devices, args.connections, args.in_flight, args.seconds);
    match (args.http_batch, args.overload, args.recovery) {
        (Some(batch), ..) => measure::http(args, batch),
        (_, Some(factor), _) => overload::overload(args, factor),
        (_, _, Some(mib)) => recovery::recovery(args, mib),
        _ => measure::mqtt(args),
    }
}
