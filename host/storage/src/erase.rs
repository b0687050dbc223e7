//! Erasing: making sure that no file of the store holds what was deleted and overwritten.
//!
//! Besides the tables that compacting rewrites, a deleted value lies in three places: in the journal, which the engine
//! keeps until it has begun another one at [`JOURNAL_BYTES`] and flushed everything in the old one to tables; in old
//! tables, which the engine deletes when it next checks its versions; and in whatever a held snapshot can still see. The
//! engine has no call to begin another journal. So filler is committed, like any other data, until the engine begins one
//! by itself. Then every keyspace is flushed, and the engine deletes the old journals and tables. That they are gone is
//! checked on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::{Batch, Operation};
use crate::commit::{Commit, CommitError};
use crate::compact::{CompactError, Compacted, Running, Target};
use crate::engine_failure::EngineFailure;
use crate::engine_files::journal;
use crate::engine_files::keyspace::TABLES_FOLDER;
use crate::engine_files::recovery;
use crate::files::list;
use crate::format;
use crate::stall;
use crate::store::Store;

/// Bytes in a journal at which the engine begins another one when it next seals a memtable.
const JOURNAL_BYTES: usize = 64_000_000;

/// Bytes of a piece of filler: the largest value.
const PIECE_BYTES: usize = crate::limits::VALUE_BYTES_MAX;

/// Pieces between two checks whether the engine has begun another journal. 4: each time a memtable of 8 MiB is flushed.
const PIECES_PER_CHECK: usize = 4;

/// Checks before giving up: twice as many as it takes to fill an empty journal.
const CHECKS_MAX: usize = 2 * JOURNAL_BYTES / (PIECE_BYTES * PIECES_PER_CHECK);

/// Pause before a piece of filler that found the commit queue full is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why deleted data may be left in the store's files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// Compacting stopped.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A snapshot from before the call is still held.
    #[error(
        "the files were compacted, but what was deleted may be left in them: a backup or a long read that began before still \
         holds it after {waited_ms} ms; scavenge again when that has ended"
    )]
    Held {
        /// How long `erase` waited, in milliseconds.
        waited_ms: u64,
    },
    /// The engine could not be made to begin another journal.
    #[error(
        "the files were compacted, but what was deleted is left in the journal: the store could not begin another one \
         ({reason}); scavenge again when it takes writes, or stop the host, which empties the journal"
    )]
    Journal {
        /// Why.
        reason: String,
    },
    /// Old files still exist.
    #[error(
        "the files were compacted, but {count} old ones, such as {}, are still there after {waited_ms} ms and may hold what \
         was deleted; scavenge again when less is read and written",
        example.display()
    )]
    FilesLeft {
        /// Number of old files.
        count: usize,
        /// One of them.
        example: PathBuf,
        /// How long `erase` waited, in milliseconds.
        waited_ms: u64,
    },
    /// The store's folder could not be read.
    #[error("the files of {} could not be listed: {reason}; scavenge again", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's error.
        reason: String,
    },
}

impl Store {
    /// [Compacts](Store::compact) and then makes sure that no file of the store, neither table nor journal, holds anything
    /// that was deleted or overwritten before the call. Up to 64 MB of filler are written for that. If nothing was
    /// written since the last call, it only compacts.
    ///
    /// # Errors
    ///
    /// [`EraseError`], if something may be left. Nothing is lost, and the call can be repeated.
    pub fn erase(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), EraseError> {
        let running = Running::begin(&self.published.compacting)?;
        if self.reader().head().sequence == self.published.erased.load(Ordering::Acquire) {
            return Ok(self.compact_all(&running, progress)?);
        }
        // The engine drops what is older than the last but one of the states that are held.
        self.commit_filler(put(vec![0]))?;
        let began = self.reader().head().sequence;
        let is_free =
            self.wait(|| Ok(self.published.held_views.oldest().is_none_or(|oldest| oldest >= began)))?;
        self.flush_all()?;
        let old = self.files()?;
        self.compact_all(&running, progress)?;
        if !is_free {
            return Err(EraseError::Held { waited_ms: self.limit_ms() });
        }
        self.rotate_journal()?;
        self.wait_until_gone(&old)?;
        self.remove_cut_off()?;
        self.published.erased.store(self.reader().head().sequence, Ordering::Release);
        Ok(())
    }

    /// Makes the engine begin another journal, and flushes everything in the old ones to tables.
    fn rotate_journal(&self) -> Result<(), EraseError> {
        let newest = self.newest_journal()?;
        for _ in 0..CHECKS_MAX {
            self.fill(PIECES_PER_CHECK)?;
            self.flush_filler()?;
            if self.newest_journal()? > newest {
                self.commit_filler(Operation::Delete {
                    keyspace: format::FILLER_KEYSPACE.into(),
                    key: format::FILLER_KEY.into(),
                })?;
                self.flush_all()?;
                let Some(filler) = self.filler() else { return Ok(()) };
                return EngineFailure::catch(|| filler.handle.major_compact())
                    .map_err(|failure| EraseError::Journal { reason: failure.said });
            }
        }
        Err(EraseError::Journal { reason: "the engine began no other journal".into() })
    }

