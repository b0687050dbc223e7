//! Compacting: reclaiming the space of deleted and overwritten data, without waiting for the engine to do it.
//!
//! The engine compacts by itself, level by level, as data comes in; deleted data stays in its tables until those are
//! merged. [`Store::compact`] flushes every keyspace and merges it into its last level, while the store goes on committing.
//!
//! Two traps of fjall are avoided. While a keyspace is merged as a whole nothing else compacts it, so its tables pile up
//! and the committer has to wait for the merge: a flag tells the committer that this is no failure. And a merge drops only
//! what no snapshot could see when the engine last checked its snapshots, which may be long ago: it is made to check.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fs, io};

use fjall::Keyspace;

use crate::commit::Health;
use crate::engine_failure::EngineFailure;
use crate::files::if_exists;
use crate::format;
use crate::read::Direction;
use crate::space::Purpose;
use crate::stall;
use crate::store::Store;

/// Number of snapshots that fjall drops before it checks which are left.
const SNAPSHOTS_PER_CHECK: usize = 10_000;

/// A keyspace that has been compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted<'a> {
    /// Owner of the keyspace.
    pub owner: &'a str,
    /// Name of the keyspace.
    pub keyspace: &'a str,
    /// Bytes of its tables before.
    pub bytes_before: u64,
    /// Bytes of its tables after.
    pub bytes_after: u64,
    /// Number of keyspaces compacted so far, including this one.
    pub done: usize,
    /// Number of keyspaces to compact.
    pub total: usize,
}

/// Why compacting stopped. Nothing is lost, and keyspaces that were compacted stay so.
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
    /// The disk has no room for the new tables of a keyspace, which exist beside the old ones until it is rewritten.
    #[error(
        "the disk is too full to compact keyspace {keyspace} of {owner}, which can take {bytes} bytes more until it is done: {reason}"
    )]
    NoRoom {
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// Most bytes that the new tables can have.
        bytes: u64,
        /// How much is free, and how much is kept in reserve.
        reason: String,
    },
    /// Memtables were not flushed in time.
    #[error(
        "flushing keyspace {keyspace} of {owner} was not done within {limit_ms} ms; compact again when less is written"
    )]
    Stalled {
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// The time limit, in milliseconds.
        limit_ms: u64,
    },
    /// The engine failed.
    #[error(
        "keyspace {keyspace} of {owner} could not be compacted: {reason}; verify the store, its data may be damaged"
    )]
    Engine {
        /// Owner of the keyspace.
        owner: String,
        /// Name of the keyspace.
        keyspace: String,
        /// The engine's own message.
        reason: String,
    },
}

/// A keyspace to compact.
pub(crate) struct Target {
    pub(crate) owner: String,
    pub(crate) keyspace: String,
    pub(crate) handle: Keyspace,
}

