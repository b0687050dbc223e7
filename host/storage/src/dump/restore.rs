//! Creating a store from a dump.
//!
//! The database is built and verified under another name, like any new database, and gets its own name as the last step.
//! Until then there is no store in the folder. Whatever an interrupted restore leaves, the next one removes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fjall::{Database, Keyspace, PersistMode};

use super::decode::{Decoder, Entries, Item};
use super::error::InvalidDump;
use super::frame::{Tally, push_entry};
use super::summary::{KeyspaceSummary, Progress, Summary};
use crate::engine::Fjall;
use crate::engine_files::journal;
use crate::files::sync_folder;
use crate::format;
use crate::head::{LogHead, RecordedHead};
use crate::history::Histories;
use crate::mark::{self, FoundMark, Mark};
use crate::name;
use crate::open::{
    OpenError, engine_error, lock, name_database, new_database_folder, open_engine, read_head,
    sync_keyspace_folder, unfinished,
};
use crate::options::Options;
use crate::read::{Direction, read_chunk};
use crate::replica::{Genesis, ReplicaState};
use crate::stall::{self, is_crowded};

/// Why a dump was not restored. There is no store in the folder, unless there was one before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The dump is not accepted.
    #[error(transparent)]
    Dump(#[from] InvalidDump),
    /// The folder already contains a store, or the mark of one.
    #[error(
        "{} has a store already ({} is there); restore into another folder, or move that away",
        path.display(), found.display()
    )]
    StoreExists {
        /// The folder.
        path: PathBuf,
        /// The database or mark that was found.
        found: PathBuf,
    },
    /// The store could not be created.
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
    /// The dump is not one of a replica.
    #[error("the backup is of a store that belongs to no cluster, and no replica of one can begin with it")]
    NoReplica,
    /// What was written does not read back as in the dump.
    #[error(
        "keyspace {keyspace} of {owner} does not read back as it was in the backup ({reason}); the disk of {} may be \
         failing",
        path.display()
    )]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// What is different.
        reason: String,
    },
}

/// What a dump is restored to.
#[derive(Clone, Copy)]
enum Target<'g> {
    /// A store that nothing is replicated to.
    Single,
    /// A replica that goes on where the dump's replica was.
    Replica,
    /// The first replica of a group.
    Birth(&'g Genesis),
}

impl Target<'_> {
    /// The state of the replica, if it is one.
    fn state(
        self,
        found: Option<&ReplicaState>,
        head: LogHead,
    ) -> Result<Option<ReplicaState>, RestoreError> {
        match self {
            Self::Single => Ok(None),
            Self::Replica => found.cloned().map(Some).ok_or(RestoreError::NoReplica),
            Self::Birth(genesis) => Ok(Some(genesis.state(head.time))),
        }
    }
}

