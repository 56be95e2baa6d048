//! The evidence log: append-only segments, preallocated and zero-filled, one writer, synced before anything is acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::block::{self, BlockBuilder, BlockError, Record};
use crate::merkle::{Frontier, Hash};

/// Where the log ends, or where a checkpoint stands: everything before it is taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Number of the first block of the segment.
    pub segment: u64,
    /// Byte within the segment's file.
    pub byte: u64,
    /// The tree over all blocks before.
    pub frontier: Frontier,
}

impl LogPosition {
    /// Number of the next block.
    pub fn block(&self) -> u64 {
        self.frontier.leaves()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A segment is closed before it grows beyond this.
    pub segment_bytes: u64,
    /// The file grows by this much, zero-filled, so that most syncs change no size.
    pub grow_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 << 20, grow_bytes: 4 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: block {block} is damaged ({fault}) and sound blocks follow it; restore the file from a backup", path.display())]
    Damaged { path: PathBuf, block: u64, fault: BlockError },
    #[error("{}: the checkpoint stands at byte {byte}, beyond the end of the log", path.display())]
    Lost { path: PathBuf, byte: u64 },
    /// Nothing was written: the next try may succeed.
    #[error("no space left for the evidence log")]
    Full,
    /// Nothing was written: the next try may succeed.
    #[error("{}: {source}", path.display())]
    NotWritten { path: PathBuf, source: io::Error },
}

/// What was found at the end of the log when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct TornTail {
    pub path: PathBuf,
    pub byte: u64,
    pub fault: BlockError,
}

pub struct Log {
    dir: PathBuf,
    options: LogOptions,
    file: File,
    /// Length of the current file, zero-filled beyond the position.
    file_bytes: u64,
    end: LogPosition,
}

impl Log {
    /// Opens the log, gives every record after `from` to `visit` with the number of its block, and cuts a torn tail.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        from: LogPosition,
        visit: impl FnMut(u64, Record<'_>),
    ) -> Result<(Log, Option<TornTail>), LogError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let (end, torn) = scan(dir, from, None, visit)?;
        let path = segment_path(dir, end.segment);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        if torn.is_some() {
            file.set_len(end.byte).map_err(at(&path))?;
        }
        file.sync_all().map_err(at(&path))?;
        sync_dir(dir)?;
        let file_bytes = file.metadata().map_err(at(&path))?.len();
        Ok((Log { dir: dir.to_path_buf(), options, file, file_bytes, end }, torn))
    }

    pub fn end(&self) -> &LogPosition {
        &self.end
    }

    /// Writes one block and syncs it. When this returns `Ok`, the records survive a power cut. After `File` it is
    /// unknown what is on the disk: the log must be opened anew before another append.
    pub fn append(&mut self, block: BlockBuilder) -> Result<(), LogError> {
        let bytes = block.finish(self.end.block());
        if self.end.byte > 0 && self.end.byte + bytes.len() as u64 > self.options.segment_bytes {
            self.next_segment()?;
        }
        self.make_room(bytes.len() as u64)?;
        let path = segment_path(&self.dir, self.end.segment);
        self.file.write_all_at(&bytes, self.end.byte).map_err(at(&path))?;
        self.file.sync_data().map_err(at(&path))?;
        self.end.byte += bytes.len() as u64;
        self.end.frontier.push(&bytes);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        let segment = self.end.block();
        let path = segment_path(&self.dir, segment);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).map_err(full_or_not_written(&path))?;
        sync_dir(&self.dir).map_err(not_written)?;
        self.file = file;
        self.file_bytes = 0;
        self.end.segment = segment;
        self.end.byte = 0;
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let needed = self.end.byte + bytes;
        if needed <= self.file_bytes {
            return Ok(());
        }
        let path = segment_path(&self.dir, self.end.segment);
        let target = needed.max((self.file_bytes + self.options.grow_bytes).min(self.options.segment_bytes));
        let zeros = vec![0; usize::try_from(target - self.file_bytes).unwrap_or(usize::MAX).min(1 << 20)];
        let grown = (|| {
            let mut at = self.file_bytes;
            while at < target {
                let length = (target - at).min(zeros.len() as u64);
                self.file.write_all_at(&zeros[..length as usize], at)?;
                at += length;
            }
            self.file.sync_all()
        })();
        if let Err(error) = grown {
            // Only zeros were added: taking them back leaves the log as it was.
            self.file.set_len(self.file_bytes).map_err(at(&path))?;
            return Err(full_or_not_written(&path)(error));
        }
        self.file_bytes = target;
        Ok(())
    }
}

