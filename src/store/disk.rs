//! What the evidence log needs of a file system. The simulation brings one that loses, tears and refuses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Directories and names.
pub trait Disk: Send + Sync + 'static {
    type File: DiskFile;

    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// A new, empty file. What had that name before is gone: it may be a file of which a sync has failed.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names of the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// What an ordinary user may still write.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    fn length(&self) -> io::Result<u64>;
    /// All of `bytes`, or an error.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn set_length(&self, bytes: u64) -> io::Result<()>;
    /// Makes the file longer by zeros, `from` its end, and sure of their space.
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        write_zeros(self, from, to)
    }
    /// The content, and the length if it has changed. After an error it is unknown what is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: usize = 1 << 20;

fn write_zeros(file: &(impl DiskFile + ?Sized), from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX).min(ZEROS_BYTES)];
    let mut at = from;
    while at < to {
        let length = (to - at).min(zeros.len() as u64);
        file.write_at(&zeros[..length as usize], at)?;
        at += length;
    }
    Ok(())
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    type File = File;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().read(true).write(true).create_new(true).open(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), from, to - from) {
            // Some file systems cannot set space aside without writing to it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(self, from, to),
            reserved => Ok(reserved?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
