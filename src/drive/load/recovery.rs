//! How long a start takes after `kill -9`, with much of the log behind the last checkpoint.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::LoadArgs;
use super::figures::median;
use super::measure::service;
use super::site::Site;
use super::workload::gateway_ids;

const MIB: f64 = (1 << 20) as f64;
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const NO_CHECKPOINT: &str = "tally.checkpoint_every_s=3600";

pub(super) fn recovery(args: &LoadArgs, mib: u64) -> Result<()> {
    let mut starts_s = Vec::new();
    for round in 1..=args.rounds {
        let mut site = Site::start(&[NO_CHECKPOINT])?;
        site.register_gateways(&gateway_ids(args.connections.into()), None)?;
        let (mut reports, mut bytes) = (0, 0.0);
        while bytes < mib as f64 * MIB {
            let measured = service(args, &site, None)?.measured;
            if measured.accepted == 0 {
                bail!("nothing is accepted");
            }
            reports += measured.accepted;
            bytes += measured.accepted as f64 * measured.report_bytes as f64;
        }
        let checkpoints = site.scrape()?.map_or(0.0, |scrape| scrape.value("shangyun_store_checkpoint_duration_seconds_count"));
        let own = site.own.as_mut().context("only a service of our own is killed")?;
        let took = ready_after_kill(own)?;
        println!(
            "round {round} of {}: {reports} reports, {:.0} MiB of JSON since checkpoint {checkpoints:.0}; ready {:.2} s after the start, {:.0} MiB/s; {}",
            args.rounds,
            bytes / MIB,
            took.as_secs_f64(),
            bytes / MIB / took.as_secs_f64(),
            match site.process().and_then(|process| process.memory()) {
                Some(memory) => format!("memory {} MiB, at most {} MiB", memory.resident_mib, memory.peak_mib),
                None => String::new(),
            }
        );
        starts_s.push(took.as_secs_f64());
    }
    println!("median of {}: ready {:.2} s after the start", args.rounds, median(starts_s));
    Ok(())
}

fn ready_after_kill(own: &mut super::site::OwnService) -> Result<Duration> {
    own.kill();
    let began = Instant::now();
    own.start_again()?;
    while !own.ready() {
        if began.elapsed() > READY_TIMEOUT {
            bail!("the service is not ready after {} s", READY_TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(began.elapsed())
}