/// Reads every record after `from` to the end, with the number of its block, without changing anything; a torn tail, or a block that is being written, ends it.
/// `until`: stop before the block of that number.
pub fn read_from(dir: &Path, from: LogPosition, until: Option<u64>, visit: impl FnMut(u64, Record<'_>)) -> Result<LogPosition, LogError> {
    scan(dir, from, until, visit).map(|(end, _)| end)
}

fn scan(
    dir: &Path,
    from: LogPosition,
    until: Option<u64>,
    mut visit: impl FnMut(u64, Record<'_>),
) -> Result<(LogPosition, Option<TornTail>), LogError> {
    let mut end = from;
    loop {
        let path = segment_path(dir, end.segment);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound && end.byte == 0 => return Ok((end, None)),
            Err(error) => return Err(at(&path)(error)),
        };
        let mut rest = usize::try_from(end.byte)
            .ok()
            .and_then(|byte| bytes.get(byte..))
            .ok_or(LogError::Lost { path: path.clone(), byte: end.byte })?;
        let fault = loop {
            let number = end.block();
            if until == Some(number) {
                return Ok((end, None));
            }
            let sound = block::block_at(rest, number)
                .and_then(|block| block::records(block).collect::<Result<Vec<_>, _>>().map(|records| (block, records)));
            match sound {
                Err(fault) => break fault,
                Ok((block, records)) => {
                    records.into_iter().for_each(|record| visit(number, record));
                    end.frontier.push(block);
                    end.byte += block.len() as u64;
                    rest = &rest[block.len()..];
                }
            }
        };
        if end.block() != end.segment && segment_path(dir, end.block()).exists() {
            if rest.iter().any(|byte| *byte != 0) {
                return Err(LogError::Damaged { path, block: end.block(), fault });
            }
            end.segment = end.block();
            end.byte = 0;
            continue;
        }
        let empty = rest.iter().all(|byte| *byte == 0);
        let later_segment = segments(dir)?.into_iter().any(|segment| segment > end.segment);
        if later_segment || (!empty && block::any_block_above(rest, end.block())) {
            return Err(LogError::Damaged { path, block: end.block(), fault });
        }
        let torn = (!empty).then_some(TornTail { path, byte: end.byte, fault });
        return Ok((end, torn));
    }
}

fn segments(dir: &Path) -> Result<Vec<u64>, LogError> {
    let entries = fs::read_dir(dir).map_err(at(dir))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".seg")?.parse().ok()).collect())
}

pub fn segment_path(dir: &Path, first_block: u64) -> PathBuf {
    dir.join(format!("{first_block:020}.seg"))
}

fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| LogError::File { path: path.clone(), source }
}

/// For what happens before anything of a block is written.
fn full_or_not_written(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LogError::Full,
        _ => LogError::NotWritten { path: path.clone(), source },
    }
}

fn not_written(error: LogError) -> LogError {
    match error {
        LogError::File { path, source } => LogError::NotWritten { path, source },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Vouched;
    use wire::identity::Sender;

    const SMALL: LogOptions = LogOptions { segment_bytes: 4096, grow_bytes: 1024 };

    fn one(body: &str) -> BlockBuilder {
        let mut builder = BlockBuilder::default();
        let sender = Sender::Gateway("g".into());
        builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: 1, body: body.as_bytes() });
        builder
    }

    fn bodies(dir: &Path) -> (Vec<String>, Option<TornTail>, LogPosition) {
        let mut bodies = Vec::new();
        let (log, torn) =
            Log::open(dir, SMALL, LogPosition::default(), |_, record| bodies.push(String::from_utf8(record.body.to_vec()).unwrap()))
                .unwrap();
        (bodies, torn, log.end().clone())
    }

    fn filled(dir: &Path, count: usize) -> Vec<String> {
        let (mut log, _) = Log::open(dir, SMALL, LogPosition::default(), |_, _| {}).unwrap();
        let written: Vec<String> = (0..count).map(|i| format!("{i:0>200}")).collect();
        written.iter().for_each(|body| log.append(one(body)).unwrap());
        written
    }

    #[test]
    fn what_was_appended_is_read_again_over_several_segments_with_the_same_root() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(dir.path(), SMALL, LogPosition::default(), |_, _| {}).unwrap();
        let mut middle = LogPosition::default();
        for i in 0..50 {
            log.append(one(&format!("{i:0>200}"))).unwrap();
            if i == 29 {
                middle = log.end().clone();
            }
        }
        assert!(segments(dir.path()).unwrap().len() > 2);
        let (all, torn, end) = bodies(dir.path());
        assert_eq!((all.len(), torn, &end), (50, None, log.end()));
        let mut after = 0;
        assert_eq!(read_from(dir.path(), middle, None, |_, _| after += 1).unwrap(), end);
        assert_eq!(after, 20);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_what_came_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let written = filled(dir.path(), 3);
        let path = segment_path(dir.path(), 0);
        let whole = fs::read(&path).unwrap();
        let block = bodies(dir.path()).2.byte as usize / 3;
        for keep in 0..block {
            let mut torn_bytes = whole[..2 * block + keep].to_vec();
            torn_bytes.extend(vec![0; 300]);
            fs::write(&path, torn_bytes).unwrap();
            let (read, torn, end) = bodies(dir.path());
            // The last byte of the block may happen to be the zero that follows anyway.
            assert_eq!(read, written[..2], "cut at {keep}");
            assert_eq!(torn.is_some(), keep > 0);
            assert_eq!(end.byte as usize, 2 * block);
        }
        let (mut log, _) = Log::open(dir.path(), SMALL, LogPosition::default(), |_, _| {}).unwrap();
        log.append(one("after")).unwrap();
        assert_eq!(bodies(dir.path()).0, [written[0].clone(), written[1].clone(), "after".to_string()]);
    }

    #[test]
    fn damage_before_sound_blocks_is_named_and_never_cut() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 5);
        let path = segment_path(dir.path(), 0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[300] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let error = Log::open(dir.path(), SMALL, LogPosition::default(), |_, _| {}).err().unwrap();
        assert!(matches!(error, LogError::Damaged { block: 1, .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_missing_segment_is_damage_not_the_end() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 60);
        let mut all = segments(dir.path()).unwrap();
        all.sort_unstable();
        fs::remove_file(segment_path(dir.path(), all[1])).unwrap();
        assert!(matches!(Log::open(dir.path(), SMALL, LogPosition::default(), |_, _| {}), Err(LogError::Damaged { .. })));
    }
}
