//! What is done to the log beside the commits: the next segment's file is prepared, full segments are sealed.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use observe::Metrics;
use store::{OsDisk, SealError, prepare_segment, seal_next};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Sealing has no hurry: it runs when nobody else wants the processor.
const NICENESS: i32 = 19;
/// After each segment it rests so many times as long as that took: reports come first, and what has piled up is sealed later.
const REST: u32 = 6;

/// Starts both threads. They end when `asked`'s other end is dropped.
pub(crate) fn start(dir: &Path, segment_bytes: u64, asked: Receiver<()>, metrics: Metrics) -> io::Result<()> {
    // Dropped by the preparing thread when it ends, which ends the sealing one.
    let (alive, ended) = channel();
    let (preparing, sealing) = (dir.to_path_buf(), dir.to_path_buf());
    std::thread::Builder::new().name("prepare".into()).spawn(move || prepare(&preparing, segment_bytes, &asked, &alive))?;
    std::thread::Builder::new().name("seal".into()).spawn(move || seal(&sealing, &ended, &metrics)).map(drop)
}

fn prepare(dir: &Path, segment_bytes: u64, asked: &Receiver<()>, _alive: &Sender<()>) {
    while asked.recv().is_ok() {
        // The writer then makes a file itself, and says what is wrong.
        if let Err(error) = prepare_segment(&OsDisk, dir, segment_bytes) {
            tracing::warn!(%error, "the next segment could not be prepared");
        }
    }
}

fn seal(dir: &Path, ended: &Receiver<()>, metrics: &Metrics) {
    // An older kernel or a container may forbid it; then it runs as everybody else.
    let _ = rustix::process::nice(NICENESS);
    let (mut from, mut wait) = (0, Duration::ZERO);
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
        let began = Instant::now();
        wait = match seal_next(&OsDisk, dir, from) {
            Ok(None) => LOOK_EVERY,
            Ok(Some(sealed)) => {
                metrics.sealed_segments.inc();
                metrics.sealed_raw_bytes.inc_by(sealed.raw_bytes);
                metrics.sealed_bytes.inc_by(sealed.sealed_bytes);
                began.elapsed() * REST
            }
            Err(SealError::Unsound { segment, fault }) => {
                tracing::error!(segment, %fault, "a segment is damaged and is not sealed: run shangyun log verify");
                metrics.damaged_segments.inc();
                from = segment + 1;
                Duration::ZERO
            }
            Err(SealError::Io(error)) => {
                tracing::warn!(%error, "a segment could not be sealed; it is tried again");
                LOOK_EVERY
            }
        };
    }
}
