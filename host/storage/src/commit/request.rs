//! A commit, as it is handed to a writer and as it waits in the queue.

use super::checked::CheckedCommit;
use crate::batch::{Batch, BatchError, Committed};
use crate::space::Purpose;

/// Batches of one owner. They are independent of each other: one that fails does not stop the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Owner of the keyspaces that the batches name.
    pub owner: String,
    /// The batches, applied in order.
    pub batches: Vec<Batch>,
    /// The time at which the batches were decided on, in microseconds since 1970-01-01T00:00:00 UTC, or 0 for none. The
    /// store keeps the highest; see [`Snapshot::time`](crate::Snapshot::time).
    pub time: u64,
    /// Whether the writes free disk space, at once or when the store is scavenged: then they may use most of the reserve on
    /// the disk.
    pub makes_room: bool,
}

/// The outcome of each batch of a commit, in order.
pub type Outcomes = Vec<Result<Committed, BatchError>>;

/// Why a whole commit was not accepted, or not completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The queue is full. Nothing was written.
    #[error("the commit queue is full ({limit}); slow down and try again")]
    Overloaded {
        /// Which limit was reached, with its unit.
        limit: String,
    },
    /// The commit is malformed and would never be accepted. Nothing was written.
    #[error("the commit is malformed: {0}")]
    Invalid(String),
    /// There is too little room on the disk. Nothing was written, and the store takes commits again once there is room.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// What is short, with its unit.
        reason: String,
    },
    /// A write or fsync failed, and the store stopped. A commit that was queued at that time may or may not be found
    /// after the store is opened again: ask with a guard.
    #[error("the store stopped writing: {reason}; open it again once the cause is removed")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The store was closed before it accepted the commit. Nothing was written.
    #[error("the store is closed; find its successor and try again")]
    Closed,
}

/// Called with the outcome of a commit, exactly once.
pub(super) type Reply = Box<dyn FnOnce(Result<Outcomes, CommitError>) + Send>;

/// Called with the outcome of a commit once what it wrote is in the applied state, before that is synced. Not called if the
/// commit is refused.
pub(super) type Applied = Box<dyn FnOnce(&Outcomes) + Send>;

/// Called once everything that was applied before is durable, or never will be.
pub(super) type Barrier = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// What is queued for the committer.
pub(super) enum Request {
    Commit(CommitRequest),
    Barrier(Barrier),
}

impl Request {
    /// Bytes of keys and values, as the queue's limit counts them.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.bytes,
            Self::Barrier(_) => 0,
        }
    }
}

/// A commit on its way to the committer.
pub(super) struct CommitRequest {
    pub(super) owner: String,
    /// Batches that were found malformed before they were queued keep their place in the outcomes.
    pub(super) batches: Vec<Result<Batch, BatchError>>,
    pub(super) time: u64,
    pub(super) bytes: usize,
    pub(super) purpose: Purpose,
    pub(super) applied: Option<Applied>,
    pub(super) reply: Reply,
}

impl CommitRequest {
    /// Checks a commit on the caller's thread, so that the committer only meets well-formed batches.
    pub(super) fn new(commit: Commit, reply: Reply) -> Result<Self, CommitError> {
        let CheckedCommit { owner, batches, time, bytes, purpose } = CheckedCommit::new(commit)?;
        Ok(Self { owner, batches, time, bytes, purpose, applied: None, reply })
    }
}
