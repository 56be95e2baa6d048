//! What becomes of the service when far more is offered than it can take: goodput, its own latency, memory; what one noisy sender does
//! to quiet ones; what a supplier is told that pushes beyond its share.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::Utc;

use super::LoadArgs;
use super::figures::Figures;
use super::fleet::Fleet;
use super::idle::allow_connections;
use super::measure::{NO_REQUEST_LIMIT, figures};
use super::process::Memory;
use super::push::{Batches, ENTERPRISES, Pushed, Pushers};
use super::reports::{Entries, GatewayReports};
use super::scrape::Buckets;
use super::sender::{Measured, Pace, Plan};
use super::site::{Site, TOKEN};
use super::workload::{gateway_ids, plans};

/// What is sustained without strain, as a share of the peak.
const NORMAL_SHARE: f64 = 0.8;
/// A quiet gateway sends this share of the peak.
const QUIET_SHARE: f64 = 0.02;
const QUIET_GATEWAYS: usize = 10;
/// The noisy gateway's connections; each has as much in flight as others have.
const NOISY_CONNECTIONS: usize = 40;
const NOISY: &str = "load-noisy";
/// A pusher's connections: with a batch in flight on each, more than a sender's share of the room.
const PUSHING_CONNECTIONS: u16 = 64;
const BATCH_REPORTS: usize = 100;

pub(super) fn overload(args: &LoadArgs, factor: f64) -> Result<()> {
    let many = (f64::from(args.connections) * factor).ceil() as usize;
    allow_connections((many + NOISY_CONNECTIONS) as u64 + u64::from(PUSHING_CONNECTIONS))?;
    let site = Site::start(&[NO_REQUEST_LIMIT])?;
    let mut ids = gateway_ids(many.max(args.connections.into()).max(QUIET_GATEWAYS));
    ids.push(NOISY.into());
    site.register_gateways(&ids, None)?;
    let stage = Stage { args, site: &site };

    let peak = stage.run("peak", args.connections.into(), None)?;
    let peak_per_s = peak.figures.per_second();
    let normal = stage.run("normal", args.connections.into(), Some(peak_per_s * NORMAL_SHARE))?;
    let over = stage.run("overload", many, Some(peak_per_s * factor))?;
    // What the disk and the memory give changes while so much is written: the peak is measured on both sides of the overload.
    let again = stage.run("peak again", args.connections.into(), None)?;
    println!(
        "goodput at {factor} times the peak: {:.1} % of the peak before and {:.1} % of the peak after; answered by the service after {:.2} and {:.2} times the mean at the peak, {:.2} times that at {:.0} % of it",
        over.figures.per_second() / peak_per_s * 100.0,
        over.figures.per_second() / again.figures.per_second() * 100.0,
        over.settled.mean_ms() / peak.settled.mean_ms(),
        over.settled.mean_ms() / again.settled.mean_ms(),
        over.settled.mean_ms() / normal.settled.mean_ms(),
        NORMAL_SHARE * 100.0
    );
    stage.noisy_neighbour(peak_per_s)?;
    stage.pushing_beyond_the_share(many, peak_per_s * factor)
}

struct Stage<'a> {
    args: &'a LoadArgs,
    site: &'a Site,
}

struct Outcome {
    figures: Figures,
    /// The service's own account: from having read a batch to its answers.
    settled: Buckets,
}

