//! What the leaf of a block costs the committing thread, over the whole block as in older logs and record by record:
//! `cargo bench -p shangyun-store --bench leaf`.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use store::Frontier;

/// Reports of twenty devices have about 2.2 KiB; signed ones in CBOR about 1 KiB.
const RECORD_BYTES: [usize; 3] = [300, 1000, 2250];
const RECORDS: usize = 1000;

fn main() {
    divan::main();
}

fn block(record_bytes: usize) -> Vec<u8> {
    (0..RECORDS * record_bytes).map(|at| (at % 251) as u8).collect()
}

#[divan::bench(args = RECORD_BYTES)]
fn of_the_whole_block(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let block = block(record_bytes);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut log = Frontier::default();
        log.push(black_box(&block));
        log
    });
}

#[divan::bench(args = RECORD_BYTES)]
fn record_by_record(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let block = block(record_bytes);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut records = Frontier::default();
        black_box(&block).chunks_exact(record_bytes).for_each(|record| records.push(record));
        let mut log = Frontier::default();
        log.push(&records.root());
        log
    });
}
