//! A disk that can be filled to its last byte: a small tmpfs where mounting is allowed; elsewhere writes fail by strace as on a full one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::strace::{Of, Strace};

pub struct SmallDisk {
    dir: PathBuf,
    /// Holds the mount point, and is removed after it is no mount point any more.
    _point: tempfile::TempDir,
    mounted: bool,
}

/// The disk is full until this is dropped.
pub enum Full {
    Filled(PathBuf),
    Injected(Strace),
}

impl SmallDisk {
    pub fn new(mib: u64) -> SmallDisk {
        let point = tempfile::tempdir().unwrap();
        let dir = point.path().to_path_buf();
        let mounted = as_root(&["mount", "-t", "tmpfs", "-o", &format!("size={mib}m,mode=777"), "tmpfs"], &dir);
        if !mounted {
            eprintln!("mounting is not allowed here: writes are made to fail by strace instead");
        }
        SmallDisk { dir, _point: point, mounted }
    }

    pub fn tempdir(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.dir).unwrap()
    }

    /// It is a disk of its own: whoever fills it fills it for everybody.
    pub fn mounted(&self) -> bool {
        self.mounted
    }

    /// Fills it, for the service of that process.
    pub fn fill(&self, pid: u32) -> Full {
        if self.mounted {
            let path = self.dir.join("filler");
            let filled = io::copy(&mut io::repeat(0), &mut File::create(&path).unwrap());
            assert_eq!(filled.unwrap_err().kind(), io::ErrorKind::StorageFull);
            return Full::Filled(path);
        }
        let threads = ["commit", "prepare", "seal", "sqlx-sqlite"];
        let calls = "pwrite64,write,ftruncate,fallocate";
        Full::Injected(Strace::attach(pid, Of::Threads(&threads), calls, calls, "ENOSPC", &self.dir.join("strace.log")))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        if let Full::Filled(path) = self {
            std::fs::remove_file(path).unwrap();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            as_root(&["umount", "--lazy"], &self.dir);
        }
    }
}

/// As who we are, or by sudo; gives whether it worked.
fn as_root(command: &[&str], dir: &Path) -> bool {
    [&[][..], &["sudo", "-n"]].into_iter().any(|before| {
        let words = [before, command].concat();
        let run = Command::new(words[0]).args(&words[1..]).arg(dir).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    })
}
