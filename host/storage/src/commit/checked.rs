//! What is checked of a commit before it is queued or proposed: everything that depends neither on the store's state nor on
//! what is committed before it.

use super::request::{Commit, CommitError};
use crate::batch::{Batch, BatchError};
use crate::limits;
use crate::name;
use crate::space::Purpose;

/// A commit within the limits, whose batches were checked one by one.
#[derive(Clone, Debug)]
pub struct CheckedCommit {
    pub(crate) owner: String,
    /// Batches that are malformed keep their place in the outcomes.
    pub(crate) batches: Vec<Result<Batch, BatchError>>,
    pub(super) time: u64,
    pub(super) bytes: usize,
    pub(super) purpose: Purpose,
}

impl CheckedCommit {
    /// Checks a commit on its caller's thread, so that whoever applies it only meets well-formed batches.
    ///
    /// # Errors
    ///
    /// [`CommitError::Invalid`], if the whole commit is malformed or too large.
    pub fn new(commit: Commit) -> Result<Self, CommitError> {
        name::check("owner", &commit.owner).map_err(CommitError::Invalid)?;
        if commit.batches.len() > limits::COMMIT_BATCHES_MAX {
            return Err(CommitError::Invalid(format!(
                "{} batches, over the limit of {}",
                commit.batches.len(),
                limits::COMMIT_BATCHES_MAX
            )));
        }
        if commit.time > limits::COMMIT_TIME_MAX {
            return Err(CommitError::Invalid(format!(
                "its time is {} microseconds since 1970, over the limit of {}",
                commit.time,
                limits::COMMIT_TIME_MAX
            )));
        }
        let mut bytes = 0;
        let mut batches = Vec::with_capacity(commit.batches.len());
        for batch in commit.batches {
            batches.push(batch.check().map(|()| {
                bytes += batch.bytes();
                batch
            }));
        }
        if bytes > limits::COMMIT_BYTES_MAX {
            return Err(CommitError::Invalid(format!(
                "{bytes} bytes, over the limit of {} for one commit",
                limits::COMMIT_BYTES_MAX
            )));
        }
        let purpose = if commit.makes_room { Purpose::MakesRoom } else { Purpose::Ordinary };
        Ok(Self { owner: commit.owner, batches, time: commit.time, bytes, purpose })
    }

    /// Whether the writes free disk space; see [`Commit::makes_room`].
    #[must_use]
    pub fn makes_room(&self) -> bool {
        matches!(self.purpose, Purpose::MakesRoom)
    }

    /// Bytes of keys and values of the well-formed batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
