//! The measurements of one service after the other: rate and latency, in rounds, beside a broker.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::LoadArgs;
use super::broker::Broker;
use super::figures::{Figures, median_of};
use super::fleet::{Fleet, Ran};
use super::idle::{Idle, allow_connections};
use super::push::{Batches, ENTERPRISES, Pushers};
use super::sealed;
use super::sender::Measured;
use super::signed::signing_key;
use super::site::{Site, TOKEN};
use super::workload::{gateway_ids, plans};

/// HTTP batches are made beforehand for so many reports a second.
const PUSHED_PER_S: f64 = 100_000.0;
pub(super) const NO_REQUEST_LIMIT: &str = "http.key_requests_per_s=1000000";

/// Gateways that report over MQTT.
pub(super) fn mqtt(args: &LoadArgs) -> Result<()> {
    allow_connections(u64::from(args.idle_connections) + u64::from(args.connections))?;
    let (mut ours, mut at_share, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let asked = (args.rate > 0).then_some(args.rate as f64);
    for round in 1..=args.rounds {
        println!(
            "shangyun, round {round} of {}{}",
            args.rounds,
            asked.map_or(String::new(), |rate| format!(", {rate:.0} reports/s offered"))
        );
        let site = Site::open(args, &[])?;
        let idle = prepare(args, &site)?;
        let figures = service(args, &site, asked)?;
        figures.print("service", args.devices);
        if let Some(share) = args.at_share {
            let rate = figures.per_second() * share;
            println!("shangyun, round {round} of {}, {rate:.0} reports/s offered: {:.0} % of that", args.rounds, share * 100.0);
            let figures = service(args, &site, Some(rate))?;
            figures.print("service", args.devices);
            at_share.push(figures);
        }
        if args.sealed {
            sealed::print(&site, figures.measured.report_bytes)?;
        }
        ours.push(figures);
        drop(idle);
        drop(site);
        if args.mosquitto {
            println!("mosquitto, round {round} of {}", args.rounds);
            let figures = broker(args, asked)?;
            figures.print("broker", args.devices);
            theirs.push(figures);
        }
    }
    summary(&ours, &at_share, &theirs);
    let all = || ours.iter().chain(&at_share);
    let refused: u64 = all().map(|figures| figures.measured.refused).sum();
    if refused > 0 { bail!("{refused} reports were refused") } else { Ok(()) }
}

/// Registers the gateways and connects those that stay silent.
fn prepare(args: &LoadArgs, site: &Site) -> Result<Option<Idle>> {
    let sending = usize::from(args.connections);
    let ids = gateway_ids(sending + usize::from(args.idle_connections));
    site.register_gateways(&ids, args.signed.then_some(&signing_key))?;
    if args.idle_connections == 0 {
        return Ok(None);
    }
    let idle = Idle::connect(site.mqtt, args.protocol, &ids[sending..], TOKEN)?;
    println!("  connected and silent: {}", idle.connections.len());
    Ok(Some(idle))
}

/// One run against the service.
pub(super) fn service(args: &LoadArgs, site: &Site, rate: Option<f64>) -> Result<Figures> {
    let seconds = args.seconds as f64;
    let plans = plans(args, args.connections.into(), rate, seconds);
    let fleet = Fleet { address: site.mqtt, protocol: args.protocol, plans, seconds, subscribe: None, served_by: site.process() };
    if let Some(process) = site.process() {
        process.forget_peak();
    }
    let groups = || anyhow::Ok(site.scrape()?.map(|scrape| scrape.value("shangyun_ingest_commit_duration_seconds_count")));
    let before = groups()?;
    let ran = fleet.run()?;
    let mut figures = figures(ran);
    figures.groups = groups()?.zip(before).map(|(after, before)| after - before);
    figures.memory = site.process().and_then(|process| process.memory());
    Ok(figures)
}

/// The same against a broker, which relays to one subscriber.
fn broker(args: &LoadArgs, rate: Option<f64>) -> Result<Figures> {
    let broker = Broker::start(args.in_flight)?;
    let seconds = args.seconds as f64;
    let plans = plans(args, args.connections.into(), rate, seconds);
    let fleet = Fleet {
        address: broker.address,
        protocol: args.protocol,
        plans,
        seconds,
        subscribe: Some("shangyun/v1/+/report"),
        served_by: Some(broker.process()),
    };
    let ran = fleet.run()?;
    let relayed = ran.relayed;
    let mut figures = figures(ran);
    figures.relayed = Some(relayed);
    figures.memory = broker.process().memory();
    Ok(figures)
}

pub(super) fn figures(ran: Ran) -> Figures {
    let mut measured = Measured::default();
    ran.each.iter().for_each(|each| measured.merge(each));
    Figures { measured, seconds: ran.seconds, cost: ran.cost, memory: None, relayed: None, groups: None }
}

fn summary(ours: &[Figures], at_share: &[Figures], theirs: &[Figures]) {
    let ms = |share: f64| move |figures: &Figures| figures.measured.latencies.quantile_ms(share);
    let us = |figures: &Figures| figures.cost.served.map_or(0.0, |served| figures.us_per_report(served));
    let line = |name: &str, runs: &[Figures], rate: f64| {
        println!(
            "{name}: {rate:.0} reports/s, acknowledgement p50 {:.2} ms, p99 {:.2} ms, {:.1} µs of processor per report",
            median_of(runs, ms(0.5)),
            median_of(runs, ms(0.99)),
            median_of(runs, us)
        );
    };
    println!("median of {}", ours.len());
    let rate = median_of(ours, Figures::per_second);
    line("shangyun", ours, rate);
    if !at_share.is_empty() {
        line("shangyun at its share of that", at_share, median_of(at_share, Figures::per_second));
    }
    if !theirs.is_empty() {
        let relayed = median_of(theirs, |figures| figures.relayed_per_second().unwrap_or(0.0));
        line("mosquitto, relayed in memory", theirs, relayed);
        println!("ratio {:.3}: shangyun's accepted and durable to mosquitto's relayed", rate / relayed);
    }
}

/// A supplier that pushes batches over HTTP.
pub(super) fn http(args: &LoadArgs, batch: u16) -> Result<()> {
    let seconds = args.seconds as f64;
    let count = (PUSHED_PER_S * seconds / f64::from(batch)) as usize + 1;
    let batches = Arc::new(Batches::prepare(count, batch.into(), args.devices)?);
    println!(
        "batches of {batch} reports of {} devices in gzip, {:.1} % of the JSON; {} connections",
        args.devices,
        batches.compressed_share() * 100.0,
        args.connections
    );
    let mut runs = Vec::new();
    for round in 1..=args.rounds {
        println!("shangyun, round {round} of {}", args.rounds);
        batches.rewind();
        let site = Site::start(&[NO_REQUEST_LIMIT])?;
        let key = site.register_supplier(ENTERPRISES)?;
        let address = site.http.trim_start_matches("http://").parse()?;
        let connections = args.connections;
        let pushed = Pushers { address, key, connections, batches: batches.clone(), seconds, served_by: site.process() }.run()?;
        if pushed.too_many + pushed.unavailable > 0 {
            println!("  answered 429: {}, 503: {}", pushed.too_many, pushed.unavailable);
        }
        let figures = Figures {
            measured: pushed.measured,
            seconds: pushed.seconds,
            cost: pushed.cost,
            memory: site.process().and_then(|process| process.memory()),
            relayed: None,
            groups: None,
        };
        figures.print("service", args.devices);
        if args.sealed {
            sealed::print(&site, figures.measured.report_bytes)?;
        }
        runs.push(figures);
    }
    summary(&runs, &[], &[]);
    let refused: u64 = runs.iter().map(|figures| figures.measured.refused).sum();
    if refused > 0 { bail!("{refused} reports were refused") } else { Ok(()) }
}
