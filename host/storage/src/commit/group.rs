//! A group: the commits that share one fsync.

use super::queue::CommitQueue;
use super::request::{Reply, Request};
use crate::batch::{Batch, BatchError};
use crate::options::Options;
use crate::space::Purpose;

/// One commit of a group without its reply: a panic while writing must not lose the replies.
pub(super) struct PendingCommit {
    pub(super) owner: String,
    pub(super) batches: Vec<Result<Batch, BatchError>>,
}

/// Commits of one purpose that are written together.
pub(super) struct Group {
    pub(super) commits: Vec<PendingCommit>,
    /// The replies, in the order of the commits.
    pub(super) replies: Vec<Reply>,
    pub(super) bytes: u64,
    pub(super) purpose: Purpose,
}

impl Group {
    /// Groups the first request with those that are queued by now, up to the limits of a group.
    pub(super) fn collect(first: Request, queue: &CommitQueue, options: &Options) -> Self {
        let mut bytes = 0;
        let mut commits = Vec::new();
        let mut replies = Vec::new();
        let purpose = first.purpose;
        let mut next = Some(first);
        while let Some(request) = next {
            bytes += request.bytes;
            commits.push(PendingCommit { owner: request.owner, batches: request.batches });
            replies.push(request.reply);
            let full = bytes >= options.group_bytes || commits.len() >= options.group_commits;
            next = if full { None } else { queue.pop(purpose) };
        }
        Self { commits, replies, bytes: bytes as u64, purpose }
    }
}
