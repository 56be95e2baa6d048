//! Files that appear whole or not at all, readable by whom they are for.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::failure::Failure;

/// A file that is going to be written: its directory takes it.
pub(super) struct Draft {
    path: PathBuf,
    mode: u32,
    file: NamedTempFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    New,
    Replaced,
    /// It held the same already.
    Same,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Written::New => "新建 · new",
            Written::Replaced => "替换 · replaced",
            Written::Same => "未变 · unchanged",
        })
    }
}

impl Draft {
    pub(super) fn begin(path: &Path, mode: u32) -> Result<Draft, Failure> {
        let file = NamedTempFile::new_in(directory(path)).map_err(|error| Failure::unwritten(path, &error))?;
        Ok(Draft { path: path.to_path_buf(), mode, file })
    }

    pub(super) fn put(self, content: &[u8]) -> Result<Written, Failure> {
        let path = self.path.clone();
        self.write(content).map_err(|error| Failure::unwritten(&path, &error))
    }

    fn write(mut self, content: &[u8]) -> io::Result<Written> {
        let before = fs::read(&self.path).ok();
        if before.as_deref() == Some(content) {
            fs::set_permissions(&self.path, Permissions::from_mode(self.mode))?;
            return Ok(Written::Same);
        }
        self.file.write_all(content)?;
        self.file.as_file().set_permissions(Permissions::from_mode(self.mode))?;
        belong(self.file.path())?;
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        File::open(directory(&self.path))?.sync_all()?;
        Ok(if before.is_some() { Written::Replaced } else { Written::New })
    }
}

/// What root writes belongs to whom the directory belongs: the agent runs as a user of its own.
pub(super) fn belong(path: &Path) -> io::Result<()> {
    let (file, directory) = (fs::metadata(path)?, fs::metadata(directory(path))?);
    if file.uid() == 0 && directory.uid() != 0 {
        chown(path, Some(directory.uid()), Some(directory.gid()))?;
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_with_its_mode_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(Draft::begin(&path, 0o600).unwrap().put(b"one").unwrap(), Written::New);
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Draft::begin(&path, 0o600).unwrap().put(b"one").unwrap(), Written::Same);
        assert_eq!(mode(), 0o600);
        assert_eq!(Draft::begin(&path, 0o644).unwrap().put(b"two").unwrap(), Written::Replaced);
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"two".to_vec(), 0o644));
        drop(Draft::begin(&path, 0o600).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_root_writes_belongs_to_whom_the_directory_belongs() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody but root may give a directory away.
        let given = chown(dir.path(), Some(4321), Some(4321)).is_ok();
        let path = dir.path().join("token");
        Draft::begin(&path, 0o600).unwrap().put(b"one").unwrap();
        let wanted = if given { 4321 } else { fs::metadata(dir.path()).unwrap().uid() };
        assert_eq!(fs::metadata(&path).unwrap().uid(), wanted);
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_before_anything_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Draft::begin(&dir.path().join("nowhere/token"), 0o600).err().unwrap();
        assert!(failure.exit == 2 && failure.to_string().contains("nowhere/token"), "{failure}");
    }
}
