//! A group: the commits that share one fsync.

use super::queue::CommitQueue;
use super::request::{Applied, Barrier, CommitRequest, Reply, Request};
use crate::batch::{Batch, BatchError};
use crate::options::Options;
use crate::space::Purpose;

/// One commit of a group without its reply: a panic while writing must not lose the replies.
pub(super) struct PendingCommit {
    pub(super) owner: String,
    pub(super) batches: Vec<Result<Batch, BatchError>>,
    pub(super) time: u64,
}

/// Commits of one purpose that are written together.
pub(super) struct Group {
    pub(super) commits: Vec<PendingCommit>,
    /// The replies, in the order of the commits.
    pub(super) replies: Vec<Reply>,
    /// Those who wait for everything that was applied before this group. They are replied to with it, which is later than
    /// they need, and spares the fsync that a group of their own would put between two others.
    pub(super) barriers: Vec<Barrier>,
    /// Who wants to know that a commit is applied, in the order of the commits.
    pub(super) applied: Vec<Option<Applied>>,
    pub(super) bytes: u64,
    pub(super) purpose: Purpose,
}

impl Group {
    /// Groups the first request with those that are queued by now, up to the limits of a group.
    pub(super) fn collect(first: Request, queue: &CommitQueue, options: &Options) -> Self {
        let purpose = match &first {
            Request::Commit(commit) => commit.purpose,
            Request::Barrier(_) => Purpose::Ordinary,
        };
        let mut group = Self {
            commits: Vec::new(),
            replies: Vec::new(),
            barriers: Vec::new(),
            applied: Vec::new(),
            bytes: 0,
            purpose,
        };
        let mut next = Some(first);
        while let Some(request) = next {
            group.add(request);
            next = if group.is_full(options) { None } else { queue.pop(purpose) };
        }
        group
    }

    fn add(&mut self, request: Request) {
        match request {
            Request::Commit(CommitRequest { owner, batches, time, bytes, applied, reply, purpose: _ }) => {
                self.bytes += bytes as u64;
                self.commits.push(PendingCommit { owner, batches, time });
                self.applied.push(applied);
                self.replies.push(reply);
            }
            Request::Barrier(barrier) => self.barriers.push(barrier),
        }
    }

    fn is_full(&self, options: &Options) -> bool {
        self.bytes >= options.group_bytes as u64
            || self.commits.len() + self.barriers.len() >= options.group_commits
    }
}
