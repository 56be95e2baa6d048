//! A disk in memory that does as it is told.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use store::{Disk, DiskFile};

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, Content>>>);

pub(crate) struct MemoryFile(Content);

impl MemoryDisk {
    pub(crate) fn with(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> MemoryDisk {
        let files = files.into_iter().map(|(path, content)| (path, Arc::new(Mutex::new(content))));
        MemoryDisk(Arc::new(Mutex::new(files.collect())))
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Content>> {
        self.0.lock().unwrap()
    }

    fn content(&self, path: &Path) -> io::Result<Content> {
        self.files().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inside = |path: &PathBuf| Some(path.strip_prefix(dir).ok()?.to_str()?.to_string());
        Ok(self.files().keys().filter_map(inside).filter(|name| !name.contains('/')).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.content(path)?.lock().unwrap().clone())
    }

    fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        self.content(path).map(MemoryFile)
    }

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let content = Content::default();
        self.files().insert(path.to_path_buf(), content.clone());
        Ok(MemoryFile(content))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = self.files().remove(from).ok_or(ErrorKind::NotFound)?;
        self.files().insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let end = at as usize + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
