//! A day without a connection, at the size that the agent is built for: 200 devices of 20 points, every 60 s.

use super::*;
use crate::spool_sample::Sample;

const MINUTE_MS: u64 = 60_000;
const BEGAN_MS: u64 = 1_700_000_000_000;
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Appends the signed reports of so many minutes; the keys in order.
fn outage(spool: &mut Spool, minutes: u64) -> Vec<ReportKey> {
    let mut sample = Sample::new(200, 20);
    let mut keys = Vec::new();
    for minute in 0..minutes {
        spool.tick(BEGAN_MS + minute * MINUTE_MS).unwrap();
        let batch = sample.reports(50);
        keys.extend(batch.iter().map(|(key, _)| key.clone()));
        spool.append_all(&batch).unwrap();
    }
    keys
}

#[test]
fn a_day_without_a_connection_is_delivered_in_order_without_loss_or_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    let keys = outage(&mut spool, 24 * 60);
    assert_eq!((spool.unsettled_count(), spool.dropped().len()), (24 * 60 * 4, 0));
    // The agent is killed: nothing is closed in order.
    drop(spool);
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    let (mut from, mut delivered) = (0, Vec::new());
    loop {
        let chosen = spool.unsettled(from, 20);
        let Some(last) = chosen.last() else { break };
        from = last + 1;
        for position in chosen {
            delivered.push(spool.read(position).unwrap().unwrap().key);
            spool.settle(position).unwrap();
        }
    }
    assert!(delivered == keys, "{} of {}", delivered.len(), keys.len());
    assert_eq!((spool.unsettled_count(), spool.unreadable_count(), spool.figures().unwrap().acknowledged_today), (0, 0, 5760));
}

#[test]
fn three_days_fit_many_times_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), BYTES_MAX).unwrap();
    outage(&mut spool, 120);
    let bytes_per_hour = spool.bytes() / 2;
    println!("{bytes_per_hour} bytes an hour at 200 devices of 20 points every 60 s");
    assert!(bytes_per_hour * 72 < BYTES_MAX / 2, "{bytes_per_hour} bytes an hour");
}

#[test]
fn a_full_spool_needs_little_memory_for_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 4 * 1024 * 1024).unwrap();
    outage(&mut spool, 180);
    assert!(spool.segments.len() >= 10);
    for position in spool.unsettled(0, usize::MAX) {
        spool.read(position).unwrap().unwrap();
        let indexed = spool.segments.iter().filter(|segment| segment.indexed()).count();
        assert!(indexed <= 2, "only the newest and the one that is read");
    }
    assert_eq!(spool.runs.len(), 1, "one boot is one run");
}
