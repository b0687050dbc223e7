//! Compacting: giving back the space of what was deleted and overwritten, now instead of some day.
//!
//! The engine compacts on its own, level by level, as data comes in; what was deleted lies in its tables until those
//! are merged. Here every keyspace is flushed and then merged into its last level, while the store goes on committing.
//!
//! Two traps of fjall are taken care of. While a keyspace is merged as a whole nothing else compacts it, so that tables
//! pile up in front of it and the committer has to wait for the merge: it is told, and does not take that for a
//! failure. And what is merged away is only what no snapshot can see as of the engine's last look at its snapshots,
//! which may be long ago: it is made to look.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use fjall::Keyspace;

use crate::Store;
use crate::commit::writer::Health;
use crate::format;
use crate::options::Options;
use crate::read::snapshot::{Direction, contained};
use crate::space::{Purpose, Space};
use crate::stall;

/// Snapshots that fjall lets go before it looks which are left.
const SNAPSHOTS_PER_LOOK: usize = 10_000;

/// What compacting needs of a store, beside its keyspaces.
pub(crate) struct Compaction {
    pub(crate) dir: PathBuf,
    pub(crate) stall_limit: Duration,
    space: Space,
}

/// A keyspace has been compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted<'a> {
    /// Whose keyspace.
    pub owner: &'a str,
    /// Which keyspace.
    pub keyspace: &'a str,
    /// Bytes of its tables before.
    pub bytes_before: u64,
    /// Bytes of its tables now.
    pub bytes_after: u64,
    /// Keyspaces that are done, this one included.
    pub done: usize,
    /// Keyspaces to do.
    pub total: usize,
}

/// Why compacting stopped. Nothing is lost; keyspaces that are done stay done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// The store is being compacted already.
    #[error("the store is being compacted already; wait for that")]
    Running,
    /// The store has stopped writing.
    #[error(
        "the store stopped writing: {reason}; open it again once the cause is removed, and compact again"
    )]
    Poisoned {
        /// Why.
        reason: String,
    },
    /// A keyspace is rewritten beside its old tables, and the disk has no room for both.
    #[error(
        "the disk is too full to compact keyspace {keyspace} of {owner}, which can take {bytes} bytes more until it is done: {reason}"
    )]
    NoRoom {
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// Bytes that its new tables can have.
        bytes: u64,
        /// What is free, and what is kept in reserve.
        reason: String,
    },
    /// Memtables were not flushed in time.
    #[error(
        "flushing keyspace {keyspace} of {owner} was not done within {limit_ms} ms; compact again when less is written"
    )]
    Stalled {
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// The time it had, in milliseconds.
        limit_ms: u64,
    },
    /// The engine could not do it.
    #[error(
        "keyspace {keyspace} of {owner} could not be compacted: {reason}; verify the store, its data may be damaged"
    )]
    Engine {
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// What the engine said.
        reason: String,
    },
}

impl Compaction {
    pub(crate) fn new(dir: &Path, options: &Options) -> Self {
        Self {
            dir: dir.to_owned(),
            stall_limit: Duration::from_millis(options.stall_limit_ms),
            space: Space::new(dir, options.reserve_bytes, options.free_space.clone()),
        }
    }
}

/// A keyspace to compact.
pub(crate) struct Target {
    pub(crate) owner: String,
    pub(crate) keyspace: String,
    pub(crate) handle: Keyspace,
}

/// Says that a compaction runs, for as long as it lives.
pub(crate) struct Running<'a>(&'a AtomicBool);

