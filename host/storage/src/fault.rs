//! Faults that are injected to show that the tests find them.
//!
//! **Only for tests.** Each breaks a promise of this crate. They exist only with the feature `faults`, which no release
//! turns on.

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A group is acknowledged once it is written, and synced after the replies.
    AcknowledgeBeforeSync,
    /// A group is readable once it is written, and synced after that.
    PublishBeforeDurable,
    /// Guards are checked on the caller's thread when a commit is queued, against what is readable then, and not again.
    CheckBeforeQueue,
    /// Who waits until the applied state is durable is replied to at once.
    PassBarriers,
    /// After the replay at open, the last key of the keyspace `events` of owner `streams` is removed.
    DropOneOnReplay,
    /// Zeroes ahead of the journal's end begin one record too low, and what they replace is not looked at.
    ZeroLastRecord,
}