    /// Waits until none of these files exists. The engine checks its old versions when it seals a memtable, so filler is
    /// written.
    fn wait_until_gone(&self, old: &BTreeSet<PathBuf>) -> Result<(), EraseError> {
        let left = || old.iter().filter(|path| path.exists()).cloned().collect::<Vec<_>>();
        let are_gone = self.wait(|| {
            if left().is_empty() {
                return Ok(true);
            }
            self.fill(1)?;
            self.flush_filler()?;
            Ok(left().is_empty())
        })?;
        match left().first() {
            Some(example) if !are_gone => Err(EraseError::FilesLeft {
                count: left().len(),
                example: example.clone(),
                waited_ms: self.limit_ms(),
            }),
            _ => Ok(()),
        }
    }

    /// Waits until `done`, at most as long as for a stalled flush. Returns whether it is done.
    fn wait(&self, mut done: impl FnMut() -> Result<bool, EraseError>) -> Result<bool, EraseError> {
        let started = Instant::now();
        loop {
            if done()? {
                return Ok(true);
            }
            if started.elapsed() > self.stall_limit {
                return Ok(false);
            }
            std::thread::sleep(stall::POLL);
        }
    }

    fn limit_ms(&self) -> u64 {
        u64::try_from(self.stall_limit.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes pieces of filler, each durable before the next.
    fn fill(&self, pieces: usize) -> Result<(), EraseError> {
        for _ in 0..pieces {
            self.commit_filler(put(incompressible(self.reader().head().sequence)))?;
        }
        Ok(())
    }

    fn commit_filler(&self, operation: Operation) -> Result<(), EraseError> {
        let failed = |reason: String| EraseError::Journal { reason };
        let started = Instant::now();
        loop {
            let batch = Batch { operations: vec![operation.clone()], ..Batch::default() };
            // Erasing frees space, so the filler may use the reserve.
            let (owner, batches) = (format::FILLER_OWNER.into(), vec![batch]);
            let commit = Commit { owner, batches, makes_room: true, ..Commit::default() };
            let (sender, outcomes) = std::sync::mpsc::sync_channel(1);
            // The receiver waits below, so the send cannot fail.
            let queued = self.writer().commit(commit, move |outcomes| drop(sender.send(outcomes)));
            let outcomes = queued.and_then(|()| {
                outcomes.recv().expect("the committer replies to every commit it has accepted")
            });
            match outcomes {
                Ok(outcomes) => {
                    let failure = outcomes.into_iter().find_map(Result::err);
                    return failure.map_or(Ok(()), |error| Err(failed(error.to_string())));
                }
                Err(CommitError::Overloaded { .. }) if started.elapsed() < self.stall_limit => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    }

    fn filler(&self) -> Option<Target> {
        let (owner, keyspace) = (format::FILLER_OWNER, format::FILLER_KEYSPACE);
        let keyspaces = self.published.keyspaces.read();
        let handle = keyspaces.as_ref()?.get(owner)?.get(keyspace)?.clone();
        Some(Target { owner: owner.into(), keyspace: keyspace.into(), handle })
    }

    fn flush_filler(&self) -> Result<(), EraseError> {
        self.filler().map_or(Ok(()), |filler| Ok(self.flush(&filler)?))
    }

    /// Flushes every keyspace, including this crate's own: a journal is needed until all of them are flushed.
    fn flush_all(&self) -> Result<(), EraseError> {
        let meta = self.published.meta.read().clone();
        let name = || String::from(format::META);
        let meta = meta.map(|handle| Target { owner: name(), keyspace: name(), handle });
        for target in self.targets().into_iter().chain(self.filler()).chain(meta) {
            self.flush(&target)?;
        }
        Ok(())
    }

    fn newest_journal(&self) -> Result<u64, EraseError> {
        let data = self.data();
        let journals = journal::list(&data).map_err(|error| failed(&data, &error))?;
        Ok(journals.last().map_or(0, |(id, _)| *id))
    }

    /// The files that hold everything written so far: journals, and the tables of owners' keyspaces.
    fn files(&self) -> Result<BTreeSet<PathBuf>, EraseError> {
        let data = self.data();
        let journals = journal::list(&data).map_err(|error| failed(&data, &error))?;
        let mut files: BTreeSet<PathBuf> = journals.into_iter().map(|(_, path)| path).collect();
        for target in self.targets() {
            let tables = target.handle.path().join(TABLES_FOLDER);
            for table in list(&tables).map_err(|error| failed(&tables, &error))? {
                files.insert(table);
            }
        }
        Ok(files)
    }

    /// Removes what was cut off journals when the store was opened after a crash. None of it was acknowledged; it was kept
    /// for examining the crash, and may hold what was deleted since.
    fn remove_cut_off(&self) -> Result<(), EraseError> {
        let data = self.data();
        for path in list(&data).map_err(|error| failed(&data, &error))? {
            if recovery::is_cut_off(&path) {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
                tracing::warn!(path = %path.display(), "removed what was cut off a journal after a crash");
            }
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.dir.join(format::DATABASE_FOLDER)
    }
}

fn put(value: Vec<u8>) -> Operation {
    Operation::Put {
        keyspace: format::FILLER_KEYSPACE.into(),
        key: format::FILLER_KEY.into(),
        value,
        key_stamps: Vec::new(),
        value_stamps: Vec::new(),
        chain: None,
    }
}

fn failed(path: &Path, error: &io::Error) -> EraseError {
    EraseError::Io { path: path.to_owned(), reason: error.to_string() }
}

/// Bytes that cannot be compressed. Compressible ones would not fill a journal.
fn incompressible(seed: u64) -> Vec<u8> {
    let words = (0..PIECE_BYTES as u64 / 8).map(|word| xxh3_64_with_seed(&word.to_be_bytes(), seed));
    words.flat_map(u64::to_be_bytes).collect()
}
