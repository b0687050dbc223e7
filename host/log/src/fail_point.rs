//! Places where a test can make the writer fail, wait or die.
//!
//! The hook is a plain function in [`Options`](crate::Options) that is called on the writer's thread. Without a hook,
//! passing a fail point costs one branch.

use std::io;
use std::sync::Arc;

/// A place in the writer. Each group of records passes the first five, in this order, unless it is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// Before records are written to the segment.
    BeforeWrite,
    /// The records are written; the sync comes next.
    AfterWrite,
    /// The records are synced; the mark comes next.
    AfterSync,
    /// The mark is written; the callbacks come next.
    AfterMark,
    /// The callbacks were called. An error poisons the log for later records. Also passed at opening, and before a mark is
    /// synced while no record comes.
    AfterCallbacks,
    /// A segment is full and synced, and the next one gets its name.
    BeforeNewSegment,
    /// The next segment has its name, durably, and holds nothing of this log.
    AfterNewSegment,
    /// Nothing in the oldest segment is needed, and it is about to lose its name.
    BeforeReuse,
    /// The segment is a spare file, or removed, durably.
    AfterReuse,
}

impl FailPoint {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BeforeWrite,
        Self::AfterWrite,
        Self::AfterSync,
        Self::AfterMark,
        Self::AfterCallbacks,
        Self::BeforeNewSegment,
        Self::AfterNewSegment,
        Self::BeforeReuse,
        Self::AfterReuse,
    ];
}

/// Called at each fail point. An error counts as an error of the current operation, a panic as a panic of the writer.
/// The function may also block, or end the process.
pub type FailPoints = Arc<dyn Fn(FailPoint) -> io::Result<()> + Send + Sync>;
