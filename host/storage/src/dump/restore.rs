//! Making a store from a dump.
//!
//! The database is built and verified under another name, as a new one is, and gets its own name as the last step.
//! Until then there is no store in the folder; whatever interrupts a restore, the next one removes what it left.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fjall::{Database, Keyspace, PersistMode};

use super::decode::{Decoder, Entries, InvalidDump, Item};
use super::frame::{Tally, push_entry};
use super::{KeyspaceSummary, Progress, Summary};
use crate::engine_files::journal;
use crate::format;
use crate::head::{Head, Recorded};
use crate::history::Histories;
use crate::mark::{self, Found, Mark};
use crate::name;
use crate::open::unfinished;
use crate::open::{self, OpenError, failed, refused};
use crate::options::Options;
use crate::read::chunks::stretch;
use crate::read::snapshot::Direction;
use crate::stall::{self, is_crowded};

/// Why a dump was not restored. There is no store in the folder then, unless there was one before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The dump is not accepted.
    #[error(transparent)]
    Dump(#[from] InvalidDump),
    /// There is a store already, or the mark of one.
    #[error(
        "{} has a store already ({} is there); restore into another folder, or move that away",
        path.display(), found.display()
    )]
    StoreExists {
        /// The folder.
        path: PathBuf,
        /// What was found in it.
        found: PathBuf,
    },
    /// The store could not be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The engine could not write, or made no progress.
    #[error(
        "writing the store in {} failed: {reason}; make room or choose another disk, and restore again",
        path.display()
    )]
    Write {
        /// The folder.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// What was written does not read back as it was in the dump.
    #[error(
        "keyspace {keyspace} of {owner} does not read back as it was in the backup ({reason}); the disk of {} may be \
         failing",
        path.display()
    )]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// What is different.
        reason: String,
    },
}

/// Makes a store in `dir` from a dump. The folder is created when absent; it must not have a store.
///
/// The store has what the dump has, and goes on from the same head, in a new history. Everything is verified before there is a store: the
/// dump, from its first byte to its last, and that what was written reads back as it was in the dump. On return the
/// store is durable. `progress` is called behind each piece of about 1 MiB. The folder of a restore that failed or whose
/// process was killed is not opened as a store until the restore is repeated or [given up](crate::open::unfinished::give_up).
///
/// # Errors
///
/// [`RestoreError`]; there is no store in the folder then, unless there was one before.
pub fn restore(
    dir: &Path,
    input: &mut dyn Read,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, RestoreError> {
    // What is no dump at all changes nothing.
    let mut decoder = Decoder::begin(input)?;
    let options = Options::default();
    std::fs::create_dir_all(dir).map_err(failed("creating", dir))?;
    let lock = open::lock(dir)?;
    if unfinished::is_unfinished(dir).map_err(failed("looking at", dir))? {
        unfinished::clear(dir)?;
    }
    clear(dir)?;
    unfinished::begin(dir).map_err(failed("marking the restore in", dir))?;
    let restored = Restore::begin(dir, &options).and_then(|restore| restore.fill(&mut decoder, progress));
    let summary = match restored {
        Ok(summary) => summary,
        Err(error) => {
            discard(dir, &lock);
            return Err(error);
        }
    };
    if let Err(error) = verify(dir, &options, &summary) {
        discard(dir, &lock);
        return Err(error);
    }
    open::name_database(dir, Mark { head: summary.head, journal: head_journal(dir)?, ..Mark::default() })?;
    unfinished::finish(dir).map_err(failed("removing the mark of the restore in", dir))?;
    Ok(summary)
}

/// Makes sure that there is no store, and removes the mark that an interrupted restore has left. Such a mark is made
/// when the new database is complete, so that one lies beside it.
fn clear(dir: &Path) -> Result<(), RestoreError> {
    let exists = |path: &Path| path.try_exists().map_err(failed("looking for", path));
    let (data, new) = (dir.join(format::DATABASE_FOLDER), dir.join(format::NEW_DATABASE_FOLDER));
    if exists(&data)? {
        return Err(RestoreError::StoreExists { path: dir.to_owned(), found: data });
    }
    let mark = dir.join(format::MARK_FILE);
    match mark::read(dir).map_err(failed("reading the durable mark of", dir))? {
        Found::Missing => return Ok(()),
        Found::Mark(Mark { head: Head { sequence: 0, .. }, .. }) => {}
        Found::Mark(_) | Found::Damaged if exists(&new)? => {}
        Found::Mark(_) | Found::Damaged => {
            return Err(RestoreError::StoreExists { path: dir.to_owned(), found: mark });
        }
    }
    std::fs::remove_file(&mark).map_err(failed("removing", &mark))?;
    open::sync_folder(dir).map_err(failed("syncing", dir))?;
    Ok(())
}

/// Removes what a failed restore has written, while its folder is still locked. What cannot be removed now is removed
/// by the next restore, and by the next open.
fn discard(dir: &Path, _lock: &File) {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    if let Err(error) = std::fs::remove_dir_all(&new) {
        tracing::warn!(path = %new.display(), %error, "what a failed restore has written could not be removed");
    }
}

/// A database that is being filled. The fields are dropped in order: every handle before the database.
struct Restore<'a> {
    dir: &'a Path,
    options: &'a Options,
    meta: Keyspace,
    /// By full name.
    keyspaces: HashMap<String, Keyspace>,
    database: Database,
}

