//! Why an entry was not applied, or a replica not opened.

use std::path::{Path, PathBuf};

use super::entry::{EntryCheck, LogId};
use super::state::Applied;
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::open::{CreateError, OpenError};

/// Why an entry was not applied, or what was applied not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// The entry is not the one after the last. Nothing was changed, and the replica goes on with the right one.
    #[error(
        "entry {} of term {} does not follow entry {} of term {}, which was applied last",
        entry.index, entry.term, applied.index, applied.term
    )]
    OutOfOrder {
        /// The entry.
        entry: LogId,
        /// The last entry that was applied whole.
        applied: LogId,
    },
    /// The entry has fewer batches than were applied of the entry with its index. Nothing was changed.
    #[error(
        "entry {} has {batches} batches, and {applied} batches of the entry with this index were applied: it is another one",
        entry.index
    )]
    OtherEntry {
        /// The entry.
        entry: LogId,
        /// Number of its batches.
        batches: usize,
        /// Batches that were applied.
        applied: u32,
    },
    /// The entry is malformed. Nothing was changed.
    #[error("entry {} is malformed: {reason}", entry.index)]
    Invalid {
        /// The entry.
        entry: LogId,
        /// What is wrong with it.
        reason: String,
    },
    /// The replica has something else than its leader had at an entry, and has stopped. It says so for good: what it has is
    /// not to be trusted, so it is not opened again.
    #[error(
        "the replica diverged at index {index}: it has {own:?} where its leader had {leader:?}; replace it under a new id"
    )]
    Diverged {
        /// Index of the entry.
        index: u64,
        /// What the replica has.
        own: EntryCheck,
        /// What the leader had.
        leader: EntryCheck,
    },
    /// The replica could not read, write or sync, and has stopped: whatever it would decide could differ from what others
    /// decide. It is opened again, and then the entries that it has not applied are applied again.
    #[error("the replica stopped after entry {}: {reason}; open it again once the cause is removed", applied.id.index)]
    Stopped {
        /// How far it came.
        applied: Applied,
        /// The first failure.
        reason: String,
    },
}

/// Why a replica was not opened or created.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaOpenError {
    /// The folder has a store that is no replica.
    #[error(
        "{} has a store that belongs to no cluster; a replica begins empty or with a snapshot of its group", path.display()
    )]
    SingleNode {
        /// The folder.
        path: PathBuf,
    },
    /// There is no replica in the folder.
    #[error("{} has no replica; it begins empty or with a snapshot of its group", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A replica cannot be created where there is a store or replica.
    #[error("{} has a store already ({} is there); choose another folder", path.display(), found.display())]
    Exists {
        /// The folder.
        path: PathBuf,
        /// The database that was found.
        found: PathBuf,
    },
    /// The replica was found to differ from its group. What it has is not to be trusted, and it must not vote.
    #[error("the replica diverged from its group, as was found at index {index}; replace it under a new id")]
    Diverged {
        /// Index of the entry at which it was found to differ.
        index: u64,
    },
    /// As for any store.
    #[error(transparent)]
    Store(OpenError),
    /// The engine in memory failed, or does not hold what this crate wrote.
    #[error("the replica in memory could not be opened: {0}")]
    Memory(EngineFailure),
}

impl ReplicaOpenError {
    /// Whatever the note says, the replica has one.
    pub(super) fn diverged(note: &[u8]) -> Self {
        Self::Diverged { index: note.try_into().map_or(0, u64::from_be_bytes) }
    }

    pub(super) fn create(dir: &Path) -> impl FnOnce(CreateError) -> Self {
        let path = dir.to_owned();
        move |error| match error {
            CreateError::Exists(found) => Self::Exists { path, found },
            CreateError::Open(error) => error.into(),
        }
    }
}

impl From<OpenError> for ReplicaOpenError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownFormat { path, found } if format::is_known(found) => Self::SingleNode { path },
            error => Self::Store(error),
        }
    }
}

impl From<EngineFailure> for ReplicaOpenError {
    fn from(failure: EngineFailure) -> Self {
        Self::Memory(failure)
    }
}
