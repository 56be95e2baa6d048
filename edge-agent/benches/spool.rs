//! What the spool costs: `cargo bench -p shangyun-edge --bench spool`. 200 devices of 20 points, signed reports of 50 devices.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use edge::spool::{ReportKey, Spool};
use sample::Sample;
use tempfile::TempDir;

mod spool {
    pub use edge::spool::ReportKey;
}

#[path = "../spool_sample.rs"]
mod sample;

const BYTES_MAX: u64 = 256 << 20;
const ROUNDS_AN_HOUR: u64 = 60;

fn main() {
    let dir = scratch();
    let logical = filled(dir.path(), ROUNDS_AN_HOUR);
    let stored = Spool::open(dir.path(), BYTES_MAX).unwrap().bytes();
    println!("an hour at 60 s: {logical} bytes of reports, {stored} on disk, {} h in 256 MiB", BYTES_MAX / stored);
    divan::main();
}

/// On the disk of the build, not in memory.
fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn bytes(batch: &[(ReportKey, Vec<u8>)]) -> u64 {
    batch.iter().map(|(_, body)| body.len() as u64).sum()
}

fn filled(dir: &Path, rounds: u64) -> u64 {
    let (mut spool, mut sample) = (Spool::open(dir, BYTES_MAX).unwrap(), Sample::new(200, 20));
    (0..rounds)
        .map(|_| {
            let batch = sample.reports(50);
            spool.append_all(&batch).unwrap();
            bytes(&batch)
        })
        .sum()
}

#[divan::bench]
fn append_and_sync_one_round(bencher: Bencher<'_, '_>) {
    let dir = scratch();
    let (mut spool, mut sample) = (Spool::open(dir.path(), BYTES_MAX).unwrap(), Sample::new(200, 20));
    bencher
        .with_inputs(|| sample.reports(50))
        .input_counter(|batch| BytesCount::new(bytes(batch)))
        .bench_local_refs(|batch| spool.append_all(batch).unwrap());
}

#[divan::bench]
fn open_after_a_day(bencher: Bencher<'_, '_>) {
    let dir = scratch();
    filled(dir.path(), 24 * ROUNDS_AN_HOUR);
    bencher.bench_local(|| Spool::open(dir.path(), BYTES_MAX).unwrap().unsettled_count());
}

#[divan::bench]
fn read_and_settle_an_hour(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(ROUNDS_AN_HOUR * 4))
        .with_inputs(|| {
            let dir = scratch();
            filled(dir.path(), ROUNDS_AN_HOUR);
            (Spool::open(dir.path(), BYTES_MAX).unwrap(), dir)
        })
        .bench_local_refs(|(spool, _)| {
            for position in spool.unsettled(0, usize::MAX) {
                spool.read(position).unwrap().unwrap();
                spool.settle(position).unwrap();
            }
        });
}
