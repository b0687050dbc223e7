//! Places where a test can make the committer or a replica fail, wait or die.
//!
//! The hook is a plain function in [`Options`](crate::Options) that is called on the thread that writes. Without a hook,
//! passing a fail point costs one branch.

use std::io;
use std::sync::Arc;

/// A place in the committer. Each group passes those before [`BeforeZeroes`](Self::BeforeZeroes), in this order.
///
/// A [replica](crate::Replica) passes some of them: each batch those around a write, each entry then those around
/// publication, and making durable those around a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// Before a batch whose guards hold is written to the journal.
    BeforeWrite,
    /// The batch is in the journal's buffer and in the memtables.
    AfterWrite,
    /// The whole group is written; the fsync comes next.
    BeforeSync,
    /// The fsync is done; the durable mark comes next.
    AfterSync,
    /// The mark is written; nothing is published or acknowledged.
    BeforePublish,
    /// The group is readable; nothing is acknowledged.
    AfterPublish,
    /// The group is readable if it wrote anything; nothing is acknowledged. Passed by every group.
    BeforeReply,
    /// The whole group is acknowledged. Passed by every group; an error poisons the store for later ones.
    AfterReply,
    /// Before zeroes are written ahead of the journal's end, which few groups are followed by. An error here and at the next
    /// point counts as one of that write, and affects no commit.
    BeforeZeroes,
    /// The zeroes are written and not synced.
    AfterZeroes,
}

/// Called at each fail point. An error counts as an error of the current operation, a panic as a panic of the committer.
/// The function may also block, or end the process.
pub type FailPoints = Arc<dyn Fn(FailPoint) -> io::Result<()> + Send + Sync>;
