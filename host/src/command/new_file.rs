//! A file that a command creates. It never replaces another file, gets its name only when it is complete, and is durable
//! when the command reports success.
//!
//! Until then it has no name at all, so that an interrupted command leaves nothing. Where the file system does not support
//! that, it has a temporary name in the same folder.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Size of the write buffer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Only the owner may read the file, because it contains a whole store.
const MODE: u32 = 0o600;

/// A file that is being written. It is removed if it is dropped unfinished.
#[derive(Debug)]
pub(super) struct NewFile {
    out: BufWriter<File>,
    path: PathBuf,
    /// The temporary name, where the file needs one.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Begins the file, which must not exist yet.
    pub(super) fn create(path: &Path) -> anyhow::Result<NewFile> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let (file, temporary) = match open_unnamed(folder(path)) {
            Ok(file) => (file, None),
            Err(_) => {
                let temporary = temporary_name(path);
                (open_named(&temporary).map_err(|error| cannot_be_made(path, &error))?, Some(temporary))
            }
        };
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(NewFile { out, path: path.to_owned(), temporary })
    }

    /// Makes what was written durable, and returns the file for reading from its beginning. Nothing may be written after that.
    pub(super) fn reread(&mut self) -> anyhow::Result<File> {
        let mut reread = || -> io::Result<File> {
            self.out.flush()?;
            self.out.get_ref().sync_all()?;
            let mut file = self.out.get_ref().try_clone()?;
            file.rewind()?;
            Ok(file)
        };
        reread().with_context(|| cannot_write(&self.path))
    }

    /// Makes what was written durable, and gives the file its name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let durable = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        durable.with_context(|| cannot_write(&self.path))?;
        self.take_name().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.path),
            _ => cannot_be_made(&self.path, &error),
        })?;
        self.temporary = None;
        let folder = File::open(folder(&self.path)).and_then(|folder| folder.sync_all());
        folder.with_context(|| cannot_write(&self.path))
    }

    /// Gives the file its name, unless another file has it.
    fn take_name(&self) -> io::Result<()> {
        let Some(temporary) = &self.temporary else {
            let file = format!("/proc/self/fd/{}", self.out.get_ref().as_raw_fd());
            return Ok(rustix::fs::linkat(CWD, file, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)?);
        };
        match rustix::fs::renameat_with(CWD, temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Not every file system supports the flag.
            Err(Errno::INVAL | Errno::NOSYS) if self.path.symlink_metadata().is_err() => {
                std::fs::rename(temporary, &self.path)
            }
            result => Ok(result?),
        }
    }
}

/// Creates a file without a name in a folder.
fn open_unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE))?.into())
}

fn open_named(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(path)
}

/// The folder that the file is to be in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Number of temporary names that were used, so that no two files of a process have the same.
static TEMPORARY_NAMES: AtomicU32 = AtomicU32::new(0);

/// A temporary name in the same folder, which no other process uses.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let number = TEMPORARY_NAMES.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".unfinished-{}-{number}", std::process::id()));
    path.with_file_name(name)
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is there already; give another name, or remove it", path.display())
}

fn cannot_be_made(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("{} cannot be made: {error}", path.display())
}

fn cannot_write(path: &Path) -> String {
    format!("{} cannot be written; make room, or choose another place", path.display())
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| explained(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| explained(&self.path, &error))
    }
}

fn explained(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", cannot_write(path)))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary
            && let Err(error) = std::fs::remove_file(temporary)
        {
            tracing::warn!(path = %temporary.display(), %error, "an unfinished file stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufWriter, Read as _, Write as _};
    use std::path::Path;

    use super::{NewFile, open_named, temporary_name};

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// A file as on a file system where files need names.
    fn with_temporary_name(path: &Path) -> NewFile {
        let temporary = temporary_name(path);
        let file = open_named(&temporary).unwrap();
        NewFile { out: BufWriter::new(file), path: path.to_owned(), temporary: Some(temporary) }
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_finished_and_replaces_nothing() {
        let create = |path: &Path| NewFile::create(path).unwrap();
        let makes: [&dyn Fn(&Path) -> NewFile; 2] = [&create, &with_temporary_name];
        for make in makes {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            let mut file = make(&path);
            file.write_all(b"half").unwrap();
            file.flush().unwrap();
            assert!(!path.exists());
            drop(file);
            assert_eq!(names(folder.path()), Vec::<String>::new());

            let mut file = make(&path);
            file.write_all(b"whole").unwrap();
            let mut read = String::new();
            file.reread().unwrap().read_to_string(&mut read).unwrap();
            assert_eq!((read.as_str(), path.exists()), ("whole", false));
            let late = make(&path);
            file.finish().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"whole");
            // Another command fails, also if it began before.
            for error in [NewFile::create(&path).unwrap_err(), late.finish().unwrap_err()] {
                assert!(error.to_string().contains("is there already"), "{error}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"whole");
            assert_eq!(names(folder.path()), ["f"]);
        }
        let error = NewFile::create(Path::new("/nowhere/missing/f")).unwrap_err().to_string();
        assert!(error.contains("cannot be made"), "{error}");
    }
}