/// Marks the store as being compacted until it is dropped.
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
    /// other, on the caller's thread. `progress` is called after each.
    ///
    /// The store goes on committing, more slowly; more than about 900 MB of commits to the keyspace that is being rewritten
    /// wait until it is done. What a held [`Snapshot`](crate::Snapshot) can see is kept. Rewriting a keyspace needs as much
    /// additional disk space as is left in it. Its old files are deleted at the end if there were commits meanwhile,
    /// otherwise when the store next flushes a memtable or is opened again.
    ///
    /// # Errors
    ///
    /// [`CompactError`]; nothing is lost, and keyspaces that were compacted stay so.
    pub fn compact(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), CompactError> {
        let running = Running::begin(&self.published.compacting)?;
        self.compact_all(&running, progress)
    }

    /// Compacts on behalf of a caller that has marked the store as being compacted.
    pub(crate) fn compact_all(
        &self,
        _running: &Running<'_>,
        progress: &mut dyn FnMut(Compacted<'_>),
    ) -> Result<(), CompactError> {
        let targets = self.targets();
        for target in &targets {
            self.flush(target)?;
        }
        self.check_snapshots();
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

    /// Bytes that the store's files take on the disk, including journals, which are allocated before they are filled.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        folder_bytes(&self.dir)
    }

    /// The keyspaces of all owners except this crate's own, ascending by owner and name.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.iter().flatten();
        let mut targets: Vec<_> = keyspaces
            .flat_map(|(owner, owned)| owned.iter().map(move |(keyspace, handle)| (owner, keyspace, handle)))
            .filter(|(owner, keyspace, _)| !format::is_filler(owner, keyspace))
            .map(|(owner, keyspace, handle)| Target {
                owner: owner.clone(),
                keyspace: keyspace.clone(),
                handle: handle.clone(),
            })
            .collect();
        targets.sort_unstable_by(|a, b| (&a.owner, &a.keyspace).cmp(&(&b.owner, &b.keyspace)));
        targets
    }

    /// Flushes a keyspace's memtables to tables.
    pub(crate) fn flush(&self, target: &Target) -> Result<(), CompactError> {
        self.check_health()?;
        self.check_room(target, 0)?;
        EngineFailure::catch(|| target.handle.rotate_memtable())
            .map_err(|failure| target.failure(failure.said))?;
        let started = Instant::now();
        while target.handle.sealed_memtable_count() > 0 {
            self.check_health()?;
            // The disk may be full, and the flush hang because of that.
            self.check_room(target, 0)?;
            if started.elapsed() > self.stall_limit {
                return Err(CompactError::Stalled {
                    owner: target.owner.clone(),
                    keyspace: target.keyspace.clone(),
                    limit_ms: u64::try_from(self.stall_limit.as_millis()).unwrap_or(u64::MAX),
                });
            }
            std::thread::sleep(stall::POLL);
        }
        Ok(())
    }

    /// Makes the engine check which snapshots are left, which it does whenever it has dropped so many.
    fn check_snapshots(&self) {
        let view = self.published.view.load();
        for _ in 0..SNAPSHOTS_PER_CHECK {
            drop(view.snapshot.clone());
        }
    }

    /// Makes the engine delete the tables that no snapshot needs any more. It does so for all keyspaces when it seals the
    /// memtable of one. If nothing was committed meanwhile there is none to seal, and the published snapshot still needs
    /// the old tables.
    fn delete_old_tables(targets: &[Target]) -> Result<(), CompactError> {
        for target in targets {
            if EngineFailure::catch(|| target.handle.rotate_memtable())
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
            // The new tables hold only what is left. To know how much that is, all of it has to be read.
            let left = self.bytes_left(target)?;
            self.check_room(target, left.min(bytes))?;
        }
        EngineFailure::catch(|| target.handle.major_compact()).map_err(|failure| target.failure(failure.said))
    }

    /// Bytes of all entries of a keyspace, without compression. What only an older, held snapshot can see is not counted:
    /// it is little or short-lived, and the last quarter of the reserve is left for it.
    fn bytes_left(&self, target: &Target) -> Result<u64, CompactError> {
        let snapshot = self.snapshot();
        let (mut bytes, mut last) = (0, None::<Vec<u8>>);
        loop {
            self.check_health()?;
            let chunk = snapshot
                .chunk(&target.owner, &target.keyspace, last.as_deref(), None, Direction::Forward)
                .map_err(|error| target.failure(error.to_string()))?;
            if let Some(failure) = chunk.failure {
                return Err(target.failure(failure.said));
            }
            bytes += chunk.bytes();
            last = chunk.entries.last().map(|(key, _)| key.to_vec());
            if !chunk.more {
                return Ok(bytes);
            }
        }
    }

    /// Checks that the disk has room for `bytes` more. Compacting frees space, so it may use most of the reserve.
    fn check_room(&self, target: &Target, bytes: u64) -> Result<(), CompactError> {
        let Some(reason) = self.space.shortage_for(bytes, Purpose::MakesRoom) else { return Ok(()) };
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

/// Bytes that the files below a folder take on the disk. Files that are deleted meanwhile count nothing.
fn folder_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;

    /// The unit of a file's blocks, regardless of the file system's own.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    let Some(entries) = if_exists(fs::read_dir(folder))? else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        let Some(metadata) = if_exists(entry.metadata())? else { continue };
        bytes +=
            if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}