/// Creates a store in `dir` from a dump. The folder is created if it does not exist; it must not contain a store. From the
/// dump of a replica it creates a store that belongs to no cluster.
///
/// The store has the contents of the dump, and continues from the same head in a new history. Everything is verified
/// before there is a store: the dump from its first byte to its last, and that what was written reads back as in the
/// dump. On return the store is durable. `progress` is called after each piece of about 1 MiB. If a restore fails or its
/// process is killed, the folder is not opened as a store until the restore is repeated or
/// [given up](super::unfinished::give_up).
///
/// # Errors
///
/// [`RestoreError`]; there is no store in the folder, unless there was one before.
pub fn restore(
    dir: &Path,
    input: &mut dyn Read,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, RestoreError> {
    restore_as(Target::Single, dir, input, progress)
}

/// As [`restore()`], and creates a replica of a cluster, to be opened with [`Replica::open`](crate::Replica::open).
///
/// Without a `genesis` the dump must be one of a replica, and the new one is equal to it: it goes on after the same entry of
/// the log, and in the same histories. With a `genesis` the dump may be of any store, and the new replica is the first of a
/// group, with a new history.
///
/// # Errors
///
/// [`RestoreError`]; there is no replica in the folder, unless there was one before.
pub fn restore_replica(
    dir: &Path,
    input: &mut dyn Read,
    genesis: Option<&Genesis>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, RestoreError> {
    restore_as(genesis.map_or(Target::Replica, Target::Birth), dir, input, progress)
}

fn restore_as(
    target: Target<'_>,
    dir: &Path,
    input: &mut dyn Read,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, RestoreError> {
    // First, so that an input that is no dump at all changes nothing.
    let mut decoder = Decoder::begin(input)?;
    let state = target.state(decoder.replica(), decoder.head())?;
    let options = Options::default();
    std::fs::create_dir_all(dir).map_err(OpenError::io("creating", dir))?;
    let lock = lock(dir)?;
    if unfinished::is_unfinished(dir).map_err(OpenError::io("looking at", dir))? {
        unfinished::clear(dir)?;
    }
    clear(dir)?;
    unfinished::begin(dir).map_err(OpenError::io("marking the restore in", dir))?;
    let goes_on = matches!(target, Target::Replica);
    let restored = Restore::begin(dir, &options, state.clone(), goes_on)
        .and_then(|restore| restore.fill(&mut decoder, progress));
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
    let applied = state.map(|state| state.applied.mark());
    name_database(dir, Mark { head: summary.head, journal: head_journal(dir)?, applied, ..Mark::default() })?;
    unfinished::finish(dir).map_err(OpenError::io("removing the mark of the restore in", dir))?;
    Ok(summary)
}

/// Checks that there is no store, and removes the mark that an interrupted restore left. Such a mark is created once the
/// new database is complete, so the new database lies beside it.
fn clear(dir: &Path) -> Result<(), RestoreError> {
    let exists = |path: &Path| path.try_exists().map_err(OpenError::io("looking for", path));
    let (data, new) = (dir.join(format::DATABASE_FOLDER), dir.join(format::NEW_DATABASE_FOLDER));
    if exists(&data)? {
        return Err(RestoreError::StoreExists { path: dir.to_owned(), found: data });
    }
    let mark = dir.join(format::MARK_FILE);
    match mark::read(dir).map_err(OpenError::io("reading the durable mark of", dir))? {
        FoundMark::Missing => return Ok(()),
        FoundMark::Whole(Mark { head: LogHead { sequence: 0, .. }, .. }) => {}
        FoundMark::Whole(_) | FoundMark::Damaged if exists(&new)? => {}
        FoundMark::Whole(_) | FoundMark::Damaged => {
            return Err(RestoreError::StoreExists { path: dir.to_owned(), found: mark });
        }
    }
    std::fs::remove_file(&mark).map_err(OpenError::io("removing", &mark))?;
    sync_folder(dir).map_err(OpenError::io("syncing", dir))?;
    Ok(())
}

/// Removes what a failed restore has written, while its folder is still locked. What cannot be removed now is removed
/// by the next restore or open.
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
    /// What the replica begins with, if it is to be one.
    state: Option<ReplicaState>,
    /// Whether it goes on in the histories of the dump.
    goes_on: bool,
    meta: Keyspace,
    /// The keyspaces by full name.
    keyspaces: HashMap<String, Keyspace>,
    database: Database,
}

impl<'a> Restore<'a> {
    fn begin(
        dir: &'a Path,
        options: &'a Options,
        state: Option<ReplicaState>,
        goes_on: bool,
    ) -> Result<Self, RestoreError> {
        let new = new_database_folder(dir)?;
        let database = open_engine(dir, &new, options)?;
        let meta = database.keyspace(format::META, || options.keyspace()).map_err(engine_error(dir))?;
        sync_keyspace_folder(&meta).map_err(OpenError::io("syncing", &new))?;
        Ok(Self { dir, options, state, goes_on, meta, keyspaces: HashMap::new(), database })
    }

    /// Writes the whole dump, and closes the database.
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
        let handle =
            self.database.keyspace(&full, || self.options.keyspace()).map_err(engine_error(self.dir))?;
        sync_keyspace_folder(&handle).map_err(OpenError::io("syncing", handle.path()))?;
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

    /// Flushes everything to tables, then writes format, keyspaces, histories and head in one record.
    fn finish(self, summary: &Summary) -> Result<(), RestoreError> {
        let head = summary.head;
        for handle in self.keyspaces.values() {
            handle.rotate_memtable().map_err(|error| self.failure(error))?;
            self.wait_while(handle, |handle| handle.sealed_memtable_count() > 0)?;
        }
        let mut batch = self.database.batch();
        let version = match &self.state {
            Some(_) => format::REPLICA_FORMAT_VERSION,
            // A replica always has an event log.
            None => summary.format.min(format::FORMAT_VERSION),
        };
        batch.insert(&self.meta, format::FORMAT_KEY, version.to_be_bytes());
        if let Some(ReplicaState { applied, membership }) = &self.state {
            batch.insert(&self.meta, format::APPLIED_KEY, applied.encode());
            batch.insert(&self.meta, format::MEMBERSHIP_KEY, &**membership);
        }
        for (full, handle) in &self.keyspaces {
            let key = format!("{}{full}", format::KEYSPACE_KEY_PREFIX);
            batch.insert(&self.meta, key, handle.id().to_be_bytes());
        }
        // The positions from here on may have been assigned before, after the backup was taken.
        let histories = match &summary.histories {
            Some(histories) if self.goes_on => histories.clone(),
            Some(histories) => histories.with_new_history(head.next_position),
            None => Histories::begin(),
        };
        batch.insert(&self.meta, format::HISTORIES_KEY, histories.encode());
        let recorded = RecordedHead { head, engine_floor: self.database.seqno() };
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

/// Opens the new database again, and reads back what was written.
fn verify(dir: &Path, options: &Options, summary: &Summary) -> Result<(), RestoreError> {
    let database = open_engine(dir, &dir.join(format::NEW_DATABASE_FOLDER), options)?;
    let meta = database.keyspace(format::META, || options.keyspace()).map_err(engine_error(dir))?;
    let found = read_head(dir, &meta)?;
    let snapshot = database.snapshot();
    for expected in &summary.keyspaces {
        let mismatch = |reason| RestoreError::Mismatch {
            path: dir.to_owned(),
            owner: expected.owner.clone(),
            keyspace: expected.keyspace.clone(),
            reason,
        };
        let full = name::join(&expected.owner, &expected.keyspace);
        let handle = database.keyspace(&full, || options.keyspace()).map_err(engine_error(dir))?;
        let actual = read_back(&snapshot, &handle, expected).map_err(mismatch)?;
        if actual != *expected {
            return Err(mismatch(format!("{} entries instead of {}", actual.entries, expected.entries)));
        }
    }
    if found != summary.head {
        let reason = format!("the head reads back as {found} instead of {}", summary.head);
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
        let read =
            read_chunk::<Fjall>(snapshot, handle, last.as_deref(), None, Direction::Forward, usize::MAX);
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

/// Number of the journal that the head's record is in, or of an earlier one.
fn head_journal(dir: &Path) -> Result<u64, RestoreError> {
    let data = dir.join(format::NEW_DATABASE_FOLDER);
    let journals = journal::list(&data).map_err(OpenError::io("listing the journals of", &data))?;
    let read = journal::read(&journals, 0).map_err(OpenError::io("reading the journals of", &data))?;
    let holder = read.iter().rev().find(|journal| journal.last.is_some()).map(|journal| journal.id);
    let oldest = journals.first().map_or(0, |(id, _)| *id);
    Ok(holder.unwrap_or(oldest.saturating_sub(1)))
}