impl<'a> Running<'a> {
    pub(crate) fn begin(flag: &'a AtomicBool) -> Result<Self, CompactError> {
        if flag.swap(true, Ordering::AcqRel) {
            return Err(CompactError::Running);
        }
        Ok(Self(flag))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Store {
    /// Flushes all keyspaces of all owners, and rewrites each without what was deleted and overwritten, one after the
    /// other, on the caller's thread. `progress` is called behind each.
    ///
    /// The store goes on committing, slower; commits can wait until the keyspace at hand is done when they come faster
    /// than its tables can pile up (about 900 MB to one keyspace). What a [`Snapshot`](crate::Snapshot) that is held
    /// can see stays. A keyspace needs room for what is left in it once more until it is done; its old files are deleted at the
    /// end if there were commits meanwhile, otherwise when the store flushes its next memtable, or is opened again.
    ///
    /// # Errors
    ///
    /// [`CompactError`]; nothing is lost, and keyspaces that are done stay done.
    pub fn compact(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), CompactError> {
        let running = Running::begin(&self.published.compacting)?;
        self.compact_all(&running, progress)
    }

    /// The same, for whoever has made sure to be the only one.
    pub(crate) fn compact_all(
        &self,
        _running: &Running<'_>,
        progress: &mut dyn FnMut(Compacted<'_>),
    ) -> Result<(), CompactError> {
        let targets = self.targets();
        for target in &targets {
            self.flush(target)?;
        }
        self.look_at_snapshots();
        for (done, target) in (1..).zip(&targets) {
            let bytes_before = target.handle.disk_space();
            self.rewrite(target, bytes_before)?;
            progress(Compacted {
                owner: &target.owner,
                keyspace: &target.keyspace,
                bytes_before,
                bytes_after: target.handle.disk_space(),
                done,
                total: targets.len(),
            });
        }
        Self::delete_old_tables(&targets)
    }

    /// Bytes that the store's files take on the disk, its journals included (they are allocated before they are
    /// filled).
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        folder_bytes(&self.compaction.dir)
    }

    /// The keyspaces of all owners but this layer itself, ascending by owner and name.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.iter().flatten();
        let mut targets: Vec<_> = keyspaces
            .filter(|(owner, _)| *owner != format::FILLER_OWNER)
            .flat_map(|(owner, owned)| owned.iter().map(move |(keyspace, handle)| (owner, keyspace, handle)))
            .map(|(owner, keyspace, handle)| Target {
                owner: owner.clone(),
                keyspace: keyspace.clone(),
                handle: handle.clone(),
            })
            .collect();
        targets.sort_unstable_by(|a, b| (&a.owner, &a.keyspace).cmp(&(&b.owner, &b.keyspace)));
        targets
    }

    /// Brings a keyspace's memtables into tables.
    pub(crate) fn flush(&self, target: &Target) -> Result<(), CompactError> {
        self.check_health()?;
        self.check_room(target, 0)?;
        contained(|| target.handle.rotate_memtable()).map_err(|failure| target.failure(failure.said))?;
        let started = Instant::now();
        while target.handle.sealed_memtable_count() > 0 {
            self.check_health()?;
            // A flush that does not end may have filled the disk.
            self.check_room(target, 0)?;
            if started.elapsed() > self.compaction.stall_limit {
                return Err(CompactError::Stalled {
                    owner: target.owner.clone(),
                    keyspace: target.keyspace.clone(),
                    limit_ms: u64::try_from(self.compaction.stall_limit.as_millis()).unwrap_or(u64::MAX),
                });
            }
            std::thread::sleep(stall::POLL);
        }
        Ok(())
    }

    /// Has the engine find out which snapshots are left: it does so whenever it has let so many go.
    fn look_at_snapshots(&self) {
        let view = self.published.view.load();
        for _ in 0..SNAPSHOTS_PER_LOOK {
            drop(view.snapshot.clone());
        }
    }

    /// Has the engine delete the tables that no snapshot needs any more. It does so for all keyspaces when it rotates
    /// the memtable of one; when nothing was committed meanwhile there is none to rotate, and the published snapshot
    /// needs the old tables.
    fn delete_old_tables(targets: &[Target]) -> Result<(), CompactError> {
        for target in targets {
            if contained(|| target.handle.rotate_memtable())
                .map_err(|failure| target.failure(failure.said))?
            {
                break;
            }
        }
        Ok(())
    }

    fn rewrite(&self, target: &Target, bytes: u64) -> Result<(), CompactError> {
        self.check_health()?;
        if self.check_room(target, bytes).is_err() {
            // The new tables have only what is left, which takes reading all of it to know.
            let left = self.bytes_left(target)?;
            self.check_room(target, left.min(bytes))?;
        }
        contained(|| target.handle.major_compact()).map_err(|failure| target.failure(failure.said))
    }

    /// Bytes of all entries of a keyspace, without compression. What only a snapshot that is held can see is not
    /// counted: it is little or short-lived, and the last quarter of the reserve is left for it.
    fn bytes_left(&self, target: &Target) -> Result<u64, CompactError> {
        let snapshot = self.snapshot();
        let (mut bytes, mut last) = (0, None::<Vec<u8>>);
        loop {
            self.check_health()?;
            let read = snapshot
                .stretch(&target.owner, &target.keyspace, last.as_deref(), None, Direction::Forward)
                .map_err(|error| target.failure(error.to_string()))?;
            if let Some(failure) = read.failure {
                return Err(target.failure(failure.said));
            }
            let sizes = read.entries.iter().map(|(key, value)| (key.len() + value.len()) as u64);
            bytes += sizes.sum::<u64>();
            last = read.entries.last().map(|(key, _)| key.to_vec());
            if !read.more {
                return Ok(bytes);
            }
        }
    }

    /// Whether the disk has room for `bytes` more. Compacting makes room, so it may use most of the reserve.
    fn check_room(&self, target: &Target, bytes: u64) -> Result<(), CompactError> {
        let Some(reason) = self.compaction.space.lacks(bytes, Purpose::MakesRoom) else { return Ok(()) };
        let (owner, keyspace) = (target.owner.clone(), target.keyspace.clone());
        Err(CompactError::NoRoom { owner, keyspace, bytes, reason })
    }

    fn check_health(&self) -> Result<(), CompactError> {
        match self.health() {
            Health::Poisoned { reason } => Err(CompactError::Poisoned { reason }),
            _ => Ok(()),
        }
    }
}

impl Target {
    fn failure(&self, reason: String) -> CompactError {
        CompactError::Engine { owner: self.owner.clone(), keyspace: self.keyspace.clone(), reason }
    }
}

/// Bytes that the files below a folder take. Files that go away meanwhile have none.
fn folder_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;

    /// The unit of a file's blocks, whatever the file system's own.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    let Some(entries) = unless_gone(fs::read_dir(folder))? else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        let Some(metadata) = unless_gone(entry.metadata())? else { continue };
        bytes +=
            if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}

fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
