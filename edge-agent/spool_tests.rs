use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const MIB: u64 = 1024 * 1024;

fn key(seq: u64) -> ReportKey {
    ReportKey { boot: "b7".into(), seq }
}

fn body(seq: u64) -> Vec<u8> {
    format!(r#"{{"v":1,"boot":"b7","seq":{seq}}}"#).into_bytes()
}

/// Text that takes about so many bytes when it is compressed.
fn noise(seed: u64, bytes: usize) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    (0..bytes * 11 / 8).map(|_| char::from(random.random_range(b'#'..b'['))).collect()
}

fn big(seq: u64, bytes: usize) -> Vec<u8> {
    format!(r#"{{"seq":{seq},"filler":"{}"}}"#, noise(seq, bytes)).into_bytes()
}

fn fill(spool: &mut Spool, seqs: std::ops::RangeInclusive<u64>, bytes: usize) {
    for seq in seqs {
        let body = if bytes == 0 { body(seq) } else { big(seq, bytes) };
        spool.append(&key(seq), &body).unwrap();
    }
}

/// The numbers of what waits; each is read.
fn unsettled(spool: &mut Spool) -> Vec<u64> {
    spool.unsettled(0, usize::MAX).into_iter().map(|position| spool.read(position).unwrap().unwrap().key.seq).collect()
}

fn reopened(dir: &Path) -> Spool {
    Spool::open(dir, MIB).unwrap()
}

fn segment_count(dir: &Path) -> usize {
    Segment::list(dir).unwrap().len()
}

#[test]
fn a_record_torn_at_any_byte_loses_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let whole = {
        let mut spool = Spool::open(dir.path(), MIB).unwrap();
        fill(&mut spool, 1..=3, 0);
        std::fs::read(dir.path().join("0000000000000000.spool")).unwrap()
    };
    let mut last = Vec::new();
    Codec::new().unwrap().write(&mut last, 2, 0, &key(3), &body(3), false).unwrap();
    let last_bytes = last.len();
    for cut in whole.len() - last_bytes..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0000000000000000.spool"), &whole[..cut]).unwrap();
        let mut spool = Spool::open(dir.path(), MIB).unwrap();
        assert_eq!(unsettled(&mut spool), [1, 2], "cut at byte {cut}");
        spool.append(&key(4), &body(4)).unwrap();
        drop(spool);
        assert_eq!(unsettled(&mut reopened(dir.path())), [1, 2, 4], "cut at byte {cut}");
    }
}

#[test]
fn of_reports_that_belong_together_a_cut_at_any_byte_leaves_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let name = "0000000000000000.spool";
    let (whole, marks) = {
        let mut spool = Spool::open(dir.path(), MIB).unwrap();
        let reports: Vec<_> = (1..=5).map(|seq| (key(seq), body(seq))).collect();
        // The third and the fourth.
        assert_eq!(spool.append_groups(&reports, std::slice::from_ref(&(2..4))).unwrap(), 0..5);
        spool.save_marks().unwrap();
        (std::fs::read(dir.path().join(name)).unwrap(), MarksFiles::read(dir.path()).1)
    };
    assert!(matches!(marks, Found::Whole(marks) if marks.next == 5));
    let mut ends = vec![whole.len()];
    for seq in (1..=5).rev() {
        let mut record = Vec::new();
        Codec::new().unwrap().write(&mut record, seq - 1, 0, &key(seq), &body(seq), seq == 3).unwrap();
        ends.insert(0, ends[0] - record.len());
    }
    for cut in ends[1]..=whole.len() {
        let left = (1..=5).take_while(|seq| ends[*seq] <= cut).count() as u64;
        let left = if left == 3 { 2 } else { left };
        let torn = tempfile::tempdir().unwrap();
        std::fs::write(torn.path().join(name), &whole[..cut]).unwrap();
        let mut spool = Spool::open(torn.path(), MIB).unwrap();
        assert_eq!(unsettled(&mut spool), (1..=left).collect::<Vec<_>>(), "cut at byte {cut}");
        spool.append(&key(6), &body(6)).unwrap();
        drop(spool);
        assert_eq!(unsettled(&mut reopened(torn.path())), (1..=left).chain([6]).collect::<Vec<_>>(), "cut at byte {cut}");
    }
    // The marks know that all were written: what is lost was damaged later, and costs itself alone.
    std::fs::write(dir.path().join(name), &whole[..ends[4] - 1]).unwrap();
    let mut spool = reopened(dir.path());
    assert_eq!((unsettled(&mut spool), spool.unreadable_count()), (vec![1, 2, 3], 2));
}

#[test]
fn a_damaged_last_record_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    fill(&mut spool, 1..=2, 0);
    drop(spool);
    let path = dir.path().join("0000000000000000.spool");
    let mut content = std::fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_eq!(unsettled(&mut reopened(dir.path())), [1]);
}

