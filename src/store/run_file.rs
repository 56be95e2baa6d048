//! A run: one immutable file of records in the order of their keys. Filter of ids, pages, an index page after each stretch of pages,
//! a root over the index pages, a footer. Only the root is kept in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tally::{kind, varint};
use wire::identity::IdentityKey;

use crate::filter::{Filter, FilterWriter};
use crate::page::{PageBuilder, PageCursor, RunFault, records_of};

const MAGIC: [u8; 4] = *b"SYR1";
const FOOTER_BYTES: u64 = 40;
const INDEX_PAGE_BYTES: usize = 8 << 10;
const BUFFER_BYTES: usize = 256 << 10;
/// A long run is synced in between, so that its end does not hold up the syncs of the log.
const UNSYNCED_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: the stored facts are damaged: {fault}; `shangyun tally rebuild` makes them anew from the log", path.display())]
    Damaged { path: PathBuf, fault: RunFault },
    /// It was merged away meanwhile: look again which runs there are.
    #[error("{}: a file of the stored facts is gone; `shangyun tally rebuild` makes them anew from the log", .0.display())]
    Gone(PathBuf),
    #[error("no space left for the facts")]
    Full,
    #[error("stored facts: {0}")]
    Facts(#[from] tally::DecodeError),
    #[error("the work was stopped")]
    Stopped,
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> RunError {
    move |source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RunError::Full,
        ErrorKind::NotFound => RunError::Gone(path.to_path_buf()),
        _ => RunError::File { path: path.to_path_buf(), source },
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRef {
    pub(crate) at: u64,
    pub(crate) bytes: usize,
}

impl PageRef {
    fn write(self) -> Vec<u8> {
        let mut value = Vec::with_capacity(12);
        varint::put(&mut value, self.at);
        varint::put(&mut value, self.bytes as u64);
        value
    }

    pub(crate) fn read(mut value: &[u8]) -> Result<PageRef, RunFault> {
        let mut number = || varint::take(&mut value).map_err(|_| RunFault::Record);
        let (at, bytes) = (number()?, number()?);
        // No page is so long; a damaged length must not ask for so much memory.
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 30).ok_or(RunFault::Record)?;
        Ok(PageRef { at, bytes })
    }
}

/// What must be known of a run before it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunPlan {
    pub(crate) page_bytes: usize,
    /// Of the filter of ids; none for a run without ids.
    pub(crate) filter_bytes: u64,
}

pub(crate) struct RunWriter {
    path: PathBuf,
    file: File,
    page_bytes: usize,
    buffer: Vec<u8>,
    /// Where the buffer will stand in the file.
    buffer_at: u64,
    synced_to: u64,
    page: PageBuilder,
    index: PageBuilder,
    root: PageBuilder,
    filter: FilterWriter,
    filter_bytes: u64,
    kinds: u32,
    records: u64,
}

impl RunWriter {
    pub(crate) fn create(path: PathBuf, plan: RunPlan) -> Result<RunWriter, RunError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(at(&path))?;
        let filter_bytes = plan.filter_bytes;
        Ok(RunWriter {
            path,
            file,
            page_bytes: plan.page_bytes,
            buffer: Vec::with_capacity(BUFFER_BYTES + plan.page_bytes),
            buffer_at: filter_bytes,
            synced_to: filter_bytes,
            page: PageBuilder::default(),
            index: PageBuilder::default(),
            root: PageBuilder::default(),
            filter: FilterWriter::new(filter_bytes),
            filter_bytes,
            kinds: 0,
            records: 0,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keys come in ascending order.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), RunError> {
        self.kinds |= kind_bit(key.first().copied().unwrap_or(0));
        self.records += 1;
        if let Some(id) = id_of(key) {
            self.filter.add(&self.file, &id).map_err(at(&self.path))?;
        }
        self.page.push(key, value);
        if self.page.len() >= self.page_bytes { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<(), RunError> {
        let page = PageRef { at: self.buffer_at + self.buffer.len() as u64, bytes: self.page.len() };
        self.index.push(self.page.first_key(), &page.write());
        self.page.finish(&mut self.buffer);
        if self.index.len() >= INDEX_PAGE_BYTES {
            self.end_index_page();
        }
        if self.buffer.len() >= BUFFER_BYTES { self.write_buffer() } else { Ok(()) }
    }

    fn end_index_page(&mut self) {
        let page = PageRef { at: self.buffer_at + self.buffer.len() as u64, bytes: self.index.len() };
        self.root.push(self.index.first_key(), &page.write());
        self.index.finish(&mut self.buffer);
    }

    fn write_buffer(&mut self) -> Result<(), RunError> {
        self.file.write_all_at(&self.buffer, self.buffer_at).map_err(at(&self.path))?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        if self.buffer_at - self.synced_to >= UNSYNCED_BYTES_MAX {
            self.file.sync_data().map_err(at(&self.path))?;
            self.synced_to = self.buffer_at;
        }
        Ok(())
    }

    /// Ends the run and syncs it.
    pub(crate) fn finish(mut self) -> Result<Run, RunError> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        if !self.index.is_empty() {
            self.end_index_page();
        }
        let root = PageRef { at: self.buffer_at + self.buffer.len() as u64, bytes: self.root.len() };
        self.root.finish(&mut self.buffer);
        let mut footer = MAGIC.to_vec();
        footer.extend(self.kinds.to_le_bytes());
        footer.extend((root.bytes as u32).to_le_bytes());
        [self.filter_bytes, root.at, self.records].into_iter().for_each(|number| footer.extend(number.to_le_bytes()));
        footer.extend(crc32c::crc32c(&footer).to_le_bytes());
        self.buffer.extend(footer);
        self.write_buffer()?;
        self.filter.finish(&self.file).map_err(at(&self.path))?;
        self.file.sync_all().map_err(at(&self.path))?;
        Run::of(self.path, self.file)
    }
}

fn kind_bit(kind: u8) -> u32 {
    1 << (kind & 31)
}

fn id_of(key: &[u8]) -> Option<IdentityKey> {
    key.split_first().filter(|(first, _)| **first == kind::ID).and_then(|(_, id)| id.try_into().ok())
}

/// A run, open for reading.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    file: File,
    bytes: u64,
    records: u64,
    kinds: u32,
    /// Index pages by their first key.
    root: Vec<(Vec<u8>, PageRef)>,
    filter: Filter,
}

impl Run {
    pub(crate) fn open(path: PathBuf) -> Result<Run, RunError> {
        let file = File::open(&path).map_err(at(&path))?;
        Run::of(path, file)
    }

