//! How long what stays: bounds of age, what is kept after its acknowledgement, what is refused, and the figures of it all.

use std::time::Duration;

use super::*;
use crate::segment::Segment;

const MIB: u64 = 1024 * 1024;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// 00:30 in Shanghai on some day.
const BEGAN_MS: u64 = 20_000 * 24 * HOUR_MS - 8 * HOUR_MS + HOUR_MS / 2;

fn bounds(age_h: u64, keep_h: u64) -> Bounds {
    Bounds { bytes_max: MIB, age_max: Duration::from_secs(age_h * 3600), keep_acknowledged: Duration::from_secs(keep_h * 3600) }
}

fn report(seq: u64) -> (ReportKey, Vec<u8>) {
    (ReportKey { boot: "b7".into(), seq }, format!(r#"{{"v":1,"boot":"b7","seq":{seq}}}"#).into_bytes())
}

/// A report that takes as many bytes on disk.
fn large(seq: u64, bytes: usize) -> (ReportKey, Vec<u8>) {
    use rand::{RngExt, SeedableRng};
    (ReportKey { boot: "b7".into(), seq }, rand::rngs::StdRng::seed_from_u64(seq).random_iter().take(bytes).collect())
}

/// Time passes as for a running agent: minute by minute.
fn pass(spool: &mut Spool, now_ms: &mut u64, hours: u64) {
    for _ in 0..hours * 60 {
        *now_ms += MINUTE_MS;
        spool.tick(*now_ms).unwrap();
    }
}

fn opened(dir: &Path, bounds: Bounds) -> Spool {
    let mut spool = Spool::open(dir, bounds).unwrap();
    spool.tick(BEGAN_MS).unwrap();
    spool
}

#[test]
fn what_waits_too_long_is_dropped_counted_and_told() {
    let (dir, mut now_ms) = (tempfile::tempdir().unwrap(), BEGAN_MS);
    let mut spool = opened(dir.path(), bounds(48, 24));
    for seq in 1..=3 {
        spool.append_all(&[report(seq)]).unwrap();
        pass(&mut spool, &mut now_ms, 10);
    }
    pass(&mut spool, &mut now_ms, 18);
    assert_eq!((spool.unsettled_count(), spool.dropped().len()), (3, 0), "not before its time");
    pass(&mut spool, &mut now_ms, 1);
    assert_eq!(spool.unsettled(0, 9), [1, 2]);
    assert_eq!(spool.dropped(), [DroppedRange { boot: "b7".into(), first: 1, last: 1 }]);
    pass(&mut spool, &mut now_ms, 20);
    assert_eq!((spool.unsettled_count(), spool.figures().unwrap().dropped), (0, 3));
    assert_eq!(spool.append_all(&[report(4)]).unwrap(), 3..4);
    assert_eq!(spool.unsettled(0, 9), [3]);
}

#[test]
fn a_clock_that_was_set_drops_nothing_before_it_has_gone_evenly_for_an_hour() {
    let (dir, mut now_ms) = (tempfile::tempdir().unwrap(), BEGAN_MS);
    let mut spool = opened(dir.path(), bounds(48, 24));
    spool.append_all(&[report(1)]).unwrap();
    pass(&mut spool, &mut now_ms, 2);
    let right_ms = now_ms;
    now_ms += 10_000 * HOUR_MS;
    for _ in 0..59 {
        now_ms += MINUTE_MS;
        spool.tick(now_ms).unwrap();
    }
    spool.tick(right_ms + HOUR_MS).unwrap();
    now_ms = right_ms + HOUR_MS;
    pass(&mut spool, &mut now_ms, 2);
    assert_eq!(spool.unsettled(0, 9), [0]);
    now_ms += 10_000 * HOUR_MS;
    pass(&mut spool, &mut now_ms, 2);
    assert_eq!(spool.unsettled_count(), 0);
}

#[test]
fn what_was_acknowledged_stays_as_long_as_configured_also_over_a_restart() {
    let (dir, mut now_ms) = (tempfile::tempdir().unwrap(), BEGAN_MS);
    let mut spool = opened(dir.path(), bounds(720, 24));
    spool.append_all(&[report(1), report(2)]).unwrap();
    pass(&mut spool, &mut now_ms, 5);
    spool.settle_through("b7", 2, &[]).unwrap();
    spool.append_all(&[report(3)]).unwrap();
    spool.save_marks().unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), bounds(720, 24)).unwrap();
    pass(&mut spool, &mut now_ms, 23);
    let mut kept = vec![];
    acknowledged(dir.path(), |report| {
        kept.push((report.stored.key.seq, report.spooled_at_ms, report.settled_by_ms));
        Ok(())
    })
    .unwrap();
    assert_eq!(kept, [(1, BEGAN_MS, BEGAN_MS + 5 * HOUR_MS), (2, BEGAN_MS, BEGAN_MS + 5 * HOUR_MS)]);
    assert_eq!(spool.read(0).unwrap(), None, "it is not sent again");
    pass(&mut spool, &mut now_ms, 2);
    assert_eq!(Segment::list(dir.path()).unwrap().len(), 1);
    assert_eq!((spool.unsettled(0, 9), spool.figures().unwrap().kept), (vec![2], 0));
}

