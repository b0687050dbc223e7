//! The seam to the log of a node: what a group asks of it.
//!
//! A node has one log for all its groups, and a [`GroupLog`] is the part of one group. It knows neither terms nor votes:
//! entries, the state and notes are bytes.

mod memory;
mod node;

use std::ops::Range;

use bytes::Bytes;

pub use self::memory::{MemoryLog, Syncs};
pub use self::node::NodeLog;

/// Why the log failed. Everything of the group stops: nothing that was not synced was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed: {reason}")]
pub struct LogFailure {
    /// What happened.
    pub reason: String,
}

/// Called once a record is synced, or never will be.
pub type Synced = Box<dyn FnOnce(Result<(), LogFailure>) + Send>;

/// An index with a few bytes that the log does not read: whose term the entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The index.
    pub index: u64,
    /// The note.
    pub note: Bytes,
}

/// What the log has of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The state that was set last: a vote.
    pub state: Option<Bytes>,
    /// The last entry that was purged.
    pub purged: Option<Noted>,
    /// The last entry that is known as committed. It may be one that is not the newest.
    pub committed: Option<Noted>,
    /// Index of the first entry that is there; `None` if there is none.
    pub first: Option<u64>,
    /// Index of the next entry; `None` before the first one, which may have any.
    pub next: Option<u64>,
}

/// The part of a node's log that one group has.
///
/// An implementation promises:
///
/// - Records are made durable in the order of the calls, whatever their kinds: a state (a vote) never after the entries that
///   were appended after it, nor before those appended before it. After a crash the log has a prefix of the records that were
///   accepted, at least up to the last one whose [`Synced`] was called with `Ok`.
/// - `Synced` is called exactly once for each call that returned `Ok`, with `Ok` only after an fsync that covers the record,
///   and on no path before it. It may be called on any thread, and does not block.
/// - A record exists whole or not at all: truncating, purging, appending many entries.
/// - After the first failure nothing is written any more, and every later call fails.
/// - [`state`](Self::state) and [`read`](Self::read) show what was accepted, also before it is synced. They are called from the
///   engine's tasks, so they take no longer than a read from the disk.
pub trait GroupLog: Send + Sync + 'static {
    /// What the log has of the group.
    ///
    /// # Errors
    ///
    /// [`LogFailure`].
    fn state(&self) -> Result<LogState, LogFailure>;

    /// Whether the log lost something of the group that was synced: entries, and with them what its replica had promised. A
    /// replica with such a log is not started.
    fn is_broken(&self) -> bool {
        false
    }

    /// The first failure, after which nothing is written any more, if there was one. A group that writes nothing learns of it
    /// here.
    fn failed(&self) -> Option<LogFailure> {
        None
    }

    /// Why the log would not take entries of so many bytes now, if so. It is asked while they can still be refused: an append
    /// that fails stops the group.
    fn refuses(&self, _bytes: usize) -> Option<String> {
        None
    }

    /// Appends entries, the first of which has this index. It is the next one.
    ///
    /// # Errors
    ///
    /// [`LogFailure`]; `synced` is not called then.
    fn append(&self, first: u64, entries: &[Bytes], synced: Synced) -> Result<(), LogFailure>;

    /// Replaces the group's state.
    ///
    /// # Errors
    ///
    /// [`LogFailure`]; `synced` is not called then.
    fn set_state(&self, state: Bytes, synced: Synced) -> Result<(), LogFailure>;

    /// Removes the entries from this index on.
    ///
    /// # Errors
    ///
    /// [`LogFailure`]; `synced` is not called then.
    fn truncate(&self, from: u64, synced: Synced) -> Result<(), LogFailure>;

    /// Removes the entries up to this one, which need not be there: the next entry is the one after it then.
    ///
    /// # Errors
    ///
    /// [`LogFailure`]; `synced` is not called then.
    fn purge(&self, through: Noted, synced: Synced) -> Result<(), LogFailure>;

    /// Notes that the entries up to this one are committed. It is never synced for its own sake.
    ///
    /// # Errors
    ///
    /// [`LogFailure`].
    fn set_committed(&self, through: Noted) -> Result<(), LogFailure>;

    /// The entries of a range that are there, in order, as many as fit into `max_bytes`, but at least one if its first is there.
    ///
    /// # Errors
    ///
    /// [`LogFailure`]: also for an entry that is not what was written.
    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Bytes>, LogFailure>;
}
