//! Helpers for files and folders.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the creation, renaming or removal of a folder's entries durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The outcome of a file operation; `None` if the file does not exist.
pub(crate) fn if_exists<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The paths in a folder, in no order; none if it does not exist.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = if_exists(std::fs::read_dir(folder))? else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.path())).collect()
}