#[test]
fn what_is_only_kept_gives_way_before_anything_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    for seq in 1..=40 {
        let positions = spool.append_all(&[large(seq, 50_000)]).unwrap();
        // The oldest one is never delivered.
        if seq > 1 {
            spool.settle(positions.start).unwrap();
        }
        assert!(spool.bytes() <= MIB);
    }
    assert_eq!((spool.unsettled(0, 9), spool.dropped().len()), (vec![0], 0));
    assert!(spool.figures().unwrap().kept >= 15);
    for seq in 41..=70 {
        spool.append_all(&[large(seq, 50_000)]).unwrap();
    }
    assert_eq!(spool.dropped()[0].first, 1);
    assert_eq!(spool.figures().unwrap().kept, 0);
}

#[test]
fn receipts_settle_their_boot_up_to_their_number_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    let of = |boot: &str, seq| (ReportKey { boot: boot.into(), seq }, b"{}".to_vec());
    spool.append_all(&[of("a", 1), of("a", 2), of("a", 3)]).unwrap();
    spool.append_all(&[of("b", 1), of("b", 2)]).unwrap();
    assert_eq!(spool.settle_through("b", 1, &[]).unwrap(), 1);
    assert_eq!(spool.settle_through("a", 2, &[]).unwrap(), 2);
    assert_eq!(spool.settle_through("a", 2, &[]).unwrap(), 0, "a repeated receipt settles nothing");
    assert_eq!(spool.settle_through("c", 9, &[]).unwrap(), 0);
    assert_eq!(spool.unsettled(0, 9), [2, 4]);
    assert_eq!(spool.positions_below("a", 3), std::slice::from_ref(&(0..2)));
    assert_eq!(spool.settle_through("b", 2, std::slice::from_ref(&(4..5))).unwrap(), 0, "what is excepted waits on");
    drop(spool);
    // The same from a spool that was read from the disk.
    let mut spool = Spool::open(dir.path(), bounds(720, 24)).unwrap();
    assert_eq!(spool.settle_through("a", u64::MAX, &[]).unwrap(), 3);
    assert_eq!(spool.unsettled(0, 9), [3, 4]);
}

#[test]
fn figures_say_what_waits_how_old_it_is_and_how_long_there_is_room() {
    let (dir, mut now_ms) = (tempfile::tempdir().unwrap(), BEGAN_MS);
    let mut spool = opened(dir.path(), bounds(720, 24));
    assert_eq!(spool.figures().unwrap().hours_left, None);
    for seq in 1..=10 {
        spool.append_all(&[large(seq, 10_000)]).unwrap();
        pass(&mut spool, &mut now_ms, 1);
    }
    spool.settle(1).unwrap();
    spool.settle_through("b7", 3, &[]).unwrap();
    let figures = spool.figures().unwrap();
    assert_eq!((figures.waiting, figures.kept, figures.acknowledged_today), (7, 3, 3));
    assert_eq!(figures.oldest_at_ms, Some(BEGAN_MS + 3 * HOUR_MS));
    // 1 MiB less 100,000 bytes, at 10,000 bytes an hour.
    let hours_left = figures.hours_left.unwrap();
    assert!((90.0..100.0).contains(&hours_left), "{hours_left}");
    pass(&mut spool, &mut now_ms, 14);
    assert_eq!(spool.figures().unwrap().acknowledged_today, 0, "a new day in Shanghai");
}

