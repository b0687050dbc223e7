//! Erasing: after what was deleted and overwritten has been compacted away, no file of the store holds it any more.
//!
//! A deleted value lies in three places besides the tables that compacting rewrites: in the journal, which holds every
//! write until the engine begins another one at [`JOURNAL_BYTES`] and has all that is in the old one in tables; in old
//! tables, which the engine deletes when it next looks at its versions; and in whatever a snapshot that somebody holds can
//! still see. The engine has no call to begin another journal. So the committer is given filler to write, through the
//! same door as everything else, until the engine begins one by itself; then every keyspace is flushed, and the old
//! journals and tables go. Whether they have gone is looked up on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Store;
use crate::batch::{Batch, Operation};
use crate::commit::writer::{Commit, CommitError};
use crate::compact::{CompactError, Compacted, Running, Target};
use crate::engine_files::journal;
use crate::engine_files::keyspace as engine_files;
use crate::engine_files::recovery;
use crate::format;
use crate::read::snapshot::contained;
use crate::stall;

/// Bytes in a journal at which the engine begins another when it next flushes a memtable.
const JOURNAL_BYTES: usize = 64_000_000;

/// Bytes of one piece of filler: the largest value.
const PIECE_BYTES: usize = crate::limits::VALUE_BYTES_MAX;

/// Pieces between two looks at whether the engine has begun another journal. 4: a memtable of 8 MiB each time.
const PIECES_PER_LOOK: usize = 4;

/// Looks before this is given up: twice as many as fill a journal that is empty.
const LOOKS_MAX: usize = 2 * JOURNAL_BYTES / (PIECE_BYTES * PIECES_PER_LOOK);

/// Before a piece of filler that found the commit queue full is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why something of what was deleted may be left in the store's files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// Compacting stopped.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// Somebody reads the store as it was before.
    #[error(
        "the files were compacted, but what was deleted may be left in them: a backup or a long read that began before still \
         holds it after {waited_ms} ms; scavenge again when that has ended"
    )]
    Held {
        /// How long it was waited for, in milliseconds.
        waited_ms: u64,
    },
    /// The journal could not be left behind.
    #[error(
        "the files were compacted, but what was deleted is left in the journal: the store took nothing into another one \
         ({reason}); scavenge again when it does, or stop the host, which empties the journal"
    )]
    Journal {
        /// What the committer said.
        reason: String,
    },
    /// Old files are still there.
    #[error(
        "the files were compacted, but {count} old ones, such as {}, are still there after {waited_ms} ms and may hold what \
         was deleted; scavenge again when less is read and written",
        example.display()
    )]
    FilesLeft {
        /// How many.
        count: usize,
        /// One of them.
        example: PathBuf,
        /// How long it was waited for, in milliseconds.
        waited_ms: u64,
    },
    /// The store's folder could not be looked at.
    #[error("the files of {} could not be listed: {reason}; scavenge again", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

impl Store {
    /// [Compacts](Store::compact), and then sees to it that nothing of what was deleted or overwritten before the call is
    /// left in any file of the store: neither in tables nor in journals. Up to 64 MB of filler are written for that.
    /// What was erased before, and nothing was written since, is not done again.
    ///
    /// # Errors
    ///
    /// [`EraseError`], when something may be left. Nothing is lost; the call can be repeated.
    pub fn erase(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), EraseError> {
        let running = Running::begin(&self.published.compacting)?;
        if self.reader().head().sequence == self.published.erased.load(Ordering::Acquire) {
            return Ok(self.compact_all(&running, progress)?);
        }
        // The engine drops what is older than the last state but one that somebody can see.
        self.commit_filler(put(vec![0]))?;
        let began = self.reader().head().sequence;
        let is_free = self.wait(|| Ok(self.published.views.oldest().is_none_or(|oldest| oldest >= began)))?;
        self.flush_all()?;
        let old = self.files()?;
        self.compact_all(&running, progress)?;
        if !is_free {
            return Err(EraseError::Held { waited_ms: self.limit_ms() });
        }
        self.leave_journal()?;
        self.wait_until_gone(&old)?;
        self.remove_cut_off()?;
        self.published.erased.store(self.reader().head().sequence, Ordering::Release);
        Ok(())
    }