#[test]
fn an_empty_or_torn_file_head_is_repaired() {
    for head in [&b""[..], b"SYS"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0000000000000000.spool"), head).unwrap();
        let mut spool = Spool::open(dir.path(), MIB).unwrap();
        spool.append(&key(1), &body(1)).unwrap();
        drop(spool);
        assert_eq!(unsettled(&mut reopened(dir.path())), [1]);
    }
}

#[test]
fn what_is_settled_stays_settled_after_a_restart_and_unsaved_marks_only_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    fill(&mut spool, 1..=4, 0);
    spool.settle(0).unwrap();
    spool.settle(2).unwrap();
    spool.save_marks().unwrap();
    spool.settle(1).unwrap();
    assert_eq!(unsettled(&mut spool), [4]);
    assert_eq!(spool.unsettled_count(), 1);
    drop(spool);
    let mut spool = reopened(dir.path());
    assert_eq!(unsettled(&mut spool), [2, 4]);
    assert_eq!(spool.read(1).unwrap().unwrap(), Stored { key: key(2), body: body(2) });
}

#[test]
fn lost_or_damaged_marks_send_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    fill(&mut spool, 1..=2, 0);
    spool.settle(0).unwrap();
    spool.save_marks().unwrap();
    drop(spool);
    ["marks.a", "marks.b"].iter().for_each(|name| std::fs::write(dir.path().join(name), b"").unwrap());
    assert_eq!(unsettled(&mut reopened(dir.path())), [1, 2]);
}

#[test]
fn segments_are_deleted_when_everything_in_them_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    fill(&mut spool, 1..=6, 40_000);
    assert_eq!(segment_count(dir.path()), 6);
    spool.settle(1).unwrap();
    assert_eq!(segment_count(dir.path()), 5);
    spool.settle(0).unwrap();
    assert_eq!(segment_count(dir.path()), 4);
    (2..6).for_each(|position| spool.settle(position).unwrap());
    assert_eq!(segment_count(dir.path()), 1);
    spool.append(&key(7), &big(7, 40_000)).unwrap();
    assert_eq!(segment_count(dir.path()), 1);
    spool.save_marks().unwrap();
    drop(spool);
    assert_eq!(unsettled(&mut reopened(dir.path())), [7]);
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts_them_even_over_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    for seq in 1..=30 {
        spool.append(&key(seq), &big(seq, 50_000)).unwrap();
        assert!(spool.bytes() <= MIB);
    }
    let kept = unsettled(&mut spool);
    let dropped = DroppedRange { boot: "b7".into(), first: 1, last: kept[0] - 1 };
    assert!(kept.len() >= 18 && kept.last() == Some(&30), "{kept:?}");
    assert_eq!(spool.dropped(), std::slice::from_ref(&dropped));
    drop(spool);
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    assert_eq!(spool.dropped(), std::slice::from_ref(&dropped));
    assert_eq!(unsettled(&mut spool), kept);
    spool.dropped_said(&[dropped]);
    spool.save_marks().unwrap();
    drop(spool);
    assert!(Spool::open(dir.path(), MIB).unwrap().dropped().is_empty());
}

#[test]
fn what_a_dropped_report_said_of_dropped_ones_is_said_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    let said = format!(r#"{{"events":[{{"event":"dropped","detail":"b7:1-4"}}],"filler":"{}"}}"#, noise(5, 60_000));
    spool.append(&key(5), said.as_bytes()).unwrap();
    fill(&mut spool, 6..=22, 60_000);
    let last = unsettled(&mut spool)[0] - 1;
    assert_eq!(spool.dropped(), [DroppedRange { boot: "b7".into(), first: 1, last }]);
}

#[test]
fn an_acknowledgement_of_a_dropped_report_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    fill(&mut spool, 1..=30, 50_000);
    let kept = unsettled(&mut spool);
    spool.settle(0).unwrap();
    assert_eq!(spool.read(0).unwrap(), None);
    assert_eq!(unsettled(&mut spool), kept);
}

#[test]
fn a_refused_report_moves_aside_with_its_faults() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), MIB).unwrap();
    spool.append(&key(1), &body(1)).unwrap();
    let path = spool.refuse(0, "payload", Some(br#"{"faults":[{"code":"quality"}]}"#)).unwrap().unwrap();
    assert_eq!(unsettled(&mut spool), Vec::<u64>::new());
    let refused: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(refused["report"]["seq"], 1);
    assert_eq!(refused["faults"]["faults"][0]["code"], "quality");
}

#[test]
fn two_agents_cannot_share_a_spool() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Spool::open(dir.path(), MIB).unwrap();
    assert!(Spool::open(dir.path(), MIB).is_err());
}
