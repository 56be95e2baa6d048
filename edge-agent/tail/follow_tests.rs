use std::fs::{self, OpenOptions};
use std::io::Write;

use super::*;

struct Log {
    dir: tempfile::TempDir,
    follower: Follower,
}

impl Log {
    /// A log that was begun when it was empty.
    fn new() -> Log {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mes.log"), "").unwrap();
        let mut log = Log { follower: Follower::new(dir.path().join("mes.log"), None, false), dir };
        assert_eq!(log.read(), [""; 0]);
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path("mes.log")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Vec<String> {
        let pieces = self.follower.read().unwrap();
        pieces.into_iter().map(|piece| piece.line.map_or("(too long)".into(), |line| String::from_utf8(line).unwrap())).collect()
    }

    /// As often as a file must be looked at before it counts as finished, and once more.
    fn read_on(&mut self) -> Vec<String> {
        (0..=QUIET_LOOKS).flat_map(|_| self.read()).collect()
    }

    /// A file beside the log, last written at this hour.
    fn put_aside(&self, name: &str, text: &str, hour: u64) {
        fs::write(self.path(name), text).unwrap();
        self.date(name, hour);
    }

    fn date(&self, name: &str, hour: u64) {
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_572_900_000 + hour * 3600);
        OpenOptions::new().append(true).open(self.path(name)).unwrap().set_modified(written).unwrap();
    }

    /// The agent starts anew, with this place written down.
    fn restart(&mut self, place: Option<Place>) {
        self.follower = Follower::new(self.path("mes.log"), place, false);
    }
}

#[test]
fn lines_come_once_and_the_last_one_only_when_it_is_whole() {
    let mut log = Log::new();
    log.write("one\r\ntwo\nthr");
    assert_eq!(log.read(), ["one", "two"]);
    assert_eq!(log.read(), [""; 0]);
    log.write("ee\n");
    assert_eq!(log.read(), ["three"]);
}

#[test]
fn a_log_with_a_past_is_read_from_its_end_and_one_that_appears_later_from_its_start() {
    let mut log = Log::new();
    log.write("old\nhal");
    log.restart(None);
    assert_eq!(log.read(), [""; 0]);
    log.write("f\nnew\n");
    assert_eq!(log.read(), ["half", "new"]);
    fs::remove_file(log.path("mes.log")).unwrap();
    log.restart(None);
    assert_eq!(log.read(), [""; 0]);
    log.write("first\n");
    assert_eq!(log.read_on(), ["first"]);
}

#[test]
fn reading_goes_on_behind_the_line_whose_place_was_written_down() {
    let mut log = Log::new();
    log.write("one\ntwo\nthree\n");
    let pieces = log.follower.read().unwrap();
    log.restart(Some(pieces[1].place.clone()));
    assert_eq!(log.read(), ["three"]);
}

#[test]
fn a_renamed_log_is_read_to_its_end_before_the_new_one() {
    let mut log = Log::new();
    log.write("one\n");
    assert_eq!(log.read(), ["one"]);
    fs::rename(log.path("mes.log"), log.path("mes.log.1")).unwrap();
    assert_eq!(log.read(), [""; 0], "there is no new file yet");
    log.write("three\n");
    // Its writer has not yet noticed.
    fs::OpenOptions::new().append(true).open(log.path("mes.log.1")).unwrap().write_all(b"two\nlast").unwrap();
    assert_eq!(log.read_on(), ["two", "last"]);
    assert_eq!(log.read_on(), ["three"]);
}

#[test]
fn a_log_that_was_renamed_while_the_agent_stood_is_read_to_its_end_first() {
    let mut log = Log::new();
    log.write("one\ntwo\n");
    let place = log.follower.read().unwrap()[0].place.clone();
    fs::rename(log.path("mes.log"), log.path("mes.log-20191105")).unwrap();
    log.write("three\n");
    log.restart(Some(place));
    assert_eq!(log.read_on(), ["two"]);
    assert_eq!(log.read_on(), ["three"]);
}

