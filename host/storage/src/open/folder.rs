//! The store's folder: its lock, and creation that is never seen half done.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use fjall::PersistMode;

use super::engine::{engine_error, open_engine, sync_keyspace_folder};
use super::error::OpenError;
use crate::files::sync_folder;
use crate::format;
use crate::head::{LogHead, RecordedHead};
use crate::history::Histories;
use crate::mark::{self, Mark};
use crate::options::Options;
use crate::replica::ReplicaState;

/// Locks a store's folder until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(format::LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(OpenError::io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "locking", path, source }),
    }
}

/// Creates an empty database, durably. It is built under another name, because fjall's own creation, if a crash cuts it
/// short, leaves a journal that can neither be created anew nor opened.
/// `replica` is the state that a replica begins with.
pub(super) fn create_database(
    dir: &Path,
    options: &Options,
    replica: Option<&ReplicaState>,
) -> Result<Mark, OpenError> {
    let new = new_database_folder(dir)?;
    {
        let database = open_engine(dir, &new, options)?;
        let meta = database.keyspace(format::META, || options.keyspace()).map_err(engine_error(dir))?;
        sync_keyspace_folder(&meta).map_err(OpenError::io("syncing", &new))?;
        let mut batch = database.batch();
        let version = match replica {
            None => format::FORMAT_WITHOUT_LOG,
            Some(_) => format::REPLICA_FORMAT_VERSION,
        };
        batch.insert(&meta, format::FORMAT_KEY, version.to_be_bytes());
        if let Some(replica) = replica {
            batch.insert(&meta, format::APPLIED_KEY, replica.applied.encode());
            batch.insert(&meta, format::MEMBERSHIP_KEY, &*replica.membership);
        }
        let head = RecordedHead { head: LogHead::default(), engine_floor: 0 };
        batch.insert(&meta, &format::HEAD_KEY[..], head.encode());
        batch.insert(&meta, format::HISTORIES_KEY, Histories::begin().encode());
        batch.commit().map_err(engine_error(dir))?;
        database.persist(PersistMode::SyncAll).map_err(engine_error(dir))?;
    }
    name_database(dir, Mark { applied: replica.map(|replica| replica.applied.mark()), ..Mark::default() })
}

/// The folder to build a database in. Remains of an interrupted attempt are removed.
pub(crate) fn new_database_folder(dir: &Path) -> Result<PathBuf, OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    if new.try_exists().map_err(OpenError::io("looking for", &new))? {
        std::fs::remove_dir_all(&new).map_err(OpenError::io("removing", &new))?;
    }
    Ok(new)
}

/// Gives a database that was built, complete and closed, its name, durably. Returns its mark as it is in the file then.
pub(crate) fn name_database(dir: &Path, mark: Mark) -> Result<Mark, OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    sync_folder(&new).map_err(OpenError::io("syncing", &new))?;
    // Before the database has its name: from then on a store without a mark is one that lost it.
    mark::create(dir, mark).map_err(OpenError::io("creating the durable mark of", dir))?;
    let data = dir.join(format::DATABASE_FOLDER);
    std::fs::rename(&new, &data).map_err(OpenError::io("renaming", &new))?;
    sync_folder(dir).map_err(OpenError::io("syncing", dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent).map_err(OpenError::io("syncing", parent))?;
    }
    Ok(Mark { turn: mark.turn + 1, ..mark })
}