impl Stage<'_> {
    /// Runs so many gateways and prints what became of it.
    fn run(&self, name: &str, gateways: usize, rate: Option<f64>) -> Result<Outcome> {
        let plans = plans(self.args, gateways, rate, self.args.seconds as f64);
        let (figures, settled) = self.observed(|| Ok(figures(self.fleet(plans).run()?)))?;
        let offered = figures.measured.offered as f64 / figures.seconds;
        println!(
            "{name}: {gateways} gateways offer {offered:.0} reports/s, accepted {:.0}/s, refused {}",
            figures.per_second(),
            figures.measured.refused
        );
        println!("  {}", settled_line(&settled));
        println!("  seen by the gateways: {}", figures.latency_line());
        self.print_memory();
        Ok(Outcome { figures, settled })
    }

    fn fleet(&self, plans: Vec<Plan>) -> Fleet {
        Fleet {
            address: self.site.mqtt,
            protocol: self.args.protocol,
            plans,
            seconds: self.args.seconds as f64,
            subscribe: None,
            served_by: self.site.process(),
        }
    }

    /// Does something, and reads meanwhile what the service says of its latency.
    fn observed<T>(&self, something: impl FnOnce() -> Result<T>) -> Result<(T, Buckets)> {
        let settled = || {
            let scrape = self.site.scrape()?.context("a service of our own tells its metrics")?;
            anyhow::Ok(scrape.buckets("shangyun_ingest_settle_duration_seconds"))
        };
        if let Some(process) = self.site.process() {
            process.forget_peak();
        }
        let before = settled()?;
        let done = something()?;
        Ok((done, settled()?.since(&before)))
    }

    fn print_memory(&self) {
        if let Some(Memory { resident_mib, peak_mib }) = self.site.process().and_then(|process| process.memory()) {
            println!("  service memory {resident_mib} MiB, at most {peak_mib} MiB");
        }
    }

    /// Quiet gateways alone, and then beside one that sends as much as it can on many connections.
    fn noisy_neighbour(&self, peak_per_s: f64) -> Result<()> {
        let quiet_per_s = peak_per_s * QUIET_SHARE * QUIET_GATEWAYS as f64;
        let quiet = || plans(self.args, QUIET_GATEWAYS, Some(quiet_per_s), self.args.seconds as f64);
        let alone = figures(self.fleet(quiet()).run()?);
        println!("quiet gateways alone: {}", share_line(&alone.measured));
        let mut all = quiet();
        all.extend((0..NOISY_CONNECTIONS).map(|number| self.noisy(number)));
        let ran = self.fleet(all).run()?;
        let (mut quiet, mut noisy) = (Measured::default(), Measured::default());
        ran.each[..QUIET_GATEWAYS].iter().for_each(|each| quiet.merge(each));
        ran.each[QUIET_GATEWAYS..].iter().for_each(|each| noisy.merge(each));
        println!("quiet gateways beside a noisy one: {}", share_line(&quiet));
        println!(
            "the noisy gateway, on {NOISY_CONNECTIONS} connections: accepted {:.0} reports/s, {:.1} % of the peak",
            noisy.accepted_in_time as f64 / ran.seconds,
            noisy.accepted_in_time as f64 / ran.seconds / peak_per_s * 100.0
        );
        Ok(())
    }

    fn noisy(&self, number: usize) -> Plan {
        let boot = format!("noisy-{number}-{}", Utc::now().timestamp_micros());
        let entries = Entries::new(self.args.devices, 0..u64::from(self.args.devices), number as u64);
        let reports = Box::new(GatewayReports::new(self.args.protocol, NOISY, &boot, entries));
        let client_id = format!("{NOISY}/{number}");
        Plan { user: NOISY.into(), client_id, token: TOKEN.into(), in_flight: self.args.in_flight, pace: None::<Pace>, reports }
    }

    /// A supplier that pushes on many connections, beside gateways that offer too much.
    fn pushing_beyond_the_share(&self, gateways: usize, rate: f64) -> Result<()> {
        let seconds = self.args.seconds as f64;
        let plans = plans(self.args, gateways, Some(rate), seconds);
        let key = self.site.register_supplier(ENTERPRISES)?;
        // Beside the gateways it gets a part of the peak at most.
        let batches =
            Arc::new(Batches::prepare((rate * seconds / BATCH_REPORTS as f64 / 2.0) as usize + 1, BATCH_REPORTS, self.args.devices)?);
        let address = self.site.http.trim_start_matches("http://").parse()?;
        let pushers = Pushers { address, key, connections: PUSHING_CONNECTIONS, batches, seconds, served_by: None };
        let pushing = std::thread::Builder::new().name("push".into()).spawn(move || pushers.run())?;
        let gateways = figures(self.fleet(plans).run()?);
        let pushed = pushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        print_pushed(&pushed, &gateways);
        self.print_memory();
        Ok(())
    }
}

fn print_pushed(pushed: &Pushed, gateways: &Figures) {
    println!(
        "a supplier on {PUSHING_CONNECTIONS} connections beside them: accepted {:.0} reports/s (the gateways {:.0}/s); answered 429: {}, 503: {}, without Retry-After: {}",
        pushed.measured.accepted_in_time as f64 / pushed.seconds,
        gateways.per_second(),
        pushed.too_many,
        pushed.unavailable,
        pushed.without_retry_after
    );
}

fn settled_line(settled: &Buckets) -> String {
    format!(
        "answered by the service after ms: mean {:.2}  p50 {:.2}  p99 {:.2}  ({:.0} batches)",
        settled.mean_ms(),
        settled.quantile_ms(0.5),
        settled.quantile_ms(0.99),
        settled.count()
    )
}

fn share_line(measured: &Measured) -> String {
    let ms = |share| measured.latencies.quantile_ms(share);
    format!(
        "accepted {:.1} % of {} offered, acknowledgement ms: p50 {:.2}  p99 {:.2}  max {:.2}",
        measured.accepted_in_time as f64 / measured.offered.max(1) as f64 * 100.0,
        measured.offered,
        ms(0.5),
        ms(0.99),
        measured.latencies.max_ms()
    )
}
