//! How small the evidence log becomes once its segments are sealed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::site::Site;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Segments are looked for less often than this.
const QUIET: Duration = Duration::from_secs(8);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// What the log adds to a report's body: lengths, who sent it, for whom, when it came.
const RECORD_BYTES: f64 = 46.0;

/// Waits until nothing is left to seal, and prints what came of it.
pub(super) fn print(site: &Site, report_bytes: usize) -> Result<()> {
    let began = Instant::now();
    let (mut sealed_last, mut sealed_at) = (0.0, began);
    while sealed_at.elapsed() < QUIET {
        let Some(scrape) = site.scrape()? else { bail!("--sealed reads the metrics of a service of our own") };
        let sealed = scrape.value("shangyun_store_sealed_segments_total");
        if sealed > sealed_last {
            (sealed_last, sealed_at) = (sealed, Instant::now());
        }
        if began.elapsed() > WAIT_MAX {
            bail!("segments are still being sealed after {} s", WAIT_MAX.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let Some(scrape) = site.scrape()? else { return Ok(()) };
    let raw = scrape.value("shangyun_store_sealed_raw_bytes_total");
    let sealed = scrape.value("shangyun_store_sealed_bytes_total");
    if raw <= 0.0 {
        println!("  no segment was full: nothing is sealed");
        return Ok(());
    }
    let json = raw * report_bytes as f64 / (report_bytes as f64 + RECORD_BYTES);
    println!(
        "  sealed {sealed_last:.0} segments: {:.1} MiB of {:.1} MiB, {:.1} % of the reports' own bytes",
        sealed / f64::from(1 << 20),
        raw / f64::from(1 << 20),
        sealed / json * 100.0
    );
    Ok(())
}
