//! Places where a test can make the committer fail, wait or die.
//!
//! A store that was never seen failing cannot be trusted to fail well. The hook is a plain function in
//! [`Options`](crate::Options), called on the committer thread; without one, passing a fail point costs one branch.

use std::io;
use std::sync::Arc;

/// A place on the way of a group through the committer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// A batch whose guards hold is about to be written to the journal.
    BeforeWrite,
    /// The batch is in the journal's buffer and in the memtables.
    AfterWrite,
    /// Everything of the group is written; the fsync comes next.
    BeforeSync,
    /// The fsync is done; the durable mark comes next.
    AfterSync,
    /// The mark is written, nothing is published or acknowledged.
    BeforePublish,
    /// The group is readable, nothing is acknowledged.
    AfterPublish,
    /// The group is readable if it wrote anything, nothing is acknowledged. Passed by every group.
    BeforeReply,
    /// Everything of the group is acknowledged. Passed by every group; an error poisons the store for those that follow.
    AfterReply,
}

/// Called at each fail point. An error is taken for an error of the operation at hand; a panic is a panic of the
/// committer; the function may also block, or end the process.
pub type FailPoints = Arc<dyn Fn(FailPoint) -> io::Result<()> + Send + Sync>;