impl<'a> Restore<'a> {
    fn begin(dir: &'a Path, options: &'a Options) -> Result<Self, RestoreError> {
        let new = open::new_database_folder(dir)?;
        let database = open::engine(dir, &new, options)?;
        let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
        open::sync_keyspace_folder(&meta).map_err(failed("syncing", &new))?;
        Ok(Self { dir, options, meta, keyspaces: HashMap::new(), database })
    }

    /// Takes in the whole dump, and closes the database.
    fn fill(
        mut self,
        decoder: &mut Decoder<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Summary, RestoreError> {
        let mut current = self.meta.clone();
        loop {
            match decoder.next()? {
                Item::Keyspace { owner, keyspace } => current = self.create(owner, keyspace)?,
                Item::Entries(entries) => self.put(&current, entries)?,
                Item::End(summary) => {
                    drop(current);
                    self.finish(&summary)?;
                    return Ok(summary);
                }
            }
            decoder.report(progress);
        }
    }

    fn create(&mut self, owner: &str, keyspace: &str) -> Result<Keyspace, RestoreError> {
        let full = name::join(owner, keyspace);
        let handle = self.database.keyspace(&full, || self.options.keyspace()).map_err(refused(self.dir))?;
        open::sync_keyspace_folder(&handle).map_err(failed("syncing", handle.path()))?;
        self.keyspaces.insert(full, handle.clone());
        Ok(handle)
    }

    fn put(&self, keyspace: &Keyspace, entries: Entries<'_>) -> Result<(), RestoreError> {
        self.wait_while(keyspace, is_crowded)?;
        let mut batch = self.database.batch();
        for (key, value) in entries {
            batch.insert(keyspace, key, value);
        }
        batch.commit().map_err(|error| self.failure(error))
    }

    /// Writes everything to tables, then what makes it a store: format, keyspaces and head, in one record.
    fn finish(self, summary: &Summary) -> Result<(), RestoreError> {
        let head = summary.head;
        for handle in self.keyspaces.values() {
            handle.rotate_memtable().map_err(|error| self.failure(error))?;
            self.wait_while(handle, |handle| handle.sealed_memtable_count() > 0)?;
        }
        let mut batch = self.database.batch();
        batch.insert(&self.meta, format::FORMAT_KEY, format::FORMAT_VERSION.to_be_bytes());
        for (full, handle) in &self.keyspaces {
            let key = format!("{}{full}", format::KEYSPACE_KEY_PREFIX);
            batch.insert(&self.meta, key, handle.id().to_be_bytes());
        }
        // Positions from here on may be given away again: they were, if the backup is not the store's last state.
        let histories = match &summary.histories {
            Some(histories) => histories.and_a_new_one(head.next_position),
            None => Histories::begin(),
        };
        batch.insert(&self.meta, format::HISTORIES_KEY, histories.encode());
        let recorded = Recorded { head, engine_floor: self.database.seqno() };
        batch.insert(&self.meta, &format::HEAD_KEY[..], recorded.encode());
        batch.commit().map_err(|error| self.failure(error))?;
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.failure(error))
    }

