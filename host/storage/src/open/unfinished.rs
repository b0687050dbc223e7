//! The mark of a restore that is under way: as long as it is there, nobody opens the folder as a store.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::format;
use crate::open::{self, OpenError, failed, sync_folder};

/// Marks a folder: a restore into it begins. The mark is durable on return. The folder must be there.
///
/// # Errors
///
/// What the operating system said.
pub fn begin(dir: &Path) -> io::Result<()> {
    File::create(mark(dir))?.sync_all()?;
    sync_folder(dir)
}

/// Takes the mark away: the store has its name.
///
/// # Errors
///
/// What the operating system said.
pub fn finish(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(mark(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_folder(dir)),
    }
}

/// Whether a restore into the folder has begun and left no store.
///
/// # Errors
///
/// What the operating system said.
pub fn is_unfinished(dir: &Path) -> io::Result<bool> {
    Ok(mark(dir).try_exists()? && !dir.join(format::DATABASE_FOLDER).try_exists()?)
}

/// Removes what an unfinished restore has left, and its mark as the last step: the folder is free for a new store.
/// Whether there was anything to give up.
///
/// # Errors
///
/// The folder is in use, or what the operating system said.
pub fn give_up(dir: &Path) -> Result<bool, OpenError> {
    if !is_unfinished(dir).map_err(failed("looking at", dir))? {
        return Ok(false);
    }
    let _lock = open::lock(dir)?;
    clear(dir)?;
    finish(dir).map_err(failed("removing the mark of the restore in", dir))?;
    Ok(true)
}

/// Removes what an unfinished restore has left, but its mark.
pub(crate) fn clear(dir: &Path) -> Result<(), OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    unless_gone(std::fs::remove_dir_all(&new)).map_err(failed("removing", &new))?;
    let mark = dir.join(format::MARK_FILE);
    unless_gone(std::fs::remove_file(&mark)).map_err(failed("removing", &mark))
}

fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn mark(dir: &Path) -> PathBuf {
    dir.join(format::RESTORE_FILE)
}
