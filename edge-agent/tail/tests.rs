use std::fs;
use std::io::Write as _;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use regex_lite::Regex;

use super::*;
use crate::usage::{Encoding, TimeFormat};

/// What it says, and whether somebody vouches for it.
struct SetClock(Mutex<(DateTime<Utc>, Option<bool>)>);

impl SetClock {
    fn set(&self, now: &str, synchronised: Option<bool>) {
        *self.0.lock().unwrap() = (DateTime::parse_from_rfc3339(now).unwrap().to_utc(), synchronised);
    }
}

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap().0
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }

    fn synchronised(&self) -> Option<bool> {
        self.0.lock().unwrap().1
    }
}

struct Bench {
    dir: tempfile::TempDir,
    tails: Tails,
    clock: Arc<SetClock>,
    batches: mpsc::Receiver<Batch>,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (sender, batches) = mpsc::channel(4);
        let clock = Arc::new(SetClock(Mutex::new((DateTime::UNIX_EPOCH, None))));
        clock.set("2019-11-05T08:10:00+08:00", Some(true));
        let tails = Tails {
            pseudonyms: Pseudonyms::new([7; 32]),
            product: Some("P-001".into()),
            marks: LogMarks::open(dir.path(), 0),
            batches: sender,
            counts: UsageCounts::default(),
            clock: clock.clone(),
            every: Duration::from_millis(20),
        };
        Bench { dir, tails, clock, batches }
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
    bench.write("2019-11-05 16:01:00 张三 /oee\n");
    bench.write(format!("{}\n", "x".repeat(9_000)));
    let batch = bench.batch().await;
    let expected = [entry("张三", "2019-11-05T08:01:00+08:00", 3, Some(40)), entry("张三", "2019-11-05T08:02:00+08:00", 100, None)];
    assert_eq!(batch.entries, expected);
    let counted = [("counted", 3), ("unmatched", 1), ("unknown_module", 1), ("invalid", 3), ("future", 1), ("too_long", 1)];
    assert_eq!(bench.outcomes(), counted);
}

#[tokio::test]
async fn gbk_lines_give_the_same_pseudonym() {
    let mut bench = Bench::new();
    let log = LogConfig {
        encoding: Encoding::Gbk,
        pattern: Regex::new(r"^(?<at>\S+ \S+) 用户=(?<user>.+)$").unwrap(),
        function_module: Some("设备OEE分析".into()),
        function_modules: Default::default(),
        ..bench.log()
    };
    bench.write(b"2019-11-05 08:05:00 \xd3\xc3\xbb\xa7=\xd5\xc5\xc8\xfd\r\n");
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
async fn a_tail_that_begins_anew_while_the_agent_runs_on_hands_nothing_over_twice() {
    let mut bench = Bench::new();
    bench.write("2019-11-05 08:01:00 u /oee\n");
    let tail = bench.follow(bench.log());
    let batch = bench.batch().await;
    tail.abort();
    // The reporter has it and spools it, whatever became of the one who gave it.
    bench.spool(batch, 0);
    bench.write("2019-11-05 08:02:00 v /oee\n");
    let _tail = bench.follow(bench.log());
    assert_eq!(bench.batch().await.entries, [entry("v", "2019-11-05T08:02:00+08:00", 1, None)]);
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

#[tokio::test]
async fn a_line_of_a_time_to_come_waits_until_the_clock_is_right_and_what_was_before_it_does_not() {
    let mut bench = Bench::new();
    bench.clock.set("2019-01-01T08:00:00+08:00", Some(false));
    bench.write("2018-12-31 08:00:00 u /oee\n2019-11-05 08:01:00 v /oee\n2019-11-05 08:02:00 w /oee\n");
    let _tail = bench.follow(bench.log());
    let batch = bench.batch().await;
    assert_eq!(batch.entries, [entry("u", "2018-12-31T08:00:00+08:00", 1, None)]);
    assert_eq!(bench.tails.counts.waiting_logs(), 1);
    bench.spool(batch, 0);
    bench.clock.set("2019-11-05T08:00:30+08:00", Some(true));
    let batch = bench.batch().await;
    assert_eq!(batch.entries, [entry("v", "2019-11-05T08:01:00+08:00", 1, None)], "a clock that is nearly right is waited for too");
    bench.spool(batch, 1);
    bench.clock.set("2019-11-05T08:01:30+08:00", Some(true));
    assert_eq!(bench.batch().await.entries, [entry("w", "2019-11-05T08:02:00+08:00", 1, None)]);
    assert_eq!((bench.outcomes(), bench.tails.counts.waiting_logs()), (vec![("counted", 3)], 0));
}

#[tokio::test(start_paused = true)]
async fn no_line_holds_up_its_log_for_more_than_a_day_and_only_the_first_so_long() {
    let mut bench = Bench::new();
    bench.clock.set("2019-11-05T08:10:00+08:00", None);
    bench.tails.every = Duration::from_secs(60);
    bench.write("2999-11-05 08:01:00 u /oee\n2998-11-05 08:01:00 u /oee\n2019-11-05 08:01:00 v /oee\n");
    let began = Instant::now();
    let _tail = bench.follow(bench.log());
    assert_eq!(bench.batches.recv().await.unwrap().entries, [entry("v", "2019-11-05T08:01:00+08:00", 1, None)]);
    assert!((WAIT_MAX..WAIT_MAX + Duration::from_secs(600)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(bench.outcomes(), [("counted", 1), ("future", 2)]);
}