#[test]
fn looking_into_a_spool_in_use_counts_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    spool.append_all(&[report(1), report(2), report(3), report(4)]).unwrap();
    spool.refuse(0, "payload", None).unwrap();
    spool.settle(1).unwrap();
    spool.save_marks().unwrap();
    let content = || ["marks.a", "marks.b", "0000000000000000.spool"].map(|name| std::fs::read(dir.path().join(name)).unwrap_or_default());
    let before = content();
    let seen = inspect(dir.path()).unwrap();
    assert_eq!((seen.records, seen.unsettled, seen.damaged, seen.refused, seen.segments), (4, 2, 0, 1, 1));
    assert_eq!((seen.bytes, seen.settled_at_ms, seen.oldest_unsettled_at_ms), (spool.bytes(), Some(BEGAN_MS), Some(BEGAN_MS)));
    assert_eq!(content(), before);
    let path = dir.path().join("0000000000000000.spool");
    let mut damaged = before[2].clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let seen = inspect(dir.path()).unwrap();
    assert_eq!((seen.records, seen.unsettled, seen.damaged), (3, 1, 1));
    assert!(inspect(&dir.path().join("nowhere")).is_err());
}

#[test]
fn a_signed_report_that_is_refused_or_dropped_is_read_through_its_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    let payload = br#"{"v":1,"seq":1,"events":[{"event":"dropped","detail":"b6:1-4"}]}"#;
    let sealed = wire::cose::seal(payload, "gw-1", &wire::cose::SigningKey::from_bytes(&[7; 32]));
    spool.append_all(&[(report(1).0, sealed.clone()), (report(2).0, sealed.clone())]).unwrap();
    let path = spool.refuse(0, "0x99 payload format invalid", Some(b"[1]")).unwrap().unwrap();
    let refused: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((&refused["report"]["seq"], &refused["faults"][0]), (&1.into(), &1.into()));
    use base64::Engine as _;
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(refused["envelope"].as_str().unwrap()).unwrap(), sealed);
    for seq in 3..=30 {
        spool.append_all(&[large(seq, 50_000)]).unwrap();
    }
    assert!(spool.dropped().contains(&DroppedRange { boot: "b6".into(), first: 1, last: 4 }), "{:?}", spool.dropped());
}

#[test]
fn what_cannot_be_read_as_json_can_be_refused_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    spool.append_all(&[(report(1).0, b"\xFFgarbage".to_vec())]).unwrap();
    let path = spool.refuse(0, "payload", Some(b"no json")).unwrap().unwrap();
    let refused: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((&refused["report"], &refused["envelope"]), (&serde_json::Value::Null, &"/2dhcmJhZ2U=".into()));
    assert_eq!(spool.unsettled_count(), 0);
}

#[test]
fn the_folder_of_refused_reports_is_bounded_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(dir.path(), bounds(720, 24));
    for seq in 1..=6 {
        spool.append_all(&[large(seq, 50_000)]).unwrap();
        spool.refuse(seq - 1, "payload", None).unwrap();
    }
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path().join(REFUSED)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["0000000000000005-b7-6.json"], "an eighth of the spool's bytes has room for one");
}

#[test]
fn marks_are_written_once_a_minute() {
    let (dir, mut now_ms) = (tempfile::tempdir().unwrap(), BEGAN_MS);
    let mut spool = opened(dir.path(), bounds(720, 24));
    let written = || ["marks.a", "marks.b"].map(|name| std::fs::read(dir.path().join(name)).unwrap_or_default());
    spool.append_all(&(1..=200).map(report).collect::<Vec<_>>()).unwrap();
    let (mut writes, mut before) = (0, written());
    for second in 0..180 {
        now_ms += 1000;
        spool.settle(second).unwrap();
        spool.tick(now_ms).unwrap();
        let after = written();
        writes += u32::from(after != before);
        before = after;
    }
    assert_eq!(writes, 3);
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let error = Spool::open(Path::new("/proc/spool"), MIB).err().unwrap();
    assert!(error.to_string().starts_with("the spool cannot be written: "), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let _first = Spool::open(dir.path(), MIB).unwrap();
    assert_eq!(Spool::open(dir.path(), MIB).err().unwrap().to_string(), "another agent uses this spool");
}