    /// Has the engine begin another journal, and brings everything in the old ones into tables.
    fn leave_journal(&self) -> Result<(), EraseError> {
        let newest = self.newest_journal()?;
        for _ in 0..LOOKS_MAX {
            self.fill(PIECES_PER_LOOK)?;
            self.flush_filler()?;
            if self.newest_journal()? > newest {
                self.commit_filler(Operation::Delete {
                    keyspace: format::FILLER_KEYSPACE.into(),
                    key: format::FILLER_KEY.into(),
                })?;
                self.flush_all()?;
                let Some(filler) = self.filler() else { return Ok(()) };
                return contained(|| filler.handle.major_compact())
                    .map_err(|failure| EraseError::Journal { reason: failure.said });
            }
        }
        Err(EraseError::Journal { reason: "the engine began no other journal".into() })
    }

    /// Waits until none of these files is there. The engine looks at its old versions when it rotates a memtable, so it is
    /// given one.
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

    /// Waits until `done`, as long as a stalled flush is waited for. Whether it is.
    fn wait(&self, mut done: impl FnMut() -> Result<bool, EraseError>) -> Result<bool, EraseError> {
        let started = Instant::now();
        loop {
            if done()? {
                return Ok(true);
            }
            if started.elapsed() > self.compaction.stall_limit {
                return Ok(false);
            }
            std::thread::sleep(stall::POLL);
        }
    }

    fn limit_ms(&self) -> u64 {
        u64::try_from(self.compaction.stall_limit.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes pieces of filler, each durable before the next.
    fn fill(&self, pieces: usize) -> Result<(), EraseError> {
        for _ in 0..pieces {
            self.commit_filler(put(noise(self.reader().head().sequence)))?;
        }
        Ok(())
    }

    fn commit_filler(&self, operation: Operation) -> Result<(), EraseError> {
        let failed = |reason: String| EraseError::Journal { reason };
        let started = Instant::now();
        loop {
            let batch = Batch { guards: Vec::new(), operations: vec![operation.clone()], events: 0 };
            let commit = Commit { owner: format::FILLER_OWNER.into(), batches: vec![batch] };
            let (sender, outcomes) = std::sync::mpsc::sync_channel(1);
            // It is here to receive until it has. What is erased makes room, so the filler may use the reserve.
            let taken = self.writer().commit_making_room(commit, move |outcomes| drop(sender.send(outcomes)));
            let outcomes = taken
                .and_then(|()| outcomes.recv().expect("the committer replies to every commit it has taken"));
            match outcomes {
                Ok(outcomes) => {
                    let failure = outcomes.into_iter().find_map(Result::err);
                    return failure.map_or(Ok(()), |error| Err(failed(error.to_string())));
                }
                Err(CommitError::Overloaded { .. }) if started.elapsed() < self.compaction.stall_limit => {
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

    /// Flushes every keyspace, this layer's own included: a journal is needed for as long as any has not.
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

    /// The files that hold what was written so far: journals, and the tables of owners' keyspaces.
    fn files(&self) -> Result<BTreeSet<PathBuf>, EraseError> {
        let data = self.data();
        let journals = journal::list(&data).map_err(|error| failed(&data, &error))?;
        let mut files: BTreeSet<PathBuf> = journals.into_iter().map(|(_, path)| path).collect();
        for target in self.targets() {
            let tables = target.handle.path().join(engine_files::TABLES_FOLDER);
            for table in list(&tables).map_err(|error| failed(&tables, &error))? {
                files.insert(table);
            }
        }
        Ok(files)
    }

    /// Removes what was cut off journals when the store was opened after a crash. Nobody was promised any of it; it was
    /// kept for whoever looks into the crash, and may hold what was deleted since.
    fn remove_cut_off(&self) -> Result<(), EraseError> {
        let data = self.data();
        for path in list(&data).map_err(|error| failed(&data, &error))? {
            if recovery::is_cut_off(&path) {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
                tracing::warn!(path = %path.display(), "what was cut off a journal after a crash was erased");
            }
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.compaction.dir.join(format::DATABASE_FOLDER)
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

/// The files in a folder, of which there may be none.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Bytes that cannot be compressed: compressed ones would fill no journal.
fn noise(seed: u64) -> Vec<u8> {
    let words = (0..PIECE_BYTES as u64 / 8).map(|word| xxh3_64_with_seed(&word.to_be_bytes(), seed));
    words.flat_map(u64::to_be_bytes).collect()
}
