//! Committing: a bounded queue of commits, and the one thread that writes them in groups.
//!
//! A [`Writer`] checks a commit on its caller's thread and puts it into the [queue]. The [`Committer`] takes
//! [groups](group) from there, [applies](crate::apply) each batch, syncs once for the group, publishes, and only then
//! replies. After the replies it may [prepare the journal](zeroed_ahead) for the next groups.

mod active_journal;
mod backpressure;
mod checked;
mod close;
mod committer;
mod disk_room;
#[cfg(feature = "faults")]
mod early_guards;
mod group;
mod health;
mod queue;
mod request;
mod write_clock;
mod writer;
mod zeroed_ahead;

pub(crate) use active_journal::ActiveJournal;
pub(crate) use backpressure::Backpressure;
pub use checked::CheckedCommit;
pub(crate) use committer::Committer;
pub use health::Health;
pub use request::{Commit, CommitError, Outcomes};
pub(crate) use writer::Shared;
pub use writer::Writer;
