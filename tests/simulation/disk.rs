//! A disk in memory that loses what was not synced, tears writes by sectors, flips bits, fills up, fails, and may stop in the middle of
//! anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Each sync fails with this likelihood, in percent.
    pub sync_fails: u32,
    /// Each write fails part-way with this likelihood, in percent.
    pub write_fails: u32,
    /// Whatever else is asked of the disk fails with this likelihood, in percent.
    pub rest_fails: u32,
    /// Nothing can grow.
    pub full: bool,
    pub free_bytes: u64,
}

#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

pub struct SimFile {
    disk: SimDisk,
    file: u64,
}

struct Inner {
    rng: StdRng,
    weather: Weather,
    next_file: u64,
    files: BTreeMap<u64, Content>,
    /// Names as the process sees them, and as a power cut would leave them before anything pending is taken in.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last sync of the directory, in their order.
    pending_names: Vec<Rename>,
    /// The process is killed after so many more operations; then it does nothing any more.
    dies_after: Option<u32>,
    dead: bool,
    /// What somebody else does to the disk after so many more operations.
    meanwhile: Option<(u32, Meanwhile)>,
}

pub type Meanwhile = Box<dyn FnOnce(&SimDisk) + Send>;

#[derive(Clone)]
enum Rename {
    Add(PathBuf, u64),
    /// From, to: one step for a file system with a journal.
    Move(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl Rename {
    fn path(&self) -> &Path {
        let (Rename::Add(path, _) | Rename::Move(_, path, _) | Rename::Remove(path)) = self;
        path
    }
}

#[derive(Clone, Default)]
struct Content {
    /// As the process reads it.
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// A sync of it has failed since the process began: that one more succeeds would prove nothing.
    sync_failed: bool,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(at, bytes) => {
                if content.len() < at + bytes.len() {
                    content.resize(at + bytes.len(), 0);
                }
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Length(bytes) => content.resize(*bytes, 0),
        }
    }
}

impl Content {
    /// What a power cut, or a sync that failed, makes of what was pending: any of it, torn at sectors.
    fn lose(&mut self, rng: &mut StdRng) {
        for change in std::mem::take(&mut self.pending) {
            match (&change, rng.random_range(0..3)) {
                (_, 0) => {}
                (Change::Write(at, bytes), 1) => {
                    for sector in 0..bytes.len().div_ceil(SECTOR) {
                        let piece = &bytes[sector * SECTOR..bytes.len().min((sector + 1) * SECTOR)];
                        if rng.random_bool(0.5) {
                            Change::Write(at + sector * SECTOR, piece.to_vec()).apply(&mut self.durable);
                        }
                    }
                }
                _ => change.apply(&mut self.durable),
            }
        }
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Inner {
            rng: StdRng::seed_from_u64(seed),
            weather: Weather { free_bytes: u64::MAX, ..Weather::default() },
            next_file: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            dies_after: None,
            dead: false,
            meanwhile: None,
        })))
    }

    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// The process that uses the disk does no more than so many further operations.
    pub fn die_after(&self, operations: u32) {
        self.lock().dies_after = Some(operations);
    }

    /// Somebody else uses the disk after so many further operations.
    pub fn meanwhile_after(&self, operations: u32, what: Meanwhile) {
        self.lock().meanwhile = Some((operations, what));
    }

    /// The process is gone; another may begin.
    pub fn end_process(&self) {
        let mut inner = self.lock();
        (inner.dies_after, inner.dead, inner.meanwhile) = (None, false, None);
        inner.files.values_mut().for_each(|content| content.sync_failed = false);
    }

    /// The power goes: only what was synced is certain, of the rest any part may be there. Names change in their order, or, as the
    /// standard allows, some of them not at all.
    pub fn cut_power(&self) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut pending = std::mem::take(&mut inner.pending_names);
        if inner.rng.random_bool(0.5) {
            pending.truncate(inner.rng.random_range(0..=pending.len()));
        } else {
            pending.retain(|_| inner.rng.random_bool(0.5));
        }
        inner.pending_names = pending;
        inner.take_names();
        inner.names = inner.durable_names.clone();
        for content in inner.files.values_mut() {
            content.lose(&mut inner.rng);
            content.seen = content.durable.clone();
        }
        let named: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|file, _| named.contains(file));
    }

    /// The same disk once more, to go its own way.
    pub fn fork(&self, seed: u64) -> SimDisk {
        let inner = self.lock();
        SimDisk(Arc::new(Mutex::new(Inner {
            rng: StdRng::seed_from_u64(seed),
            weather: inner.weather,
            next_file: inner.next_file,
            files: inner.files.clone(),
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            pending_names: inner.pending_names.clone(),
            dies_after: None,
            dead: false,
            meanwhile: None,
        })))
    }

    /// Flips one bit of what lies in a file; says where. Files without content are left alone.
    pub fn flip_bit(&self) -> Option<(PathBuf, usize)> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let candidates: Vec<(PathBuf, u64)> = inner
            .names
            .iter()
            .filter(|(_, file)| inner.files[file].seen.iter().any(|byte| *byte != 0))
            .map(|(p, f)| (p.clone(), *f))
            .collect();
        let (path, file) = candidates.get(inner.rng.random_range(0..candidates.len().max(1)))?.clone();
        let content = inner.files.get_mut(&file)?;
        let used = content.seen.iter().rposition(|byte| *byte != 0)? + 1;
        let at = inner.rng.random_range(0..used);
        let bit = 1 << inner.rng.random_range(0..8);
        content.seen[at] ^= bit;
        if let Some(byte) = content.durable.get_mut(at) {
            *byte ^= bit;
        }
        Some((path, at))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// One operation of the process: others may come first, and it may be dead.
    fn operation(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.lock();
        match &mut inner.meanwhile {
            Some((0, _)) => {
                let due = inner.meanwhile.take();
                drop(inner);
                due.into_iter().for_each(|(_, what)| what(self));
                inner = self.lock();
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        inner.dead |= inner.dies_after == Some(0);
        inner.dies_after = inner.dies_after.and_then(|left| left.checked_sub(1));
        if inner.dead { Err(io::Error::other("the process is dead")) } else { Ok(inner) }
    }

    /// An operation that may fail in bad weather.
    fn other_operation(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.operation()?;
        let percent = inner.weather.rest_fails;
        if inner.chance(percent) { Err(bad_sector()) } else { Ok(inner) }
    }
}

fn bad_sector() -> io::Error {
    io::Error::other("input/output error")
}

impl Inner {
    fn take_names(&mut self) {
        for change in self.pending_names.drain(..) {
            match change {
                Rename::Add(path, file) => drop(self.durable_names.insert(path, file)),
                Rename::Move(from, to, file) => {
                    self.durable_names.remove(&from);
                    self.durable_names.insert(to, file);
                }
                Rename::Remove(path) => drop(self.durable_names.remove(&path)),
            }
        }
    }

    fn add_name(&mut self, path: &Path, file: u64) {
        self.names.insert(path.to_path_buf(), file);
        self.pending_names.push(Rename::Add(path.to_path_buf(), file));
    }

    fn change(&mut self, file: u64, change: Change) {
        let content = self.files.entry(file).or_default();
        change.apply(&mut content.seen);
        content.pending.push(change);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.other_operation().map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.other_operation()?;
        let names = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inner = self.other_operation()?;
        let file = inner.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(inner.files[file].seen.clone())
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let file = *self.other_operation()?.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(SimFile { disk: self.clone(), file })
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut inner = self.other_operation()?;
        if inner.names.remove(path).is_some() {
            inner.pending_names.push(Rename::Remove(path.to_path_buf()));
        }
        if inner.weather.full {
            return Err(ErrorKind::StorageFull.into());
        }
        let file = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(file, Content::default());
        inner.add_name(path, file);
        Ok(SimFile { disk: self.clone(), file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.other_operation()?;
        let file = inner.names.remove(from).ok_or(ErrorKind::NotFound)?;
        inner.names.insert(to.to_path_buf(), file);
        inner.pending_names.push(Rename::Move(from.to_path_buf(), to.to_path_buf(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.other_operation()?;
        inner.names.remove(path).ok_or(ErrorKind::NotFound)?;
        inner.pending_names.push(Rename::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.operation()?;
        let percent = inner.weather.sync_fails;
        if inner.chance(percent) {
            return Err(bad_sector());
        }
        let others = inner.pending_names.extract_if(.., |change| change.path().parent() != Some(dir)).collect();
        inner.take_names();
        inner.pending_names = others;
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.operation()?.weather.free_bytes)
    }
}

impl SimFile {
    /// What a process that dies in the middle of a write leaves of it.
    fn tear(&self, bytes: &[u8], at: usize, dies: bool) {
        let mut inner = self.disk.lock();
        let part = inner.rng.random_range(0..=bytes.len());
        if dies {
            inner.change(self.file, Change::Write(at, bytes[..part].to_vec()));
        }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.other_operation()?.files.get(&self.file).map_or(0, |content| content.seen.len() as u64))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = at as usize;
        let dies = self.disk.lock().dies_after == Some(0);
        let mut inner = self.disk.operation().inspect_err(|_| self.tear(bytes, at, dies))?;
        let length = inner.files.get(&self.file).map_or(0, |content| content.seen.len());
        let percent = inner.weather.write_fails;
        let (grows, fails) = (inner.weather.full && at + bytes.len() > length, inner.chance(percent));
        if grows || fails {
            let part = inner.rng.random_range(0..=bytes.len());
            inner.change(self.file, Change::Write(at, bytes[..part].to_vec()));
            return Err(if grows { ErrorKind::StorageFull.into() } else { bad_sector() });
        }
        inner.change(self.file, Change::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.disk.other_operation()?.change(self.file, Change::Length(bytes as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.operation()?;
        let inner = &mut *inner;
        let percent = inner.weather.sync_fails;
        let fails = inner.chance(percent);
        let content = inner.files.entry(self.file).or_default();
        assert!(!content.sync_failed, "a file is synced again after a sync of it has failed");
        if fails {
            // As Linux does it: what could not be written counts as clean from now on, and is still seen in memory.
            content.lose(&mut inner.rng);
            content.sync_failed = true;
            return Err(bad_sector());
        }
        for change in std::mem::take(&mut content.pending) {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}