#[test]
fn a_log_that_was_renamed_more_than_once_while_the_agent_stood_is_read_file_by_file() {
    let mut log = Log::new();
    log.write("one\ntwo\n");
    let place = log.follower.read().unwrap()[0].place.clone();
    fs::rename(log.path("mes.log"), log.path("mes.log.3")).unwrap();
    log.date("mes.log.3", 24);
    log.put_aside("mes.log.4", "read long ago\n", 0);
    log.put_aside("mes.log.1", "four\n", 72);
    log.put_aside("mes.log.2", "three\n", 48);
    log.put_aside("mes.log.bak", "of somebody else\n", 60);
    log.put_aside("mes.log", "five\n", 73);
    log.restart(Some(place));
    for expected in ["two", "three", "four", "five"] {
        assert_eq!(log.read_on(), [expected]);
    }
    assert_eq!((log.read_on(), log.follower.take_lost()), (vec![], 0));
}

#[test]
fn what_was_packed_gone_or_cut_before_it_was_read_is_counted() {
    let begun = || {
        let mut log = Log::new();
        log.write("one\n");
        log.read();
        let place = log.follower.place();
        (log, place)
    };
    let (mut log, place) = begun();
    fs::rename(log.path("mes.log"), log.path("mes.log.3")).unwrap();
    log.date("mes.log.3", 24);
    log.put_aside("mes.log.4.gz", "read long ago", 0);
    log.put_aside("mes.log.2.gz", "never read", 48);
    log.put_aside("mes.log.1", "three\n", 72);
    log.put_aside("mes.log", "four\n", 73);
    log.restart(place);
    let read: Vec<String> = (0..3).flat_map(|_| log.read_on()).collect();
    assert_eq!((read, log.follower.take_lost(), log.follower.take_lost()), (vec!["three".into(), "four".into()], 1, 0));

    let (mut log, place) = begun();
    fs::remove_file(log.path("mes.log")).unwrap();
    fs::write(log.path("other"), "").unwrap();
    log.write("two\n");
    log.restart(place);
    assert_eq!((log.read_on(), log.follower.take_lost()), (vec!["two".into()], 1));

    for (agent_stood, lost) in [(true, 1), (false, 0)] {
        let (mut log, place) = begun();
        if agent_stood {
            log.restart(place);
        }
        fs::write(log.path("mes.log"), "").unwrap();
        log.read_on();
        log.write("two\n");
        assert_eq!((log.read(), log.follower.take_lost()), (vec!["two".into()], lost), "{agent_stood}");
    }
}

#[test]
fn a_log_that_was_copied_and_cut_is_read_from_its_start() {
    let mut log = Log::new();
    log.write("one\ntwo\n");
    assert_eq!(log.read(), ["one", "two"]);
    fs::copy(log.path("mes.log"), log.path("mes.log.1")).unwrap();
    fs::write(log.path("mes.log"), "").unwrap();
    log.write("three\n");
    assert_eq!(log.read(), ["three"]);
    // Cut and longer again than it was, with the agent standing meanwhile.
    let place = log.follower.place();
    fs::write(log.path("mes.log"), "a line that is longer than the one before\n").unwrap();
    log.restart(place);
    assert_eq!(log.read(), ["a line that is longer than the one before"]);
}

#[test]
fn a_log_that_is_gone_with_its_rest_is_followed_by_the_new_one() {
    let mut log = Log::new();
    log.write("one\n");
    log.read();
    let place = log.follower.place();
    fs::remove_file(log.path("mes.log")).unwrap();
    // Keeps the deleted file's number from being given to the next.
    fs::write(log.path("other"), "").unwrap();
    log.write("two\n");
    log.restart(place);
    assert_eq!(log.read(), ["two"]);
}

#[test]
fn a_line_that_is_too_long_is_passed_over_and_said_once() {
    let mut log = Log::new();
    log.write(&format!("one\n{}", "x".repeat(300_000)));
    assert_eq!(log.read_on(), ["one"]);
    assert_eq!(log.read_on(), [""; 0]);
    log.write("\ntwo\n");
    assert_eq!(log.read_on(), ["(too long)", "two"]);
    log.write(&format!("{}\n{}\nthree\n", "y".repeat(LINE_BYTES_MAX), "z".repeat(LINE_BYTES_MAX - 1)));
    let read = log.read_on();
    assert_eq!(read.iter().map(String::len).collect::<Vec<_>>(), [10, LINE_BYTES_MAX - 1, 5]);
}

#[test]
fn places_within_a_line_that_is_too_long_are_before_it() {
    let mut log = Log::new();
    log.write(&format!("one\n{}", "x".repeat(100_000)));
    assert_eq!(log.read_on(), ["one"]);
    assert_eq!(log.follower.place().unwrap().position, 4);
}