    fn of(path: PathBuf, file: File) -> Result<Run, RunError> {
        let bytes = file.metadata().map_err(at(&path))?.len();
        let damaged = |fault| RunError::Damaged { path: path.clone(), fault };
        let mut footer = [0; FOOTER_BYTES as usize];
        let footer_at = bytes.checked_sub(FOOTER_BYTES).ok_or_else(|| damaged(RunFault::Footer))?;
        file.read_exact_at(&mut footer, footer_at).map_err(at(&path))?;
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| footer[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| footer[at + i]));
        if footer[..4] != MAGIC || u32_at(36) != crc32c::crc32c(&footer[..36]) {
            return Err(damaged(RunFault::Footer));
        }
        let (kinds, filter, records) = (u32_at(4), Filter::new(u64_at(12)), u64_at(28));
        let root_page = PageRef { at: u64_at(20), bytes: u32_at(8) as usize };
        let mut run = Run { path, file, bytes, records, kinds, root: Vec::new(), filter };
        let page = run.read(root_page)?;
        let mut cursor = PageCursor::default();
        cursor.begin(0..page.len());
        while cursor.next(&page).map_err(|fault| run.damaged(fault))? {
            let child = PageRef::read(cursor.value(&page)).map_err(|fault| run.damaged(fault))?;
            run.root.push((cursor.key().to_vec(), child));
        }
        Ok(run)
    }

    /// The records of a page.
    pub(crate) fn read(&self, page: PageRef) -> Result<Vec<u8>, RunError> {
        let mut bytes = self.read_bytes(page.at, page.bytes)?;
        let records = records_of(&bytes).map_err(|fault| self.damaged(fault))?.len();
        bytes.truncate(records);
        Ok(bytes)
    }

    pub(crate) fn read_bytes(&self, from: u64, bytes: usize) -> Result<Vec<u8>, RunError> {
        let mut buffer = vec![0; bytes];
        match self.file.read_exact_at(&mut buffer, from) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.damaged(RunFault::Short)),
            read => read.map(|()| buffer).map_err(at(&self.path)),
        }
    }

    pub(crate) fn damaged(&self, fault: RunFault) -> RunError {
        RunError::Damaged { path: self.path.clone(), fault }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn root(&self) -> &[(Vec<u8>, PageRef)] {
        &self.root
    }

    pub(crate) fn has_kind(&self, kind: u8) -> bool {
        self.kinds & kind_bit(kind) != 0
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Keeps the filter in memory from now on.
    pub(crate) fn load_filter(&mut self) -> Result<(), RunError> {
        self.filter.load(&self.file).map_err(at(&self.path))
    }

    /// False: the id is certainly not there.
    pub(crate) fn may_hold(&self, id: &IdentityKey) -> Result<bool, RunError> {
        self.filter.may_hold(&self.file, id).map_err(at(&self.path))?.map_err(|fault| self.damaged(fault))
    }
}

/// Takes the file of a run away; whoever has it open can still read it.
pub(crate) fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a run that is no longer needed cannot be removed");
        }
        _ => {}
    }
}

/// The directory's entries are durable after this.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), RunError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

pub(crate) type Runs = Vec<Arc<Run>>;