    /// Waits for the engine's workers while a keyspace is `busy`.
    fn wait_while(&self, keyspace: &Keyspace, busy: impl Fn(&Keyspace) -> bool) -> Result<(), RestoreError> {
        let limit = Duration::from_millis(self.options.stall_limit_ms);
        let busy = || busy(keyspace).then(|| keyspace.name().to_string());
        stall::wait(&self.database, limit, busy, || false).map_err(|reason| self.failure(reason))
    }

    fn failure(&self, reason: impl std::fmt::Display) -> RestoreError {
        RestoreError::Write { path: self.dir.to_owned(), reason: reason.to_string() }
    }
}

/// Opens the new database once more, and reads back what was written.
fn verify(dir: &Path, options: &Options, summary: &Summary) -> Result<(), RestoreError> {
    let database = open::engine(dir, &dir.join(format::NEW_DATABASE_FOLDER), options)?;
    let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
    let found = open::read_head(dir, &meta)?;
    let snapshot = database.snapshot();
    for expected in &summary.keyspaces {
        let mismatch = |reason| RestoreError::Mismatch {
            path: dir.to_owned(),
            owner: expected.owner.clone(),
            keyspace: expected.keyspace.clone(),
            reason,
        };
        let full = name::join(&expected.owner, &expected.keyspace);
        let handle = database.keyspace(&full, || options.keyspace()).map_err(refused(dir))?;
        let actual = read_back(&snapshot, &handle, expected).map_err(mismatch)?;
        if actual != *expected {
            return Err(mismatch(format!("{} entries instead of {}", actual.entries, expected.entries)));
        }
    }
    if found != summary.head {
        let reason = format!("the head reads back as {found:?} instead of {:?}", summary.head);
        return Err(RestoreError::Write { path: dir.to_owned(), reason });
    }
    Ok(())
}

fn read_back(
    snapshot: &fjall::Snapshot,
    handle: &Keyspace,
    expected: &KeyspaceSummary,
) -> Result<KeyspaceSummary, String> {
    let mut tally = Tally::new(&expected.owner, &expected.keyspace);
    let mut payload = Vec::new();
    let mut last = None;
    loop {
        let read = stretch(snapshot, handle, last.as_deref(), None, Direction::Forward);
        if let Some(failure) = read.failure {
            return Err(failure.reason);
        }
        payload.clear();
        for (key, value) in &read.entries {
            push_entry(&mut payload, key, value);
        }
        tally.add(read.entries.len(), &payload);
        last = read.entries.last().map(|(key, _)| key.clone());
        if !read.more {
            return Ok(tally.summary());
        }
    }
}

/// The journal that the head's record is in, or one before it.
fn head_journal(dir: &Path) -> Result<u64, RestoreError> {
    let data = dir.join(format::NEW_DATABASE_FOLDER);
    let journals = journal::list(&data).map_err(failed("listing the journals of", &data))?;
    let read = journal::read(&journals, 0).map_err(failed("reading the journals of", &data))?;
    let holder = read.iter().rev().find(|journal| journal.last.is_some()).map(|journal| journal.id);
    let oldest = journals.first().map_or(0, |(id, _)| *id);
    Ok(holder.unwrap_or(oldest.saturating_sub(1)))
}
