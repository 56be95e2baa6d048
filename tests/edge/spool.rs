//! The spool on a disk that fills up: nothing is half taken, and it goes on by itself.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edge::spool::{ReportKey, Spool, SpoolBounds};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SMALL_DISK: &str = "SPOOL_TEST_SMALL_DISK";
const BOUNDS: SpoolBounds = SpoolBounds { bytes_max: 4 << 20, age_max: Duration::MAX, keep_acknowledged: Duration::from_secs(24 * 3600) };

/// Runs `name` of this file once more where a file system of 1 MiB can be mounted by anybody: in name spaces of its own.
fn on_a_small_disk(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=1m tmpfs {0} && exec \"$0\" --exact {name} --nocapture", dir.path().display());
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(SMALL_DISK, dir.path())
        .status();
    assert!(status.unwrap().success(), "the test on a small disk failed");
}

fn batch(first: u64) -> Vec<(ReportKey, Vec<u8>)> {
    let body = |seq| StdRng::seed_from_u64(seq).random_iter().take(15_000).collect();
    (first..first + 3).map(|seq| (ReportKey { boot: "b7".into(), seq }, body(seq))).collect()
}

fn assert_holds(spool: &mut Spool, positions: std::ops::Range<u64>) {
    assert_eq!(spool.unsettled(0, usize::MAX), positions.clone().collect::<Vec<_>>());
    for position in positions {
        let seq = position + 1;
        let stored = spool.read(position).unwrap().unwrap();
        assert_eq!((stored.key, stored.body), batch(seq).swap_remove(0));
    }
}

#[test]
fn a_full_disk_takes_nothing_by_halves_and_what_is_only_kept_gives_way_to_what_waits() {
    let Some(dir) = std::env::var_os(SMALL_DISK) else {
        return on_a_small_disk("a_full_disk_takes_nothing_by_halves_and_what_is_only_kept_gives_way_to_what_waits");
    };
    let dir = Path::new(&dir);
    let mut spool = Spool::open(dir, BOUNDS).unwrap();
    spool.tick(1_700_000_000_000).unwrap();
    let mut taken = 0;
    let error = loop {
        match spool.append_all(&batch(taken + 1)) {
            Ok(positions) => taken = positions.end,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(taken >= 45, "{taken}");
    assert_holds(&mut spool, 0..taken);
    assert_eq!(spool.append_all(&batch(taken + 1)).unwrap_err().kind(), ErrorKind::StorageFull);
    drop(spool);
    let mut spool = Spool::open(dir, BOUNDS).unwrap();
    spool.tick(1_700_000_000_000).unwrap();
    assert_holds(&mut spool, 0..taken);

    assert_eq!(spool.settle_through("b7", 40, &[]).unwrap(), 40);
    assert_eq!(spool.append_all(&batch(taken + 1)).unwrap(), taken..taken + 3);
    assert_holds(&mut spool, 40..taken + 3);
    assert!(spool.dropped().is_empty());
    drop(spool);
    assert_eq!(Spool::open(dir, BOUNDS).unwrap().unreadable_count(), 0);
}
