//! A file that a command makes: it never replaces another, and is durable when the command says that it is there.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Bytes gathered before the system is asked to write: few calls, and little memory.
const BUFFER_BYTES: usize = 256 << 10;

/// Only the owner may read it: it has a whole store in it.
const MODE: u32 = 0o600;

/// A file that is being written. It is removed when it is dropped unfinished.
#[derive(Debug)]
pub(super) struct NewFile {
    out: BufWriter<File>,
    path: PathBuf,
    finished: bool,
}

impl NewFile {
    /// Makes the file, which must not be there.
    pub(super) fn create(path: &Path) -> anyhow::Result<NewFile> {
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                anyhow::anyhow!("{} is there already; give another name, or remove it", path.display())
            }
            _ => anyhow::anyhow!("{} cannot be made: {error}", path.display()),
        })?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(NewFile { out, path: path.to_owned(), finished: false })
    }

    /// Makes what was written durable, with the file's name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let durable = || -> io::Result<()> {
            self.out.flush()?;
            self.out.get_ref().sync_all()?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        let mut durable = durable;
        durable().with_context(|| cannot_write(&self.path))?;
        self.finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| named(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| named(&self.path, &error))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("{} cannot be written; make room, or choose another place", path.display())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", cannot_write(path)))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::NewFile;

    #[test]
    fn a_file_is_there_when_finished_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(!path.exists());
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        let error = NewFile::create(&path).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        let error = NewFile::create(&folder.path().join("missing/f")).unwrap_err().to_string();
        assert!(error.contains("cannot be made"), "{error}");
    }
}
