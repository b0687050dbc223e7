//! The marker file of a restore in progress: while it exists and there is no database, the folder is not opened as a store.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::folder::lock;
use crate::files::{if_exists, sync_folder};
use crate::format;

/// Marks a folder, which must exist, before a restore into it begins. The marker is durable on return.
///
/// # Errors
///
/// The operating system's error.
pub fn begin(dir: &Path) -> io::Result<()> {
    File::create(marker(dir))?.sync_all()?;
    sync_folder(dir)
}

/// Removes the marker after the restored store has its name.
///
/// # Errors
///
/// The operating system's error.
pub fn finish(dir: &Path) -> io::Result<()> {
    match if_exists(std::fs::remove_file(marker(dir)))? {
        None => Ok(()),
        Some(()) => sync_folder(dir),
    }
}

/// Whether a restore into the folder was begun and left no store.
///
/// # Errors
///
/// The operating system's error.
pub fn is_unfinished(dir: &Path) -> io::Result<bool> {
    Ok(marker(dir).try_exists()? && !dir.join(format::DATABASE_FOLDER).try_exists()?)
}

/// Removes what an unfinished restore left, and as the last step its marker: a new store may be created in the folder.
/// Returns whether there was an unfinished restore.
///
/// # Errors
///
/// The folder is in use, or the operating system's error.
pub fn give_up(dir: &Path) -> Result<bool, OpenError> {
    if !is_unfinished(dir).map_err(OpenError::io("looking at", dir))? {
        return Ok(false);
    }
    let _lock = lock(dir)?;
    clear(dir)?;
    finish(dir).map_err(OpenError::io("removing the mark of the restore in", dir))?;
    Ok(true)
}

/// Removes what an unfinished restore left, except its marker.
pub(crate) fn clear(dir: &Path) -> Result<(), OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    if_exists(std::fs::remove_dir_all(&new)).map_err(OpenError::io("removing", &new))?;
    let mark = dir.join(format::MARK_FILE);
    if_exists(std::fs::remove_file(&mark)).map_err(OpenError::io("removing", &mark))?;
    Ok(())
}

fn marker(dir: &Path) -> PathBuf {
    dir.join(format::RESTORE_FILE)
}
