use std::fs;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use regex_lite::Regex;

use super::*;
use crate::usage::{Encoding, TimeFormat};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> DateTime<Utc> {
        "2019-11-05T00:10:00Z".parse().unwrap()
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }

    fn synchronised(&self) -> Option<bool> {
        None
    }
}

struct Bench {
    dir: tempfile::TempDir,
    tails: Tails,
    batches: mpsc::Receiver<Batch>,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (sender, batches) = mpsc::channel(4);
        let tails = Tails {
            pseudonyms: Pseudonyms::new([7; 32]),
            product: Some("P-001".into()),
            marks: LogMarks::open(dir.path(), 0),
            batches: sender,
            counts: UsageCounts::default(),
            clock: Arc::new(Fixed),
            every: Duration::from_millis(20),
        };
        Bench { dir, tails, batches }
    }

    fn log(&self) -> LogConfig {
        LogConfig {
            file: self.dir.path().join("mes.log"),
            pattern: Regex::new(r"^(?<at>\S+ \S+) (?<user>\S+) (?<function_module>\S+)(?: x(?<actions>\d+))?(?: (?<active_s>\d+)s)?$")
                .unwrap(),
            product: None,
            function_module: None,
            function_modules: [("/oee".to_string(), "设备OEE分析".to_string())].into(),
            time: TimeFormat::Format("%Y-%m-%d %H:%M:%S".into(), "+08:00".parse().unwrap()),
            encoding: Encoding::Utf8,
            from_start: true,
        }
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("mes.log")).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn follow(&self, log: LogConfig) -> tokio::task::JoinHandle<()> {
        tokio::spawn(follow(self.tails.clone(), log))
    }

    async fn batch(&mut self) -> Batch {
        tokio::time::timeout(Duration::from_secs(20), self.batches.recv()).await.unwrap().unwrap()
    }

    /// What the reporter does with a batch.
    fn spool(&self, batch: Batch, position: u64) {
        self.tails.marks.intend(position, &[(position, batch.mark.clone().unwrap())]).unwrap();
        batch.say_spooled();
    }

    fn outcomes(&self) -> Vec<(&'static str, u64)> {
        LineOutcome::ALL.iter().map(|(outcome, name)| (*name, self.tails.counts.lines(*outcome))).filter(|(_, count)| *count > 0).collect()
    }
}

fn entry(user: &str, at: &str, actions: u32, active_s: Option<u32>) -> UsageEntry {
    UsageEntry {
        product: "P-001".into(),
        function_module: "设备OEE分析".into(),
        user: Pseudonyms::new([7; 32]).of(user),
        at: DateTime::parse_from_rfc3339(at).unwrap().to_utc(),
        actions,
        active_s,
    }
}

#[tokio::test]
async fn lines_become_usage_and_each_line_that_is_none_is_counted_with_its_reason() {
    let mut bench = Bench::new();
    let _tail = bench.follow(bench.log());
    bench.write("2019-11-05 08:01:00 张三 /oee\n2019-11-05 08:01:30 张三 /oee x2 40s\n2019-11-05 08:02:00 张三 /oee x100\n");
    bench.write("started\n2019-11-05 08:01:00 张三 /admin\n2019-13-05 08:01:00 张三 /oee\n2019-11-05 08:01:00 张三 /oee x0\n");
    bench.write(b"2019-11-05 08:01:00 \xd5\xc5\xc8\xfd /oee\n");
    bench.write("2019-11-05 08:12:00 张三 /oee\n");
    bench.write(format!("{}\n", "x".repeat(9_000)));
    let batch = bench.batch().await;
    let expected = [entry("张三", "2019-11-05T08:01:00+08:00", 3, Some(40)), entry("张三", "2019-11-05T08:02:00+08:00", 100, None)];
    assert_eq!(batch.entries, expected);
    let counted = [("counted", 3), ("unmatched", 1), ("unknown_module", 1), ("invalid", 3), ("future", 1), ("too_long", 1)];
    assert_eq!(bench.outcomes(), counted);
}

#[tokio::test]
async fn gbk_lines_give_the_same_pseudonym_and_lines_without_a_time_that_of_the_file() {
    let mut bench = Bench::new();
    let log = LogConfig {
        encoding: Encoding::Gbk,
        pattern: Regex::new("用户=(?<user>.+)$").unwrap(),
        function_module: Some("设备OEE分析".into()),
        function_modules: Default::default(),
        ..bench.log()
    };
    bench.write(b"\xd3\xc3\xbb\xa7=\xd5\xc5\xc8\xfd\r\n");
    let written_at: DateTime<Utc> = "2019-11-05T00:05:00Z".parse().unwrap();
    fs::File::options().append(true).open(&log.file).unwrap().set_modified(written_at.into()).unwrap();
    let _tail = bench.follow(log);
    assert_eq!(bench.batch().await.entries, [entry("张三", "2019-11-05T08:05:00+08:00", 1, None)]);
}

#[tokio::test]
async fn what_was_handed_over_and_not_spooled_comes_again_after_a_restart_and_what_was_does_not() {
    let mut bench = Bench::new();
    bench.write("2019-11-05 08:01:00 u /oee\n");
    let tail = bench.follow(bench.log());
    drop(bench.batch().await);
    // Without the reporter's word the tail ends, as with the agent.
    tail.await.unwrap();

    bench.tails.marks = LogMarks::open(bench.dir.path(), 0);
    let tail = bench.follow(bench.log());
    let batch = bench.batch().await;
    assert_eq!(batch.entries.len(), 1, "it comes again");
    bench.spool(batch, 0);
    bench.write("2019-11-05 08:02:00 v /oee\n");
    let batch = bench.batch().await;
    assert_eq!(batch.entries, [entry("v", "2019-11-05T08:02:00+08:00", 1, None)]);
    tail.abort();

    bench.tails.marks = LogMarks::open(bench.dir.path(), 1);
    let _tail = bench.follow(bench.log());
    assert_eq!(bench.batch().await.entries, batch.entries, "the first is in the spool, the second is not");
}

#[tokio::test]
async fn more_than_one_report_holds_is_handed_over_piece_by_piece_with_the_place_of_each() {
    let mut bench = Bench::new();
    bench.write((0..1000).map(|i| format!("2019-11-05 08:01:00 u{i} /oee\n")).collect::<String>());
    let _tail = bench.follow(bench.log());
    let mut users = Vec::new();
    let mut place = 0;
    for (position, expected) in [300, 300, 300, 100].into_iter().enumerate() {
        let batch = bench.batch().await;
        assert_eq!(batch.entries.len(), expected);
        let reached = batch.mark.as_ref().unwrap().place.position;
        let lines =
            fs::read(bench.dir.path().join("mes.log")).unwrap()[place..reached as usize].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, expected, "the place is behind the lines of this batch, and of no other");
        place = reached as usize;
        users.extend(batch.entries.iter().map(|entry| entry.user.clone()));
        bench.spool(batch, position as u64);
    }
    assert_eq!(users, (0..1000).map(|i| Pseudonyms::new([7; 32]).of(&format!("u{i}"))).collect::<Vec<_>>());
}
